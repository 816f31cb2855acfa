// What `inspect` says of an unlinked object.
//
// It has the tables of an artifact, so most of what can be said of one can be said of it; but it is found as any ELF object is,
// by its section headers. A hundred thousand sections of code are one line: who wants them has `readelf`.

/// Describes an unlinked object, `ET_REL` with a compatibility record.
public struct ObjectDescription: Sendable {
  private let file: ByteRegion
  private let outline: ElfOutline
  private let engine: EngineSection
  private let info: ModuleInfo
  private let names: NameTable?

  /// Opens an object; nil for a file that is none of ours.
  ///
  /// - Throws: `ArtifactError` for one that is damaged, or of another version.
  public init?(_ file: ByteRegion) throws(ArtifactError) {
    guard let outline = ElfOutline(file), outline.type == 1, outline.is64Bit, outline.isLittleEndian,
      let record = Self.contents(SectionKind.engine.name, outline), (try? record.u64(0)) == EngineSection.magic
    else { return nil }
    self.file = file
    self.outline = outline
    engine = try EngineSection(decoding: record)
    guard let tables = Self.contents(SectionKind.info.name, outline) else {
      throw .damaged(.info, 0, "the section is missing")
    }
    info = try ModuleInfo(tables)
    names = try Self.contents(SectionKind.names.name, outline).map { (bytes) throws(ArtifactError) in
      try NameTable(bytes)
    }
  }

  private static func contents(_ name: String, _ outline: ElfOutline) -> ByteRegion? {
    outline.index(ofSection: name).flatMap(outline.section).flatMap(outline.contents(of:))
  }

  /// Describes the object as a whole.
  ///
  /// - Throws: `ArtifactError` for what was wrong first, when everything else has been described.
  public func describe(_ format: DescriptionFormat, to output: TextOutput) throws(ArtifactError) {
    let report = Report(output, format, size: UInt64(file.count))
    report.line("unlinked object")
    if format == .json { report.field("kind", .text("unlinked object")) }
    report.field("size", .number(file.count))
    report.field("format version", .number(engine.record.formatVersion))
    report.field("compiler", .text("\(engine.record.compilerName) \(engine.record.compilerVersion)"))
    if let name = try? names?.moduleName() { report.field("module", .text(name)) }
    let settings = engine.record.settings.rendered
    report.table("settings", [.text("name", 20), .text("value")], rows: settings.count) { row throws(ArtifactError) in
      [.text(settings[row].name), .text(settings[row].value)]
    }

    // Sections of code, and of its relocations, are counted.
    var others: [(name: String, section: ElfOutline.Section)] = []
    var code = (count: 0, size: UInt64(0), calls: UInt64(0))
    for index in 1..<max(1, outline.sectionCount) {
      guard let section = outline.section(index) else { continue }
      let name = outline.name(of: section)
      if name == ".text" || name.hasPrefix(".text.") {
        code.count += 1
        code.size &+= section.size
      } else if name == ".rela.text" || name.hasPrefix(".rela.text.") {
        code.calls &+= section.size / 24
      } else {
        others.append((name, section))
      }
    }
    report.field("sections of code", .number(code.count))
    report.field("code size", .number(code.size))
    report.field("relocations of code", .number(code.calls))
    report.table(
      "other sections", [.number("offset", 12), .number("size", 12), .text("name")], rows: others.count
    ) { row throws(ArtifactError) in
      let section = others[row].section
      return [.offset(section.offset), .number(section.size), .text(others[row].name)]
    }
    // Those that are bound to symbols have a table of their own.
    let bound = try info.boundImportCount
    let counts = [
      ("types", info.typeCount), ("imports", info.importCount - bound), ("exports", info.exportCount),
      ("imported functions", info.importedFunctionCount - bound), ("functions", info.definedFunctionCount),
      ("tables", info.tableCount), ("memories", info.memoryCount), ("globals", info.globalCount),
    ]
    for (name, count) in counts { report.field(name, .number(count)) }
    if let pieces = Self.contents(ObjectFormat.piecesName, outline) {
      report.field("pieces of code", .number(pieces.count / ObjectFormat.pieceRow))
    }
    try describeBindings(report)
    let undefined = undefinedSymbols()
    report.table("undefined symbols", [.text("name")], rows: undefined.count) { row throws(ArtifactError) in
      [.text(undefined[row])]
    }
    try report.end()
  }

  private func describeBindings(_ report: Report) throws(ArtifactError) {
    var rows: [[Cell]] = []
    for index in 0..<info.importCount {
      guard let entry = try? info.importEntry(index), case .function = entry.descriptor,
        let adapter = try info.adapter(importedFunction: Int(entry.index))
      else { continue }
      rows.append([.number(entry.index), .text(adapter.symbol), .text(entry.module), .text(entry.name)])
    }
    let columns: [Column] = [.number("function", 8), .text("symbol", 24), .text("module", 16), .text("name")]
    report.table("bound imports", columns, rows: rows.count) { row throws(ArtifactError) in rows[row] }
  }

  /// Names of symbols that no section of the object defines.
  private func undefinedSymbols() -> [String] {
    guard let table = outline.index(ofSection: SectionKind.symbols.name).flatMap(outline.section),
      let symbols = outline.contents(of: table), let strings = outline.section(Int(table.link)),
      let names = outline.contents(of: strings)
    else { return [] }
    var result: [String] = []
    var at = Int(ELF.symbolSize)
    while at <= symbols.count - Int(ELF.symbolSize) {
      defer { at += Int(ELF.symbolSize) }
      guard (try? symbols.u16(at + 6)) == 0, let place = try? symbols.u32(at), place < names.count, place != 0,
        let name = try? names.string(Int(place), names.length(at: Int(place), limit: 1024))
      else { continue }
      result.append(name)
      // More are nobody's to read.
      if result.count == 10_000 { break }
    }
    return result
  }

  /// Lists all code, the largest piece first, with nominal text offsets.
  ///
  /// - Throws: `ArtifactError` for what was wrong first, when everything else has been described.
  public func describeFunctions(_ format: DescriptionFormat, to output: TextOutput) throws(ArtifactError) {
    let pieces = CodePieces(info, names: names)
    let end = pieces.positionsInText().last.map { UInt64($0.code.textOffset) + UInt64($0.code.size) } ?? 0
    try pieces.describe(format, to: output, fileSize: UInt64(file.count), textSize: end)
  }

  /// Shows the bytes of a section of that name, with or without its leading dot.
  ///
  /// - Returns: whether there is one.
  public func describe(section name: String, to output: TextOutput) -> Bool {
    guard let index = outline.index(ofSection: name) ?? outline.index(ofSection: "." + name),
      let section = outline.section(index)
    else { return false }
    let report = Report(output, .text, size: UInt64(file.count))
    report.line(
      "\(Report.shown(outline.name(of: section))): \(section.size) bytes at file offset \(hexadecimal(section.offset))")
    if let bytes = outline.contents(of: section) {
      if section.type == ELF.sectionStringTable { report.strings(bytes) } else { report.hexDump(bytes) }
    } else {
      report.line("  ! the section lies outside the file")
    }
    return true
  }
}
