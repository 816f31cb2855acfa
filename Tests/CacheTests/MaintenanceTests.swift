// What the worker does, and what can be asked for by hand.

import CacheTestSupport
import Foundation
import Glibc
import Precast
import Testing

@testable import PrecastCache

@Suite struct MaintenanceTests {
  /// Fills a cache with entries used in this order, at times a minute apart, a day ago.
  private func fill(_ folder: Folder, _ count: Int, uses: Int = 1) throws -> [CacheKey] {
    let test = try TestCache(folder)
    var keys: [CacheKey] = []
    for number in 0..<count {
      let wasm = module(answer: Int32(100 + number))
      _ = try test.module(wasm)
      for _ in 0..<uses {
        _ = try test.module(wasm)
        test.settle()
      }
      keys.append(try key(wasm))
    }
    test.settle()
    return keys
  }

  /// Makes an entry's last use lie so long ago. (Its own ctime cannot be set: `compressAfter` and limits go by the latest.)
  private func path(_ folder: Folder, _ key: CacheKey, _ suffix: String) throws -> String {
    let file = try #require(folder.files.first { $0.hasSuffix(key.description + suffix) })
    return folder[file]
  }

  @Test func usesAreCounted() throws {
    let folder = try Folder()
    let keys = try fill(folder, 2, uses: 3)
    let entries = try TestCache(folder).cache.entries()
    #expect(Set(entries.map(\.key)) == Set(keys.map(\.description)))
    #expect(entries.allSatisfy { $0.uses == 3 && !$0.isCompressed })
    #expect(entries.allSatisfy { abs($0.lastUse - Int(time(nil))) < 600 })
  }

  @Test func theOldestGoFirstDownToThePercentage() throws {
    let folder = try Folder()
    let keys = try fill(folder, 10)
    let now = Int(time(nil))
    // Stamps ahead of the clock, but by less than the drift that is allowed.
    for (index, key) in keys.enumerated() { setTime(try path(folder, key, ".use"), now + 60 * (index + 1)) }
    let test = try TestCache(folder) {
      $0.fileCountSoftLimit = 18
      $0.fileCountLimitPercentIfDeleting = 50
    }
    try test.cache.prune()
    // Twenty files (an entry and its count each) are more than eighteen, so at most nine stay.
    let left = try test.cache.entries()
    #expect(Set(left.map(\.key)) == Set(keys.suffix(4).map(\.description)))
    #expect(test.counts.evicted == 6)
  }

  @Test func sizeIsALimitAsWell() throws {
    let folder = try Folder()
    let keys = try fill(folder, 6)
    let now = Int(time(nil))
    for (index, key) in keys.enumerated() { setTime(try path(folder, key, ".use"), now + 60 * (index + 1)) }
    let size = try TestCache(folder).cache.entries().map(\.size).reduce(0, +)
    let same = try TestCache(folder) { $0.filesTotalSizeSoftLimit = size }
    try same.cache.prune()
    #expect(try same.cache.entries().count == 6, "not above it")
    let test = try TestCache(folder) {
      $0.filesTotalSizeSoftLimit = size - 1
      $0.filesTotalSizeLimitPercentIfDeleting = 50
    }
    try test.cache.prune()
    #expect(Set(try test.cache.entries().map(\.key)) == Set(keys.suffix(2).map(\.description)))
  }

  @Test func aStampFromTheFarFutureCountsAsTheOldest() throws {
    let folder = try Folder()
    let keys = try fill(folder, 3)
    setTime(try path(folder, keys[2], ".use"), Int(time(nil)) + 10 * 86400)
    let test = try TestCache(folder) {
      $0.fileCountSoftLimit = 5
      $0.fileCountLimitPercentIfDeleting = 80
    }
    try test.cache.prune()
    #expect(Set(try test.cache.entries().map(\.key)) == Set(keys.prefix(2).map(\.description)))
    // One that survives is stamped anew.
    setTime(try path(folder, keys[0], ".use"), Int(time(nil)) + 10 * 86400)
    try TestCache(folder).cache.prune()
    #expect(abs(status(try path(folder, keys[0], ".use")).st_mtim.tv_sec - Int(time(nil))) < 600)
  }

