/// A growable run of plain values, for the side tables of an assembler.
///
/// Labels, fixups and relocations are appended for nearly every branch and call and dropped at the
/// end of each function or chunk. As with `CodeBuffer`, an array would pay for uniqueness and
/// reference counts each time; this keeps one block and reuses it.

/// A growable, reusable buffer of values without references.
@safe
public struct FlatBuffer<Element: BitwiseCopyable>: ~Copyable {
  @usableFromInline internal var base: UnsafeMutablePointer<Element>
  @usableFromInline internal var used: Int
  @usableFromInline internal var capacity: Int

  /// An empty buffer with room for at least `capacity` elements.
  public init(capacity: Int = 64) {
    let size = max(capacity, 1)
    unsafe self.base = .allocate(capacity: size)
    self.used = 0
    self.capacity = size
  }

  deinit {
    unsafe base.deallocate()
  }

  /// Number of elements.
  @inlinable public var count: Int { used }

  /// Whether there are no elements.
  @inlinable public var isEmpty: Bool { used == 0 }

  /// Appends `element`.
  @inlinable @inline(__always)
  public mutating func append(_ element: Element) {
    if used == capacity { grow(1) }
    unsafe (base + used).initialize(to: element)
    used &+= 1
  }

  /// Appends `element` until there are `n`.
  @inlinable public mutating func fill(with element: Element, to n: Int) {
    reserve(n)
    while used < n {
      unsafe (base + used).initialize(to: element)
      used &+= 1
    }
  }

  /// Makes room for `n` elements in all.
  @inlinable public mutating func reserve(_ n: Int) {
    if n > capacity { grow(n - used) }
  }

  @inlinable @inline(never)
  internal mutating func grow(_ n: Int) {
    let size = max(capacity * 2, used + n)
    let block = UnsafeMutablePointer<Element>.allocate(capacity: size)
    unsafe block.initialize(from: base, count: used)
    unsafe base.deallocate()
    unsafe base = block
    capacity = size
  }

  /// The element at `index`, which must lie before `count`.
  @inlinable public subscript(index: Int) -> Element {
    get {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: used))
      return unsafe base[index]
    }
    set {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: used))
      unsafe base[index] = newValue
    }
  }

  /// Drops the element at the end, if any.
  @inlinable public mutating func removeLast() {
    if used > 0 { used &-= 1 }
  }

  /// Drops everything after the first `n` elements.
  @inlinable public mutating func truncate(to n: Int) {
    precondition(n >= 0 && n <= used)
    used = n
  }

  /// Empties the buffer and keeps its memory.
  @inlinable public mutating func removeAll() { used = 0 }

  /// Calls `body` with the elements.
  @inlinable public borrowing func withSpan<R, E: Error>(_ body: (Span<Element>) throws(E) -> R) throws(E) -> R {
    let span = unsafe Span(_unsafeStart: UnsafePointer(base), count: used)
    return try body(span)
  }

  /// The elements, copied out.
  public var array: [Element] { unsafe Array(UnsafeBufferPointer(start: base, count: used)) }

  /// Address of the first element; valid until the buffer is next changed or destroyed.
  @inlinable @unsafe public var startAddress: UnsafeMutablePointer<Element> { unsafe base }

  /// The elements as a buffer pointer; valid until the buffer is next changed or destroyed.
  @inlinable @unsafe public var unsafeElements: UnsafeBufferPointer<Element> {
    unsafe UnsafeBufferPointer(start: base, count: used)
  }

  /// Gives away the elements, in a block no larger than needed, and leaves an empty buffer of the
  /// same capacity.
  public mutating func extract() -> FlatBuffer<Element> {
    var result = FlatBuffer<Element>(capacity: used)
    unsafe result.base.initialize(from: base, count: used)
    result.used = used
    used = 0
    return result
  }
}
