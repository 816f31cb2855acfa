// A store owns everything that is instantiated in it.
//
// Instances refer to each other through imports, tables and function references in any pattern, and generated code holds
// plain addresses of all of these. Counting references among them would cost on every call and still leave cycles; so,
// as in the specification, they belong to their store and go with it. Whoever makes thousands of short-lived instances
// makes a store for each, or for each batch: a store is small. The exception are host objects behind `externref`s, which
// can be big and are given back while the store lives (`ExternCollector.swift`).

public import CPrecastHost
import PrecastWasm
import PrecastArtifact

/// Limits on what the modules in a store may allocate. Those that fail make `memory.grow` and `table.grow` return -1,
/// and instantiation throw a `RuntimeError` of kind `limit`.
public struct StoreLimits: Sendable, Equatable {
  /// Most bytes of one memory.
  public var memoryBytes: Int
  /// Most bytes of all memories together.
  public var totalMemoryBytes: Int
  /// Most elements of one table.
  public var tableElements: Int
  /// Most elements of all tables together.
  public var totalTableElements: Int
  /// Most instances.
  public var instances: Int
  /// Most memories that are defined in the store.
  public var memories: Int
  /// Most tables that are defined in the store.
  public var tables: Int

  /// The defaults: memories of 4 GiB, tables of 10 million elements, nothing else limited.
  public init(
    memoryBytes: Int = 4 << 30, totalMemoryBytes: Int = .max, tableElements: Int = 10_000_000,
    totalTableElements: Int = 100_000_000, instances: Int = .max, memories: Int = .max, tables: Int = .max
  ) {
    self.memoryBytes = memoryBytes
    self.totalMemoryBytes = totalMemoryBytes
    self.tableElements = tableElements
    self.totalTableElements = totalTableElements
    self.instances = instances
    self.memories = memories
    self.tables = tables
  }
}

/// The world that instances, functions, memories, tables, globals and references live in, until it goes.
///
/// One thread at a time uses a store and everything in it. All handles (`Instance`, `Function`, `Memory`, ...) keep
/// their store alive.
///
/// Spec: Core 4.2.3, "Store".
@safe
public final class Store {
  /// The engine whose modules can be instantiated here.
  public let engine: Engine
  /// The limits in force.
  public var limits: StoreLimits

  // What is reached through plain addresses, in one piece. Allocated in `init`, freed in `deinit`.
  private let block: UnsafeMutablePointer<StoreBlock>
  /// The part of the block that generated code sees.
  @usableFromInline let context: UnsafeMutablePointer<precast_store_context>
  /// The part of the block that calls from the host take their slots from.
  @usableFromInline let slots: UnsafeMutablePointer<SlotStack.State>
  /// Distinguishes this store's references from other stores'.
  let number: UInt64
  /// The error with which a host function ended, on its way to the outermost call.
  var pendingError: (any Error)?

  var instances: [InstanceEntity] = []
  /// Tables of `externref` that belong to no instance.
  var hostTables: [TableEntity] = []
  var hostFunctions: [HostFunctionEntity] = []
  var trampolines = TrampolineRegistry()
  var externs = ExternTable()
  /// The function types of canonical numbers seen here, so that a call need not ask the engine.
  var signatureTypes: [UInt32: FunctionType] = [:]
  var usage = StoreUsage()

  /// Makes an empty store. Nothing is allocated ahead: a store may live as briefly as one call.
  public init(engine: Engine, limits: StoreLimits = StoreLimits()) {
    self.engine = engine
    self.limits = limits
    number = StoreNumber.next()
    unsafe block = UnsafeMutablePointer<StoreBlock>.allocate(capacity: 1)
    unsafe block.initialize(to: StoreBlock())
    unsafe context = StoreBlock.context(block)
    unsafe slots = StoreBlock.slots(block)
    unsafe block.pointee.context.max_wasm_stack = UInt64(engine.configuration.maximumWasmStack)
    unsafe block.pointee.context.opaque = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit {
    // Instances go first, while everything that they were made of is there. Handles keep their store, so there is none,
    // and nobody can reach an instance, a memory or a function any more.
    instances = []
    arena.release()
    slotStack.release()
    unsafe block.deallocate()
  }

  var arena: Arena { unsafe Arena(state: StoreBlock.arena(block)) }

  /// The store of a context.
  static func from(_ context: UnsafePointer<precast_store_context>) -> Unmanaged<Store> {
    // `opaque` is the store, which owns the context.
    unsafe Unmanaged<Store>.fromOpaque(context.pointee.opaque.unsafelyUnwrapped)
  }

  /// The type behind a canonical number.
  func type(of signature: UInt32) -> FunctionType {
    if let type = signatureTypes[signature] { return type }
    let type = engine.signatures.type(of: signature)
    signatureTypes[signature] = type
    return type
  }
}

/// What of a store's limits is used up.
struct StoreUsage {
  var memories = 0
  var memoryBytes = 0
  var tables = 0
  var tableElements = 0
}

/// What of a store is reached through plain addresses.
@safe
private struct StoreBlock {
  var context = unsafe precast_store_context()
  var slots = SlotStack.State()
  var arena = Arena.State()

  // The addresses of the fields, which are used side by side.
  static func context(_ block: UnsafeMutablePointer<StoreBlock>) -> UnsafeMutablePointer<precast_store_context> {
    unsafe UnsafeMutableRawPointer(block).assumingMemoryBound(to: precast_store_context.self)
  }

  static func slots(_ block: UnsafeMutablePointer<StoreBlock>) -> UnsafeMutablePointer<SlotStack.State> {
    let offset = unsafe MemoryLayout<StoreBlock>.offset(of: \.slots).unsafelyUnwrapped
    return unsafe (UnsafeMutableRawPointer(block) + offset).assumingMemoryBound(to: SlotStack.State.self)
  }

  static func arena(_ block: UnsafeMutablePointer<StoreBlock>) -> UnsafeMutablePointer<Arena.State> {
    let offset = unsafe MemoryLayout<StoreBlock>.offset(of: \.arena).unsafelyUnwrapped
    return unsafe (UnsafeMutableRawPointer(block) + offset).assumingMemoryBound(to: Arena.State.self)
  }
}
