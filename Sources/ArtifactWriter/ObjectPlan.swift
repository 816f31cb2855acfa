// The sections of one unlinked object: their headers, their bytes and their places.
//
// An object may have as many sections as functions, and a relocation section behind each, so a plan is a flat list of
// headers whose contents are ranges of a few large buffers: all relocations of the code stand in one, whether they go into
// one section or into a hundred thousand. Names are kept once: a symbol's name is the tail of its section's, and that of the
// tail of its relocation section's (`.rela.text.NAME`), in one table for all three.

import CLibELF
import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// A section of an object.
struct ObjectSection: BitwiseCopyable {
  /// Where its bytes are.
  enum Source: BitwiseCopyable {
    /// The code of some pieces.
    case pieces(first: Int, count: Int)
    /// A part of one of the plan's buffers.
    case buffer(Int, offset: Int)
    /// All of what is kept in one of them, with the ranges of the binary that follow it.
    case whole(Int)
  }
  /// Its header, but for the offset of the relocations' symbol table, which comes late in the file.
  var header: Elf64_Shdr
  var source: Source
}

/// What goes where in the file.
struct ObjectPlan: ~Copyable {
  let input: ObjectInput
  /// All sections in the order of the file, without the null section.
  private(set) var sections: [ObjectSection] = []
  /// Offset of the section headers.
  private(set) var sectionHeadersOffset: UInt64 = 0
  /// Index of `.strtab`, the last section.
  var stringsIndex: Int { sections.count }
  /// Size of the file in bytes.
  var fileSize: UInt64 { sectionHeadersOffset + UInt64(sections.count + 1) * ELF.sectionHeaderSize }

  /// Bytes of sections, some of several.
  private(set) var buffers: [SectionContents] = []
  private var strings = CodeBuffer(capacity: 4096)
  private var codeRelocations = CodeBuffer(capacity: 64)
  /// The end of the last section.
  private var end = ELF.headerSize

  /// The relocation types of the machine (psABI).
  private struct Machine {
    let distance32: UInt32
    let distance64: UInt32

    init(_ architecture: Architecture) {
      switch architecture {
      case .x86_64: (distance32, distance64) = (UInt32(R_X86_64_PC32), UInt32(R_X86_64_PC64))
      case .aarch64: (distance32, distance64) = (UInt32(R_AARCH64_PREL32), UInt32(R_AARCH64_PREL64))
      }
    }
  }

  private static func invalid(_ message: String) -> ArtifactWriterError {
    ArtifactWriterError(operation: "lay out", path: "", message: message)
  }

  init(_ input: ObjectInput) throws(ArtifactWriterError) {
    self.input = input
    let contents = input.contents
    let settings = contents.record.settings
    try ArtifactPlan.check(contents)
    try Self.check(input)
    let machine = Machine(settings.architecture)
    strings = CodeBuffer(capacity: 256 + input.pieces.count * 48)
    strings.put8(0)

    let symbols = try addCode(settings.architecture)
    try addFunctions(machine)
    try addUnwind(machine)
    try addTables()
    addSection(".note.GNU-stack", type: SHT_PROGBITS, flags: 0, alignment: 1, CodeBuffer(capacity: 1))
    addSymbols(symbols)

    // The string table is the last: all names are in it.
    let name = strings.count
    strings.put(".strtab")
    strings.put8(0)
    guard strings.count <= Int(UInt32.max) else { throw Self.invalid("the symbols' names pass 4 GiB") }
    addSection(name: name, type: SHT_STRTAB, flags: 0, alignment: 1, strings.extract())
    sectionHeadersOffset = (end + 7) & ~7
    let symbolTable = UInt32(sections.count - (isExtended ? 2 : 1))
    for index in sections.indices where sections[index].header.sh_type == UInt32(SHT_RELA) {
      sections[index].header.sh_link = symbolTable
    }
  }

  /// The bytes of a section that has some in a buffer.
  @unsafe
  func bytes(_ buffer: Int, at offset: Int) -> UnsafeRawPointer {
    // The plan keeps the buffer.
    unsafe UnsafeRawPointer(buffers[buffer].buffer.startAddress + offset)
  }

  private static func check(_ input: ObjectInput) throws(ArtifactWriterError) {
    var end: UInt64 = 0
    for piece in input.pieces {
      guard UInt64(piece.textOffset) >= end else { throw invalid("pieces overlap at \(piece.textOffset)") }
      end = UInt64(piece.textOffset) + UInt64(piece.size)
    }
    guard end == input.contents.textSize else {
      throw invalid("pieces end at \(end), and the text at \(input.contents.textSize)")
    }
    for (external, next) in zip(input.externals, input.externals.dropFirst()) {
      guard ExactName(external.name) < ExactName(next.name) else { throw invalid("'\(next.name)' is out of order") }
    }
    for external in input.externals where external.name.isEmpty || external.name.utf8.contains(0) {
      throw invalid("'\(external.name)' is no name for a symbol")
    }
  }

