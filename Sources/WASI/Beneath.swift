// File system operations that cannot leave a directory.
//
// Everything a guest does by path comes through here, and the rule is short enough to check:
//
//   1. A whole path reaches the kernel only through `openat2` with `RESOLVE_BENEATH`
//      (`precast_openat2`).
//   2. The other system calls know no such flag. They get a *parent directory* that was opened that
//      way and *one component*: no slash in it, not "." and not "..", and always without following a
//      link in it. One name in one directory cannot lead anywhere else.
//
// The second rule is why trailing slashes are taken off first: `fstatat(dir, "link/",
// AT_SYMLINK_NOFOLLOW)` follows the link. What a trailing slash means (the name must be a directory)
// is then asked for separately. Where a link has to be followed, the target is opened with `O_PATH` by
// rule 1, and the operation is applied to the descriptor.
//
// There is no text processing that safety depends on, and no window between a check and a use: the
// descriptor that was resolved is the one that is used. Renaming directories at the same time moves
// the parent about, but only to where the guest could have put it anyway.
//
// Errors are those of Linux, with one exception: a path that leaves the directory is `perm` (the
// kernel says EXDEV, which for a rename means something else).

internal import CPrecastHost
internal import Glibc

/// A host descriptor that is closed at the end of its scope.
struct HostDescriptor: ~Copyable {
  let number: Int32
  init(_ number: Int32) { self.number = number }
  deinit { close(number) }

  /// Gives the descriptor away, open.
  consuming func release() -> Int32 {
    let number = number
    discard self
    return number
  }
}

/// One name in one directory: the only thing the `*at` calls get to see.
@safe struct Entry: ~Copyable {
  private let parent: Int32
  private let ownsParent: Bool
  private let path: PathBuffer
  private let offset: Int

  fileprivate init(parent: Int32, ownsParent: Bool, path: PathBuffer, offset: Int) {
    self.parent = parent
    self.ownsParent = ownsParent
    self.path = path
    self.offset = offset
  }

  deinit { if ownsParent { close(parent) } }

  var directory: Int32 { parent }
  /// The name; valid while the path buffer is not loaded again.
  @unsafe var name: UnsafePointer<CChar> { unsafe path.cString + offset }

  /// The entry itself, not what it may link to.
  func status() throws(WASIErrno) -> stat {
    var result = stat()
    if unsafe fstatat(directory, name, &result, AT_SYMLINK_NOFOLLOW) != 0 { throw .last }
    return result
  }

  /// Fails with `notdir` unless the entry is itself a directory.
  func requireDirectory() throws(WASIErrno) {
    if try status().st_mode & S_IFMT != S_IFDIR { throw .notdir }
  }
}

/// Operations by path, relative to the directory `root` and confined to it. All of them may change
/// the path buffers that they are given.
enum Beneath {
  /// Opens a path; `flags` as for `openat2(2)`, the mode is 0666 before the umask.
  static func open(_ root: Int32, _ path: PathBuffer, flags: UInt64) throws(WASIErrno) -> HostDescriptor {
    let result = unsafe precast_openat2(root, path.cString, flags, 0o666)
    if result >= 0 { return HostDescriptor(result) }
    throw result == -EXDEV ? .perm : WASIErrno(host: -result)
  }

  /// Opens what a path names without needing any permission on it: to look at it, not into it.
  private static func locate(
    _ root: Int32, _ path: PathBuffer, follow: Bool, directory: Bool = false
  ) throws(WASIErrno) -> HostDescriptor {
    let flags = precast_o_path | (follow ? 0 : UInt64(O_NOFOLLOW)) | (directory ? UInt64(O_DIRECTORY) : 0)
    return try open(root, path, flags: flags)
  }

  /// Resolves all but the last component. `dots` is the error of the operation for a last component
  /// that is "." or "..".
  private static func entry(_ root: Int32, _ path: PathBuffer, dots: WASIErrno) throws(WASIErrno) -> Entry {
    if path.isAbsolute { throw .perm }
    if path.endsInDots {
      // That the path leaves the directory, or does not exist, comes first.
      _ = try locate(root, path, follow: true)
      throw dots
    }
    if path.isSingleComponent { return Entry(parent: root, ownsParent: false, path: path, offset: 0) }
    let offset = path.splitLastComponent()
    if offset == 0 { return Entry(parent: root, ownsParent: false, path: path, offset: 0) }
    let parent = try locate(root, path, follow: true, directory: true)
    return Entry(parent: parent.release(), ownsParent: true, path: path, offset: offset)
  }

  private static func check(_ result: Int32) throws(WASIErrno) {
    if result != 0 { throw .last }
  }

  /// `fstatat(2)`.
  static func status(_ root: Int32, _ path: PathBuffer, follow: Bool) throws(WASIErrno) -> stat {
    if path.isSingleComponent && !path.endsInDots {
      let status = try entry(root, path, dots: .inval).status()
      if !follow || status.st_mode & S_IFMT != S_IFLNK { return status }
    }
    let target = try locate(root, path, follow: follow)
    var result = stat()
    try unsafe check(fstat(target.number, &result))
    return result
  }

