// An ELF file about loaded code, for a debugger.
//
// An artifact is an ELF file with symbols, but a debugger that is told of loaded code through the JIT interface wants one whose
// addresses are those of this process; and lines, which the artifact has only as the guest's DWARF and an address map, neither
// of which a debugger can put together. So this makes a small file of its own when code is announced:
//
//      .text        no contents: where the text is
//      .eh_frame    a copy, at the address of the original, to which its pointers are relative
//      .symtab      the functions, by the names of the name section and by mangled names; trampolines
//      .debug_*     one unit (DWARF 4): the functions of the source, and a line table, both at native addresses
//
// A row of the line table stands where the address map has an entry, the first instruction of each operator, and the line has
// changed. A function's first row is that of its declaration, so that a breakpoint on it, which goes behind the prologue,
// stands at its first statement. Symbols are local and functions not external, so that a guest's `malloc` is not taken for the
// host's when the debugger needs one.

import PrecastArtifact
import PrecastLoader
import PrecastMachineCode

/// Builds the file.
struct DebuggerImage {
  /// A section of the file.
  private struct Section {
    var name: String
    var type: UInt32
    var flags: UInt64 = 0
    var address: UInt64 = 0
    /// Where it has no contents.
    var size: UInt64?
    var link: UInt32 = 0
    var info: UInt32 = 0
    var entrySize: UInt64 = 0
    var bytes = Bytes()
  }

  private let artifact: LoadedArtifact
  private let pieces: [CodePiece]
  private let tables: GuestTables
  private let codeStart: UInt64
  private var sections: [Section] = []

  /// The file for a loaded artifact. `tables` are what its DWARF says, whose addresses count from `codeStart`.
  static func bytes(for artifact: LoadedArtifact, tables: GuestTables, codeStart: UInt64) -> [UInt8] {
    var image = DebuggerImage(artifact: artifact, pieces: artifact.codePieces(), tables: tables, codeStart: codeStart)
    image.addCode()
    image.addSymbols()
    if !tables.lines.isEmpty || !tables.functions.isEmpty { image.addDWARF() }
    return image.file()
  }

  private init(artifact: LoadedArtifact, pieces: [CodePiece], tables: GuestTables, codeStart: UInt64) {
    self.artifact = artifact
    self.pieces = pieces
    self.tables = tables
    self.codeStart = codeStart
  }

  private var textBase: UInt64 { UInt64(artifact.textBase) }

  private func source(of piece: CodePiece) -> GuestFunction? {
    guard let offset = piece.wasmOffset, UInt64(offset) >= codeStart else { return nil }
    return tables.functions[UInt64(offset) - codeStart]
  }

  // MARK: Code and symbols

  private mutating func addCode() {
    sections.append(
      Section(
        name: ".text", type: 8, flags: ELF.flagAlloc | ELF.flagExecute, address: textBase,
        size: UInt64(artifact.textSize)))
    let extent = artifact.header.extent(of: .ehFrame)
    guard extent.size > 0, let frames = try? artifact.artifact.section(.ehFrame)?.copyBytes() else { return }
    var section = Section(
      name: ".eh_frame", type: 1, flags: ELF.flagAlloc,
      address: textBase + (extent.offset - artifact.header.text.offset))
    section.bytes.put(frames)
    sections.append(section)
  }

  private mutating func addSymbols() {
    var symbols = Section(name: ".symtab", type: 2, link: UInt32(sections.count + 2), entrySize: ELF.symbolSize)
    var strings = Section(name: ".strtab", type: 3)
    strings.bytes.put8(0)
    for _ in 0..<24 { symbols.bytes.put8(0) }
    var count: UInt32 = 1
    for piece in pieces {
      var names = [piece.name]
      if let linkage = source(of: piece)?.linkageName, linkage != piece.name { names.append(linkage) }
      for name in names {
        symbols.bytes.put32(UInt32(truncatingIfNeeded: strings.bytes.count))
        symbols.bytes.put8(2)  // STB_LOCAL, STT_FUNC
        symbols.bytes.put8(0)
        symbols.bytes.put16(1)
        symbols.bytes.put64(textBase + UInt64(piece.textOffset))
        symbols.bytes.put64(UInt64(piece.size))
        strings.bytes.put(name)
        count += 1
      }
    }
    symbols.info = count
    sections.append(symbols)
    sections.append(strings)
  }

  // MARK: DWARF

