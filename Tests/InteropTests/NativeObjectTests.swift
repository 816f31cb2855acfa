// x86-64 objects as C compilers make them, linked and loaded by Precast and executed in this process.

#if arch(x86_64)

  import Precast
  import PrecastLoader
  import PrecastMachineCode
  import Testing

  @Suite("x86-64 objects of C compilers")
  struct NativeObjectTests {
    static let variants = [[], ["-ffunction-sections", "-fdata-sections"], ["-fcf-protection=full"]].flatMap {
      Variant.all(for: .x86_64, extra: $0).filter { $0.flags.contains("-fPIC") }
    }

    @Test("loaded, they do what the native library does", arguments: variants, [false, true])
    func corpus(variant: Variant, forceVeneers: Bool) throws {
      var testing = TextLayoutTesting()
      testing.forceVeneers = forceVeneers
      try Corpus.check(perform: NativeObjects(Corpus.objects(variant), testing: testing).perform)
    }

    /// Code with 32-bit addresses, or with 64-bit ones everywhere. Symbols of the host are anywhere, so who refers to
    /// them does it by `-fPIC`.
    static let placedVariants = [[], ["-mcmodel=large"]].flatMap {
      Variant.all(for: .x86_64, extra: $0).filter {
        $0.flags.contains("-fno-pic") || $0.flags.contains("-mcmodel=large")
      }
    }

    @Test("code that is not position-independent does the same", arguments: placedVariants)
    func placed(variant: Variant) throws {
      let external = "external.c"
      var flags = variant.flags
      if !flags.contains("-mcmodel=large") { flags.append("-fPIC") }
      let objects =
        try CompiledObjects(Corpus.sources.filter { $0 != external }, in: Corpus.folder, variant).objects
        + CompiledObjects(
          [external], in: Corpus.folder, Variant(machine: .x86_64, compiler: variant.compiler, flags: flags)
        ).objects
      try Corpus.check(perform: NativeObjects(objects).perform)
    }

    @Test("random programs do what the native library does", arguments: 100..<112 as Range<UInt64>, [false, true])
    func randomPrograms(seed: UInt64, forceVeneers: Bool) throws {
      let program = try RandomProgram(seed: seed).compiled(for: .x86_64, seed: seed)
      var testing = TextLayoutTesting()
      testing.forceVeneers = forceVeneers
      let linked = try NativeObjects(program.objects, testing: testing)
      try Corpus.check(RandomProgram.calls, program.expected, perform: linked.perform)
    }
  }

#endif
