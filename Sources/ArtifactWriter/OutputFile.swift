// Files that appear whole or not at all.
//
// The artifact is written to a file without a name in the directory of its final place (the only
// place from which a rename is sure to be atomic). When it is complete it gets a temporary name, and
// is renamed. Until then nothing is left of it whatever ends the process. Where the file system has no
// files without names, the temporary name is there from the start. An artifact that nobody wants on
// disk goes to a `memfd` by the same code.

import CPrecastHost
import Glibc
import Synchronization

/// An open file that an artifact is written to.
struct OutputFile: ~Copyable {
  let descriptor: Int32
  let path: String

  private init(descriptor: Int32, path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  // Names of temporary files differ within a process by this, between processes by the process's number.
  private static let counter = Atomic<UInt64>(0)

  static func failure(_ operation: String, _ path: String, errno code: Int32 = errno) -> ArtifactWriterError {
    ArtifactWriterError(operation: operation, path: path, message: unsafe String(cString: strerror(code)))
  }

  /// A new file without a name.
  static func memory() throws(ArtifactWriterError) -> OutputFile {
    let descriptor = unsafe precast_new_memfd("precast-artifact")
    guard descriptor >= 0 else { throw failure("memfd_create", "", errno: -descriptor) }
    return OutputFile(descriptor: descriptor, path: "")
  }

  /// Makes the contents of a `memory()` file final.
  func seal() throws(ArtifactWriterError) {
    let result = precast_seal_memfd(descriptor)
    guard result == 0 else { throw Self.failure("seal", path, errno: -result) }
  }

  /// A descriptor of the file that the caller closes.
  func duplicate() throws(ArtifactWriterError) -> Int32 {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { throw Self.failure("duplicate", path) }
    return copy
  }

  /// Calls `body` with the file's first `size` bytes, mapped for reading.
  borrowing func withMapping<R>(
    size: Int, _ body: (UnsafeRawBufferPointer) throws(ArtifactWriterError) -> R
  ) throws(ArtifactWriterError) -> R {
    guard let base = unsafe mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0), unsafe base != MAP_FAILED else {
      throw Self.failure("map", path)
    }
    defer { unsafe _ = munmap(base, size) }
    return try unsafe body(UnsafeRawBufferPointer(start: base, count: size))
  }

  /// Calls `body` with the file's first `size` bytes, mapped for reading and writing.
  borrowing func withMutableMapping(
    size: Int, _ body: (UnsafeMutableRawBufferPointer) throws(ArtifactWriterError) -> Void
  ) throws(ArtifactWriterError) {
    guard let base = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
      unsafe base != MAP_FAILED
    else { throw Self.failure("map", path) }
    defer { unsafe _ = munmap(base, size) }
    try unsafe body(UnsafeMutableRawBufferPointer(start: base, count: size))
  }

  /// Makes the file `size` bytes long, with room for all of them: what is written through a mapping to a disk that is full
  /// is a bus error, not an error that could be reported.
  borrowing func reserve(_ size: Int) throws(ArtifactWriterError) {
    var problem = EINTR
    while problem == EINTR { problem = posix_fallocate(descriptor, 0, off_t(size)) }
    // A file system that cannot reserve is one that can only be trusted.
    if problem != 0 && problem != EOPNOTSUPP && problem != EINVAL { throw Self.failure("write", path, errno: problem) }
  }

  /// Calls `body` with a new file, and puts that file at `path` when `body` is done.
  static func write(
    path: String, durable: Bool, _ body: (borrowing OutputFile) throws(ArtifactWriterError) -> Void
  ) throws(ArtifactWriterError) {
    var status = stat()
    let exists = unsafe stat(path, &status) == 0
    if exists && status.st_mode & S_IFMT != S_IFREG {
      return try writeThrough(path: path, body)
    }
    // A link keeps its place; what it points to is replaced.
    var target = path
    if exists, let resolved = unsafe realpath(path, nil) {
      target = unsafe String(cString: resolved)
      unsafe free(resolved)
    }
    let file = try temporary(beside: target)
    // Its name now, or once it has one.
    var name = file.path
    do throws(ArtifactWriterError) {
      if exists { _ = fchmod(file.descriptor, status.st_mode & 0o777) }
      try body(file)
      if durable && fsync(file.descriptor) != 0 { throw failure("write", target) }
      if name.isEmpty { name = try giveName(to: file, beside: target) }
      guard unsafe rename(name, target) == 0 else { throw failure("rename to", target) }
    } catch {
      if !name.isEmpty { unsafe _ = unlink(name) }
      throw ArtifactWriterError(
        operation: error.operation, path: error.path.isEmpty ? path : error.path, message: error.message)
    }
    if durable { syncDirectory(of: target) }
  }

  private static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: 0x2F) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  // The rename itself is only on disk when its directory is; a file system that cannot do it has its
  // own ways, so failure is no error.
  private static func syncDirectory(of path: String) {
    let descriptor = unsafe open(directory(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor >= 0 {
      fsync(descriptor)
      close(descriptor)
    }
  }

  // A name of its own, not the final one with something added: that could be too long.
  private static func temporaryName(beside path: String) -> String {
    let number = counter.wrappingAdd(1, ordering: .relaxed).newValue
    return "\(directory(of: path))/.precast-\(getpid())-\(number).tmp"
  }

  private static func temporary(beside path: String) throws(ArtifactWriterError) -> OutputFile {
    let unnamed = unsafe precast_open_unnamed(directory(of: path))
    if unnamed >= 0 { return OutputFile(descriptor: unnamed, path: "") }
    for _ in 0..<1000 {
      let name = temporaryName(beside: path)
      let descriptor = unsafe open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      if descriptor >= 0 { return OutputFile(descriptor: descriptor, path: name) }
      if errno != EEXIST && errno != EINTR { throw failure("create", path) }
    }
    throw failure("create", path, errno: EEXIST)
  }

  private static func giveName(
    to file: borrowing OutputFile, beside path: String
  ) throws(ArtifactWriterError) -> String {
    for _ in 0..<1000 {
      let name = temporaryName(beside: path)
      let result = unsafe precast_name_unnamed(file.descriptor, name)
      if result == 0 { return name }
      if result != -EEXIST && result != -EINTR { throw failure("create", path, errno: -result) }
    }
    throw failure("create", path, errno: EEXIST)
  }

  // For pipes and devices, which cannot be replaced or mapped.
  private static func writeThrough(
    path: String, _ body: (borrowing OutputFile) throws(ArtifactWriterError) -> Void
  ) throws(ArtifactWriterError) {
    let file = try memory()
    try body(file)
    let size = lseek(file.descriptor, 0, SEEK_END)
    guard size > 0 else { throw failure("write", path) }
    let output = unsafe open(path, O_WRONLY | O_CLOEXEC)
    guard output >= 0 else { throw failure("open", path) }
    defer { close(output) }
    try unsafe file.withMapping(size: Int(size)) { (bytes) throws(ArtifactWriterError) in
      var done = 0
      while done < Int(size) {
        // In bounds: `done` is less than the size.
        let count = unsafe Glibc.write(output, bytes.baseAddress! + done, Int(size) - done)
        if count > 0 {
          done += count
        } else if errno != EINTR {
          throw failure("write", path)
        }
      }
    }
  }
}
