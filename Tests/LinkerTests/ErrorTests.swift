import PrecastLinker
import TestSupport
import Testing

/// What cannot be linked is said with object, section, offset, function, relocation and symbol.
@Suite struct ErrorTests {
  let scratch: TemporaryDirectory

  init() throws { scratch = try TemporaryDirectory() }

  private func object(_ text: String, _ name: String, _ options: [String] = ["-O2", "-fPIC"]) throws -> ObjectBytes {
    try ObjectBytes(path: CCompiler.gcc.compile(text, name, options, in: scratch))
  }

  private func error(_ objects: [ObjectBytes], base: UInt64? = 0x1000_0000, _ symbols: [String: UInt64] = [:])
    -> LinkError?
  {
    linkError {
      let linker = try Linker(objects.map(\.input), options: LinkOptions(baseAddress: base, externalSymbols: symbols))
      let placement = LinkPlacement(linker.sizes, pageSize: 4096)
      _ = try linker.link(placement)
    }
  }

  @Test func undefinedSymbolsAreNamedTogetherWithWhoNeedsThem() throws {
    let b = try object("extern int g(void), h(void); int f(void) { return g() + h() + 1; }", "b.c", ["-O0", "-fPIC"])
    let error = error([b])
    #expect(error?.kind == .undefinedSymbol)
    #expect(
      error?.message == """
        undefined symbol: g; referenced by b.c.o: .text+0xa (f)
        undefined symbol: h; referenced by b.c.o: .text+0x11 (f)
        """)
  }

  @Test func twoDefinitionsAreAnError() throws {
    let a = try object("int f(void) { return 1; }", "a.c")
    let b = try object("int f(void) { return 2; }", "b.c")
    #expect(error([a, b]) == LinkError(.duplicateSymbol, "duplicate symbol: f; defined in a.c.o and b.c.o"))
  }

  @Test func threadLocalStorageIsRefused() throws {
    let a = try object("__thread int x = 1; int f(void) { return x; }", "a.c")
    #expect(
      error([a])
        == LinkError(.unsupported, "a.c.o: section .tdata: thread-local storage is not supported"))
    let b = try object("extern __thread int x; int f(void) { return x; }", "b.c", ["-O2", "-fno-pic"])
    #expect(
      error([b], ["x": 1])
        == LinkError(
          .unsupportedRelocation,
          "b.c.o: .text+0x3 (f): unsupported relocation type R_X86_64_GOTTPOFF (22) against symbol 'x': "
            + "thread-local storage is not supported"))
  }

  @Test func constructorsAndIndirectFunctionsAreRefused() throws {
    let a = try object("__attribute__((constructor)) void f(void) {}", "a.c")
    #expect(
      error([a])
        == LinkError(
          .unsupported,
          "a.c.o: section .init_array: constructors and destructors are not supported: nothing would call them"))
    let b = try object(
      "static int f(void) { return 1; } static void *r(void) { return f; } int g(void) __attribute__((ifunc(\"r\")));",
      "b.c")
    #expect(error([b])?.message.hasPrefix("b.c.o: symbol 'g' is chosen when a program starts (STT_GNU_IFUNC)") == true)
  }

  @Test func aValueThatDoesNotFitIsSaidWithItsRange() throws {
    let a = try object("extern int x; int *f(void) { return &x; }", "a.c", ["-O2", "-fno-pic"])
    #expect(
      error([a], ["x": 0x1234_5678_9ABC])
        == LinkError(
          .outOfRange,
          "a.c.o: in .text+0x1 (function f): relocation R_X86_64_32 against symbol 'x' out of range: "
            + "0x123456789abc is not in [0, 2^32); compile with -fPIC"))
  }

  @Test func anArtifactHoldsNoAbsoluteAddress() throws {
    let a = try object("int f(void) { return 1; } int (*p)(void) = f;", "a.c")
    let error = error([a], base: nil)
    #expect(error?.kind == .absoluteAddress)
    #expect(
      error?.message.hasPrefix(
        "a.c.o: in .data.rel+0x0: relocation R_X86_64_64 against symbol 'f' needs an absolute address") == true)
    let b = try object("extern int g(void); int f(void) { return g(); }", "b.c")
    #expect(
      self.error([b], base: nil)?.message.hasSuffix("(a finished artifact can refer to nothing outside of itself)")
        == true)
  }

  @Test func anImageWithoutAbsoluteAddressesWorksAnywhere() throws {
    let text = """
      static const char *const names = "constant";
      extern int __attribute__((weak)) maybe(void);
      int counter = 3; int zeros[3];
      int next(void) { return counter++ + zeros[1] + names[0] + (maybe ? maybe() : 0); }
      """
    let a = try object(text, "a.c")
    let b = try object(
      "extern int next(void); extern int counter; int twice(void) { return next() + next() + counter; }", "b.c")
    let linker = try Linker([a.input, b.input])
    let placement = LinkPlacement(linker.sizes, pageSize: 4096)
    let image = try linker.link(placement)
    #expect(!image.holdsAbsoluteAddresses)
    #expect(image.baseAddress == nil)
    let symbol = try #require(image.symbol(named: "twice"))
    #expect(symbol.part == .text && symbol.isFunction && symbol.isGlobal && symbol.size > 0)
    #expect(image.symbol(named: "zeros")?.part == .writable)
    #expect(image.symbol(named: "maybe") == nil)
  }

  @Test func anEmptyLinkAndOtherFilesAreRefused() throws {
    #expect(error([])?.kind == .cannotLayOut)
    #expect(error([ObjectBytes([], name: "e")])?.message == "e: not a relocatable object: it has 0 bytes")
    #expect(error([try ObjectBytes(path: "/bin/true")])?.kind == .notAnObject)
  }
}
