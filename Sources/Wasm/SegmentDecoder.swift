// Element and data segments, and the constant expressions that they and globals are initialised with.
//
// A constant expression is decoded into a pool that all of the module's share: an element segment can hold ten million
// of them, of three bytes each, and an array for each would cost twenty times that.

extension ModuleDecoder {
  // MARK: Element segments (Core 5.5.12)

  mutating func elementSection(_ reader: inout BinaryReader) throws(WasmError) {
    let count = try reader.count(
      of: "element segments", entrySize: 3, limit: Implementation.maximumElementSegments)
    for _ in 0..<count { module.elements.append(try elementSegment(&reader)) }
  }

  /// One segment, in one of eight forms. Bit 0 of the leading number: not active. Bit 1: an explicit table if active,
  /// declarative if not. Bit 2: expressions rather than function indices.
  private mutating func elementSegment(_ reader: inout BinaryReader) throws(WasmError) -> ElementSegment {
    let start = reader.offset
    let form = try reader.u32()
    guard form < 8 else { throw WasmError(.malformed, at: start, "malformed elements segment kind \(form)") }
    let isActive = form & 1 == 0
    let isExplicit = form & 2 != 0
    let hasExpressions = form & 4 != 0

    var mode = isExplicit ? ElementSegment.Mode.declarative : .passive
    var table: UInt32 = 0
    if isActive {
      if isExplicit { table = try reader.u32() }
      mode = .active(table: table, offset: try constantExpression(&reader, of: .i32))
    }
    var type = ValueType.funcref
    if hasExpressions, form != 4 {
      type = try reader.referenceType()
    } else if !hasExpressions, form != 0 {
      let kindOffset = reader.offset
      let kind = try reader.byte()
      guard kind == 0 else { throw WasmError(.malformed, at: kindOffset, "malformed element kind \(kind)") }
    }
    if isActive {
      if Int(table) >= module.tables.count {
        reject(start, "unknown table \(table)")
      } else if module.tables[Int(table)].element != type {
        reject(start, "type mismatch: segment of \(type) for table of \(module.tables[Int(table)].element)")
      }
    }
    let items =
      hasExpressions
      ? ElementSegment.Items.expressions(try elementExpressions(&reader, of: type))
      : .functions(try elementFunctions(&reader))
    return ElementSegment(mode: mode, type: type, items: items)
  }

  private mutating func elementFunctions(_ reader: inout BinaryReader) throws(WasmError) -> [UInt32] {
    let count = try reader.count(of: "elements", limit: Implementation.maximumSegmentElements)
    var functions: [UInt32] = []
    functions.reserveCapacity(count)
    for _ in 0..<count {
      let start = reader.offset
      let index = try reader.u32()
      if Int(index) >= module.functions.count { reject(start, "unknown function \(index)") }
      noteReference(index)
      functions.append(index)
    }
    return functions
  }

  private mutating func elementExpressions(
    _ reader: inout BinaryReader, of type: ValueType
  ) throws(WasmError) -> [ConstantExpression] {
    let count = try reader.count(of: "elements", limit: Implementation.maximumSegmentElements)
    var expressions: [ConstantExpression] = []
    expressions.reserveCapacity(count)
    for _ in 0..<count { expressions.append(try constantExpression(&reader, of: type)) }
    return expressions
  }

  // MARK: Data segments (Core 5.5.14)

  mutating func dataSection(_ reader: inout BinaryReader) throws(WasmError) {
    let start = reader.offset
    let count = try reader.count(of: "data segments", entrySize: 2, limit: Implementation.maximumDataSegments)
    if let announced = module.dataCount, Int(announced) != count {
      throw WasmError(
        .malformed, at: start, "data count and data section have inconsistent lengths: \(announced) and \(count)")
    }
    for _ in 0..<count {
      let start = reader.offset
      let form = try reader.u32()
      guard form < 3 else { throw WasmError(.malformed, at: start, "malformed data segment kind \(form)") }
      var mode = DataSegment.Mode.passive
      if form != 1 {
        let memory = form == 2 ? try reader.u32() : 0
        if Int(memory) >= module.memories.count { reject(start, "unknown memory \(memory)") }
        mode = .active(memory: memory, offset: try constantExpression(&reader, of: .i32))
      }
      let sizeOffset = reader.offset
      let size = try reader.u32()
      guard let bytes = reader.split(size) else {
        throw WasmError(
          .malformed, at: sizeOffset,
          "\(BinaryReader.unexpectedEndMessage): a data segment of \(size) bytes, \(reader.remaining) left")
      }
      module.data.append(DataSegment(mode: mode, bytes: bytes.offset..<bytes.endOffset))
    }
  }

