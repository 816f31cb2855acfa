// Function bodies: what is valid, and what is said of what is not.

import PrecastWasm
import Testing

@Suite struct FunctionValidatorTests {
  static func body(_ parameters: [UInt8] = [], _ results: [UInt8] = [], _ code: [UInt8]) -> [UInt8] {
    Builder.function(parameters, results, code).bytes
  }

  /// Code that pushes a value of a type.
  static func constant(_ type: ValueType) -> [UInt8] {
    switch type {
    case .i32: [0x41, 0]
    case .i64: [0x42, 0]
    case .f32: [0x43, 0, 0, 0, 0]
    case .f64: [0x44, 0, 0, 0, 0, 0, 0, 0, 0]
    default: [0xD0, type.rawValue]
    }
  }

  static func encoding(_ opcode: Opcode) -> [UInt8] {
    let raw = opcode.rawValue
    return raw < 256 ? [UInt8(raw)] : [UInt8(raw >> 8)] + leb(Int(raw & 0xFF))
  }

  @Test("every numeric and memory instruction takes and gives what its name says, and nothing else")
  func signatures() throws {
    var count = 0
    for opcode in Opcode.allCases {
      guard let (operands, results) = typesByName(opcode), !opcode.name.description.hasSuffix("const") else { continue }
      count += 1
      let isAccess = (0x28...0x3E).contains(opcode.rawValue)
      let instruction = Self.encoding(opcode) + (isAccess ? [0, 0] : [])
      let encoded = results.map(\.rawValue)
      let good = operands.flatMap(Self.constant) + instruction
      #expect(failure(Self.body([], encoded, good)) == nil, "\(opcode)")
      for wrong in [ValueType.i32, .i64, .f32, .f64, .funcref] {
        for place in operands.indices where operands[place] != wrong {
          var changed = operands
          changed[place] = wrong
          let error = failure(Self.body([], encoded, changed.flatMap(Self.constant) + instruction))
          #expect(error?.kind == .invalid && error?.message.hasPrefix("type mismatch") == true, "\(opcode) \(changed)")
        }
        if results != [wrong] {
          #expect(failure(Self.body([], [wrong.rawValue], good))?.kind == .invalid, "\(opcode) -> \(wrong)")
        }
      }
      #expect(failure(Self.body([], encoded, operands.dropLast().flatMap(Self.constant) + instruction)) != nil)
    }
    #expect(count == 128 + 23 + 8)
  }

  @Test("the alignment of an access is at most its size")
  func alignments() {
    let sizes: [UInt8] = [2, 3, 2, 3, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 2, 3, 2, 3, 0, 1, 0, 1, 2]
    for (index, size) in sizes.enumerated() {
      let opcode = Opcode(rawValue: UInt16(0x28 + index))!
      let operands = typesByName(opcode)!.operands.flatMap(Self.constant)
      let drop: [UInt8] = typesByName(opcode)!.results.isEmpty ? [] : [0x1A]
      let code = { (alignment: UInt8) in Self.body([], [], operands + [UInt8(opcode.rawValue), alignment, 0] + drop) }
      #expect(failure(code(size)) == nil, "\(opcode)")
      let error = failure(code(size + 1))
      #expect(error?.kind == .invalid && error?.message.hasPrefix("alignment must not be larger") == true, "\(opcode)")
    }
  }

  @Test("every byte that is no instruction is an error that says so or names a proposal")
  func opcodes() {
    for byte in UInt8.min...UInt8.max where Opcode(rawValue: UInt16(byte)) == nil && byte != 0xFC {
      let error = failure(Self.body([], [], [byte, 0, 0, 0]))
      switch error?.kind {
      case .malformed: #expect(error?.message.hasPrefix("illegal opcode") == true)
      case .unsupported: break
      default: Issue.record("0x\(String(byte, radix: 16)): \(error.map { "\($0)" } ?? "accepted")")
      }
    }
  }

  /// Offset of the first instruction of `body`'s function.
  static let start = body([], [], [0x01]).count - 2

