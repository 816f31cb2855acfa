// Whole files in memory of one's own.
//
// Maintenance reads entries to verify and to compress them. A mapping would save the copy, and end the process with SIGBUS
// where somebody truncates the file meanwhile; an array would end it where there is no memory. So: `malloc`, read, free.

import Glibc

/// Bytes outside of Swift's heap; failing to get them is an answer, not the end.
@safe
struct HeapBytes: ~Copyable {
  private let base: UnsafeMutableRawPointer
  /// Number of bytes.
  let count: Int

  /// Uninitialised bytes. Nil where there is no memory for them.
  init?(count: Int) {
    guard count >= 0, let memory = unsafe malloc(max(count, 1)) else { return nil }
    unsafe base = memory
    self.count = count
  }

  /// All of a file that has this size. Nil where it cannot be read, or has become shorter.
  static func read(_ descriptor: Int32, size: Int, calls: FileCalls) -> HeapBytes? {
    guard var bytes = HeapBytes(count: size) else { return nil }
    guard unsafe bytes.withMutableBytes({ unsafe calls.read(descriptor, $0, at: 0) }) == size else { return nil }
    return bytes
  }

  deinit { unsafe free(base) }

  /// Lends the bytes for the time of the call.
  borrowing func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
    try unsafe body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// Lends the bytes for the time of the call, to be filled in.
  mutating func withMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer) -> R) -> R {
    unsafe body(UnsafeMutableRawBufferPointer(start: base, count: count))
  }
}
