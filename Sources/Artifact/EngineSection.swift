// `.wasmtime.engine`: the compatibility record and the directory, both directions.
//
// It stands in the file's first page with the ELF header, and holds everything that loading has to
// know, so one read of 4096 bytes decides whether and how to map the rest; section headers, at the
// far end of the file, are for other people's tools. Offsets are from the start of the section;
// everything is little-endian.
//
//      0  magic "PRECAST\0"
//      8  format version (UInt32)
//     12  section size (UInt32)
//     16  file size (UInt64)            a shorter file was truncated
//     24  offset, count of settings     (UInt32 each) rows of 16 bytes:
//                                       id (UInt16), zero (UInt16, UInt32), value (UInt64)
//     32  offset, count of directory    (UInt32 each) rows of 16 bytes, by SectionKind:
//                                       file offset (UInt64), size (UInt64); 0, 0 where absent
//     40  offset, length of the compiler's name      (UInt32 each)
//     48  offset, length of the compiler's version   (UInt32 each)
//     56  CRC-32C of the file's first 4096 bytes, with this field as zero (UInt32)
//     60  0 (UInt32)

/// Who compiled, for which format, with which settings.
public struct CompatibilityRecord: Sendable, Equatable {
  /// The version of the artifact format that this code reads and writes.
  public static let currentFormatVersion: UInt32 = 3

  /// Version of the artifact format.
  public var formatVersion: UInt32
  /// The compiler that made the code, e.g. `precast-baseline`.
  public var compilerName: String
  /// Its version.
  public var compilerVersion: String
  /// The settings that shaped the code.
  public var settings: CompilerSettings

  /// A record in the current format.
  public init(compilerName: String, compilerVersion: String, settings: CompilerSettings) {
    formatVersion = Self.currentFormatVersion
    self.compilerName = compilerName
    self.compilerVersion = compilerVersion
    self.settings = settings
  }

  /// A format version, with what it brought.
  static func describe(formatVersion version: UInt32) -> String {
    switch version {
    case 1: "1 (no page checksums)"
    case 2: "2 (no writable data)"
    case 3: "3 (with writable data)"
    default: "\(version)"
    }
  }

  /// Whether two records describe interchangeable code; throws an error that names each difference.
  ///
  /// - Throws: `ArtifactError` of kind `incompatible`.
  public func check(host: CompilerSettings) throws(ArtifactError) {
    let mismatches = settings.mismatches(host: host)
    if !mismatches.isEmpty {
      throw ArtifactError(
        .incompatible(mismatches), section: SectionKind.engine.name, offset: 0, message: "settings differ")
    }
  }
}

/// File offset and size of a section; both 0 for one that is absent.
public struct SectionExtent: Sendable, Equatable {
  /// Offset in the file, in bytes; also the virtual address.
  public var offset: UInt64
  /// Size in bytes.
  public var size: UInt64

  /// Creates an extent.
  public init(offset: UInt64 = 0, size: UInt64 = 0) {
    self.offset = offset
    self.size = size
  }

  /// The first offset behind the section.
  public var end: UInt64 { offset &+ size }
}

/// The codec of `.wasmtime.engine`.
public struct EngineSection: Sendable, Equatable {
  /// Who compiled, for which format, with which settings.
  public var record: CompatibilityRecord
  /// Size of the whole file in bytes.
  public var fileSize: UInt64
  /// Where each section is, by `SectionKind`.
  public var directory: [SectionExtent]

  static let magic: UInt64 = 0x0054_5341_4345_5250  // "PRECAST\0"
  static let headerSize = 64
  /// Offset of the section's own size (UInt32).
  public static let sizeOffset = 12
  /// Offset of the first page's checksum.
  static let checksumOffset = 56
  static let settingRow = 16
  static let directoryRow = 16

  /// A section with an empty directory.
  public init(record: CompatibilityRecord) {
    self.record = record
    fileSize = 0
    directory = Array(repeating: SectionExtent(), count: SectionKind.count)
  }

  /// Size of the encoded section in bytes; depends on the record only.
  public var encodedSize: Int {
    (Self.headerSize + Setting.count * Self.settingRow + SectionKind.count * Self.directoryRow
      + record.compilerName.utf8.count + record.compilerVersion.utf8.count + 7) & ~7
  }

