// Files that profilers look for under names that anybody can guess.
//
// `/tmp/perf-PID.map` is in a directory that all may write to. Opened carelessly, a link that another user put there would have
// us write into a file of ours; a file that the other one owns would have the profiler believe him. So the file is made new, and
// only for us; what stands there already is removed first if it is ours (a process of the same number left it), and is an error
// otherwise.
//
// A file is about one process. A child that goes on after `fork` has the parent's descriptor, and the same name in it would be
// wrong: it closes that and makes a file of its own when it has something to say. The lock is held across `fork`, so a child
// does not find it taken by a thread that it does not have.

import CPrecastHost
import Glibc

/// A profiler's file of this process, made when the first record is written. All use is by `withLock`.
struct ProfilerFile {
  /// A descriptor; 0 before there is one, a negative errno where there can be none.
  private var descriptor: Int32 = 0
  /// The process that made it.
  private var process: pid_t = 0
  /// Bytes of whole records.
  private(set) var size = 0

  /// Runs `body` while no other thread writes to a profiler's file.
  static func withLock<R>(_ body: () -> R) -> R {
    precast_observers_lock()
    defer { precast_observers_unlock() }
    return body()
  }

  /// Whether there is a file of this process: the one that there is, or what `create` makes.
  mutating func open(_ create: (inout ProfilerFile) -> Int32) -> Bool {
    let here = getpid()
    if process != here {
      // Of the parent; the file stays open there.
      if descriptor > 0 { close(descriptor) }
      self = ProfilerFile()
      process = here
      descriptor = create(&self)
    }
    return descriptor > 0
  }

  /// Writes what a new file begins with.
  mutating func start(_ header: [UInt8], of descriptor: Int32) -> Bool {
    guard Self.write(header, to: descriptor, at: 0) else { return false }
    size = header.count
    return true
  }

  /// Adds whole records; false when that fails, and then the file ends where it did before.
  mutating func append(_ records: [UInt8]) -> Bool {
    guard descriptor > 0 else { return false }
    if Self.write(records, to: descriptor, at: size) {
      size += records.count
      return true
    }
    // Half a record would make the rest unreadable.
    _ = ftruncate(descriptor, size)
    return false
  }

  /// A new file of this user's, open for reading and writing, or a negative errno.
  static func create(_ path: String) -> Int32 {
    for attempt in 0..<2 {
      let descriptor = unsafe Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
      if descriptor >= 0 { return descriptor }
      guard errno == EEXIST, attempt == 0 else { return -errno }
      var status = stat()
      // A link, or somebody else's: not for us to touch.
      guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid() else {
        return -EEXIST
      }
      _ = unsafe unlink(path)
    }
    return -EEXIST
  }

  /// Writes all bytes at a place in the file; false when that fails.
  static func write(_ bytes: [UInt8], to descriptor: Int32, at offset: Int) -> Bool {
    unsafe bytes.withUnsafeBytes { buffer in
      var written = 0
      while written < buffer.count {
        guard let base = buffer.baseAddress else { return true }
        // Inside the buffer.
        let count = unsafe pwrite(descriptor, base + written, buffer.count - written, offset + written)
        if count > 0 { written += count } else if count == 0 || errno != EINTR { return false }
      }
      return true
    }
  }
}
