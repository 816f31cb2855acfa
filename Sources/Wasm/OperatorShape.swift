// What the validator needs to know of an opcode, looked up by its byte.
//
// Three instructions in four are numeric or memory accesses: they pop operands of fixed types and push a result of a
// fixed type. For those the table holds the types, and one case of the validator's switch serves a hundred opcodes. The
// others have a case of their own. A byte that is no instruction of this version has a case that says which proposal's
// it is, if any.

/// One entry of the table: 6 bytes of plain data.
struct OperatorShape: BitwiseCopyable, Sendable {
  enum Kind: UInt8, Sendable {
    case illegal, unary, binary, load, store, constI32, constI64, constF32, constF64
    case unreachable, nop, block, loop, `if`, `else`, end, br, brIf, brTable, `return`, call, callIndirect
    case drop, select, selectTyped, localGet, localSet, localTee, globalGet, globalSet, tableGet, tableSet
    case memorySize, memoryGrow, refNull, refIsNull, refFunc, prefixed
  }

  var kind = Kind.illegal
  var opcode = Opcode.unreachable
  /// The type of the operands that are values: both of a binary one, what is stored.
  var operand = ValueType.i32
  var result = ValueType.i32
  /// The most that the alignment of a load or store may be, as log2.
  var alignment: UInt8 = 0

  /// The shapes of the one-byte opcodes.
  static let table = FixedBuffer<OperatorShape>(makeTable())

  private static func makeTable() -> [OperatorShape] {
    var table = Array(repeating: OperatorShape(), count: 256)
    for opcode in Opcode.allCases where opcode.rawValue < 256 {
      table[Int(opcode.rawValue)].opcode = opcode
      if let kind = special[opcode] { table[Int(opcode.rawValue)].kind = kind }
    }
    table[0xFC].kind = .prefixed

    func set(_ range: ClosedRange<Int>, _ kind: Kind, _ operand: ValueType, _ result: ValueType) {
      for byte in range {
        table[byte].kind = kind
        table[byte].operand = operand
        table[byte].result = result
      }
    }
    // Loads and stores.
    let loads: [ValueType] = [.i32, .i64, .f32, .f64, .i32, .i32, .i32, .i32, .i64, .i64, .i64, .i64, .i64, .i64]
    let stores: [ValueType] = [.i32, .i64, .f32, .f64, .i32, .i32, .i64, .i64, .i64]
    let alignments: [UInt8] = [2, 3, 2, 3, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 2, 3, 2, 3, 0, 1, 0, 1, 2]
    for (index, type) in loads.enumerated() { set(0x28 + index...0x28 + index, .load, .i32, type) }
    for (index, type) in stores.enumerated() { set(0x36 + index...0x36 + index, .store, type, type) }
    for (index, alignment) in alignments.enumerated() { table[0x28 + index].alignment = alignment }
    // Tests and comparisons.
    set(0x45...0x45, .unary, .i32, .i32)
    set(0x46...0x4F, .binary, .i32, .i32)
    set(0x50...0x50, .unary, .i64, .i32)
    set(0x51...0x5A, .binary, .i64, .i32)
    set(0x5B...0x60, .binary, .f32, .i32)
    set(0x61...0x66, .binary, .f64, .i32)
    // Arithmetic.
    set(0x67...0x69, .unary, .i32, .i32)
    set(0x6A...0x78, .binary, .i32, .i32)
    set(0x79...0x7B, .unary, .i64, .i64)
    set(0x7C...0x8A, .binary, .i64, .i64)
    set(0x8B...0x91, .unary, .f32, .f32)
    set(0x92...0x98, .binary, .f32, .f32)
    set(0x99...0x9F, .unary, .f64, .f64)
    set(0xA0...0xA6, .binary, .f64, .f64)
    // Conversions, by result: to i32, i64, f32, f64, and the reinterpretations.
    let operands: [ValueType] = [
      .i64, .f32, .f32, .f64, .f64, .i32, .i32, .f32, .f32, .f64, .f64, .i32, .i32, .i64, .i64, .f64, .i32, .i32, .i64,
      .i64, .f32, .f32, .f64, .i32, .i64,
    ]
    let results: [ValueType] =
      Array(repeating: .i32, count: 5) + Array(repeating: .i64, count: 6) + Array(repeating: .f32, count: 5)
      + Array(repeating: .f64, count: 5) + [.i32, .i64, .f32, .f64]
    for (index, (operand, result)) in zip(operands, results).enumerated() {
      set(0xA7 + index...0xA7 + index, .unary, operand, result)
    }
    set(0xC0...0xC1, .unary, .i32, .i32)
    set(0xC2...0xC4, .unary, .i64, .i64)
    return table
  }

  private static let special: [Opcode: Kind] = [
    .unreachable: .unreachable, .nop: .nop, .block: .block, .loop: .loop, .if: .if, .else: .else, .end: .end, .br: .br,
    .brIf: .brIf, .brTable: .brTable, .return: .return, .call: .call, .callIndirect: .callIndirect, .drop: .drop,
    .select: .select, .selectTyped: .selectTyped, .localGet: .localGet, .localSet: .localSet, .localTee: .localTee,
    .globalGet: .globalGet, .globalSet: .globalSet, .tableGet: .tableGet, .tableSet: .tableSet,
    .memorySize: .memorySize, .memoryGrow: .memoryGrow, .i32Const: .constI32, .i64Const: .constI64,
    .f32Const: .constF32, .f64Const: .constF64, .refNull: .refNull, .refIsNull: .refIsNull, .refFunc: .refFunc,
  ]

  // MARK: What is no instruction here

  /// What to say of a byte that is no supported instruction.
  static func illegal(_ byte: UInt8, at offset: Int) -> WasmError {
    let hex = "opcode 0x" + String(byte, radix: 16)
    return switch byte {
    case 0x06...0x0A, 0x18, 0x19, 0x1F: WasmError(.unsupported(.exceptionHandling), at: offset, hex)
    case 0x12, 0x13: WasmError(.unsupported(.tailCall), at: offset, hex)
    case 0x14, 0x15, 0xD4...0xD6: WasmError(.unsupported(.functionReferences), at: offset, hex)
    case 0xD3, 0xFB: WasmError(.unsupported(.gc), at: offset, hex)
    case 0xE0...0xE6: WasmError(.unsupported(.stackSwitching), at: offset, hex)
    case 0xFD: WasmError(.unsupported(.simd), at: offset, hex)
    case 0xFE: WasmError(.unsupported(.threads), at: offset, hex)
    default: WasmError(.malformed, at: offset, "illegal \(hex)")
    }
  }

  /// What to say of a prefixed opcode that is no supported instruction.
  static func illegal(prefix: UInt8, _ sub: UInt32, at offset: Int) -> WasmError {
    if prefix == 0xFC && (19...22).contains(sub) {
      return WasmError(.unsupported(.wideArithmetic), at: offset, "opcode 0xfc \(sub)")
    }
    return WasmError(.malformed, at: offset, "illegal opcode 0x\(String(prefix, radix: 16)) \(sub)")
  }
}
