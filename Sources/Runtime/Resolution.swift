// What a module's imports are, found and checked.
//
// Every import is looked up and checked before anything is made, so that a module that does not link leaves no trace.
// Types are checked exactly, as the specification's matching says: functions by canonical number, globals by type and
// mutability, memories and tables by their current size against the limits asked for.
//
// The result for imports that belong to no store depends on nothing but the module and the imports, so the module keeps
// it, under the imports' stamp. It must not keep the imports' closures, which may well hold the module: that would be a
// circle that nothing breaks. So it refers to them without owning them, which is safe because it is only used by
// somebody who presents imports of the same stamp: these are the owner, and each instance keeps its imports.

import PrecastArtifact
import PrecastWasm
import Synchronization

/// The imports of a module, each kind in index order.
@safe
final class Resolution: @unchecked Sendable {
  @safe
  enum FunctionLink {
    /// A host function of which the instance makes its own: the position of its context, and the trampoline to it.
    case host(position: Int, entity: Unmanaged<HostFunctionEntity>, signature: UInt32, code: UInt)
    /// A function of the store: its reference, and what a caller in the module calls.
    case bound(Function.Reference, code: UInt, context: UInt)
    /// Code of the module itself, which calls a symbol that the import was bound to when it was compiled. It runs with the
    /// instance's own context.
    case adapter(code: UInt)
  }
  enum TableLink {
    case bound(TableEntity)
    case new(TableType)
  }
  enum MemoryLink {
    case bound(MemoryEntity)
    case new(MemoryType)
  }
  @safe
  enum GlobalLink {
    /// The cell alone: a `Global` keeps its store, which keeps the instance that keeps this.
    case bound(cell: UnsafeMutableRawPointer)
    case new(GlobalType)
  }

  /// The stamp of the imports.
  let stamp: UInt64
  fileprivate(set) var functions: [FunctionLink] = []
  fileprivate(set) var tables: [TableLink] = []
  fileprivate(set) var memories: [MemoryLink] = []
  fileprivate(set) var globals: [GlobalLink] = []
  /// Whether nothing in it belongs to a store.
  fileprivate(set) var isShared = true
  /// Host functions of which an instance makes its own.
  fileprivate(set) var hostCount = 0
  // `hostCount` contexts as they are but for the store; freed in `deinit`.
  fileprivate(set) var hostContexts: UnsafeMutableRawPointer?

  fileprivate init(stamp: UInt64) {
    self.stamp = stamp
    unsafe hostContexts = nil
  }

  deinit { unsafe hostContexts?.deallocate() }

  /// The host functions that are referred to, for an instance that does not keep its imports. To be asked for only while
  /// the imports are there.
  var hostFunctions: [HostFunctionEntity] {
    functions.compactMap { link in
      guard case .host(_, let entity, _, _) = link else { return nil }
      return unsafe entity.takeUnretainedValue()
    }
  }

  fileprivate func makeHostContexts() {
    if hostCount == 0 { return }
    let size = hostCount * ContextLayout.headerSize
    let contexts = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    unsafe contexts.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    for case .host(let position, let entity, _, _) in functions {
      unsafe HostFunctionEntity.write(entity, to: contexts + position * ContextLayout.headerSize)
    }
    unsafe hostContexts = contexts
  }
}

/// The resolutions that a module keeps: those of the imports used last.
final class ResolutionCache: Sendable {
  private struct State {
    var entries: [Resolution] = []
    var next = 0
  }
  private let state = Mutex(State())
  private static let capacity = 4

  func find(_ stamp: UInt64) -> Resolution? {
    state.withLock { state in
      for entry in state.entries where entry.stamp == stamp { return entry }
      return nil
    }
  }

  func add(_ resolution: Resolution) {
    state.withLock { state in
      if state.entries.count < Self.capacity {
        state.entries.append(resolution)
      } else {
        state.entries[state.next] = resolution
        state.next = (state.next + 1) % Self.capacity
      }
    }
  }
}

extension Module {
  /// Finds and checks all imports; the second time for imports without values of a store, finds them at once.
  func resolve(_ imports: Imports, store: Store, plan: InstancePlan) throws(RuntimeError) -> Resolution {
    // What else is in them does not matter to a module that imports nothing.
    let stamp = plan.info.importCount == 0 ? 0 : imports.stamp
    if let known = resolutions.find(stamp) { return known }
    let resolution = try link(imports, stamp: stamp, store: store, plan: plan)
    if resolution.isShared { resolutions.add(resolution) }
    return resolution
  }

