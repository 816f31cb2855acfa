// An instance: the context that generated code works with, and what stands behind it.
//
// The context is one block, laid out by `ContextLayout`. It is filled from the artifact's tables in the order of the
// specification: imports, memories and tables, globals, element segments, data segments. What the writer could prove to
// have no order (constant offsets that fit) is part of the images of memories and tables: of the memory's it is mapped
// here, of the table's it is looked up when needed.

import CPrecastHost
import Glibc
import PrecastArtifact
import PrecastLoader
import PrecastWasm

/// An instance, owned by its store.
@safe
final class InstanceEntity {
  let module: Module
  // The store owns this object, and outlives all use of it.
  unowned(unsafe) let store: Store
  let info: ModuleInfo
  let layout: ContextLayout
  /// All memories, imported ones first.
  private(set) var memories: [MemoryEntity]
  /// All tables, imported ones first.
  private(set) var tables: [TableEntity]
  private let importedFunctions: [Function.Reference]
  private let signatures: SignatureTable
  // `layout.size` bytes, freed in `deinit`.
  let context: UnsafeMutableRawPointer
  // One for each defined function; made when the first is asked for, freed in `deinit`.
  private var references: UnsafeMutablePointer<UnsafeMutablePointer<FunctionReferenceBlock>?>?
  // Numbers of passive segments that were dropped; segments of other modes never count as present.
  private var droppedElements: Set<Int> = []
  private var droppedData: Set<Int> = []

  init(store: Store, module: Module, links: borrowing Links) throws(RuntimeError) {
    guard store.instances.count < store.limits.instances else {
      throw RuntimeError(.limit, "the store's limit of \(store.limits.instances) instances is reached")
    }
    let signatures = try module.signatures()
    unsafe self.store = store
    self.module = module
    self.signatures = signatures
    info = try module.info()
    layout = info.contextLayout
    memories = links.memories
    tables = links.tables
    importedFunctions = links.functions.map { unsafe Function.Reference($0.reference) }
    unsafe context = UnsafeMutableRawPointer.allocate(byteCount: layout.size, alignment: 16)
    unsafe context.initializeMemory(as: UInt8.self, repeating: 0, count: layout.size)

    unsafe put(UInt(bitPattern: store.context), at: ContextLayout.store)
    unsafe put(UInt(bitPattern: BuiltinTable.shared.pointers), at: ContextLayout.builtinTable)
    unsafe put(UInt(bitPattern: signatures.numbers), at: ContextLayout.signatureIDs)
    put(UInt(ContextLayout.kindInstance), at: ContextLayout.kind)
    unsafe put(UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque()), at: ContextLayout.opaque0)

