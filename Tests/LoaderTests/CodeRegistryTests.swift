import CPrecastHost
import Foundation
import Testing

/// The registry never reads the code it knows of, so ranges can be anywhere; each test has a part
/// of address space to itself, far from where anything is mapped.
@Suite(.serialized) struct CodeRegistryTests {
  /// Something for `owner` to point to, which knows when it was released.
  final class Owner {
    let start: UInt64
    let released = ReleaseFlag()
    init(start: UInt64) { self.start = start }
  }

  final class ReleaseFlag: @unchecked Sendable {
    private let lock = NSLock()
    private var value = false
    func set() { lock.withLock { value = true } }
    var isSet: Bool { lock.withLock { value } }
  }

  func register(_ range: Range<UInt64>, owner: UnsafeMutableRawPointer? = nil) -> (
    result: Int32, code: UnsafeMutablePointer<precast_code>?
  ) {
    var code = precast_code(
      text_start: range.lowerBound, text_end: range.upperBound, traps: nil, traps_size: 0, owner: owner)
    var registered: UnsafeMutablePointer<precast_code>?
    let result = precast_code_register(&code, nil, &registered)
    return (result, registered)
  }

  func find(_ pc: UInt64) -> Range<UInt64>? {
    var found = precast_code()
    return precast_code_find(pc, &found) ? found.text_start..<found.text_end : nil
  }

  @Test func aRangeIsFoundFromItsFirstByteToItsLast() throws {
    let base: UInt64 = 0x1000_0000_0000
    for range in [
      base..<base + 1,  // in one granule
      base + 0xF_F000..<base + 0x10_1000,  // over a boundary
      base + 0x10_0000..<base + 0x20_0000,  // exactly a granule
      base + 5..<base + (300 << 20) + 7,  // many
      base + (8 << 30) - 4096..<base + (8 << 30) + 4096,  // two leaves
    ] {
      let code = try #require(register(range).code)
      #expect(find(range.lowerBound) == range)
      #expect(find(range.upperBound - 1) == range)
      #expect(find(range.lowerBound + (range.upperBound - range.lowerBound) / 2) == range)
      #expect(find(range.lowerBound - 1) == nil)
      #expect(find(range.upperBound) == nil)
      precast_code_unregister(code)
      #expect(find(range.lowerBound) == nil)
      #expect(find(range.upperBound - 1) == nil)
    }
  }

