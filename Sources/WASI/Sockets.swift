// `sock_*`. Preview 1 cannot make a socket; it can use those that a guest was given, as a standard stream
// (the way inetd does) or by accepting from one of these.

internal import CPrecastHost
internal import Glibc

extension WASI {
  private func socket(_ fd: UInt32, _ rights: Rights) throws(WASIErrno) -> Descriptor {
    let descriptor = try descriptors[fd]
    switch descriptor.fileType {
    case .socketStream, .socketDgram: break
    default: throw .notsock
    }
    if !descriptor.base.isSuperset(of: rights) { throw .notcapable }
    return descriptor
  }

  /// `sock_accept`
  func sockAccept(_ memory: GuestMemory, _ fd: UInt32, flags: UInt32, _ result: UInt32) throws(WASIErrno) {
    let listener = try socket(fd, .sockAccept)
    if flags & ~UInt32(FdFlags.nonblock.rawValue) != 0 { throw .inval }
    try memory.check(result, 4)
    try descriptors.requireRoom()
    let isNonblocking = flags != 0
    let accepted = HostDescriptor(try checked(precast_accept(listener.host, isNonblocking ? 1 : 0)))
    let descriptor = try Descriptor(
      describing: accepted.number, isOwned: true, flags: isNonblocking ? .nonblock : [], base: .socket,
      inheriting: [])
    _ = accepted.release()
    try memory.store(descriptors.insert(descriptor), at: result)
  }

  /// `sock_recv`: flags 1 (peek) and 2 (wait for all).
  func sockRecv(
    _ memory: GuestMemory, _ fd: UInt32, _ address: UInt32, _ count: UInt32, flags: UInt32, _ length: UInt32,
    _ outFlags: UInt32
  ) throws(WASIErrno) {
    let descriptor = try socket(fd, .fdRead)
    if flags & ~3 != 0 { throw .inval }
    try memory.check(length, 4)
    try memory.check(outFlags, 2)
    var message = try unsafe message(memory, address, count)
    var hostFlags = Int32(0)
    if flags & 1 != 0 { hostFlags |= Int32(MSG_PEEK) }
    if flags & 2 != 0 { hostFlags |= Int32(MSG_WAITALL) }
    var received: Int
    repeat {
      received = unsafe recvmsg(descriptor.host, &message, hostFlags)
    } while received < 0 && errno == EINTR
    if received < 0 { throw .last }
    let isTruncated = unsafe message.msg_flags & Int32(MSG_TRUNC) != 0
    try memory.store(UInt32(received), at: length)
    try memory.store(UInt16(isTruncated ? 1 : 0), at: outFlags)
  }

  /// `sock_send`; no flags are defined.
  func sockSend(
    _ memory: GuestMemory, _ fd: UInt32, _ address: UInt32, _ count: UInt32, flags: UInt32, _ length: UInt32
  ) throws(WASIErrno) {
    let descriptor = try socket(fd, .fdWrite)
    if flags != 0 { throw .inval }
    try memory.check(length, 4)
    var message = try unsafe message(memory, address, count)
    var sent: Int
    repeat {
      sent = unsafe sendmsg(descriptor.host, &message, Int32(MSG_NOSIGNAL))
    } while sent < 0 && errno == EINTR
    if sent < 0 { throw .last }
    try memory.store(UInt32(sent), at: length)
  }

  /// `sock_shutdown`
  func sockShutdown(_ fd: UInt32, _ how: UInt32) throws(WASIErrno) {
    let descriptor = try socket(fd, .sockShutdown)
    let host: Int
    switch how {
    case 1: host = Int(SHUT_RD)
    case 2: host = Int(SHUT_WR)
    case 3: host = Int(SHUT_RDWR)
    default: throw .inval
    }
    if shutdown(descriptor.host, Int32(host)) != 0 { throw .last }
  }

  /// A message over the first 1024 vectors: a message cannot be sent in pieces, so more is `inval`.
  private func message(_ memory: GuestMemory, _ address: UInt32, _ count: UInt32) throws(WASIErrno) -> msghdr {
    if count > UInt32(Self.vectorCapacity) { throw .inval }
    try memory.checkArray(address, elements: count, stride: 8)
    var (address, remaining) = (address, count)
    let piece = try gather(memory, &address, &remaining)
    var message = unsafe msghdr()
    unsafe message.msg_iov = vectors
    unsafe message.msg_iovlen = piece.count
    return unsafe message
  }
}