    for (index, function) in links.functions.enumerated() {
      let block = unsafe function.reference.pointee
      var code = block.code
      if HostFunctionEntity.isHostContext(block.context) {
        let typeIndex = try reading { () throws(ArtifactError) in try info.typeIndex(function: index) }
        guard let trampoline = module.artifact.exitTrampoline(typeIndex: typeIndex) else {
          throw RuntimeError(.damagedArtifact, "there is no trampoline for type \(typeIndex)")
        }
        code = trampoline
      }
      put(code, at: layout.importedFunction(index))
      put(block.context, at: layout.importedFunction(index) + 8)
    }
    for (index, table) in links.tables.enumerated() {
      unsafe put(UInt(bitPattern: table.pair), at: layout.table(index).offset)
    }
    for (index, memory) in links.memories.enumerated() {
      unsafe put(UInt(bitPattern: memory.pair), at: layout.memory(index).offset)
    }
    for (index, global) in links.globals.enumerated() {
      unsafe put(UInt(bitPattern: global.cell), at: layout.global(index).offset)
    }
    let memoriesBefore = store.memories.count
    let tablesBefore = store.tables.count
    do throws(RuntimeError) {
      for index in memories.count..<info.memoryCount { try makeMemory(index) }
      for index in tables.count..<info.tableCount { try makeTable(index) }
    } catch {
      // What was made already refers to the context, which is about to go.
      store.discard(memoriesFrom: memoriesBefore, tablesFrom: tablesBefore)
      throw error
    }
    if let memory = memories.first {
      put(memory.reservation.base, at: ContextLayout.memory0Base)
      // For `Caller.memoryBytes`.
      unsafe put(UInt(bitPattern: memory.pair), at: ContextLayout.opaque1)
    }
    store.instances.append(self)
    store.trampolines.add(module, signatures: signatures)
  }

  deinit {
    unsafe context.deallocate()
    unsafe references?.deallocate()
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
    precondition(offset >= 0 && offset + 8 <= layout.size)
    unsafe context.storeBytes(of: word, toByteOffset: offset, as: UInt.self)
  }

  // MARK: Memories, tables, globals

  private func makeMemory(_ index: Int) throws(RuntimeError) {
    let type = try reading { () throws(ArtifactError) in try info.memory(index) }
    let extents = try reading { () throws(ArtifactError) in
      try info.memoryImage(index).map { (row) throws(ArtifactError) in try info.imageExtent(row) }
    }
    let guardSize = max(module.engine.configuration.memoryGuardSize, module.artifact.guardSize)
    let memory = unsafe try store.makeMemory(
      type: type, guardSize: guardSize, pair: context + layout.memory(index).offset
    ) { (memory, size) throws(LoadError) in
      try memory.reservation.commit(offset: 0, length: size)
      for extent in extents {
        // The reservation checks its own bounds; an image past the memory's end is a damaged file.
        guard extent.memoryOffset <= UInt64(size), extent.size <= UInt64(size) - extent.memoryOffset else {
          throw LoadError(kind: .damaged, message: "a data image is larger than its memory")
        }
        try module.artifact.mapImage(extent, into: memory.reservation)
      }
    }
    memories.append(memory)
  }

  private func makeTable(_ index: Int) throws(RuntimeError) {
    let type = try reading { () throws(ArtifactError) in try info.table(index) }
    let table = unsafe try store.makeTable(type: type, pair: context + layout.table(index).offset)
    let rows = try reading { () throws(ArtifactError) in try info.tableImage(index) }
    if !rows.isEmpty { unsafe table.owner = self }
    table.ownerIndex = index
    tables.append(table)
  }

  /// The 16-byte cell of a global; nil for an index that does not exist.
  func globalCell(_ index: Int) -> UnsafeMutableRawPointer? {
    guard index >= 0, index < info.globalCount else { return nil }
    let place = layout.global(index)
    return unsafe place.isIndirect
      ? context.load(fromByteOffset: place.offset, as: UnsafeMutableRawPointer.self) : context + place.offset
  }

  // MARK: Functions

  /// The reference to a function, made when first asked for; nil when the artifact has no such function.
  func functionReference(_ index: Int) -> UnsafeMutablePointer<FunctionReferenceBlock>? {
    guard index >= 0, index < info.functionCount else { return nil }
    if index < importedFunctions.count { return unsafe importedFunctions[index].block }
    let defined = index - importedFunctions.count
    if unsafe references == nil {
      unsafe references = calloc(max(info.definedFunctionCount, 1), MemoryLayout<UInt>.size)?
        .bindMemory(to: UnsafeMutablePointer<FunctionReferenceBlock>?.self, capacity: info.definedFunctionCount)
    }
    guard let references = unsafe references else { return nil }
    if let reference = unsafe references[defined] { return unsafe reference }
    guard let typeIndex = try? info.typeIndex(function: index), typeIndex < signatures.count,
      let code = module.artifact.functionAddress(index)
    else { return nil }
    let type = unsafe store.type(of: signatures[typeIndex])
    let reference = unsafe store.arena.allocate(FunctionReferenceLayout.size)
      .bindMemory(to: FunctionReferenceBlock.self, capacity: 1)
    unsafe reference.initialize(
      to: FunctionReferenceBlock(
        code: code, context: UInt(bitPattern: context), signature: signatures[typeIndex],
        slotCount: UInt32(clamping: max(type.parameters.count, type.results.count)),
        entryTrampoline: module.artifact.entryTrampoline(typeIndex: typeIndex) ?? 0))
    unsafe references[defined] = reference
    return unsafe reference
  }

  /// The bits of a `funcref` to a function.
  func functionBits(_ index: Int) throws(RuntimeError) -> UInt64 {
    guard let reference = unsafe functionReference(index) else {
      throw RuntimeError(.damagedArtifact, "function \(index) is missing")
    }
    return UInt64(UInt(bitPattern: reference))
  }

  /// What an element of a table is before anything was written to it: from the table's image, otherwise null.
  func initialElementBits(table: Int, index: Int) -> UInt64 {
    guard let rows = try? info.tableImage(table) else { return 0 }
    // The rows are sorted and do not overlap: the last that starts at or before the element.
    var low = rows.lowerBound
    var high = rows.upperBound
    while low < high {
      let middle = (low + high) / 2
      guard let row = try? info.tableImageRow(middle) else { return 0 }
      if Int(row.element) <= index { low = middle + 1 } else { high = middle }
    }
    guard low > rows.lowerBound, let row = try? info.tableImageRow(low - 1), index - Int(row.element) < Int(row.count),
      let function = try? info.elementFunction(Int(row.firstFunction) + index - Int(row.element))
    else { return 0 }
    return (try? functionBits(Int(function))) ?? 0
  }

  // MARK: Segments

  func dropElement(_ index: Int) { droppedElements.insert(index) }
  func dropData(_ index: Int) { droppedData.insert(index) }

  /// A passive element segment that was not dropped; nil for any other, which counts as empty.
  func passiveElement(_ index: Int) throws(RuntimeError) -> ElementSegmentInfo? {
    let segment = try reading { () throws(ArtifactError) in try info.elementSegment(index) }
    return segment.mode == .passive && !droppedElements.contains(index) ? segment : nil
  }

  /// A passive data segment that was not dropped; nil for any other, which counts as empty.
  func passiveData(_ index: Int) throws(RuntimeError) -> DataSegmentInfo? {
    let segment = try reading { () throws(ArtifactError) in try info.dataSegment(index) }
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
