// From a wasm binary to a module that can be instantiated, in one step.

public import PrecastArtifact
import PrecastCompiler
import PrecastLoader
public import PrecastRuntime
public import PrecastWasm

extension Module {
  /// Compiles a wasm binary in memory, for the processor of this machine, and loads the result.
  ///
  /// - Throws: `CompilerError` for a module that is malformed, invalid or uses what is not supported; `LoadError`.
  public convenience init(engine: Engine, wasm: [UInt8]) throws {
    var settings = CompilerSettings()
    settings.cpuFeatures = HostSettings.cpuFeatures
    try self.init(engine: engine, wasm: WasmBinary(wasm), settings: settings)
  }

  /// Compiles a wasm binary in memory, with given settings, and loads the result.
  ///
  /// - Throws: `CompilerError`; `LoadError`, also where the settings ask for what this machine lacks.
  public convenience init(engine: Engine, wasm: WasmBinary, settings: CompilerSettings, threads: Int? = nil) throws {
    let bytes = try Compiler(settings: settings, threads: threads).compile(wasm)
    try self.init(engine: engine, deserialize: bytes)
  }
}
