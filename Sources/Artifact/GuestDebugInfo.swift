// `.wasmtime.dwarf`: the guest's DWARF, both directions.
//
// A compiler that made the wasm with `-g` left DWARF in custom sections of the binary, named as in ELF files (`.debug_info`,
// `.debug_line`, ...). Its addresses are offsets in the code section's contents. Backtraces and debuggers want to know lines
// from it, perhaps never, and at most long after the binary is gone.
//
// One could translate it to native addresses when compiling, as other runtimes do; that is a second compiler, for something
// that is rarely looked at, and its result is tied to one text. One could keep the bare sections in a container of one's own;
// then no other program reads them. So: an ELF file inside the section, small for what is not DWARF, in which each custom
// section is a section under its own name, byte for byte. libdw, eu-readelf, llvm-dwarfdump, llvm-symbolizer and gdb open it
// as it is:
//
//      objcopy -O binary --only-section=.wasmtime.dwarf app.cwasm app.debug; llvm-symbolizer --obj=app.debug 0x1a2b
//
// The file is ET_REL for EM_NONE: no machine has this code, and addresses count from the start of `.text`, a section without
// contents that is as long as the code section. Where that was in the binary stands behind the ELF header, in `.wasmtime.code`,
// so that wasm offsets (of the address map, of backtraces) become addresses of the DWARF.
//
//      0  ELF header
//     64  .wasmtime.code: wasm offset of the code section's contents (UInt64), their size (UInt64)
//     80  section headers: null, .text, .wasmtime.code, the sections of DWARF, .shstrtab
//      .  .shstrtab
//      .  the sections of DWARF, in the order of the binary, one after the other, unaligned
//
// Nothing of this is looked at when an artifact is loaded. Writing copies the sections from the binary to the file and nowhere
// else.

public import PrecastWasm

/// The guest's DWARF, as an ELF file.
public struct GuestDebugInfo: Sendable {
  /// The whole file, for a library that reads ELF.
  public let region: ByteRegion
  /// Wasm offset of address 0 of the DWARF: of the code section's contents.
  public let codeStart: UInt64
  /// Size of the code section's contents in bytes.
  public let codeSize: UInt64

  static let codeOffset = 64
  static let headersOffset = 80

  /// Opens the section; checks its beginning only.
  ///
  /// - Throws: `ArtifactError` where it is none of ours.
  public init(_ region: ByteRegion) throws(ArtifactError) {
    self.region = region
    guard try region.u32(0) == ELF.magic else { throw region.damaged(0, "no ELF header") }
    codeStart = try region.u64(Self.codeOffset)
    codeSize = try region.u64(Self.codeOffset + 8)
    guard codeStart <= UInt64(UInt32.max), codeSize <= UInt64(UInt32.max) else {
      throw region.damaged(Self.codeOffset, "a code section of \(codeSize) bytes at \(codeStart)")
    }
  }

  /// The address in the DWARF of a wasm offset; nil outside the code section.
  public func address(ofWasmOffset offset: Int) -> UInt64? {
    guard let offset = UInt64(exactly: offset), offset >= codeStart, offset - codeStart < codeSize else { return nil }
    return offset - codeStart
  }

  /// The sections that are taken from a binary (DWARF 5, 7.4, and those of earlier versions and of GNU's): others may be called
  /// anything.
  static let names: Set<String> = Set(
    [
      "abbrev", "addr", "aranges", "cu_index", "frame", "gnu_pubnames", "gnu_pubtypes", "info", "line", "line_str",
      "loc",
      "loclists", "macinfo", "macro", "names", "pubnames", "pubtypes", "ranges", "rnglists", "str", "str_offsets",
      "tu_index",
      "types",
    ].map { ".debug_" + $0 })

