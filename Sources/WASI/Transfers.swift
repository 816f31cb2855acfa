// Reading and writing: the calls that programs make most.
//
// A guest passes an array of (pointer, length) pairs. They become `iovec`s that point straight into the
// guest's memory, so bytes are copied once, by the kernel. The array of `iovec`s is a fixed buffer of
// 1024, the kernel's own limit: a longer array, however long it claims to be, is taken in pieces, and
// the first short transfer ends the call, as for a `readv` of any length.
//
// The place for the result is checked before anything moves, so that a bad pointer does not lose bytes.

internal import CPrecastHost
internal import Glibc

extension WASI {
  /// `fd_read`
  func fdRead(_ memory: GuestMemory, _ fd: UInt32, _ vectors: UInt32, _ count: UInt32, _ result: UInt32)
    throws(WASIErrno)
  {
    try memory.check(result, 4)
    let descriptor = try file(fd, .fdRead)
    try memory.store(try transfer(memory, descriptor, vectors, count, offset: -1, isWrite: false), at: result)
  }

  /// `fd_write`
  func fdWrite(_ memory: GuestMemory, _ fd: UInt32, _ vectors: UInt32, _ count: UInt32, _ result: UInt32)
    throws(WASIErrno)
  {
    try memory.check(result, 4)
    let descriptor = try file(fd, .fdWrite)
    try memory.store(try transfer(memory, descriptor, vectors, count, offset: -1, isWrite: true), at: result)
  }

  /// `fd_pread`
  func fdPread(
    _ memory: GuestMemory, _ fd: UInt32, _ vectors: UInt32, _ count: UInt32, offset: UInt64, _ result: UInt32
  ) throws(WASIErrno) {
    try memory.check(result, 4)
    let descriptor = try seekable(fd, [.fdRead, .fdSeek])
    guard let offset = Int64(exactly: offset) else { throw .inval }
    try memory.store(try transfer(memory, descriptor, vectors, count, offset: offset, isWrite: false), at: result)
  }

  /// `fd_pwrite`
  func fdPwrite(
    _ memory: GuestMemory, _ fd: UInt32, _ vectors: UInt32, _ count: UInt32, offset: UInt64, _ result: UInt32
  ) throws(WASIErrno) {
    try memory.check(result, 4)
    let descriptor = try seekable(fd, [.fdWrite, .fdSeek])
    guard let offset = Int64(exactly: offset) else { throw .inval }
    try memory.store(try transfer(memory, descriptor, vectors, count, offset: offset, isWrite: true), at: result)
  }

  /// A stream that could be read but has no offset is `spipe`, not `badf`.
  private func seekable(_ fd: UInt32, _ rights: Rights) throws(WASIErrno) -> Descriptor {
    let descriptor = try descriptors[fd]
    if descriptor.kind != .file, descriptor.kind != .directory { throw .spipe }
    return try file(fd, rights)
  }

  /// Turns guest vectors into `iovec`s: as many as there is room for, empty ones left out.
  ///
  /// `address` and `remaining` move past those that were taken. Throws `fault` where a vector, or the
  /// memory that it names, is not inside the memory.
  func gather(
    _ memory: GuestMemory, _ address: inout UInt32, _ remaining: inout UInt32
  ) throws(WASIErrno) -> (count: Int, bytes: UInt64) {
    var count = 0
    var bytes: UInt64 = 0
    while remaining > 0, count < Self.vectorCapacity {
      let pointer = try memory.load(address, as: UInt32.self)
      let length = try memory.load(address, offset: 4, as: UInt32.self)
      if length > 0 {
        let region = try unsafe memory.region(pointer, UInt64(length))
        unsafe vectors[count] = iovec(iov_base: region, iov_len: Int(length))
        count += 1
        bytes += UInt64(length)
      }
      remaining -= 1
      // Wraps only after the last vector that could end the memory.
      address = address &+ 8
    }
    return (count, bytes)
  }

