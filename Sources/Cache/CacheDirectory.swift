// The cache's directories: who may have made them, and what happens when they go.
//
//     <root>/                        0700
//       CACHEDIR.TAG                 tells backup programs to leave this out
//       code-<compiler>/             entries, one directory a compiler (EntryFile.swift)
//       index/                       digests of wasm files (FileIndex.swift)
//       counters                     hits and misses (Counters.swift)
//       lock                         held by whoever does maintenance; its stamp is the last time
//
// Entries are native code, so whoever can write here can run anything as whoever reads here. A directory is used only
// if it is the user's own and nobody else may write to it. That is asked of the descriptor, once it is open: between a
// look at a path and its use, the path may have come to mean something else. Everything below is then opened relative to
// that descriptor, and never through a link.
//
// Descriptors are kept, for opening a path of five components costs more than all else of a hit. A directory that has been
// removed meanwhile has no links left, which the same `fstat` shows that looks at owner and mode; it is then opened, and
// if need be made, again.

import Glibc

/// Why a directory cannot be used. Not an error of the cache's users: what could not be cached is compiled.
struct DirectoryProblem: Error, Equatable {
  var errno: Int32
  var message: String

  init(errno: Int32, _ action: String) {
    self.errno = errno
    message = "\(action): \(errorText(errno))"
  }

  init(untrusted path: String, _ why: String) {
    errno = EPERM
    message = "\(path) \(why); it is not used"
  }

  init(unusable why: String) {
    errno = EACCES
    message = why
  }

  /// Whether it is merely not there.
  var isAbsent: Bool { errno == ENOENT || errno == ENOTDIR }
}

/// The cache's root and what is directly below it, opened when first needed and again when it was removed.
struct CacheDirectory: Sendable {
  /// Path of the root.
  let root: String
  let calls: FileCalls
  /// Whether nothing may be made or changed; then what belongs to root is good as well.
  let isReadOnly: Bool

  /// Whether a file or directory may be used, by its owner and mode.
  static func isTrusted(_ status: stat, isReadOnly: Bool) -> Bool {
    // A prebuilt cache comes from whoever made the system image, who could as well have replaced this program.
    guard status.st_uid == geteuid() || isReadOnly && status.st_uid == 0 else { return false }
    return status.st_mode & 0o022 == 0
  }

  /// Opens the root; makes it, and what is above it, where `creates`.
  func openRoot(creates: Bool) throws(DirectoryProblem) -> OwnedDescriptor {
    var descriptor = calls.openDirectory(AT_FDCWD, root, followsLink: true)
    if descriptor == -ENOENT && creates && !isReadOnly {
      try makeRoot()
      descriptor = calls.openDirectory(AT_FDCWD, root, followsLink: true)
    }
    return try checked(descriptor, root)
  }

  /// Opens a directory below the root; makes it where `creates`.
  func open(_ name: String, in parent: OwnedDescriptor, creates: Bool) throws(DirectoryProblem) -> OwnedDescriptor {
    var descriptor = calls.openDirectory(parent.number, name)
    if descriptor == -ENOENT && creates && !isReadOnly {
      let result = calls.makeDirectory(parent.number, name)
      if result < 0 && result != -EEXIST { throw DirectoryProblem(errno: -result, "make \(root)/\(name)") }
      descriptor = calls.openDirectory(parent.number, name)
    }
    return try checked(descriptor, "\(root)/\(name)")
  }

  private func checked(_ descriptor: Int32, _ path: String) throws(DirectoryProblem) -> OwnedDescriptor {
    guard descriptor >= 0 else { throw DirectoryProblem(errno: -descriptor, "open \(path)") }
    let owned = OwnedDescriptor(descriptor)
    try check(owned, path)
    return owned
  }

  /// Whether an open directory may (still) be used.
  func check(_ directory: OwnedDescriptor, _ path: String) throws(DirectoryProblem) {
    var status = stat()
    let result = calls.status(directory.number, &status)
    if result < 0 { throw DirectoryProblem(errno: -result, "look at \(path)") }
    if status.st_nlink == 0 { throw DirectoryProblem(errno: ENOENT, "look at \(path)") }
    guard Self.isTrusted(status, isReadOnly: isReadOnly) else {
      throw DirectoryProblem(
        untrusted: path,
        status.st_mode & 0o022 != 0 ? "can be written to by others" : "belongs to user \(status.st_uid)")
    }
  }

  /// Makes the root, and what is missing above it, for this user alone.
  private func makeRoot() throws(DirectoryProblem) {
    var missing: [String] = []
    var path = root[...]
    // From the root upwards until something can be made, then down again.
    while true {
      let result = calls.makeDirectory(AT_FDCWD, String(path))
      if result == 0 || result == -EEXIST { break }
      guard result == -ENOENT, let slash = path.dropLast().lastIndex(of: "/"), slash != path.startIndex else {
        throw DirectoryProblem(errno: -result, "make \(path)")
      }
      missing.append(String(path))
      path = path[..<slash]
    }
    for path in missing.reversed() {
      let result = calls.makeDirectory(AT_FDCWD, path)
      if result < 0 && result != -EEXIST { throw DirectoryProblem(errno: -result, "make \(path)") }
    }
    tag()
  }

  /// Leaves the mark by which backup programs know a cache. Without it nothing is wrong.
  private func tag() {
    let directory = calls.openDirectory(AT_FDCWD, root, followsLink: true)
    guard directory >= 0 else { return }
    defer { calls.close(directory) }
    let file = calls.create(directory, "CACHEDIR.TAG", mode: 0o600)
    guard file >= 0 else { return }
    let text = """
      Signature: 8a477f597d28d172789f06886806bc55
      # This directory holds compiled WebAssembly, which precast can make again at any time.
      # For cache directory tags see https://bford.info/cachedir/

      """
    _ = calls.write(file, Array(text.utf8), at: 0)
    calls.close(file)
  }
}
