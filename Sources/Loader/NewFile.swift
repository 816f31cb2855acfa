// A file that appears whole or not at all.
//
// It has no name while it is written, in the directory where it will be (the only place from which a rename is sure to
// be atomic), so that nothing is left of it if the process ends. Then it gets a temporary name, because only a rename
// replaces a file, and is renamed. Where the file system has no files without names, it has the temporary one
// from the start.

import CPrecastHost
import Glibc
import Synchronization

/// A file on its way to its place.
final class NewFile {
  let descriptor: Int32
  /// As the caller named it, for errors.
  private let path: String
  /// Where it will be.
  private let target: String
  /// Its name for now; empty where it has none.
  private var temporary: String

  // Names differ within a process by this, between processes by the process's number.
  private static let counter = Atomic<UInt64>(0)

  /// Makes an empty file that is to be at `path`.
  init(for path: String) throws(LoadError) {
    if path.utf8.contains(0) {
      throw .system(ENOENT, "create the file (its name contains a zero byte)", path: path)
    }
    var status = stat()
    let exists = unsafe stat(path, &status) == 0
    if exists && status.st_mode & S_IFMT != S_IFREG {
      throw .system(EEXIST, "create the file: something that is no regular file has that name", path: path)
    }
    var target = path
    if exists, let resolved = unsafe realpath(path, nil) {
      target = unsafe String(cString: resolved)
      unsafe free(resolved)
    }
    let directory = Self.directory(of: target)
    var temporary = ""
    var descriptor = FileDescriptor.withRoom { unsafe precast_open_unnamed(directory) }
    // Refused for reasons of the directory or the process: no other way would help.
    if descriptor < 0 && ![-ENOENT, -EACCES, -EROFS, -ENOSPC, -EMFILE, -ENFILE, -ENOTDIR].contains(descriptor) {
      for _ in 0..<1000 {
        temporary = Self.temporaryName(in: directory)
        descriptor = unsafe open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        if descriptor >= 0 { break }
        descriptor = -errno
        if descriptor != -EEXIST && descriptor != -EINTR { break }
      }
    }
    guard descriptor >= 0 else { throw .system(-descriptor, "create the file", path: path) }
    if exists { _ = fchmod(descriptor, status.st_mode & 0o777) }
    self.descriptor = descriptor
    self.path = path
    self.target = target
    self.temporary = temporary
  }

  deinit {
    close(descriptor)
    if !temporary.isEmpty { unsafe _ = unlink(temporary) }
  }

  /// The file's first 4096 bytes, or as many as it has.
  func firstPage() throws(LoadError) -> [UInt8] {
    var page = [UInt8](repeating: 0, count: 4096)
    let count = unsafe pread(descriptor, &page, page.count, 0)
    if count < 0 { throw .system(errno, "read the new file", path: path) }
    page.removeLast(page.count - count)
    return page
  }

  /// Puts the file, which is complete, in its place.
  func publish(durable: Bool) throws(LoadError) {
    if durable && fsync(descriptor) != 0 { throw .system(errno, "write the file to disk", path: path) }
    if temporary.isEmpty {
      var result = -EEXIST
      for _ in 0..<1000 where result == -EEXIST || result == -EINTR {
        let name = Self.temporaryName(in: Self.directory(of: target))
        result = unsafe precast_name_unnamed(descriptor, name)
        if result == 0 { temporary = name }
      }
      guard result == 0 else { throw .system(-result, "name the file", path: path) }
    }
    guard unsafe rename(temporary, target) == 0 else { throw .system(errno, "put the file in its place", path: path) }
    temporary = ""
    guard durable else { return }
    // The name is on disk when the directory is. A file system that cannot do that has its own ways.
    let directory = unsafe open(Self.directory(of: target), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if directory >= 0 {
      fsync(directory)
      close(directory)
    }
  }

  private static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: 0x2F) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  // A name of its own, not the final one with something added: that could be too long.
  private static func temporaryName(in directory: String) -> String {
    "\(directory)/.precast-\(getpid())-\(counter.wrappingAdd(1, ordering: .relaxed).newValue).tmp"
  }
}