  @Test func manySmallRangesShareAGranule() throws {
    let base: UInt64 = 0x1100_0000_0000
    var order = Array(0..<200)
    var generator = SplitMix(seed: 1)
    order.shuffle(using: &generator)
    var codes: [Int: UnsafeMutablePointer<precast_code>] = [:]
    func range(_ i: Int) -> Range<UInt64> { base + UInt64(i) * 8192..<base + UInt64(i) * 8192 + 4096 }
    for i in order { codes[i] = register(range(i)).code }
    for i in order { #expect(find(range(i).lowerBound + 100) == range(i)) }
    for i in order { #expect(find(range(i).upperBound) == nil) }
    order.shuffle(using: &generator)
    for (count, i) in order.enumerated() {
      precast_code_unregister(codes[i]!)
      #expect(find(range(i).lowerBound) == nil)
      for rest in order[(count + 1)...].prefix(3) { #expect(find(range(rest).lowerBound) == range(rest)) }
    }
  }

  @Test func overlapsAndImpossibleRangesAreRefused() throws {
    let base: UInt64 = 0x1200_0000_0000
    let code = try #require(register(base + 0x1000..<base + 0x30_0000).code)
    #expect(register(base..<base + 0x1001).result == -EEXIST)
    #expect(register(base + 0x2F_FFFF..<base + 0x40_0000).result == -EEXIST)
    #expect(register(base + 0x15_0000..<base + 0x15_0001).result == -EEXIST)
    #expect(register(base..<base + 0x80_0000).result == -EEXIST)
    #expect(find(base + 0x30_0000) == nil)
    #expect(find(base + 0x1000) == base + 0x1000..<base + 0x30_0000)
    let below = try #require(register(base..<base + 0x1000).code)
    precast_code_unregister(below)
    precast_code_unregister(code)
    #expect(register(5..<5).result == -EINVAL)
    #expect(register(1 << 48 - 1..<1 << 48 + 1).result == -EINVAL)
    #expect(find(.max) == nil)
    #expect(find(0) == nil)
  }

  @Test func anOwnerIsReleasedOnceNobodyReads() throws {
    let base: UInt64 = 0x1300_0000_0000
    let owner = Owner(start: base)
    let released = owner.released
    var code = precast_code(
      text_start: base, text_end: base + 4096, traps: nil, traps_size: 0,
      owner: Unmanaged.passRetained(owner).toOpaque())
    var registered: UnsafeMutablePointer<precast_code>?
    let release: @convention(c) (UnsafeMutableRawPointer?) -> Void = { pointer in
      let owner = Unmanaged<Owner>.fromOpaque(pointer!)
      owner.takeUnretainedValue().released.set()
      owner.release()
    }
    #expect(precast_code_register(&code, release, &registered) == 0)
    let token = precast_code_read_begin()
    let found = precast_code_read_find(base + 1)
    precast_code_unregister(registered)
    // Other tests' writers may come by; as long as we read, nothing of ours goes.
    for _ in 0..<10 { precast_code_unregister(register(base + 0x100_0000..<base + 0x100_1000).code) }
    #expect(!released.isSet)
    #expect(found?.pointee.owner == code.owner)
    precast_code_read_end(token)
    // A trap elsewhere in the process may hold it a little longer.
    for _ in 0..<100_000 where !released.isSet {
      sched_yield()
      precast_code_unregister(register(base + 0x100_0000..<base + 0x100_1000).code)
    }
    #expect(released.isSet)
  }

  @Test func readersNeverSeeWhatWasFreed() throws {
    let base: UInt64 = 0x1400_0000_0000
    let slots = 64
    let stop = ReleaseFlag()
    let failures = Counter()
    let hits = Counter()
    /// An owner's memory: its start address, overwritten when it is released.
    let release: @convention(c) (UnsafeMutableRawPointer?) -> Void = { pointer in
      pointer!.storeBytes(of: 0xDEAD, as: UInt64.self)
      pointer!.deallocate()
    }
    let group = DispatchGroup()
    for reader in 0..<4 {
      group.enter()
      let thread = Thread {
        var generator = SplitMix(seed: UInt64(reader))
        var found = 0
        while !stop.isSet {
          for _ in 0..<1000 {
            let slot = generator.next() % UInt64(slots)
            let pc = base + slot * 0x4000 + 1 + generator.next() % 0x2000
            let token = precast_code_read_begin()
            if let code = precast_code_read_find(pc) {
              found += 1
              // Read twice, so that a freed block has time to be overwritten.
              for _ in 0..<2 {
                let owner = code.pointee.owner.load(as: UInt64.self)
                if owner != code.pointee.text_start || owner != base + slot * 0x4000 { failures.increment() }
              }
            }
            precast_code_read_end(token)
          }
        }
        if found > 0 { hits.increment() }
        group.leave()
      }
      thread.start()
    }
    for writer in 0..<2 {
      group.enter()
      let thread = Thread {
        var generator = SplitMix(seed: UInt64(100 + writer))
        var codes: [Int: UnsafeMutablePointer<precast_code>] = [:]
        for _ in 0..<40_000 {
          // Each writer has every second slot.
          let slot = Int(generator.next() % UInt64(slots / 2)) * 2 + writer
          if let code = codes.removeValue(forKey: slot) {
            precast_code_unregister(code)
          } else {
            let start = base + UInt64(slot) * 0x4000
            let owner = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 8)
            owner.storeBytes(of: start, as: UInt64.self)
            var code = precast_code(
              text_start: start, text_end: start + 0x2000, traps: nil, traps_size: 0, owner: owner)
            var registered: UnsafeMutablePointer<precast_code>?
            if precast_code_register(&code, release, &registered) != 0 { failures.increment() }
            codes[slot] = registered
          }
        }
        for code in codes.values { precast_code_unregister(code) }
        stop.set()
        group.leave()
      }
      thread.start()
    }
    group.wait()
    #expect(failures.value == 0)
    #expect(hits.value > 0)
    // A reader that was preempted held up what was removed meanwhile. With the readers gone, the next
    // writers free it; other tests have readers too, so give it a few.
    var registered = 0
    var waiting = 0
    for _ in 0..<1000 {
      precast_code_unregister(register(base + 0x1000_0000..<base + 0x1000_1000).code)
      precast_code_counts(&registered, &waiting)
      if waiting < 100 { break }
      sched_yield()
    }
    #expect(waiting < 100)
  }

  @Test func tenThousandRangesAreAllFound() throws {
    let base: UInt64 = 0x1500_0000_0000
    func range(_ i: Int) -> Range<UInt64> { base + UInt64(i) * 0x1_2000..<base + UInt64(i) * 0x1_2000 + 0x1_0000 }
    var codes: [UnsafeMutablePointer<precast_code>] = []
    for i in 0..<10_000 { codes.append(try #require(register(range(i)).code)) }
    var missing = 0
    for i in 0..<10_000 where find(range(i).lowerBound + 77) != range(i) { missing += 1 }
    #expect(missing == 0)
    var generator = SplitMix(seed: 7)
    codes.shuffle(using: &generator)
    for code in codes { precast_code_unregister(code) }
    #expect((0..<10_000).allSatisfy { find(range($0).lowerBound) == nil })
  }
}

/// A small seedable generator.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
