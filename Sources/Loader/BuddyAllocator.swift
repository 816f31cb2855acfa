// Which parts of an arena are free.
//
// The buddy system (Knuth, The Art of Computer Programming, 2.5): blocks are powers of two, at multiples of their size. A
// free block is split in halves down to the size that is needed; a block that becomes free is joined with its other half
// if that is free too. Both take at most as many steps as there are sizes, whatever has been allocated. What it wastes is
// address space, up to half of a block, which costs nothing here. Blocks given back in any order join up again: with all of
// them back, there is one.
//
// Free blocks of a size form a doubly linked list through two tables, with one entry for each *granule*, the smallest
// block. Tables start as zero pages that are never touched, where nothing was ever allocated.

import Glibc

/// Allocates blocks of 2^n granules, out of 2^m. Not synchronised.
@safe
struct BuddyAllocator: ~Copyable {
  /// Number of granules, as a power of two.
  let order: Int
  // For each granule: 1 + the order of the free block that starts there, or 0.
  private let freeOrder: UnsafeMutablePointer<UInt8>
  // For each granule at which a free block starts: 1 + the granule of the next, and the previous, of its list; 0 at the ends.
  private let next: UnsafeMutablePointer<UInt32>
  private let previous: UnsafeMutablePointer<UInt32>
  // For each order 1 + the granule of its first free block.
  private var heads: [UInt32]
  // Bit n: there are free blocks of order n.
  private var nonEmpty: UInt64 = 0

  /// 2^`order` granules, all free; nil when there is no memory for the tables.
  init?(order: Int) {
    precondition((0...30).contains(order))
    let count = 1 << order
    // `calloc` maps what is large, and does not touch it.
    guard let bytes = unsafe calloc(count, 1) else { return nil }
    guard let words = unsafe calloc(count, 8) else {
      unsafe Glibc.free(bytes)
      return nil
    }
    self.order = order
    unsafe freeOrder = bytes.bindMemory(to: UInt8.self, capacity: count)
    unsafe next = words.bindMemory(to: UInt32.self, capacity: 2 * count)
    unsafe previous = unsafe next + count
    heads = Array(repeating: 0, count: order + 1)
    push(0, order)
  }

  deinit {
    unsafe Glibc.free(freeOrder)
    unsafe Glibc.free(next)
  }

  /// The least order whose blocks have `granules` granules.
  static func order(for granules: Int) -> Int {
    granules <= 1 ? 0 : Int.bitWidth - (granules - 1).leadingZeroBitCount
  }

  /// A block of 2^`wanted` granules, by its first one; nil when none is free.
  mutating func allocate(order wanted: Int) -> Int? {
    guard wanted <= order else { return nil }
    let candidates = nonEmpty & ~((1 << UInt64(wanted)) - 1)
    guard candidates != 0 else { return nil }
    var size = candidates.trailingZeroBitCount
    let granule = Int(heads[size]) - 1
    remove(granule, size)
    while size > wanted {
      size -= 1
      push(granule + (1 << size), size)
    }
    return granule
  }

  /// Gives back what `allocate(order:)` returned.
  mutating func free(_ granule: Int, order wanted: Int) {
    var granule = granule
    var size = wanted
    while size < order {
      let buddy = granule ^ (1 << size)
      guard unsafe freeOrder[buddy] == UInt8(size + 1) else { break }
      remove(buddy, size)
      granule &= ~(1 << size)
      size += 1
    }
    push(granule, size)
  }

  /// Whether nothing is allocated.
  var isAllFree: Bool { nonEmpty == 1 << UInt64(order) }

  // Every index below is of a granule: blocks lie inside, since they are made by splitting the whole.

  private mutating func push(_ granule: Int, _ size: Int) {
    let head = heads[size]
    unsafe next[granule] = head
    unsafe previous[granule] = 0
    if head != 0 { unsafe previous[Int(head) - 1] = UInt32(granule + 1) }
    heads[size] = UInt32(granule + 1)
    unsafe freeOrder[granule] = UInt8(size + 1)
    nonEmpty |= 1 << UInt64(size)
  }

  private mutating func remove(_ granule: Int, _ size: Int) {
    let after = unsafe next[granule]
    let before = unsafe previous[granule]
    if after != 0 { unsafe previous[Int(after) - 1] = before }
    if before != 0 { unsafe next[Int(before) - 1] = after } else { heads[size] = after }
    if heads[size] == 0 { nonEmpty &= ~(1 << UInt64(size)) }
    unsafe freeOrder[granule] = 0
  }
}
