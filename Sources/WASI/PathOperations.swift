// `path_*`: rights and arguments here, confinement in `Beneath.swift`.

internal import CPrecastHost
internal import Glibc

extension WASI {
  /// `path_open`
  ///
  /// What is opened for reading and writing follows from the rights that are asked for. Rights that the
  /// directory cannot pass on are left out in silence, as programs ask for more than they need; only
  /// reading and writing are refused, since `open` would otherwise succeed and every use fail.
  func pathOpen(
    _ memory: GuestMemory, _ fd: UInt32, lookup: UInt32, _ pathAddress: UInt32, _ pathLength: UInt32,
    openFlags: UInt32, base: UInt64, inheriting: UInt64, flags: UInt32, _ result: UInt32
  ) throws(WASIErrno) {
    let parent = try directory(fd, .pathOpen)
    guard let rawOpen = UInt16(exactly: openFlags), OpenFlags.all.isSuperset(of: OpenFlags(rawValue: rawOpen)),
      let rawFlags = UInt16(exactly: flags), FdFlags.all.isSuperset(of: FdFlags(rawValue: rawFlags))
    else { throw .inval }
    let open = OpenFlags(rawValue: rawOpen)
    let fdFlags = FdFlags(rawValue: rawFlags)
    try memory.check(result, 4)
    try path.load(memory, pathAddress, pathLength)

    if open.isSuperset(of: [.create, .directory]) { throw .inval }
    if open.contains(.create), !parent.base.contains(.pathCreateFile) { throw .notcapable }
    if open.contains(.truncate), !parent.base.contains(.pathFilestatSetSize) { throw .notcapable }
    let wanted = Rights(rawValue: base)
    let allowed = wanted.intersection(parent.inheriting)
    if !allowed.isSuperset(of: wanted.intersection([.fdRead, .fdWrite])) { throw .notcapable }

    let reads = !allowed.isDisjoint(with: [.fdRead, .fdReaddir])
    // A directory cannot be opened for writing, and guests ask for every right on one.
    let writing: Rights = open.contains(.directory) ? .fdWrite : [.fdWrite, .fdAllocate, .fdFilestatSetSize]
    let writes = !allowed.isDisjoint(with: writing)
    var hostFlags = fdFlags.hostFlags | (writes ? (reads ? O_RDWR : O_WRONLY) : O_RDONLY)
    if lookup & lookupSymlinkFollow == 0 { hostFlags |= O_NOFOLLOW }
    if open.contains(.create) { hostFlags |= O_CREAT }
    if open.contains(.exclusive) { hostFlags |= O_EXCL }
    if open.contains(.truncate) { hostFlags |= O_TRUNC }
    if open.contains(.directory) { hostFlags |= O_DIRECTORY }

    try descriptors.requireRoom()
    let opened = try Beneath.open(parent.host, path, flags: UInt64(UInt32(bitPattern: hostFlags)))
    let descriptor = try Descriptor(
      describing: opened.number, isOwned: true, flags: fdFlags, base: allowed,
      inheriting: Rights(rawValue: inheriting).intersection(parent.inheriting))
    _ = opened.release()
    try memory.store(descriptors.insert(descriptor), at: result)
  }

  /// `path_create_directory`
  func pathCreateDirectory(_ memory: GuestMemory, _ fd: UInt32, _ address: UInt32, _ length: UInt32) throws(WASIErrno) {
    let root = try directory(fd, .pathCreateDirectory).host
    try path.load(memory, address, length)
    try Beneath.createDirectory(root, path)
  }

  /// `path_remove_directory`
  func pathRemoveDirectory(_ memory: GuestMemory, _ fd: UInt32, _ address: UInt32, _ length: UInt32) throws(WASIErrno) {
    let root = try directory(fd, .pathRemoveDirectory).host
    try path.load(memory, address, length)
    try Beneath.removeDirectory(root, path)
  }

