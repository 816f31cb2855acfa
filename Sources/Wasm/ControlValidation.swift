// Structured control: frames, branches, calls, and where code stops being live.
//
// Two notions of dead code meet here. The specification's is local to a frame: after an unconditional branch the frame's
// operand stack becomes polymorphic, and a block opened there is typed like any other. Ours, `isLive`, is about
// emission: nothing is emitted from the branch to the matching `else` or `end`, blocks inside included.

/// A block, loop, if, else or function body that is open. Plain data, 28 bytes.
struct ControlFrame: BitwiseCopyable {
  enum Kind: UInt8 { case function, block, loop, `if`, `else` }

  var signature: BlockSignature
  /// Height of the operand stack below the block's parameters.
  var height: UInt32
  /// Index in the operator buffer of the operator that opened it.
  var opener: UInt32
  var kind: Kind
  /// The rest of it cannot be reached.
  var isUnreachable: Bool
  /// It was opened in dead code: nothing of it is emitted.
  var isDead: Bool

  /// The types that a branch to its label carries, as a run of the type pool.
  @inline(__always) var label: (start: UInt32, count: UInt32) {
    kind == .loop
      ? (signature.parameterStart, signature.parameterCount) : (signature.resultStart, signature.resultCount)
  }
}

extension FunctionValidator {
  // MARK: Frames

  /// Opens a frame at the current height, below which its parameters have been popped.
  mutating func pushFrame(_ kind: ControlFrame.Kind, _ signature: BlockSignature, opener: Int, _ s: inout BodyState) {
    if frameCount == frameCapacity {
      let grown = UnsafeMutablePointer<ControlFrame>.allocate(capacity: frameCapacity * 2)
      unsafe grown.update(from: frames, count: frameCount)
      unsafe frames.deallocate()
      unsafe frames = grown
      frameCapacity *= 2
    }
    unsafe (frames + frameCount).initialize(
      to: ControlFrame(
        signature: signature, height: UInt32(s.height), opener: UInt32(opener), kind: kind, isUnreachable: false,
        isDead: !s.isLive))
    frameCount += 1
    unsafe s.base = s.top
    s.isPolymorphic = false
  }

  /// Marks the rest of the innermost frame as unreachable.
  func unreachable(_ s: inout BodyState) {
    unsafe frames[frameCount - 1].isUnreachable = true
    unsafe s.top = s.base
    s.isPolymorphic = true
    s.isLive = false
  }

  /// Pushes a run of the type pool, making room for it.
  mutating func push(run start: UInt32, _ count: UInt32, _ s: inout BodyState) throws(WasmError) {
    if count > 1 {
      let height = s.height + Int(count)
      if height > Implementation.maximumOperandStack { throw Self.tooManyOperands(at: s.at) }
      // Room for a value for each byte that is left must remain.
      let needed = height + s.reader.remaining + 1
      if needed > operandCapacity {
        let capacity = max(needed, operandCapacity * 2)
        let grown = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        unsafe grown.update(from: operands, count: s.height)
        unsafe s.base = grown + (s.base - operands)
        unsafe s.top = grown + (s.top - operands)
        unsafe s.highest = grown + (s.highest - operands)
        unsafe s.stack = grown
        unsafe operands.deallocate()
        unsafe operands = grown
        operandCapacity = capacity
      }
    }
    s.push(run: start, count)
  }

  // MARK: Blocks

  /// A block type (Core 5.4.1): empty, one value type, or the index of a function type.
  private func blockType(_ s: inout BodyState) throws(WasmError) -> BlockSignature {
    // A byte 0b01xxxxxx is a negative number of one byte: a value type, or 0x40 for none.
    if let byte = s.reader.peek, byte & 0xC0 == 0x40 {
      if byte == 0x40 {
        try s.reader.skip(1)
        return BlockSignature()
      }
      let type = try s.reader.valueType()
      return BlockSignature(resultStart: UInt32(type.tag), resultCount: 1)
    }
    let start = s.reader.offset
    let index = try s.reader.s33()
    guard index >= 0 else { throw WasmError(.malformed, at: start, "malformed block type \(index)") }
    guard index < tables.types.count else { throw s.invalid("unknown type \(index)") }
    return tables.types.signature(UInt32(index))
  }

  mutating func open(
    _ shape: OperatorShape, _ s: inout BodyState, _ buffer: inout OperatorBuffer
  ) throws(WasmError) {
    let signature = try blockType(&s)
    if shape.kind == .if { try s.pop(ValueType.i32.tag) }
    try s.pop(run: signature.parameterStart, signature.parameterCount)
    let kind: ControlFrame.Kind
    switch shape.kind {
    case .loop:
      kind = .loop
      if s.isLive { buffer.hasLoops = true }
      loopDepth += 1
      s.weight = Self.weight(loopDepth)
    case .if: kind = .if
    default: kind = .block
    }
    let opener = unsafe s.out - buffer.operators
    s.emit(
      shape.opcode, a: signature.parameterStart, b: signature.resultStart,
      immediate: UInt64(signature.parameterCount) | UInt64(signature.resultCount) << 32)
    pushFrame(kind, signature, opener: opener, &s)
    try push(run: signature.parameterStart, signature.parameterCount, &s)
  }

  /// 8 to the power of a loop depth, at most 4.
  static func weight(_ depth: Int) -> UInt32 { 1 << UInt32(3 * min(depth, 4)) }

