// The innermost state of validating a body: where it reads, what is on the operand stack, where it writes.
//
// The algorithm is that of the specification's appendix: a stack of operand types and a stack of control frames, and
// in code that cannot be reached an operand stack that yields operands of no particular type ("bottom") when it is
// empty. What is done for speed: types are compared as single bytes; a run of them (the parameters of a call, the
// results of a block) as memory; every operation has an inlined case for operands that are just right, and anything
// else, which is dead code or an error, goes to a function that is not inlined and takes this struct by value, so that
// the loop may keep it in registers.

internal import Glibc

/// The hot part of ``FunctionValidator``'s state. Pointers are into buffers of the validator and the operator buffer,
/// which outlive it.
@safe
struct BodyState {
  /// The tag of an operand that dead code took from nowhere: fits wherever any type fits.
  static let bottom: UInt8 = 0xFF

  var reader: BinaryReader
  /// Wasm offset of the current operator.
  var at: Int
  /// Past the topmost operand type; types are stored as tags.
  var top: UnsafeMutablePointer<UInt8>
  /// The bottom of the current control frame's operands.
  var base: UnsafeMutablePointer<UInt8>
  /// The bottom of the operand stack.
  var stack: UnsafeMutablePointer<UInt8>
  /// The highest `top` has been in live code.
  var highest: UnsafeMutablePointer<UInt8>
  /// Where the next operator goes. There is room for one for each byte that is left.
  var out: UnsafeMutablePointer<Operator>
  /// The type pool, as tags.
  let pool: UnsafePointer<UInt8>
  /// What an access to a local weighs here.
  var weight: UInt32 = 1
  /// The rest of the current frame cannot be reached, so its operand stack has no bottom.
  var isPolymorphic = false
  /// Operators are to be emitted: no enclosing frame is past an unconditional branch.
  var isLive = true

  // MARK: Emission

  /// Appends an operator, if it is live.
  @inline(__always)
  mutating func emit(
    _ opcode: Opcode, type: ValueType = .i32, flags: Operator.Flags = [], a: UInt32 = 0, b: UInt32 = 0,
    immediate: UInt64 = 0
  ) {
    guard isLive else { return }
    unsafe out.initialize(
      to: Operator(
        opcode, type: type, flags: flags, offset: UInt32(truncatingIfNeeded: at), a: a, b: b, immediate: immediate))
    unsafe out += 1
  }

  // MARK: Operands

  /// Number of operands on the stack.
  var height: Int { unsafe top - stack }

  /// Pushes an operand. Whoever calls it at most once for each byte it reads need not make room.
  @inline(__always)
  mutating func push(_ tag: UInt8) {
    unsafe top.initialize(to: tag)
    unsafe top += 1
    if unsafe top > highest && isLive { unsafe highest = top }
  }

  /// Pops an operand of a type.
  @inline(__always)
  mutating func pop(_ tag: UInt8) throws(WasmError) {
    if unsafe top > base && (top - 1).pointee == tag {
      unsafe top -= 1
    } else {
      unsafe top = try popped(tag)
    }
  }

  /// Pops an operand and pushes one in its place.
  @inline(__always)
  mutating func replace(_ operand: UInt8, with result: UInt8) throws(WasmError) {
    if unsafe top > base && (top - 1).pointee == operand {
      unsafe (top - 1).pointee = result
    } else {
      unsafe top = try popped(operand)
      push(result)
    }
  }

  /// Pops two operands of a type and pushes one.
  @inline(__always)
  mutating func replaceTwo(_ operand: UInt8, with result: UInt8) throws(WasmError) {
    if unsafe top - base >= 2 && (top - 1).pointee == operand && (top - 2).pointee == operand {
      unsafe top -= 1
      unsafe (top - 1).pointee = result
    } else {
      unsafe top = try popped(operand)
      unsafe top = try popped(operand)
      push(result)
    }
  }

