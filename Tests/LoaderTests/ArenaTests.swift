import CLoaderTestCode
import CPrecastHost
import Foundation
import TestSupport
import Testing

@testable import PrecastLoader

@Suite struct BuddyAllocatorTests {
  @Test func ordersCoverWhatIsAskedFor() {
    #expect([0, 1, 2, 3, 4, 5, 8, 9, 1 << 20].map(BuddyAllocator.order(for:)) == [0, 0, 1, 2, 2, 3, 3, 4, 20])
  }

  @Test func allOfItCanBeAllocatedOnceAndNoMore() throws {
    guard var allocator = BuddyAllocator(order: 6) else { throw POSIXError(.ENOMEM) }
    var taken: Set<Int> = []
    while let block = allocator.allocate(order: 0) { #expect(taken.insert(block).inserted) }
    #expect(taken == Set(0..<64))
    #expect(allocator.allocate(order: 7) == nil)
    for block in taken.shuffled() { allocator.free(block, order: 0) }
    let isAllFree = allocator.isAllFree
    #expect(isAllFree)
    #expect(allocator.allocate(order: 6) == 0)
    #expect(allocator.allocate(order: 0) == nil)
  }

  /// Random allocations never overlap, lie at multiples of their size, and join up again when they are all free.
  @Test(arguments: 1...8) func blocksNeverOverlap(seed: UInt64) throws {
    var random = Random(seed: seed)
    guard var allocator = BuddyAllocator(order: 10) else { throw POSIXError(.ENOMEM) }
    var owner = [Int](repeating: 0, count: 1024)
    var blocks: [(granule: Int, order: Int, id: Int)] = []
    var failures = 0
    for id in 1...5000 {
      if random.next() % 5 < 3 {
        let order = Int(random.next() % 7)
        guard let granule = allocator.allocate(order: order) else {
          failures += 1
          // Then no aligned block of this size may be free.
          let isFree = stride(from: 0, to: 1024, by: 1 << order).contains { start in
            owner[start..<start + (1 << order)].allSatisfy { $0 == 0 }
          }
          #expect(!isFree)
          continue
        }
        #expect(granule % (1 << order) == 0)
        for k in granule..<granule + (1 << order) {
          #expect(owner[k] == 0)
          owner[k] = id
        }
        blocks.append((granule, order, id))
      } else if !blocks.isEmpty {
        let block = blocks.remove(at: Int(random.next() % UInt64(blocks.count)))
        for k in block.granule..<block.granule + (1 << block.order) { owner[k] = 0 }
        allocator.free(block.granule, order: block.order)
      }
    }
    #expect(failures > 0)
    for block in blocks { allocator.free(block.granule, order: block.order) }
    let isAllFree = allocator.isAllFree
    #expect(isAllFree)
  }
}

@Suite(.serialized) struct ArenaTests {
  func rights(_ address: UInt) -> String {
    var text: [CChar] = Array(repeating: 0, count: 5)
    guard lt_mapping_rights(UInt64(address), &text) else { return "" }
    return String(decoding: text.prefix(4).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  @Test func whatIsReleasedCannotBeTakenByOtherMappings() throws {
    // An arena of a size that no other test asks for could still be another's: what matters holds for any.
    let (arena, address) = try CodeArena.take(300_000, arenaSize: 1 << 24)
    #expect(address >= arena.base && address + 300_000 <= arena.base + UInt(arena.size))
    #expect(precast_commit(UInt64(address), 1 << 16) == 0)
    #expect(rights(address) == "rw-p")
    arena.release(address, 300_000)
    #expect(rights(address) == "---p")
  }

  @Test func loadedCodeRunsAndTrapsInAnArena() throws {
    try TestArtifact.withFile { path in
      let loaded = try LoadedArtifact(path: path, unwinding: .shared(arenaSize: 1 << 26))
      let arena = try #require(
        CodeArena.current.first { ($0.base..<$0.base + UInt($0.size)).contains(loaded.textBase) })
      let store = TestStore()
      store.raw.pointee.entry = unsafeBitCast(loaded.entryTrampoline(typeIndex: 0)!, to: precast_entry.self)
      func code(_ name: String) -> UnsafeRawPointer {
        UnsafeRawPointer(bitPattern: loaded.functionAddress(TestArtifact.index(name))!)!
      }
      #expect(store.enter(code("add"), 40, 2) == .returned(42))
      #expect(store.enter(code("divide"), 1, 0) == .trapped(code: 8, signal: SIGFPE))
      #expect(LoadedArtifact.containing(pc: loaded.textBase) === loaded)
      #expect(arena.size >= 1 << 20)
    }
  }

  @Test func aFullArenaIsFollowedByAnother() throws {
    let before = CodeArena.current.count
    // More than all arenas of this process have together, in pieces.
    var taken: [(CodeArena, UInt)] = []
    let piece = 1 << 34
    let room = CodeArena.current.reduce(0) { $0 + $1.size }
    while taken.count * piece <= room { taken.append(try CodeArena.take(piece, arenaSize: 1 << 20)) }
    #expect(CodeArena.current.count > before)
    let ranges = taken.map { $0.1..<$0.1 + UInt(piece) }.sorted { $0.lowerBound < $1.lowerBound }
    #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
    for (arena, address) in taken { arena.release(address, piece) }
  }

  @Test func moreThanTheAddressSpaceIsAnErrorThatSaysSo() {
    do {
      _ = try CodeArena.take(1 << 47, arenaSize: 1 << 20)
      Issue.record("128 TiB were reserved")
    } catch {
      guard case .outOfResources = error.kind else {
        Issue.record("\(error)")
        return
      }
      #expect(error.message.contains("address space for code"))
    }
  }
}
