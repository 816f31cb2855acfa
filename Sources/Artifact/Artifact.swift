// A finished artifact, as its reader sees it.
//
// Made of a header (the first page) and the bytes behind the text, which is what a loader maps
// read-only. Every accessor finds its section through the directory, checks that section's own
// header, and leaves the rest to be checked as it is read. An `Artifact` owns nothing: whoever
// made the regions keeps the bytes mapped.

import CPrecastHost

/// A reader over a finished artifact.
public struct Artifact: Sendable {
  /// What the first page says.
  public let header: ArtifactHeader
  // The bytes from `restOffset` on.
  private let rest: ByteRegion
  private let restOffset: UInt64

  /// A reader over a file of which the part behind the text, `header.rest`, is at `rest`.
  public init(header: ArtifactHeader, rest: ByteRegion) throws(ArtifactError) {
    guard UInt64(rest.count) >= header.rest.size else { throw rest.damaged(rest.count, "the mapping is too short") }
    self.header = header
    self.rest = rest
    restOffset = header.rest.offset
  }

  /// A reader over a whole file in memory.
  public init(_ file: ByteRegion) throws(ArtifactError) {
    header = try ArtifactHeader(file.slice(0, min(file.count, ArtifactHeader.size)), fileSize: UInt64(file.count))
    rest = file
    restOffset = 0
  }

  /// The bytes of a section; nil where it is absent or, like `.bss`, has no bytes in the file. Text and first page are there only in a reader
  /// over the whole file.
  public func section(_ kind: SectionKind) throws(ArtifactError) -> ByteRegion? {
    let extent = header.extent(of: kind)
    if extent.size == 0 || kind == .bss { return nil }
    guard extent.offset >= restOffset else { throw .damaged(kind, 0, "the section is not mapped here") }
    return try rest.slice(offset: extent.offset - restOffset, count: extent.size, section: kind)
  }

  /// Any part of the file behind the first page, for tools.
  func bytes(at offset: UInt64, count: UInt64, for kind: SectionKind) throws(ArtifactError) -> ByteRegion {
    guard offset >= restOffset else { throw .damaged(kind, 0, "not mapped here") }
    return try rest.slice(offset: offset - restOffset, count: count, section: kind)
  }

  /// Compares the checksums of all pages behind the text.
  ///
  /// - Throws: `ArtifactError` for the first page that differs, naming the section that it is in.
  public func checkPages() throws(ArtifactError) { try checkPages(from: 0, to: header.rest.size) }

  /// The same for the pages from `start` to `end`, counted in bytes from the end of the text.
  public func checkPages(from start: UInt64, to end: UInt64) throws(ArtifactError) {
    guard start <= end, end <= header.rest.size else { return }
    let covered = try bytes(at: header.rest.offset, count: header.rest.size, for: .checksums)
    // A reader over plain bytes gets a guard for this one time.
    let pages = unsafe covered.pages == nil ? PageGuard(header.engine, rest: covered.base) : nil
    defer { withExtendedLifetime(pages) {} }
    guard let pointer = unsafe covered.pages ?? pages?.pointer else { return }
    let bad = unsafe precast_checked_pages_first_bad(
      pointer, covered.base + Int(start), Int(end - start), true)
    if bad == UInt64.max { return }
    guard unsafe precast_checked_pages_table_is_sound(pointer) else {
      throw .damaged(.checksums, 0, "this is no table of checksums for this file")
    }
    let offset = header.rest.offset + bad
    let (section, place) = header.place(of: offset)
    throw ArtifactError(
      .damaged, section: section, offset: place, message: PageChecksums.message(fileOffset: offset))
  }

  private func required(_ kind: SectionKind) throws(ArtifactError) -> ByteRegion {
    guard let region = try section(kind) else { throw .damaged(kind, 0, "the section is missing") }
    return region
  }

  /// The module.
  public func moduleInfo() throws(ArtifactError) -> ModuleInfo { try ModuleInfo(required(.info)) }

  /// The trap sites.
  public func trapTable() throws(ArtifactError) -> TrapTable { try TrapTable(required(.traps)) }

  /// The address map, or nil where it was left out.
  public func addressMap() throws(ArtifactError) -> AddressMap? {
    guard let region = try section(.addressMap) else { return nil }
    return try AddressMap(region)
  }

  /// The names, or nil where there are none.
  public func names() throws(ArtifactError) -> NameTable? {
    guard let region = try section(.names) else { return nil }
    return try NameTable(region)
  }

  /// The bytes of a data segment, in `.rodata.wasm`.
  public func bytes(of segment: DataSegmentInfo) throws(ArtifactError) -> ByteRegion {
    if segment.bytes.isEmpty { return ByteRegion(emptyIn: .dataImage) }
    return try required(.dataImage).slice(
      offset: segment.bytes.lowerBound, count: segment.bytes.upperBound - segment.bytes.lowerBound, section: .dataImage)
  }

  /// Where an extent of a memory's image is in the file, for mapping it; checked to lie in the data image.
  public func fileOffset(of extent: ImageExtent) throws(ArtifactError) -> UInt64 {
    let image = header.extent(of: .dataImage)
    guard extent.imageOffset <= image.size, extent.size <= image.size - extent.imageOffset,
      extent.imageOffset % header.record.settings.pageSize == 0
    else { throw .damaged(.dataImage, 0, "an extent lies outside the data image") }
    return image.offset + extent.imageOffset
  }
}
