// The system calls that the cache makes on files, in one place.
//
// A cache lives on a disk that fills up, a directory that somebody removes, a mount that turns read-only: every call may fail,
// and the cache has to come out of each failure with a compiled module and a sound directory. That is only true if it is
// tried for each call, so all of them go through here, and a test can put itself in front of any (`fault`). Outside of tests
// that is one comparison with nil.
//
// Results are the kernel's: at least 0, or a negative errno. Calls that a signal interrupted are made again.

import CPrecastHost
import Glibc

/// The calls, by what they are made for.
enum FileCall: String, CaseIterable, Sendable {
  case open, create, status, read, write, sync, setTimes, rename, remove, makeDirectory, list, lock
}

/// What a test may make of a call.
enum FileFault: Sendable {
  /// It fails with this errno, and nothing happens.
  case error(Int32)
  /// A write (or read) transfers a part only.
  case short
}

/// System calls on files, each of which a test can make fail.
struct FileCalls: Sendable {
  /// Asked before each call; nil outside of tests.
  var fault: (@Sendable (FileCall) -> FileFault?)?

  init(fault: (@Sendable (FileCall) -> FileFault?)? = nil) { self.fault = fault }

  private func failure(_ call: FileCall) -> Int32? {
    guard let fault, case .error(let number)? = fault(call) else { return nil }
    return -number
  }

  /// Makes a call until no signal interrupts it.
  private func retry(_ body: () -> Int32) -> Int32 {
    while true {
      let result = body()
      if result >= 0 { return result }
      if errno != EINTR { return -errno }
    }
  }

  // MARK: Opening

  /// Opens what is there, for reading: never through a link in the last place, never waiting for a pipe's other end.
  func open(_ directory: Int32, _ name: String) -> Int32 {
    if let failure = failure(.open) { return failure }
    return retry { unsafe openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) }
  }

  /// Opens a directory. A link in the last place is followed only where `followsLink`.
  func openDirectory(_ directory: Int32, _ name: String, followsLink: Bool = false) -> Int32 {
    if let failure = failure(.open) { return failure }
    let flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (followsLink ? 0 : O_NOFOLLOW)
    return retry { unsafe openat(directory, name, flags) }
  }

  /// Makes a file that must not exist, open for reading and writing, with these permissions.
  func create(_ directory: Int32, _ name: String, mode: mode_t) -> Int32 {
    if let failure = failure(.create) { return failure }
    return retry { unsafe openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode) }
  }

  /// Opens a file for reading and writing, or makes it; what is written goes to its end where `appends`.
  func openOrCreate(_ directory: Int32, _ name: String, appends: Bool = false) -> Int32 {
    if let failure = failure(.create) { return failure }
    let flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (appends ? O_APPEND : 0)
    return retry { unsafe openat(directory, name, flags, 0o600) }
  }

  /// Closes a descriptor. There is nothing to be done where that fails.
  func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

  // MARK: Looking

  /// `fstat`.
  func status(_ descriptor: Int32, _ status: inout stat) -> Int32 {
    if let failure = failure(.status) { return failure }
    return unsafe fstat(descriptor, &status) == 0 ? 0 : -errno
  }

  /// `fstatat`, of a link itself where it is one.
  func status(_ directory: Int32, _ name: String, _ status: inout stat) -> Int32 {
    if let failure = failure(.status) { return failure }
    return unsafe fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno
  }

  /// The names in a directory, but for `.` and `..`; those that are not UTF-8 cannot be ours and are left out. Nil where it
  /// cannot be read to its end.
  func names(in directory: Int32) -> [String]? {
    if failure(.list) != nil { return nil }
    // A description of its own: the position in the directory belongs to that.
    let own = retry { unsafe openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard own >= 0 else { return nil }
    guard let stream = unsafe fdopendir(own) else {
      close(own)
      return nil
    }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else { return errno == 0 ? names : nil }
      // The kernel ends the name with a zero, inside the record.
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { place in
        unsafe place.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(validatingCString: $0) }
      }
      if let name, name != ".", name != ".." { names.append(name) }
    }
  }

  // MARK: Reading and writing

  /// Reads up to `buffer.count` bytes at an offset; fewer only at the file's end.
  func read(_ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
    var done = 0
    while done < buffer.count {
      let most: Int
      switch fault?(.read) {
      case .error(let number)?: return -Int(number)
      case .short?: return done
      case nil: most = buffer.count - done
      }
      // Inside the buffer: `done` never passes its count.
      let count = unsafe pread(descriptor, buffer.baseAddress.map { unsafe $0 + done }, most, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      if count < 0 { return -Int(errno) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// Writes all of the bytes at an offset (or at the end, for a descriptor that appends); 0, or a negative errno.
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int32 {
    var done = 0
    while done < bytes.count {
      // A few megabytes at a time, so that a signal never throws away much.
      var most = min(bytes.count - done, 4 << 20)
      switch fault?(.write) {
      case .error(let number)?: return -number
      case .short?: most = max(1, most / 2)
      case nil: break
      }
      let count = unsafe pwrite(descriptor, bytes.baseAddress.map { unsafe $0 + done }, most, off_t(offset + done))
      if count < 0 && errno == EINTR { continue }
      if count < 0 { return -errno }
      if count == 0 { return -ENOSPC }
      done += count
    }
    return 0
  }

  /// Writes all bytes of an array.
  func write(_ descriptor: Int32, _ bytes: [UInt8], at offset: Int) -> Int32 {
    unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0, at: offset) }
  }

  /// Waits until what was written is on the disk.
  func sync(_ descriptor: Int32) -> Int32 {
    if let failure = failure(.sync) { return failure }
    return retry { fdatasync(descriptor) }
  }

  // MARK: Names, times and locks

  /// Sets a file's time of last modification, to whole seconds of the epoch, or to now for nil. Its time of last access stays.
  func setTimes(_ descriptor: Int32, seconds: Int?) -> Int32 {
    if let failure = failure(.setTimes) { return failure }
    // UTIME_OMIT and UTIME_NOW, which are macros.
    let omit = timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2)
    let modified = seconds.map { timespec(tv_sec: $0, tv_nsec: 0) } ?? timespec(tv_sec: 0, tv_nsec: (1 << 30) - 1)
    var times = (omit, modified)
    return unsafe withUnsafePointer(to: &times) { pair in
      // Two of one type, one behind the other.
      unsafe pair.withMemoryRebound(to: timespec.self, capacity: 2) { times in
        unsafe futimens(descriptor, times) == 0 ? 0 : -errno
      }
    }
  }

  /// Moves a name within a directory; what had the new name before has none afterwards.
  func rename(_ directory: Int32, _ name: String, to newName: String) -> Int32 {
    if let failure = failure(.rename) { return failure }
    return unsafe renameat(directory, name, directory, newName) == 0 ? 0 : -errno
  }

  /// Removes a name. Whoever has the file open or mapped keeps it.
  func remove(_ directory: Int32, _ name: String) -> Int32 {
    if let failure = failure(.remove) { return failure }
    return unsafe unlinkat(directory, name, 0) == 0 ? 0 : -errno
  }

  /// Removes an empty directory.
  func removeDirectory(_ directory: Int32, _ name: String) -> Int32 {
    if let failure = failure(.remove) { return failure }
    // AT_REMOVEDIR.
    return unsafe unlinkat(directory, name, 0x200) == 0 ? 0 : -errno
  }

  /// Makes a directory for this user alone.
  func makeDirectory(_ directory: Int32, _ name: String) -> Int32 {
    if let failure = failure(.makeDirectory) { return failure }
    return unsafe mkdirat(directory, name, 0o700) == 0 ? 0 : -errno
  }

  /// Takes the file's lock for this open file; waits for it only where `waits`. It goes with the descriptor, however the
  /// process ends.
  func lock(_ descriptor: Int32, waits: Bool = false) -> Int32 {
    if let failure = failure(.lock) { return failure }
    return retry { flock(descriptor, LOCK_EX | (waits ? 0 : LOCK_NB)) }
  }
}