  /// `utimensat(2)`; times in nanoseconds, or `PRECAST_TIME_OMIT`, `PRECAST_TIME_NOW`.
  static func setTimes(
    _ root: Int32, _ path: PathBuffer, follow: Bool, access: UInt64, modification: UInt64
  ) throws(WASIErrno) {
    if follow || path.hasTrailingSlash || path.endsInDots {
      let target = try locate(root, path, follow: true)
      _ = try checked(precast_set_times(target.number, nil, access, modification))
    } else {
      let entry = try entry(root, path, dots: .inval)
      _ = try unsafe checked(precast_set_times(entry.directory, entry.name, access, modification))
    }
  }

  /// `mkdirat(2)` with mode 0777 before the umask.
  static func createDirectory(_ root: Int32, _ path: PathBuffer) throws(WASIErrno) {
    let entry = try entry(root, path, dots: .exist)
    try unsafe check(mkdirat(entry.directory, entry.name, 0o777))
  }

  /// `unlinkat(2)` with `AT_REMOVEDIR`.
  static func removeDirectory(_ root: Int32, _ path: PathBuffer) throws(WASIErrno) {
    let entry = try entry(root, path, dots: .inval)
    try unsafe check(unlinkat(entry.directory, entry.name, AT_REMOVEDIR))
  }

  /// `unlinkat(2)`. A directory is `isdir`.
  static func unlink(_ root: Int32, _ path: PathBuffer) throws(WASIErrno) {
    let mustBeDirectory = path.hasTrailingSlash
    let entry = try entry(root, path, dots: .isdir)
    if mustBeDirectory {
      try entry.requireDirectory()
      throw .isdir
    }
    try unsafe check(unlinkat(entry.directory, entry.name, 0))
  }

  /// `readlinkat(2)` into a buffer; returns the number of bytes, which may be all of the buffer.
  static func readLink(
    _ root: Int32, _ path: PathBuffer, into buffer: UnsafeMutableRawBufferPointer
  ) throws(WASIErrno) -> Int {
    if path.hasTrailingSlash {
      _ = try locate(root, path, follow: true)
      throw .inval
    }
    let entry = try entry(root, path, dots: .inval)
    // The kernel refuses an empty buffer; it still has to be a link.
    guard let start = buffer.baseAddress, buffer.count > 0 else {
      if try entry.status().st_mode & S_IFMT != S_IFLNK { throw .inval }
      return 0
    }
    let count = unsafe readlinkat(entry.directory, entry.name, start.assumingMemoryBound(to: CChar.self), buffer.count)
    if count < 0 { throw .last }
    return count
  }

  /// `symlinkat(2)`. An absolute target is refused (`perm`): no guest could follow such a link, but
  /// a program outside that walks the directory later might.
  static func symbolicLink(to target: PathBuffer, _ root: Int32, _ path: PathBuffer) throws(WASIErrno) {
    if target.isAbsolute { throw .perm }
    let mustBeDirectory = path.hasTrailingSlash
    let entry = try entry(root, path, dots: .exist)
    if mustBeDirectory { throw absentUnlessExisting(entry) }
    try unsafe check(symlinkat(target.cString, entry.directory, entry.name))
  }

  /// `renameat(2)`, within one directory tree or from one to another.
  static func rename(
    _ oldRoot: Int32, _ oldPath: PathBuffer, to newRoot: Int32, _ newPath: PathBuffer
  ) throws(WASIErrno) {
    let mustBeDirectory = oldPath.hasTrailingSlash || newPath.hasTrailingSlash
    let old = try entry(oldRoot, oldPath, dots: .busy)
    let new = try entry(newRoot, newPath, dots: .busy)
    if mustBeDirectory { try old.requireDirectory() }
    try unsafe check(renameat(old.directory, old.name, new.directory, new.name))
  }

  /// `linkat(2)`: a further name for a file. With `follow`, for what a symbolic link leads to.
  static func hardLink(
    _ oldRoot: Int32, _ oldPath: PathBuffer, follow: Bool, to newRoot: Int32, _ newPath: PathBuffer
  ) throws(WASIErrno) {
    let newMustBeDirectory = newPath.hasTrailingSlash
    if follow || oldPath.hasTrailingSlash || oldPath.endsInDots {
      let isDirectory = oldPath.hasTrailingSlash || oldPath.endsInDots
      let old = try locate(oldRoot, oldPath, follow: true, directory: isDirectory)
      let new = try entry(newRoot, newPath, dots: .exist)
      if newMustBeDirectory { throw absentUnlessExisting(new) }
      _ = try unsafe checked(precast_link_descriptor(old.number, new.directory, new.name))
      return
    }
    let old = try entry(oldRoot, oldPath, dots: .perm)
    let new = try entry(newRoot, newPath, dots: .exist)
    if newMustBeDirectory { throw absentUnlessExisting(new) }
    try unsafe check(linkat(old.directory, old.name, new.directory, new.name, 0))
  }

  /// What creating something that is no directory under a name with a trailing slash fails with.
  private static func absentUnlessExisting(_ entry: borrowing Entry) -> WASIErrno {
    do throws(WASIErrno) {
      _ = try entry.status()
      return .exist
    } catch {
      return error
    }
  }
}
