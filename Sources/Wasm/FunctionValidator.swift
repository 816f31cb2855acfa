// Function bodies: one pass that decodes, validates, and leaves operators for the compiler.
//
// This file holds the loop over instructions. Its hot state is a `BodyState`; what belongs to control flow is in
// `ControlValidation.swift`, bulk memory and tables in `PrefixedValidation.swift`. Nothing is allocated for an operator:
// the operand stack has room for a value for each byte of the body from the start, and makes room for more only before
// an instruction that pushes many at once; the control stack doubles when full, so it is linear in the body's size.

/// Decodes and validates function bodies, one at a time, into an ``OperatorBuffer``.
///
/// Each thread has its own; what it keeps between bodies is storage.
///
/// Spec: Core 3.4.1, "Functions", and A.3, "Validation Algorithm".
@safe
public struct FunctionValidator: ~Copyable {
  let module: WasmModule
  let binary: WasmBinary
  let tables: ValidationTables
  let shapes = OperatorShape.table
  /// Types of operands, as tags. Initialised below the top.
  var operands: UnsafeMutablePointer<UInt8>
  var operandCapacity = 0
  /// Control frames, innermost last. Initialised below `frameCount`.
  var frames: UnsafeMutablePointer<ControlFrame>
  var frameCapacity = 64
  var frameCount = 0
  /// How many of the frames are loops.
  var loopDepth = 0

  /// Makes a validator for the bodies of a module.
  ///
  /// - Parameter binary: what `module` was decoded from.
  public init(module: WasmModule, binary: WasmBinary) {
    self.module = module
    self.binary = binary
    tables = module.validationTables
    unsafe operands = .allocate(capacity: 1)
    unsafe frames = .allocate(capacity: frameCapacity)
  }

  deinit {
    unsafe operands.deallocate()
    unsafe frames.deallocate()
  }

  /// Decodes and validates the body with index `bodyIndex` (function `module.importedFunctionCount + bodyIndex`).
  ///
  /// - Throws: what is wrong with the body, with its wasm offset; the buffer's contents are then of no use.
  public mutating func validate(bodyIndex: Int, into buffer: inout OperatorBuffer) throws(WasmError) {
    let body = module.bodies[bodyIndex].body
    let functionIndex = module.importedFunctionCount + bodyIndex
    let typeIndex = tables.functions[functionIndex]
    let signature = tables.types.signature(typeIndex)
    var reader = BinaryReader(binary, body)

    buffer.prepare(bodySize: body.count)
    buffer.functionIndex = UInt32(functionIndex)
    buffer.typeIndex = typeIndex
    try locals(&reader, signature, into: &buffer)

    if operandCapacity <= reader.remaining {
      unsafe operands.deallocate()
      operandCapacity = reader.remaining + 1
      unsafe operands = .allocate(capacity: operandCapacity)
    }
    // A value type and its tag are the same byte in memory, and the pool lives as long as the module does.
    let pool = unsafe UnsafeRawPointer(tables.types.pool.base).assumingMemoryBound(to: UInt8.self)
    var state = unsafe BodyState(
      reader: reader, at: reader.offset, top: operands, base: operands, stack: operands, highest: operands,
      out: buffer.operators, pool: pool)
    loopDepth = 0
    frameCount = 0
    pushFrame(.function, signature, opener: 0, &state)
    try instructions(&state, &buffer)

    guard state.reader.isAtEnd else {
      throw WasmError(
        .malformed, at: state.reader.offset, "END opcode expected: \(state.reader.remaining) bytes after the last end")
    }
    buffer.count = unsafe state.out - buffer.operators
    buffer.maximumStackHeight = unsafe state.highest - state.stack
    if buffer.maximumStackHeight > Implementation.maximumOperandStack {
      throw Self.tooManyOperands(at: body.lowerBound)
    }
  }

  static func tooManyOperands(at offset: Int) -> WasmError {
    WasmError(.limit, at: offset, "more than \(Implementation.maximumOperandStack) values on the operand stack")
  }

  /// Local declarations (Core 5.5.13): runs of a type, in front of which come the parameters.
  private func locals(
    _ reader: inout BinaryReader, _ signature: BlockSignature, into buffer: inout OperatorBuffer
  ) throws(WasmError) {
    buffer.localCount = Int(signature.parameterCount)
    buffer.parameterCount = buffer.localCount
    let start = reader.offset
    let groups = try reader.count(of: "groups of locals", entrySize: 2, limit: .max)
    var total: UInt64 = 0
    for _ in 0..<groups {
      let groupStart = reader.offset
      let count = try reader.u32()
      let type = try reader.valueType()
      total += UInt64(count)
      if total > UInt64(UInt32.max) { throw WasmError(.malformed, at: groupStart, "too many locals: \(total)") }
      // Once past the limit, only what makes the body malformed is of interest.
      if total <= Implementation.maximumLocals { buffer.appendLocals(type, count: Int(count)) }
    }
    total += UInt64(signature.parameterCount)
    if total > Implementation.maximumLocals {
      throw WasmError(.limit, at: start, "\(total) locals, at most \(Implementation.maximumLocals)")
    }
    buffer.prepareLocals(bodySize: reader.remaining)
  }

