// An entry on disk, and how one knows that nobody has touched it.
//
//     <key>.cwasm   the artifact itself, mapped where it lies
//     <key>.zst     the same, compressed, for entries that have not been asked for in a while
//     <key>.use     one byte for each use (so its size is the usage count), and the time of the last one as its own
//
// An entry is checked when it is served, but not read: 60 MB of code would take longer to hash than a hit may take by three
// orders of magnitude. What the loader looks at is covered by checksums (the first page at load, each page of the
// tables when it is read); the code itself is not. So that a file that was truncated, patched or overwritten since is
// noticed without reading it, each entry is *sealed*: its time of last modification is set to a date that follows from its
// key and lies before 2004. Whatever writes to a file through the file system sets that time to the present, which can
// never be one of those dates again; unlike with real times there is no grain of the clock in which a change could hide.
// And a file that was moved to another entry's name has the wrong date there. An entry without its seal is removed, and
// made again. (What this cannot see is a disk that returns other bytes than were written, and whoever sets the date back on
// purpose. `verification: .full`, and `precast cache verify`, read everything.)
//
// A prebuilt cache may have been copied by something that does not keep times, and cannot be repaired where it is: in
// read-only mode an entry without a seal is good if all of it verifies.

import Glibc

/// The names of an entry's files.
enum EntryName {
  static let artifact = ".cwasm"
  static let compressed = ".zst"
  static let use = ".use"

  /// The key and the ending of a file's name, where it is one of an entry's.
  static func split(_ name: String) -> (key: CacheKey, suffix: String)? {
    guard let dot = name.lastIndex(of: "."), let key = CacheKey(name[..<dot]) else { return nil }
    let suffix = String(name[dot...])
    return [artifact, compressed, use].contains(suffix) ? (key, suffix) : nil
  }
}

/// What opening a file of the cache found.
enum OpenedFile: Sendable {
  /// It is there, and as it should be. The descriptor is the caller's.
  case sound(Int32, stat)
  /// It is there and was changed since it was written (or never completed).
  case unsealed(Int32, stat)
  /// There is none.
  case absent
  /// It is something that must not be used: a link, a pipe, somebody else's. Why, in words.
  case untrusted(String)
  /// It could not be looked at; an errno. It may be fine.
  case unreadable(Int32)
}

extension CacheDirectory {
  /// Opens a file for reading, and checks on the open descriptor that it may be used: a regular file, the user's own, that
  /// nobody else may write to.
  func openFile(_ name: String, in directory: OwnedDescriptor, seal: Int?) -> OpenedFile {
    let descriptor = calls.open(directory.number, name)
    if descriptor == -ENOENT { return .absent }
    if descriptor == -ELOOP { return .untrusted("is a link") }
    if descriptor == -EACCES || descriptor == -ENXIO { return .untrusted("cannot be opened") }
    if descriptor < 0 { return .unreadable(-descriptor) }
    var status = stat()
    let result = calls.status(descriptor, &status)
    guard result == 0 else {
      calls.close(descriptor)
      return .unreadable(-result)
    }
    guard status.st_mode & S_IFMT == S_IFREG, Self.isTrusted(status, isReadOnly: isReadOnly) else {
      calls.close(descriptor)
      return .untrusted(
        status.st_mode & S_IFMT != S_IFREG
          ? "is no regular file"
          : status.st_mode & 0o022 != 0 ? "can be written to by others" : "belongs to user \(status.st_uid)")
    }
    guard let seal else { return .sound(descriptor, status) }
    let isSealed = status.st_mtim.tv_sec == seal && status.st_mtim.tv_nsec == 0
    return isSealed ? .sound(descriptor, status) : .unsealed(descriptor, status)
  }

  /// Whether an open file is what a name in the directory stands for.
  func isCurrent(_ status: stat, _ name: String, in directory: OwnedDescriptor) -> Bool {
    var current = stat()
    return calls.status(directory.number, name, &current) == 0 && current.st_ino == status.st_ino
      && current.st_dev == status.st_dev
  }

  /// Removes a file that cannot be used, unless something else has taken its name meanwhile. (In the moment between the
  /// look and the removal it still can; then a good entry is lost, and made again.)
  func discard(_ name: String, in directory: OwnedDescriptor, ifStill status: stat?) {
    if isReadOnly { return }
    if let status, !isCurrent(status, name, in: directory) { return }
    _ = calls.remove(directory.number, name)
  }
}
