// The guest's memory as a host function sees it.
//
// Every pointer and length that a guest passes is hostile. All of them go through `region`, which
// compares in 64 bits, where the sum of two guest numbers cannot wrap; nothing else in this module
// turns a guest address into a host pointer. What does not fit is the errno `fault`, as a kernel would
// answer, and never a trap: the guest may want to handle it.
//
// Values are loaded once and then used from the host's own copy, so that a value which was checked is
// the value that is used.

/// A guest's linear memory for the length of one host call.
///
/// It borrows the memory: it must not be kept after the call, and a call into the guest from within
/// the host function makes it stale (`count` may have become too small, never too large).
@safe struct GuestMemory {
  private let base: UnsafeMutableRawPointer
  /// Size in bytes.
  let count: UInt64

  /// A view of `count` bytes at `base`, all of them accessible.
  @unsafe init(base: UnsafeMutableRawPointer, count: UInt64) {
    unsafe self.base = base
    self.count = count
  }

  /// The host address of `length` bytes at `address`, all inside the memory.
  @inline(__always)
  @unsafe func region(_ address: UInt32, _ length: UInt64) throws(WASIErrno) -> UnsafeMutableRawPointer {
    let (end, overflow) = UInt64(address).addingReportingOverflow(length)
    if overflow || end > count { throw .fault }
    return unsafe base + Int(address)
  }

  /// Fails with `fault` unless `length` bytes at `address` are inside the memory.
  @inline(__always)
  func check(_ address: UInt32, _ length: UInt64) throws(WASIErrno) {
    _ = try unsafe region(address, length)
  }

  /// Fails with `fault` unless an array of `elements` of `stride` bytes each is inside the memory.
  @inline(__always)
  func checkArray(_ address: UInt32, elements: UInt32, stride: UInt64) throws(WASIErrno) {
    // 2^32 * stride stays far below 2^64 for every stride of preview 1 (at most 56).
    try check(address, UInt64(elements) * stride)
  }

  /// A little-endian integer, aligned or not.
  @inline(__always)
  func load<T: FixedWidthInteger & BitwiseCopyable>(_ address: UInt32, as type: T.Type = T.self) throws(WASIErrno) -> T
  {
    let pointer = try unsafe region(address, UInt64(MemoryLayout<T>.size))
    return T(littleEndian: unsafe pointer.loadUnaligned(as: T.self))
  }

  /// A little-endian integer of a record whose start is `address`.
  @inline(__always)
  func load<T: FixedWidthInteger & BitwiseCopyable>(
    _ address: UInt32, offset: UInt32, as type: T.Type = T.self
  ) throws(WASIErrno) -> T {
    let (sum, overflow) = address.addingReportingOverflow(offset)
    if overflow { throw .fault }
    return try load(sum, as: type)
  }

  /// Stores a little-endian integer, aligned or not.
  @inline(__always)
  func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at address: UInt32) throws(WASIErrno) {
    let pointer = try unsafe region(address, UInt64(MemoryLayout<T>.size))
    unsafe pointer.storeBytes(of: value.littleEndian, as: T.self)
  }

  /// Stores a little-endian integer of a record whose start is `address`.
  @inline(__always)
  func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at address: UInt32, offset: UInt32) throws(WASIErrno) {
    let (sum, overflow) = address.addingReportingOverflow(offset)
    if overflow { throw .fault }
    try store(value, at: sum)
  }

  /// Zeroes `length` bytes.
  func clear(_ address: UInt32, _ length: UInt64) throws(WASIErrno) {
    unsafe try region(address, length).initializeMemory(as: UInt8.self, repeating: 0, count: Int(length))
  }

  /// Copies host bytes to `address`.
  func write(_ bytes: UnsafeRawBufferPointer, at address: UInt32) throws(WASIErrno) {
    let pointer = try unsafe region(address, UInt64(bytes.count))
    // The sources are the host's own buffers, so they do not overlap the guest's memory.
    if let source = bytes.baseAddress { unsafe pointer.copyMemory(from: source, byteCount: bytes.count) }
  }
}
