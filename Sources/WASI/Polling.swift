// `poll_oneoff`: waiting for descriptors and clocks.
//
// All subscriptions become one `ppoll`: descriptors as they are, and of the clocks only the one that
// ends first, as its timeout. Afterwards each subscription is looked at again, and those that are due
// become events, in the order of the subscriptions. A subscription that is wrong (no such descriptor, a
// clock that cannot be waited for) is an event with an error, at once: it must not keep the guest from
// hearing of the others.
//
// Regular files and in-memory streams are always ready, as for `poll(2)`.

internal import CPrecastHost
internal import Glibc

extension WASI {
  /// Subscriptions that one call may have: far above what a program with our limit of descriptors needs,
  /// and a bound on what a call can cost the host.
  private static let maximumSubscriptions: UInt32 = 65536

  /// Where the fields of a `subscription` are.
  private struct Layout {
    let size: UInt32
    let clock: UInt32
    let timeout: UInt32
    let flags: UInt32
    /// `wasi_unstable` has a `userdata` of its own in each clock subscription, before the rest.
    init(_ snapshot: Snapshot) {
      let shift: UInt32 = snapshot == .preview1 ? 0 : 8
      size = 48 + shift
      clock = 16 + shift
      timeout = 24 + shift
      flags = 40 + shift
    }
  }

  private enum Subscription {
    /// Due when the clock reaches the time, in nanoseconds.
    case clock(clockid_t, deadline: UInt64)
    /// Due when the poll says so.
    case descriptor(Descriptor, isWrite: Bool, poll: Int)
    /// Due now.
    case ready(isWrite: Bool)
    case failed(WASIErrno, type: UInt8)
  }

  /// `poll_oneoff`
  func pollOneoff(
    _ memory: GuestMemory, _ input: UInt32, _ output: UInt32, _ count: UInt32, _ result: UInt32, _ snapshot: Snapshot
  ) throws(WASIErrno) {
    if count == 0 || count > Self.maximumSubscriptions { throw .inval }
    let layout = Layout(snapshot)
    try memory.check(result, 4)
    try memory.checkArray(input, elements: count, stride: UInt64(layout.size))
    try memory.checkArray(output, elements: count, stride: 32)

    // Copied first: the guest may let input and output overlap.
    var subscriptions: [(userdata: UInt64, Subscription)] = []
    var polls: [pollfd] = []
    subscriptions.reserveCapacity(Int(count))
    for index in 0..<count {
      let address = input + index * layout.size
      let subscription = try subscription(memory, address, layout, &polls)
      subscriptions.append((try memory.load(address), subscription))
    }

    var events: UInt32 = 0
    // A second round is needed only where a clock was set back meanwhile, or does not run at the pace of
    // the one that the wait was measured on.
    repeat {
      var wait = UInt64.max
      for (_, subscription) in subscriptions { wait = min(wait, try delay(of: subscription)) }
      _ = try unsafe polls.withUnsafeMutableBufferPointer { (polls) throws(WASIErrno) in
        try unsafe checked(precast_poll(polls.baseAddress, polls.count, wait))
      }
      for (userdata, subscription) in subscriptions {
        if try report(subscription, polls, userdata, memory, output + events * 32) { events += 1 }
      }
    } while events == 0
    try memory.store(events, at: result)
  }

  /// Nanoseconds until a subscription is due, as far as that is known before the poll.
  private func delay(of subscription: Subscription) throws(WASIErrno) -> UInt64 {
    switch subscription {
    case .clock(let clock, let deadline):
      let now = try Self.now(clock)
      return deadline > now ? deadline - now : 0
    case .ready, .failed: return 0
    case .descriptor: return .max
    }
  }

  private func subscription(
    _ memory: GuestMemory, _ address: UInt32, _ layout: Layout, _ polls: inout [pollfd]
  ) throws(WASIErrno) -> Subscription {
    let type: UInt8 = try memory.load(address, offset: 8)
    switch type {
    case 0:
      let id: UInt32 = try memory.load(address, offset: layout.clock)
      let timeout: UInt64 = try memory.load(address, offset: layout.timeout)
      let flags: UInt16 = try memory.load(address, offset: layout.flags)
      // One cannot wait for time to be spent while spending none.
      guard id < 2 else { return .failed(id < 4 ? .notsup : .inval, type: type) }
      if flags & ~1 != 0 { return .failed(.inval, type: type) }
      if flags & 1 != 0 { return .clock(try Self.hostClock(id), deadline: timeout) }
      // "From now" is measured on the monotonic clock even for the other: it cannot be set.
      let (deadline, overflow) = try Self.now(CLOCK_MONOTONIC).addingReportingOverflow(timeout)
      return .clock(CLOCK_MONOTONIC, deadline: overflow ? .max : deadline)
    case 1, 2:
      let isWrite = type == 2
      do throws(WASIErrno) {
        let descriptor = try file(
          try memory.load(address, offset: 16), isWrite ? [.fdWrite, .pollFdReadwrite] : [.fdRead, .pollFdReadwrite])
        switch descriptor.kind {
        case .file, .stream:
          polls.append(pollfd(fd: descriptor.host, events: Int16(isWrite ? POLLOUT : POLLIN), revents: 0))
          return .descriptor(descriptor, isWrite: isWrite, poll: polls.count - 1)
        default: return .ready(isWrite: isWrite)
        }
      } catch {
        return .failed(error, type: type)
      }
    default: throw .inval
    }
  }

  /// Stores the event of a subscription that is due; returns whether it is.
  private func report(
    _ subscription: Subscription, _ polls: [pollfd], _ userdata: UInt64, _ memory: GuestMemory, _ address: UInt32
  ) throws(WASIErrno) -> Bool {
    var error: WASIErrno = .success
    var bytes: UInt64 = 0
    var flags: UInt16 = 0
    let type: UInt8
    switch subscription {
    case .clock(let clock, let deadline):
      if try Self.now(clock) < deadline { return false }
      type = 0
    case .ready(let isWrite):
      type = isWrite ? 2 : 1
      bytes = 1
    case .failed(let reason, let kind):
      type = kind
      error = reason
    case .descriptor(let descriptor, let isWrite, let index):
      let answer = Int32(polls[index].revents)
      if answer == 0 { return false }
      type = isWrite ? 2 : 1
      if answer & Int32(POLLNVAL) != 0 { error = .badf }
      if answer & Int32(POLLERR) != 0 { error = isWrite ? .pipe : .io }
      if answer & Int32(POLLHUP) != 0 { flags = 1 }
      if error == .success { bytes = available(descriptor, isWrite: isWrite) }
    }
    try memory.clear(address, 32)
    try memory.store(userdata, at: address)
    try memory.store(error.rawValue, at: address, offset: 8)
    try memory.store(type, at: address, offset: 10)
    try memory.store(bytes, at: address, offset: 16)
    try memory.store(flags, at: address, offset: 24)
    return true
  }

  /// How many bytes can be read, or for a write, that some can be written.
  private func available(_ descriptor: Descriptor, isWrite: Bool) -> UInt64 {
    if isWrite { return 1 }
    if descriptor.fileType == .regularFile {
      var status = stat()
      let position = lseek(descriptor.host, 0, SEEK_CUR)
      if position < 0 { return 0 }
      if unsafe fstat(descriptor.host, &status) != 0 { return 0 }
      return UInt64(max(0, Int(status.st_size) - Int(position)))
    }
    return UInt64(precast_readable_bytes(descriptor.host))
  }
}
