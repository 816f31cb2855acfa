/// Decodes and validates function bodies, one at a time, into an ``OperatorBuffer``.
///
/// Each thread has its own.
@safe
public struct FunctionValidator: ~Copyable {
  let module: WasmModule
  let binary: WasmBinary

  /// Makes a validator for the bodies of a module.
  ///
  /// - Parameter binary: what `module` was decoded from.
  public init(module: WasmModule, binary: WasmBinary) {
    self.module = module
    self.binary = binary
  }

  /// Decodes and validates the body with index `bodyIndex` (function `module.importedFunctionCount + bodyIndex`).
  ///
  /// - Throws: what is wrong with the body, with its wasm offset; the buffer's contents are then of no use.
  public mutating func validate(bodyIndex: Int, into buffer: inout OperatorBuffer) throws(WasmError) {
    throw WasmError(.limit, at: module.bodies[bodyIndex].body.lowerBound, "not implemented yet")
  }
}
