import Foundation
import PrecastArtifact
import PrecastLinker
import TestSupport
import Testing

/// Objects that no compiler writes: headers made by hand, and groups that differ where they should not.
@Suite struct HostileTests {
  struct Section {
    var name: String
    var type: UInt32 = 1
    var flags: UInt64 = 2
    var size: UInt64 = 0
    var alignment: UInt64 = 1
  }

  /// An object with these section headers, and nothing but names in the file.
  static func object(_ sections: [Section], machine: UInt8 = 62) -> ObjectBytes {
    var names: [UInt8] = [0]
    var rows = [[UInt64]](repeating: [0, 0, 0, 0, 0, 0, 0, 0], count: 1)
    for section in sections {
      rows.append([
        UInt64(names.count) | UInt64(section.type) << 32, section.flags, 0, 64, section.size, 0, section.alignment, 0,
      ])
      names += Array(section.name.utf8) + [0]
    }
    rows.append([UInt64(names.count) | 3 << 32, 0, 0, 64, 0, 0, 1, 0])
    names += Array(".shstrtab".utf8) + [0]
    rows[rows.count - 1][4] = UInt64(names.count)
    while names.count % 8 != 0 { names.append(0) }
    var bytes: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, machine, 0, 1, 0, 0, 0]
    func put(_ value: UInt64, _ size: Int) {
      for byte in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(byte)))) }
    }
    put(0, 8)
    put(0, 8)
    put(UInt64(64 + names.count), 8)
    for value in [0, 0, 64, 0, 0, 64] as [UInt64] { put(value, 2) }
    put(UInt64(rows.count), 2)
    put(UInt64(rows.count - 1), 2)
    bytes += names
    for row in rows { for value in row { put(value, 8) } }
    return ObjectBytes(bytes, name: "hostile.o")
  }

  private func error(_ object: ObjectBytes) -> LinkError? {
    linkError { _ = try Linker([object.input], options: LinkOptions(baseAddress: 0x1000_0000)) }
  }

  @Test func tablesWithoutContentsAreRefused() {
    // The file's own header would be read as unwind entries, and as the module's tables.
    #expect(
      error(Self.object([Section(name: ".eh_frame", type: 8, size: 0x7000_0000)]))
        == LinkError(.unsupported, "hostile.o: section .eh_frame: unwind tables without contents"))
    #expect(
      error(Self.object([Section(name: ".wasmtime.info", type: 8, size: 40)]))
        == LinkError(
          .unsupported, "hostile.o: section .wasmtime.info: a table of a wasm module without contents"))
  }

  @Test func alignmentsOfTablesThatAreNotLaidOutDoNotAddUp() throws {
    let tables = (0..<3).map { Section(name: ".wasmtime.x\($0)", size: 8, alignment: 1 << 63) }
    let object = Self.object(tables)
    let bound = try Linker.extentBound([object.input])
    #expect((1..<1 << 20).contains(bound))
    // Which lives until here.
    withExtendedLifetime(object) {}
  }

  @Test func alignmentsThatOnlyMakePaddingAreRefused() {
    let sections = (0..<8000).map { _ in Section(name: "a", flags: 6, size: 1, alignment: 65536) }
    #expect(
      error(Self.object(sections, machine: 183))
        == LinkError(.cannotLayOut, "the sections' alignments ask for up to 500 MiB of padding"))
  }

  private func assemble(_ text: String, _ name: String, _ scratch: TemporaryDirectory) throws -> ObjectBytes {
    try ObjectBytes(path: CCompiler.gcc.compile(text, name, [], in: scratch))
  }

  // A group with one function or two, and an unwind entry for the first that names it by its global symbol.
  private func group(_ functions: [String]) -> String {
    var text = ".section .text.group,\"axG\",@progbits,group,comdat\n"
    for name in functions { text += ".weak \(name)\n.type \(name), @function\n\(name): ret\n.size \(name), 1\n" }
    return text + """
      .section .eh_frame,"a",@progbits
      0: .long 1f-.-4, 0
      .byte 1
      .asciz "zR"
      .byte 1, 0x78, 16, 1, 0x1B, 0x0C, 7, 8, 0x90, 1
      .balign 4
      1: .long 2f-.-4
      .long .-0b
      .long one-., 1
      .balign 4
      2:
      .section .note.GNU-stack,""

      """
  }

  @Test func aDefinitionThatOnlyTheDiscardedGroupHasIsUndefined() throws {
    let scratch = try TemporaryDirectory()
    let a = try assemble(group(["one"]), "a.s", scratch)
    let b = try assemble(
      group(["one", "two"]) + ".text\n.globl f\n.type f, @function\nf: call two\nret\n.size f, .-f\n", "b.s", scratch)
    for base in [nil, 0x1000_0000] as [UInt64?] {
      let error = linkError { _ = try Linker([a.input, b.input], options: LinkOptions(baseAddress: base)) }
      #expect(error?.kind == .undefinedSymbol)
      #expect(error?.message.hasPrefix("undefined symbol: two; referenced by b.s.o: .text+0x1 (f)") == true)
    }
  }

  @Test func aFunctionThatEachObjectHasGetsOneUnwindEntryUnderAnyName() throws {
    let scratch = try TemporaryDirectory()
    let objects = [try assemble(group(["one"]), "a.s", scratch), try assemble(group(["one"]), "b.s", scratch)]
    // The linker reads the objects in place.
    defer { withExtendedLifetime(objects) {} }
    let linker = try Linker(objects.map(\.input))
    let placement = LinkPlacement(linker.sizes, pageSize: 4096)
    let image = try linker.link(placement)
    #expect(GroupTests.records(bytes(image.ehFrame)).filter { !$0.isCIE }.count == 1)
  }

  @Test func aCommonSymbolOutOfReachIsFoundByWayOfTheOffsetTable() throws {
    let scratch = try TemporaryDirectory()
    let text = """
      .comm big, 0xC0000000, 16
      .comm last, 8, 8
      .text
      .globl f
      f: mov last@GOTPCREL(%rip), %rax
      mov big@GOTPCREL(%rip), %rax
      ret
      .section .note.GNU-stack,""

      """
    let object = try assemble(text, "common.s", scratch)
    let linker = try Linker([object.input], options: LinkOptions(baseAddress: 0x1000_0000))
    let placement = LinkPlacement(linker.sizes, pageSize: 4096)
    let image = try linker.link(placement)
    let table = bytes(image.readOnly)
    let slots = (0..<table.count / 8).map { slot in
      (0..<8).reduce(UInt64(0)) { $0 | UInt64(table[slot * 8 + $1]) << (8 * UInt64($1)) }
    }
    let last = try #require(image.symbol(named: "last"))
    #expect(slots.contains(0x1000_0000 + UInt64(last.offset)))
  }

  @Test func codeOfMoreThanFourGibibytesInOnePieceIsRefused() throws {
    // A file of zeros, of which only the start is ever written or read.
    let size = 5 << 30
    let memory = try #require(
      mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))
    try #require(memory != MAP_FAILED)
    defer { munmap(memory, size) }
    let small = Self.object([Section(name: ".text", flags: 6, size: UInt64(size - 4096), alignment: 16)])
    bytes(small.input.bytes).withUnsafeBytes { memory.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    let input = LinkInput(name: "huge.o", bytes: unsafe ByteRegion(base: UnsafeRawPointer(memory), count: size))
    let error = linkError { _ = try Linker([input], options: LinkOptions(baseAddress: 0x1000_0000)) }
    #expect(error?.kind == .cannotLayOut)
    #expect(error?.message == "huge.o: .text has 5368705024 bytes of code, more than 2 GiB in one piece")
  }

  @Test func commonSymbolsWithImpossibleAlignmentsAreRefused() throws {
    let scratch = try TemporaryDirectory()
    for (alignment, words) in [
      (3, "alignment 3, which is not a power of two"), (1 << 20, "alignment 1048576, more than a page (4096)"),
    ] {
      let object = try assemble(".comm shared, 8, 8\n", "common.s", scratch)
      // The value of a common symbol is its alignment (gABI, "Symbol Table").
      var changed = bytes(object.input.bytes)
      let outline = try #require(ElfOutline(object.input.bytes))
      let table = try #require(outline.index(ofSection: ".symtab").flatMap { outline.section($0) })
      let row = Int(table.offset + table.size) - 24
      for byte in 0..<8 { changed[row + 8 + byte] = UInt8(truncatingIfNeeded: alignment >> (8 * byte)) }
      let message = error(ObjectBytes(changed, name: "common.o"))?.message
      #expect(message == "common.o: common symbol 'shared' has \(words)")
    }
  }

  @Test func whatOtherLinkersTakeIsToldByName() throws {
    let scratch = try TemporaryDirectory()
    let c = "int f(int x) { return x + 1; }\n"
    let fat = try CCompiler.gcc.compile(c, "fat.c", ["-flto", "-ffat-lto-objects"], in: scratch)
    #expect(error(try ObjectBytes(path: fat)) == nil)
    let slim = try CCompiler.gcc.compile(c, "slim.c", ["-flto", "-fno-fat-lto-objects"], in: scratch)
    #expect(
      error(try ObjectBytes(path: slim))
        == LinkError(
          .unsupported,
          "slim.c.o: it holds intermediate code of gcc, and no machine code; compile it without -flto"))
    if findTool("clang-19") != nil {
      let bitcode = try CCompiler.clang.compile(c, "bitcode.c", ["-flto"], in: scratch)
      #expect(
        error(try ObjectBytes(path: bitcode))?.message
          == "bitcode.c.o: not a relocatable object: it is LLVM bitcode; compile it without -flto")
    }
    for magic in ["!<arch>\n", "!<thin>\n"] {
      #expect(
        error(ObjectBytes(Array(magic.utf8), name: "lib.a"))?.message
          == "lib.a: not a relocatable object: it is an archive; take the objects that are needed out of it (ar x) and "
          + "name those")
    }
  }

  @Test func recordsOfPatchableFunctionsAreLeftOut() throws {
    let scratch = try TemporaryDirectory()
    let object = try ObjectBytes(
      path: CCompiler.gcc.compile(
        "long f(long x) { return x + 1; }\n", "patch.c", ["-O1", "-fPIC", "-fpatchable-function-entry=4,2"], in: scratch
      ))
    let linker = try Linker([object.input])
    // Addresses, which an image that works anywhere could not hold.
    let sizes = linker.sizes
    #expect(sizes.writableInMemory == 0 && sizes.readOnly == 0)
    let loaded = try LoadedObjects([object])
    #expect(try loaded.call("f", 4) == 5)
  }

  @Test func aBranchToAWeakSymbolThatNobodyDefinesTraps() throws {
    let scratch = try TemporaryDirectory()
    let object = try assemble(".weak w\nf: call w\njmp w\njne w\nret\n", "weak.s", scratch)
    let linker = try Linker([object.input])
    let placement = LinkPlacement(linker.sizes, pageSize: 4096)
    let image = try linker.link(placement)
    let text = withExtendedLifetime(image) { bytes(image.text) }
    let trap: [UInt8] = [0x0F, 0x0B]
    // As long as what stood there; the last is `je` over the trap.
    let expected = trap + [0x0F, 0x1F, 0] + trap + [0x0F, 0x1F, 0] + [0x74, 4] + trap + [0x90, 0x90] + [0xC3]
    #expect(Array(text.prefix(expected.count)) == expected)
  }

  @Test func anObjectOfAnotherMachineIsToldApart() throws {
    let scratch = try TemporaryDirectory()
    guard findTool("aarch64-linux-gnu-gcc") != nil else { return }
    let a = try ObjectBytes(path: CCompiler.gcc.compile("int f(void) { return 1; }\n", "a.c", [], in: scratch))
    let b = try ObjectBytes(path: CCompiler.gccAArch64.compile("int g(void) { return 1; }\n", "b.c", [], in: scratch))
    defer { withExtendedLifetime((a, b)) {} }
    let error = linkError { _ = try Linker([a.input, b.input]) }
    #expect(error == LinkError(.wrongMachine, "b.c.o is for AArch64, a.c.o for x86-64"))
  }

  @Test func zerosStartWhereTheirSectionMay() throws {
    let scratch = try TemporaryDirectory()
    for (data, zeros) in [(".byte 1", ".skip 3"), (".skip 70, 1", ".skip 100"), ("", ".skip 5")] {
      let object = try assemble(
        ".data\nd: \(data)\n.bss\n.globl z\nz: \(zeros)\n.comm shared, 8, 8\n", "zeros.s", scratch)
      defer { withExtendedLifetime(object) {} }
      for (base, alignment) in [(nil, 1), (nil, 64), (0x1000_0000, 64), (0x1000_0000, 1)] as [(UInt64?, Int)] {
        var options = LinkOptions(baseAddress: base)
        options.zerosAlignment = alignment
        let linker = try Linker([object.input], options: options)
        let sizes = linker.sizes
        let placement = LinkPlacement(sizes, pageSize: 4096)
        let image = try linker.link(placement)
        let start = try #require(image.symbol(named: "z")).offset - placement.writable
        let common = try #require(image.symbol(named: "shared")).offset - placement.writable
        // Behind a section of data that is not empty.
        #expect(start == (alignment == 1 ? sizes.writable : max(64, (sizes.writable + 63) & ~63)))
        #expect(common >= start && common + 8 <= sizes.writableInMemory)
      }
    }
  }
}