  /// Pops an operand of any type.
  @inline(__always)
  mutating func popAny() throws(WasmError) -> UInt8 {
    if unsafe top > base {
      unsafe top -= 1
      return unsafe top.pointee
    }
    if isPolymorphic { return Self.bottom }
    throw mismatch("expected a value, the stack is empty")
  }

  /// Where the top is after popping an operand of a type.
  @inline(never)
  private func popped(_ tag: UInt8) throws(WasmError) -> UnsafeMutablePointer<UInt8> {
    if unsafe top > base {
      let actual = unsafe (top - 1).pointee
      if actual == tag || actual == Self.bottom { return unsafe top - 1 }
      throw mismatch("expected \(ValueType(tag: tag)), found \(ValueType(tag: actual))")
    }
    if isPolymorphic { return unsafe top }
    throw mismatch("expected \(ValueType(tag: tag)), the stack is empty")
  }

  // MARK: Runs of operands

  /// Pops a run of the type pool.
  @inline(__always)
  mutating func pop(run start: UInt32, _ count: UInt32) throws(WasmError) {
    if count == 0 { return }
    if count == 1 { return try pop(unsafe pool[Int(start)]) }
    unsafe top = try popped(run: start, count)
  }

  /// Where the top is after popping a run of the type pool.
  @inline(never)
  func popped(run start: UInt32, _ count: UInt32) throws(WasmError) -> UnsafeMutablePointer<UInt8> {
    let wanted = unsafe pool + Int(start)
    let there = min(unsafe top - base, Int(count))
    // The topmost `there` operands against the end of the run.
    let operands = unsafe top - there
    let expected = unsafe wanted + (Int(count) - there)
    if unsafe memcmp(operands, expected, there) != 0 {
      // Written without an early exit, so that it is vectorised: hostile code can make it long.
      var differences: UInt8 = 0
      for index in 0..<there {
        let actual = unsafe operands[index]
        differences |= actual == Self.bottom ? 0 : unsafe actual ^ expected[index]
      }
      if differences != 0 {
        throw mismatch("expected \(unsafe list(wanted, count)), found \(unsafe list(operands, UInt32(there)))")
      }
    }
    if there < Int(count) && !isPolymorphic {
      throw mismatch("expected \(unsafe list(wanted, count)), found \(unsafe list(operands, UInt32(there)))")
    }
    return unsafe operands
  }

  /// Pushes a run of the type pool, for which there must be room.
  @inline(__always)
  mutating func push(run start: UInt32, _ count: UInt32) {
    if count == 0 { return }
    if count == 1 { return push(unsafe pool[Int(start)]) }
    unsafe top.update(from: pool + Int(start), count: Int(count))
    unsafe top += Int(count)
    if unsafe top > highest && isLive { unsafe highest = top }
  }

  /// Whether two runs of the type pool are the same types.
  func isSame(_ first: UInt32, _ second: UInt32, count: UInt32) -> Bool {
    unsafe memcmp(pool + Int(first), pool + Int(second), Int(count)) == 0
  }

  // MARK: Errors

  /// A type mismatch at the current operator.
  @inline(never)
  func mismatch(_ what: String) -> WasmError {
    invalid("type mismatch: \(what)")
  }

  /// An error of validation at the current operator, which is named.
  @inline(never)
  func invalid(_ message: String) -> WasmError {
    let byte = unsafe reader.base.load(fromByteOffset: at, as: UInt8.self)
    let name = Opcode(rawValue: UInt16(byte)).map { " (at \($0))" } ?? ""
    return WasmError(.invalid, at: at, message + name)
  }

  /// A run of tags in the specification's notation, shortened when long.
  func list(_ tags: UnsafePointer<UInt8>, _ count: UInt32) -> String {
    var names: [String] = []
    for index in 0..<min(Int(count), 16) {
      let tag = unsafe tags[index]
      names.append(tag == Self.bottom ? "any" : ValueType(tag: tag).description)
    }
    if count > 16 { names.append("… (\(count) in all)") }
    return "[" + names.joined(separator: " ") + "]"
  }
}