  private func link(
    _ imports: Imports, stamp: UInt64, store: Store, plan: InstancePlan
  ) throws(RuntimeError) -> Resolution {
    let info = plan.info
    let signatures = plan.signatures
    let resolution = Resolution(stamp: stamp)
    for index in 0..<info.importCount {
      let entry = try reading { () throws(ArtifactError) in try info.importEntry(index) }
      if case .function = entry.descriptor, let code = try adapter(Int(entry.index), info) {
        // Nobody else has a say in it.
        resolution.functions.append(.adapter(code: code))
        continue
      }
      // Made only for a message.
      var name: String { "\(entry.module.printable).\(entry.name.printable)" }
      guard let definition = imports.definition(module: entry.module, name: entry.name) else {
        let type = try reading { () throws(ArtifactError) in try info.externalType(entry.descriptor) }
        throw RuntimeError(.unknownImport, "unknown import: \(name) (\(type)) is not defined")
      }
      if case .value(let value) = definition {
        guard value.store === store else {
          throw RuntimeError(.foreignStore, "the import \(name) belongs to another store")
        }
        resolution.isShared = false
      }
      let matches: Bool
      switch (entry.descriptor, definition) {
      case (.function(let typeIndex), .host(let entity)):
        let signature = try Self.signature(typeIndex, signatures)
        matches = store.engine.signatures.number(of: entity.type) == signature
        if !matches { break }
        let code = try exitTrampoline(Int(typeIndex))
        unsafe resolution.functions.append(
          .host(
            position: resolution.hostCount, entity: Unmanaged.passUnretained(entity), signature: signature, code: code))
        resolution.hostCount += 1
      case (.function(let typeIndex), .value(.function(let function))):
        let block = unsafe function.reference.pointee
        matches = try block.signature == Self.signature(typeIndex, signatures)
        if !matches { break }
        let code = HostFunctionEntity.isHostContext(block.context) ? try exitTrampoline(Int(typeIndex)) : block.code
        unsafe resolution.functions.append(
          .bound(Function.Reference(function.reference), code: code, context: block.context))
      case (.table(let type), .value(.table(let table))):
        matches = table.entity.type.element == type.element && Self.matches(table.type.limits, type.limits)
        resolution.tables.append(.bound(table.entity))
      case (.table(let type), .new(.table(let new))):
        matches = new.element == type.element && Self.matches(new.limits, type.limits)
        resolution.tables.append(.new(new))
      case (.memory(let type), .value(.memory(let memory))):
        matches = Self.matches(memory.type, type)
        if matches, memory.entity.guardSize < artifact.guardSize {
          throw RuntimeError(
            .incompatibleImport,
            "incompatible import type: \(name) is a memory with a guard of "
              + "\(memory.entity.guardSize) bytes, but the code was compiled for \(artifact.guardSize)")
        }
        resolution.memories.append(.bound(memory.entity))
      case (.memory(let type), .new(.memory(let new))):
        matches = Self.matches(new, type)
        resolution.memories.append(.new(new))
      case (.global(let type), .value(.global(let global))):
        matches = type == global.type
        unsafe resolution.globals.append(.bound(cell: global.cell))
      case (.global(let type), .new(.global(let new))):
        matches = type == new
        resolution.globals.append(.new(new))
      default: matches = false
      }
      if !matches {
        let expected = try reading { () throws(ArtifactError) in try info.externalType(entry.descriptor) }
        let actual: ExternalType =
          switch definition {
          case .value(let value): value.type
          case .host(let entity): .function(entity.type)
          case .new(let type): type
          }
        throw RuntimeError(
          .incompatibleImport, "incompatible import type: \(name) must be \(expected), but is \(actual)")
      }
    }
    guard resolution.functions.count == info.importedFunctionCount,
      resolution.tables.count == info.importedTableCount, resolution.memories.count == info.importedMemoryCount,
      resolution.globals.count == info.importedGlobalCount
    else { throw RuntimeError(.damagedArtifact, "the counts of imports do not agree") }
    resolution.makeHostContexts()
    return resolution
  }

  private static func signature(_ typeIndex: UInt32, _ signatures: SignatureTable) throws(RuntimeError) -> UInt32 {
    guard Int(typeIndex) < signatures.count else {
      throw RuntimeError(.damagedArtifact, "type \(typeIndex) of an import is missing")
    }
    return signatures[Int(typeIndex)]
  }

  /// The code of a bound import; nil for one that is to be looked for.
  private func adapter(_ function: Int, _ info: ModuleInfo) throws(RuntimeError) -> UInt? {
    guard try reading({ () throws(ArtifactError) in try info.adapter(importedFunction: function) }) != nil else {
      return nil
    }
    guard let address = artifact.adapterAddress(importedFunction: function) else {
      throw RuntimeError(.damagedArtifact, "the adapter of imported function \(function) is missing")
    }
    return address
  }

  private func exitTrampoline(_ typeIndex: Int) throws(RuntimeError) -> UInt {
    guard let trampoline = artifact.exitTrampoline(typeIndex: typeIndex) else {
      throw RuntimeError(.damagedArtifact, "there is no trampoline for type \(typeIndex)")
    }
    return trampoline
  }

  private static func matches(_ actual: MemoryType, _ expected: MemoryType) -> Bool {
    actual.isMemory64 == expected.isMemory64 && actual.isShared == expected.isShared
      && matches(actual.limits, expected.limits)
  }

  /// Whether something of an actual size and maximum can stand in for what is asked for.
  ///
  /// Spec: Core 3.5.2, "Import Subtyping", limits.
  private static func matches(_ actual: Limits, _ expected: Limits) -> Bool {
    guard actual.minimum >= expected.minimum else { return false }
    guard let maximum = expected.maximum else { return true }
    return actual.maximum.map { $0 <= maximum } ?? false
  }
}
