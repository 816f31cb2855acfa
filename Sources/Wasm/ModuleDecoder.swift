extension WasmModule {
  /// Decodes and validates a module, all but its function bodies, which ``FunctionValidator`` does.
  ///
  /// - Throws: the first thing that is wrong, with its wasm offset.
  public init(decoding binary: WasmBinary) throws(WasmError) {
    throw WasmError(.limit, at: 0, "not implemented yet")
  }
}
