// A descriptor with one owner, and reading the first page through it.

import CPrecastHost
import Glibc
import PrecastArtifact

/// An open file that is closed when its owner goes.
struct FileDescriptor: ~Copyable {
  let number: Int32

  /// Takes ownership of an open descriptor.
  init(owning number: Int32) { self.number = number }

  deinit { close(number) }

  /// Gives the descriptor up without closing it.
  consuming func take() -> Int32 {
    let number = number
    discard self
    return number
  }

  /// Opens a file for reading.
  static func open(path: String) throws(LoadError) -> FileDescriptor {
    if path.utf8.contains(0) {
      throw .system(ENOENT, "open the file (its name contains a zero byte)", path: path)
    }
    return FileDescriptor(
      owning: try withRoom("open the file", path: path) { unsafe precast_open_for_reading(path) })
  }

  /// Another descriptor of a file that stays its owner's.
  static func duplicate(_ number: Int32) throws(LoadError) -> FileDescriptor {
    FileDescriptor(
      owning: try withRoom("duplicate the descriptor", path: nil) {
        let copy = fcntl(number, F_DUPFD_CLOEXEC, 0)
        return copy >= 0 ? copy : -errno
      })
  }

  /// All bytes of a regular file.
  borrowing func readAll(path: String) throws(LoadError) -> FreshMemory {
    var status = stat()
    guard unsafe fstat(number, &status) == 0 else { throw .system(errno, "read the file", path: path) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .system(ESPIPE, "read the file", path: path) }
    let memory = try FreshMemory(size: Int(status.st_size))
    guard let start = unsafe memory.bytes.baseAddress else { return memory }
    let result = unsafe precast_read_exactly(number, start, memory.bytes.count, 0)
    if result != 0 { throw .system(-result, "read the file", path: path) }
    return memory
  }

  /// A new file in memory.
  static func memory() throws(LoadError) -> FileDescriptor {
    FileDescriptor(
      owning: try withRoom("make a file in memory", path: nil) { unsafe precast_new_memfd("precast-artifact") })
  }

  /// Makes what a new file in memory holds final.
  borrowing func seal() throws(LoadError) {
    let result = precast_seal_memfd(number)
    if result != 0 { throw .system(-result, "seal the file in memory") }
  }

  /// Sealed memory with a copy of `bytes`.
  static func sealed(_ bytes: RawSpan) throws(LoadError) -> FileDescriptor {
    FileDescriptor(
      owning: try withRoom("put the artifact's \(bytes.byteCount) bytes into memory", path: nil) {
        unsafe bytes.withUnsafeBytes { unsafe precast_sealed_memfd("precast-artifact", $0.baseAddress, $0.count) }
      })
  }

  /// Runs `body`, which gives a descriptor or a negative errno; once more when the process had as
  /// many descriptors as its soft limit, which is raised.
  private static func withRoom(
    _ action: @autoclosure () -> String, path: String?, _ body: () -> Int32
  ) throws(LoadError) -> Int32 {
    let result = withRoom(body)
    if result < 0 { throw .system(-result, action(), path: path) }
    return result
  }

  /// The same, with the negative errno for the caller to look at.
  static func withRoom(_ body: () -> Int32) -> Int32 {
    let result = body()
    if result != -EMFILE { return result }
    // Another thread may have raised it since, so that it cannot be raised any more: that is room too.
    _ = precast_raise_descriptor_limit()
    return body()
  }

  /// The artifact's header, from one read.
  borrowing func readHeader(path: String?) throws(LoadError) -> ArtifactHeader {
    let number = number
    // On the stack: the header copies what it keeps.
    let result: Result<ArtifactHeader, LoadError> = unsafe withUnsafeTemporaryAllocation(
      byteCount: ArtifactHeader.size, alignment: 16
    ) { buffer in
      guard let start = buffer.baseAddress else { return .failure(.system(ENOMEM, "read the file", path: path)) }
      var fileSize: UInt64 = 0
      let count = unsafe precast_read_start(number, start, buffer.count, &fileSize)
      if count < 0 { return .failure(.system(Int32(-count), "read the file", path: path)) }
      do throws(ArtifactError) {
        return .success(
          try unsafe ArtifactHeader(ByteRegion(base: start, count: Int(count)), fileSize: fileSize))
      } catch {
        return .failure(LoadError(error, path: path))
      }
    }
    return try result.get()
  }
}
