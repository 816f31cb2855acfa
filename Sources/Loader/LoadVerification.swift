// Checking all of an artifact when it is loaded.
//
// Usually a page is checked when it is first read, and text and data image are not checked at all. A
// host that wants certainty before it runs anything asks for full verification: every checksum, every
// table, and the digest of the whole file, at the price of reading all of it.
//
// What is verified is what will run: the bytes of the mapping that stays, and the first page through
// the descriptor that was mapped, compared with what was decided upon before. Nothing is looked up
// by name again.

import Glibc
import PrecastArtifact
import PrecastVerification

extension LoadedArtifact {
  /// How much of an artifact is checked when it is loaded.
  public enum Verification: Sendable, Equatable {
    /// The first page; other pages when they are read.
    case none
    /// Everything, the digest in the build-id included; takes time in proportion to the file.
    case full
  }

  /// Verifies a mapped artifact: `mapping` is the file from its text on.
  @unsafe
  static func verify(
    _ file: borrowing FileDescriptor, header: ArtifactHeader, mapping: UnsafeRawBufferPointer, pages: PageGuard,
    path: String?
  ) throws(LoadError) {
    let number = file.number
    let size = Int(header.text.offset)
    // A page of the target.
    let head = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
    defer { unsafe head.deallocate() }
    var done = 0
    while done < size {
      // In bounds: `done` is less than the size.
      let count = unsafe pread(number, head.baseAddress! + done, size - done, off_t(done))
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw .system(count < 0 ? errno : EIO, "read the file's first page", path: path) }
      done += count
    }
    do throws(ArtifactError) {
      try unsafe ArtifactVerification.verify(header, head: UnsafeRawBufferPointer(head), body: mapping, pages: pages)
    } catch {
      throw LoadError(error, path: path)
    }
  }
}