  @Test func coldEntriesAreCompressedAndComeBack() throws {
    let folder = try Folder()
    let wasm = module(answer: 100)
    _ = try fill(folder, 1)
    let original = try folder.read(try #require(folder.files(".cwasm").first))
    let test = try TestCache(folder) { $0.compressAfter = .zero }
    try test.cache.prune()
    #expect(folder.files(".cwasm").isEmpty)
    let packed = try folder.read(try #require(folder.files(".zst").first))
    #expect(packed.count * 2 < original.count)
    #expect(try test.cache.entries().first?.isCompressed == true)
    #expect(try test.cache.verify { _, _ in } == 0)
    let warm = try TestCache(folder)
    #expect(try answer(of: warm.module(wasm)) == 100)
    #expect(warm.counts.unpacked == 1)
    #expect(try folder.read(try #require(folder.files(".cwasm").first)) == original)
    #expect(folder.files(".zst").isEmpty)
    #expect(try answer(of: warm.module(wasm)) == 100)
    #expect(test.counts.misses == 1)
  }

  @Test func warmEntriesAreNot() throws {
    let folder = try Folder()
    _ = try fill(folder, 2)
    try TestCache(folder).cache.prune()
    #expect(folder.files(".cwasm").count == 2)
    #expect(folder.files(".zst").isEmpty)
  }

  @Test func whatWasUsedOftenIsCompressedBetter() throws {
    let folder = try Folder()
    let wasm = module(answer: 200, padding: 3000)
    func packedSize(threshold: Int, timeout: Duration = .seconds(100)) throws -> Int {
      let test = try TestCache(folder) {
        $0.compressAfter = .zero
        $0.optimizedCompressionUsageCounterThreshold = threshold
        $0.optimizingCompressionTaskTimeout = timeout
        $0.baselineCompressionLevel = 1
        $0.optimizedCompressionLevel = 19
      }
      for _ in 0..<3 {
        #expect(try answer(of: test.module(wasm)) == 200)
        test.settle()
      }
      try test.cache.prune()
      return try folder.read(try #require(folder.files(".zst").first)).count
    }
    let seldom = try packedSize(threshold: 1000)
    let often = try packedSize(threshold: 2)
    // For most inputs smaller; not for every one, so what counts is that the other level was used.
    #expect(often != seldom)
    #expect(try packedSize(threshold: 2, timeout: .zero) == seldom, "given up, and done at the baseline level")
  }

  @Test func aDamagedCompressedEntryIsMadeAgain() throws {
    let folder = try Folder()
    let wasm = module(answer: 100)
    _ = try fill(folder, 1)
    for round in 0..<12 {
      let test = try TestCache(folder) { $0.compressAfter = .zero }
      try test.cache.prune()
      let packed = try #require(folder.files(".zst").first)
      let size = try folder.read(packed).count
      if round == 0 {
        let seal = status(folder[packed]).st_mtim.tv_sec
        #expect(truncate(folder[packed], off_t(size / 2)) == 0)
        setTime(folder[packed], seal)
      } else {
        try damage(folder, packed, at: size * round / 12, keepingTime: round % 2 == 0)
      }
      #expect(try answer(of: test.module(wasm)) == 100, "round \(round)")
      #expect(folder.files(".zst").isEmpty)
    }
  }

  @Test func whatDeadWritersLeftIsCollectedAndWhatLiveOnesHoldIsNot() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let path = try writeWasm(folder, "m.wasm", module(answer: 1))
    _ = try Module(engine: Engine(cache: test.cache), wasmFile: path)
    test.settle()
    let entries = try test.cache.core.subdirectory(CompiledModule.compiler.directoryName, creates: false)
    let live = try TemporaryFile(in: entries, calls: FileCalls(), isFinal: true)
    let directory = CompiledModule.compiler.directoryName
    try folder.write("cache/\(directory)/.tmp-99-1-x", [1])
    try folder.write("cache/.tmp-99-1-x", [1])
    try folder.write("cache/index/.tmp-99-1-x", [1])
    try folder.write("cache/index/not a record", [1])
    try folder.write("cache/index/1-2", [1])
    try folder.write("cache/\(directory)/\(String(repeating: "0", count: 64)).use", [1])
    try folder.write("cache/somebody's file", [1])
    try test.cache.prune()
    #expect(folder.files.filter { $0.contains("/.tmp-") }.count == 1)
    #expect(!folder.files.contains { $0.hasSuffix("1-2") })
    #expect(folder.files.contains("cache/somebody's file"), "nothing is removed that is not known to be ours")
    #expect(folder.files.contains("cache/index/not a record"))
    #expect(folder.files(".use").isEmpty)
    _ = consume live
    #expect(folder.files.filter { $0.contains("/.tmp-") }.isEmpty)
  }

  @Test func onlyOneProcessIsAtItAndOnlyOnceAnInterval() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    _ = try test.module(module(answer: 1))
    test.settle()
    let rounds = test.counts.rounds
    #expect(rounds == 1, "the first one is due at once")
    _ = try test.module(module(answer: 2))
    #expect(test.counts.rounds == rounds)
    // Long ago, and far in the future: both are due.
    for stamp in [Int(time(nil)) - 7200, Int(time(nil)) + 10 * 86400] {
      let before = test.counts.rounds
      setTime(folder["cache/lock"], stamp)
      _ = try test.module(module(answer: 1))
      #expect(test.counts.rounds == before + 1)
    }
    // Somebody else is at it.
    setTime(folder["cache/lock"], 0)
    let lock = open(folder["cache/lock"], O_RDWR)
    #expect(flock(lock, LOCK_EX) == 0)
    let before = test.counts.rounds
    _ = try test.module(module(answer: 1))
    #expect(test.counts.rounds == before)
    close(lock)
  }

  @Test func aFullQueueDropsEventsAndNothingElse() throws {
    let folder = try Folder()
    let test = try TestCache(folder) { $0.workerEventQueueSize = 0 }
    let wasm = module(answer: 1)
    for _ in 0..<4 { #expect(try answer(of: test.module(wasm)) == 1) }
    #expect(test.cache.core.pendingCounts.dropped == 4)
    #expect(test.cache.core.pendingCounts.hits == 3)
  }

  @Test func entriesOfOtherCompilersCountAndAge() throws {
    let folder = try Folder()
    let keys = try fill(folder, 2)
    let directory = CompiledModule.compiler.directoryName
    try FileManager.default.moveItem(atPath: folder["cache/\(directory)"], toPath: folder["cache/code-old-1"])
    let test = try TestCache(folder)
    #expect(try answer(of: test.module(module(answer: 100))) == 100)
    #expect(test.counts.misses == 3, "another compiler's code is not served")
    let statistics = try test.cache.statistics(for: CompiledModule.compiler)
    #expect(statistics.entries == 3)
    #expect(statistics.foreignEntries == 2)
    let small = try TestCache(folder) { $0.fileCountSoftLimit = 0 }
    try small.cache.prune()
    #expect(try small.cache.entries().isEmpty)
    _ = keys
  }

  @Test func whatWasHandedOutOutlivesItsEntry() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let modules = try (0..<4).map { try test.module(module(answer: Int32($0))) }
    test.settle()
    try test.cache.clear()
    #expect(try test.cache.entries().isEmpty)
    #expect(folder.files(".cwasm", ".use", ".zst").isEmpty)
    for (index, module) in modules.enumerated() { #expect(try answer(of: module) == Int32(index)) }
  }

  @Test func countsAddUpOverProcesses() throws {
    let folder = try Folder()
    for _ in 0..<3 {
      let test = try TestCache(folder)
      _ = try test.module(module(answer: 1))
      test.settle()
    }
    let statistics = try TestCache(folder).cache.statistics(for: CompiledModule.compiler)
    #expect(statistics.counts.hits == 2)
    #expect(statistics.counts.misses == 1)
    #expect(statistics.counts.stored == 1)
    // A damaged file of counts starts again.
    try folder.write("cache/counters", Array(repeating: 7, count: 128))
    chmod(folder["cache/counters"], 0o600)
    #expect(try TestCache(folder).cache.statistics(for: CompiledModule.compiler).counts == Counts())
  }

  @Test func verifyingFindsAndRemovesWhatIsDamaged() throws {
    let folder = try Folder()
    let keys = try fill(folder, 3)
    let file = try #require(folder.files.first { $0.hasSuffix(keys[1].description + ".cwasm") })
    try damage(folder, file, at: 4200, keepingTime: true)
    let test = try TestCache(folder)
    var problems: [String: String] = [:]
    #expect(try test.cache.verify { problems[$0.key] = $1 } == 1)
    #expect(problems.keys.sorted() == [keys[1].description])
    #expect(problems[keys[1].description]?.contains("text") == true)
    #expect(Set(try test.cache.entries().map(\.key)) == [keys[0].description, keys[2].description])
  }

  @Test func aCacheThatIsNotThereIsEmpty() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    #expect(try test.cache.entries().isEmpty)
    #expect(try test.cache.statistics(for: CompiledModule.compiler).entries == 0)
    try test.cache.prune()
    #expect(try test.cache.clear() == 0)
    #expect(folder.files.isEmpty)
  }

  @Test func percentagesDoNotOverflow() {
    #expect(Maintenance.percent(70, of: 10) == 7)
    #expect(Maintenance.percent(100, of: Int.max) == Int.max)
    #expect(Maintenance.percent(0, of: Int.max) == 0)
    #expect(Maintenance.percent(50, of: 1) == 0)
    #expect(WallTime(seconds: Int.max).nanoseconds(since: WallTime(seconds: Int.min)) == Int.max)
  }
}
