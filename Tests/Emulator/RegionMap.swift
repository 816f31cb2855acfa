// Which host memory a processor sees, in as few regions as possible.
//
// The emulator aborts the process when it has about a thousand regions, refuses regions that overlap, splits regions
// in ways of its own when a part of one is unmapped, and needs half a microsecond a page to unmap (130 ms a GiB).
// What tests do is: map ranges that partly are mapped already, grow a memory by a page a thousand times, take away
// the middle of a range.
//
// So the book is kept here, as a sorted list of disjoint ranges with their access, and the emulator is told only to map
// what is not mapped and to unmap what it was told to map, whole. Since memory is always seen at its own address,
// mapping what is mapped with the same access is nothing to do. A memory that grows gets one more region, which costs
// 0.1 ms at any size; when there are more than `comfortable`, neighbours are joined.

/// What emulated code may do with memory.
package struct Access: OptionSet, Hashable, Sendable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }
  package static let read = Access(rawValue: 1)
  package static let write = Access(rawValue: 2)
  package static let execute = Access(rawValue: 4)
  package static let readWrite: Access = [.read, .write]
  package static let readExecute: Access = [.read, .execute]
}

/// A range of addresses with one access.
package struct Region: Equatable, Sendable {
  package var start: UInt64
  /// One past the last byte.
  package var end: UInt64
  package var access: Access

  package init(start: UInt64, end: UInt64, access: Access) {
    self.start = start
    self.end = end
    self.access = access
  }
}

/// Disjoint regions in order of address.
package struct RegionMap {
  /// What the emulator has to be told, in this order.
  package enum Change: Equatable, Sendable {
    /// Take away a region that was mapped with exactly these bounds.
    case unmap(Region)
    case map(Region)
  }

  /// Most regions that are ever mapped at once; more get an error.
  package static let limit = 800
  /// With more regions than this, neighbours of equal access are joined.
  package static let comfortable = 256

  /// With more regions than this, those that a processor has found by itself are better forgotten, and found again.
  package static let crowded = 512

  package private(set) var regions: [Region] = []

  package init() {}

  /// The region that holds `address`.
  package func region(at address: UInt64) -> Region? {
    let index = firstIndex(endingAfter: address)
    guard index < regions.count, regions[index].start <= address else { return nil }
    return regions[index]
  }

  /// The largest range around `address`, which is not mapped, that is inside `region` and not mapped.
  package func gap(around address: UInt64, in region: Region) -> Region {
    let next = firstIndex(endingAfter: address)
    var gap = region
    if next > 0 { gap.start = max(gap.start, regions[next - 1].end) }
    if next < regions.count { gap.end = min(gap.end, regions[next].start) }
    return gap
  }

  /// Lets `start..<end` be accessible as `access` says, or not at all if that is nil, whatever was there before.
  ///
  /// - Returns: what to tell the emulator; empty if everything is so already.
  package mutating func set(_ start: UInt64, _ end: UInt64, _ access: Access?) -> [Change] {
    guard start < end else { return [] }
    var changes: [Change] = []
    var kept: [Region] = []
    var added: [Region] = []
    // From where on nothing is known to be mapped as it should be.
    var cursor = start
    let first = firstIndex(endingAfter: start)
    var last = first
    while last < regions.count, regions[last].start < end {
      let region = regions[last]
      last += 1
      if let access, region.access == access {
        if cursor < region.start { added.append(Region(start: cursor, end: region.start, access: access)) }
        kept.append(region)
        cursor = region.end
        continue
      }
      changes.append(.unmap(region))
      if region.start < start { added.append(Region(start: region.start, end: start, access: region.access)) }
      if region.end > end { added.append(Region(start: end, end: region.end, access: region.access)) }
    }
    if let access, cursor < end { added.append(Region(start: cursor, end: end, access: access)) }
    changes += added.map { .map($0) }
    regions.replaceSubrange(first..<last, with: (kept + added).sorted { $0.start < $1.start })
    if regions.count > Self.comfortable { changes += joinNeighbours() }
    return changes
  }

  private mutating func joinNeighbours() -> [Change] {
    var changes: [Change] = []
    var joined: [Region] = []
    var index = 0
    while index < regions.count {
      var next = index + 1
      while next < regions.count, regions[next].start == regions[next - 1].end,
        regions[next].access == regions[index].access
      {
        next += 1
      }
      let region = Region(start: regions[index].start, end: regions[next - 1].end, access: regions[index].access)
      if next > index + 1 {
        changes += regions[index..<next].map { .unmap($0) }
        changes.append(.map(region))
      }
      joined.append(region)
      index = next
    }
    regions = joined
    return changes
  }

  // Index of the first region whose end is after `address`.
  private func firstIndex(endingAfter address: UInt64) -> Int {
    var low = 0
    var high = regions.count
    while low < high {
      let middle = (low + high) / 2
      if regions[middle].end <= address { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
