// All bytes of a file, of which the first ones may be somewhere else.
//
// A loaded artifact is mapped from its text on; its first page was read into a buffer. What is to be
// verified is what will be used, so these two are one file here, and nothing is read by name again.

/// The bytes of a file in two parts, either of which may be empty; whoever made it keeps them in place.
@safe
struct FileContents: @unchecked Sendable {
  private let head: UnsafeRawBufferPointer
  private let body: UnsafeRawBufferPointer

  @unsafe
  init(head: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer) {
    unsafe self.head = head
    unsafe self.body = body
  }

  /// Length in bytes.
  var count: Int { unsafe head.count + body.count }

  /// Calls `use` with the bytes of `range`, which lies in the file, in one or two parts.
  @unsafe
  func withParts(_ range: Range<Int>, _ use: (UnsafeRawBufferPointer) -> Void) {
    // Ranges are cut to the parts.
    let seam = unsafe head.count
    if range.lowerBound < seam {
      unsafe use(UnsafeRawBufferPointer(rebasing: head[range.lowerBound..<min(range.upperBound, seam)]))
    }
    if range.upperBound > seam {
      unsafe use(
        UnsafeRawBufferPointer(rebasing: body[max(range.lowerBound, seam) - seam..<range.upperBound - seam]))
    }
  }
}
