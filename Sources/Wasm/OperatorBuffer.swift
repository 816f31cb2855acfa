// A validated function body, flat, for the compiler to read with look-ahead.
//
// Decoding, validating and compiling in one fused loop would save a pass over memory, but a single-pass compiler wants
// to see what comes next (a comparison's branch, how often a local is used in loops) before it emits. So validation
// writes what it learned into this buffer, one body at a time; one buffer for each thread is reused for all bodies, and
// after the first few allocates nothing. An operator takes at least a byte of the body, so the body's size bounds the
// count, the memory is reserved once for each body, and appending is a store and an increment.
//
// Locals are the exception to that bound: ten bytes can declare fifty thousand. So nothing is done for a local before its
// first use. Declarations are kept as the runs that the binary has; a local that is used gets a *number*, in order of first
// use, by which operators and the compiler know it from then on. The table from indices to numbers is as long as the
// longest list of locals seen, but is never cleared: an entry counts only if it carries the number of the present body.

/// The live operators of one function body, and what the compiler wants to know of the body as a whole.
///
/// Holds no `nop`, and nothing of dead code (what follows an unconditional branch, up to the matching `else` or `end`,
/// which is there, flagged ``Operator/Flags/unreachableBefore``). The last operator is the `end` of the function.
@safe
public struct OperatorBuffer: ~Copyable {
  // Each of these is uninitialised past its count. All element types are plain data.
  @usableFromInline var operators: UnsafeMutablePointer<Operator>
  @usableFromInline var targets: UnsafeMutablePointer<UInt32>
  /// By number of a local.
  @usableFromInline var localIndices: UnsafeMutablePointer<UInt32>
  @usableFromInline var weights: UnsafeMutablePointer<UInt32>
  /// By index of a local: body << 32 | number << 8 | tag of its type. Initialised in full.
  var localEntries: UnsafeMutablePointer<UInt64>
  /// Declarations: the index past each run, and its type.
  private var runEnds: UnsafeMutablePointer<UInt32>
  private var runTypes: UnsafeMutablePointer<ValueType>
  private var runCount = 0
  /// Tells the entries of this body from those of others.
  private(set) var body: UInt32 = 0
  private var operatorCapacity: Int
  private var targetCapacity: Int
  private var numberCapacity: Int
  private var entryCapacity: Int
  private var runCapacity: Int

  /// The number of operators.
  public internal(set) var count = 0
  /// The number of entries of ``branchTarget(_:)``, over all `br_table`s of the body.
  public internal(set) var branchTargetCount = 0
  /// The number of locals, parameters included.
  public internal(set) var localCount = 0
  /// The number of locals that the body refers to, in live code or dead.
  public internal(set) var usedLocalCount = 0
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
    unsafe localIndices = .allocate(capacity: 1)
    unsafe weights = .allocate(capacity: 1)
    unsafe localEntries = .allocate(capacity: 1)
    unsafe localEntries.initialize(to: 0)
    unsafe runEnds = .allocate(capacity: 1)
    unsafe runTypes = .allocate(capacity: 1)
    operatorCapacity = 1
    targetCapacity = 1
    numberCapacity = 1
    entryCapacity = 1
    runCapacity = 1
  }

  deinit {
    unsafe operators.deallocate()
    unsafe targets.deallocate()
    unsafe localIndices.deallocate()
    unsafe weights.deallocate()
    unsafe localEntries.deallocate()
    unsafe runEnds.deallocate()
    unsafe runTypes.deallocate()
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

  /// The index, among all locals, of the one with this number. Parameters come first. Bounds-checked.
  @inlinable public func localIndex(_ number: UInt32) -> UInt32 {
    precondition(Int(number) < usedLocalCount)
    return unsafe localIndices[Int(number)]
  }

  /// The type of the local with this number. Bounds-checked.
  public func localType(_ number: UInt32) -> ValueType {
    ValueType(tag: UInt8(truncatingIfNeeded: unsafe localEntries[Int(localIndex(number))]))
  }

  /// How much the local with this number is used: the sum of 8 to the power of the loop depth (at most 4) over its
  /// `local.get`, `local.set` and `local.tee` in live code; saturates. Bounds-checked.
  @inlinable public func localWeight(_ number: UInt32) -> UInt32 {
    precondition(Int(number) < usedLocalCount)
    return unsafe weights[Int(number)]
  }
}

extension OperatorBuffer {
  /// Empties the buffer and makes room for the operators of a body of `size` bytes.
  mutating func prepare(bodySize size: Int) {
    count = 0
    branchTargetCount = 0
    localCount = 0
    usedLocalCount = 0
    parameterCount = 0
    runCount = 0
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

  /// Appends a declaration of `count` locals of a type.
  mutating func appendLocals(_ type: ValueType, count added: Int) {
    if runCount == runCapacity {
      let ends = UnsafeMutablePointer<UInt32>.allocate(capacity: runCapacity * 2)
      unsafe ends.update(from: runEnds, count: runCount)
      unsafe runEnds.deallocate()
      unsafe runEnds = ends
      let types = UnsafeMutablePointer<ValueType>.allocate(capacity: runCapacity * 2)
      unsafe types.update(from: runTypes, count: runCount)
      unsafe runTypes.deallocate()
      unsafe runTypes = types
      runCapacity *= 2
    }
    localCount += added
    unsafe (runEnds + runCount).initialize(to: UInt32(localCount))
    unsafe (runTypes + runCount).initialize(to: type)
    runCount += 1
  }

  /// Makes room for the numbers of the locals that have been declared; a body of `size` bytes can use no more than it has
  /// bytes. Pointers stay as they are from here to the end of the body.
  mutating func prepareLocals(bodySize size: Int) {
    let most = min(localCount, size)
    if most > numberCapacity {
      unsafe localIndices.deallocate()
      unsafe weights.deallocate()
      numberCapacity = max(most, numberCapacity * 2)
      unsafe localIndices = .allocate(capacity: numberCapacity)
      unsafe weights = .allocate(capacity: numberCapacity)
    }
    body &+= 1
    if localCount > entryCapacity || body == 0 {
      unsafe localEntries.deallocate()
      entryCapacity = max(localCount, entryCapacity * 2)
      unsafe localEntries = .allocate(capacity: entryCapacity)
      unsafe localEntries.initialize(repeating: 0, count: entryCapacity)
      body = 1
    }
  }

  /// The entry of a local that has not been used before in this body. `parameter` is its type if it is a parameter.
  @inline(never)
  mutating func firstUse(_ index: UInt32, parameter: ValueType?) -> UInt64 {
    precondition(Int(index) < localCount && usedLocalCount < numberCapacity)
    var type = parameter ?? .i32
    if parameter == nil {
      // The first run that ends past the index.
      var low = 0
      var high = runCount - 1
      while low < high {
        let middle = (low + high) / 2
        if unsafe runEnds[middle] > index { high = middle } else { low = middle + 1 }
      }
      type = unsafe runTypes[low]
    }
    let entry = UInt64(body) << 32 | UInt64(usedLocalCount) << 8 | UInt64(type.tag)
    unsafe localEntries[Int(index)] = entry
    unsafe (localIndices + usedLocalCount).initialize(to: index)
    unsafe (weights + usedLocalCount).initialize(to: 0)
    usedLocalCount += 1
    return entry
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
