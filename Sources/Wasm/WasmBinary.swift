// The bytes of a module, in memory that stays put and does not change.
//
// Decoder, validator and compiler threads all read the same bytes through raw pointers, long after the call that handed
// them over. An array would do, but for its reference counting and bounds checks in the innermost loops; a mapping of
// the file would do, but for the other process that may write to the file between validation and compilation, after
// which nothing that was validated is true. So: one private copy, owned by a class that never changes it.

/// A WebAssembly binary in memory: immutable, shared between threads, freed with its last reference.
@safe
public final class WasmBinary: Sendable {
  /// The number of bytes; below 4 GiB once a module was decoded from it.
  public let count: Int
  // Written before `init` returns, never after; so sharing it between threads is safe.
  nonisolated(unsafe) private let storage: UnsafeMutableRawPointer

  /// Makes a binary of `capacity` bytes, filled in by `initialize`, which returns how many of them count.
  ///
  /// - Parameter initialize: gets zeroed memory of `capacity` bytes; what it throws is rethrown.
  public init<E: Error>(
    capacity: Int, initializingWith initialize: (UnsafeMutableRawBufferPointer) throws(E) -> Int
  ) throws(E) {
    let capacity = max(capacity, 0)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: max(capacity, 1), alignment: 16)
    do {
      unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: max(capacity, 1))
      let used = try unsafe initialize(UnsafeMutableRawBufferPointer(start: memory, count: capacity))
      precondition(used >= 0 && used <= capacity)
      unsafe storage = memory
      count = used
    } catch {
      unsafe memory.deallocate()
      throw error
    }
  }

  /// Copies bytes.
  public convenience init(_ bytes: [UInt8]) {
    unsafe self.init(capacity: bytes.count) { memory in
      unsafe memory.copyBytes(from: bytes)
      return bytes.count
    }
  }

  deinit { unsafe storage.deallocate() }

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