  // MARK: The loop

  private mutating func instructions(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    let shapes = unsafe shapes.base
    let memoryCount = tables.memoryCount
    let localCount = UInt32(buffer.localCount)
    let locals = unsafe buffer.localEntries
    let weights = unsafe buffer.weights
    let body = UInt64(buffer.body)

    while true {
      s.at = s.reader.offset
      let byte = try s.reader.byte()
      let shape = unsafe shapes[Int(byte)]
      let result = shape.result.tag
      switch shape.kind {
      case .unary:
        try s.replace(shape.operand.tag, with: result)
        s.emit(shape.opcode, type: shape.result)
      case .binary:
        try s.replaceTwo(shape.operand.tag, with: result)
        s.emit(shape.opcode, type: shape.result)

      // MARK: Locals and globals (Core 3.3.4)
      case .localGet, .localSet, .localTee:
        let index = try s.reader.u32()
        guard index < localCount else { throw s.invalid("unknown local \(index)") }
        var local = unsafe locals[Int(index)]
        if local >> 32 != body { local = firstUse(index, &buffer) }
        let type = ValueType(tag: UInt8(truncatingIfNeeded: local))
        let number = UInt32(truncatingIfNeeded: local) >> 8
        switch shape.kind {
        case .localGet: s.push(type.tag)
        case .localSet: try s.pop(type.tag)
        default: try s.replace(type.tag, with: type.tag)
        }
        if s.isLive {
          let (sum, overflow) = unsafe weights[Int(number)].addingReportingOverflow(s.weight)
          unsafe weights[Int(number)] = overflow ? .max : sum
        }
        s.emit(shape.opcode, type: type, a: number)
      case .globalGet:
        let index = try s.reader.u32()
        guard Int(index) < tables.globals.count else { throw s.invalid("unknown global \(index)") }
        let type = tables.globals[Int(index)].value
        s.push(type.tag)
        s.emit(.globalGet, type: type, a: index)
      case .globalSet:
        let index = try s.reader.u32()
        guard Int(index) < tables.globals.count else { throw s.invalid("unknown global \(index)") }
        let global = tables.globals[Int(index)]
        guard global.isMutable else { throw s.invalid("global is immutable: \(index)") }
        try s.pop(global.value.tag)
        s.emit(.globalSet, type: global.value, a: index)

      // MARK: Constants
      case .constI32:
        let value = try s.reader.s32()
        s.push(ValueType.i32.tag)
        s.emit(.i32Const, type: .i32, immediate: UInt64(UInt32(bitPattern: value)))
      case .constI64:
        let value = try s.reader.s64()
        s.push(ValueType.i64.tag)
        s.emit(.i64Const, type: .i64, immediate: UInt64(bitPattern: value))
      case .constF32:
        let bits = try s.reader.fixed32()
        s.push(ValueType.f32.tag)
        s.emit(.f32Const, type: .f32, immediate: UInt64(bits))
      case .constF64:
        let bits = try s.reader.fixed64()
        s.push(ValueType.f64.tag)
        s.emit(.f64Const, type: .f64, immediate: bits)

      // MARK: Memory (Core 3.3.6)
      case .load, .store:
        let alignment = try s.reader.u32()
        let offset = alignment < 64 ? try s.reader.u64() : 0
        if alignment > UInt32(shape.alignment) || offset > UInt64(UInt32.max) || memoryCount == 0 {
          throw badAccess(alignment, offset, shape, s)
        }
        if shape.kind == .load {
          try s.replace(ValueType.i32.tag, with: result)
        } else {
          try s.pop(shape.operand.tag)
          try s.pop(ValueType.i32.tag)
        }
        s.emit(shape.opcode, type: shape.result, b: alignment, immediate: offset)
        buffer.usesMemory = buffer.usesMemory || s.isLive
      case .memorySize, .memoryGrow:
        let index = try memoryIndex(s.reader.u32(), s)
        if shape.kind == .memorySize {
          s.push(ValueType.i32.tag)
        } else {
          try s.replace(ValueType.i32.tag, with: ValueType.i32.tag)
          if s.isLive { buffer.hasCalls = true }
        }
        s.emit(shape.opcode, type: .i32, a: index)
        buffer.usesMemory = buffer.usesMemory || s.isLive

      // MARK: Parametric (Core 3.3.3)
      case .drop:
        let tag = try s.popAny()
        if s.isLive { s.emit(.drop, type: ValueType(tag: tag)) }
      case .select: try select(&s)
      case .selectTyped: try selectTyped(&s)
      case .nop: break

      // MARK: Control (Core 3.3.8)
      case .block, .loop, .if: try open(shape, &s, &buffer)
      case .else: try openElse(&s, &buffer)
      case .end:
        try close(&s)
        if frameCount == 0 { return }
      case .br: try branch(&s, &buffer)
      case .brIf: try branchIf(&s, &buffer)
      case .brTable: try branchTable(&s, &buffer)
      case .return:
        let results = unsafe frames[0].signature
        try s.pop(run: results.resultStart, results.resultCount)
        s.emit(.return)
        unreachable(&s)
      case .unreachable:
        s.emit(.unreachable)
        unreachable(&s)
      case .call: try call(&s, &buffer)
      case .callIndirect: try callIndirect(&s, &buffer)

      // MARK: References and tables (Core 3.3.2 and 3.3.5)
      case .refNull:
        let type = try s.reader.referenceType()
        s.push(type.tag)
        s.emit(.refNull, type: type)
      case .refIsNull: try refIsNull(&s)
      case .refFunc: try refFunc(&s)
      case .tableGet:
        let index = try s.reader.u32()
        let type = try tableElement(index, s)
        try s.replace(ValueType.i32.tag, with: type.tag)
        s.emit(.tableGet, type: type, a: index)
      case .tableSet:
        let index = try s.reader.u32()
        let type = try tableElement(index, s)
        try s.pop(type.tag)
        try s.pop(ValueType.i32.tag)
        s.emit(.tableSet, type: type, a: index)
      case .prefixed: try prefixed(&s, &buffer)
      case .illegal: throw OperatorShape.illegal(byte, at: s.at)
      }
    }
  }

