// What `inspect` says of a file that cannot be used: why, what to do, and what is there nevertheless.
//
// A refusal alone leaves an engineer with a hex editor. So: one sentence that says what the file is and why it is not
// taken, one that says what helps, then what the record says as far as it can be read, and the outline of the ELF file
// with each section that has one of our names marked as such.

import PrecastMachineCode

/// Explains a file that is not an artifact, or not one for this version, or a broken one.
public struct ArtifactExplanation: Sendable {
  /// What the file is.
  public enum Finding: Sendable, Equatable {
    /// An artifact of another version of the format, or with settings that are not known here; sound as far as can be
    /// told.
    case otherVersion
    /// An artifact that is broken.
    case damaged
    /// An artifact of another runtime: its sections have the family's names, but it has none of our records.
    case otherRuntime
    /// An object, `ET_REL`: a wasm module's or a C compiler's.
    case object
    /// Some other ELF file.
    case otherELF
    /// Not even the header of an ELF file is there.
    case cutOff
  }

  /// What the file is.
  public let finding: Finding
  /// Why it cannot be used, in a sentence.
  public let reason: String
  /// What to do.
  public let advice: String
  private let file: ByteRegion
  private let damagedPages: [ArtifactError]
  private let outline: ElfOutline?

  /// Explains why `error` was thrown for a whole file that starts as an ELF file.
  ///
  /// - Parameter damagedPages: what `Artifact.damagedPages` has found, if it came to that.
  public init(_ file: ByteRegion, _ error: ArtifactError, damagedPages: [ArtifactError] = []) {
    self.file = file
    self.damagedPages = damagedPages
    outline = ElfOutline(file)
    switch error.kind {
    case .incompatible:
      finding = .otherVersion
      reason = error.description
      advice = "compile the module again with this version of precast, or load it with the version that made it"
    case .damaged:
      finding = .damaged
      reason = error.description
      advice = "get another copy of the file, or compile the module again"
    case .notAnArtifact:
      guard let outline else {
        finding = .cutOff
        reason = "an ELF file that ends in its header"
        advice = "get another copy of the file"
        return
      }
      if outline.isLinkable {
        finding = .object
        reason = "an object, not linked yet; precast link makes an artifact of a wasm module's object and others"
        advice =
          "link it: precast link MODULE.o OTHER.o -o OUT.cwasm, where MODULE.o is made by precast compile --emit object"
      } else if outline.index(ofSection: SectionKind.engine.name) != nil {
        finding = .otherRuntime
        // ELFOSABI_WASMTIME, which that runtime has given itself.
        reason =
          outline.osABI == 200
          ? "wasmtime's artifact, not precast's"
          : "another runtime's artifact (or a damaged one): it has \(SectionKind.engine.name), without precast's record"
        advice = "use the runtime that made it, or compile the module with precast"
      } else {
        finding = .otherELF
        reason = "an ELF file, but no artifact: \(outline.kind)"
        advice = "compile a wasm module with precast to get an artifact"
      }
    }
  }

  /// Whether the file is in order, as far as can be told, and merely not for this version.
  public var isSound: Bool { finding == .otherVersion && outline?.problems.isEmpty ?? false }

  /// Describes the file.
  public func describe(_ format: DescriptionFormat, to output: TextOutput) {
    let report = Report(output, format, size: UInt64(file.count))
    switch format {
    case .text:
      report.line("cannot be loaded: \(Report.shown(reason))")
      report.line("what to do: \(Report.shown(advice))")
    case .json:
      report.field("finding", .text("\(finding)"))
      report.field("reason", .text(reason))
      report.field("advice", .text(advice))
    }
    if !damagedPages.isEmpty {
      report.table("damaged pages", [.text("error")], rows: damagedPages.count) { row throws(ArtifactError) in
        [.text(damagedPages[row].description)]
      }
    }
    if finding == .otherVersion || finding == .damaged { describeRecord(report) }
    if let outline { describe(outline, report) }
    // There is nothing in it that could throw.
    report.attempt { () throws(ArtifactError) in try report.end() }
  }

  /// Shows the bytes of a section of that name, with or without its leading dot.
  ///
  /// - Returns: whether there is one.
  public func describe(section name: String, to output: TextOutput) -> Bool {
    guard let outline, let index = outline.index(ofSection: name) ?? outline.index(ofSection: "." + name),
      let section = outline.section(index)
    else { return false }
    let report = Report(output, .text, size: UInt64(file.count))
    report.line("cannot be loaded: \(Report.shown(reason))")
    report.line(
      "\(Report.shown(outline.name(of: section))): \(section.size) bytes at file offset \(hexadecimal(section.offset))")
    if let bytes = outline.contents(of: section) {
      if section.type == ELF.sectionStringTable { report.strings(bytes) } else { report.hexDump(bytes) }
    } else {
      report.line("  ! the section lies outside the file")
    }
    return true
  }

  /// The names of the sections.
  public var sectionNames: [String] {
    guard let outline else { return [] }
    return (0..<min(outline.sectionCount, 256)).compactMap { outline.section($0).map(outline.name(of:)) }.filter {
      !$0.isEmpty
    }
  }

