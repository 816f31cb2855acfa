// A module: an artifact that is loaded, and what an engine knows about it.
//
// Loading is the loader's work and decodes nothing. What depends on the engine, the canonical numbers of the module's
// function types, is worked out when the module is first instantiated, and kept here for all its instances.

import PrecastArtifact
import PrecastDebugInfo
public import PrecastLoader
import PrecastWasm
import Synchronization

/// An import of a module.
public struct ImportType: Sendable, Hashable {
  /// The first of the two names.
  public var module: String
  /// The second of the two names.
  public var name: String
  /// What is needed.
  public var type: ExternalType

  /// Makes a description of an import.
  public init(module: String, name: String, type: ExternalType) {
    self.module = module
    self.name = name
    self.type = type
  }
}

/// An export of a module.
public struct ExportType: Sendable, Hashable {
  /// The name.
  public var name: String
  /// What is exported.
  public var type: ExternalType

  /// Makes a description of an export.
  public init(name: String, type: ExternalType) {
    self.name = name
    self.type = type
  }
}

/// A compiled module, ready to be instantiated, in any number of stores of its engine and on any thread.
///
/// Code and tables stay mapped as long as the module, or a store in which it was instantiated, lives.
public final class Module: Sendable {
  /// The engine that the module was loaded for.
  public let engine: Engine
  /// The artifact that the module was loaded from.
  public let artifact: LoadedArtifact
  private let firstPlan = AtomicLazyReference<InstancePlan>()
  let resolutions = ResolutionCache()

  /// Makes a module of an artifact that is loaded already.
  public init(engine: Engine, artifact: LoadedArtifact) {
    self.engine = engine
    self.artifact = artifact
    if !engine.observers.isEmpty { artifact.announce(to: engine.observers) }
  }

  deinit {
    // No instance is left, each keeps its module; so all slots with this module's image are idle.
    if let plan = firstPlan.load() { engine.pool.forget(plan.mark) }
  }

  /// Loads an artifact from a file. An artifact is native code: load only what you trust.
  public convenience init(engine: Engine, deserializeFile path: String) throws(LoadError) {
    self.init(
      engine: engine,
      artifact: try LoadedArtifact(
        path: path, host: engine.host, verification: engine.verification, unwinding: engine.unwinding))
  }

  /// Loads an artifact from an open file, which stays the caller's.
  public convenience init(engine: Engine, deserializeFile descriptor: Int32) throws(LoadError) {
    self.init(
      engine: engine,
      artifact: try LoadedArtifact(
        fileDescriptor: descriptor, host: engine.host, verification: engine.verification, unwinding: engine.unwinding))
  }

  /// Loads an artifact from bytes.
  public convenience init(engine: Engine, deserialize bytes: [UInt8]) throws(LoadError) {
    // The span is of an array that the caller holds.
    unsafe self.init(
      engine: engine,
      artifact: try LoadedArtifact(
        bytes: bytes.span.bytes, host: engine.host, verification: engine.verification, unwinding: engine.unwinding))
  }

  /// The artifact's tables.
  func info() throws(RuntimeError) -> ModuleInfo {
    try reading { () throws(ArtifactError) in try artifact.moduleInfo() }
  }

  /// Throws when the artifact's file is known to have been changed while it was loaded; then nothing that was read from
  /// it before this call is to be believed.
  func checkIntact() throws(RuntimeError) {
    try reading { () throws(ArtifactError) in try artifact.checkIntact() }
  }

  /// The module's name, from its name section.
  public var name: String? { artifact.moduleName }

  /// The imports, in order; without functions that were bound to symbols when the module was compiled. Empty for a
  /// damaged artifact.
  public var imports: [ImportType] {
    guard let info = try? info() else { return [] }
    return (0..<info.importCount).compactMap { index in
      guard let entry = try? info.importEntry(index), let type = try? info.externalType(entry.descriptor) else {
        return nil
      }
      if case .function = entry.descriptor, (try? info.adapter(importedFunction: Int(entry.index))) ?? nil != nil {
        return nil
      }
      return artifact.isDamaged ? nil : ImportType(module: entry.module, name: entry.name, type: type)
    }
  }

  /// The exports, in the order in which the module declares them. Empty for a damaged artifact.
  public var exports: [ExportType] {
    guard let info = try? info() else { return [] }
    return ((try? info.exportsInDeclarationOrder()) ?? []).compactMap { export in
      guard let type = try? info.externalType(export.kind, Int(export.index)), !artifact.isDamaged else { return nil }
      return ExportType(name: export.name, type: type)
    }
  }

  /// What all instances have in common, worked out when first asked for. (By several threads at once perhaps: then all
  /// but one plan is dropped again.)
  func plan() throws(RuntimeError) -> InstancePlan {
    if let plan = firstPlan.load() { return plan }
    return firstPlan.storeIfNil(try InstancePlan(self))
  }

  /// Instantiates the module in a store of the same engine: links its imports, sets up its memories, tables and globals,
  /// and runs its start function.
  ///
  /// When this throws, what the module had done by then to imported memories, tables and globals remains done, as the
  /// specification says.
  ///
  /// - Throws: `RuntimeError` of kind `unknownImport`, `incompatibleImport`, `foreignStore`, `limit` or
  ///   `damagedArtifact`; `Trap` for a segment that does not fit or from the start function; or a host function's error.
  @discardableResult
  public func instantiate(store: Store, imports: Imports = Imports()) throws -> Instance {
    guard store.engine === engine else {
      throw RuntimeError(.foreignStore, "the module was loaded for another engine than the store's")
    }
    guard engine.signalHandlerStatus == 0 else {
      throw RuntimeError(.limit, "the signal handlers could not be installed (errno \(-engine.signalHandlerStatus))")
    }
    try checkIntact()
    let plan = try plan()
    let resolution = try resolve(imports, store: store, plan: plan)
    let entity = try InstanceEntity(
      store: store, module: self, plan: plan, resolution: resolution, imports: imports)
    let instance = Instance(store: store, entity: entity)
    try entity.initialize()
    // What all this was made from is believed only if none of it was lost by now.
    try checkIntact()
    if let start = plan.info.start {
      guard let reference = unsafe entity.functionReference(Int(start)) else {
        throw RuntimeError(.damagedArtifact, "the start function \(start) is missing")
      }
      try unsafe Function(store: store, reference: reference).invoke()
    }
    return instance
  }
}
