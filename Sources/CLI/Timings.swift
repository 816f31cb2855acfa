// What `--timings` prints: one line a step, on standard error, in the order of the steps.

import Glibc

/// Collects how long named steps took, in wall-clock time.
struct Timings {
  private var steps: [(name: String, nanoseconds: UInt64)] = []

  /// The monotonic clock, in nanoseconds.
  static func now() -> UInt64 {
    var time = timespec()
    // Cannot fail: the clock exists and the pointer is to our own variable.
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Runs a step and remembers how long it took, whether it throws or not.
  mutating func measure<R, E: Error>(_ name: String, _ body: () throws(E) -> R) throws(E) -> R {
    let start = Self.now()
    defer { steps.append((name, Self.now() - start)) }
    return try body()
  }

  /// Remembers a step that somebody else has measured.
  mutating func add(_ name: String, seconds: Double) {
    steps.append((name, UInt64(max(0, seconds * 1e9))))
  }

  /// One line a step: the name, and the time with three digits that matter.
  var report: String {
    steps.map { step in
      let name = step.name + String(repeating: " ", count: max(1, 12 - step.name.utf8.count))
      return "  \(name)\(Self.format(nanoseconds: step.nanoseconds))\n"
    }.joined()
  }

  /// `873 ns`, `12.3 µs`, `45.6 ms`, `7.89 s`: a number with at least three digits, and its unit.
  static func format(nanoseconds: UInt64) -> String {
    let units: [(unit: String, size: UInt64)] = [("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)]
    for (unit, size) in units where nanoseconds >= size {
      let whole = nanoseconds / size
      if whole >= 100 { return "\(whole) \(unit)" }
      let digits: UInt64 = whole >= 10 ? 10 : 100
      let fraction = nanoseconds % size * digits / size
      let text = String(fraction)
      return "\(whole).\(digits == 100 && text.utf8.count == 1 ? "0" : "")\(text) \(unit)"
    }
    return "\(nanoseconds) ns"
  }
}