  // MARK: Sections

  private mutating func addSection(
    name: Int, type: Int32, flags: Int32, alignment: UInt64, size: Int, entrySize: UInt64 = 0, link: Int = 0,
    info: Int = 0, _ source: ObjectSection.Source
  ) {
    end = (end + alignment - 1) / alignment * alignment
    let header = Elf64_Shdr(
      sh_name: UInt32(truncatingIfNeeded: name), sh_type: UInt32(type), sh_flags: UInt64(flags), sh_addr: 0,
      sh_offset: end, sh_size: UInt64(size), sh_link: UInt32(link), sh_info: UInt32(info), sh_addralign: alignment,
      sh_entsize: entrySize)
    sections.append(ObjectSection(header: header, source: source))
    end += UInt64(size)
  }

  private mutating func addSection(
    name: Int, type: Int32, flags: Int32, alignment: UInt64, entrySize: UInt64 = 0, link: Int = 0, info: Int = 0,
    _ bytes: consuming CodeBuffer
  ) {
    let size = bytes.count
    buffers.append(SectionContents(.text, bytes))
    addSection(
      name: name, type: type, flags: flags, alignment: alignment, size: size, entrySize: entrySize, link: link,
      info: info, .buffer(buffers.count - 1, offset: 0))
  }

  private mutating func addSection(
    _ name: String, type: Int32, flags: Int32, alignment: UInt64, entrySize: UInt64 = 0, link: Int = 0, info: Int = 0,
    _ bytes: consuming CodeBuffer
  ) {
    let start = strings.count
    for byte in name.utf8 { strings.put8(byte) }
    strings.put8(0)
    addSection(
      name: start, type: type, flags: flags, alignment: alignment, entrySize: entrySize, link: link, info: info, bytes)
  }

  /// A section with relocations of its own, whose name is the tail of theirs.
  private mutating func addSection(
    _ name: String, relocated bytes: consuming CodeBuffer, by relocations: consuming CodeBuffer
  ) {
    let start = strings.count
    for byte in ".rela".utf8 { strings.put8(byte) }
    for byte in name.utf8 { strings.put8(byte) }
    strings.put8(0)
    addSection(name: start + 5, type: SHT_PROGBITS, flags: SHF_ALLOC, alignment: 8, bytes)
    addSection(
      name: start, type: SHT_RELA, flags: SHF_INFO_LINK, alignment: 8, entrySize: Self.relocationSize,
      info: sections.count, relocations)
  }

  /// Size of `Elf64_Rela` in bytes.
  private static var relocationSize: UInt64 { 24 }

  private static func putRelocation(
    _ buffer: inout CodeBuffer, offset: UInt64, symbol: UInt32, type: UInt32, addend: Int64
  ) {
    buffer.put64(offset)
    buffer.put64(UInt64(symbol) << 32 | UInt64(type))
    buffer.put64(UInt64(bitPattern: addend))
  }

  // MARK: Code

  /// What a symbol table needs of each piece.
  private struct PieceSymbol: BitwiseCopyable {
    var name: UInt32
    var section: UInt32
    var value: UInt64
  }

