// Numbers and flags of `wasi_snapshot_preview1.witx`, as far as the host has to look at them.
//
// Rights deserve a word. In preview 1 each descriptor carries two sets: what may be done with it, and
// what descriptors opened through it may at most be allowed (`base` and `inheriting`). Engines differ
// in how far they enforce them; here they are enforced, because they cost one AND and make a
// read-only directory a matter of two constants. A guest can lose rights, never gain them.

/// What may be done with a descriptor (`rights` in the witx file).
struct Rights: OptionSet, Sendable {
  let rawValue: UInt64

  static let fdDatasync = Rights(rawValue: 1 << 0)
  static let fdRead = Rights(rawValue: 1 << 1)
  static let fdSeek = Rights(rawValue: 1 << 2)
  static let fdFdstatSetFlags = Rights(rawValue: 1 << 3)
  static let fdSync = Rights(rawValue: 1 << 4)
  static let fdTell = Rights(rawValue: 1 << 5)
  static let fdWrite = Rights(rawValue: 1 << 6)
  static let fdAdvise = Rights(rawValue: 1 << 7)
  static let fdAllocate = Rights(rawValue: 1 << 8)
  static let pathCreateDirectory = Rights(rawValue: 1 << 9)
  static let pathCreateFile = Rights(rawValue: 1 << 10)
  static let pathLinkSource = Rights(rawValue: 1 << 11)
  static let pathLinkTarget = Rights(rawValue: 1 << 12)
  static let pathOpen = Rights(rawValue: 1 << 13)
  static let fdReaddir = Rights(rawValue: 1 << 14)
  static let pathReadlink = Rights(rawValue: 1 << 15)
  static let pathRenameSource = Rights(rawValue: 1 << 16)
  static let pathRenameTarget = Rights(rawValue: 1 << 17)
  static let pathFilestatGet = Rights(rawValue: 1 << 18)
  static let pathFilestatSetSize = Rights(rawValue: 1 << 19)
  static let pathFilestatSetTimes = Rights(rawValue: 1 << 20)
  static let fdFilestatGet = Rights(rawValue: 1 << 21)
  static let fdFilestatSetSize = Rights(rawValue: 1 << 22)
  static let fdFilestatSetTimes = Rights(rawValue: 1 << 23)
  static let pathSymlink = Rights(rawValue: 1 << 24)
  static let pathRemoveDirectory = Rights(rawValue: 1 << 25)
  static let pathUnlinkFile = Rights(rawValue: 1 << 26)
  static let pollFdReadwrite = Rights(rawValue: 1 << 27)
  static let sockShutdown = Rights(rawValue: 1 << 28)
  static let sockAccept = Rights(rawValue: 1 << 29)

  /// All that makes sense for a regular file.
  static let file: Rights = [
    .fdDatasync, .fdRead, .fdSeek, .fdFdstatSetFlags, .fdSync, .fdTell, .fdWrite, .fdAdvise, .fdAllocate,
    .fdFilestatGet, .fdFilestatSetSize, .fdFilestatSetTimes, .pollFdReadwrite,
  ]
  /// All that makes sense for a terminal, pipe or socket; without seeking, wasi-libc's `isatty` looks
  /// at the file type alone.
  static let stream: Rights = [
    .fdDatasync, .fdRead, .fdFdstatSetFlags, .fdSync, .fdWrite, .fdFilestatGet, .pollFdReadwrite,
  ]
  static let socket: Rights = [
    .fdRead, .fdFdstatSetFlags, .fdWrite, .fdFilestatGet, .pollFdReadwrite, .sockShutdown, .sockAccept,
  ]
  /// All that makes sense for a directory.
  static let directory: Rights = [
    .fdFdstatSetFlags, .fdSync, .fdDatasync, .fdAdvise, .pathCreateDirectory, .pathCreateFile, .pathLinkSource,
    .pathLinkTarget, .pathOpen, .fdReaddir, .pathReadlink, .pathRenameSource, .pathRenameTarget, .pathFilestatGet,
    .pathFilestatSetSize, .pathFilestatSetTimes, .fdFilestatGet, .fdFilestatSetTimes, .pathSymlink,
    .pathRemoveDirectory, .pathUnlinkFile, .pollFdReadwrite,
  ]
  /// Everything that changes a file system.
  static let changing: Rights = [
    .fdWrite, .fdAllocate, .pathCreateDirectory, .pathCreateFile, .pathLinkSource, .pathLinkTarget, .pathRenameSource,
    .pathRenameTarget, .pathFilestatSetSize, .pathFilestatSetTimes, .fdFilestatSetSize, .fdFilestatSetTimes,
    .pathSymlink, .pathRemoveDirectory, .pathUnlinkFile,
  ]
}

/// `filetype`.
enum FileType: UInt8, Sendable {
  case unknown = 0
  case blockDevice = 1
  case characterDevice = 2
  case directory = 3
  case regularFile = 4
  case socketDgram = 5
  case socketStream = 6
  case symbolicLink = 7
}

/// `fdflags`.
struct FdFlags: OptionSet, Sendable {
  let rawValue: UInt16
  static let append = FdFlags(rawValue: 1)
  static let dsync = FdFlags(rawValue: 2)
  static let nonblock = FdFlags(rawValue: 4)
  static let rsync = FdFlags(rawValue: 8)
  static let sync = FdFlags(rawValue: 16)
  static let all = FdFlags(rawValue: 31)
}

/// `oflags`.
struct OpenFlags: OptionSet, Sendable {
  let rawValue: UInt16
  static let create = OpenFlags(rawValue: 1)
  static let directory = OpenFlags(rawValue: 2)
  static let exclusive = OpenFlags(rawValue: 4)
  static let truncate = OpenFlags(rawValue: 8)
  static let all = OpenFlags(rawValue: 15)
}

/// `fstflags`: which times to set, and to what.
struct TimeFlags: OptionSet, Sendable {
  let rawValue: UInt16
  static let access = TimeFlags(rawValue: 1)
  static let accessNow = TimeFlags(rawValue: 2)
  static let modification = TimeFlags(rawValue: 4)
  static let modificationNow = TimeFlags(rawValue: 8)
  static let all = TimeFlags(rawValue: 15)
}

/// `lookupflags`: its one bit, follow a symbolic link in the last component.
let lookupSymlinkFollow: UInt32 = 1

/// The two published shapes of preview 1. They differ in a few layouts and in nothing else.
enum Snapshot: Sendable {
  /// `wasi_snapshot_preview1`.
  case preview1
  /// `wasi_unstable`, also called snapshot 0: `whence` numbered otherwise, a 32-bit link count in
  /// `filestat`, and a longer clock subscription.
  case unstable
}