  // The head of `.wasmtime.engine`, which is the same in all versions as far as its compiler and settings.
  private func describeRecord(_ report: Report) {
    guard let start = ArtifactHeader.recordOffset(file), let record = try? file.slice(start, file.count - start)
    else { return }
    report.line("record, as far as it can be read")
    if let version = try? record.u32(8) { report.field("format version", .number(version)) }
    report.field("format version here", .number(CompatibilityRecord.currentFormatVersion))
    if let size = try? record.u64(16) {
      report.field("file size", .number(size))
      report.field("file size found", .number(file.count))
    }
    for (name, at) in [("compiler", 40), ("compiler version", 48)] {
      guard let offset = try? record.u32(at), let length = try? record.u32(at + 4), length <= 256,
        let text = try? record.string(Int(offset), Int(length)), text.unicodeScalars.allSatisfy({ $0.value >= 0x20 })
      else { continue }
      report.field(name, .text(text))
    }
    guard let offset = try? record.u32(24), let count = try? record.u32(28), count <= 1024,
      let rows = try? record.slice(Int(offset), Int(count) * EngineSection.settingRow)
    else { return }
    report.table(
      "settings", [.number("number"), .text("name", 20), .number("value", 12), .text("meaning")], rows: Int(count)
    ) { row throws(ArtifactError) in
      let number = try rows.u16(row * EngineSection.settingRow)
      let value = try rows.u64(row * EngineSection.settingRow + 8)
      let setting = Setting(rawValue: number)?.descriptor
      return [
        .number(Int(number)), .text(setting?.name ?? "not known"), .number(value), .text(setting?.render(value) ?? "-"),
      ]
    }
  }

  private func describe(_ outline: ElfOutline, _ report: Report) {
    report.line("ELF file")
    report.field("kind", .text(outline.kind))
    report.field("operating system ABI", .number(UInt64(outline.osABI)))
    if !outline.problems.isEmpty { report.field("problems", .list(outline.problems.map(Cell.text))) }
    let segmentColumns: [Column] = [
      .number("number"), .text("type", 12), .text("flags"), .number("offset", 12), .number("address", 12),
      .number("file size", 12), .number("memory size", 12), .number("alignment", 10),
    ]
    report.table("program headers", segmentColumns, rows: outline.segmentCount) { row throws(ArtifactError) in
      guard let segment = outline.segment(row) else { return [] }
      let flags = (segment.flags & 4 != 0 ? "r" : "-") + (segment.flags & 2 != 0 ? "w" : "-")
      return [
        .number(row), .text(ElfOutline.name(ofSegmentType: segment.type)),
        .text(flags + (segment.flags & 1 != 0 ? "x" : "-")),
        .offset(segment.offset), .offset(segment.address), .number(segment.fileSize), .number(segment.memorySize),
        .number(segment.alignment),
      ]
    }
    let isArtifact = finding == .otherVersion || finding == .damaged
    let sectionColumns: [Column] = [
      .number("number"), .text("type", 14), .text("flags", 5), .number("offset", 12), .number("size", 12),
      .text("ours", 7),
      .text("name"),
    ]
    report.table("sections", sectionColumns, rows: outline.sectionCount) { row throws(ArtifactError) in
      guard let section = outline.section(row) else { return [] }
      let flags = (section.flags & 1 != 0 ? "w" : "-") + (section.flags & 2 != 0 ? "a" : "-")
      let name = outline.name(of: section)
      let isOurs = isArtifact && SectionKind.allCases.contains { $0.name == name }
      let isInFile = outline.contents(of: section) != nil
      return [
        .number(row), .text(ElfOutline.name(ofSectionType: section.type)),
        .text(flags + (section.flags & 4 != 0 ? "x" : "-")),
        .offset(section.offset), .number(section.size), .text(!isInFile ? "cut off" : isOurs ? "yes" : "-"),
        .text(name),
      ]
    }
  }
}

extension ElfOutline {
  /// Whether it is an object for a machine that objects are linked for.
  fileprivate var isLinkable: Bool {
    type == ELF.typeRelocatable && is64Bit && isLittleEndian
      && UInt8(exactly: machine).flatMap(Architecture.init(rawValue:)) != nil
  }

  /// Class, byte order, type and machine, in words.
  var kind: String {
    let types: [UInt16: String] = [
      0: "no type", 1: "relocatable object", 2: "executable", 3: "shared object or program", 4: "core dump",
    ]
    let machines: [UInt16: String] = [
      0: "no machine", 3: "i386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "Arm", 62: "x86-64",
      183: "AArch64", 243: "RISC-V", 247: "BPF", 258: "LoongArch",
    ]
    return (is64Bit ? "64-bit, " : "32-bit, ") + (isLittleEndian ? "little-endian, " : "big-endian, ")
      + (types[type] ?? "type \(type)") + ", " + (machines[machine] ?? "machine \(machine)")
  }

  /// `PT_*` without its prefix.
  static func name(ofSegmentType type: UInt32) -> String {
    let names: [UInt32: String] = [
      0: "NULL", 1: "LOAD", 2: "DYNAMIC", 3: "INTERP", 4: "NOTE", 6: "PHDR", 7: "TLS", 0x6474_E550: "GNU_EH_FRAME",
      0x6474_E551: "GNU_STACK", 0x6474_E552: "GNU_RELRO", 0x6474_E553: "GNU_PROPERTY",
    ]
    return names[type] ?? hexadecimal(UInt64(type))
  }

  /// `SHT_*` without its prefix.
  static func name(ofSectionType type: UInt32) -> String {
    let names: [UInt32: String] = [
      0: "NULL", 1: "PROGBITS", 2: "SYMTAB", 3: "STRTAB", 4: "RELA", 5: "HASH", 6: "DYNAMIC", 7: "NOTE", 8: "NOBITS",
      9: "REL", 11: "DYNSYM", 14: "INIT_ARRAY", 15: "FINI_ARRAY", 0x6FFF_FFF6: "GNU_HASH", 0x6FFF_FFFE: "VERNEED",
      0x6FFF_FFFF: "VERSYM", 0x7000_0001: "X86_64_UNWIND",
    ]
    return names[type] ?? hexadecimal(UInt64(type))
  }
}
