// A guest cannot leave its directories. Each test also checks the world outside, since an operation that
// fails may have done its damage before.

import CPrecastHost
import Foundation
import Testing

@testable import PrecastWASI

/// Paths that lead out of the root when everything in them is followed.
let escapes = [
  "..", "../", "../secret", "../other", "/", "/etc/passwd", "//etc/passwd", "dir/../../secret", "./../secret",
  "dir/nested/../../../secret", "up", "up/", "up/secret", "up/.", "up/..", "up/other", "up-secret", "absolute",
  "absolute-dir", "absolute-dir/", "absolute-dir/secret", "dir/up/secret", "to-dir/up/secret", "to-dir/up/other/new",
  "up/root/file", "up/new", "dir/up/new", "to-dir/../../secret", "../root/file",
]
/// Those of them whose last component is a link in the root: an operation on the link itself is fine.
private let linksThemselves: Set = ["up", "up-secret", "absolute", "absolute-dir"]
let escapesBeforeTheEnd = escapes.filter { !linksThemselves.contains($0) }

@Suite struct ContainmentTests {
  private func expectContained(
    _ path: String, _ scratch: Scratch, _ what: String, _ body: (PathBuffer) throws -> Void
  ) throws {
    let before = try scratch.outside()
    // Linux looks at a slash at the end of a name to create before it looks where the path leads.
    let createsDirectory = what.hasPrefix("create") && path.hasSuffix("/") && path != "/" && path != "../"
    #expect(throws: createsDirectory ? WASIErrno.isdir : .perm, "\(what) '\(path)'") { try body(try buffer(path)) }
    #expect(try scratch.outside() == before, "\(what) '\(path)'")
  }

  @Test(arguments: escapes)
  func followingPathsDoNotLeaveTheRoot(_ path: String) throws {
    let scratch = try Scratch()
    for (name, flags) in [
      ("open", O_RDONLY), ("open directory", O_RDONLY | O_DIRECTORY), ("truncate", O_WRONLY | O_TRUNC),
      ("create", O_RDWR | O_CREAT), ("append to", O_WRONLY | O_APPEND),
    ] {
      try expectContained(path, scratch, name) {
        _ = try Beneath.open(scratch.fd, $0, flags: UInt64(flags))
      }
    }
    try expectContained(path, scratch, "status") { _ = try Beneath.status(scratch.fd, $0, follow: true) }
    try expectContained(path, scratch, "times") {
      try Beneath.setTimes(scratch.fd, $0, follow: true, access: 1, modification: 1)
    }
    try expectContained(path, scratch, "link from") {
      try Beneath.hardLink(scratch.fd, $0, follow: true, to: scratch.fd, try buffer("stolen"))
    }
    #expect(!scratch.exists("stolen"))
  }

  @Test(arguments: escapesBeforeTheEnd)
  func pathsThatDoNotFollowTheEndDoNotLeaveTheRootEither(_ path: String) throws {
    let scratch = try Scratch()
    let root = scratch.fd
    try expectContained(path, scratch, "open") {
      _ = try Beneath.open(root, $0, flags: UInt64(O_RDONLY | O_NOFOLLOW))
    }
    try expectContained(path, scratch, "create") {
      _ = try Beneath.open(root, $0, flags: UInt64(O_RDWR | O_CREAT | O_EXCL))
    }
    try expectContained(path, scratch, "status") { _ = try Beneath.status(root, $0, follow: false) }
    try expectContained(path, scratch, "times") {
      try Beneath.setTimes(root, $0, follow: false, access: 1, modification: 1)
    }
    try expectContained(path, scratch, "readlink") { path in
      try withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { _ = try Beneath.readLink(root, path, into: $0) }
    }
  }

