// A validated function body, flat, for the compiler to read with look-ahead.
//
// Decoding, validating and compiling in one fused loop would save a pass over memory, but a single-pass compiler wants
// to see what comes next (a comparison's branch, how often a local is used in loops) before it emits. So validation
// writes what it learned into this buffer, one body at a time; one buffer for each thread is reused for all bodies, and
// after the first few allocates nothing. An operator takes at least a byte of the body, so the body's size bounds the
// count, the memory is reserved once for each body, and appending is a store and an increment.

/// The live operators of one function body, and what the compiler wants to know of the body as a whole.
///
/// Holds no `nop`, and nothing of dead code (what follows an unconditional branch, up to the matching `else` or `end`,
/// which is there, flagged ``Operator/Flags/unreachableBefore``). The last operator is the `end` of the function.
@safe
public struct OperatorBuffer: ~Copyable {
  // Each of these is uninitialised past its count. All element types are plain data.
  @usableFromInline var operators: UnsafeMutablePointer<Operator>
  @usableFromInline var targets: UnsafeMutablePointer<UInt32>
  @usableFromInline var localTypes: UnsafeMutablePointer<ValueType>
  @usableFromInline var weights: UnsafeMutablePointer<UInt32>
  private var operatorCapacity: Int
  private var targetCapacity: Int
  private var localCapacity: Int

  /// The number of operators.
  public internal(set) var count = 0
  /// The number of entries of ``branchTarget(_:)``, over all `br_table`s of the body.
  public internal(set) var branchTargetCount = 0
  /// The number of locals, parameters included.
  public internal(set) var localCount = 0
  /// The number of parameters, which are the first locals.
  public internal(set) var parameterCount = 0
  /// The type index of the function.
  public internal(set) var typeIndex: UInt32 = 0
  /// The function's index, imports counted.
  public internal(set) var functionIndex: UInt32 = 0
  /// The greatest height of the operand stack in live code, in values.
  public internal(set) var maximumStackHeight = 0
  /// Whether live code has an operator that becomes a call: `call`, `call_indirect`, `memory.grow`, and all of the bulk
  /// and table instructions except `table.get`, `table.set` and `table.size`.
  public internal(set) var hasCalls = false
  /// Whether live code has a `loop`.
  public internal(set) var hasLoops = false
  /// Whether live code accesses a memory, or asks for its size.
  public internal(set) var usesMemory = false

  /// Makes an empty buffer.
  public init() {
    unsafe operators = .allocate(capacity: 1)
    unsafe targets = .allocate(capacity: 1)
    unsafe localTypes = .allocate(capacity: 1)
    unsafe weights = .allocate(capacity: 1)
    operatorCapacity = 1
    targetCapacity = 1
    localCapacity = 1
  }

  deinit {
    unsafe operators.deallocate()
    unsafe targets.deallocate()
    unsafe localTypes.deallocate()
    unsafe weights.deallocate()
  }

  /// The operator at an index. Bounds-checked.
  @inlinable public subscript(index: Int) -> Operator {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
    return unsafe operators[index]
  }

  /// An entry of the pool of `br_table` targets: a label depth. Bounds-checked.
  @inlinable public func branchTarget(_ index: UInt32) -> UInt32 {
    precondition(Int(index) < branchTargetCount)
    return unsafe targets[Int(index)]
  }

  /// The type of a local. Parameters come first. Bounds-checked.
  @inlinable public func localType(_ index: UInt32) -> ValueType {
    precondition(Int(index) < localCount)
    return unsafe localTypes[Int(index)]
  }

  /// How much a local is used: the sum of 8 to the power of the loop depth (at most 4) over its `local.get`, `local.set`
  /// and `local.tee` in live code; saturates. Bounds-checked.
  @inlinable public func localWeight(_ index: UInt32) -> UInt32 {
    precondition(Int(index) < localCount)
    return unsafe weights[Int(index)]
  }
}

extension OperatorBuffer {
  /// Empties the buffer and makes room for the operators of a body of `size` bytes.
  mutating func prepare(bodySize size: Int) {
    count = 0
    branchTargetCount = 0
    localCount = 0
    parameterCount = 0
    maximumStackHeight = 0
    hasCalls = false
    hasLoops = false
    usesMemory = false
    if operatorCapacity < size {
      unsafe operators.deallocate()
      operatorCapacity = max(size, min(operatorCapacity * 2, Implementation.maximumBodySize))
      unsafe operators = .allocate(capacity: operatorCapacity)
    }
  }

  /// Appends `count` locals of a type, with no weight.
  mutating func appendLocals(_ type: ValueType, count added: Int) {
    let total = localCount + added
    if total > localCapacity {
      let capacity = max(total, localCapacity * 2)
      let types = UnsafeMutablePointer<ValueType>.allocate(capacity: capacity)
      unsafe types.update(from: localTypes, count: localCount)
      unsafe localTypes.deallocate()
      unsafe localTypes = types
      let weights = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity)
      unsafe weights.update(from: self.weights, count: localCount)
      unsafe self.weights.deallocate()
      unsafe self.weights = weights
      localCapacity = capacity
    }
    unsafe (localTypes + localCount).initialize(repeating: type, count: added)
    unsafe (weights + localCount).initialize(repeating: 0, count: added)
    localCount = total
  }

  /// Makes room for `added` more branch targets.
  mutating func reserveTargets(_ added: Int) {
    let total = branchTargetCount + added
    guard total > targetCapacity else { return }
    let capacity = max(total, targetCapacity * 2)
    let grown = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity)
    unsafe grown.update(from: targets, count: branchTargetCount)
    unsafe targets.deallocate()
    unsafe targets = grown
    targetCapacity = capacity
  }
}
