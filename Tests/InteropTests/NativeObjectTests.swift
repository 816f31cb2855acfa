// x86-64 objects as C compilers make them, linked by Precast and executed in this process.

#if arch(x86_64)

  import PrecastLinker
  import PrecastMachineCode
  import Testing

  @Suite("x86-64 objects of C compilers")
  struct NativeObjectTests {
    static let variants = [[], ["-ffunction-sections", "-fdata-sections"], ["-fcf-protection=full"]].flatMap {
      Variant.all(for: .x86_64, extra: $0).filter { $0.flags.contains("-fPIC") }
    }

    @Test("linked at an address, they do what the native library does", arguments: variants, [false, true])
    func corpus(variant: Variant, forceVeneers: Bool) throws {
      var testing = TextLayoutTesting()
      testing.forceVeneers = forceVeneers
      try Corpus.check(perform: NativeObjects(Corpus.objects(variant), testing: testing).perform)
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
