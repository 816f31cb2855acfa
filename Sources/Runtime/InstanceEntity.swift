// An instance: the context that generated code works with, and what stands behind it.
//
// The context is one block, laid out by `ContextLayout`: a copy of the plan's template into which the addresses are put
// that differ between instances. Behind it in the same block stand the contexts of host functions that are the
// instance's own. Memory and tables are those of a slot. So what is left to do is proportional to the imports, and to
// globals and segments that depend on the instance; the rest is in place already, or looked up when it is needed.

import CPrecastHost
import Glibc
import PrecastArtifact
import PrecastLoader
import PrecastWasm

/// An instance, owned by its store.
@safe
final class InstanceEntity {
  let module: Module
  let plan: InstancePlan
  // The store owns this object, and outlives all use of it.
  unowned(unsafe) let store: Store
  /// All memories, imported ones first.
  private(set) var memories: [MemoryEntity] = []
  /// All tables, imported ones first.
  private(set) var tables: [TableEntity] = []
  private let resolution: Resolution
  // Owns the host functions that the resolution refers to.
  private let imports: Imports?
  private let hostFunctions: [HostFunctionEntity]
  // The plan's layout, then a context for each of the instance's own host functions; freed in `deinit`.
  let context: UnsafeMutableRawPointer
  // Given back in `deinit`. The store goes with its last handle, and its instances with it (or right away when an
  // instance could not be made, and there is no handle yet): nobody has an address in the slot any more.
  private let slot: InstanceSlot?
  private var references = FunctionReferenceMap()
  // Numbers of passive segments that were dropped; segments of other modes never count as present.
  private var droppedElements: Set<Int> = []
  private var droppedData: Set<Int> = []

  var info: ModuleInfo { plan.info }
  var layout: ContextLayout { plan.layout }

