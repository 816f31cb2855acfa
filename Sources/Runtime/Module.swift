// A module: an artifact that is loaded, and what an engine knows about it.
//
// Loading is the loader's work and decodes nothing. What depends on the engine, the canonical numbers of the module's
// function types, is worked out when the module is first instantiated, and kept here for all its instances.

import PrecastArtifact
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
  private let signatureTable = Mutex<SignatureTable?>(nil)

  /// Makes a module of an artifact that is loaded already.
  public init(engine: Engine, artifact: LoadedArtifact) {
    self.engine = engine
    self.artifact = artifact
  }

  /// Loads an artifact from a file. An artifact is native code: load only what you trust.
  public convenience init(engine: Engine, deserializeFile path: String) throws(LoadError) {
    self.init(engine: engine, artifact: try LoadedArtifact(path: path, verification: engine.verification))
  }

  /// Loads an artifact from an open file, which stays the caller's.
  public convenience init(engine: Engine, deserializeFile descriptor: Int32) throws(LoadError) {
    self.init(
      engine: engine, artifact: try LoadedArtifact(fileDescriptor: descriptor, verification: engine.verification))
  }

  /// Loads an artifact from bytes.
  public convenience init(engine: Engine, deserialize bytes: [UInt8]) throws(LoadError) {
    // The span is of an array that the caller holds.
    unsafe self.init(
      engine: engine, artifact: try LoadedArtifact(bytes: bytes.span.bytes, verification: engine.verification))
  }

  /// The artifact's tables.
  func info() throws(RuntimeError) -> ModuleInfo {
    try reading { () throws(ArtifactError) in try artifact.moduleInfo() }
  }

  /// The module's name, from its name section.
  public var name: String? { artifact.moduleName }

  /// The imports, in order. Empty for a damaged artifact.
  public var imports: [ImportType] {
    guard let info = try? info() else { return [] }
    return (0..<info.importCount).compactMap { index in
      guard let entry = try? info.importEntry(index), let type = try? info.externalType(entry.descriptor) else {
        return nil
      }
      return ImportType(module: entry.module, name: entry.name, type: type)
    }
  }

  /// The exports, in the order in which the module declares them. Empty for a damaged artifact.
  public var exports: [ExportType] {
    guard let info = try? info() else { return [] }
    return ((try? info.exportsInDeclarationOrder()) ?? []).compactMap { export in
      (try? info.externalType(export.kind, Int(export.index))).map { ExportType(name: export.name, type: $0) }
    }
  }

  /// The canonical numbers of the module's types, worked out when first asked for.
  func signatures() throws(RuntimeError) -> SignatureTable {
    let info = try info()
    // The lock's closure cannot throw a type of its own, so the error is carried in a result.
    let result: Result<SignatureTable, RuntimeError> = signatureTable.withLock { table in
      if let table { return .success(table) }
      let made = SignatureTable(count: info.typeCount)
      for index in 0..<info.typeCount {
        do throws(ArtifactError) {
          let first = try info.firstEqualType(index)
          made[index] = first < index ? made[first] : engine.signatures.number(of: try info.type(index))
        } catch {
          return .failure(RuntimeError(.damagedArtifact, error.description))
        }
      }
      table = made
      return .success(made)
    }
    return try result.get()
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
    let links = try link(store: store, imports: imports)
    let entity = try InstanceEntity(store: store, module: self, links: links)
    let instance = Instance(store: store, entity: entity)
    try entity.initialize()
    if let start = entity.info.start {
      guard let reference = unsafe entity.functionReference(Int(start)) else {
        throw RuntimeError(.damagedArtifact, "the start function \(start) is missing")
      }
      try unsafe Function(store: store, reference: reference).invoke()
    }
    return instance
  }
}

/// The canonical numbers of a module's types, where generated code finds them.
@safe
final class SignatureTable: @unchecked Sendable {
  // Written only while the table is made, before anybody else sees it.
  let numbers: UnsafeMutablePointer<UInt32>
  let count: Int

  init(count: Int) {
    self.count = count
    unsafe numbers = UnsafeMutablePointer<UInt32>.allocate(capacity: max(count, 1))
    unsafe numbers.initialize(repeating: 0, count: max(count, 1))
  }

  deinit { unsafe numbers.deallocate() }

  fileprivate(set) subscript(index: Int) -> UInt32 {
    get {
      precondition(index >= 0 && index < count)
      return unsafe numbers[index]
    }
    set {
      precondition(index >= 0 && index < count)
      unsafe numbers[index] = newValue
    }
  }
}
