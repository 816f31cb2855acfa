// The worker: what can wait, done by one thread that nobody waits for.
//
// Callers put events into a queue of fixed size. Where it is full, or its lock would have to be waited for, the event is
// dropped: a use that is not counted costs nothing, a guest that starts late does. The thread is started by the first
// event, runs only when a processor is free (SCHED_IDLE), takes no signals, and wakes by itself once per clean-up interval.
// It may end in the middle of anything with its process: each file that it makes appears whole or not at all, and its locks
// are the kernel's.
//
// A program that runs one guest and ends (the command) would start a thread for a microsecond's work, and on a busy machine
// that thread would not get its turn before the end. There the work is *deferred*: events of hits wait in the queue until
// `finish`, and whoever calls that does them himself; the thread is started only for what takes time.

import CPrecastHost
import Glibc

/// What the worker is told.
enum WorkerEvent: Sendable {
  /// An entry was served.
  case used(OwnedDescriptor, CacheKey)
  /// The digest of a file was found.
  case read(OwnedDescriptor, FileIdentity)
  /// An entry was written.
  case stored
}

/// A background thread with a bounded queue.
@safe
final class Worker: @unchecked Sendable {
  private let core: CacheCore
  // All that follows the two is used with the mutex held.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let changed: UnsafeMutablePointer<pthread_cond_t>
  private var queue: [WorkerEvent] = []
  private var isIdle = true
  private var isStopping = false
  private var thread: pthread_t?
  private let isDeferred: Bool

  init(core: CacheCore, isDeferred: Bool) {
    self.core = core
    self.isDeferred = isDeferred
    unsafe mutex = .allocate(capacity: 1)
    unsafe changed = .allocate(capacity: 1)
    unsafe pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    // The time of day may jump while the worker waits.
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(changed, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(changed)
    unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
    unsafe changed.deallocate()
  }

  private func locked<R>(_ body: () -> R) -> R {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe _ = pthread_mutex_unlock(mutex) }
    return body()
  }

  // MARK: Callers

  /// Puts an event into the queue, or drops it. Never waits.
  func offer(_ event: WorkerEvent) {
    if core.configuration.isReadOnly { return }
    guard unsafe pthread_mutex_trylock(mutex) == 0 else { return core.count(.dropped) }
    defer { unsafe _ = pthread_mutex_unlock(mutex) }
    guard queue.count < max(core.configuration.workerEventQueueSize, 0), !isStopping, isDeferred || start() else {
      return core.count(.dropped)
    }
    queue.append(event)
    if isIdle { unsafe _ = pthread_cond_broadcast(changed) }
  }

  /// Starts the thread if it does not run; whether it does. With the mutex held.
  private func start() -> Bool {
    if thread != nil { return true }
    var attributes = pthread_attr_t()
    unsafe pthread_attr_init(&attributes)
    defer { unsafe _ = pthread_attr_destroy(&attributes) }
    unsafe pthread_attr_setstacksize(&attributes, 1 << 20)
    var started = pthread_t()
    // The thread keeps the worker alive, which is why somebody has to `stop` it.
    let retained = unsafe Unmanaged.passRetained(self)
    let result = unsafe pthread_create(
      &started, &attributes,
      { argument in
        unsafe Unmanaged<Worker>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, retained.toOpaque())
    guard result == 0 else {
      unsafe retained.release()
      return false
    }
    thread = started
    return true
  }

  /// Waits until there is nothing left to do, but no longer than that; whether there is nothing left.
  func finish(within time: Duration) -> Bool {
    if isDeferred { finishDeferred() }
    return locked {
      let end = Self.deadline(in: time)
      while thread != nil, !queue.isEmpty || !isIdle {
        if wait(until: end) == ETIMEDOUT { return false }
      }
      return true
    }
  }

  /// Does what was deferred, but for maintenance, for which the thread is started if it is due.
  private func finishDeferred() {
    let events = locked {
      defer { queue.removeAll() }
      return queue
    }
    if core.configuration.isReadOnly { return }
    for event in events { handle(event) }
    core.flushCounts()
    if !events.isEmpty && Maintenance(core: core, while: { true }).isDue {
      locked {
        // Waking up without an event is enough for a look at what is due.
        queue.append(.stored)
        if start() { unsafe _ = pthread_cond_broadcast(changed) } else { queue.removeAll() }
      }
    }
  }

  /// Ends the thread at its next convenience, and waits for that.
  func stop() {
    let thread = locked {
      isStopping = true
      unsafe pthread_cond_broadcast(changed)
      defer { self.thread = nil }
      return self.thread
    }
    if let thread { pthread_join(thread, nil) }
  }

  // MARK: The thread

  private func run() {
    precast_enter_background()
    while true {
      let events = locked { () -> [WorkerEvent]? in
        isIdle = true
        unsafe pthread_cond_broadcast(changed)
        let end = Self.deadline(in: max(core.configuration.cleanupInterval, .seconds(1)))
        while queue.isEmpty && !isStopping {
          if wait(until: end) == ETIMEDOUT { break }
        }
        if isStopping && queue.isEmpty { return nil }
        isIdle = false
        defer { queue.removeAll(keepingCapacity: true) }
        return queue
      }
      guard let events else { break }
      for event in events { handle(event) }
      Maintenance(core: core) { [self] in locked { !isStopping } }.runIfDue()
      core.flushCounts()
    }
    core.flushCounts()
  }

  private func handle(_ event: WorkerEvent) {
    let calls = core.calls
    switch event {
    case .used(let directory, let key):
      // One byte a use, at the end: nothing to read, and nothing that two processes could lose each other's part of.
      let file = calls.openOrCreate(directory.number, key.description + EntryName.use, appends: true)
      guard file >= 0 else { return }
      defer { calls.close(file) }
      var status = stat()
      guard calls.status(file, &status) == 0 else { return }
      if status.st_size < 1 << 16 {
        _ = calls.write(file, [UInt8(ascii: ".")], at: 0)
      } else {
        _ = calls.setTimes(file, seconds: nil)
      }
    case .read(let directory, let identity):
      // A record's stamp says when it was last of use; to the hour is enough.
      let file = calls.open(directory.number, FileIndex.name(identity))
      guard file >= 0 else { return }
      defer { calls.close(file) }
      var status = stat()
      guard calls.status(file, &status) == 0,
        WallTime.now.nanoseconds(since: WallTime(status.st_mtim)).magnitude > 3600 * 1_000_000_000
      else { return }
      _ = calls.setTimes(file, seconds: nil)
    case .stored: break
    }
  }

  // MARK: Waiting

  /// The monotonic clock's time after a duration.
  private static func deadline(in time: Duration) -> timespec {
    var now = timespec()
    // Cannot fail: the clock exists and the pointer is to our own variable.
    unsafe clock_gettime(CLOCK_MONOTONIC, &now)
    let (seconds, attoseconds) = time.components
    // A century is for ever.
    let wait = min(max(seconds, 0), 100 * 365 * 86400)
    now.tv_sec += Int(wait)
    now.tv_nsec += Int(max(attoseconds, 0) / 1_000_000_000)
    if now.tv_nsec >= 1_000_000_000 {
      now.tv_nsec -= 1_000_000_000
      now.tv_sec += 1
    }
    return now
  }

  /// Waits for a change, with the mutex held (and released meanwhile).
  private func wait(until end: timespec) -> Int32 {
    var end = end
    return unsafe pthread_cond_timedwait(changed, mutex, &end)
  }
}