  /// `path_unlink_file`
  func pathUnlinkFile(_ memory: GuestMemory, _ fd: UInt32, _ address: UInt32, _ length: UInt32) throws(WASIErrno) {
    let root = try directory(fd, .pathUnlinkFile).host
    try path.load(memory, address, length)
    try Beneath.unlink(root, path)
  }

  /// `path_filestat_get`
  func pathFilestatGet(
    _ memory: GuestMemory, _ fd: UInt32, lookup: UInt32, _ address: UInt32, _ length: UInt32, _ result: UInt32,
    _ snapshot: Snapshot
  ) throws(WASIErrno) {
    let root = try directory(fd, .pathFilestatGet).host
    try path.load(memory, address, length)
    let status = try Beneath.status(root, path, follow: lookup & lookupSymlinkFollow != 0)
    try store(status, FileType(mode: status.st_mode), memory, result, snapshot)
  }

  /// `path_filestat_set_times`
  func pathFilestatSetTimes(
    _ memory: GuestMemory, _ fd: UInt32, lookup: UInt32, _ address: UInt32, _ length: UInt32, access: UInt64,
    modification: UInt64, _ flags: UInt32
  ) throws(WASIErrno) {
    let root = try directory(fd, .pathFilestatSetTimes).host
    let times = try Self.times(access, modification, flags)
    try path.load(memory, address, length)
    try Beneath.setTimes(
      root, path, follow: lookup & lookupSymlinkFollow != 0, access: times.access, modification: times.modification)
  }

  /// `path_readlink`: as much of the target as fits, without a terminator.
  func pathReadlink(
    _ memory: GuestMemory, _ fd: UInt32, _ address: UInt32, _ length: UInt32, _ buffer: UInt32, _ size: UInt32,
    _ result: UInt32
  ) throws(WASIErrno) {
    let root = try directory(fd, .pathReadlink).host
    try memory.check(result, 4)
    let region = try unsafe memory.region(buffer, UInt64(size))
    try path.load(memory, address, length)
    let count = try unsafe Beneath.readLink(
      root, path, into: UnsafeMutableRawBufferPointer(start: region, count: Int(size)))
    try memory.store(UInt32(count), at: result)
  }

  /// `path_symlink`
  func pathSymlink(
    _ memory: GuestMemory, _ target: UInt32, _ targetLength: UInt32, _ fd: UInt32, _ address: UInt32,
    _ length: UInt32
  ) throws(WASIErrno) {
    let root = try directory(fd, .pathSymlink).host
    try secondPath.load(memory, target, targetLength)
    try path.load(memory, address, length)
    try Beneath.symbolicLink(to: secondPath, root, path)
  }

  /// `path_rename`
  func pathRename(
    _ memory: GuestMemory, _ oldFd: UInt32, _ old: UInt32, _ oldLength: UInt32, _ newFd: UInt32, _ new: UInt32,
    _ newLength: UInt32
  ) throws(WASIErrno) {
    let oldRoot = try directory(oldFd, .pathRenameSource).host
    let newRoot = try directory(newFd, .pathRenameTarget).host
    try path.load(memory, old, oldLength)
    try secondPath.load(memory, new, newLength)
    try Beneath.rename(oldRoot, path, to: newRoot, secondPath)
  }

  /// `path_link`
  func pathLink(
    _ memory: GuestMemory, _ oldFd: UInt32, lookup: UInt32, _ old: UInt32, _ oldLength: UInt32, _ newFd: UInt32,
    _ new: UInt32, _ newLength: UInt32
  ) throws(WASIErrno) {
    let oldRoot = try directory(oldFd, .pathLinkSource).host
    let newRoot = try directory(newFd, .pathLinkTarget).host
    try path.load(memory, old, oldLength)
    try secondPath.load(memory, new, newLength)
    try Beneath.hardLink(oldRoot, path, follow: lookup & lookupSymlinkFollow != 0, to: newRoot, secondPath)
  }
}
