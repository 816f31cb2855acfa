// When the file under a loaded artifact changes.
//
// Somebody may shorten the file, or the disk may fail to read it. The signal handler keeps the process alive: it
// puts zero pages where pages are lost (`precast_lost_page.c`), and marks the artifact. What is read from then on may be
// those zeros, so every answer that comes from the artifact's tables is believed only if the artifact is
// still unmarked *after* they were read. The mark never goes; a reader on another thread may see it a moment before it
// reads a lost page itself, never after.

import CPrecastHost
import Glibc
public import PrecastArtifact

extension LoadedArtifact {
  /// Whether part of the artifact's file was found lost while it was loaded. Code that does not need what was lost
  /// still runs; nothing new should be made from the artifact.
  public var isDamaged: Bool { unsafe precast_code_is_damaged(code) }

  /// Throws when part of the artifact's file was found lost while it was loaded: then what was read from it before
  /// this call is not to be believed.
  @inlinable
  public func checkIntact() throws(ArtifactError) {
    if isDamaged { throw damage() }
  }

  /// Runs `body`, which reads the artifact's tables, and throws when these turned out to be lost.
  func believing<R>(_ body: () throws(ArtifactError) -> R) throws(ArtifactError) -> R {
    do throws(ArtifactError) {
      let result = try body()
      try checkIntact()
      return result
    } catch {
      // The cause, rather than what zeros look like.
      try checkIntact()
      throw error
    }
  }

  /// What happened to the file, as far as it can be seen.
  @usableFromInline @inline(never)
  func damage() -> ArtifactError {
    var status = stat()
    let size = unsafe fstat(fileDescriptor, &status) == 0 ? UInt64(max(0, status.st_size)) : header.fileSize
    let what =
      size < header.fileSize
      ? "it is \(size) bytes long now, and was \(header.fileSize)" : "part of it cannot be read any more"
    return ArtifactError(
      .damaged, section: "file", offset: min(size, header.fileSize),
      message: "\(currentPath ?? "the file") was changed while it was loaded: \(what)")
  }

  /// The same, as the error of operations that fail for other reasons as well.
  func lostFile() -> LoadError { LoadError(damage(), path: nil) }

  /// Where the file is now; nil when it cannot be found out. A file that has been deleted is called so.
  package var currentPath: String? {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { buffer in
      guard let start = buffer.baseAddress else { return nil }
      let count = unsafe readlink("/proc/self/fd/\(fileDescriptor)", start, buffer.count)
      guard count > 0 else { return nil }
      return unsafe String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
    }
  }
}