  // MARK: The less frequent

  /// Gives a local that has not been used before its number.
  private func firstUse(_ index: UInt32, _ buffer: inout OperatorBuffer) -> UInt64 {
    let signature = tables.types.signature(buffer.typeIndex)
    return buffer.firstUse(
      index,
      parameter: index < signature.parameterCount ? tables.types.pool[Int(signature.parameterStart + index)] : nil)
  }

  /// What is wrong with a load's or store's immediates.
  @inline(never)
  private func badAccess(_ alignment: UInt32, _ offset: UInt64, _ shape: OperatorShape, _ s: BodyState) -> WasmError {
    // A memory index is announced by bit 6 of the alignment.
    if alignment >= 128 {
      return WasmError(.malformed, at: s.at, "malformed memop flags \(alignment) (at \(shape.opcode))")
    }
    if alignment >= 64 { return WasmError(.unsupported(.multiMemory), at: s.at, "\(shape.opcode) with a memory index") }
    if tables.memoryCount == 0 { return s.invalid("unknown memory 0") }
    if alignment > UInt32(shape.alignment) {
      return s.invalid("alignment must not be larger than natural: 2^\(alignment), at most 2^\(shape.alignment)")
    }
    return s.invalid("offset out of range: \(offset)")
  }

  /// A memory index, checked.
  func memoryIndex(_ index: UInt32, _ s: BodyState) throws(WasmError) -> UInt32 {
    guard index < tables.memoryCount else { throw s.invalid("unknown memory \(index)") }
    return index
  }

  /// The element type of a table.
  func tableElement(_ index: UInt32, _ s: BodyState) throws(WasmError) -> ValueType {
    guard Int(index) < tables.tables.count else { throw s.invalid("unknown table \(index)") }
    return tables.tables[Int(index)]
  }

  private func select(_ s: inout BodyState) throws(WasmError) {
    try s.pop(ValueType.i32.tag)
    let second = try s.popAny()
    let first = try s.popAny()
    let tag = first == BodyState.bottom ? second : first
    if second != BodyState.bottom && second != tag {
      throw s.mismatch("operands are \(ValueType(tag: first)) and \(ValueType(tag: second))")
    }
    if tag == BodyState.bottom { return s.push(tag) }
    let type = ValueType(tag: tag)
    if type.isReference { throw s.mismatch("select of \(type) needs a type annotation") }
    s.push(tag)
    s.emit(.select, type: type)
  }

  private func selectTyped(_ s: inout BodyState) throws(WasmError) {
    let count = try s.reader.count(of: "result types", limit: .max)
    var type = ValueType.i32
    for _ in 0..<count { type = try s.reader.valueType() }
    guard count == 1 else { throw s.invalid("invalid result arity: \(count)") }
    try s.pop(ValueType.i32.tag)
    try s.pop(type.tag)
    try s.replace(type.tag, with: type.tag)
    s.emit(.select, type: type)
  }

  private func refIsNull(_ s: inout BodyState) throws(WasmError) {
    let tag = try s.popAny()
    s.push(ValueType.i32.tag)
    guard tag != BodyState.bottom else { return }
    let type = ValueType(tag: tag)
    guard type.isReference else { throw s.mismatch("expected a reference, found \(type)") }
    s.emit(.refIsNull, type: type)
  }

  private func refFunc(_ s: inout BodyState) throws(WasmError) {
    let index = try s.reader.u32()
    guard Int(index) < tables.functions.count else { throw s.invalid("unknown function \(index)") }
    let word = Int(index >> 6)
    guard word < tables.referenced.count, tables.referenced[word] >> UInt64(index & 63) & 1 != 0 else {
      throw s.invalid("undeclared function reference \(index)")
    }
    s.push(ValueType.funcref.tag)
    s.emit(.refFunc, type: .funcref, a: index)
  }
}