  /// Adds the sections of the code and of its relocations; the symbols of all pieces.
  private mutating func addCode(
    _ architecture: Architecture
  ) throws(ArtifactWriterError) -> FlatBuffer<PieceSymbol> {
    let contents = input.contents
    let pieces = input.pieces
    // From the compiler's numbers of symbols to those of `.symtab`; 0 is the null symbol.
    var numbers = FlatBuffer<UInt32>(capacity: pieces.count + input.externals.count + 1)
    func number(_ symbol: UInt32, _ index: Int) {
      numbers.fill(with: 0, to: Int(symbol) + 1)
      numbers[Int(symbol)] = UInt32(index)
    }
    for (index, piece) in pieces.enumerated() { number(piece.symbol, index + 1) }
    for (index, external) in input.externals.enumerated() { number(external.symbol, pieces.count + 1 + index) }

    var symbols = FlatBuffer<PieceSymbol>(capacity: pieces.count)
    let count = pieces.reduce(0) { unsafe $0 + $1.relocations.count }
    codeRelocations = CodeBuffer(capacity: count * Int(Self.relocationSize))
    // All relocations are in one buffer, which is complete before anybody looks into it; its number is the first.
    let buffer = buffers.count
    let code = (flags: SHF_ALLOC | SHF_EXECINSTR, alignment: UInt64(16))
    var isWhole = true
    let externals = input.externals
    let hasFunctionSections = input.hasFunctionSections
    if !hasFunctionSections {
      strings.put(".rela.text")
      strings.put8(0)
      addSection(
        name: 1 + 5, type: SHT_PROGBITS, flags: code.flags, alignment: code.alignment, size: Int(contents.textSize),
        .pieces(first: 0, count: pieces.count))
    }
    unsafe contents.binary.withUnsafeBytes { binary in
      for (index, piece) in pieces.enumerated() {
        let relocations = unsafe piece.relocations
        var name = strings.count
        if hasFunctionSections {
          if !relocations.isEmpty { strings.put(".rela") }
          strings.put(".text.")
          name = strings.count
        }
        if case .function(let function) = piece.name {
          unsafe strings.putSymbol(function: function, of: contents, binary)
        } else {
          strings.putSymbol(piece.name) { externals[$0].name }
        }
        strings.put8(0)
        let first = codeRelocations.count
        let base = hasFunctionSections ? 0 : UInt64(piece.textOffset)
        for k in 0..<relocations.count {
          let relocation = unsafe relocations[k].rebased(by: piece.relocationBase)
          guard relocation.kind.architecture == architecture, piece.size >= 4, relocation.offset <= piece.size - 4,
            relocation.symbol < numbers.count, numbers[Int(relocation.symbol)] != 0
          else {
            isWhole = false
            continue
          }
          Self.putRelocation(
            &codeRelocations, offset: base + UInt64(relocation.offset), symbol: numbers[Int(relocation.symbol)],
            type: relocation.kind.elfType, addend: Int64(relocation.addend))
        }
        if hasFunctionSections {
          addSection(
            name: name - 6, type: SHT_PROGBITS, flags: code.flags, alignment: code.alignment, size: Int(piece.size),
            .pieces(first: index, count: 1))
        }
        symbols.append(
          PieceSymbol(
            name: UInt32(truncatingIfNeeded: name), section: UInt32(sections.count),
            value: hasFunctionSections ? 0 : UInt64(piece.textOffset)))
        if hasFunctionSections && !relocations.isEmpty {
          addCodeRelocations(name: name - 11, buffer: buffer, first: first)
        }
      }
    }
    guard isWhole else { throw Self.invalid("a relocation is out of place, or refers to no symbol") }
    if !hasFunctionSections && !codeRelocations.isEmpty { addCodeRelocations(name: 1, buffer: buffer, first: 0) }
    buffers.append(SectionContents(.text, codeRelocations.extract()))
    return symbols
  }

  // The relocations from `first` on are of the section added last.
  private mutating func addCodeRelocations(name: Int, buffer: Int, first: Int) {
    addSection(
      name: name, type: SHT_RELA, flags: SHF_INFO_LINK, alignment: 8, size: codeRelocations.count - first,
      entrySize: Self.relocationSize, info: sections.count, .buffer(buffer, offset: first))
  }

  // MARK: Tables

  private mutating func addFunctions(_ machine: Machine) throws(ArtifactWriterError) {
    var rows = CodeBuffer(capacity: input.pieces.count * ObjectFormat.pieceRow)
    var relocations = CodeBuffer(capacity: input.pieces.count * Int(Self.relocationSize))
    for (index, piece) in input.pieces.enumerated() {
      Self.putRelocation(
        &relocations, offset: UInt64(rows.count), symbol: UInt32(index + 1), type: machine.distance64, addend: 0)
      rows.put64(0)
      rows.put32(piece.textOffset)
      rows.put32(piece.size)
    }
    addSection(ObjectFormat.piecesName, relocated: rows, by: relocations)
  }

  /// Turns distances from the section that would stand behind the text into relocations.
  private mutating func addUnwind(_ machine: Machine) throws(ArtifactWriterError) {
    let unwind = UnwindRelocation(
      input.contents.ehFrame,
      distance: ArtifactInput.paddedTextSize(input.contents.textSize, settings: input.contents.record.settings))
    var relocations = CodeBuffer(capacity: input.pieces.count * Int(Self.relocationSize))
    var bytes = CodeBuffer(capacity: input.contents.ehFrame.count)
    let places = unwind?.places ?? []
    guard let unwind, places.count == input.pieces.count,
      zip(places, input.pieces).allSatisfy({ $0.textOffset == Int64($1.textOffset) })
    else { throw Self.invalid("the unwind entries are not those of the pieces") }
    unsafe unwind.bytes.withUnsafeBytes { unsafe bytes.put(contentsOf: $0.bytes) }
    for (index, place) in places.enumerated() {
      Self.putRelocation(
        &relocations, offset: UInt64(place.offset), symbol: UInt32(index + 1),
        type: unwind.isWide ? machine.distance64 : machine.distance32, addend: 0)
    }
    addSection(SectionKind.ehFrame.name, relocated: bytes, by: relocations)
  }

