// Reading mapped bytes without trusting them.
//
// `RawSpan` would be the natural type, but it cannot be stored in a class, and a loaded module keeps
// its tables for as long as it lives. So this is a pointer and a count, made at one place (the
// loader, which owns the mapping and outlives all readers), with every read bounds-checked in
// arithmetic that cannot overflow: offsets come from the file and may be anything.
//
// The bytes themselves may be anything too. Those of a loaded artifact come with a guard: each page
// has a checksum, which is compared when the page is first read (`precast_checked_pages.c`). A read
// then costs a test of one bit more, and never returns a byte of a damaged page. Regions over plain
// bytes, as tools and tests have them, come without; who has all bytes can check all pages at once
// (`Artifact.checkPages`).

public import CPrecastHost

/// Bytes that somebody else keeps alive, read with bounds checks, little-endian.
///
/// - Important: Whoever makes a region guarantees that its bytes stay mapped and readable, and its
///   guard in place, for as long as the region or anything made from it is used.
@safe
public struct ByteRegion: @unchecked Sendable {
  // Reads go only through `check`.
  @usableFromInline let base: UnsafeRawPointer
  /// Length in bytes.
  public let count: Int
  // What checks the pages at their first read. It is shared by all readers and made for that.
  @usableFromInline let pages: UnsafeMutablePointer<precast_checked_pages>?
  // Offset of the first byte in the section, for errors.
  let start: Int
  /// The section that errors name.
  public let section: SectionKind

  /// The address of the first byte, for handing to C or mapping; not to be kept past the owner. What
  /// is read through it is not checked.
  @unsafe public var baseAddress: UnsafeRawPointer { unsafe base }

  /// Wraps `count` bytes at `base`, which are the start of `section`. With `pages`, which have to
  /// cover all of them, a page is read only when its checksum is right.
  @unsafe
  public init(
    base: UnsafeRawPointer, count: Int, section: SectionKind = .engine,
    pages: UnsafeMutablePointer<precast_checked_pages>? = nil
  ) {
    unsafe self.init(base: base, count: max(0, count), pages: pages, start: 0, section: section)
  }

  private init(
    base: UnsafeRawPointer, count: Int, pages: UnsafeMutablePointer<precast_checked_pages>?, start: Int,
    section: SectionKind
  ) {
    unsafe self.base = base
    self.count = count
    unsafe self.pages = pages
    self.start = start
    self.section = section
  }

  /// An empty region.
  public init(emptyIn section: SectionKind) {
    // Never read: the count is zero. Any non-null address does.
    unsafe self.init(base: UnsafeRawPointer(bitPattern: 8)!, count: 0, pages: nil, start: 0, section: section)
  }

  // Whether `size` bytes at `offset` are in the region.
  @inlinable
  func checkBounds(_ offset: Int, _ size: Int) throws(ArtifactError) {
    if offset < 0 || size < 0 || offset > count || size > count - offset { throw outOfBounds(offset, size) }
  }

  // Whether they are, and may be read.
  @inlinable
  func check(_ offset: Int, _ size: Int) throws(ArtifactError) {
    try checkBounds(offset, size)
    if let pages = unsafe pages, unsafe !precast_checked_pages_are_good(pages, base + offset, size) {
      try checkPages(offset, size)
    }
  }

  @inline(never)
  @usableFromInline
  func checkPages(_ offset: Int, _ size: Int) throws(ArtifactError) {
    guard let pages = unsafe pages else { return }
    let bad = unsafe precast_checked_pages_first_bad(pages, base + offset, size, true)
    if bad == UInt64.max { return }
    guard unsafe precast_checked_pages_table_is_sound(pages) else {
      throw .damaged(.checksums, 0, "this is no table of checksums for this file")
    }
    // Pages of the guard are counted from the end of the text.
    let page = unsafe pages.pointee.file_offset + bad
    throw damaged(offset, PageChecksums.message(fileOffset: page))
  }

  @inline(never)
  @usableFromInline
  func outOfBounds(_ offset: Int, _ size: Int) -> ArtifactError {
    damaged(offset, "\(size) bytes needed here, past the end at \(start + count)")
  }

  /// An error at `offset` of this region.
  @inline(never)
  func damaged(_ offset: Int, _ message: String) -> ArtifactError { .damaged(section, start &+ offset, message) }

  /// The byte at `offset`.
  @inlinable
  public func u8(_ offset: Int) throws(ArtifactError) -> UInt8 {
    try check(offset, 1)
    return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// The 16-bit value at `offset`, of any alignment.
  @inlinable
  public func u16(_ offset: Int) throws(ArtifactError) -> UInt16 {
    try check(offset, 2)
    return UInt16(littleEndian: unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  /// The 32-bit value at `offset`, of any alignment.
  @inlinable
  public func u32(_ offset: Int) throws(ArtifactError) -> UInt32 {
    try check(offset, 4)
    return UInt32(littleEndian: unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  /// The 64-bit value at `offset`, of any alignment.
  @inlinable
  public func u64(_ offset: Int) throws(ArtifactError) -> UInt64 {
    try check(offset, 8)
    return UInt64(littleEndian: unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// Eight bytes at `offset`, the first one highest, for reading bits in order; zeros past the end.
  func bigEndianWord(_ offset: Int) throws(ArtifactError) -> UInt64 {
    if offset >= 0 && count >= 8 && offset <= count - 8 {
      try check(offset, 8)
      return unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self).byteSwapped
    }
    var word: UInt64 = 0
    for position in 0..<8 {
      let at = offset &+ position
      word = word << 8 | (at >= 0 && at < count ? UInt64(try u8(at)) : 0)
    }
    return word
  }

  /// The part of `count` bytes at `offset`.
  public func slice(_ offset: Int, _ count: Int) throws(ArtifactError) -> ByteRegion {
    try checkBounds(offset, count)
    return unsafe ByteRegion(base: base + offset, count: count, pages: pages, start: start &+ offset, section: section)
  }

  /// The part that file offsets from a directory name; `offset` and `count` may be anything. The data
  /// image comes without a guard, since its pages have no checksums.
  public func slice(offset: UInt64, count: UInt64, section: SectionKind) throws(ArtifactError) -> ByteRegion {
    guard let start = Int(exactly: offset), let size = Int(exactly: count), start <= self.count,
      size <= self.count - start
    else { throw .damaged(section, 0, "section of \(count) bytes at \(offset) lies outside the file") }
    let pages = unsafe section == .dataImage ? nil : pages
    return unsafe ByteRegion(base: base + start, count: size, pages: pages, start: 0, section: section)
  }

  /// `count` bytes at `offset` as UTF-8; invalid sequences are replaced.
  public func string(_ offset: Int, _ count: Int) throws(ArtifactError) -> String {
    try check(offset, count)
    return unsafe String(decoding: UnsafeRawBufferPointer(start: base + offset, count: count), as: UTF8.self)
  }

  /// Calls `body` with the bytes, which are valid during the call; their pages are checked before.
  ///
  /// - Throws: `ArtifactError` for a damaged page.
  @unsafe
  public func withUnsafeBytes<R>(
    _ body: (UnsafeRawBufferPointer) throws(ArtifactError) -> R
  ) throws(ArtifactError) -> R {
    try check(0, count)
    return try unsafe body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// The bytes, copied; their pages are checked before.
  ///
  /// - Throws: `ArtifactError` for a damaged page.
  public func copyBytes() throws(ArtifactError) -> [UInt8] {
    try check(0, count)
    return unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: count))
  }
}
