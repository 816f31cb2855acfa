// The rest of `fd_*`: what can be done with an open descriptor besides reading and writing.

internal import CPrecastHost
internal import Glibc

extension WASI {
  // MARK: Descriptors

  /// `fd_close`
  func fdClose(_ fd: UInt32) throws(WASIErrno) { try descriptors.remove(fd) }

  /// `fd_renumber`
  func fdRenumber(_ from: UInt32, _ to: UInt32) throws(WASIErrno) { try descriptors.renumber(from, to: to) }

  /// `fd_prestat_get`: tag 0 (a directory) and the length of its name. `badf` for what is not a
  /// preopened directory ends the guest's search for more.
  func fdPrestatGet(_ memory: GuestMemory, _ fd: UInt32, _ result: UInt32) throws(WASIErrno) {
    let name = try preopenName(fd)
    try memory.check(result, 8)
    try memory.store(0 as UInt32, at: result)
    try memory.store(UInt32(preopenNames[name].count), at: result, offset: 4)
  }

  /// `fd_prestat_dir_name`
  func fdPrestatDirName(_ memory: GuestMemory, _ fd: UInt32, _ path: UInt32, _ length: UInt32) throws(WASIErrno) {
    let name = try preopenName(fd)
    if Int(length) < preopenNames[name].count { throw .nametoolong }
    for (index, byte) in preopenNames[name].enumerated() { try memory.store(byte, at: path, offset: UInt32(index)) }
  }

  private func preopenName(_ fd: UInt32) throws(WASIErrno) -> Int {
    let descriptor = try descriptors[fd]
    if descriptor.preopen < 0 { throw .badf }
    return Int(descriptor.preopen)
  }

  /// `fd_fdstat_get`
  func fdFdstatGet(_ memory: GuestMemory, _ fd: UInt32, _ result: UInt32) throws(WASIErrno) {
    let descriptor = try descriptors[fd]
    try memory.clear(result, 24)
    try memory.store(descriptor.fileType.rawValue, at: result)
    try memory.store(descriptor.flags.rawValue, at: result, offset: 2)
    try memory.store(descriptor.base.rawValue, at: result, offset: 8)
    try memory.store(descriptor.inheriting.rawValue, at: result, offset: 16)
  }

  /// `fd_fdstat_set_flags`: `append` and `nonblock`. Linux cannot change the others of an open file
  /// (`notsup`).
  func fdFdstatSetFlags(_ fd: UInt32, _ flags: UInt32) throws(WASIErrno) {
    let descriptor = try file(fd, .fdFdstatSetFlags)
    guard let raw = UInt16(exactly: flags), FdFlags.all.isSuperset(of: FdFlags(rawValue: raw)) else { throw .inval }
    let flags = FdFlags(rawValue: raw)
    let changed = flags.symmetricDifference(descriptor.flags)
    if !changed.isDisjoint(with: [.dsync, .rsync, .sync]) { throw .notsup }
    if descriptor.isOwned {
      if fcntl(descriptor.host, F_SETFL, flags.hostFlags) < 0 { throw .last }
    } else if changed.contains(.append) {
      // It would change for the host as well; see `Descriptor.isOwned`.
      throw .notsup
    }
    descriptors.update(fd) { $0.flags = flags }
  }

  /// `fd_fdstat_set_rights`: rights can be given up, not gained.
  func fdFdstatSetRights(_ fd: UInt32, base: UInt64, inheriting: UInt64) throws(WASIErrno) {
    let descriptor = try descriptors[fd]
    let (base, inheriting) = (Rights(rawValue: base), Rights(rawValue: inheriting))
    if !descriptor.base.isSuperset(of: base) || !descriptor.inheriting.isSuperset(of: inheriting) { throw .notcapable }
    descriptors.update(fd) {
      $0.base = base
      $0.inheriting = inheriting
    }
  }

  // MARK: Offsets

  /// `fd_seek`. `whence` is 0 from the start, 1 from here, 2 from the end; in `wasi_unstable` 2, 0, 1.
  func fdSeek(
    _ memory: GuestMemory, _ fd: UInt32, offset: Int64, whence: UInt32, _ result: UInt32, _ snapshot: Snapshot
  ) throws(WASIErrno) {
    let origins =
      snapshot == .preview1 ? (SEEK_SET, SEEK_CUR, SEEK_END) : (SEEK_CUR, SEEK_END, SEEK_SET)
    let origin: Int32
    switch whence {
    case 0: origin = origins.0
    case 1: origin = origins.1
    case 2: origin = origins.2
    default: throw .inval
    }
    try memory.check(result, 8)
    let isTell = offset == 0 && origin == SEEK_CUR
    let descriptor = try file(fd, isTell ? .fdTell : .fdSeek)
    let position = lseek(descriptor.host, Int(offset), origin)
    if position < 0 { throw .last }
    try memory.store(UInt64(position), at: result)
  }

  /// `fd_tell`
  func fdTell(_ memory: GuestMemory, _ fd: UInt32, _ result: UInt32) throws(WASIErrno) {
    try memory.check(result, 8)
    let position = lseek(try file(fd, .fdTell).host, 0, SEEK_CUR)
    if position < 0 { throw .last }
    try memory.store(UInt64(position), at: result)
  }

  // MARK: Contents

