// What an engine knows of compiled modules: the cache that it uses, and those that are in use.
//
// Before the cache on disk stands memory: the same bytes with the same settings are loaded once in an engine, however many
// modules are made of them. They share one mapping, which goes when the last of them does; so there are weak references
// only. Whoever asks for what somebody else is compiling at the moment waits for that, rather than compile it as well.
//
// Host functions are no modules and have no code of their own; nothing of them is kept here or on disk.

public import PrecastCache
import PrecastLoader
public import PrecastRuntime
import Synchronization

/// Compiled modules in use, and where others are looked for.
final class EngineModules: Sendable {
  let cache: ArtifactCache?
  private let slots = Mutex<[CacheKey: Slot]>([:])

  init(cache: ArtifactCache?) { self.cache = cache }

  /// A loaded artifact that may be gone.
  private struct Known {
    weak var artifact: LoadedArtifact?
  }

  /// The place of one artifact. Its lock is held while the artifact is made.
  private final class Slot: Sendable {
    let known = Mutex(Known())
  }

  /// The artifact with a key, if it is loaded; otherwise what `make` gives.
  func artifact(_ key: CacheKey, make: () throws -> LoadedArtifact?) throws -> LoadedArtifact? {
    let slot = slots.withLock { slots in
      if let slot = slots[key] { return slot }
      // Now and then, so that what is gone leaves nothing; nobody who waits for a slot's lock loses it by that.
      if slots.count & 255 == 255 {
        slots = slots.filter { $0.value.known.withLockIfAvailable { $0.artifact != nil } ?? true }
      }
      let slot = Slot()
      slots[key] = slot
      return slot
    }
    return try slot.known.withLock { known in
      // One whose file was changed under it serves nobody else.
      if let artifact = known.artifact, !artifact.isDamaged { return artifact }
      let made = try make()
      known.artifact = made
      return made
    }
  }

  /// The artifact of a compilation: loaded already, from the cache, or compiled.
  func artifact(for state: CompiledModule, in engine: EngineConfiguration) throws -> LoadedArtifact {
    let key = try CacheKey(of: state)
    let made = try artifact(key) {
      if let cache { return try cache.artifact(for: state) { try state.load($0, for: engine) } }
      let memory = try CompiledModule.compile(state)
      defer { CompiledModule.close(memory) }
      return try LoadedArtifact(fileDescriptor: memory, unwinding: engine.unwinding)
    }
    guard let made else { throw CacheError.outOfResources("the artifact \(key) cannot be loaded") }
    return made
  }

  /// The artifact of a compilation, where it is loaded already or in the cache.
  func knownArtifact(for state: CompiledModule, in engine: EngineConfiguration) throws -> LoadedArtifact? {
    let key = try CacheKey(of: state)
    return try artifact(key) {
      try cache?.lookUp(key, of: CompiledModule.compiler) { try state.load($0, for: engine) }
    }
  }

  /// Forgets an artifact, here and in the cache; whether it was known.
  func discard(_ artifact: LoadedArtifact) -> Bool {
    let key = slots.withLock { slots in
      let key = slots.first { $0.value.known.withLockIfAvailable { $0.artifact === artifact } ?? false }?.key
      if let key { slots[key] = nil }
      return key
    }
    guard let key else { return false }
    cache?.discard(key, of: CompiledModule.compiler)
    return true
  }
}

extension Engine {
  /// Makes an engine whose modules are looked for in a cache before they are compiled, and put there afterwards.
  public convenience init(configuration: EngineConfiguration = EngineConfiguration(), cache: ArtifactCache?) {
    self.init(configuration: configuration)
    _ = attachments.object { EngineModules(cache: cache) }
  }

  /// The cache that the engine was made with.
  public var cache: ArtifactCache? { modules.cache }

  /// Removes a module's entry from the cache: the module turned out to be damaged (a `RuntimeError` of kind
  /// `damagedArtifact`, or a trap of that name). Making the module again then compiles it.
  ///
  /// - Returns: whether the module was made by compiling, or came from the cache, in this engine.
  @discardableResult
  public func discardCached(_ module: Module) -> Bool { modules.discard(module.artifact) }

  var modules: EngineModules { attachments.object { EngineModules(cache: nil) } }
}
