// What all instances of a module have in common, worked out once.
//
// Loading decodes nothing. The first instantiation does, as far as instances need it: types and sizes of memories and
// tables, where they go in a slot, and a *template* of the instance context, in which everything stands that is the same in
// all instances, values of globals included where they are constant. An instance is then a copy of the template with a few
// addresses put in. The plan does not look at functions, exports, images' contents or segments, except for counting
// those that have to be applied.

import PrecastArtifact
import PrecastLoader
import PrecastWasm
import Synchronization

/// The plan for a module's instances. Immutable; of one engine.
@safe
final class InstancePlan: @unchecked Sendable {
  /// A memory that the module defines.
  struct MemoryPlan {
    let type: MemoryType
    /// Bytes at the start.
    let size: Int
    let extents: [ImageExtent]
    /// Offset of its pair (base, length) in the context.
    let pairOffset: Int
  }
  /// A table that the module defines.
  struct TablePlan {
    let type: TableType
    /// Offset of its pair (elements, length) in the context.
    let pairOffset: Int
    /// Index in the index space of tables.
    let index: Int
    /// Whether there is something in the artifact for elements that nobody has looked at.
    let hasImage: Bool
    /// Bytes from the start of a slot's area for tables; meaningful only with a capacity.
    var slotOffset = 0
    /// Elements that fit there; 0: the table has memory of its own.
    var slotCapacity = 0
  }
  /// A global whose value depends on the instance.
  struct ComputedGlobal {
    let offset: Int
    let initializer: Range<Int>
  }

  let info: ModuleInfo
  let layout: ContextLayout
  let signatures: SignatureTable
  /// Inaccessible bytes behind each memory.
  let guardSize: Int
  let memories: [MemoryPlan]
  let tables: [TablePlan]
  /// The memory that a slot has; nil: instances need no slot.
  let slotMemory: MemoryPlan?
  /// Bytes of a slot's area for tables that instances may write to.
  let slotTableBytes: Int
  let computedGlobals: [ComputedGlobal]
  /// Offsets of the cells of globals of type `externref`.
  let externGlobals: [Int]
  /// The mark of slots with this module's memory.
  let mark = SlotMark()
  // `layout.size` bytes, written in `init` only, freed in `deinit`.
  let template: UnsafeMutableRawPointer

  init(_ module: Module) throws(RuntimeError) {
    let info = try reading { () throws(ArtifactError) in try module.artifact.moduleInfo() }
    let signatures = try SignatureTable(info, module.engine)
    let layout = info.contextLayout
    self.info = info
    self.signatures = signatures
    self.layout = layout
    guardSize = max(module.engine.configuration.memoryGuardSize, module.artifact.guardSize)

    var memories: [MemoryPlan] = []
    for index in info.importedMemoryCount..<info.memoryCount {
      let type = try reading { () throws(ArtifactError) in try info.memory(index) }
      try MemoryEntity.checkSupport(type)
      let extents = try reading { () throws(ArtifactError) in
        try info.memoryImage(index).map { (row) throws(ArtifactError) in try info.imageExtent(row) }
      }
      let size = Int(type.limits.minimum) * MemoryEntity.pageSize
      for extent in extents {
        // A slot checks its own bounds; an image past the memory's end would make accessible what must trap.
        guard extent.memoryOffset <= UInt64(size), extent.size <= UInt64(size) - extent.memoryOffset else {
          throw RuntimeError(.damagedArtifact, "a data image is larger than its memory")
        }
        _ = try reading { () throws(ArtifactError) in try module.artifact.artifact.fileOffset(of: extent) }
      }
      memories.append(
        MemoryPlan(type: type, size: size, extents: extents, pairOffset: layout.memory(index).offset))
    }
    self.memories = memories
    slotMemory = memories.first

    var tables: [TablePlan] = []
    for index in info.importedTableCount..<info.tableCount {
      let type = try reading { () throws(ArtifactError) in try info.table(index) }
      guard type.limits.minimum <= UInt64(UInt32.max) else {
        throw RuntimeError(.limit, "a table of \(type.limits.minimum) elements is not supported")
      }
      let image = try reading { () throws(ArtifactError) in try info.tableImage(index) }
      tables.append(
        TablePlan(type: type, pairOffset: layout.table(index).offset, index: index, hasImage: !image.isEmpty))
    }
    slotTableBytes = memories.isEmpty ? 0 : Self.place(&tables)
    self.tables = tables

    unsafe template = UnsafeMutableRawPointer.allocate(byteCount: layout.size, alignment: 16)
    unsafe template.initializeMemory(as: UInt8.self, repeating: 0, count: layout.size)
    unsafe template.storeBytes(
      of: UInt(bitPattern: BuiltinTable.shared.pointers), toByteOffset: ContextLayout.builtinTable, as: UInt.self)
    unsafe template.storeBytes(
      of: UInt(bitPattern: signatures.numbers), toByteOffset: ContextLayout.signatureIDs, as: UInt.self)
    unsafe template.storeBytes(of: ContextLayout.kindInstance, toByteOffset: ContextLayout.kind, as: UInt32.self)

    var computed: [ComputedGlobal] = []
    var externs: [Int] = []
    // (Assigned before anything throws, since `deinit` needs the template alone.)
    var failure: RuntimeError?
    do throws(RuntimeError) {
      for index in info.importedGlobalCount..<info.globalCount {
        let global = try reading { () throws(ArtifactError) in try info.global(index) }
        // A place in the context, by the layout's own arithmetic: in bounds for an index below the count.
        let offset = layout.global(index).offset
        if global.type.value == .externref { externs.append(offset) }
        if let bits = try Self.constant(global.initializer, info) {
          unsafe template.storeBytes(of: bits, toByteOffset: offset, as: UInt64.self)
        } else {
          computed.append(ComputedGlobal(offset: offset, initializer: global.initializer))
        }
      }
    } catch {
      failure = error
    }
    computedGlobals = computed
    externGlobals = externs
    if let failure { throw failure }
  }