  /// `fd_advise`
  func fdAdvise(_ fd: UInt32, offset: UInt64, length: UInt64, advice: UInt32) throws(WASIErrno) {
    let descriptor = try file(fd, .fdAdvise)
    // In the order of the witx file, which is not that of Linux.
    let advices = [
      POSIX_FADV_NORMAL, POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED,
      POSIX_FADV_NOREUSE,
    ]
    guard advice < UInt32(advices.count), let offset = Int(exactly: offset), let length = Int(exactly: length) else {
      throw .inval
    }
    if descriptor.kind == .directory { throw .badf }
    let status = posix_fadvise(descriptor.host, offset, length, advices[Int(advice)])
    if status != 0 { throw WASIErrno(host: status) }
  }

  /// `fd_allocate`
  func fdAllocate(_ fd: UInt32, offset: UInt64, length: UInt64) throws(WASIErrno) {
    let descriptor = try file(fd, .fdAllocate)
    guard let offset = Int64(exactly: offset), let length = Int64(exactly: length), length > 0 else { throw .inval }
    _ = try checked(precast_fallocate(descriptor.host, offset, length))
  }

  /// `fd_datasync`
  func fdDatasync(_ fd: UInt32) throws(WASIErrno) {
    if fdatasync(try file(fd, .fdDatasync).host) != 0 { throw .last }
  }

  /// `fd_sync`
  func fdSync(_ fd: UInt32) throws(WASIErrno) {
    if fsync(try file(fd, .fdSync).host) != 0 { throw .last }
  }

  // MARK: Attributes

  /// `fd_filestat_get`
  func fdFilestatGet(_ memory: GuestMemory, _ fd: UInt32, _ result: UInt32, _ snapshot: Snapshot) throws(WASIErrno) {
    let descriptor = try file(fd, .fdFilestatGet)
    var status = stat()
    switch descriptor.kind {
    case .null, .source, .sink: break
    default: if unsafe fstat(descriptor.host, &status) != 0 { throw .last }
    }
    try store(status, descriptor.fileType, memory, result, snapshot)
  }

  /// `fd_filestat_set_size`
  func fdFilestatSetSize(_ fd: UInt32, _ size: UInt64) throws(WASIErrno) {
    let descriptor = try file(fd, .fdFilestatSetSize)
    guard let size = Int(exactly: size) else { throw .inval }
    if ftruncate(descriptor.host, size) != 0 { throw .last }
  }

  /// `fd_filestat_set_times`
  func fdFilestatSetTimes(_ fd: UInt32, access: UInt64, modification: UInt64, _ flags: UInt32) throws(WASIErrno) {
    let descriptor = try file(fd, .fdFilestatSetTimes)
    let times = try Self.times(access, modification, flags)
    _ = try checked(precast_set_times(descriptor.host, nil, times.access, times.modification))
  }

  /// Times as `precast_set_times` takes them. Both "to this" and "to now" is `inval`.
  static func times(
    _ access: UInt64, _ modification: UInt64, _ flags: UInt32
  ) throws(WASIErrno) -> (access: UInt64, modification: UInt64) {
    guard let raw = UInt16(exactly: flags), TimeFlags.all.isSuperset(of: TimeFlags(rawValue: raw)) else { throw .inval }
    let flags = TimeFlags(rawValue: raw)
    func one(_ value: UInt64, _ set: TimeFlags, _ now: TimeFlags) throws(WASIErrno) -> UInt64 {
      switch (flags.contains(set), flags.contains(now)) {
      case (true, true): throw .inval
      case (true, false):
        // The two greatest values mean something to the shim; neither is a time before the year 2554.
        if value >= UInt64.max - 1 { throw .inval }
        return value
      case (false, true): return UInt64.max - 1
      case (false, false): return UInt64.max
      }
    }
    return (
      try one(access, .access, .accessNow), try one(modification, .modification, .modificationNow)
    )
  }

  /// Stores a `filestat`: 64 bytes, or 56 with a link count of 32 bits in `wasi_unstable`.
  func store(
    _ status: stat, _ type: FileType, _ memory: GuestMemory, _ address: UInt32, _ snapshot: Snapshot
  ) throws(WASIErrno) {
    let isPreview1 = snapshot == .preview1
    try memory.clear(address, isPreview1 ? 64 : 56)
    try memory.store(UInt64(status.st_dev), at: address)
    try memory.store(UInt64(status.st_ino), at: address, offset: 8)
    try memory.store(type.rawValue, at: address, offset: 16)
    if isPreview1 {
      try memory.store(UInt64(status.st_nlink), at: address, offset: 24)
    } else {
      try memory.store(UInt32(truncatingIfNeeded: status.st_nlink), at: address, offset: 20)
    }
    let rest: UInt32 = isPreview1 ? 32 : 24
    try memory.store(UInt64(bitPattern: Int64(status.st_size)), at: address, offset: rest)
    try memory.store(nanoseconds(status.st_atim), at: address, offset: rest + 8)
    try memory.store(nanoseconds(status.st_mtim), at: address, offset: rest + 16)
    try memory.store(nanoseconds(status.st_ctim), at: address, offset: rest + 24)
  }
}

/// A time of the host in the unit of preview 1. It has no times before 1970 (they become 0) nor after
/// 2554.
func nanoseconds(_ time: timespec) -> UInt64 {
  if time.tv_sec < 0 { return 0 }
  let (product, overflow) = UInt64(time.tv_sec).multipliedReportingOverflow(by: 1_000_000_000)
  if overflow { return .max }
  let (sum, carry) = product.addingReportingOverflow(UInt64(time.tv_nsec))
  return carry ? .max : sum
}