  mutating func openElse(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    let index = frameCount - 1
    let frame = unsafe frames[index]
    guard frame.kind == .if else { throw WasmError(.malformed, at: s.at, "else without if") }
    try finish(frame, &s)
    if !frame.isDead {
      unsafe buffer.operators[Int(frame.opener)].flags.insert(.hasElse)
      emitBoundary(.else, &s)
    }
    unsafe frames[index].kind = .else
    unsafe frames[index].isUnreachable = false
    s.isPolymorphic = false
    try push(run: frame.signature.parameterStart, frame.signature.parameterCount, &s)
  }

  mutating func close(_ s: inout BodyState) throws(WasmError) {
    let frame = unsafe frames[frameCount - 1]
    let signature = frame.signature
    if frame.kind == .if {
      // Without an else, the parameters are the results of the case that is not there.
      guard signature.parameterCount == signature.resultCount,
        s.isSame(signature.parameterStart, signature.resultStart, count: signature.resultCount)
      else { throw s.mismatch("if without else, whose results are not its parameters") }
    }
    try finish(frame, &s)
    if !frame.isDead { emitBoundary(.end, &s) }
    if frame.kind == .loop {
      loopDepth -= 1
      s.weight = Self.weight(loopDepth)
    }
    frameCount -= 1
    guard frameCount > 0 else { return }
    unsafe s.base = s.stack + Int(frames[frameCount - 1].height)
    s.isPolymorphic = unsafe frames[frameCount - 1].isUnreachable
    try push(run: signature.resultStart, signature.resultCount, &s)
  }

  /// Pops a frame's results, and makes sure that nothing else is there.
  private func finish(_ frame: ControlFrame, _ s: inout BodyState) throws(WasmError) {
    try s.pop(run: frame.signature.resultStart, frame.signature.resultCount)
    guard unsafe s.top == s.base else {
      let left = unsafe s.list(s.base, UInt32(s.top - s.base))
      throw s.mismatch("values remain on the stack at the end of the block: \(left)")
    }
  }

  /// Emits the `else` or `end` of a frame that is not dead, from where code is live again.
  private func emitBoundary(_ opcode: Opcode, _ s: inout BodyState) {
    let fallsThrough = s.isLive
    s.isLive = true
    s.emit(opcode, flags: fallsThrough ? [] : .unreachableBefore)
  }

  // MARK: Branches

  /// The frame that a label depth means.
  @inline(__always)
  private func target(
    _ depth: UInt32, _ s: BodyState, _ buffer: inout OperatorBuffer
  ) throws(WasmError) -> (start: UInt32, count: UInt32) {
    guard Int(depth) < frameCount else { throw s.invalid("unknown label \(depth)") }
    let frame = unsafe frames[frameCount - 1 - Int(depth)]
    if s.isLive && frame.kind != .function {
      unsafe buffer.operators[Int(frame.opener)].flags.insert(.branchedTo)
    }
    return frame.label
  }

  mutating func branch(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    let depth = try s.reader.u32()
    let label = try target(depth, s, &buffer)
    try s.pop(run: label.start, label.count)
    s.emit(.br, a: depth)
    unreachable(&s)
  }

  mutating func branchIf(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    let depth = try s.reader.u32()
    try s.pop(ValueType.i32.tag)
    let label = try target(depth, s, &buffer)
    try s.pop(run: label.start, label.count)
    try push(run: label.start, label.count, &s)
    s.emit(.brIf, a: depth)
  }

  mutating func branchTable(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    // The default target comes after those that are counted.
    let count = try s.reader.count(of: "branch targets", limit: .max) + 1
    try s.pop(ValueType.i32.tag)
    let first = buffer.branchTargetCount
    if s.isLive { buffer.reserveTargets(count) }
    var arity: UInt32?
    var checked: UInt32?
    for index in 0..<count {
      let depth = try s.reader.u32()
      let label = try target(depth, s, &buffer)
      if arity ?? label.count != label.count {
        throw s.mismatch("branch targets take \(arity ?? 0) and \(label.count) values")
      }
      arity = label.count
      // Neighbours mostly have the same label, whose types need no second look.
      if checked != label.start && label.count != 0 {
        _ = try unsafe s.popped(run: label.start, label.count)
        checked = label.start
      }
      if s.isLive { unsafe (buffer.targets + first + index).initialize(to: depth) }
    }
    if s.isLive { buffer.branchTargetCount = first + count }
    s.emit(.brTable, a: UInt32(first), b: UInt32(count))
    unreachable(&s)
  }

  // MARK: Calls

  mutating func call(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    let index = try s.reader.u32()
    guard Int(index) < tables.functions.count else { throw s.invalid("unknown function \(index)") }
    let type = tables.functions[Int(index)]
    let signature = tables.types.signature(type)
    try s.pop(run: signature.parameterStart, signature.parameterCount)
    try push(run: signature.resultStart, signature.resultCount, &s)
    s.emit(.call, a: index, b: type)
    if s.isLive { buffer.hasCalls = true }
  }

  mutating func callIndirect(_ s: inout BodyState, _ buffer: inout OperatorBuffer) throws(WasmError) {
    let type = try s.reader.u32()
    let table = try s.reader.u32()
    let element = try tableElement(table, s)
    guard element == .funcref else { throw s.mismatch("table \(table) has elements of \(element), not funcref") }
    guard Int(type) < tables.types.count else { throw s.invalid("unknown type \(type)") }
    let signature = tables.types.signature(type)
    try s.pop(ValueType.i32.tag)
    try s.pop(run: signature.parameterStart, signature.parameterCount)
    try push(run: signature.resultStart, signature.resultCount, &s)
    s.emit(.callIndirect, a: type, b: table)
    if s.isLive { buffer.hasCalls = true }
  }
}
