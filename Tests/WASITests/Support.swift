// What the tests of this target share: a scratch directory with an inside and an outside, and a guest
// without a module, whose memory is a plain allocation.

import Foundation
import Testing

@testable import PrecastWASI

/// A directory that is removed at the end, with this in it:
///
///     secret            "outside"
///     other/            a directory that no guest is given
///     root/             what guests are given
///       file            "inside"
///       dir/nested/file "nested"
///       to-file         -> file
///       to-dir          -> dir
///       up              -> ..
///       up-secret       -> ../secret
///       absolute        -> (scratch)/secret
///       absolute-dir    -> (scratch)
///       dir/up          -> ../..
///       loop            -> loop
///       dangling-out    -> ../made
final class Scratch {
  let path: String
  var root: String { path + "/root" }
  let fd: Int32

  init() throws {
    var template = Array("/tmp/precast-wasi-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    let manager = FileManager.default
    for directory in ["other", "root/dir/nested"] {
      try manager.createDirectory(atPath: "\(path)/\(directory)", withIntermediateDirectories: true)
    }
    for (file, contents) in [("secret", "outside"), ("root/file", "inside"), ("root/dir/nested/file", "nested")] {
      try Data(contents.utf8).write(to: URL(fileURLWithPath: "\(path)/\(file)"))
    }
    for (link, target) in [
      ("to-file", "file"), ("to-dir", "dir"), ("up", ".."), ("up-secret", "../secret"),
      ("absolute", "\(path)/secret"), ("absolute-dir", path), ("dir/up", "../.."), ("loop", "loop"),
      ("dangling-out", "../made"),
    ] {
      try manager.createSymbolicLink(atPath: "\(path)/root/\(link)", withDestinationPath: target)
    }
    fd = open("\(path)/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    try #require(fd >= 0)
  }

  deinit {
    close(fd)
    try? FileManager.default.removeItem(atPath: path)
  }

  /// Everything outside of the root, with contents, times and link counts: what no guest may change.
  func outside() throws -> [String] {
    try ["", "secret", "other"].map { name in
      var status = stat()
      try #require(lstat("\(path)/\(name)", &status) == 0)
      let contents = name == "secret" ? try String(contentsOfFile: "\(path)/secret", encoding: .utf8) : ""
      let names =
        name == "secret" ? [] : try FileManager.default.contentsOfDirectory(atPath: "\(path)/\(name)").sorted()
      // The scratch directory's own modification time tells whether a name came or went.
      return "\(name) \(contents) \(names) \(status.st_mtim) \(status.st_nlink) \(status.st_mode) \(status.st_ino)"
    }
  }

  /// How many descriptors of this process are open on something in the scratch directory.
  func openFiles() throws -> Int {
    let manager = FileManager.default
    return try manager.contentsOfDirectory(atPath: "/proc/self/fd").count { number in
      let target = try? manager.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(number)")
      return target?.hasPrefix(path) == true
    }
  }

  func contents(_ name: String) -> String? { try? String(contentsOfFile: "\(root)/\(name)", encoding: .utf8) }
  func exists(_ name: String) -> Bool {
    var status = stat()
    return lstat("\(root)/\(name)", &status) == 0
  }
}

func buffer(_ path: String) throws -> PathBuffer {
  let buffer = PathBuffer()
  try buffer.load(path)
  return buffer
}

/// A guest that is a piece of memory and a `WASI`.
final class Guest {
  let wasi: WASI
  let bytes: UnsafeMutableRawBufferPointer
  var memory: GuestMemory { unsafe GuestMemory(base: bytes.baseAddress!, count: UInt64(bytes.count)) }
  private var free: UInt32 = 4096
  /// Kept, so that the directory lives as long as the guest.
  private var scratch: Scratch?

  init(_ configuration: WASIConfiguration = WASIConfiguration(), size: Int = 1 << 20) throws {
    wasi = try WASI(configuration)
    bytes = .allocate(byteCount: size, alignment: 16)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  /// With descriptor 3 on the root of a scratch directory.
  convenience init(_ scratch: Scratch, isReadOnly: Bool = false) throws {
    var configuration = WASIConfiguration()
    configuration.preopens = [.init(hostPath: scratch.root, guestPath: "/", isReadOnly: isReadOnly)]
    try self.init(configuration)
    self.scratch = scratch
  }

  deinit { bytes.deallocate() }

  /// Puts bytes into the guest's memory; returns where.
  func put(_ text: String) -> (address: UInt32, length: UInt32) { put(Array(text.utf8)) }
  func put(_ contents: [UInt8]) -> (address: UInt32, length: UInt32) {
    let address = room(contents.count)
    bytes[Int(address)..<Int(address) + contents.count].copyBytes(from: contents)
    return (address, UInt32(contents.count))
  }

  /// Unused guest memory.
  func room(_ count: Int) -> UInt32 {
    defer { free += UInt32((count + 15) & ~15) }
    return free
  }

  func text(_ address: UInt32, _ count: UInt32) -> String {
    String(decoding: bytes[Int(address)..<Int(address) + Int(count)], as: UTF8.self)
  }

  /// An array of one vector.
  func vector(_ region: (address: UInt32, length: UInt32)) throws -> UInt32 {
    let address = room(8)
    try memory.store(region.address, at: address)
    try memory.store(region.length, at: address + 4)
    return address
  }

  func open(
    _ path: String, in directory: UInt32 = 3, follow: Bool = true, _ flags: OpenFlags = [],
    rights: Rights = [.fdRead, .fdSeek, .fdTell, .fdFilestatGet], fdFlags: FdFlags = []
  ) throws -> UInt32 {
    let (address, length) = put(path)
    let result = room(4)
    try wasi.pathOpen(
      memory, directory, lookup: follow ? 1 : 0, address, length, openFlags: UInt32(flags.rawValue),
      base: rights.rawValue, inheriting: UInt64.max, flags: UInt32(fdFlags.rawValue), result)
    return try memory.load(result)
  }

  func write(_ fd: UInt32, _ text: String) throws -> UInt32 {
    let result = room(4)
    try wasi.fdWrite(memory, fd, try vector(put(text)), 1, result)
    return try memory.load(result)
  }

  func read(_ fd: UInt32, _ count: Int) throws -> String {
    let region = (room(count), UInt32(count))
    let result = room(4)
    try wasi.fdRead(memory, fd, try vector(region), 1, result)
    return text(region.0, try memory.load(result))
  }
}

extension Rights {
  static let everything = Rights(rawValue: UInt64.max)
}
