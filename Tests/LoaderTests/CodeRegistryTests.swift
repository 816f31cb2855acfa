import CPrecastHost
import Foundation
import TestSupport
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
      text_start: range.lowerBound, text_end: range.upperBound, mapping_end: 0, data_start: 0, traps: nil,
      traps_size: 0, pages: nil,
      file: -1, file_size: 0, damaged: 0, owner: owner)
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
    var generator = Random(seed: 1)
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

  /// What is mapped at an address: the start of the artifact's text, and whether in an image.
  func place(_ address: UInt64) -> (text: UInt64, isImage: Bool, range: Range<UInt64>)? {
    let token = precast_code_read_begin()
    defer { precast_code_read_end(token) }
    var place = precast_place()
    guard precast_code_read_find_address(address, &place) else { return nil }
    return (place.artifact.pointee.text_start, place.is_image, place.start..<place.end)
  }

  @Test func anAddressBehindTheTextIsTheArtifactsButNotCode() throws {
    let base: UInt64 = 0x1600_0000_0000
    for (text, size) in [(UInt64(0x1000), UInt64(0x3000)), (0x1000, 300 << 20), (5 << 20, 9 << 20)] {
      var code = precast_code(
        text_start: base, text_end: base + text, mapping_end: base + size, data_start: 0, traps: nil, traps_size: 0,
        pages: nil,
        file: -1,
        file_size: 0, damaged: 0, owner: nil)
      var registered: UnsafeMutablePointer<precast_code>?
      #expect(precast_code_register(&code, nil, &registered) == 0)
      #expect(find(base + text - 1) == base..<base + text)
      #expect(find(base + text) == nil)
      #expect(find(base + size - 1) == nil)
      for offset in [0, text - 1, text, size / 2, size - 1] {
        let found = place(base + offset)
        #expect(found?.text == base && found?.isImage == false && found?.range == base..<base + size)
      }
      #expect(place(base + size) == nil)
      #expect(place(base - 1) == nil)
      precast_code_unregister(registered)
      #expect(place(base + size - 1) == nil)
    }
    var wrong = precast_code(
      text_start: base, text_end: base + 0x2000, mapping_end: base + 0x1000, data_start: 0, traps: nil, traps_size: 0,
      pages: nil,
      file: -1,
      file_size: 0, damaged: 0, owner: nil)
    var registered: UnsafeMutablePointer<precast_code>?
    #expect(precast_code_register(&wrong, nil, &registered) == -EINVAL)
  }

  @Test func anImageLeadsToItsArtifact() throws {
    let base: UInt64 = 0x1700_0000_0000
    let artifact = try #require(register(base..<base + 0x1000).code)
    let memory = base + (1 << 33)
    var images: [OpaquePointer] = []
    // Small ones, two in one granule, and one over many.
    let ranges = [
      memory..<memory + 0x1000, memory + 0x2000..<memory + 0x3000, memory + (1 << 20)..<memory + (40 << 20),
    ]
    for range in ranges {
      var image: OpaquePointer?
      #expect(precast_image_register(range.lowerBound, range.upperBound, artifact, &image) == 0)
      images.append(try #require(image))
    }
    for range in ranges {
      for address in [range.lowerBound, range.upperBound - 1] {
        let found = place(address)
        #expect(found?.text == base && found?.isImage == true && found?.range == range)
        // Nothing there is code.
        #expect(find(address) == nil)
      }
    }
    #expect(place(memory + 0x1000) == nil)
    var overlapping: OpaquePointer?
    #expect(precast_image_register(memory + 0x800, memory + 0x1800, artifact, &overlapping) == -EEXIST)
    #expect(precast_image_register(memory, memory, artifact, &overlapping) == -EINVAL)
    for (range, image) in zip(ranges, images) {
      precast_image_unregister(image)
      #expect(place(range.lowerBound) == nil)
    }
    precast_image_unregister(nil)
    precast_code_unregister(artifact)
  }

  @Test func anImageKeepsWhatItNeedsOfItsArtifact() throws {
    let base: UInt64 = 0x1800_0000_0000
    let owner = Owner(start: base)
    let released = owner.released
    var code = precast_code(
      text_start: base, text_end: base + 4096, mapping_end: 0, data_start: 0, traps: nil, traps_size: 0, pages: nil,
      file: -1,
      file_size: 0,
      damaged: 0, owner: Unmanaged.passRetained(owner).toOpaque())
    var registered: UnsafeMutablePointer<precast_code>?
    let release: @convention(c) (UnsafeMutableRawPointer?) -> Void = { pointer in
      let owner = Unmanaged<Owner>.fromOpaque(pointer!)
      owner.takeUnretainedValue().released.set()
      owner.release()
    }
    #expect(precast_code_register(&code, release, &registered) == 0)
    var image: OpaquePointer?
    #expect(precast_image_register(base + 0x10_0000, base + 0x10_1000, registered, &image) == 0)
    precast_code_unregister(registered)
    for _ in 0..<100 { precast_code_unregister(register(base + 0x100_0000..<base + 0x100_1000).code) }
    #expect(!released.isSet)
    #expect(find(base) == nil)
    #expect(place(base + 0x10_0000)?.text == base)
    precast_image_unregister(image)
    for _ in 0..<100_000 where !released.isSet {
      sched_yield()
      precast_code_unregister(register(base + 0x100_0000..<base + 0x100_1000).code)
    }
    #expect(released.isSet)
  }

  @Test func anOwnerIsReleasedOnceNobodyReads() throws {
    let base: UInt64 = 0x1300_0000_0000
    let owner = Owner(start: base)
    let released = owner.released
    var code = precast_code(
      text_start: base, text_end: base + 4096, mapping_end: 0, data_start: 0, traps: nil, traps_size: 0, pages: nil,
      file: -1,
      file_size: 0,
      damaged: 0, owner: Unmanaged.passRetained(owner).toOpaque())
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
        var generator = Random(seed: UInt64(reader))
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
        var generator = Random(seed: UInt64(100 + writer))
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
              text_start: start, text_end: start + 0x2000, mapping_end: 0, data_start: 0, traps: nil, traps_size: 0,
              pages: nil,
              file: -1,
              file_size: 0, damaged: 0, owner: owner)
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
    var generator = Random(seed: 7)
    codes.shuffle(using: &generator)
    for code in codes { precast_code_unregister(code) }
    #expect((0..<10_000).allSatisfy { find(range($0).lowerBound) == nil })
  }
}