  /// Trailing slashes aside: these operations never follow the last component, and "up/" is then the link.
  @Test(arguments: escapesBeforeTheEnd.filter { !["up/", "absolute-dir/"].contains($0) })
  func changesDoNotReachOutside(_ path: String) throws {
    let scratch = try Scratch()
    let root = scratch.fd
    try expectContained(path, scratch, "mkdir") { try Beneath.createDirectory(root, $0) }
    try expectContained(path, scratch, "rmdir") { try Beneath.removeDirectory(root, $0) }
    try expectContained(path, scratch, "unlink") { try Beneath.unlink(root, $0) }
    try expectContained(path, scratch, "symlink") { try Beneath.symbolicLink(to: try buffer("x"), root, $0) }
    try expectContained(path, scratch, "rename from") { try Beneath.rename(root, $0, to: root, try buffer("stolen")) }
    try expectContained(path, scratch, "rename to") { try Beneath.rename(root, try buffer("file"), to: root, $0) }
    try expectContained(path, scratch, "rename directory to") {
      try Beneath.rename(root, try buffer("dir"), to: root, $0)
    }
    try expectContained(path, scratch, "link from") {
      try Beneath.hardLink(root, $0, follow: false, to: root, try buffer("stolen"))
    }
    try expectContained(path, scratch, "link to") {
      try Beneath.hardLink(root, try buffer("file"), follow: false, to: root, $0)
    }
    try expectContained(path, scratch, "link to, following") {
      try Beneath.hardLink(root, try buffer("file"), follow: true, to: root, $0)
    }
    #expect(!scratch.exists("stolen"))
    #expect(scratch.contents("file") == "inside")
  }

  /// The kernel follows "link/" even where it is told not to follow links.
  @Test(arguments: ["up/", "up-secret/", "absolute/", "absolute-dir/", "up//"])
  func aTrailingSlashDoesNotTurnALinkIntoItsTarget(_ path: String) throws {
    let scratch = try Scratch()
    let root = scratch.fd
    let before = try scratch.outside()
    let operations: [(String, (PathBuffer) throws -> Void)] = [
      ("status", { _ = try Beneath.status(root, $0, follow: false) }),
      ("times", { try Beneath.setTimes(root, $0, follow: false, access: 1, modification: 1) }),
      ("mkdir", { try Beneath.createDirectory(root, $0) }),
      ("rmdir", { try Beneath.removeDirectory(root, $0) }),
      ("unlink", { try Beneath.unlink(root, $0) }),
      ("symlink", { try Beneath.symbolicLink(to: try buffer("x"), root, $0) }),
      ("rename from", { try Beneath.rename(root, $0, to: root, try buffer("stolen")) }),
      ("rename to", { try Beneath.rename(root, try buffer("dir"), to: root, $0) }),
      ("link from", { try Beneath.hardLink(root, $0, follow: false, to: root, try buffer("stolen")) }),
      ("link to", { try Beneath.hardLink(root, try buffer("file"), follow: false, to: root, $0) }),
    ]
    for (name, operation) in operations {
      #expect(throws: WASIErrno.self, "\(name) '\(path)'") { try operation(try buffer(path)) }
      #expect(try scratch.outside() == before, "\(name) '\(path)'")
    }
    #expect(!scratch.exists("stolen"))
  }

