// What a cache's callers and its worker share: the open directories, the counts, and the one warning.

import Glibc
import Synchronization

/// The part of a cache that both its callers and its worker hold.
final class CacheCore: Sendable {
  let configuration: CacheConfiguration
  let directory: CacheDirectory
  private let warn: @Sendable (String) -> Void
  private let hasWarned = Mutex(false)
  private let pending = PendingCounts()
  private let opened = Mutex(Opened())

  private struct Opened {
    var root: OwnedDescriptor?
    var below: [String: OwnedDescriptor] = [:]
  }

  var calls: FileCalls { directory.calls }

  init(configuration: CacheConfiguration, root: String, calls: FileCalls, warn: @escaping @Sendable (String) -> Void) {
    self.configuration = configuration
    directory = CacheDirectory(root: root, calls: calls, isReadOnly: configuration.isReadOnly)
    self.warn = warn
  }

  // MARK: Directories

  /// The root.
  func root(creates: Bool) throws(DirectoryProblem) -> OwnedDescriptor {
    if let root = opened.withLock({ $0.root }) {
      if (try? directory.check(root, directory.root)) != nil { return root }
      forget()
    }
    let root = try directory.openRoot(creates: creates)
    opened.withLock { $0.root = root }
    return root
  }

  /// A directory below the root, checked.
  func subdirectory(_ name: String, creates: Bool) throws(DirectoryProblem) -> OwnedDescriptor {
    if let known = opened.withLock({ $0.below[name] }) {
      if (try? directory.check(known, name)) != nil { return known }
      forget()
    }
    let opened = try directory.open(name, in: root(creates: creates), creates: creates)
    self.opened.withLock { $0.below[name] = opened }
    return opened
  }

  /// Lets go of all directories: one of them was removed, or is not to be trusted any more.
  func forget() { opened.withLock { $0 = Opened() } }

  /// Does something that needs a directory; again if the directory was removed meanwhile, or is being removed.
  func withSubdirectory<R>(
    _ name: String, _ body: (OwnedDescriptor) throws(DirectoryProblem) -> R
  ) throws(DirectoryProblem) -> R {
    var tries = 0
    while true {
      do {
        return try body(subdirectory(name, creates: true))
      } catch {
        tries += 1
        guard error.isAbsent, tries < 4 else { throw error }
        forget()
        sched_yield()
      }
    }
  }

  // MARK: Counts and words

  /// Counts something.
  func count(_ what: Counted, _ number: UInt64 = 1) { pending.add(what, number) }

  /// What this process has counted and not yet written down.
  var pendingCounts: Counts { pending.current }

  /// Adds this process's counts to the file's. What cannot be added now stays for the next time.
  func flushCounts() {
    if configuration.isReadOnly { return }
    let counts = pending.take()
    if counts == Counts() { return }
    // The root is opened anew: the worker shares no lock with those who look up.
    if let root = try? directory.openRoot(creates: false), directory.add(counts, in: root) { return }
    pending.restore(counts)
  }

  /// Says that the cache does not work, once in its life. It is no error: what is not cached gets compiled.
  func warnOnce(_ problem: DirectoryProblem) {
    let isFirst = hasWarned.withLock { said in
      defer { said = true }
      return !said
    }
    if isFirst {
      warn(
        "the artifact cache \(directory.root) cannot be used (\(problem.message)); what it lacks is compiled each time"
      )
    }
  }
}
