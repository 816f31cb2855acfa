// A store owns everything that is instantiated in it.
//
// Instances refer to each other through imports, tables and function references in any pattern, and generated code holds
// plain addresses of all of these. Counting references among them would cost on every call and still leave cycles; so,
// as in the specification, they belong to their store and go with it. Whoever makes thousands of short-lived instances
// makes a store for each, or for each batch: a store is small. The exception are host objects behind `externref`s, which
// can be big and are given back while the store lives (`ExternCollector.swift`).

import CPrecastHost
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

  // The part that generated code sees. Allocated in `init`, freed in `deinit`.
  let context: UnsafeMutablePointer<precast_store_context>
  /// Distinguishes this store's references from other stores'.
  let number: UInt64
  let arena = Arena()
  let slotStack = SlotStack()
  /// The error with which a host function ended, on its way to the outermost call.
  var pendingError: (any Error)?

  var instances: [InstanceEntity] = []
  var memories: [MemoryEntity] = []
  var tables: [TableEntity] = []
  var hostFunctions: [HostFunctionEntity] = []
  var trampolines = TrampolineRegistry()
  var externs: ExternTable
  /// The function types of canonical numbers seen here, so that a call need not ask the engine.
  var signatureTypes: [UInt32: FunctionType] = [:]
  var memoryBytesInUse = 0
  var tableElementsInUse = 0

  /// Makes an empty store.
  public init(engine: Engine, limits: StoreLimits = StoreLimits()) {
    self.engine = engine
    self.limits = limits
    number = StoreNumber.next()
    externs = ExternTable(storeNumber: number)
    unsafe context = UnsafeMutablePointer<precast_store_context>.allocate(capacity: 1)
    unsafe context.initialize(to: precast_store_context())
    unsafe context.pointee.max_wasm_stack = UInt64(engine.configuration.maximumWasmStack)
    unsafe context.pointee.opaque = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit { unsafe context.deallocate() }

  /// Forgets memories and tables of an instance that could not be made.
  func discard(memoriesFrom firstMemory: Int, tablesFrom firstTable: Int) {
    for memory in memories[firstMemory...] { memoryBytesInUse -= memory.byteCount }
    for table in tables[firstTable...] { tableElementsInUse -= table.count }
    memories.removeSubrange(firstMemory...)
    tables.removeSubrange(firstTable...)
  }

  /// The type behind a canonical number.
  func type(of signature: UInt32) -> FunctionType {
    if let type = signatureTypes[signature] { return type }
    let type = engine.signatures.type(of: signature)
    signatureTypes[signature] = type
    return type
  }
}
