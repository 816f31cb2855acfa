// The first page: all that loading has to know.
//
// ELF header, program headers, build-id and `.wasmtime.engine` stand in the first 4096 bytes, at
// places fixed by the format. A loader reads them with one `pread` into a buffer on its stack, and
// knows from here what to map where, or why not. Nothing else of the file is touched. A checksum of
// the page is compared before anything in it but magic numbers and version is believed. The program
// headers are checked against the directory, since other tools go by them; section headers, at the
// end of the file, are looked at by `Artifact.sectionHeaders()` only.
//
//      0  ELF header
//     64  program headers: PT_LOAD first page, PT_LOAD text, PT_LOAD rest, PT_LOAD writable data where there is
//         any, PT_NOTE, PT_GNU_STACK; room for eight
//    512  .note.gnu.build-id
//    560  .wasmtime.engine
//
// Up to version 2 there was room for five program headers, and the record stood at 392. It is looked for there
// only to say which version a file has.

import CPrecastHost

/// What the first page of an artifact says.
public struct ArtifactHeader: Sendable, Equatable {
  /// Bytes of the file that are enough for `init`.
  public static let size = 4096
  /// Program headers that there is room for.
  static let programHeaderRoom = 8
  /// File offset of the build-id note.
  public static let noteOffset = Int(ELF.headerSize) + programHeaderRoom * Int(ELF.programHeaderSize)
  /// Size of the build-id note: header, "GNU", and a SHA-256.
  public static let noteSize = 48
  /// File offset of the digest in the note.
  public static let digestOffset = noteOffset + 16
  /// File offset of `.wasmtime.engine`.
  public static let engineOffset = noteOffset + noteSize
  /// File offset of `.wasmtime.engine` in versions 1 and 2.
  static let earlierEngineOffset = 392
  /// File offset of the first page's checksum.
  public static let checksumOffset = engineOffset + EngineSection.checksumOffset

  /// Compatibility record and directory.
  public let engine: EngineSection
  /// The build-id: 32 bytes.
  public let buildID: [UInt8]
  // From the ELF header, for tools.
  let sectionHeadersOffset: UInt64
  let sectionHeaderCount: Int

  // Their section headers are the last.
  private static let writableKinds: [SectionKind] = [.data, .bss]

  /// Who compiled, for which format, with which settings.
  public var record: CompatibilityRecord { engine.record }

  /// Size of the file in bytes.
  public var fileSize: UInt64 { engine.fileSize }

  /// Where the section is in the file; 0, 0 where it is absent.
  public func extent(of kind: SectionKind) -> SectionExtent { engine[kind] }

  /// The text: whole pages, to be mapped read-execute.
  public var text: SectionExtent { engine[.text] }

  /// Everything behind the text: starts on a page, to be mapped read-only but for writable data at its end.
  public var rest: SectionExtent { SectionExtent(offset: text.end, size: engine.fileSize - text.end) }

  /// The first section that reaches past `fileOffset`, and the offset in it; what follows all sections
  /// are the section headers.
  func place(of fileOffset: UInt64) -> (section: String, offset: UInt64) {
    var found: (name: String, start: UInt64) = ("section headers", sectionHeadersOffset)
    for kind in SectionKind.allCases where engine[kind].size > 0 && engine[kind].end > fileOffset {
      if engine[kind].offset < found.start { found = (kind.name, engine[kind].offset) }
    }
    return (found.name, fileOffset > found.start ? fileOffset - found.start : 0)
  }

  /// Whether `bytes`, the start of a file, look like an artifact of any version (rather than, say,
  /// wasm, or an ELF file of somebody else's).
  public static func looksLikeArtifact(_ bytes: ByteRegion) -> Bool {
    guard let magic = try? bytes.u32(0), magic == ELF.magic else { return false }
    return recordOffset(bytes) != nil
  }

  /// Where the compatibility record of an artifact of any version starts; nil where there is none.
  static func recordOffset(_ bytes: ByteRegion) -> Int? {
    for offset in [engineOffset, earlierEngineOffset] where (try? bytes.u64(offset)) == EngineSection.magic {
      return offset
    }
    return nil
  }

