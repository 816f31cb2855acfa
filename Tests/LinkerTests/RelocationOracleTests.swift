import Foundation
import PrecastArtifact
import PrecastLinker
import PrecastMachineCode
import TestSupport
import Testing

/// Relocations that compilers seldom or never emit, asked for by `.reloc`: what comes of them is what the system's
/// linker makes of them.
@Suite struct RelocationOracleTests {
  static let base: UInt64 = 0x1000_0000
  static let symbols: [String: UInt64] = ["small": 0x12, "negative": UInt64(bitPattern: -5)]

  /// A field and what it is relocated by.
  struct Row {
    var type: String
    var expression: String
    /// What the assembler puts there.
    var field: String
  }

  /// An image, ours or theirs, by address.
  struct Memory {
    var parts: [(address: UInt64, bytes: [UInt8])]

    func load(_ address: UInt64, _ size: Int) throws -> UInt64 {
      let part = try #require(
        parts.first { $0.address <= address && address + UInt64(size) <= $0.address + UInt64($0.bytes.count) },
        "nothing at \(String(address, radix: 16))")
      return (0..<size).reduce(0) { $0 | UInt64(part.bytes[Int(address - part.address) + $1]) << (8 * UInt64($1)) }
    }

    /// The same, with its sign.
    func loadSigned(_ address: UInt64, _ size: Int) throws -> UInt64 {
      let shift = UInt64(64 - 8 * size)
      return UInt64(bitPattern: Int64(bitPattern: try load(address, size) << shift) >> Int64(shift))
    }
  }

  private static let tail = """
    \n.data
    .globl var
    .type var, %object
    .size var, 24
    .p2align 4
    var: .quad 1, 2, 3
    .section .note.GNU-stack,"",%progbits

    """

  private static func prefix(_ architecture: Architecture) -> String {
    architecture == .aarch64 ? "aarch64-linux-gnu-" : ""
  }

  /// An object with a function `f` and behind it the rows.
  private static func assemble(_ rows: [Row], _ architecture: Architecture, in scratch: TemporaryDirectory) throws
    -> ObjectBytes
  {
    var text = ".text\n.globl f\n.type f, %function\nf: nop\n.size f, .-f\n"
    for row in rows { text += ".reloc ., R_\(row.type), \(row.expression)\n\(row.field)\n" }
    let file = try scratch.write(text + tail, to: "rows.s")
    let result = try #require(try runTool(prefix(architecture) + "as", [file, "-o", scratch.file("rows.o")]))
    try #require(result.status == 0, "\(result.text)")
    return try ObjectBytes(path: scratch.file("rows.o"))
  }

  private static func ours(_ object: ObjectBytes) throws -> (memory: Memory, placement: LinkPlacement, code: Int) {
    let linker = try Linker([object.input], options: LinkOptions(baseAddress: base, externalSymbols: symbols))
    let placement = LinkPlacement(linker.sizes, pageSize: 65536)
    let image = try linker.link(placement)
    let code = try #require(image.symbol(named: "f")).offset
    return (
      Memory(parts: [
        (base, bytes(image.text)), (base + UInt64(placement.readOnly), bytes(image.readOnly)),
        (base + UInt64(placement.writable), bytes(image.writable)),
      ]), placement, code
    )
  }

  /// What the system's linker makes of the object, with text and data where ours are.
  private static func theirs(_ architecture: Architecture, _ placement: LinkPlacement, in scratch: TemporaryDirectory)
    throws -> (
      memory: Memory, code: [UInt8]
    )
  {
    let hexadecimal = { (value: UInt64) in "0x" + String(value, radix: 16) }
    let result = try #require(
      try runTool(
        prefix(architecture) + "ld",
        [
          "-static", "--no-relax", "-e", "0", "-Ttext=" + hexadecimal(base),
          "-Tdata=" + hexadecimal(base + UInt64(placement.writable)), "rows.o", "-o", "rows",
        ] + symbols.map { "--defsym=\($0.key)=\(Int64(bitPattern: $0.value))" }, in: scratch.path))
    try #require(result.status == 0, "\(result.text)")
    let file = try ObjectBytes(path: scratch.file("rows"))
    defer { withExtendedLifetime(file) {} }
    let outline = try #require(ElfOutline(file.input.bytes))
    var memory = Memory(parts: [])
    var code: [UInt8] = []
    for number in 1..<outline.sectionCount {
      guard let section = outline.section(number), section.flags & 2 != 0, let contents = outline.contents(of: section)
      else { continue }
      memory.parts.append((section.address, bytes(contents)))
      if outline.name(of: section) == ".text" { code = bytes(contents) }
    }
    return (memory, code)
  }

  // MARK: Without the global offset table

  static let plain: [Architecture: [Row]] = [
    .x86_64: [
      Row(type: "X86_64_8", expression: "small + 1", field: ".byte 0"),
      Row(type: "X86_64_8", expression: "negative", field: ".byte 0"),
      Row(type: "X86_64_16", expression: "small + 0x7000", field: ".short 0"),
      Row(type: "X86_64_16", expression: "negative", field: ".short 0"),
      Row(type: "X86_64_32", expression: "var + 9", field: ".long 0"),
      Row(type: "X86_64_32S", expression: "negative", field: ".long 0"),
      Row(type: "X86_64_64", expression: "var - 9", field: ".quad 0"),
      Row(type: "X86_64_PC8", expression: "f", field: ".byte 0"),
      Row(type: "X86_64_PC8", expression: "f + 60", field: ".byte 0"),
      Row(type: "X86_64_PC16", expression: "f - 2", field: ".short 0"),
      Row(type: "X86_64_PC32", expression: "var - 4", field: ".long 0"),
      Row(type: "X86_64_PLT32", expression: "f - 4", field: ".byte 0xe8\n.long 0"),
      Row(type: "X86_64_PC64", expression: "var", field: ".quad 0"),
      Row(type: "X86_64_SIZE32", expression: "var + 1", field: ".long 0"),
      Row(type: "X86_64_SIZE64", expression: "var - 1", field: ".quad 0"),
      Row(type: "X86_64_NONE", expression: "var", field: ".long 7"),
    ],
    .aarch64: [
      Row(type: "AARCH64_ABS16", expression: "small", field: ".short 0"),
      Row(type: "AARCH64_PREL16", expression: "f", field: ".short 0"),
      Row(type: "AARCH64_ABS32", expression: "var + 3", field: ".long 0"),
      Row(type: "AARCH64_PREL32", expression: "var", field: ".long 0"),
      Row(type: "AARCH64_ABS64", expression: "var - 3", field: ".quad 0"),
      Row(type: "AARCH64_PREL64", expression: "f", field: ".quad 0"),
      Row(type: "AARCH64_MOVW_UABS_G0", expression: "small", field: "movz x1, #0"),
      Row(type: "AARCH64_MOVW_UABS_G0_NC", expression: "var", field: "movk x1, #0"),
      Row(type: "AARCH64_MOVW_UABS_G1", expression: "var", field: "movz x1, #0, lsl 16"),
      Row(type: "AARCH64_MOVW_UABS_G1_NC", expression: "negative", field: "movk x1, #0, lsl 16"),
      Row(type: "AARCH64_MOVW_UABS_G2", expression: "var", field: "movz x1, #0, lsl 32"),
      Row(type: "AARCH64_MOVW_UABS_G2_NC", expression: "negative", field: "movk x1, #0, lsl 32"),
      Row(type: "AARCH64_MOVW_UABS_G3", expression: "negative", field: "movk x1, #0, lsl 48"),
      Row(type: "AARCH64_MOVW_SABS_G0", expression: "negative", field: "movz x2, #0"),
      Row(type: "AARCH64_MOVW_SABS_G0", expression: "small", field: "movn x2, #0"),
      Row(type: "AARCH64_MOVW_SABS_G1", expression: "var", field: "movn x2, #0, lsl 16"),
      Row(type: "AARCH64_MOVW_SABS_G1", expression: "negative", field: "movz x2, #0, lsl 16"),
      Row(type: "AARCH64_MOVW_SABS_G2", expression: "negative", field: "movz x2, #0, lsl 32"),
      Row(type: "AARCH64_MOVW_SABS_G2", expression: "var", field: "movn x2, #0, lsl 32"),
      Row(type: "AARCH64_MOVW_PREL_G0", expression: "f", field: "movz x3, #0"),
      Row(type: "AARCH64_MOVW_PREL_G0_NC", expression: "var", field: "movk x3, #0"),
      Row(type: "AARCH64_MOVW_PREL_G1", expression: "var", field: "movn x3, #0, lsl 16"),
      Row(type: "AARCH64_MOVW_PREL_G1_NC", expression: "f", field: "movk x3, #0, lsl 16"),
      Row(type: "AARCH64_MOVW_PREL_G2", expression: "f", field: "movz x3, #0, lsl 32"),
      Row(type: "AARCH64_MOVW_PREL_G2_NC", expression: "f", field: "movk x3, #0, lsl 32"),
      Row(type: "AARCH64_MOVW_PREL_G3", expression: "f", field: "movz x3, #0, lsl 48"),
      Row(type: "AARCH64_MOVW_PREL_G3", expression: "var", field: "movz x3, #0, lsl 48"),
      Row(type: "AARCH64_LD_PREL_LO19", expression: "f", field: "ldr x4, ."),
      Row(type: "AARCH64_ADR_PREL_LO21", expression: "var + 1", field: "adr x4, ."),
      Row(type: "AARCH64_ADR_PREL_PG_HI21", expression: "var", field: "adrp x4, ."),
      Row(type: "AARCH64_ADR_PREL_PG_HI21_NC", expression: "f", field: "adrp x4, ."),
      Row(type: "AARCH64_ADD_ABS_LO12_NC", expression: "var + 5", field: "add x4, x4, #0"),
      Row(type: "AARCH64_LDST8_ABS_LO12_NC", expression: "var + 5", field: "ldrb w5, [x4]"),
      Row(type: "AARCH64_LDST16_ABS_LO12_NC", expression: "var + 2", field: "ldrh w5, [x4]"),
      Row(type: "AARCH64_LDST32_ABS_LO12_NC", expression: "var + 4", field: "ldr w5, [x4]"),
      Row(type: "AARCH64_LDST64_ABS_LO12_NC", expression: "var + 8", field: "ldr x5, [x4]"),
      Row(type: "AARCH64_LDST128_ABS_LO12_NC", expression: "var + 16", field: "ldr q5, [x4]"),
      Row(type: "AARCH64_CONDBR19", expression: "f", field: "b.eq ."),
      Row(type: "AARCH64_TSTBR14", expression: "f", field: "tbz x1, #40, ."),
      Row(type: "AARCH64_JUMP26", expression: "f", field: "b ."),
    ],
  ]

  @Test(arguments: [Architecture.x86_64, .aarch64])
  func bytesAreThoseOfTheSystemsLinker(_ architecture: Architecture) throws {
    guard findTool(Self.prefix(architecture) + "ld") != nil, findTool(Self.prefix(architecture) + "as") != nil else {
      return
    }
    let rows = try #require(Self.plain[architecture])
    // One at a time, so that the one that differs is named; then all.
    for some in rows.map({ [$0] }) + [rows] {
      let scratch = try TemporaryDirectory()
      let object = try Self.assemble(some, architecture, in: scratch)
      let (memory, placement, _) = try Self.ours(object)
      let expected = try Self.theirs(architecture, placement, in: scratch).code
      #expect(expected.count > 1)
      #expect(
        Array(memory.parts[0].bytes.prefix(expected.count)) == expected, "\(some.map { "\($0.type) \($0.expression)" })"
      )
    }
  }

  // MARK: By way of the global offset table

  // The two tables are not in the same place and order; but what a field leads to is the same.

  @Test func fieldsOfX86_64LeadToTheSameByWayOfTheTable() throws {
    guard findTool("ld") != nil, findTool("as") != nil else { return }
    // Field sizes, and what is found: the symbol's address at the entry, or the symbol itself.
    enum Meaning { case entryFromField, entryFromTable, symbolFromTable, table }
    let rows: [(row: Row, size: Int, addend: Int, symbol: String, meaning: Meaning)] = [
      (Row(type: "X86_64_GOTPC64", expression: "_GLOBAL_OFFSET_TABLE_", field: ".quad 0"), 8, 0, "", .table),
      (Row(type: "X86_64_GOTPC32", expression: "_GLOBAL_OFFSET_TABLE_ + 4", field: ".long 0"), 4, 4, "", .table),
      (Row(type: "X86_64_GOTPCREL", expression: "var - 4", field: ".long 0"), 4, -4, "var", .entryFromField),
      (Row(type: "X86_64_GOTPCREL64", expression: "f", field: ".quad 0"), 8, 0, "f", .entryFromField),
      (Row(type: "X86_64_GOT32", expression: "var", field: ".long 0"), 4, 0, "var", .entryFromTable),
      (Row(type: "X86_64_GOT64", expression: "f + 8", field: ".quad 0"), 8, 8, "f", .entryFromTable),
      (Row(type: "X86_64_GOTPLT64", expression: "f", field: ".quad 0"), 8, 0, "f", .entryFromTable),
      (Row(type: "X86_64_GOTOFF64", expression: "var + 3", field: ".quad 0"), 8, 3, "var", .symbolFromTable),
      (Row(type: "X86_64_PLTOFF64", expression: "f", field: ".quad 0"), 8, 0, "f", .symbolFromTable),
    ]
    let scratch = try TemporaryDirectory()
    let object = try Self.assemble(rows.map(\.row), .x86_64, in: scratch)
    let (ours, placement, _) = try Self.ours(object)
    let theirs = try Self.theirs(.x86_64, placement, in: scratch).memory
    let addresses = ["f": Self.base, "var": Self.base + UInt64(placement.writable)]
    for memory in [ours, theirs] {
      var place = Self.base + 1
      let table = try memory.load(place, 8) &+ place
      for (row, size, addend, symbol, meaning) in rows {
        defer { place += UInt64(size) }
        let value = try memory.loadSigned(place, size) &- UInt64(bitPattern: Int64(addend))
        switch meaning {
        case .table: #expect(value &+ place == table, "\(row.type)")
        case .entryFromField: #expect(try memory.load(value &+ place, 8) == addresses[symbol], "\(row.type)")
        case .entryFromTable: #expect(try memory.load(table &+ value, 8) == addresses[symbol], "\(row.type)")
        case .symbolFromTable: #expect(table &+ value == addresses[symbol], "\(row.type)")
        }
      }
    }
  }

  @Test func fieldsOfAArch64LeadToTheSameByWayOfTheTable() throws {
    guard findTool("aarch64-linux-gnu-ld") != nil, findTool("aarch64-linux-gnu-as") != nil else { return }
    let scratch = try TemporaryDirectory()
    let object = try Self.assemble(
      [
        Row(type: "AARCH64_GOT_LD_PREL19", expression: "var", field: "ldr x1, ."),
        Row(type: "AARCH64_LD64_GOTOFF_LO15", expression: "var", field: "ldr x1, [x2]"),
        Row(type: "AARCH64_LD64_GOTPAGE_LO15", expression: "f", field: "ldr x1, [x2]"),
        Row(type: "AARCH64_PREL64", expression: "_GLOBAL_OFFSET_TABLE_", field: ".quad 0"),
      ], .aarch64, in: scratch)
    let (ours, placement, _) = try Self.ours(object)
    let theirs = try Self.theirs(.aarch64, placement, in: scratch).memory
    let data = Self.base + UInt64(placement.writable)
    for memory in [ours, theirs] {
      let table = try memory.load(Self.base + 16, 8) &+ Self.base + 16
      let words = try (0..<3).map { try memory.load(Self.base + 4 + 4 * $0, 4) }
      #expect(try memory.load(Self.base + 4 + (words[0] >> 5 & 0x7FFFF) * 4, 8) == data)
      #expect(try memory.load(table + (words[1] >> 10 & 0xFFF) * 8, 8) == data)
      #expect(try memory.load(table & ~0xFFF + (words[2] >> 10 & 0xFFF) * 8, 8) == Self.base)
    }
  }

  /// Types that the system's assembler and linker do not know, put in place of others.
  @Test func fieldsOfAArch64ThatBinutilsDoNotKnow() throws {
    guard findTool("aarch64-linux-gnu-as") != nil else { return }
    let scratch = try TemporaryDirectory()
    let whole = try Self.assemble(
      [
        Row(type: "AARCH64_ABS32", expression: "var + 3", field: ".long 0"),
        Row(type: "AARCH64_ABS64", expression: "f - 3", field: ".quad 0"),
        Row(type: "AARCH64_PREL32", expression: "var", field: ".long 0"),
        Row(type: "AARCH64_PREL16", expression: "f + 4", field: ".long 0"),
        Row(type: "AARCH64_PREL64", expression: "_GLOBAL_OFFSET_TABLE_", field: ".quad 0"),
      ], .aarch64, in: scratch)
    var changed = bytes(whole.input.bytes)
    let outline = try #require(ElfOutline(whole.input.bytes))
    let section = try #require(outline.index(ofSection: ".rela.text").flatMap { outline.section($0) })
    // ABS32 to GOTREL32, ABS64 to GOTREL64, PREL32 to GOTPCREL32, PREL16 to PLT32.
    let types: [UInt16: UInt16] = [258: 308, 257: 307, 261: 315, 262: 314]
    for row in 0..<Int(section.size) / 24 {
      let place = Int(section.offset) + row * 24 + 8
      guard let type = types[UInt16(changed[place]) | UInt16(changed[place + 1]) << 8] else { continue }
      changed[place] = UInt8(type & 0xFF)
      changed[place + 1] = UInt8(type >> 8)
    }
    let object = ObjectBytes(changed, name: "changed.o")
    defer { withExtendedLifetime(object) {} }
    let (memory, placement, _) = try Self.ours(object)
    let data = Self.base + UInt64(placement.writable)
    let table = try memory.load(Self.base + 24, 8) &+ Self.base + 24
    #expect(try memory.loadSigned(Self.base + 4, 4) &+ table == data + 3)
    #expect(try memory.load(Self.base + 8, 8) &+ table == Self.base - 3)
    #expect(try memory.load(memory.loadSigned(Self.base + 16, 4) &+ Self.base + 16, 8) == data)
    #expect(try memory.loadSigned(Self.base + 20, 4) &+ Self.base + 20 == Self.base + 4)
  }
}