  @Test(
    "a body that breaks a rule is invalid, in the words of the specification's tests",
    arguments: [
      Refusal(body([], [i32], []), "type mismatch"),
      Refusal(body([], [], [0x41, 0]), "type mismatch"),
      Refusal(body([], [], [0x1A]), at: start, "type mismatch"),
      Refusal(body([], [], [0x01, 0x20, 0]), "unknown local 0"),
      Refusal(body([i32], [], [0x20, 1, 0x1A]), "unknown local 1"),
      Refusal(body([], [], [0x0C, 1]), "unknown label 1"),
      Refusal(body([], [], [0x02, 0x40, 0x0C, 2, 0x0B]), "unknown label 2"),
      Refusal(body([], [], [0x10, 1]), "unknown function 1"),
      Refusal(body([], [], [0x23, 0, 0x1A]), "unknown global 0"),
      Refusal(body([], [], [0x02, 1, 0x0B]), "unknown type 1"),
      Refusal(body([], [], [0x41, 0, 0x11, 9, 0]), "unknown type 9"),
      Refusal(body([], [], [0x41, 0, 0x11, 0, 7]), "unknown table 7"),
      Refusal(body([], [], [0x41, 0, 0x11, 0, 1]), "type mismatch"),
      Refusal(body([], [], [0x41, 0, 0x25, 2, 0x1A]), "unknown table 2"),
      Refusal(body([], [], [0x41, 0, 0x28, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0x1A]), "offset out of range"),
      Refusal(body([], [], [0x3F, 1, 0x1A]), "unknown memory 1"),
      Refusal(body([], [], [0x41, 0, 0x04, i32, 0x41, 0, 0x0B, 0x1A]), "type mismatch"),
      Refusal(body([], [], [0x41, 0, 0x04, i32, 0x41, 0, 0x05, 0x0B, 0x1A]), "type mismatch"),
      Refusal(body([], [], [0xD0, funcref, 0xD0, funcref, 0x41, 0, 0x1B, 0x1A]), "type mismatch"),
      Refusal(body([], [], [0x41, 0, 0x42, 0, 0x41, 0, 0x1B, 0x1A]), "type mismatch"),
      Refusal(body([], [], [0x41, 0, 0x41, 0, 0x41, 0, 0x1C, 2, i32, i32, 0x1A]), "invalid result arity"),
      Refusal(body([], [], [0x41, 0, 0xD1, 0x1A]), "type mismatch"),
      Refusal(body([], [], [0xD2, 0, 0x1A]), "undeclared function reference"),
      Refusal(body([], [], [0x41, 0, 0x41, 0, 0x41, 0, 0xFC, 12, 0, 0]), "unknown elem segment 0"),
      Refusal(body([], [], [0x41, 0, 0x41, 0, 0x41, 0, 0xFC, 14, 0, 1]), "type mismatch"),
      Refusal(body([], [], [0x02, i32, 0x41, 0, 0x41, 0, 0x0E, 1, 0, 1, 0x0B, 0x1A]), "type mismatch"),
      Refusal(body([], [], [0x00, 0x02, 0x40, 0x1A, 0x0B]), "type mismatch"),
      Refusal(body([], [], [0x00, 0x42, 0, 0x45, 0x1A]), "type mismatch"),
    ])
  func invalid(refusal: Refusal) throws {
    try refusal.check(.invalid)
  }

  @Test(
    "a body that cannot be decoded is malformed",
    arguments: [
      Refusal(body([], [], [0x0B, 0x01]), "END opcode expected"),
      Refusal(body([], [], [0x02, 0x40]), "unexpected end"),
      Refusal(body([], [], [0x41]), "unexpected end"),
      Refusal(body([], [], [0x05]), "else without if"),
      Refusal(body([], [], [0x02, 0x41, 0x0B]), "malformed value type"),
      Refusal(body([], [], [0x41, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x1A]), "integer representation too long"),
      Refusal(body([], [], [0x41, 0x80, 0x80, 0x80, 0x80, 0x70, 0x00]), "integer too large"),
      Refusal(body([], [], [0x41, 0, 0x28, 0x80, 1, 0, 0x1A]), "malformed memop flags"),
      Refusal(body([], [], [0xFC, 0x7F]), "illegal opcode"),
      Refusal(body([], [], [0xFC, 9, 0]), "data count section required"),
      Refusal(
        Builder.function([], [], locals: Array(repeating: leb(0x7FFF_FFFF) + [i32], count: 3), []).bytes,
        "too many locals"),
    ])
  func malformed(refusal: Refusal) throws {
    try refusal.check(.malformed)
  }