  /// Whether the start of another version's artifact is as it was written, as far as can be told. The size of the file has stood
  /// in its place since the first version, and the checksum since the second.
  private static func isSound(
    _ bytes: ByteRegion, _ record: ByteRegion, _ fileSize: UInt64
  ) throws(ArtifactError) -> Bool {
    let version = try record.u32(8)
    guard version > 0, try record.u64(16) == fileSize else { return false }
    if version == 1 { return true }
    guard bytes.count >= Self.size else { return false }
    let place = (version == 2 ? Self.earlierEngineOffset : Self.engineOffset) + EngineSection.checksumOffset
    return try bytes.u32(place) == Self.checksum(of: bytes, at: place)
  }

  /// Reads the start of a file: `bytes` holds its first `ArtifactHeader.size` bytes, or all of a
  /// shorter file; `fileSize` is the size of all of it.
  ///
  /// - Throws: `ArtifactError`: `notAnArtifact`, `damaged`, or `incompatible` for another format
  ///   version or unknown settings. Settings are not compared; see `CompatibilityRecord.check`.
  public init(_ bytes: ByteRegion, fileSize: UInt64) throws(ArtifactError) {
    func headerError(_ offset: Int, _ message: String) -> ArtifactError {
      ArtifactError(.damaged, section: "ELF header", offset: UInt64(offset), message: message)
    }
    guard bytes.count >= Int(ELF.headerSize), try bytes.u32(0) == ELF.magic else {
      throw ArtifactError(.notAnArtifact, section: "ELF header", offset: 0, message: "not an ELF file")
    }
    if try bytes.u16(16) == ELF.typeRelocatable {
      throw ArtifactError(
        .notAnArtifact, section: "ELF header", offset: 16,
        message: "an unlinked object: make an artifact of it with `precast link`, or load it with "
          + "Module(engine:linking:), or LoadedObjects where it is without wasm")
    }
    guard bytes.count >= Self.engineOffset + EngineSection.headerSize, let recordOffset = Self.recordOffset(bytes)
    else {
      throw ArtifactError(
        .notAnArtifact, section: "ELF header", offset: 0,
        message: "an ELF file, but without a compatibility record (or cut off)")
    }
    let record = try bytes.slice(recordOffset, bytes.count - recordOffset)
    do throws(ArtifactError) {
      try EngineSection.checkVersion(record)
    } catch {
      if try Self.isSound(bytes, record, fileSize) { throw error }
      throw .damaged(.engine, 8, "the format version is \(try record.u32(8)), and size or checksum do not agree")
    }
    guard recordOffset == Self.engineOffset else {
      throw .damaged(.engine, 8, "the record is not where version \(CompatibilityRecord.currentFormatVersion) has it")
    }
    guard bytes.count >= Self.size else {
      throw headerError(bytes.count, "the file is cut off: \(Self.size) bytes needed")
    }
    guard try bytes.u32(Self.checksumOffset) == Self.checksum(of: bytes) else {
      throw .damaged(.engine, EngineSection.checksumOffset, "the checksum of the first page differs")
    }
    let engine = try EngineSection(decoding: record)
    self.engine = engine
    guard fileSize == engine.fileSize else {
      throw ArtifactError(
        .damaged, section: SectionKind.engine.name, offset: 16,
        message: "the file has \(fileSize) bytes and should have \(engine.fileSize)")
    }
    // e_ident, then the fields in order (gABI, "ELF Header").
    guard try bytes.u8(4) == ELF.class64, try bytes.u8(5) == ELF.littleEndian, try bytes.u8(6) == 1,
      try bytes.u64(7) == 0, try bytes.u8(15) == 0
    else { throw headerError(4, "not ELFCLASS64, ELFDATA2LSB, ELFOSABI_NONE") }
    guard try bytes.u16(16) == ELF.typeDynamic else { throw headerError(16, "not ET_DYN") }
    guard try UInt64(bytes.u16(18)) == engine.record.settings[.architecture] else {
      throw headerError(18, "another machine than in the compatibility record")
    }
    guard try bytes.u32(20) == ELF.versionCurrent, try bytes.u64(24) == 0, try bytes.u64(32) == ELF.headerSize,
      try bytes.u32(48) == 0, try bytes.u16(52) == UInt16(ELF.headerSize),
      try bytes.u16(54) == UInt16(ELF.programHeaderSize),
      try Int(bytes.u16(56)) == Self.programHeaders(engine).count,
      try bytes.u16(58) == UInt16(ELF.sectionHeaderSize)
    else { throw headerError(20, "a field differs from that of every artifact") }
    sectionHeadersOffset = try bytes.u64(40)
    sectionHeaderCount = Int(try bytes.u16(60))
    let sectionHeadersSize = UInt64(sectionHeaderCount) * ELF.sectionHeaderSize
    guard sectionHeadersOffset <= fileSize, sectionHeadersSize <= fileSize - sectionHeadersOffset,
      sectionHeaderCount > 3,
      try Int(bytes.u16(62)) + 1 == sectionHeaderCount - Self.writableKinds.count(where: { engine[$0].size > 0 })
    else { throw headerError(40, "section headers lie outside the file, or the names' is elsewhere") }
    try engine.checkWritable(behind: sectionHeadersOffset + sectionHeadersSize)

    let pageSize = engine.record.settings.pageSize
    let text = engine[.text]
    guard text.offset >= pageSize, text.offset % pageSize == 0, text.size % pageSize == 0, text.size > 0 else {
      throw .damaged(.engine, 0, "the text is not whole pages")
    }
    let image = engine[.dataImage]
    guard image.offset % pageSize == 0, image.size % pageSize == 0 else {
      throw .damaged(.engine, 0, "the data image is not whole pages")
    }
    for kind in SectionKind.allCases where !kind.isInFirstPage && kind != .text && engine[kind].size > 0 {
      guard engine[kind].offset >= text.end else {
        throw .damaged(.engine, 0, "\(kind.name) lies before the end of the text")
      }
      guard kind.isWritable || engine[kind].end <= engine.readOnlyEnd else {
        throw .damaged(.engine, 0, "\(kind.name) reaches into writable data")
      }
    }
    guard engine[.readOnlyData].offset % pageSize == 0 else {
      throw .damaged(.engine, 0, "\(SectionKind.readOnlyData.name) does not start on a page")
    }
    // The pages with checksums are counted between text, image and end; and the table is found without a search.
    let checksums = engine[.checksums]
    guard image.size == 0 || image.offset >= text.end, checksums.size == PageChecksums(engine).encodedSize,
      checksums.offset == (max(text.end, engine[.ehFrame].end) + 7) & ~7,
      checksums.end <= (image.size > 0 ? image.offset : engine.readOnlyEnd)
    else { throw .damaged(.engine, 0, "\(SectionKind.checksums.name) is not where it belongs") }
    // The unwinder believes what it is given, for every thread of the process: only what stands where the tables
    // belong, and ends in whole words, is handed to it.
    let unwind = engine[.ehFrame]
    guard unwind.size == 0 || (unwind.offset == text.end && unwind.size >= 4 && unwind.size % 4 == 0) else {
      throw .damaged(.engine, 0, "\(SectionKind.ehFrame.name) does not follow the text")
    }
    for expected in Self.programHeaders(engine) {
      let at = Int(ELF.headerSize) + expected.index * Int(ELF.programHeaderSize)
      guard try bytes.u32(at) == expected.type, try bytes.u32(at + 4) == expected.flags,
        try bytes.u64(at + 8) == expected.offset, try bytes.u64(at + 16) == expected.offset,
        try bytes.u64(at + 24) == expected.offset, try bytes.u64(at + 32) == expected.fileSize,
        try bytes.u64(at + 40) == expected.memorySize, try bytes.u64(at + 48) == expected.alignment
      else {
        throw ArtifactError(
          .damaged, section: "program headers", offset: UInt64(expected.index),
          message: "does not agree with the directory")
      }
    }
    guard try bytes.u32(Self.noteOffset) == 4, try bytes.u32(Self.noteOffset + 4) == 32,
      try bytes.u32(Self.noteOffset + 8) == ELF.noteBuildID, try bytes.u32(Self.noteOffset + 12) == 0x0055_4E47
    else { throw .damaged(.buildID, 0, "not a build-id note") }
    buildID = try bytes.slice(Self.digestOffset, 32).copyBytes()
  }

