// From a wasm binary to a module that can be instantiated, in one step.

public import PrecastRuntime

extension Module {
  /// Compiles a wasm binary in memory, for this machine, and loads the result.
  ///
  /// - Throws: `WasmError` for a module that is malformed, invalid or uses what is not supported; `LoadError`.
  public convenience init(engine: Engine, wasm: [UInt8]) throws {
    throw RuntimeError(.limit, "this build has no compiler")
  }
}
