// The bytes of a module, in memory that stays put and does not change.
//
// Decoder, validator and compiler threads all read the same bytes through raw pointers, long after the call that handed
// them over. An array would do, but for its reference counting and bounds checks in the innermost loops; a mapping of
// the file would do, but for the other process that may write to the file between validation and compilation, after
// which nothing that was validated is true. So: one private copy, owned by a class that never changes it.

import Glibc

/// A WebAssembly binary in memory: immutable, shared between threads, freed with its last reference.
@safe
public final class WasmBinary: Sendable {
  /// The number of bytes; below 4 GiB once a module was decoded from it.
  public let count: Int
  // Written before `init` returns, never after; so sharing it between threads is safe.
  nonisolated(unsafe) private let storage: UnsafeMutableRawPointer

  /// Makes a binary of `capacity` bytes, filled in by `initialize`, which returns how many of them count.
  ///
  /// Nil where there is no memory for it.
  ///
  /// - Parameter initialize: gets zeroed memory of `capacity` bytes; what it throws is rethrown.
  public init?<E: Error>(
    capacity: Int, initializingWith initialize: (UnsafeMutableRawBufferPointer) throws(E) -> Int
  ) throws(E) {
    let capacity = max(capacity, 0)
    // The standard library's allocation would end the process where this returns nil.
    guard let memory = unsafe calloc(max(capacity, 1), 1) else { return nil }
    do {
      let used = try unsafe initialize(UnsafeMutableRawBufferPointer(start: memory, count: capacity))
      precondition(used >= 0 && used <= capacity)
      unsafe storage = memory
      count = used
    } catch {
      unsafe free(memory)
      throw error
    }
  }

  /// Copies bytes.
  public init(_ bytes: [UInt8]) {
    guard let memory = unsafe malloc(max(bytes.count, 1)) else {
      fatalError("no memory for a copy of \(bytes.count) bytes")
    }
    unsafe UnsafeMutableRawBufferPointer(start: memory, count: bytes.count).copyBytes(from: bytes)
    unsafe storage = memory
    count = bytes.count
  }

  deinit { unsafe free(storage) }

  /// The byte at a wasm offset. Bounds-checked.
  public subscript(offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < count)
    return unsafe storage.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// A copy of the bytes in a range of wasm offsets. Bounds-checked.
  public func bytes(_ range: Range<Int>) -> [UInt8] {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    return unsafe Array(UnsafeRawBufferPointer(start: storage + range.lowerBound, count: range.count))
  }

  /// Lends the bytes for the time of the call.
  public func withUnsafeBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
    try unsafe body(UnsafeRawBufferPointer(start: storage, count: count))
  }

  /// The bytes, for readers inside this module that keep a reference to `self` as long as they use it.
  var start: UnsafeRawPointer { unsafe UnsafeRawPointer(storage) }
}