  deinit { unsafe template.deallocate() }

  /// Gives tables places in a slot's area: each its minimum, and what is left in equal parts to those that can grow.
  ///
  /// - Returns: the bytes of the area that are used.
  private static func place(_ tables: inout [TablePlan]) -> Int {
    // Eight elements are a cache line.
    func bytes(_ elements: UInt64) -> Int? {
      elements > UInt64(InstanceSlot.tableArea / 8) ? nil : (Int(elements) * 8 + 63) & ~63
    }
    var left = InstanceSlot.tableArea
    var growing = 0
    for index in tables.indices {
      guard let size = bytes(tables[index].type.limits.minimum), size <= left else { continue }
      left -= size
      tables[index].slotCapacity = size / 8
      if (tables[index].type.limits.maximum ?? .max) > UInt64(size / 8) { growing += 1 }
    }
    let share = growing == 0 ? 0 : left / growing & ~63
    var end = 0
    for index in tables.indices {
      let limits = tables[index].type.limits
      guard bytes(limits.minimum) != nil, tables[index].slotCapacity > 0 || limits.minimum == 0 else { continue }
      if (limits.maximum ?? .max) > UInt64(tables[index].slotCapacity) {
        let most = min(limits.maximum ?? .max, UInt64(tables[index].slotCapacity + share / 8))
        tables[index].slotCapacity = bytes(most).map { $0 / 8 } ?? tables[index].slotCapacity
      }
      tables[index].slotOffset = end
      end += tables[index].slotCapacity * 8
    }
    return end
  }

  /// The value of an initialiser that is the same in every instance; nil for one that is not.
  private static func constant(_ expression: Range<Int>, _ info: ModuleInfo) throws(RuntimeError) -> UInt64? {
    for position in expression {
      switch try reading({ () throws(ArtifactError) in try info.constant(position) }) {
      case .globalGet, .refFunction: return nil
      default: break
      }
    }
    return try ConstantEvaluator.evaluate(expression, info) { (_) throws(RuntimeError) in nil }
  }
}

/// The canonical numbers of a module's types, where generated code finds them.
@safe
final class SignatureTable: @unchecked Sendable {
  // Written only while the table is made, before anybody else sees it.
  let numbers: UnsafeMutablePointer<UInt32>
  let count: Int

  init(_ info: ModuleInfo, _ engine: Engine) throws(RuntimeError) {
    count = info.typeCount
    unsafe numbers = UnsafeMutablePointer<UInt32>.allocate(capacity: max(count, 1))
    unsafe numbers.initialize(repeating: 0, count: max(count, 1))
    for index in 0..<count {
      let first = try reading { () throws(ArtifactError) in try info.firstEqualType(index) }
      // `first` is at most `index`; the reader checks it.
      unsafe numbers[index] =
        first < index
        ? numbers[first]
        : engine.signatures.number(of: try reading { () throws(ArtifactError) in try info.type(index) })
    }
  }

  deinit { unsafe numbers.deallocate() }

  subscript(index: Int) -> UInt32 {
    precondition(index >= 0 && index < count)
    return unsafe numbers[index]
  }
}
