// The instructions behind the prefix 0xFC: saturating conversions, and bulk operations on memories and tables.

extension FunctionValidator {
  mutating func prefixed(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    let sub = try s.reader.u32()
    guard sub < 18, let opcode = Opcode(rawValue: 0xFC00 | UInt16(sub)) else {
      throw OperatorShape.illegal(prefix: 0xFC, sub, at: s.at)
    }
    let i32 = ValueType.i32.tag
    switch opcode {
    case .i32TruncSatF32S, .i32TruncSatF32U, .i32TruncSatF64S, .i32TruncSatF64U,
      .i64TruncSatF32S, .i64TruncSatF32U, .i64TruncSatF64S, .i64TruncSatF64U:
      let operand = sub & 2 == 0 ? ValueType.f32 : .f64
      let result = sub < 4 ? ValueType.i32 : .i64
      try s.replace(operand.tag, with: result.tag)
      return s.emit(opcode, type: result)

    // MARK: Memories (Core 3.3.6)
    case .memoryInit:
      let segment = try dataSegment(&s)
      let memory = try memoryIndex(s.reader.u32(), s)
      try popThree(i32, &s)
      s.emit(opcode, a: segment, b: memory)
    case .dataDrop:
      s.emit(opcode, a: try dataSegment(&s))
    case .memoryCopy:
      let destination = try memoryIndex(s.reader.u32(), s)
      let source = try memoryIndex(s.reader.u32(), s)
      try popThree(i32, &s)
      s.emit(opcode, a: destination, b: source)
    case .memoryFill:
      let memory = try memoryIndex(s.reader.u32(), s)
      try popThree(i32, &s)
      s.emit(opcode, a: memory)

    // MARK: Tables (Core 3.3.5)
    case .tableInit:
      let segment = try s.reader.u32()
      let table = try s.reader.u32()
      let type = try tableElement(table, s)
      let segmentType = try elementSegment(segment, s)
      guard type == segmentType else { throw s.mismatch("table of \(type), segment of \(segmentType)") }
      try popThree(i32, &s)
      s.emit(opcode, type: type, a: segment, b: table)
    case .elemDrop:
      let segment = try s.reader.u32()
      s.emit(opcode, type: try elementSegment(segment, s), a: segment)
    case .tableCopy:
      let destination = try s.reader.u32()
      let source = try s.reader.u32()
      let type = try tableElement(destination, s)
      let sourceType = try tableElement(source, s)
      guard type == sourceType else { throw s.mismatch("table of \(type), source of \(sourceType)") }
      try popThree(i32, &s)
      s.emit(opcode, type: type, a: destination, b: source)
    case .tableGrow:
      let table = try s.reader.u32()
      let type = try tableElement(table, s)
      try s.pop(i32)
      try s.replace(type.tag, with: i32)
      s.emit(opcode, type: type, a: table)
    case .tableSize:
      let table = try s.reader.u32()
      let type = try tableElement(table, s)
      s.push(i32)
      return s.emit(opcode, type: type, a: table)
    case .tableFill:
      let table = try s.reader.u32()
      let type = try tableElement(table, s)
      try s.pop(i32)
      try s.pop(type.tag)
      try s.pop(i32)
      s.emit(opcode, type: type, a: table)
    default:
      throw OperatorShape.illegal(prefix: 0xFC, sub, at: s.at)
    }
    // All that come here, the two that return above aside, are calls of built-ins.
    if s.isLive { buffer.hasCalls = true }
    if s.isLive && (opcode == .memoryInit || opcode == .memoryCopy || opcode == .memoryFill) {
      buffer.usesMemory = true
    }
  }

  private func popThree(_ tag: UInt8, _ s: inout BodyState) throws(WasmError) {
    try s.pop(tag)
    try s.pop(tag)
    try s.pop(tag)
  }

  /// Reads and checks a data segment's index, which needs a data count section to be known at this point.
  private func dataSegment(_ s: inout BodyState) throws(WasmError) -> UInt32 {
    let index = try s.reader.u32()
    guard let count = tables.dataCount else { throw WasmError(.malformed, at: s.at, "data count section required") }
    guard index < count else { throw s.invalid("unknown data segment \(index)") }
    return index
  }

  private func elementSegment(_ index: UInt32, _ s: BodyState) throws(WasmError) -> ValueType {
    guard Int(index) < tables.elements.count else { throw s.invalid("unknown elem segment \(index)") }
    return tables.elements[Int(index)]
  }
}
