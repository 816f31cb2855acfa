import Foundation
import PrecastArtifact
import PrecastLinker
import PrecastMachineCode
import TestSupport
import Testing

/// Objects that hold a wasm module: code in pieces, of which the tables know only where they would be.
@Suite struct ModuleTests {
  /// An object like those that the compiler writes, with three functions in one section.
  static func source(rows: [(String, Int, Int)] = [("f0", 0, 11), ("f1", 16, 11), ("f2", 32, 6)]) -> String {
    """
      .text
      .p2align 4
      .type f0, @function
    f0: lea 1(%rdi), %rdi
      .byte 0xe8
      .reloc ., R_X86_64_PLT32, .text+16-4
      .long 0
      nop
      ret
      .size f0, .-f0
      .p2align 4, 0xcc
      .type f1, @function
    f1: lea 2(%rdi), %rdi
      .byte 0xe8
      .reloc ., R_X86_64_PLT32, .text+32-4
      .long 0
      nop
      ret
      .size f1, .-f1
      .p2align 4, 0xcc
      .type f2, @function
    f2: lea 4(%rdi), %rax
      nop
      ret
      .size f2, .-f2
      .globl entry
      .set entry, f0
      .section .wasmtime.engine, "a"
      .quad 0
      .long 3, 24
      .quad 0
      .section .wasmtime.functions, "a"
    \(rows.map { "  .quad \($0.0) - .\n  .long \($0.1), \($0.2)" }.joined(separator: "\n"))
    """
  }

  private func object(_ text: String, _ scratch: TemporaryDirectory, _ name: String = "m.s") throws -> ObjectBytes {
    try ObjectBytes(path: CCompiler.gcc.compile(text, name, [], in: scratch))
  }

  @Test func functionsStayTogetherWhereNothingComesBetween() throws {
    let scratch = try TemporaryDirectory()
    let loaded = try LoadedObjects([object(Self.source(), scratch)])
    #expect(try loaded.call("entry", 100) == 107)
    let module = try #require(loaded.image.module)
    #expect(module.input == 0)
    #expect(module.code == [MovedCode(nominalOffset: 0, size: 38, textOffset: 0)])
    #expect(module.section(".wasmtime.engine")?.count == 24)
    #expect(module.section(".wasmtime.info") == nil)
  }

  @Test func functionsThatMovedAreToldApart() throws {
    let scratch = try TemporaryDirectory()
    var text = TextSectionOptions()
    text.testing.padding = 4096
    let loaded = try LoadedObjects([object(Self.source(), scratch)], text: text)
    #expect(try loaded.call("entry", 100) == 107)
    let code = try #require(loaded.image.module?.code)
    #expect(code.map(\.nominalOffset) == [0, 16, 32])
    #expect(code.map(\.size) == [11, 11, 6])
    #expect(zip(code, code.dropFirst()).allSatisfy { $1.textOffset - $0.textOffset > 4096 })
    text.testing = TextLayoutTesting()
    text.testing.forceVeneers = true
    let veneers = try LoadedObjects([object(Self.source(), scratch)], text: text)
    #expect(!veneers.image.islands.isEmpty)
    #expect(try veneers.call("entry", 100) == 107)
  }

  @Test func codeOfOthersBetweenFunctionsComesAlong() throws {
    let scratch = try TemporaryDirectory()
    let c = try CCompiler.gcc.compile("long other(long x) { return x * 3; }", "c.c", ["-O2"], in: scratch)
    let m = try CCompiler.gcc.compile(Self.source(), "m.s", [], in: scratch)
    let d = try CCompiler.gcc.compile("long another(long x) { return x * 5; }", "d.c", ["-O2"], in: scratch)
    let result = try #require(try runTool("ld", ["-r", c, m, d, "-o", scratch.file("all.o")]))
    try #require(result.status == 0)
    let loaded = try LoadedObjects([ObjectBytes(path: scratch.file("all.o"))])
    #expect(try loaded.call("entry", 100) == 107)
    #expect(try loaded.call("other", 4) == 12)
    #expect(try loaded.call("another", 4) == 20)
  }

