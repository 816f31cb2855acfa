// What a module's code depends on: the state of which compiling is a function.

public import PrecastArtifact
public import PrecastCache
import PrecastCompiler
import PrecastLoader
import PrecastRuntime

/// Everything that the code of a module depends on.
public struct CompiledModule: CachedCompilation {
  /// The binary.
  public var wasm: WasmSource
  /// Every setting of the compiler, the target and its features among them.
  public var settings: CompilerSettings
  /// Number of threads that compile; as many as there are processors for nil. The code is the same with any.
  public var threads: Immaterial<Int?>

  /// A compilation.
  public init(wasm: WasmSource, settings: CompilerSettings, threads: Int? = nil) {
    self.wasm = wasm
    self.settings = settings
    self.threads = Immaterial(threads)
  }

  /// The compiler in this program.
  public static let compiler = CompilerIdentity(
    name: Compiler.name, version: Compiler.version, formatVersion: CompatibilityRecord.currentFormatVersion)

  /// Compiles to a file in memory.
  public static func compile(_ state: CompiledModule) throws -> Int32 {
    try Compiler(settings: state.settings, threads: state.threads.value).compileToMemory(state.wasm.binary())
  }

  /// Loads an artifact of this compilation. What was just compiled has to load, or there is an error; an entry that does not
  /// is a matter for the cache.
  func load(
    _ file: CachedFile, for engine: EngineConfiguration
  ) throws(LoadError) -> CachedLoad<LoadedArtifact> {
    do throws(LoadError) {
      let artifact = try LoadedArtifact(
        fileDescriptor: file.descriptor,
        verification: file.mustVerify || engine.verifiesArtifacts ? .full : .none, unwinding: engine.unwinding)
      let record = artifact.header.record
      guard record.settings == settings, record.compilerName == Compiler.name,
        record.compilerVersion == Compiler.version
      else { return .damaged }
      // The first table that is needed is looked at here, where damage can still be mended.
      do throws(ArtifactError) { _ = try artifact.moduleInfo() } catch { throw LoadError(error, path: nil) }
      return .loaded(artifact)
    } catch {
      if file.isFresh { throw error }
      switch error.kind {
      case .damaged, .notAnArtifact, .incompatible: return .damaged
      case .cannotRead, .cannotLink, .boundToAddress: return .unavailable(error.message)
      case .outOfResources: throw error
      }
    }
  }
}