  private mutating func addDWARF() {
    sections.append(Section(name: ".debug_abbrev", type: 1, bytes: Self.abbreviations))
    sections.append(Section(name: ".debug_info", type: 1, bytes: units()))
    sections.append(Section(name: ".debug_line", type: 1, bytes: lineTable()))
    // A unit that covers the whole text (DWARF 4, 6.1.2).
    var ranges = Bytes()
    ranges.put32(44)
    ranges.put16(2)
    ranges.put32(0)
    for byte: UInt8 in [8, 0, 0, 0, 0, 0] { ranges.put8(byte) }
    ranges.put64(textBase)
    ranges.put64(UInt64(artifact.textSize))
    ranges.put64(0)
    ranges.put64(0)
    sections.append(Section(name: ".debug_aranges", type: 1, bytes: ranges))
  }

  /// DWARF 4, 7.5.3: codes, tags, attributes and forms.
  private static let abbreviations: Bytes = {
    var bytes = Bytes()
    // 1: DW_TAG_compile_unit, children: producer, language, name, stmt_list, low_pc, high_pc
    for value: UInt8 in [1, 0x11, 1, 0x25, 0x08, 0x13, 0x05, 0x03, 0x08, 0x10, 0x17, 0x11, 0x01, 0x12, 0x07, 0, 0] {
      bytes.put8(value)
    }
    // 2: DW_TAG_subprogram: name, decl_file, decl_line, low_pc, high_pc
    for value: UInt8 in [2, 0x2E, 0, 0x03, 0x08, 0x3A, 0x0F, 0x3B, 0x0F, 0x11, 0x01, 0x12, 0x07, 0, 0] {
      bytes.put8(value)
    }
    bytes.put8(0)
    return bytes
  }()

  private func units() -> Bytes {
    var bytes = Bytes()
    bytes.put32(0)  // length, below
    bytes.put16(4)
    bytes.put32(0)
    bytes.put8(8)
    bytes.put8(1)
    bytes.put("precast")
    bytes.put16(0x0C)  // DW_LANG_C99: names are taken as they are
    bytes.put("wasm")
    bytes.put32(0)
    bytes.put64(textBase)
    bytes.put64(UInt64(artifact.textSize))
    for piece in pieces {
      guard let function = source(of: piece) else { continue }
      bytes.put8(2)
      bytes.put(function.linkageName.map(Demangler.demangle) ?? function.name ?? piece.name)
      bytes.putULEB(function.file.map { UInt64($0) + 1 } ?? 0)
      bytes.putULEB(UInt64(function.line ?? 0))
      bytes.put64(textBase + UInt64(piece.textOffset))
      bytes.put64(UInt64(piece.size))
    }
    bytes.put8(0)
    bytes.patch32(UInt32(truncatingIfNeeded: bytes.count - 4), at: 0)
    return bytes
  }

  /// DWARF 4, 6.2.
  private func lineTable() -> Bytes {
    var bytes = Bytes()
    bytes.put32(0)  // length, below
    bytes.put16(4)
    bytes.put32(0)  // header length, below
    for byte: UInt8 in [1, 1, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1] { bytes.put8(byte) }
    bytes.put8(0)  // no directories
    for file in tables.files {
      bytes.put(file)
      for _ in 0..<3 { bytes.put8(0) }
    }
    bytes.put8(0)
    bytes.patch32(UInt32(truncatingIfNeeded: bytes.count - 10), at: 6)
    let map = (try? artifact.artifact.addressMap()) ?? nil
    for piece in pieces where piece.wasmOffset != nil {
      guard let entries = try? map?.entries(functionTextOffset: piece.textOffset), !entries.isEmpty else { continue }
      addSequence(piece, entries, to: &bytes)
    }
    bytes.patch32(UInt32(truncatingIfNeeded: bytes.count - 4), at: 0)
    return bytes
  }

