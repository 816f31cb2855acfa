// A module: an artifact that is loaded, and what an engine knows about it.
//
// Loading is the loader's work and decodes nothing. What depends on the engine, the canonical numbers of the module's
// function types, is worked out when the module is first instantiated, and kept here for all its instances.

public import PrecastLoader
import Synchronization

/// An import of a module.
public struct ImportType: Sendable, Hashable {
  /// The first of the two names.
  public var module: String
  /// The second of the two names.
  public var name: String
  /// What is needed.
  public var type: ExternalType
}

/// An export of a module.
public struct ExportType: Sendable, Hashable {
  /// The name.
  public var name: String
  /// What is exported.
  public var type: ExternalType
}

/// A compiled module, ready to be instantiated, in any number of stores of its engine and on any thread.
///
/// Code and tables stay mapped as long as the module, or a store in which it was instantiated, lives.
public final class Module: Sendable {
  /// The engine that the module was loaded for.
  public let engine: Engine
  let artifact: LoadedArtifact

  /// Makes a module of an artifact that is loaded already.
  public init(engine: Engine, artifact: LoadedArtifact) {
    self.engine = engine
    self.artifact = artifact
  }

  /// Loads an artifact from a file. An artifact is native code: load only what you trust.
  public convenience init(engine: Engine, deserializeFile path: String) throws(LoadError) {
    self.init(engine: engine, artifact: try LoadedArtifact(path: path))
  }

  /// Loads an artifact from an open file, which stays the caller's.
  public convenience init(engine: Engine, deserializeFile descriptor: Int32) throws(LoadError) {
    self.init(engine: engine, artifact: try LoadedArtifact(fileDescriptor: descriptor))
  }

  /// Loads an artifact from bytes.
  public convenience init(engine: Engine, deserialize bytes: [UInt8]) throws(LoadError) {
    unsafe self.init(engine: engine, artifact: try LoadedArtifact(bytes: bytes.span.bytes))
  }

  /// The module's name, from its name section.
  public var name: String? { artifact.moduleName }

  /// The imports, in order.
  public var imports: [ImportType] { [] }

  /// The exports, in order.
  public var exports: [ExportType] { [] }

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
    throw RuntimeError(.limit, "not implemented")
  }
}