  /// The section for a module: its beginning, and the ranges of the binary that follow. Nil for one without DWARF or code.
  public static func encoded(module: WasmModule) -> (head: [UInt8], ranges: [Range<Int>])? {
    guard let code = module.codeSection else { return nil }
    var found: [CustomSection] = []
    for section in module.customSections where names.contains(section.name) && !section.range.isEmpty {
      // A second section of a name is not DWARF as anybody writes it.
      if !found.contains(where: { $0.name == section.name }) { found.append(section) }
    }
    guard found.contains(where: { $0.name == ".debug_info" }) else { return nil }

    var strings: [UInt8] = [0]
    func name(_ text: String) -> UInt32 {
      let offset = UInt32(strings.count)
      strings += text.utf8
      strings.append(0)
      return offset
    }
    let textName = name(".text")
    let codeName = name(".wasmtime.code")
    let sectionNames = found.map { name($0.name) }
    let stringsName = name(".shstrtab")
    let count = found.count + 4

    var head = ByteWriter()
    head.put32(ELF.magic)
    for byte in [ELF.class64, ELF.littleEndian, UInt8(ELF.versionCurrent)] { head.put8(byte) }
    for _ in 0..<9 { head.put8(0) }
    head.put16(1)  // ET_REL
    head.put16(0)  // EM_NONE
    head.put32(ELF.versionCurrent)
    head.put64(0)
    head.put64(0)
    head.put64(UInt64(headersOffset))
    head.put32(0)
    head.put16(UInt16(ELF.headerSize))
    head.put32(0)  // no program headers
    head.put16(UInt16(ELF.sectionHeaderSize))
    head.put16(UInt16(count))
    head.put16(UInt16(count - 1))
    head.put64(UInt64(code.lowerBound))
    head.put64(UInt64(code.count))

    func header(_ name: UInt32, _ type: UInt32, _ flags: UInt64, at offset: Int, size: Int) {
      head.put32(name)
      head.put32(type)
      head.put64(flags)
      head.put64(0)
      head.put64(UInt64(offset))
      head.put64(UInt64(size))
      head.put64(0)
      head.put64(type == 0 ? 0 : 1)
      head.put64(0)
    }
    let stringsOffset = headersOffset + count * Int(ELF.sectionHeaderSize)
    header(0, 0, 0, at: 0, size: 0)
    header(textName, 8, ELF.flagAlloc | ELF.flagExecute, at: Self.codeOffset, size: code.count)  // SHT_NOBITS
    header(codeName, ELF.sectionProgramBits, 0, at: Self.codeOffset, size: 16)
    var offset = stringsOffset + strings.count
    for (section, name) in zip(found, sectionNames) {
      header(name, ELF.sectionProgramBits, 0, at: offset, size: section.range.count)
      offset += section.range.count
    }
    header(stringsName, ELF.sectionStringTable, 0, at: stringsOffset, size: strings.count)
    return (head.bytes + strings, found.map(\.range))
  }
}

extension Artifact {
  /// The guest's DWARF, or nil where there is none.
  public func debugInfo() throws(ArtifactError) -> GuestDebugInfo? {
    guard let region = try section(.dwarf) else { return nil }
    return try GuestDebugInfo(region)
  }

  /// `.wasmtime.dwarf` in readable form: which sections it has. For what is in them there are other tools.
  func describeDebugInfo(_ bytes: ByteRegion, _ report: Report) {
    report.attempt { () throws(ArtifactError) in
      let info = try GuestDebugInfo(bytes)
      report.field("code section", .offset(info.codeStart))
      report.field("code section's size", .number(info.codeSize))
      let headers = Int(clamping: try bytes.u64(40))
      let count = Int(try bytes.u16(60))
      let size = Int(ELF.sectionHeaderSize)
      func field(_ row: Int, _ offset: Int) throws(ArtifactError) -> Int {
        guard headers <= bytes.count else { throw bytes.damaged(40, "section headers at \(headers)") }
        return Int(clamping: try bytes.u64(headers + row * size + offset))
      }
      let strings = try field(Int(try bytes.u16(62)), 24)
      report.table(
        "sections", [.number("offset", 12), .number("size", 12), .text("name")], rows: max(0, count - 1)
      ) { row throws(ArtifactError) in
        let offset = try field(row + 1, 24)
        let length = try field(row + 1, 32)
        guard strings <= bytes.count else { throw bytes.damaged(62, "section names at \(strings)") }
        let name = try bytes.zeroTerminated(at: strings + Int(bytes.u32(headers + (row + 1) * size)))
        return [.offset(offset), .number(length), .text(name)]
      }
    }
  }
}
