/// What objdump makes of a text: the decoder that the layout tests trust, since it knows nothing of the encoders.
import Foundation
import PrecastMachineCode
import TestSupport

/// Instructions at chosen places of many texts, from one run of objdump.
struct Disassembly {
  /// Mnemonic and operands by address.
  private var instructions: [Int: String] = [:]
  /// Address of each text.
  private(set) var starts: [Int] = []

  /// Disassembles from each mark (a text offset) on, as far as the next. A sweep over x86-64 code with data in it would lose
  /// its step, so each mark becomes a symbol: objdump starts afresh there.
  init(_ texts: [(bytes: [UInt8], marks: [Int])], _ architecture: Architecture) throws {
    let directory = try TemporaryDirectory()
    var image: [UInt8] = []
    var marks: Set<Int> = []
    for text in texts {
      // adrp counts pages.
      image.append(contentsOf: repeatElement(0, count: -image.count & 4095))
      starts.append(image.count)
      marks.insert(image.count)
      for mark in text.marks { marks.insert(image.count + mark) }
      image.append(contentsOf: text.bytes)
    }
    try Data(image).write(to: URL(fileURLWithPath: directory.file("text.bin")))
    let prefix = architecture == .x86_64 ? "" : "aarch64-linux-gnu-"
    var arguments = "-D -b binary -m aarch64"
    var file = directory.file("text.bin")
    if architecture == .x86_64 {
      var source = ".text\n"
      let sorted = marks.sorted() + [image.count]
      for (mark, next) in zip(sorted, sorted.dropFirst()) where next > mark {
        source += "m\(mark):\n.incbin \"\(file)\",\(mark),\(next - mark)\n"
      }
      try source.write(toFile: directory.file("a.s"), atomically: false, encoding: .utf8)
      arguments = "-d -M intel"
      file = directory.file("a.o")
      try run("as", ["-o", file, directory.file("a.s")])
    }
    // Without the mass of filler, which is not looked at.
    let listing = try run(
      "sh",
      [
        "-c",
        "\(prefix)objdump \(arguments) --no-show-raw-insn \"$0\" | grep -v -E '\\s(nop|int3|udf|brk)' | grep -E '^ +[0-9a-f]+:'",
        file,
      ])
    for line in listing.utf8.split(separator: UInt8(ascii: "\n")) {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      let address = String(decoding: line[..<colon].drop { $0 == 0x20 }, as: UTF8.self)
      guard let number = Int(address, radix: 16) else { continue }
      // Less what stands behind `//`, another name of the same.
      let words = line[line.index(after: colon)...].split { $0 == 0x20 || $0 == 0x09 }
        .map { String(decoding: $0, as: UTF8.self) }.prefix { $0 != "//" }
      instructions[number] = words.joined(separator: " ")
    }
  }

  /// The instruction at a text offset.
  func instruction(_ text: Int, _ offset: Int) -> String { instructions[starts[text] + offset] ?? "?" }

  /// Mnemonic, and text offset of the target, of the direct branch at a text offset.
  func branch(_ text: Int, _ offset: Int) -> (mnemonic: String, target: Int)? {
    let words = instruction(text, offset).split(separator: " ")
    let operands = words.dropFirst().prefix { !$0.hasPrefix("<") }
    guard let mnemonic = words.first, let target = operands.last, let address = hexadecimal(target) else {
      return nil
    }
    return (String(mnemonic), Int(truncatingIfNeeded: address) &- starts[text])
  }

  /// Where the veneer at a text offset leads, as text offset or address; nil if there is none. `bytes` is the text.
  func veneer(_ text: Int, _ offset: Int, _ bytes: [UInt8]) -> (offset: Int?, address: UInt64?)? {
    let (first, second, third) = (
      instruction(text, offset), instruction(text, offset + 7), instruction(text, offset + 10)
    )
    for register in ["rax", "r11"] where first.hasPrefix("lea \(register),[rip+0x9] # ") {
      guard second == "add \(register),QWORD PTR [\(register)]", third == "jmp \(register)",
        let cell = cell(first, text)
      else { return nil }
      return (cell &+ Int(Int64(bitPattern: quad(bytes, cell))), nil)
    }
    if first.hasPrefix("jmp QWORD PTR [rip+0x2] # "), let cell = cell(first, text) { return (nil, quad(bytes, cell)) }
    let words = (0..<5).map { instruction(text, offset + 4 * $0).split { $0 == " " || $0 == "," }.map(String.init) }
    guard words.allSatisfy({ $0.count >= 2 && $0[1] == "x16" }) || words[0].first == "adrp" else { return nil }
    if words[0].prefix(2) == ["adrp", "x16"], let page = hexadecimal(words[0][2]),
      words[1].prefix(3) == ["add", "x16", "x16"], let low = immediate(words[1][3]), words[2] == ["br", "x16"]
    {
      return (Int(truncatingIfNeeded: page &+ low) &- starts[text], nil)
    }
    // mov and movk, each with `#0x1234` and, where it is shifted, `lsl #16`. A `mov` is how a `movz` is printed.
    var address: UInt64 = 0
    for (half, parts) in words.prefix(4).enumerated() {
      guard parts[0] == (half == 0 ? "mov" : "movk"), let value = immediate(parts[2]),
        half == 0 || parts.dropFirst(3) == ["lsl", "#\(16 * half)"]
      else { return nil }
      address |= value << UInt64(16 * half)
    }
    return words[4] == ["br", "x16"] ? (nil, address) : nil
  }

  private func hexadecimal(_ text: some StringProtocol) -> UInt64? {
    UInt64(text.hasPrefix("0x") ? text.dropFirst(2) : text[...], radix: 16)
  }

  // The address behind `#`, as text offset.
  private func cell(_ instruction: String, _ text: Int) -> Int? {
    guard let hash = instruction.firstIndex(of: "#") else { return nil }
    return instruction[hash...].split(separator: " ").dropFirst().first.flatMap { Int($0, radix: 16) }
      .map { $0 - starts[text] }
  }

  private func quad(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
  }

  // `#0x12`, `#18`.
  private func immediate(_ text: String) -> UInt64? {
    guard text.hasPrefix("#") else { return nil }
    return text.hasPrefix("#0x") ? UInt64(text.dropFirst(3), radix: 16) : UInt64(text.dropFirst())
  }
}
