// `fd_readdir`: a listing in pieces.
//
// The guest passes a buffer and a cookie, and gets as many entries as fit; each entry carries the cookie
// of the next one. The last may be cut off anywhere, header included: a full buffer is how the guest
// learns that there is more, and it asks again with the cookie of the last entry that it has whole. So
// any cookie that was ever given out may come back, in any order.
//
// Linux has just that: `d_off` of a directory entry is a position that `lseek` takes, and stays valid
// while entries come and go. Passing it through makes the listing as stable as the file system's own
// `telldir`, needs no memory in proportion to the directory, and no state between calls.

internal import CPrecastHost
internal import Glibc

extension WASI {
  /// Size of a `dirent` before the name: d_next, d_ino (8 bytes each), d_namlen (4), d_type (1), padding.
  private static var headerSize: Int { 24 }

  /// `fd_readdir`
  func fdReaddir(
    _ memory: GuestMemory, _ fd: UInt32, _ buffer: UInt32, _ length: UInt32, cookie: UInt64, _ result: UInt32
  ) throws(WASIErrno) {
    let directory = try directory(fd, .fdReaddir)
    try memory.check(result, 4)
    try memory.check(buffer, UInt64(length))
    guard let position = Int(exactly: cookie) else { throw .inval }
    if lseek(directory.host, position, SEEK_SET) < 0 { throw .last }

    let output = try unsafe memory.region(buffer, UInt64(length))
    let capacity = Int(length)
    var used = 0
    filling: while used < capacity {
      // About as much as can still be used; entries are nearly the same size on both sides, and the
      // slack holds at least one with the longest name.
      let request = min(Self.entryBufferSize, capacity - used + 1024)
      let count = try unsafe checked(precast_getdents64(directory.host, entryBuffer, request))
      if count == 0 { break }
      var entry = 0
      while entry < count {
        let record = unsafe HostEntry(entryBuffer + entry)
        entry += record.size
        var header = (record.next, record.inode, UInt32(record.nameLength), UInt32(0))
        if record.isParent { header.1 = try inode(of: directory) }
        header.3 = UInt32(type(of: record, in: directory).rawValue)
        let headerPart = min(Self.headerSize, capacity - used)
        unsafe withUnsafeBytes(of: &header) {
          unsafe (output + used).copyMemory(from: $0.baseAddress!, byteCount: headerPart)
        }
        used += headerPart
        let namePart = min(record.nameLength, capacity - used)
        unsafe (output + used).copyMemory(from: record.name, byteCount: namePart)
        used += namePart
        if used == capacity { break filling }
      }
    }
    try memory.store(UInt32(used), at: result)
  }

  /// What `..` shows: the directory itself, since what is above it is none of the guest's business.
  private func inode(of directory: Descriptor) throws(WASIErrno) -> UInt64 {
    var status = stat()
    if unsafe fstat(directory.host, &status) != 0 { throw .last }
    return UInt64(status.st_ino)
  }

  private func type(of record: HostEntry, in directory: Descriptor) -> FileType {
    switch record.type {
    case 1: return .unknown  // a pipe
    case 10: return .symbolicLink
    case 2: return .characterDevice
    case 4: return .directory
    case 6: return .blockDevice
    case 8: return .regularFile
    case 12: return .socketStream
    default:
      // DT_UNKNOWN: some file systems do not say.
      var status = stat()
      let name = unsafe record.name.assumingMemoryBound(to: CChar.self)
      if unsafe fstatat(directory.host, name, &status, AT_SYMLINK_NOFOLLOW) != 0 { return .unknown }
      return FileType(mode: status.st_mode)
    }
  }
}

/// A `struct linux_dirent64` as the kernel wrote it: trusted, unlike everything else here.
@safe private struct HostEntry {
  private let start: UnsafeMutableRawPointer

  @unsafe init(_ start: UnsafeMutableRawPointer) { unsafe self.start = start }

  var inode: UInt64 { unsafe start.loadUnaligned(as: UInt64.self) }
  /// Position of the next entry.
  var next: UInt64 { unsafe start.loadUnaligned(fromByteOffset: 8, as: UInt64.self) }
  /// Size of the record.
  var size: Int { Int(unsafe start.loadUnaligned(fromByteOffset: 16, as: UInt16.self)) }
  /// `DT_*`.
  var type: UInt8 { unsafe start.load(fromByteOffset: 18, as: UInt8.self) }
  @unsafe var name: UnsafeMutableRawPointer { unsafe start + 19 }
  var nameLength: Int { unsafe strlen(name.assumingMemoryBound(to: CChar.self)) }
  var isParent: Bool { unsafe strcmp(name.assumingMemoryBound(to: CChar.self), "..") == 0 }
}
