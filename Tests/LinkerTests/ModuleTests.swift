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
}