  private mutating func addTable(_ kind: SectionKind, _ bytes: consuming CodeBuffer) {
    addSection(
      kind.name, type: SHT_PROGBITS, flags: SHF_ALLOC,
      alignment: kind.alignment(pageSize: input.contents.record.settings.pageSize), bytes)
  }

  private mutating func addTables() throws(ArtifactWriterError) {
    let contents = input.contents
    let settings = contents.record.settings
    var engine = CodeBuffer(capacity: 1024)
    for byte in EngineSection(record: contents.record).encoded() { engine.put8(byte) }
    addTable(.engine, engine)
    let image = DataImagePlan(module: contents.module, pageSize: settings.pageSize)
    let info = contents.encodedInfo(image: image)
    guard info.count <= Int(UInt32.max) else { throw Self.invalid(".wasmtime.info would pass 4 GiB") }
    addTable(.info, info)
    if settings.addressMap {
      guard let map = AddressMap.encoded(contents.addressMap) else {
        throw Self.invalid("the address map would pass 2 GiB")
      }
      addTable(.addressMap, map)
    }
    guard let traps = TrapTable.encoded(contents.traps) else { throw Self.invalid("the trap table would pass 2 GiB") }
    addTable(.traps, traps)
    if image.size > 0 { addTable(.dataImage, image.encoded(binary: contents.binary)) }
    if !contents.functionNames.isEmpty || contents.moduleName != nil {
      addTable(.names, contents.encodedNames())
    }
    if settings.debugInfo, let (head, ranges) = GuestDebugInfo.encoded(module: contents.module) {
      let dwarf = SectionContents(.dwarf, head)
      dwarf.tail = ranges
      let name = strings.count
      for byte in SectionKind.dwarf.name.utf8 { strings.put8(byte) }
      strings.put8(0)
      buffers.append(dwarf)
      addSection(
        name: name, type: SHT_PROGBITS, flags: SHF_ALLOC,
        alignment: SectionKind.dwarf.alignment(pageSize: settings.pageSize), size: dwarf.count,
        .whole(buffers.count - 1))
    }
  }

  // MARK: Symbols

  /// Whether indices of sections do not fit into 16 bits (gABI, "Extended Section Header"), once the symbol table and the
  /// two sections that may follow it are there.
  private var isExtended = false

  private mutating func addSymbols(_ pieces: borrowing FlatBuffer<PieceSymbol>) {
    // The null section and the two or three that follow.
    isExtended = sections.count + 3 >= Int(SHN_LORESERVE)
    let count = 1 + input.pieces.count + input.externals.count
    var symbols = CodeBuffer(capacity: count * Int(ELF.symbolSize))
    var indices = CodeBuffer(capacity: isExtended ? count * 4 : 64)
    symbols.put(repeating: 0, count: Int(ELF.symbolSize))
    if isExtended { indices.put32(0) }
    for (index, piece) in input.pieces.enumerated() {
      let symbol = pieces[index]
      let fits = symbol.section < UInt32(SHN_LORESERVE)
      symbols.put32(symbol.name)
      symbols.put8(ELF.symbolLocalFunction)
      symbols.put8(0)
      symbols.put16(fits ? UInt16(symbol.section) : UInt16(SHN_XINDEX))
      symbols.put64(symbol.value)
      symbols.put64(UInt64(piece.size))
      if isExtended { indices.put32(fits ? 0 : symbol.section) }
    }
    for external in input.externals {
      symbols.put32(UInt32(truncatingIfNeeded: strings.count))
      for byte in external.name.utf8 { strings.put8(byte) }
      strings.put8(0)
      // STB_GLOBAL, STT_NOTYPE, SHN_UNDEF, no value, no size.
      symbols.put32(UInt32(STB_GLOBAL) << 4)
      symbols.put64(0)
      symbols.put64(0)
      if isExtended { indices.put32(0) }
    }
    let first = sections.count + 1
    addSection(
      SectionKind.symbols.name, type: SHT_SYMTAB, flags: 0, alignment: 8, entrySize: ELF.symbolSize,
      link: first + (isExtended ? 2 : 1), info: 1 + input.pieces.count, symbols)
    if isExtended {
      addSection(
        ".symtab_shndx", type: SHT_SYMTAB_SHNDX, flags: 0, alignment: 4, entrySize: 4, link: first, indices)
    }
  }
}
