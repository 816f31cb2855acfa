// Functions that the host gives to modules.
//
// A module calls an import by the wasm convention. The exit trampoline of the function's type, which stands in the
// calling module's own artifact, turns that into one C call with a host function context and an array of slots; so a
// host needs no compiler to offer functions of any type. Underneath there is one form of host function, a closure over
// `ValueSlots`; the others (arrays of `Value`, typed closures) are made of it.

import CPrecastHost
import PrecastArtifact
public import PrecastWasm

/// A host function: its type and its closure. It belongs to a store's functions or to imports, and is called through
/// contexts that belong to a store: so a call finds its store by the context, never by the entity.
//
// Sendable where its closure is: imports take only such closures, and an entity with another one never leaves its store.
@safe
final class HostFunctionEntity: @unchecked Sendable {
  typealias Body = (borrowing Caller, borrowing ValueSlots) throws -> Void
  let type: FunctionType
  let body: Body
  let slotCount: Int

  init(type: FunctionType, body: @escaping Body) {
    self.type = type
    self.body = body
    slotCount = max(type.parameters.count, type.results.count)
  }

  /// A closure over values as one over slots.
  static func body(
    _ type: FunctionType, _ body: @escaping (borrowing Caller, [Value]) throws -> [Value]
  ) -> Body {
    { caller, slots in
      var arguments: [Value] = []
      arguments.reserveCapacity(type.parameters.count)
      for (index, parameter) in type.parameters.enumerated() { arguments.append(slots.value(index, as: parameter)) }
      let results = try body(caller, arguments)
      guard results.count == type.results.count else {
        throw RuntimeError(
          .argumentCount, "host function of type \(type) returned \(results.count) results")
      }
      for (index, result) in results.enumerated() {
        guard result.type == type.results[index] else {
          throw RuntimeError(
            .typeMismatch, "host function of type \(type) returned \(result.type) as result \(index)")
        }
        try slots.setValue(index, result)
      }
    }
  }

  /// The address of what exit trampolines call.
  static var callbackAddress: UInt { unsafe unsafeBitCast(hostCallback, to: UInt.self) }

  /// Writes a context to 64 zeroed bytes, all but the store; the entity must live as long as the context.
  static func write(_ entity: Unmanaged<HostFunctionEntity>, to context: UnsafeMutableRawPointer) {
    unsafe context.storeBytes(
      of: ContextLayout.kindHostFunction, toByteOffset: ContextLayout.kind, as: UInt32.self)
    unsafe context.storeBytes(
      of: callbackAddress, toByteOffset: ContextLayout.hostCallback, as: UInt.self)
    unsafe context.storeBytes(
      of: UInt(bitPattern: entity.toOpaque()), toByteOffset: ContextLayout.opaque0, as: UInt.self)
  }

  /// Whether a context is a host function's. The context of every function reference is one of the two kinds.
  static func isHostContext(_ context: UInt) -> Bool {
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: context) else { return false }
    return unsafe pointer.load(fromByteOffset: ContextLayout.kind, as: UInt32.self) == ContextLayout.kindHostFunction
  }

  /// The entity of a host function context.
  static func from(context: UInt) -> HostFunctionEntity {
    // `opaque0` of a host function context is its entity, which the store keeps as long as the context.
    let pointer = unsafe UnsafeRawPointer(bitPattern: context).unsafelyUnwrapped
    return unsafe Unmanaged<HostFunctionEntity>.fromOpaque(
      pointer.load(fromByteOffset: ContextLayout.opaque0, as: UnsafeRawPointer.self)
    ).takeUnretainedValue()
  }
}

/// What exit trampolines call: returns 0, or 1 after keeping the closure's error in the store.
private let hostCallback:
  @convention(c) (UnsafeMutableRawPointer, UnsafeMutableRawPointer?, UnsafeMutableRawPointer) -> UInt32 = {
    host, caller, slots in
    // The contexts' fields are what this runtime put there. Store and entity live as long as the context: the store owns
    // the entity, or an instance of the store owns imports that do.
    let store = unsafe Store.from(
      host.load(fromByteOffset: ContextLayout.store, as: UnsafePointer<precast_store_context>.self))
    let entity = unsafe Unmanaged<HostFunctionEntity>.fromOpaque(
      host.load(fromByteOffset: ContextLayout.opaque0, as: UnsafeRawPointer.self))
    return unsafe store._withUnsafeGuaranteedRef { store in
      unsafe entity._withUnsafeGuaranteedRef { entity in
        do {
          try entity.body(
            unsafe Caller(store: store, context: caller),
            unsafe ValueSlots(base: slots, count: entity.slotCount, store: store))
          return 0
        } catch {
          store.pendingError = error
          return 1
        }
      }
    }
  }

/// What a host function may know of its caller. Borrowed for the time of the call.
@safe
public struct Caller: ~Copyable {
  // A store outlives every call in it, and nobody can keep a `Caller` longer than the call: so nothing is counted here.
  private unowned(unsafe) let unownedStore: Store
  // The context of the calling instance, or null.
  private let context: UnsafeMutableRawPointer?

  init(store: Store, context: UnsafeMutableRawPointer?) {
    unsafe unownedStore = store
    unsafe self.context = context
  }

