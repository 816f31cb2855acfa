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
}
