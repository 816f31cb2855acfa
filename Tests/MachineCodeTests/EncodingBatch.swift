/// Compares encodings with those of the GNU assembler, many at a time.
///
/// Each instruction is written twice: as text for `as`, and through our assembler. Both sides stand
/// in cells of 16 bytes, so that a difference names its instruction.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

struct EncodingBatch: ~Copyable {
  var assembler = X86_64Assembler()
  var lines: [String] = []

  /// The next instruction: `text` in Intel syntax, `encode` the same through our assembler.
  mutating func add(_ text: String, _ encode: (inout X86_64Assembler) -> Void) {
    lines.append(text)
    encode(&assembler)
    assembler.alignFunction(16)
    precondition(assembler.code.count == lines.count * 16, "\(text) has more than 16 bytes")
  }

  /// Expects that there are no differences, and shows the first few.
  consuming func check(_ location: SourceLocation = #_sourceLocation) throws {
    let found = try mismatches()
    #expect(
      found.isEmpty, "\(found.count) differ: \(found.prefix(5).joined(separator: "; "))", sourceLocation: location)
  }

  // The differences between the two sides, one line each.
  private consuming func mismatches() throws -> [String] {
    let directory = try TemporaryDirectory()
    var source = ".intel_syntax noprefix\n.text\n"
    for line in lines {
      source += line
      source += "\n.p2align 4, 0xCC\n"
    }
    try source.write(toFile: directory.file("a.s"), atomically: false, encoding: .utf8)
    try run("as", ["--64", "-o", directory.file("a.o"), directory.file("a.s")])
    try run("objcopy", ["-O", "binary", "-j", ".text", directory.file("a.o"), directory.file("a.bin")])
    let expected = [UInt8](try Data(contentsOf: URL(fileURLWithPath: directory.file("a.bin"))))
    let actual = assembler.code.array
    guard expected.count == actual.count else {
      return ["\(expected.count) bytes from as, \(actual.count) from us"]
    }
    var result: [String] = []
    for (i, line) in lines.enumerated() {
      let cell = i * 16..<i * 16 + 16
      if expected[cell] != actual[cell] {
        result.append("\(line): as \(hex(expected[cell])), ours \(hex(actual[cell]))")
      }
    }
    return result
  }
}

extension Register {
  func name(_ size: OperandSize) -> String {
    let low = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"]
    let number = Int(rawValue)
    if number < 8 {
      switch size {
      case .b8: return number < 4 ? String(low[number].first!) + "l" : low[number] + "l"
      case .b16: return low[number]
      case .b32: return "e" + low[number]
      case .b64: return "r" + low[number]
      }
    }
    return "r\(number)" + ["b", "w", "d", ""][Int(size.rawValue)]
  }
}

extension OperandSize {
  var pointer: String { ["byte", "word", "dword", "qword"][Int(rawValue)] + " ptr " }
}

extension FloatSize {
  var suffix: String { self == .f32 ? "ss" : "sd" }
  var packed: String { self == .f32 ? "ps" : "pd" }
  var pointer: String { self == .f32 ? "dword ptr " : "qword ptr " }
}

extension Condition {
  var name: String {
    ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"][Int(rawValue)]
  }
}

extension Address {
  var text: String {
    var parts: [String] = []
    if let base { parts.append(base.name(.b64)) }
    if let index { parts.append("\(index.name(.b64))*\(scale)") }
    var text = parts.joined(separator: "+")
    if displacement != 0 || parts.isEmpty { text += (displacement < 0 || parts.isEmpty ? "" : "+") + "\(displacement)" }
    return "[\(text)]"
  }
}

/// Displacements on either side of every boundary.
let displacements: [Int32] = [0, 1, -1, 127, -128, 128, -129, 4096, .max, .min]
/// Immediates likewise, as 32 bits.
let immediates: [Int32] = [0, 1, -1, 127, -128, 128, -129, 255, 256, 32767, -32768, 65535, .max, .min]

/// Addresses of every shape: each register as base and as index, each scale, each displacement size.
let addresses: [Address] = {
  var result: [Address] = []
  for base in Register.allCases {
    for displacement in displacements { result.append(Address(base: base, displacement: displacement)) }
    for index in Register.allCases where index != .rsp {
      for scale in [1, 2, 4, 8] as [UInt8] {
        result.append(Address(base: base, index: index, scale: scale, displacement: 0))
      }
      result.append(Address(base: base, index: index, scale: 4, displacement: 64))
      result.append(Address(base: base, index: index, scale: 1, displacement: 0x1234_5678))
    }
  }
  for index in Register.allCases where index != .rsp {
    for scale in [2, 4, 8] as [UInt8] {
      for displacement in [0, 4, -4096] as [Int32] {
        result.append(Address(base: nil, index: index, scale: scale, displacement: displacement))
      }
    }
  }
  for displacement in [0, 64, .max] as [Int32] {
    result.append(Address(base: nil, index: nil, displacement: displacement))
  }
  return result
}()

/// A few of them, for instructions that share their encoder with one that is tested with all.
let fewAddresses: [Address] = [
  Address(base: .rax), Address(base: .rsp, displacement: 8), Address(base: .rbp), Address(base: .r12),
  Address(base: .r13, displacement: -129), Address(base: .rbx, index: .r9, scale: 1, displacement: 1 << 20),
  Address(base: .r15, index: .rcx, scale: 8, displacement: -1), Address(base: .rbx, index: .rdi),
  Address(base: nil, index: .r12, scale: 4, displacement: 16),
]