  /// The store that the call happens in.
  public var store: Store { unsafe unownedStore }

  private var entity: InstanceEntity? { unsafe InstanceEntity.from(context: context) }

  /// The instance whose code made the call; nil when the host made it.
  public var instance: Instance? { entity.map { Instance(store: store, entity: $0) } }

  /// Memory 0 of the calling instance, its own or an imported one; nil when it has none, or when the host made the call.
  public var memory: Memory? { entity.flatMap { $0.memories.first.map { Memory(store: store, entity: $0) } } }

  /// The bytes of ``memory``, empty when there is none; without any reference counting, for host functions that are
  /// called often. The pointer is good until the store goes, the count until the memory grows.
  @unsafe public var memoryBytes: UnsafeMutableRawBufferPointer {
    // `opaque1` of an instance context is 0 or the address of memory 0's pair (base, length).
    guard let context = unsafe context,
      unsafe context.load(fromByteOffset: ContextLayout.kind, as: UInt32.self) == ContextLayout.kindInstance,
      let pair = unsafe context.load(fromByteOffset: ContextLayout.opaque1, as: UnsafePointer<UInt>?.self)
    else { return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0) }
    return unsafe UnsafeMutableRawBufferPointer(
      start: UnsafeMutableRawPointer(bitPattern: pair[0]), count: Int(pair[1]))
  }

  /// An export of the calling instance.
  public func export(_ name: String) -> ExternalValue? { instance?.export(name) }
}

extension Function {
  /// Makes a host function that reads its parameters from, and writes its results to, slots directly.
  ///
  /// Nothing is allocated or checked in a call: `body` must write every result, in the type's order, as the type says.
  /// What it throws ends the wasm code that called it, and comes out of the outermost call unchanged.
  public init(
    store: Store, type: FunctionType, raw body: @escaping (borrowing Caller, borrowing ValueSlots) throws -> Void
  ) {
    self = store.makeHostFunction(HostFunctionEntity(type: type, body: body))
  }

  /// Makes a host function of any type that gets its arguments and returns its results as values.
  ///
  /// Results of the wrong number or type, or of another store, are a `RuntimeError`, thrown as if by `body`.
  public init(store: Store, type: FunctionType, _ body: @escaping (borrowing Caller, [Value]) throws -> [Value]) {
    self = store.makeHostFunction(HostFunctionEntity(type: type, body: HostFunctionEntity.body(type, body)))
  }

  /// Makes a host function of a Swift closure; its WebAssembly type follows from the closure's.
  ///
  /// ```swift
  /// Function(store: store) { (a: Int32, b: Int32) -> Int32 in a &+ b }
  /// ```
  @inlinable
  public init<each Parameter: WasmValue, each Result: WasmValue>(
    store: Store, _ body: @escaping (repeat each Parameter) throws -> (repeat each Result)
  ) {
    self.init(store: store) { (_: borrowing Caller, parameters: repeat each Parameter) in
      try body(repeat each parameters)
    }
  }

  /// Makes a host function of a Swift closure whose first parameter is the caller.
  ///
  /// ```swift
  /// Function(store: store) { (caller: borrowing Caller, address: UInt32) in … }
  /// ```
  @inlinable
  public init<each Parameter: WasmValue, each Result: WasmValue>(
    store: Store, _ body: @escaping (borrowing Caller, repeat each Parameter) throws -> (repeat each Result)
  ) {
    var parameters: [ValueType] = []
    repeat parameters.append((each Parameter).valueType)
    var results: [ValueType] = []
    repeat results.append((each Result).valueType)
    self.init(
      store: store, type: FunctionType(parameters: parameters, results: results),
      raw: { caller, slots in
        var index = -1
        // Pack expansions are evaluated in order, so the counter walks over the parameters, then over the results.
        let result: (repeat each Result) = try body(
          caller, repeat (each Parameter).read(from: slots, at: nextIndex(&index)))
        index = -1
        repeat try (each result).write(to: slots, at: nextIndex(&index))
      })
  }
}

@usableFromInline @inline(__always)
func nextIndex(_ index: inout Int) -> Int {
  index &+= 1
  return index
}

extension Store {
  func makeHostFunction(_ entity: HostFunctionEntity) -> Function {
    hostFunctions.append(entity)
    let type = entity.type
    let hostContext = unsafe arena.allocate(ContextLayout.headerSize)
    unsafe hostContext.storeBytes(of: UInt(bitPattern: context), toByteOffset: ContextLayout.store, as: UInt.self)
    unsafe HostFunctionEntity.write(Unmanaged.passUnretained(entity), to: hostContext)
    let signature = engine.signatures.number(of: type)
    signatureTypes[signature] = type
    let reference = unsafe arena.allocate(FunctionReferenceLayout.size)
      .bindMemory(to: FunctionReferenceBlock.self, capacity: 1)
    unsafe reference.initialize(
      to: FunctionReferenceBlock(
        code: 0, context: UInt(bitPattern: hostContext), signature: signature,
        slotCount: UInt32(clamping: entity.slotCount), entryTrampoline: 0))
    unsafe trampolines.provide(reference)
    return unsafe Function(store: self, reference: reference)
  }
}
