// Modules from objects.
//
// An unlinked object holds what an artifact holds, with calls not resolved; and it may stand beside objects of a C
// compiler that the module's bound imports lead to. Linked into memory, the result is an artifact like any other: from
// here on nobody knows the difference, but for one. Where C code holds addresses (a table of functions, a pointer in
// initialised data), the result works where it is and nowhere else, and cannot be serialised.

public import PrecastLoader

extension Module {
  /// Links objects and loads the result: one of a wasm module (`precast compile --emit object`), and any number of a C
  /// compiler's. Objects are native code: load only what you trust.
  ///
  /// Variables of C code exist once for the module, however many instances it has.
  ///
  /// - Parameters:
  ///   - objects: the objects, in the order in which their code is placed.
  ///   - symbols: addresses of symbols that no object defines. What is there has to stay as long as the module.
  ///   - layout: how the text is laid out, for tests.
  /// - Throws: `LoadError`: of kind `cannotLink` in a linker's words, `incompatible`, or `outOfResources`.
  public convenience init(
    engine: Engine, linking objects: [LinkableObject], symbols: [String: UInt] = [:], layout: LinkLayout = LinkLayout()
  ) throws(LoadError) {
    self.init(
      engine: engine,
      artifact: try LoadedArtifact(
        linking: objects, symbols: symbols, host: engine.host, unwinding: engine.unwinding, layout: layout))
  }
}