  /// Makes an instance and adds it to its store; nothing of the guest has run, and no segment was applied.
  init(
    store: Store, module: Module, plan: InstancePlan, resolution: Resolution, imports: Imports
  ) throws(RuntimeError) {
    guard store.instances.count < store.limits.instances else {
      throw RuntimeError(.limit, "the store's limit of \(store.limits.instances) instances is reached")
    }
    try store.checkRoom(for: plan)
    slot = plan.slotMemory == nil ? nil : try module.engine.pool.take(plan, module)
    unsafe self.store = store
    self.module = module
    self.plan = plan
    self.resolution = resolution
    // Imports with values of a store keep it, and the store keeps this: then only their closures are kept.
    self.imports = imports.hasStoreValues ? nil : imports
    hostFunctions = imports.hasStoreValues ? resolution.hostFunctions : []
    let size = plan.layout.size
    unsafe context = UnsafeMutableRawPointer.allocate(
      byteCount: size + resolution.hostCount * ContextLayout.headerSize, alignment: 16)
    unsafe context.copyMemory(from: plan.template, byteCount: size)
    unsafe put(UInt(bitPattern: store.context), at: ContextLayout.store)
    unsafe put(UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque()), at: ContextLayout.opaque0)
    linkFunctions()
    // Its own first, so that stand-ins for imports find what is left.
    let before = (usage: store.usage, hostTables: store.hostTables.count)
    store.account(for: plan)
    do throws(RuntimeError) {
      try linkOthers()
      try makeOwn()
    } catch {
      store.usage = before.usage
      store.hostTables.removeLast(store.hostTables.count - before.hostTables)
      throw error
    }
    if let memory = memories.first {
      put(memory.base, at: ContextLayout.memory0Base)
      // For `Caller.memoryBytes`.
      unsafe put(UInt(bitPattern: memory.pair), at: ContextLayout.opaque1)
    }
    for offset in plan.externGlobals { unsafe store.externs.globals.append(context + offset) }
    store.instances.append(self)
    store.trampolines.add(module, signatures: plan.signatures)
  }

  deinit {
    if let slot { module.engine.pool.giveBack(slot, tableBytes: plan.slotTableBytes) }
    unsafe context.deallocate()
  }

  /// The instance of an instance context; nil for anything else.
  static func from(context: UnsafeMutableRawPointer?) -> InstanceEntity? {
    guard let context = unsafe context,
      unsafe context.load(fromByteOffset: ContextLayout.kind, as: UInt32.self) == ContextLayout.kindInstance
    else { return nil }
    return unsafe Unmanaged<InstanceEntity>.fromOpaque(
      context.load(fromByteOffset: ContextLayout.opaque0, as: UnsafeRawPointer.self)
    ).takeUnretainedValue()
  }

  private func put(_ word: UInt, at offset: Int) {
    precondition(offset >= 0 && offset + 8 <= plan.layout.size)
    unsafe context.storeBytes(of: word, toByteOffset: offset, as: UInt.self)
  }

  // MARK: Imports

  private func linkFunctions() {
    if let template = unsafe resolution.hostContexts {
      let contexts = unsafe context + plan.layout.size
      unsafe contexts.copyMemory(from: template, byteCount: resolution.hostCount * ContextLayout.headerSize)
      for position in 0..<resolution.hostCount {
        unsafe contexts.storeBytes(
          of: UInt(bitPattern: store.context),
          toByteOffset: position * ContextLayout.headerSize + ContextLayout.store, as: UInt.self)
      }
    }
    for index in resolution.functions.indices {
      let place = plan.layout.importedFunction(index)
      switch resolution.functions[index] {
      case .host(let position, _, _, let code):
        put(code, at: place)
        put(hostContext(position), at: place + 8)
      case .bound(_, let code, let context):
        put(code, at: place)
        put(context, at: place + 8)
      case .adapter(let code):
        put(code, at: place)
        unsafe put(UInt(bitPattern: context), at: place + 8)
      }
    }
  }

  /// The context of one of the instance's own host functions.
  private func hostContext(_ position: Int) -> UInt {
    unsafe UInt(bitPattern: context + plan.layout.size + position * ContextLayout.headerSize)
  }

  private func linkOthers() throws(RuntimeError) {
    for link in resolution.tables {
      let table: TableEntity
      switch link {
      case .bound(let entity): table = entity
      case .new(let type): table = try Table(store: unsafe store, type: type).entity
      }
      unsafe put(UInt(bitPattern: table.pair), at: plan.layout.table(tables.count).offset)
      tables.append(table)
    }
    for link in resolution.memories {
      let memory: MemoryEntity
      switch link {
      case .bound(let entity): memory = entity
      case .new(let type):
        memory = unsafe try store.makeMemory(type: type, guardSize: plan.guardSize, pair: store.arena.allocate(16))
      }
      unsafe put(UInt(bitPattern: memory.pair), at: plan.layout.memory(memories.count).offset)
      memories.append(memory)
    }
    for index in resolution.globals.indices {
      let cell: UnsafeMutableRawPointer
      switch resolution.globals[index] {
      case .bound(let bound): unsafe cell = bound
      case .new(let type):
        unsafe cell = try Global(store: unsafe store, type: type, value: Value(defaultOf: type.value)).cell
      }
      put(UInt(bitPattern: cell), at: plan.layout.global(index).offset)
    }
  }

  // MARK: Memories, tables, globals

  private func makeOwn() throws(RuntimeError) {
    // `checkRoom` has seen that the store's limits allow all of it, and it is accounted for.
    for (position, own) in plan.memories.enumerated() {
      let pair = unsafe context + own.pairOffset
      let memory: MemoryEntity
      if position == 0, let slot {
        memory = unsafe MemoryEntity(type: own.type, slot: slot, size: own.size, pair: pair)
      } else {
        memory = unsafe try MemoryEntity(type: own.type, guardSize: plan.guardSize, size: own.size, pair: pair)
        do throws(LoadError) {
          for extent in own.extents { try module.artifact.mapImage(extent, into: memory.reservation, at: 0) }
        } catch {
          throw RuntimeError(.limit, "no memory of \(own.size) bytes: \(error)")
        }
      }
      memories.append(memory)
    }
    for own in plan.tables {
      let pair = unsafe context + own.pairOffset
      let table = unsafe TableEntity(type: own.type, pair: pair)
      if let slot, own.slotCapacity > 0 {
        table.use(slot.tables + UInt(own.slotOffset), capacity: own.slotCapacity)
      }
      guard table.extend(by: Int(own.type.limits.minimum), bits: 0) else {
        throw RuntimeError(.limit, "no memory for a table of \(own.type.limits.minimum) elements")
      }
      if own.hasImage { unsafe table.owner = self }
      table.ownerIndex = own.index
      tables.append(table)
    }
  }

  /// The tables that the instance defines.
  var ownTables: ArraySlice<TableEntity> { tables.dropFirst(plan.info.importedTableCount) }

  /// The 16-byte cell of a global; nil for an index that does not exist.
  func globalCell(_ index: Int) -> UnsafeMutableRawPointer? {
    guard index >= 0, index < plan.info.globalCount else { return nil }
    let place = plan.layout.global(index)
    return unsafe place.isIndirect
      ? context.load(fromByteOffset: place.offset, as: UnsafeMutableRawPointer.self) : context + place.offset
  }

  // MARK: Functions

  /// The reference to a function, made when first asked for; nil when the artifact has no such function.
  func functionReference(_ index: Int) -> UnsafeMutablePointer<FunctionReferenceBlock>? {
    guard index >= 0, index < plan.info.functionCount else { return nil }
    if index < resolution.functions.count, case .bound(let reference, _, _) = resolution.functions[index] {
      return unsafe reference.block
    }
    if let reference = unsafe references.find(index) { return unsafe reference }
    guard let block = makeReference(index) else { return nil }
    let reference = unsafe store.arena.allocate(FunctionReferenceLayout.size)
      .bindMemory(to: FunctionReferenceBlock.self, capacity: 1)
    unsafe reference.initialize(to: block)
    unsafe references.add(index, reference)
    return unsafe reference
  }

  private func makeReference(_ index: Int) -> FunctionReferenceBlock? {
    var adapter: UInt?
    if index < resolution.functions.count {
      switch resolution.functions[index] {
      case .host(let position, let entity, let signature, let code):
        // The imports that the instance keeps own the entity.
        let slotCount = unsafe entity._withUnsafeGuaranteedRef { $0.slotCount }
        return FunctionReferenceBlock(
          code: code, context: hostContext(position), signature: signature, slotCount: UInt32(clamping: slotCount),
          entryTrampoline: 0)
      case .bound: return nil
      // As a function of the module.
      case .adapter(let code): adapter = code
      }
    }
    guard let typeIndex = try? plan.info.typeIndex(function: index), typeIndex < plan.signatures.count,
      let code = adapter ?? module.artifact.functionAddress(index)
    else { return nil }
    let type = unsafe store.type(of: plan.signatures[typeIndex])
    return unsafe FunctionReferenceBlock(
      code: code, context: UInt(bitPattern: context), signature: plan.signatures[typeIndex],
      slotCount: UInt32(clamping: max(type.parameters.count, type.results.count)),
      entryTrampoline: module.artifact.entryTrampoline(typeIndex: typeIndex).map(module.engine.entry) ?? 0)
  }

  /// The bits of a `funcref` to a function.
  func functionBits(_ index: Int) throws(RuntimeError) -> UInt64 {
    guard let reference = unsafe functionReference(index) else {
      throw RuntimeError(.damagedArtifact, "function \(index) is missing")
    }
    return UInt64(UInt(bitPattern: reference))
  }

  /// What an element of a table is before anything was written to it: from the table's image, otherwise null.
  func initialElementBits(table: Int, index: Int) throws(RuntimeError) -> UInt64 {
    let info = plan.info
    let function: UInt32? = try reading { () throws(ArtifactError) in
      let rows = try info.tableImage(table)
      // The rows are sorted and do not overlap: the last that starts at or before the element.
      var low = rows.lowerBound
      var high = rows.upperBound
      while low < high {
        let middle = (low + high) / 2
        if Int(try info.tableImageRow(middle).element) <= index { low = middle + 1 } else { high = middle }
      }
      guard low > rows.lowerBound else { return nil }
      let row = try info.tableImageRow(low - 1)
      let position = index - Int(row.element)
      return position < Int(row.count) ? try info.elementFunction(Int(row.firstFunction) + position) : nil
    }
    return try function.map { (function) throws(RuntimeError) in try functionBits(Int(function)) } ?? 0
  }

  // MARK: Segments

  func dropElement(_ index: Int) { droppedElements.insert(index) }
  func dropData(_ index: Int) { droppedData.insert(index) }

  /// A passive element segment that was not dropped; nil for any other, which counts as empty.
  func passiveElement(_ index: Int) throws(RuntimeError) -> ElementSegmentInfo? {
    let segment = try reading { () throws(ArtifactError) in try plan.info.elementSegment(index) }
    return segment.mode == .passive && !droppedElements.contains(index) ? segment : nil
  }

  /// A passive data segment that was not dropped; nil for any other, which counts as empty.
  func passiveData(_ index: Int) throws(RuntimeError) -> DataSegmentInfo? {
    let segment = try reading { () throws(ArtifactError) in try plan.info.dataSegment(index) }
    return segment.mode == .passive && !droppedData.contains(index) ? segment : nil
  }
}

extension Function {
  /// A function reference that can be stored without further ado.
  @safe
  struct Reference {
    // Owned by the store's arena.
    let block: UnsafeMutablePointer<FunctionReferenceBlock>
    init(_ block: UnsafeMutablePointer<FunctionReferenceBlock>) { unsafe self.block = block }
  }
}