  /// The build-id note without its digest (gABI, "Note Section").
  public static var emptyNote: [UInt8] {
    [4, 0, 0, 0, 32, 0, 0, 0, 3, 0, 0, 0, 0x47, 0x4E, 0x55, 0] + Array(repeating: 0, count: 32)
  }

  /// The checksum of a first page: CRC-32C of its 4096 bytes, with the four that hold it as zeros.
  static func checksum(of page: ByteRegion, at place: Int = checksumOffset) throws(ArtifactError) -> UInt32 {
    try page.check(0, size)
    let base = unsafe page.baseAddress
    // In bounds by the check; the place lies well inside.
    var sum = unsafe precast_crc32c(0, base, place)
    sum = precast_crc32c_zeros(sum, 4)
    return unsafe precast_crc32c(sum, base + place + 4, size - place - 4)
  }

  /// Puts the checksum into a first page that is complete but for it.
  @unsafe
  public static func fillChecksum(_ file: UnsafeMutableRawBufferPointer) {
    guard let base = file.baseAddress, file.count >= size else { return }
    // A region over bytes without a guard, of the size that is needed: there is no error.
    guard let sum = try? checksum(of: unsafe ByteRegion(base: base, count: size)) else { return }
    unsafe base.storeBytes(of: sum.littleEndian, toByteOffset: checksumOffset, as: UInt32.self)
  }