  @Test func twoModulesAreAnError() throws {
    let scratch = try TemporaryDirectory()
    let one = try object(Self.source().replacingOccurrences(of: ".globl entry", with: ""), scratch)
    let two = try object(Self.source(), scratch, "n.s")
    let error = linkError { _ = try Linker([one.input, two.input]) }
    #expect(
      error == LinkError(.severalModules, "m.s.o and n.s.o each hold a wasm module; an image can hold one"))
  }

  @Test func aListThatIsWrongIsAnError() throws {
    let scratch = try TemporaryDirectory()
    for rows in [[("f0", 0, 1000)], [("f0", 0, 20), ("f1", 16, 11)], [("f1", 16, 11), ("f0", 0, 11)]] {
      let object = try object(Self.source(rows: rows), scratch)
      #expect(linkError { _ = try Linker([object.input]) }?.kind == .damaged)
    }
  }

  // MARK: Code right behind the module's, after `ld -r`

  /// The module and others, joined by the system's linker.
  private func joined(
    _ others: [(name: String, text: String)], _ scratch: TemporaryDirectory, module: String = source()
  ) throws
    -> ObjectBytes
  {
    var files = [try CCompiler.gcc.compile(module, "m.s", [], in: scratch)]
    for (name, text) in others { files.append(try CCompiler.gcc.compile(text, name, ["-O0"], in: scratch)) }
    let result = try #require(try runTool("ld", ["-r"] + files + ["-o", scratch.file("all.o")]))
    try #require(result.status == 0, "\(result.text)")
    return try ObjectBytes(path: scratch.file("all.o"))
  }

  private static let layouts: [TextSectionOptions] = {
    var padded = TextSectionOptions()
    padded.testing.padding = 100
    var forced = TextSectionOptions()
    forced.testing.forceVeneers = true
    return [TextSectionOptions(), padded, forced]
  }()

  @Test func codeRightBehindAFunctionComesAlong() throws {
    let scratch = try TemporaryDirectory()
    // At 38 of the section, then right behind each other.
    let object = try joined(
      [
        ("c.c", "long other(long x) { return x * 3; }\n"),
        ("d.c", "long other(long); long another(long x) { return other(x) + 5; }\n"),
        // Begins as padding does.
        ("e.s", ".globl idle\n.type idle, @function\nidle: nop\nnopw 0(%rax,%rax)\nlea 9(%rdi), %rax\nret\n"),
      ], scratch)
    for text in Self.layouts {
      let loaded = try LoadedObjects([object], text: text)
      #expect(try loaded.call("entry", 100) == 107)
      #expect(try loaded.call("other", 4) == 12)
      #expect(try loaded.call("another", 4) == 17)
      #expect(try loaded.call("idle", 4) == 13)
      let other = try #require(loaded.image.symbol(named: "other"))
      #expect(other.isFunction && other.part == .text)
    }
    let hasOtherCode = try Linker([object.input]).hasOtherCode
    #expect(hasOtherCode)
  }

  @Test(arguments: [2, 3, 5, 6]) func whatIsAlignedInCodeOfOthersStaysSo(shift: Int) throws {
    let scratch = try TemporaryDirectory()
    let object = try joined(
      [
        (
          "c.s",
          """
          .text
          .p2align \(shift)
          .globl first, second, pool
          .type first, @function
          first: lea 3(%rdi), %rax
          ret
          .p2align \(shift)
          .type second, @function
          second: mov pool(%rip), %rax
          add %rdi, %rax
          ret
          .p2align \(shift)
          pool: .quad 40

          """
        )
      ], scratch)
    for text in Self.layouts {
      let loaded = try LoadedObjects([object], text: text)
      #expect(try loaded.call("entry", 100) == 107)
      #expect(try loaded.call("first", 4) == 7)
      #expect(try loaded.call("second", 4) == 44)
      for name in ["first", "second", "pool"] { #expect(try loaded.address(name) % (1 << UInt(shift)) == 0) }
    }
  }

  @Test func paddingOfEveryLengthIsNoCode() throws {
    let scratch = try TemporaryDirectory()
    // Functions of 1 to 15 bytes, filled up by the assembler with instructions that do nothing.
    var text = ".text\n"
    for size in 1...15 {
      text += ".p2align 4\n.type f\(size), @function\nf\(size): .fill \(size), 1, 0xc3\n.size f\(size), .-f\(size)\n"
    }
    text += ".p2align 4\n.section .wasmtime.engine, \"a\"\n.quad 0\n.long 3, 24\n.quad 0\n"
    text += ".section .wasmtime.functions, \"a\"\n"
    for size in 1...15 { text += ".quad f\(size) - .\n.long \(16 * (size - 1)), \(size)\n" }
    let object = try object(text, scratch)
    let linker = try Linker([object.input])
    let (hasOtherCode, module) = (linker.hasOtherCode, linker.module)
    #expect(!hasOtherCode)
    #expect(module?.code == [MovedCode(nominalOffset: 0, size: 14 * 16 + 15, textOffset: 0)])
  }

  @Test func aSymbolInThePaddingIsAnError() throws {
    let scratch = try TemporaryDirectory()
    let object = try joined([("c.s", ".globl stop\n.type stop, @function\nstop: int3\n")], scratch)
    let error = linkError { _ = try Linker([object.input]) }
    #expect(error?.kind == .cannotLayOut)
    #expect(
      error?.message
        == "all.o: symbol 'stop' stands in the padding between functions of the wasm module, at all.o: .text+0x26; "
        + "leave the joining of objects to precast link")
  }

  @Test func aRowInTheMiddleOfAFunctionIsAnError() throws {
    let scratch = try TemporaryDirectory()
    let object = try object(Self.source(rows: [("f0", 0, 11), ("f1 + 1", 16, 10), ("f2", 32, 6)]), scratch)
    #expect(
      linkError { _ = try Linker([object.input]) }?.message
        == "m.s.o: .wasmtime.functions has a row 1 for code at 0x11 of its section, where no function starts")
  }

  // MARK: What the module calls

  @Test func onlyFunctionsAreCalled() throws {
    let scratch = try TemporaryDirectory()
    let module = Self.source().replacingOccurrences(of: ".text+32-4", with: "bound-4")
    func error(_ definition: String) throws -> LinkError? {
      let other = try object(".globl bound\n\(definition)\n", scratch, "c.s")
      let objects = [try object(module, scratch), other]
      defer { withExtendedLifetime(objects) {} }
      return linkError { _ = try Linker(objects.map(\.input), options: LinkOptions(baseAddress: 0x1000_0000)) }
    }
    let advice = "; bind the import to a function"
    let call = "m.s.o: .text+0x15 (f1): calls symbol 'bound', which is "
    #expect(try error(".data\nbound: .quad 0")?.message == call + "data in c.s.o" + advice)
    #expect(try error(".section .rodata\nbound: .quad 0")?.message == call + "data in c.s.o" + advice)
    #expect(try error(".bss\nbound: .skip 8")?.message == call + "data in c.s.o" + advice)
    #expect(try error(".comm bound, 8, 8")?.message == call + "data in c.s.o" + advice)
    #expect(try error(".text\n.type bound, @object\nbound: .quad 0")?.message == call + "data in c.s.o" + advice)
    #expect(try error(".set bound, 0x10001000")?.message == call + "a number in c.s.o" + advice)
    #expect(try error(".text\nbound: ret") == nil)
    #expect(try error(".text\n.type bound, @function\nbound: ret") == nil)
    #expect(try error("")?.kind == .undefinedSymbol)
  }
}