  @Test func creatingThroughADanglingLinkDoesNotCreateOutside() throws {
    let scratch = try Scratch()
    let before = try scratch.outside()
    #expect(throws: WASIErrno.perm) {
      _ = try Beneath.open(scratch.fd, try buffer("dangling-out"), flags: UInt64(O_RDWR | O_CREAT))
    }
    #expect(try scratch.outside() == before)
  }

  @Test func linksThatAGuestMakesLeadNowhereElse() throws {
    let scratch = try Scratch()
    let root = scratch.fd
    #expect(throws: WASIErrno.perm) { try Beneath.symbolicLink(to: try buffer("/etc"), root, try buffer("etc")) }
    #expect(!scratch.exists("etc"))
    try Beneath.symbolicLink(to: try buffer("../../secret"), root, try buffer("dir/out"))
    #expect(throws: WASIErrno.perm) { _ = try Beneath.open(root, try buffer("dir/out"), flags: UInt64(O_RDONLY)) }
    // Moving a link changes what it means, and what it means is looked at when it is used.
    try Beneath.symbolicLink(to: try buffer("../file"), root, try buffer("dir/in"))
    _ = try Beneath.open(root, try buffer("dir/in"), flags: UInt64(O_RDONLY))
    try Beneath.rename(root, try buffer("dir/in"), to: root, try buffer("in"))
    #expect(throws: WASIErrno.perm) { _ = try Beneath.open(root, try buffer("in"), flags: UInt64(O_RDONLY)) }
  }

  @Test func aDirectoryDescriptorIsARootOfItsOwn() throws {
    let scratch = try Scratch()
    let nested = try Beneath.open(scratch.fd, try buffer("dir/nested"), flags: UInt64(O_RDONLY | O_DIRECTORY))
    // Inside of the preopened directory, but above the one that was opened.
    #expect(throws: WASIErrno.perm) {
      _ = try Beneath.open(nested.number, try buffer("../../file"), flags: UInt64(O_RDONLY))
    }
    try Beneath.rename(scratch.fd, try buffer("dir/nested"), to: scratch.fd, try buffer("moved"))
    _ = try Beneath.open(nested.number, try buffer("file"), flags: UInt64(O_RDONLY))
    #expect(throws: WASIErrno.perm) {
      _ = try Beneath.open(nested.number, try buffer("../file"), flags: UInt64(O_RDONLY))
    }
  }

  @Test func magicLinksOfProcfsAreNotFollowed() throws {
    let process = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    try #require(process >= 0)
    defer { close(process) }
    for path in ["root/etc/passwd", "cwd", "exe", "fd/0"] {
      #expect(throws: WASIErrno.self, "\(path)") {
        _ = try Beneath.open(process, try buffer(path), flags: UInt64(O_RDONLY))
      }
    }
  }

  /// While one thread keeps exchanging a directory with a link out of the root, another reads through that
  /// name. It must get the file inside, or an error, and never the file outside.
  @Test func exchangingADirectoryForALinkWhileItIsResolvedDoesNotHelp() throws {
    let scratch = try Scratch()
    let root = scratch.fd
    try FileManager.default.createDirectory(atPath: "\(scratch.root)/swap", withIntermediateDirectories: false)
    try Data("inside".utf8).write(to: URL(fileURLWithPath: "\(scratch.root)/swap/secret"))
    let stop = Stop()
    let (name, link, aside) = ("\(scratch.root)/swap", "\(scratch.root)/up", "\(scratch.root)/aside")
    let thread = Thread {
      while !stop.isSet {
        rename(name, aside)
        rename(link, name)
        rename(name, link)
        rename(aside, name)
      }
      stop.hasEnded.signal()
    }
    thread.start()
    var (inside, refused) = (0, 0)
    for _ in 0..<3000 {
      let path = try buffer("swap/secret")
      do {
        let file = try Beneath.open(root, path, flags: UInt64(O_RDONLY))
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = Glibc.read(file.number, &bytes, 16)
        #expect(String(decoding: bytes.prefix(max(0, count)), as: UTF8.self) == "inside")
        inside += 1
      } catch {
        refused += 1
      }
    }
    stop.set()
    stop.hasEnded.wait()
    #expect(inside + refused == 3000)
  }
}

private final class Stop: @unchecked Sendable {
  private let lock = NSLock()
  private var value = false
  let hasEnded = DispatchSemaphore(value: 0)
  var isSet: Bool { lock.withLock { value } }
  func set() { lock.withLock { value = true } }
}

@Suite struct PathOperationTests {
  private func status(_ scratch: Scratch, _ path: String, follow: Bool = true) throws -> stat {
    try Beneath.status(scratch.fd, try buffer(path), follow: follow)
  }