  /// The section's bytes.
  public func encoded() -> [UInt8] {
    var bytes = ByteWriter(reserving: encodedSize)
    let settingsOffset = Self.headerSize
    let directoryOffset = settingsOffset + Setting.count * Self.settingRow
    let nameOffset = directoryOffset + SectionKind.count * Self.directoryRow
    let versionOffset = nameOffset + record.compilerName.utf8.count
    bytes.put64(Self.magic)
    bytes.put32(record.formatVersion)
    bytes.put32(UInt32(truncatingIfNeeded: encodedSize))
    bytes.put64(fileSize)
    for (offset, count) in [
      (settingsOffset, Setting.count), (directoryOffset, SectionKind.count),
      (nameOffset, record.compilerName.utf8.count), (versionOffset, record.compilerVersion.utf8.count),
    ] {
      bytes.put32(UInt32(truncatingIfNeeded: offset))
      bytes.put32(UInt32(truncatingIfNeeded: count))
    }
    bytes.put64(0)  // the checksum is put in when the rest of the page stands
    for setting in Setting.allCases {
      bytes.put16(setting.rawValue)
      bytes.put16(0)
      bytes.put32(0)
      bytes.put64(record.settings[setting])
    }
    for extent in directory {
      bytes.put64(extent.offset)
      bytes.put64(extent.size)
    }
    bytes.put(record.compilerName.utf8)
    bytes.put(record.compilerVersion.utf8)
    bytes.align(8)
    return bytes.bytes
  }

  /// Checks that this is such a section, of a version that can be read; nothing else is believed yet.
  static func checkVersion(_ region: ByteRegion) throws(ArtifactError) {
    guard region.count >= Self.headerSize, try region.u64(0) == Self.magic else {
      throw ArtifactError(
        .notAnArtifact, section: SectionKind.engine.name, offset: 0, message: "no compatibility record")
    }
    let version = try region.u32(8)
    guard version == CompatibilityRecord.currentFormatVersion else {
      throw ArtifactError(
        .incompatible([
          CompatibilityMismatch(
            field: "format_version", artifact: CompatibilityRecord.describe(formatVersion: version),
            host: CompatibilityRecord.describe(formatVersion: CompatibilityRecord.currentFormatVersion),
            advice: "compile again with this version of precast")
        ]), section: SectionKind.engine.name, offset: 8, message: "another format version")
    }
  }

  /// Decodes the section; a format version or a setting that is not known is an incompatibility.
  public init(decoding region: ByteRegion) throws(ArtifactError) {
    try Self.checkVersion(region)
    let size = try region.u32(Self.sizeOffset)
    guard size <= region.count, size >= Self.headerSize else {
      throw region.damaged(Self.sizeOffset, "section size \(size), but \(region.count) bytes are there")
    }
    let fileSize = try region.u64(16)
    let settingsOffset = Int(try region.u32(24))
    let settingsCount = Int(try region.u32(28))
    let directoryOffset = Int(try region.u32(32))
    let directoryCount = Int(try region.u32(36))
    guard settingsCount <= 1024 else { throw region.damaged(28, "\(settingsCount) settings") }
    guard directoryCount == SectionKind.count else { throw region.damaged(36, "\(directoryCount) directory rows") }
    let rows = try region.slice(settingsOffset, settingsCount * Self.settingRow)
    var settings = CompilerSettings()
    var seen: UInt64 = 0
    var unknown: [CompatibilityMismatch] = []
    for row in 0..<settingsCount {
      let id = try rows.u16(row * Self.settingRow)
      let value = try rows.u64(row * Self.settingRow + 8)
      if let setting = Setting(rawValue: id) {
        settings[setting] = value
        seen |= 1 << UInt64(setting.position)
      } else {
        unknown.append(
          CompatibilityMismatch(
            field: "setting \(id)", artifact: "\(value)", host: "not known",
            advice: "load with the version of precast that compiled it"))
      }
    }
    if !unknown.isEmpty {
      throw ArtifactError(
        .incompatible(unknown), section: SectionKind.engine.name, offset: UInt64(settingsOffset),
        message: "unknown settings")
    }
    guard seen == (1 << UInt64(Setting.count)) - 1 else { throw region.damaged(settingsOffset, "a setting is missing") }
    let extents = try region.slice(directoryOffset, directoryCount * Self.directoryRow)
    var directory: [SectionExtent] = []
    directory.reserveCapacity(directoryCount)
    for row in 0..<directoryCount {
      let offset = try extents.u64(row * Self.directoryRow)
      let size = try extents.u64(row * Self.directoryRow + 8)
      // What starts as zeros has no bytes in the file, and is limited like the text.
      let room = row == Int(SectionKind.bss.rawValue) ? UInt64(UInt32.max) : fileSize &- offset
      guard offset <= fileSize, size <= room else {
        throw region.damaged(
          directoryOffset + row * Self.directoryRow, "section of \(size) bytes at \(offset) in a file of \(fileSize)")
      }
      directory.append(SectionExtent(offset: offset, size: size))
    }
    guard try region.u32(Self.checksumOffset + 4) == 0 else {
      throw region.damaged(Self.checksumOffset + 4, "not zero")
    }
    let name = try region.string(Int(try region.u32(40)), Int(try region.u32(44)))
    let compilerVersion = try region.string(Int(try region.u32(48)), Int(try region.u32(52)))
    self.record = CompatibilityRecord(compilerName: name, compilerVersion: compilerVersion, settings: settings)
    self.fileSize = fileSize
    self.directory = directory
  }

  /// Where a section is.
  public subscript(kind: SectionKind) -> SectionExtent {
    get { directory[Int(kind.rawValue)] }
    set { directory[Int(kind.rawValue)] = newValue }
  }
}
