/// Compares AArch64 encodings with those of the GNU assembler, many at a time.
///
/// As with x86-64, each instruction is written twice: as text for `as`, and through our assembler. All have
/// four bytes, so a difference names its instruction without further help.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

struct AArch64EncodingBatch: ~Copyable {
  var assembler = AArch64Assembler()
  var lines: [String] = []

  /// The next instruction: `text` for the GNU assembler, `encode` the same through ours.
  mutating func add(_ text: String, _ encode: (inout AArch64Assembler) -> Void) {
    lines.append(text)
    encode(&assembler)
    precondition(assembler.code.count == lines.count * 4, "\(text) is not one instruction")
  }

  /// Expects that there are no differences, and shows the first few.
  consuming func check(_ location: SourceLocation = #_sourceLocation) throws {
    let found = try mismatches()
    #expect(
      found.isEmpty, "\(found.count) differ: \(found.prefix(5).joined(separator: "; "))", sourceLocation: location)
  }

  private consuming func mismatches() throws -> [String] {
    let expected = try AArch64Tools.assemble(lines.joined(separator: "\n"))
    let actual = assembler.code.array
    guard expected.count == actual.count else {
      return ["\(expected.count) bytes from as, \(actual.count) from us"]
    }
    var result: [String] = []
    for (i, line) in lines.enumerated() {
      let cell = i * 4..<i * 4 + 4
      if expected[cell] != actual[cell] {
        result.append("\(line): as \(hex(expected[cell])), ours \(hex(actual[cell]))")
      }
    }
    return result
  }
}

/// An instruction as objdump prints it.
struct DisassembledInstruction {
  var offset: Int
  var mnemonic: String
  var operands: [String]

  /// The operand at the end, where branches have their target.
  var target: Int? { operands.last.flatMap { Int($0.dropFirst($0.hasPrefix("0x") ? 2 : 0), radix: 16) } }
}

/// The system's tools for AArch64.
enum AArch64Tools {
  /// What the GNU assembler makes of `source`.
  static func assemble(_ source: String) throws -> [UInt8] {
    let directory = try TemporaryDirectory()
    try (".arch armv8.5-a\n.text\n" + source + "\n").write(
      toFile: directory.file("a.s"), atomically: false, encoding: .utf8)
    try run("aarch64-linux-gnu-as", ["-o", directory.file("a.o"), directory.file("a.s")])
    try run(
      "aarch64-linux-gnu-objcopy", ["-O", "binary", "-j", ".text", directory.file("a.o"), directory.file("a.bin")])
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: directory.file("a.bin"))))
  }

  /// What objdump reads in `code`.
  static func disassemble(_ code: [UInt8]) throws -> [DisassembledInstruction] {
    let directory = try TemporaryDirectory()
    try Data(code).write(to: URL(fileURLWithPath: directory.file("a.bin")))
    let text = try run(
      "aarch64-linux-gnu-objdump",
      ["-D", "-z", "-b", "binary", "-m", "aarch64", "--no-show-raw-insn", directory.file("a.bin")])
    var result: [DisassembledInstruction] = []
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, let offset = Int(parts[0].drop { $0 == " " }, radix: 16) else { continue }
      let instruction = parts[1].split(separator: "/", maxSplits: 1)[0]
      let words = instruction.split { $0 == " " || $0 == "\t" || $0 == "," }.map(String.init)
      guard let mnemonic = words.first else { continue }
      result.append(
        DisassembledInstruction(offset: offset, mnemonic: mnemonic, operands: Array(words.dropFirst())))
    }
    return result
  }
}

extension AArch64Register {
  /// The general registers and zr: what most operands take.
  static let operands = allCases.filter { $0 != .sp }
  /// The general registers and sp: what bases take.
  static let bases = allCases.filter { $0 != .zr }

  func name(_ size: OperandSize) -> String {
    switch self {
    case .zr: size == .b64 ? "xzr" : "wzr"
    case .sp: size == .b64 ? "sp" : "wsp"
    default: (size == .b64 ? "x" : "w") + "\(rawValue)"
    }
  }
}

extension AArch64VectorRegister {
  func name(_ size: FloatSize) -> String { (size == .f32 ? "s" : "d") + "\(rawValue)" }
  var q: String { "q\(rawValue)" }
  func lanes(_ arrangement: String) -> String { "v\(rawValue).\(arrangement)" }
}

extension AArch64Address {
  /// In the assembler's syntax, for an access of `1 << scale` bytes.
  func text(scale: Int) -> String {
    let base = base.name(.b64)
    if let index {
      let name = index.name(extend == .uxtw || extend == .sxtw ? .b32 : .b64)
      if extend == .uxtx { return "[\(base), \(name)\(isScaled ? ", lsl #\(scale)" : "")]" }
      return "[\(base), \(name), \(extend)\(isScaled ? " #\(scale)" : "")]"
    }
    switch update {
    case .none: return "[\(base), #\(displacement)]"
    case .before: return "[\(base), #\(displacement)]!"
    case .after: return "[\(base)], #\(displacement)"
    }
  }

  /// Addresses of every shape that one instruction can hold, for an access of `1 << scale` bytes.
  static func encodable(scale: Int) -> [AArch64Address] {
    var result: [AArch64Address] = []
    var random = Random(seed: UInt64(scale))
    for base in AArch64Register.bases {
      let scaled = Int32(random.next() % 4096) << Int32(scale)
      for displacement in [0, 1 << Int32(scale), 4095 << Int32(scale), scaled, -1, -256, 255, -17] as [Int32] {
        result.append(AArch64Address(base: base, displacement: displacement))
      }
      for displacement in [0, -256, 255, Int32(random.next() % 512) - 256] as [Int32] {
        result.append(AArch64Address(base: base, displacement: displacement, update: .before))
        result.append(AArch64Address(base: base, displacement: displacement, update: .after))
      }
      for extend in [AArch64ExtendOp.uxtw, .uxtx, .sxtw, .sxtx] {
        for isScaled in [false, true] {
          let index = AArch64Register(number: base.rawValue &* 7 &+ extend.rawValue)
          result.append(AArch64Address(base: base, index: index, extend, isScaled: isScaled))
        }
      }
    }
    for index in AArch64Register.operands {
      result.append(AArch64Address(base: .x26, index: index, .uxtw))
    }
    return result
  }
}