  private func addSequence(_ piece: CodePiece, _ entries: [RunEntry], to bytes: inout Bytes) {
    var rows: [(offset: UInt32, file: UInt32, line: UInt32, column: UInt32)] = []
    if let function = source(of: piece), let file = function.file, let line = function.line, line > 0 {
      rows.append((0, file, line, 0))
    }
    for entry in entries where UInt64(entry.value) >= codeStart && entry.codeOffset < piece.size {
      guard let found = tables.line(at: UInt64(entry.value) - codeStart), found.line > 0 else { continue }
      if let last = rows.last, last.file == found.file, last.line == found.line { continue }
      // An operator may start at the function's first byte; two rows of one address would be one.
      let offset = rows.isEmpty ? 0 : max(entry.codeOffset, 1)
      rows.append((offset, found.file, found.line, found.column))
    }
    if rows.isEmpty { return }
    // DW_LNE_set_address
    bytes.put8(0)
    bytes.put8(9)
    bytes.put8(2)
    bytes.put64(textBase + UInt64(piece.textOffset))
    var state = (offset: UInt32(0), file: UInt32(1), line: UInt32(1), column: UInt32(0))
    for row in rows {
      if row.offset != state.offset {
        bytes.put8(2)  // DW_LNS_advance_pc
        bytes.putULEB(UInt64(row.offset - state.offset))
      }
      if row.file + 1 != state.file {
        bytes.put8(4)  // DW_LNS_set_file
        bytes.putULEB(UInt64(row.file) + 1)
      }
      if row.line != state.line {
        bytes.put8(3)  // DW_LNS_advance_line
        bytes.putSLEB(Int64(row.line) - Int64(state.line))
      }
      if row.column != state.column {
        bytes.put8(5)  // DW_LNS_set_column
        bytes.putULEB(UInt64(row.column))
      }
      bytes.put8(1)  // DW_LNS_copy
      state = (row.offset, row.file + 1, row.line, row.column)
    }
    bytes.put8(2)
    bytes.putULEB(UInt64(piece.size - state.offset))
    for byte: UInt8 in [0, 1, 1] { bytes.put8(byte) }  // DW_LNE_end_sequence
  }

  // MARK: The file

  private mutating func file() -> [UInt8] {
    sections.append(Section(name: ".shstrtab", type: 3))
    var names = Bytes()
    names.put8(0)
    let offsets = sections.map { section -> UInt32 in
      let offset = UInt32(names.count)
      names.put(section.name)
      return offset
    }
    sections[sections.count - 1].bytes = names
    var bytes = Bytes()
    bytes.put32(ELF.magic)
    for byte: UInt8 in [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0] { bytes.put8(byte) }
    bytes.put16(2)  // ET_EXEC: addresses are what they are
    bytes.put16(UInt16(artifact.header.record.settings.architecture.rawValue))
    bytes.put32(1)
    bytes.put64(0)
    bytes.put64(0)
    let headerOffset = 64
    bytes.put64(UInt64(headerOffset))
    bytes.put32(0)
    for value in [64, 0, 0, 64, sections.count + 1, sections.count] { bytes.put16(UInt16(value)) }
    for _ in 0..<64 { bytes.put8(0) }
    var offset = (headerOffset + (sections.count + 1) * 64 + 7) & ~7
    for (section, name) in zip(sections, offsets) {
      let size = section.size ?? UInt64(section.bytes.count)
      bytes.put32(name)
      bytes.put32(section.type)
      bytes.put64(section.flags)
      bytes.put64(section.address)
      bytes.put64(UInt64(offset))
      bytes.put64(size)
      bytes.put32(section.link)
      bytes.put32(section.info)
      bytes.put64(8)
      bytes.put64(section.entrySize)
      offset = (offset + section.bytes.count + 7) & ~7
    }
    for section in sections {
      while bytes.count % 8 != 0 { bytes.put8(0) }
      bytes.put(section.bytes.contents)
    }
    return bytes.contents
  }
}

/// Growing little-endian bytes.
struct Bytes {
  private(set) var contents: [UInt8] = []

  var count: Int { contents.count }

  mutating func put8(_ value: UInt8) { contents.append(value) }
  mutating func put16(_ value: UInt16) { put(integer: value) }
  mutating func put32(_ value: UInt32) { put(integer: value) }
  mutating func put64(_ value: UInt64) { put(integer: value) }
  mutating func put(_ bytes: [UInt8]) { contents += bytes }

  /// A string with the zero that ends it.
  mutating func put(_ text: String) {
    contents += text.utf8
    contents.append(0)
  }

  mutating func putULEB(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      contents.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    contents.append(UInt8(rest))
  }

  mutating func putSLEB(_ value: Int64) {
    var rest = value
    while rest < -64 || rest > 63 {
      contents.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    contents.append(UInt8(truncatingIfNeeded: rest) & 0x7F)
  }

  mutating func patch32(_ value: UInt32, at offset: Int) {
    for byte in 0..<4 { contents[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)) }
  }

  private mutating func put<T: FixedWidthInteger>(integer value: T) {
    for byte in 0..<(T.bitWidth / 8) { contents.append(UInt8(truncatingIfNeeded: value >> T(8 * byte))) }
  }
}