  /// Moves bytes between a descriptor and guest memory; returns how many. `offset` is -1 for "at the
  /// descriptor's own".
  private func transfer(
    _ memory: GuestMemory, _ descriptor: Descriptor, _ address: UInt32, _ vectorCount: UInt32, offset: Int64,
    isWrite: Bool
  ) throws(WASIErrno) -> UInt32 {
    try memory.checkArray(address, elements: vectorCount, stride: 8)
    var address = address
    var remaining = vectorCount
    var total: UInt64 = 0
    repeat {
      do throws(WASIErrno) {
        let piece = try gather(memory, &address, &remaining)
        if piece.count == 0 { break }
        let (position, overflow) = offset.addingReportingOverflow(Int64(total))
        if overflow { throw .inval }
        let moved = try move(descriptor, piece.count, offset: offset < 0 ? -1 : position, isWrite: isWrite)
        total += moved
        if moved < piece.bytes { break }
      } catch {
        // What has been moved has been moved: report that, and the error next time.
        if total > 0 { break }
        throw error
      }
      // The result has 32 bits, and the kernel moves less than 2^31 bytes at a time.
    } while remaining > 0 && total < 1 << 31
    return UInt32(total)
  }

  /// One system call over the first `count` vectors, or the closure of an in-memory stream.
  @inline(__always)
  private func move(_ descriptor: Descriptor, _ count: Int, offset: Int64, isWrite: Bool) throws(WASIErrno) -> UInt64 {
    switch descriptor.kind {
    case .file, .stream:
      if descriptor.flags.contains(.nonblock), !descriptor.isOwned {
        try requireReady(descriptor, isWrite: isWrite)
      }
      let host = descriptor.host
      let moved: Int
      if !isWrite {
        moved = try unsafe checked(precast_readv(host, vectors, Int32(count), offset))
      } else if descriptor.isPipe && !ignoresBrokenPipes {
        moved = try unsafe checked(precast_writev_quietly(host, vectors, Int32(count)))
      } else {
        moved = try unsafe checked(precast_writev(host, vectors, Int32(count), offset))
      }
      return UInt64(moved)
    case .null: return isWrite ? totalLength(count) : 0
    case .source: return try isWrite ? fail(.badf) : pull(Int(descriptor.host))
    case .sink: return try isWrite ? push(Int(descriptor.host), count) : fail(.badf)
    case .directory, .closed: throw .badf
    }
  }

  private func fail(_ error: WASIErrno) throws(WASIErrno) -> UInt64 { throw error }

  private func totalLength(_ count: Int) -> UInt64 {
    var total: UInt64 = 0
    for index in 0..<count { total += UInt64(unsafe vectors[index].iov_len) }
    return total
  }

  /// Calls a sink with each vector.
  private func push(_ sink: Int, _ count: Int) -> UInt64 {
    for index in 0..<count {
      let vector = unsafe vectors[index]
      let bytes = unsafe UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len)
      sinks[sink](unsafe bytes.bytes)
    }
    return totalLength(count)
  }

  /// Calls a source with the first vector: a short read, which any caller has to expect.
  private func pull(_ source: Int) -> UInt64 {
    let vector = unsafe vectors[0]
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: vector.iov_base, count: vector.iov_len)
    var span = unsafe buffer.mutableBytes
    // A closure that claims more than there was room for must not make the guest read past it.
    return UInt64(max(0, min(sources[source](&span), buffer.count)))
  }

  /// `again` unless a shared descriptor could be read or written now.
  private func requireReady(_ descriptor: Descriptor, isWrite: Bool) throws(WASIErrno) {
    var poll = pollfd(fd: descriptor.host, events: Int16(isWrite ? POLLOUT : POLLIN), revents: 0)
    if try unsafe checked(precast_poll(&poll, 1, 0)) == 0 { throw .again }
  }
}
