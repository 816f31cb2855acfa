/// A growable run of bytes that machine code, and tables about it, are written into.
///
/// A baseline compiler spends much of its time storing a handful of bytes at a time, so this is
/// where an array would hurt: `Array<UInt8>` checks uniqueness and bounds at each append. Here the
/// bytes stand in one `malloc` block owned by a noncopyable value. Room is asked for once (per
/// instruction, or per group of fields) with `ensure(_:)`, after which stores cannot fail. The
/// block grows by doubling, is kept across `removeAll()`, and may be handed on with `extract()`
/// without being copied.
///
/// All integers are little-endian; the hosts and the targets are.

/// A growable, reusable byte buffer; little-endian.
@safe
public struct CodeBuffer: ~Copyable {
  // The block, `capacity` bytes, of which the first `count` are in use.
  @usableFromInline internal var base: UnsafeMutableRawPointer
  @usableFromInline internal var used: Int
  @usableFromInline internal var capacity: Int

  /// An empty buffer with room for at least `capacity` bytes.
  public init(capacity: Int = 4096) {
    let size = max(capacity, 64)
    unsafe self.base = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    self.used = 0
    self.capacity = size
  }

  deinit {
    unsafe base.deallocate()
  }

  /// Number of bytes written.
  @inlinable public var count: Int { used }

  /// Whether nothing has been written.
  @inlinable public var isEmpty: Bool { used == 0 }

  /// Makes room for `n` more bytes.
  @inlinable @inline(__always)
  public mutating func ensure(_ n: Int) {
    if capacity &- used < n { grow(n) }
  }

  // Out of line, so that `ensure` is a compare and a branch.
  @usableFromInline @inline(never)
  internal mutating func grow(_ n: Int) {
    let size = max(capacity * 2, used + n + 64)
    let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    unsafe block.copyMemory(from: base, byteCount: used)
    unsafe base.deallocate()
    unsafe base = block
    capacity = size
  }

  // Stores eight bytes and advances over the first `n` of them. Needs an `ensure(16)` before the
  // instruction: an x86-64 instruction has at most 15 bytes, and no store of one starts later
  // than its eighth byte unless it is shorter than the rest.
  @inlinable @inline(__always)
  internal mutating func emit(_ word: UInt64, _ n: Int) {
    unsafe base.storeBytes(of: word, toByteOffset: used, as: UInt64.self)
    used &+= n
  }

  // The same for at most four bytes.
  @inlinable @inline(__always)
  internal mutating func emit(_ word: UInt32, _ n: Int) {
    unsafe base.storeBytes(of: word, toByteOffset: used, as: UInt32.self)
    used &+= n
  }

  /// Appends one byte.
  @inlinable public mutating func put8(_ value: UInt8) {
    ensure(1)
    unsafe base.storeBytes(of: value, toByteOffset: used, as: UInt8.self)
    used &+= 1
  }

  /// Appends two bytes.
  @inlinable public mutating func put16(_ value: UInt16) {
    ensure(2)
    unsafe base.storeBytes(of: value, toByteOffset: used, as: UInt16.self)
    used &+= 2
  }

  /// Appends four bytes.
  @inlinable public mutating func put32(_ value: UInt32) {
    ensure(4)
    unsafe base.storeBytes(of: value, toByteOffset: used, as: UInt32.self)
    used &+= 4
  }

  /// Appends eight bytes.
  @inlinable public mutating func put64(_ value: UInt64) {
    ensure(8)
    unsafe base.storeBytes(of: value, toByteOffset: used, as: UInt64.self)
    used &+= 8
  }

  /// Appends `value` in unsigned LEB128 (DWARF 5, 7.6).
  @inlinable public mutating func putULEB128(_ value: UInt64) {
    ensure(10)
    var rest = value
    while rest >= 0x80 {
      emit(UInt32(truncatingIfNeeded: rest) & 0x7F | 0x80, unchecked1: ())
      rest >>= 7
    }
    emit(UInt32(truncatingIfNeeded: rest), unchecked1: ())
  }

  // One byte, room already made.
  @inlinable @inline(__always)
  internal mutating func emit(_ byte: UInt32, unchecked1: Void) {
    unsafe base.storeBytes(of: UInt8(truncatingIfNeeded: byte), toByteOffset: used, as: UInt8.self)
    used &+= 1
  }

  /// Appends `bytes`.
  public mutating func put(contentsOf bytes: RawSpan) {
    ensure(bytes.byteCount)
    unsafe bytes.withUnsafeBytes { source in
      if let address = source.baseAddress {
        unsafe (base + used).copyMemory(from: address, byteCount: source.count)
      }
    }
    used += bytes.byteCount
  }

  /// Appends `n` bytes of value `value`.
  public mutating func put(repeating value: UInt8, count n: Int) {
    guard n > 0 else { return }
    ensure(n)
    unsafe (base + used).initializeMemory(as: UInt8.self, repeating: value, count: n)
    used += n
  }

  /// Overwrites the byte at `offset`, which must lie before `count`.
  @inlinable public mutating func patch8(at offset: Int, _ value: UInt8) {
    precondition(offset >= 0 && offset < used)
    unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
  }

  /// Overwrites four bytes at `offset`, which must all lie before `count`.
  @inlinable public mutating func patch32(at offset: Int, _ value: UInt32) {
    precondition(offset >= 0 && offset &+ 4 <= used)
    unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
  }

  /// Overwrites eight bytes at `offset`, which must all lie before `count`.
  @inlinable public mutating func patch64(at offset: Int, _ value: UInt64) {
    precondition(offset >= 0 && offset &+ 8 <= used)
    unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
  }

  /// The four bytes at `offset`, which must all lie before `count`.
  @inlinable public func read32(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset &+ 4 <= used)
    return unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }

  /// The byte at `offset`, which must lie before `count`.
  @inlinable public subscript(offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < used)
    return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// Drops everything after the first `n` bytes.
  @inlinable public mutating func truncate(to n: Int) {
    precondition(n >= 0 && n <= used)
    used = n
  }

  /// Empties the buffer and keeps its memory.
  @inlinable public mutating func removeAll() { used = 0 }

  /// Calls `body` with the bytes written so far.
  public borrowing func withBytes<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(base), byteCount: used)
    return try body(span)
  }

  /// The bytes written so far, copied out.
  public var array: [UInt8] {
    unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: used))
  }

  /// Calls `body` with the bytes written so far. The pointer is valid until the buffer is next
  /// changed or destroyed: whoever keeps it (the text section builder does) must see to that.
  @inlinable public borrowing func withUnsafeBytes<R, E: Error>(
    _ body: (UnsafeRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    unsafe try body(UnsafeRawBufferPointer(start: base, count: used))
  }

  /// Address of the first byte; valid until the buffer is next changed or destroyed.
  @inlinable @unsafe public var startAddress: UnsafeMutableRawPointer { unsafe base }

  /// Gives away what has been written, in a block no larger than needed, and leaves an empty
  /// buffer of the same capacity. For chunks of finished code that outlive the assembler.
  public mutating func extract() -> CodeBuffer {
    var result = CodeBuffer(capacity: used)
    unsafe result.base.copyMemory(from: base, byteCount: used)
    result.used = used
    used = 0
    return result
  }
}
