// The book of mapped regions against a plain one: an access for each page.

import PrecastEmulator
import Testing

@Suite("Regions of emulated memory")
struct RegionMapTests {
  /// What the emulator would have after the changes; refuses what it would refuse.
  struct Model {
    var regions: [Region] = []
    mutating func apply(_ change: RegionMap.Change) {
      switch change {
      case .unmap(let region):
        let index = regions.firstIndex(of: region)
        #expect(index != nil, "unmaps \(region), which was not mapped as such")
        if let index { regions.remove(at: index) }
      case .map(let region):
        #expect(region.start < region.end)
        #expect(!regions.contains { $0.start < region.end && region.start < $0.end }, "overlap: \(region)")
        regions.append(region)
      }
    }
  }

  @Test(
    "any sequence of changes leaves each page with the access that was last set", arguments: 0..<8 as Range<UInt64>)
  func random(seed: UInt64) {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    func next(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    var map = RegionMap()
    var model = Model()
    var pages = [Access?](repeating: nil, count: seed % 2 == 0 ? 40 : 1200)
    for _ in 0..<300 {
      let start = next(pages.count)
      let end = start + 1 + next(min(pages.count - start, seed % 2 == 0 ? 12 : 3))
      let access: Access? = [nil, .read, .readWrite, .readExecute][next(4)]
      for change in map.set(UInt64(start) * 4096, UInt64(end) * 4096, access) { model.apply(change) }
      for page in start..<end { pages[page] = access }
    }
    #expect(model.regions.sorted { $0.start < $1.start } == map.regions)
    for (page, access) in pages.enumerated() {
      #expect(map.region(at: UInt64(page) * 4096)?.access == access)
      #expect(map.region(at: UInt64(page) * 4096 + 4095)?.access == access)
    }
  }

  @Test("mapping what is mapped with the same access is nothing to do")
  func idempotent() {
    var map = RegionMap()
    _ = map.set(0, 8192, .read)
    #expect(map.set(4096, 8192, .read).isEmpty)
    #expect(map.set(4096, 12288, .read) == [.map(Region(start: 8192, end: 12288, access: .read))])
  }

  @Test("many neighbours are joined, and regions that are no neighbours stay")
  func joining() {
    var map = RegionMap()
    for page in 0..<3000 as Range<UInt64> { _ = map.set(page * 4096, (page + 1) * 4096, .readWrite) }
    #expect(map.regions.count <= RegionMap.comfortable)
    #expect(map.region(at: 0)?.start == 0)
    #expect(map.region(at: 2999 * 4096)?.end == 3000 * 4096)
    #expect(map.region(at: 3000 * 4096) == nil)
  }

  @Test("a gap reaches from the region before to the one behind, inside of the bounds")
  func gaps() {
    var map = RegionMap()
    _ = map.set(4096, 8192, .read)
    _ = map.set(16384, 20480, .read)
    let whole = Region(start: 0, end: 65536, access: .readWrite)
    #expect(map.gap(around: 8192, in: whole) == Region(start: 8192, end: 16384, access: .readWrite))
    #expect(map.gap(around: 0, in: whole) == Region(start: 0, end: 4096, access: .readWrite))
    #expect(map.gap(around: 30000, in: whole) == Region(start: 20480, end: 65536, access: .readWrite))
  }
}
