// `.wasmtime.checksums`: a CRC-32C for each page of metadata.
//
// Damage should be found where it is, when somebody would use it, at a cost that does not grow with
// the file. So the unit is a page, and a page is checked when it is first read; how, and how that is
// remembered, stands in `precast_checked_pages.c`, which reads this section from Swift and from the
// signal handler. The writer fills the table in by the same C function that checks it.
//
// Text and data image have no sums: the processor and the guest read them past us, and whoever wants
// to be sure of them asks for full verification (the digest in the build-id). The first page has its
// own, in `.wasmtime.engine`, because it is read before anything is mapped. Everything else is
// covered: tables, unwind tables, symbols, section headers, and the gaps between; but for writable data
// (WritableData.swift).
//
//      0  magic "CRCS"
//      4  page size in bytes, 4096 on all targets
//      8  pages from the end of the text to the data image, or to the end (below) without one
//     12  pages from the end of the data image to the end: of the file, or of what is only read
//     16  their checksums (UInt32 each), in the order of the file
//
// The bytes of this section count as zeros in the sums of the pages it stands on; a flipped bit in a
// sum shows as a page that differs.

public import CPrecastHost
public import PrecastMachineCode

/// Which pages of a file have checksums, and the section that holds them.
public struct PageChecksums: Sendable {
  /// Bytes that a checksum covers; the last page of the file may be shorter.
  public static let pageSize = UInt64(PRECAST_CHECKED_PAGE)
  static let magic: UInt32 = 0x5343_5243
  static let headerSize = 16

  /// File offsets of the pages before the data image: from the end of the text. To the end of what is only read
  /// where there is no image.
  public let beforeImage: Range<UInt64>
  /// File offsets of the pages behind the data image.
  public let behindImage: Range<UInt64>

  /// The pages of a file with such a directory, whose extents lie in the file and whose data image, if
  /// there is one, lies behind the text.
  public init(_ engine: EngineSection) {
    let text = engine[.text]
    let image = engine[.dataImage]
    let end = max(engine.readOnlyEnd, text.end)
    if image.size > 0 {
      beforeImage = text.end..<max(text.end, image.offset)
      behindImage = min(image.end, end)..<end
    } else {
      beforeImage = text.end..<end
      behindImage = end..<end
    }
  }

  private static func pages(_ range: Range<UInt64>) -> UInt64 {
    (range.upperBound - range.lowerBound + pageSize - 1) / pageSize
  }

  /// Number of pages with a checksum.
  public var count: UInt64 { Self.pages(beforeImage) + Self.pages(behindImage) }

  /// Size of the section in bytes.
  public var encodedSize: UInt64 { UInt64(Self.headerSize) + count * 4 }

  /// The section with all sums zero, to be filled in when the file is complete.
  public func encoded() -> CodeBuffer {
    var buffer = CodeBuffer(capacity: Int(encodedSize))
    buffer.put32(Self.magic)
    buffer.put32(UInt32(Self.pageSize))
    buffer.put32(UInt32(truncatingIfNeeded: Self.pages(beforeImage)))
    buffer.put32(UInt32(truncatingIfNeeded: Self.pages(behindImage)))
    buffer.put(repeating: 0, count: Int(count * 4))
    return buffer
  }

  /// What is said of a page whose sum differs.
  static func message(fileOffset: UInt64) -> String { "the checksum of the page at file offset \(fileOffset) differs" }

  /// Fills the section in, in a complete file of which only the first page may still change.
  ///
  /// - Parameters:
  ///   - file: the bytes of the file.
  ///   - engine: its directory; what does not lie in the file is left alone.
  @unsafe
  public static func fill(_ file: UnsafeMutableRawBufferPointer, _ engine: EngineSection) {
    let table = engine[.checksums]
    let text = engine[.text].end
    let layout = PageChecksums(engine)
    guard let base = file.baseAddress, UInt64(file.count) == engine.fileSize, text <= engine.fileSize,
      table.offset >= text, table.end <= engine.fileSize, table.size == layout.encodedSize
    else { return }
    let pages = unsafe PageGuard(engine, rest: base + Int(text))
    var place = Int(table.offset) + headerSize
    for range in [layout.beforeImage, layout.behindImage] {
      for page in stride(from: range.lowerBound, to: range.upperBound, by: Int(pageSize)) {
        let sum = unsafe precast_checked_pages_compute(pages.pointer, page - text)
        unsafe base.storeBytes(of: sum.littleEndian, toByteOffset: place, as: UInt32.self)
        place += 4
      }
    }
  }
}

/// Remembers which pages of a file in memory have been found good.
///
/// Shared by all readers of the file, on any thread and in signal handlers.
@safe
public final class PageGuard: Sendable {
  /// For C and for `ByteRegion`, as long as this object lives. What it points to is made for use from
  /// several threads at once.
  @unsafe public nonisolated(unsafe) let pointer: UnsafeMutablePointer<precast_checked_pages>

  /// A guard for a file with such a directory, whose bytes behind the text are at `rest` and stay there
  /// as long as this object. Reads nothing.
  @unsafe
  public init(_ engine: EngineSection, rest: UnsafeRawPointer) {
    let start = engine[.text].end
    let image = engine[.dataImage]
    let table = engine[.checksums]
    unsafe pointer = .allocate(capacity: 1)
    unsafe precast_checked_pages_init(
      pointer, rest, engine.fileSize &- start, start, image.size == 0 ? 0 : image.offset &- start,
      image.size == 0 ? 0 : image.end &- start, engine.readOnlyEnd &- start, table.offset &- start,
      table.size)
  }

  deinit {
    unsafe precast_checked_pages_destroy(pointer)
    unsafe pointer.deallocate()
  }
}