  /// A program header as it has to be.
  public struct ProgramHeader: Sendable {
    /// Position among the program headers.
    public var index: Int
    /// `p_type`.
    public var type: UInt32
    /// `p_flags`: 1 execute, 2 write, 4 read.
    public var flags: UInt32
    /// `p_offset`, `p_vaddr` and `p_paddr`.
    public var offset: UInt64
    /// `p_filesz`.
    public var fileSize: UInt64
    /// `p_memsz`.
    public var memorySize: UInt64
    /// `p_align`.
    public var alignment: UInt64

    init(type: UInt32, flags: UInt32, offset: UInt64, size: UInt64, alignment: UInt64) {
      index = 0
      self.type = type
      self.flags = flags
      self.offset = offset
      fileSize = size
      memorySize = size
      self.alignment = alignment
    }
  }

  /// The program headers that go with a directory; the writer writes these.
  public static func programHeaders(_ engine: EngineSection) -> [ProgramHeader] {
    let pageSize = engine.record.settings.pageSize
    let text = engine[.text]
    var end = text.end
    for kind in SectionKind.allCases where kind.elfFlags & ELF.flagAlloc != 0 && !kind.isWritable {
      end = max(end, engine[kind].end)
    }
    var headers = [
      ProgramHeader(type: ELF.segmentLoad, flags: 4, offset: 0, size: engine[.engine].end, alignment: pageSize),
      ProgramHeader(type: ELF.segmentLoad, flags: 5, offset: text.offset, size: text.size, alignment: pageSize),
      ProgramHeader(type: ELF.segmentLoad, flags: 4, offset: text.end, size: end - text.end, alignment: pageSize),
    ]
    if let writable = engine.writable {
      var header = ProgramHeader(
        type: ELF.segmentLoad, flags: 6, offset: writable.offset, size: writable.fileSize, alignment: pageSize)
      header.memorySize = writable.memorySize
      headers.append(header)
    }
    headers += [
      ProgramHeader(
        type: ELF.segmentNote, flags: 4, offset: UInt64(noteOffset), size: UInt64(noteSize), alignment: 4),
      ProgramHeader(type: ELF.segmentStack, flags: 6, offset: 0, size: 0, alignment: 16),
    ]
    for index in headers.indices { headers[index].index = index }
    return headers
  }
}