/// The system's words for an error number.
func errorText(_ number: Int32) -> String {
  // `strerror_r` writes into our buffer; `strerror` would share one among threads.
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    guard let start = buffer.baseAddress, unsafe strerror_r(number, start, buffer.count) == 0 else {
      return "error \(number)"
    }
    return unsafe String(cString: start)
  }
}

/// A descriptor that is closed with its last owner.
final class OwnedDescriptor: Sendable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { Glibc.close(number) }
}

/// The time of day, as the file system's stamps have it.
struct WallTime: Comparable, Sendable {
  var seconds: Int
  var nanoseconds: Int

  init(seconds: Int, nanoseconds: Int = 0) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  init(_ time: timespec) { self.init(seconds: time.tv_sec, nanoseconds: time.tv_nsec) }

  /// Now.
  static var now: WallTime {
    var time = timespec()
    // Cannot fail: the clock exists and the pointer is to our own variable.
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return WallTime(time)
  }

  static func < (a: WallTime, b: WallTime) -> Bool {
    a.seconds != b.seconds ? a.seconds < b.seconds : a.nanoseconds < b.nanoseconds
  }

  /// Nanoseconds from another time to this one; at the ends of the range where it is more.
  func nanoseconds(since other: WallTime) -> Int {
    let (whole, overflow) = seconds.subtractingReportingOverflow(other.seconds)
    if overflow { return seconds < other.seconds ? Int.min : Int.max }
    let (scaled, tooMuch) = whole.multipliedReportingOverflow(by: 1_000_000_000)
    if tooMuch { return whole < 0 ? Int.min : Int.max }
    let (sum, overflowed) = scaled.addingReportingOverflow(nanoseconds - other.nanoseconds)
    return overflowed ? (whole < 0 ? Int.min : Int.max) : sum
  }
}
