// Reading mapped bytes without trusting them.
//
// `RawSpan` would be the natural type, but it cannot be stored in a class, and a loaded module keeps
// its tables for as long as it lives. So this is a pointer and a count, made at one place (the
// loader, which owns the mapping and outlives all readers), with every read bounds-checked in
// arithmetic that cannot overflow: offsets come from the file and may be anything.

/// Bytes that somebody else keeps alive, read with bounds checks, little-endian.
///
/// - Important: Whoever makes a region guarantees that its bytes stay mapped and readable for as
///   long as the region or anything made from it is used.
@safe
public struct ByteRegion: @unchecked Sendable {
  // Reads go only through `check`.
  @usableFromInline let base: UnsafeRawPointer
  /// Length in bytes.
  public let count: Int
  /// The section that errors name.
  public let section: SectionKind

  /// The address of the first byte, for handing to C or mapping; not to be kept past the owner.
  @unsafe public var baseAddress: UnsafeRawPointer { unsafe base }

  /// Wraps `count` bytes at `base`; errors name `section`.
  @unsafe
  public init(base: UnsafeRawPointer, count: Int, section: SectionKind = .engine) {
    unsafe self.base = base
    self.count = max(0, count)
    self.section = section
  }

  /// An empty region.
  public init(emptyIn section: SectionKind) {
    // Never read: the count is zero. Any non-null address does.
    unsafe self.base = UnsafeRawPointer(bitPattern: 8)!
    self.count = 0
    self.section = section
  }

  @inlinable
  func check(_ offset: Int, _ size: Int) throws(ArtifactError) {
    if offset < 0 || size < 0 || offset > count || size > count - offset { throw outOfBounds(offset, size) }
  }

  @inline(never)
  @usableFromInline
  func outOfBounds(_ offset: Int, _ size: Int) -> ArtifactError {
    .damaged(section, offset, "\(size) bytes needed here, past the end at \(count)")
  }

  /// An error at `offset` of this region.
  @inline(never)
  func damaged(_ offset: Int, _ message: String) -> ArtifactError { .damaged(section, offset, message) }

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
  func bigEndianWord(_ offset: Int) -> UInt64 {
    if offset >= 0 && count >= 8 && offset <= count - 8 {
      return unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self).byteSwapped
    }
    var word: UInt64 = 0
    for position in 0..<8 {
      let at = offset &+ position
      word = word << 8 | (at >= 0 && at < count ? UInt64(unsafe base.load(fromByteOffset: at, as: UInt8.self)) : 0)
    }
    return word
  }

  /// The part of `count` bytes at `offset`.
  public func slice(_ offset: Int, _ count: Int) throws(ArtifactError) -> ByteRegion {
    try check(offset, count)
    return unsafe ByteRegion(base: base + offset, count: count, section: section)
  }

  /// The part that file offsets from a directory name; `offset` and `count` may be anything.
  public func slice(offset: UInt64, count: UInt64, section: SectionKind) throws(ArtifactError) -> ByteRegion {
    guard let start = Int(exactly: offset), let size = Int(exactly: count), start <= self.count,
      size <= self.count - start
    else { throw .damaged(section, 0, "section of \(count) bytes at \(offset) lies outside the file") }
    return unsafe ByteRegion(base: base + start, count: size, section: section)
  }

  /// `count` bytes at `offset` as UTF-8; invalid sequences are replaced.
  public func string(_ offset: Int, _ count: Int) throws(ArtifactError) -> String {
    try check(offset, count)
    return unsafe String(decoding: UnsafeRawBufferPointer(start: base + offset, count: count), as: UTF8.self)
  }

  /// Calls `body` with the bytes, which are valid during the call.
  @unsafe
  public func withUnsafeBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
    try unsafe body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// The bytes, copied.
  public func copyBytes() -> [UInt8] { unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: count)) }
}
