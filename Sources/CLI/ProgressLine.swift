// One line on a terminal that says how far a long step is.
//
// Most compilations are over before anybody wonders, so nothing is shown in the first second; and nothing at all where
// standard error is no terminal, for a log file has no use for it. The line is drawn by a thread that sleeps nearly all of
// the time, and it is wiped before anything else is printed. The step itself only counts.

import Glibc
import Synchronization

/// Counts what a step has done so far, and shows it on a terminal while the step runs.
final class ProgressLine: Sendable {
  private let label: String
  private let done = Atomic<Int>(0)
  private let total = Atomic<Int>(0)
  private let bell: Bell
  private let start = Timings.now()

  private init(label: String) {
    self.label = label
    bell = Bell()
  }

  /// Says how much has been done, of how much. May be called by any thread, as often as it likes.
  func update(done: Int, of total: Int) {
    self.done.store(done, ordering: .relaxed)
    self.total.store(total, ordering: .relaxed)
  }

  /// Runs a step with a line for it.
  static func during<R>(_ label: String, _ step: (ProgressLine) throws -> R) rethrows -> R {
    let line = ProgressLine(label: label)
    guard Terminal.isInteractive, let thread = Thread(running: { line.draw() }) else { return try step(line) }
    defer {
      line.bell.ring()
      thread.join()
    }
    return try step(line)
  }

  /// What the line says after some time.
  static func text(label: String, done: Int, total: Int, nanoseconds: UInt64) -> String {
    let tenths = nanoseconds / 100_000_000
    let time = "\(tenths / 10).\(tenths % 10) s"
    guard total > 0 else { return "\(label) (\(time))" }
    return "\(label): \(min(done, total) * 100 / total)% (\(time))"
  }

  private func draw() {
    guard !bell.wait(nanoseconds: 1_000_000_000) else { return }
    repeat {
      let text = Self.text(
        label: label, done: done.load(ordering: .relaxed), total: total.load(ordering: .relaxed),
        nanoseconds: Timings.now() - start)
      Terminal.note("\r\(text)\u{1B}[K")
    } while !bell.wait(nanoseconds: 100_000_000)
    Terminal.note("\r\u{1B}[K")
  }
}

/// Something that can be waited for, for a time, by one thread, and that happens once.
@safe
private final class Bell: Sendable {
  // Initialised before `init` returns, destroyed in `deinit`, never moved; the C library does the locking.
  nonisolated(unsafe) private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  nonisolated(unsafe) private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let rung = Atomic<Bool>(false)

  init() {
    unsafe mutex.initialize(to: pthread_mutex_t())
    unsafe condition.initialize(to: pthread_cond_t())
    var attributes = pthread_condattr_t()
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_condattr_init(&attributes)
    // Otherwise a change of the wall clock could stretch a tenth of a second to an hour.
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(condition, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(condition)
    unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  func ring() {
    unsafe pthread_mutex_lock(mutex)
    rung.store(true, ordering: .relaxed)
    unsafe pthread_cond_signal(condition)
    unsafe pthread_mutex_unlock(mutex)
  }

  /// Waits until it rings, but no longer than this; whether it rang.
  func wait(nanoseconds: UInt64) -> Bool {
    let end = Timings.now() + nanoseconds
    var time = timespec(tv_sec: Int(end / 1_000_000_000), tv_nsec: Int(end % 1_000_000_000))
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while !rung.load(ordering: .relaxed) {
      if unsafe pthread_cond_timedwait(condition, mutex, &time) != 0 { break }
    }
    return rung.load(ordering: .relaxed)
  }
}

/// A thread that runs a closure.
private struct Thread {
  private let handle: pthread_t

  /// Starts it; nil where the system has no more threads.
  init?(running body: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
      let body: @Sendable () -> Void
      init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    // The new thread takes over the reference; where there is none, it is taken back.
    let box = unsafe Unmanaged.passRetained(Box(body))
    var handle = pthread_t()
    let failure = unsafe pthread_create(
      &handle, nil,
      { argument in
        if let argument = unsafe argument { unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
        return nil
      }, box.toOpaque())
    if failure != 0 {
      unsafe box.release()
      return nil
    }
    self.handle = handle
  }

  func join() {
    pthread_join(handle, nil)
  }
}
