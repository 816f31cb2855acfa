// Functions, and the way into them.
//
// What a `funcref` points to is a 32-byte block: code, context, canonical signature number, entry trampoline. A
// `Function` is a handle of such a block. There are two kinds: functions of instances, entered through the trampoline of
// their module, and host functions, which a host calls without going through machine code at all; the exit trampoline in
// their block is for wasm callers.

public import CPrecastHost
import PrecastArtifact
public import PrecastWasm

/// The block behind a `funcref`; see `FunctionReferenceLayout`, which generated code uses, and `struct precast_function`.
@usableFromInline
struct FunctionReferenceBlock {
  var code: UInt
  var context: UInt
  var signature: UInt32
  /// Slots that a call needs: of parameters or results, whichever are more. Not looked at by generated code.
  @usableFromInline var slotCount: UInt32
  var entryTrampoline: UInt
}

/// A function of a store: defined by a module, or by the host. A handle; it keeps the store alive.
///
/// Spec: Core 4.2.6, "Function Instances".
@safe
public struct Function: Equatable {
  /// The store that the function belongs to.
  public let store: Store
  // Owned by the store's arena.
  @usableFromInline let reference: UnsafeMutablePointer<FunctionReferenceBlock>

  init(store: Store, reference: UnsafeMutablePointer<FunctionReferenceBlock>) {
    self.store = store
    unsafe self.reference = reference
  }

  /// Whether both are the same function of the same store.
  public static func == (left: Function, right: Function) -> Bool { unsafe left.reference == right.reference }

  /// What the function takes and returns.
  public var type: FunctionType { unsafe store.type(of: reference.pointee.signature) }

  /// Calls the function.
  ///
  /// - Returns: its results.
  /// - Throws: `RuntimeError` when the arguments do not fit the type (`argumentCount`, `typeMismatch`, `foreignStore`);
  ///   `Trap`; or what a host function threw that it called, directly or not, unchanged.
  @discardableResult
  public func invoke(_ arguments: [Value] = []) throws -> [Value] {
    let type = self.type
    guard arguments.count == type.parameters.count else {
      throw RuntimeError(
        .argumentCount, "\(arguments.count) arguments for a function of type \(type)")
    }
    for (index, argument) in arguments.enumerated() where argument.type != type.parameters[index] {
      throw RuntimeError(
        .typeMismatch, "argument \(index) is \(argument.type), but the function's type is \(type)")
    }
    let count = max(type.parameters.count, type.results.count)
    let taken = store.slotStack.take(count)
    defer { store.slotStack.giveBack(taken) }
    let slots = unsafe ValueSlots(base: taken.base, count: count, store: store)
    for (index, argument) in arguments.enumerated() { try slots.setValue(index, argument) }
    try enter(slots)
    var results: [Value] = []
    results.reserveCapacity(type.results.count)
    for (index, result) in type.results.enumerated() { results.append(slots.value(index, as: result)) }
    return results
  }

  /// Calls the function; see ``invoke(_:)``.
  @discardableResult
  public func callAsFunction(_ arguments: [Value] = []) throws -> [Value] { try invoke(arguments) }

  /// Calls the function without allocating: `prepare` writes the arguments to slots 0, 1, ..., `finish` reads the
  /// results from slots 0, 1, ...
  ///
  /// - Parameter slotCount: the number of parameters or results, whichever are more. A smaller one is raised to it.
  /// - Throws: what `prepare`, `finish` and the function throw.
  @inlinable @inline(__always)
  public func invokeRaw<R>(
    slotCount: Int, prepare: (borrowing ValueSlots) throws -> Void, finish: (borrowing ValueSlots) throws -> R
  ) throws -> R {
    let count = unsafe max(slotCount, Int(reference.pointee.slotCount))
    let taken = store.slotStack.take(count)
    defer { store.slotStack.giveBack(taken) }
    let slots = unsafe ValueSlots(base: taken.base, count: count, store: store)
    try prepare(slots)
    try enter(slots)
    return try finish(slots)
  }

  /// Enters the function with its arguments in `slots`, which must be enough for parameters and results.
  //
  // In the embedder's code there is one call, of C, and a branch. The store is what keeps the block alive.
  @inlinable @inline(__always)
  func enter(_ slots: borrowing ValueSlots) throws {
    let outcome = unsafe precast_call(
      UnsafeRawPointer(reference).assumingMemoryBound(to: precast_function.self), slots.base, store.context)
    withExtendedLifetime(store) {}
    if outcome != 0 { try finish(outcome, slots) }
  }

  /// What is left to do when `precast_call` has not returned 0: throws, or calls a host function.
  @usableFromInline @inline(never)
  func finish(_ outcome: UInt64, _ slots: borrowing ValueSlots) throws {
    guard outcome == PRECAST_NO_ENTRY else { throw store.takeFailure() }
    let context = unsafe reference.pointee.context
    guard HostFunctionEntity.isHostContext(context) else {
      throw RuntimeError(.damagedArtifact, "the artifact has no trampoline for functions of type \(type)")
    }
    try unsafe HostFunctionEntity.from(context: context).body(Caller(store: store, context: nil), slots)
  }
}

extension Store {
  /// The function behind the bits of a `funcref`.
  func function(bits: UInt64) -> Function? {
    // Bits of a funcref come from generated code or from this store, and are null or the address of a block.
    guard let reference = unsafe UnsafeMutablePointer<FunctionReferenceBlock>(bitPattern: UInt(bits)) else {
      return nil
    }
    return unsafe Function(store: self, reference: reference)
  }

  /// The bits of a `funcref`.
  func bits(of function: Function?) throws(RuntimeError) -> UInt64 {
    guard let function else { return 0 }
    guard function.store === self else { throw RuntimeError(.foreignStore, "a function of another store") }
    return unsafe UInt64(UInt(bitPattern: function.reference))
  }

  /// What to throw after `precast_call` has returned 1.
  func takeFailure() -> any Error {
    // This thread's, until its next call that fails.
    let activation = unsafe precast_call_failure().unsafelyUnwrapped
    let code = unsafe activation.pointee.trap_code
    if let error = pendingError, code == 0 || code == UInt32(TrapCode.hostError.rawValue) {
      pendingError = nil
      return error
    }
    return unsafe Trap(activation)
  }
}
