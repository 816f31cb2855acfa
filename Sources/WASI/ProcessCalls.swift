// Arguments, environment, clocks, random numbers, and the end of the process.

internal import CPrecastHost
internal import Glibc

extension WASI {
  /// The host's clock for a `clockid`, or `inval`.
  static func hostClock(_ id: UInt32) throws(WASIErrno) -> clockid_t {
    switch id {
    case 0: return CLOCK_REALTIME
    case 1: return CLOCK_MONOTONIC
    case 2: return CLOCK_PROCESS_CPUTIME_ID
    case 3: return CLOCK_THREAD_CPUTIME_ID
    default: throw .inval
    }
  }

  /// The time of a clock, in nanoseconds.
  static func now(_ clock: clockid_t) throws(WASIErrno) -> UInt64 {
    var time = timespec()
    if unsafe clock_gettime(clock, &time) != 0 { throw .last }
    return nanoseconds(time)
  }

  /// `clock_time_get`; Linux has no use for the precision.
  func clockTimeGet(_ memory: GuestMemory, _ clock: UInt32, _ result: UInt32) throws(WASIErrno) {
    try memory.store(try Self.now(try Self.hostClock(clock)), at: result)
  }

  /// `clock_res_get`
  func clockResGet(_ memory: GuestMemory, _ clock: UInt32, _ result: UInt32) throws(WASIErrno) {
    var resolution = timespec()
    if unsafe clock_getres(try Self.hostClock(clock), &resolution) != 0 { throw .last }
    try memory.store(nanoseconds(resolution), at: result)
  }

  /// `random_get`: from the kernel straight into the guest's memory.
  func randomGet(_ memory: GuestMemory, _ buffer: UInt32, _ length: UInt32) throws(WASIErrno) {
    let region = try unsafe memory.region(buffer, UInt64(length))
    _ = try unsafe checked(precast_getrandom(region, Int(length)))
  }

  /// `sched_yield`
  func schedYield() { Glibc.sched_yield() }

  /// `proc_raise`: a guest has no signals to raise, and the host's are not for it.
  func procRaise() throws(WASIErrno) { throw .notsup }
}