  @Test(
    "a body that uses a later proposal is unsupported, by its name",
    arguments: [
      Refusal(body([], [], [0xFD, 0x0C]), at: start, .simd),
      Refusal(body([], [], [0x02, 0x7B, 0x0B]), .simd),
      Refusal(body([], [], [0x06, 0x40, 0x0B]), at: start, .exceptionHandling),
      Refusal(body([], [], [0x1F, 0x40, 0, 0x0B]), .exceptionHandling),
      Refusal(body([], [], [0x12, 0]), .tailCall),
      Refusal(body([], [], [0x14, 0]), .functionReferences),
      Refusal(body([], [], [0xD0, 0x6E]), .gc),
      Refusal(body([], [], [0xFB, 0]), .gc),
      Refusal(body([], [], [0xFE, 0]), .threads),
      Refusal(body([], [], [0xFC, 19]), .wideArithmetic),
      Refusal(body([], [], [0x41, 0, 0x28, 0x40, 0, 0, 0x1A]), .multiMemory),
      Refusal(body([], [], [0xE0, 0]), .stackSwitching),
    ])
  func unsupported(refusal: Refusal) throws {
    try refusal.check()
  }

  @Test("an error's offset is that of the operator, or of the byte, that is wrong")
  func offsets() throws {
    let bytes = Self.body([], [], [0x01, 0x01, 0x41, 0, 0x42, 0, 0x6A, 0x1A])
    let error = try #require(failure(bytes))
    #expect(bytes[error.offset] == 0x6A)
    #expect(error.message == "type mismatch: expected i32, found i64 (at i32.add)")
    let late = Self.body([], [], [0x01, 0x41, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x1A])
    #expect(bytes.count > 0 && failure(late).map { late[$0.offset - 1] } == 0x41)
  }

  @Test("a run of operands is checked at every place, and in dead code as far as it goes")
  func runs() {
    let wanted: [ValueType] = [.i32, .i64, .f32, .f64, .funcref, .externref]
    func call(_ operands: [ValueType], _ before: [UInt8] = []) -> WasmError? {
      var builder = Builder.function([], [], before + operands.flatMap(Self.constant) + [0x10, 1])
      builder.types.append((wanted.map(\.rawValue), []))
      builder.functions.append((1, [], []))
      return failure(builder.bytes)
    }
    #expect(call(wanted) == nil)
    for place in wanted.indices {
      #expect(call(Array(wanted[(place + 1)...]))?.kind == .invalid, "\(place)")
      #expect(call(Array(wanted[(place + 1)...]), [0x00]) == nil, "\(place)")
      for other in wanted where other != wanted[place] {
        var changed = wanted
        changed[place] = other
        #expect(call(changed)?.message.hasPrefix("type mismatch") == true, "\(changed)")
        #expect(call(Array(changed[place...]), [0x00])?.message.hasPrefix("type mismatch") == true, "\(changed)")
      }
    }
  }

  @Test("limits are limits, not errors of the module")
  func limits() throws {
    let use = { (index: Int) in [0x20] + leb(index) + [0x1A] }
    let most = Builder.function(
      [], [], locals: [leb(49_999) + [i64], leb(1) + [f32]], use(49_999) + use(49_998) + use(0) + use(49_999))
    try withOperators(most) { _, buffer in
      #expect(buffer.localCount == 50_000 && buffer.usedLocalCount == 3)
      #expect((0..<3).map { buffer.localIndex($0) } == [49_999, 49_998, 0])
      #expect((0..<3).map { buffer.localType($0) } == [.f32, .i64, .i64])
    }
    #expect(failure(Builder.function([], [], locals: [leb(50_001) + [i64]], []).bytes)?.kind == .limit)
    #expect(failure(Builder.function([i32], [], locals: [leb(50_000) + [i64]], []).bytes)?.kind == .limit)
    var wide = Builder()
    wide.types = [(Array(repeating: i32, count: 1_000), Array(repeating: i32, count: 1_000))]
    #expect(failure(wide.bytes) == nil)
    wide.types[0].parameters.append(i32)
    #expect(failure(wide.bytes)?.kind == .limit)
    let long = Builder.function([], [], Array(repeating: 0x01, count: Implementation.maximumBodySize))
    #expect(failure(long.bytes)?.kind == .limit)
  }

  @Test("a thousand results from two bytes, again and again, end at the limit of the operand stack")
  func operandStackLimit() {
    var builder = Builder()
    builder.types = [([], Array(repeating: i32, count: 1_000)), ([], [])]
    builder.functions = [(1, [], Array(repeating: [0x10, 0], count: 1_001).flatMap { $0 })]
    builder.imports = [name("") + name("") + [0, 0]]
    #expect(failure(builder.bytes)?.kind == .limit)
  }
}