  @Test func pathsInsideWork() throws {
    let scratch = try Scratch()
    for path in [
      "file", "./file", "dir/../file", "to-file", "to-dir/../file", "dir//nested/../..//file", "./././to-file",
    ] {
      #expect(try status(scratch, path).st_size == 6, "\(path)")
    }
    for path in [".", "dir", "dir/", "dir/.", "to-dir", "to-dir/", "to-dir/nested/..", "dir/nested/../"] {
      #expect(try status(scratch, path).st_mode & S_IFMT == S_IFDIR, "\(path)")
    }
    #expect(try status(scratch, "to-file", follow: false).st_mode & S_IFMT == S_IFLNK)
    #expect(try status(scratch, "dir/../to-file", follow: false).st_mode & S_IFMT == S_IFLNK)
    // As on every POSIX system, a slash makes a link stand for the directory.
    #expect(try status(scratch, "to-dir/", follow: false).st_mode & S_IFMT == S_IFDIR)
  }

  @Test func errorsAreThoseOfPOSIX() throws {
    let scratch = try Scratch()
    let root = scratch.fd
    #expect(throws: WASIErrno.noent) { try status(scratch, "missing") }
    #expect(throws: WASIErrno.noent) { try status(scratch, "missing/..") }
    #expect(throws: WASIErrno.noent) { try status(scratch, "") }
    #expect(throws: WASIErrno.notdir) { try status(scratch, "file/") }
    #expect(throws: WASIErrno.notdir) { try status(scratch, "file/x") }
    #expect(throws: WASIErrno.loop) { try status(scratch, "loop") }
    #expect(throws: WASIErrno.nametoolong) { try status(scratch, String(repeating: "a", count: 256)) }
    #expect(throws: WASIErrno.nametoolong) { try status(scratch, String(repeating: "a/", count: 2048)) }
    #expect(throws: WASIErrno.inval) { try status(scratch, "file\0") }
    #expect(throws: WASIErrno.exist) { try Beneath.createDirectory(root, try buffer("dir")) }
    #expect(throws: WASIErrno.exist) { try Beneath.createDirectory(root, try buffer(".")) }
    #expect(throws: WASIErrno.inval) { try Beneath.removeDirectory(root, try buffer("dir/.")) }
    #expect(throws: WASIErrno.notempty) { try Beneath.removeDirectory(root, try buffer("dir")) }
    #expect(throws: WASIErrno.notdir) { try Beneath.removeDirectory(root, try buffer("file")) }
    #expect(throws: WASIErrno.notdir) { try Beneath.removeDirectory(root, try buffer("to-dir")) }
    #expect(throws: WASIErrno.isdir) { try Beneath.unlink(root, try buffer("dir")) }
    #expect(throws: WASIErrno.isdir) { try Beneath.unlink(root, try buffer("dir/")) }
    #expect(throws: WASIErrno.notdir) { try Beneath.unlink(root, try buffer("file/")) }
    #expect(throws: WASIErrno.notdir) { try Beneath.unlink(root, try buffer("to-dir/")) }
    #expect(throws: WASIErrno.notdir) { try Beneath.rename(root, try buffer("to-dir/"), to: root, try buffer("x")) }
    #expect(throws: WASIErrno.notdir) { try Beneath.rename(root, try buffer("file/"), to: root, try buffer("x")) }
    #expect(throws: WASIErrno.notdir) { try Beneath.rename(root, try buffer("file"), to: root, try buffer("x/")) }
    #expect(throws: WASIErrno.busy) { try Beneath.rename(root, try buffer("dir/."), to: root, try buffer("x")) }
    #expect(throws: WASIErrno.noent) {
      try Beneath.symbolicLink(to: try buffer("file"), root, try buffer("new/"))
    }
    #expect(throws: WASIErrno.exist) {
      try Beneath.symbolicLink(to: try buffer("file"), root, try buffer("dir/"))
    }
    #expect(throws: WASIErrno.perm) {
      try Beneath.hardLink(root, try buffer("dir"), follow: false, to: root, try buffer("x"))
    }
    #expect(scratch.contents("file") == "inside")
  }

  @Test func changesInsideWork() throws {
    let scratch = try Scratch()
    let root = scratch.fd
    try Beneath.createDirectory(root, try buffer("dir/new/"))
    try Beneath.rename(root, try buffer("dir/new/"), to: root, try buffer("to-dir/nested/newer/"))
    #expect(try status(scratch, "dir/nested/newer").st_mode & S_IFMT == S_IFDIR)
    try Beneath.removeDirectory(root, try buffer("dir/nested/newer/"))
    #expect(!scratch.exists("dir/nested/newer"))

    try Beneath.hardLink(root, try buffer("to-dir/nested/file"), follow: false, to: root, try buffer("second"))
    #expect(scratch.contents("second") == "nested")
    try Beneath.hardLink(root, try buffer("to-file"), follow: true, to: root, try buffer("third"))
    #expect(try status(scratch, "third", follow: false).st_ino == status(scratch, "file").st_ino)
    try Beneath.hardLink(root, try buffer("to-file"), follow: false, to: root, try buffer("fourth"))
    #expect(try status(scratch, "fourth", follow: false).st_mode & S_IFMT == S_IFLNK)

    try Beneath.unlink(root, try buffer("to-file"))
    #expect(!scratch.exists("to-file") && scratch.contents("file") == "inside")
    try Beneath.symbolicLink(to: try buffer("nested/file"), root, try buffer("dir/link"))
    #expect(scratch.contents("dir/link") == "nested")
  }

  @Test func noOperationKeepsADescriptor() throws {
    let scratch = try Scratch()
    let root = scratch.fd
    let operations: [(PathBuffer, PathBuffer) throws -> Void] = [
      { a, _ in _ = try Beneath.open(root, a, flags: UInt64(O_RDONLY)) },
      { a, _ in _ = try Beneath.status(root, a, follow: true) },
      { a, _ in try Beneath.setTimes(root, a, follow: true, access: 1, modification: 1) },
      { a, _ in try Beneath.setTimes(root, a, follow: false, access: 1, modification: 1) },
      { _, b in try Beneath.createDirectory(root, b) },
      { a, b in try Beneath.hardLink(root, a, follow: true, to: root, b) },
      { a, b in try Beneath.hardLink(root, a, follow: false, to: root, b) },
      { a, b in try Beneath.symbolicLink(to: a, root, b) },
      { a, b in try Beneath.rename(root, a, to: root, b) },
      { a, _ in try Beneath.unlink(root, a) },
      { a, _ in try Beneath.removeDirectory(root, a) },
    ]
    for (a, b) in [
      ("dir/nested/file", "dir/nested/new"), ("dir/nested/..", "dir/."), ("dir/nested/file/", "dir/nested/x/"),
      ("dir/missing", "dir/nested/../../dir/y"), ("dir/nested", "../z"), ("dir/nested/file", "missing/x"),
    ] {
      for operation in operations { try? operation(try buffer(a), try buffer(b)) }
    }
    #expect(try scratch.openFiles() == 1)
  }

  @Test func timesAreSetOnTheLinkOrItsTarget() throws {
    let scratch = try Scratch()
    let root = scratch.fd
    try Beneath.setTimes(root, try buffer("to-file"), follow: false, access: 1_000_000_007, modification: 2_000_000_009)
    let link = try status(scratch, "to-file", follow: false)
    #expect(nanoseconds(link.st_atim) == 1_000_000_007 && nanoseconds(link.st_mtim) == 2_000_000_009)
    let untouched = try status(scratch, "file")
    try Beneath.setTimes(root, try buffer("to-file"), follow: true, access: UInt64.max, modification: 5)
    let file = try status(scratch, "file")
    #expect(nanoseconds(file.st_mtim) == 5)
    #expect(nanoseconds(file.st_atim) == nanoseconds(untouched.st_atim))
    #expect(nanoseconds(untouched.st_mtim) != 2_000_000_009)
  }

  @Test func readlinkGivesAsMuchAsFits() throws {
    let scratch = try Scratch()
    for (size, expected) in [(64, "../secret"), (9, "../secret"), (4, "../s"), (0, "")] {
      let result = try withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { memory in
        let part = UnsafeMutableRawBufferPointer(rebasing: memory[..<size])
        let count = try Beneath.readLink(scratch.fd, try buffer("up-secret"), into: part)
        return String(decoding: part[..<count], as: UTF8.self)
      }
      #expect(result == expected)
    }
  }
}
