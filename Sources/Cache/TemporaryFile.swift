// Files that get their name when they are complete.
//
// A reader must find a whole file or none, whatever happens to the writer, so everything is written under another name and
// renamed. What a killed writer leaves under such a name has to be told from what a live one is still working on. Ages
// are a guess, and numbers of processes mean nothing across containers; so a writer holds the lock of its temporary
// file. The lock goes with the process, whatever ends it, and clean-up removes every temporary file whose lock it can take.
//
// (A file without any name, O_TMPFILE, leaves nothing behind, but it can only be linked to a name that is free, not take
// one's place, and not every file system has them.)

import Glibc
import Synchronization

/// A file that is being written, under a temporary name. Removed with its owner unless it was given its name.
struct TemporaryFile: ~Copyable {
  /// Open for reading and writing.
  let descriptor: Int32
  private let name: String
  private let directory: OwnedDescriptor
  private let calls: FileCalls
  // Whether the temporary name is (or may be) there.
  private var isNamed = true
  private var isOpen = true

  /// What the names of temporary files begin with.
  static let prefix = ".tmp-"

  private static let counter = Atomic<UInt64>(0)

  /// Makes a file that nobody else may read, write or execute. `isFinal`: nor its owner write, once it is closed.
  ///
  /// - Throws: `DirectoryProblem` with the call that failed.
  init(in directory: OwnedDescriptor, calls: FileCalls, isFinal: Bool) throws(DirectoryProblem) {
    var descriptor: Int32 = -EEXIST
    var name = ""
    // A name is free but for what a process with the same number left in another namespace.
    for _ in 0..<16 where descriptor == -EEXIST {
      let number = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
      name = "\(Self.prefix)\(getpid())-\(number)-\(String(UInt64.random(in: .min ... .max), radix: 36))"
      descriptor = calls.create(directory.number, name, mode: isFinal ? 0o400 : 0o600)
    }
    guard descriptor >= 0 else { throw DirectoryProblem(errno: -descriptor, "create a file") }
    self.descriptor = descriptor
    self.name = name
    self.directory = directory
    self.calls = calls
    // Where the file system has no locks, clean-up goes by age.
    _ = calls.lock(descriptor)
  }

  deinit {
    if isNamed { _ = calls.remove(directory.number, name) }
    if isOpen { calls.close(descriptor) }
  }

  /// Gives the file its name, in place of what had it, once its contents are on the disk: a name that outlives a power
  /// failure while the contents do not would be the wrong code.
  ///
  /// - Parameter seal: the time of last modification that it gets.
  mutating func publish(as finalName: String, seal: Int?, isDurable: Bool = true) throws(DirectoryProblem) {
    if isDurable {
      let result = calls.sync(descriptor)
      if result < 0 { throw DirectoryProblem(errno: -result, "write a file") }
    }
    if let seal {
      let result = calls.setTimes(descriptor, seconds: seal)
      if result < 0 { throw DirectoryProblem(errno: -result, "set a file's time") }
    }
    let result = calls.rename(directory.number, name, to: finalName)
    if result < 0 { throw DirectoryProblem(errno: -result, "rename a file") }
    isNamed = false
  }

  /// Gives up the descriptor, whose lock is released.
  consuming func take() -> Int32 {
    _ = flock(descriptor, LOCK_UN)
    isOpen = false
    return descriptor
  }

  /// Whether a temporary file belongs to nobody any more.
  static func isAbandoned(_ name: String, in directory: OwnedDescriptor, calls: FileCalls, now: WallTime) -> Bool {
    let descriptor = calls.open(directory.number, name)
    guard descriptor >= 0 else { return false }
    defer { calls.close(descriptor) }
    let result = calls.lock(descriptor)
    if result == 0 { return true }
    if result == -EWOULDBLOCK { return false }
    // No locks here: an hour is longer than any compilation takes.
    var status = stat()
    guard calls.status(descriptor, &status) == 0 else { return false }
    return now.nanoseconds(since: WallTime(status.st_mtim)) > 3600 * 1_000_000_000
  }
}
