// An array that is done changing, for tables that every operator looks into.
//
// `Array` in an inner loop of another module costs reference counting around reads, and a copy-on-write header in front
// of each. This is a pointer, a count, and an owner; a read is a compare and a load.

/// An immutable, bounds-checked array of plain data. Copies share the storage.
@safe
public struct FixedBuffer<Element: BitwiseCopyable & Sendable>: RandomAccessCollection, Sendable {
  @safe final class Owner: Sendable {
    // Written before the owner is shared, never after.
    nonisolated(unsafe) let memory: UnsafeMutablePointer<Element>

    init(_ elements: [Element]) {
      unsafe memory = .allocate(capacity: Swift.max(elements.count, 1))
      // In one go: where this is not specialised, a step for each element would cost hundreds of instructions.
      unsafe elements.withUnsafeBufferPointer { source in
        if let base = source.baseAddress { unsafe memory.initialize(from: base, count: source.count) }
      }
    }

    deinit { unsafe memory.deallocate() }
  }

  // Points into the owner's memory, which lives as long as this struct does, and never changes.
  @usableFromInline nonisolated(unsafe) let base: UnsafePointer<Element>
  /// The number of elements.
  public let count: Int
  let owner: Owner

  /// Copies the elements of an array.
  public init(_ elements: [Element]) {
    owner = Owner(elements)
    unsafe base = UnsafePointer(owner.memory)
    count = elements.count
  }

  /// 0.
  @inlinable public var startIndex: Int { 0 }
  /// The number of elements.
  @inlinable public var endIndex: Int { count }

  /// The element at an index. Bounds-checked.
  @inlinable public subscript(index: Int) -> Element {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
    return unsafe base[index]
  }
}