  // MARK: Constant expressions (Core 3.3.10)

  /// A constant expression that gives one value of a type.
  mutating func constantExpression(
    _ reader: inout BinaryReader, of type: ValueType
  ) throws(WasmError) -> ConstantExpression {
    let expressionStart = reader.offset
    let first = module.constantInstructions.count
    operands.removeAll(keepingCapacity: true)
    while true {
      let start = reader.offset
      let opcode = try reader.byte()
      if opcode == 0x0B { break }
      let instruction: ConstantInstruction
      switch opcode {
      case 0x41: instruction = .i32Const(try reader.s32())
      case 0x42: instruction = .i64Const(try reader.s64())
      case 0x43: instruction = .f32Const(bits: try reader.fixed32())
      case 0x44: instruction = .f64Const(bits: try reader.fixed64())
      case 0x23: instruction = .globalGet(try reader.u32())
      case 0xD0: instruction = .refNull(try reader.referenceType())
      case 0xD2: instruction = .refFunction(try reader.u32())
      case 0x6A: instruction = .i32Add
      case 0x6B: instruction = .i32Sub
      case 0x6C: instruction = .i32Mul
      case 0x7C: instruction = .i64Add
      case 0x7D: instruction = .i64Sub
      case 0x7E: instruction = .i64Mul
      default: throw notConstant(opcode, at: start, &reader)
      }
      check(instruction, at: start)
      module.constantInstructions.append(instruction)
    }
    if operands != [type] {
      reject(expressionStart, "type mismatch: constant expression of \(FunctionType.list(operands)), not [\(type)]")
    }
    let count = module.constantInstructions.count - first
    return ConstantExpression(start: UInt32(first), count: UInt32(count))
  }

  /// Applies an instruction to the operand types.
  private mutating func check(_ instruction: ConstantInstruction, at offset: Int) {
    switch instruction {
    case .i32Const: operands.append(.i32)
    case .i64Const: operands.append(.i64)
    case .f32Const: operands.append(.f32)
    case .f64Const: operands.append(.f64)
    case .refNull(let type): operands.append(type)
    case .refFunction(let index):
      if Int(index) >= module.functions.count { reject(offset, "unknown function \(index)") }
      noteReference(index)
      operands.append(.funcref)
    case .globalGet(let index):
      guard Int(index) < module.globals.count else {
        reject(offset, "unknown global \(index)")
        return operands.append(.i32)
      }
      let type = module.globals[Int(index)]
      if type.isMutable { reject(offset, "constant expression required: global \(index) is mutable") }
      operands.append(type.value)
    case .i32Add, .i32Sub, .i32Mul: checkBinary(.i32, at: offset)
    case .i64Add, .i64Sub, .i64Mul: checkBinary(.i64, at: offset)
    }
  }

  private mutating func checkBinary(_ type: ValueType, at offset: Int) {
    // By index: a slice would share the array's storage, and removing from it would then copy all of it.
    let count = operands.count
    if count < 2 || operands[count - 1] != type || operands[count - 2] != type {
      let found = FunctionType.list(Array(operands.suffix(2)))
      reject(offset, "type mismatch: expected [\(type) \(type)], found \(found)")
    }
    operands.removeLast(min(count, 2))
    operands.append(type)
  }

  /// What to say of an instruction that constant expressions may not have.
  private func notConstant(_ byte: UInt8, at offset: Int, _ reader: inout BinaryReader) -> WasmError {
    if byte == 0xFC {
      guard let sub = try? reader.u32() else { return reader.unexpectedEnd() }
      if sub < 18 { return WasmError(.invalid, at: offset, "constant expression required") }
      return OperatorShape.illegal(prefix: byte, sub, at: offset)
    }
    if let opcode = Opcode(rawValue: UInt16(byte)) {
      return WasmError(.invalid, at: offset, "constant expression required: \(opcode) is not constant")
    }
    return OperatorShape.illegal(byte, at: offset)
  }

  /// Notes that a function is referred to outside of function bodies, so that `ref.func` may refer to it inside.
  mutating func noteReference(_ index: UInt32) {
    guard Int(index) < module.functions.count else { return }
    if module.referenced.isEmpty {
      module.referenced = Array(repeating: 0, count: module.functions.count / 64 + 1)
    }
    module.referenced[Int(index >> 6)] |= 1 << UInt64(index & 63)
  }
}
