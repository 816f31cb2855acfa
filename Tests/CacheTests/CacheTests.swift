// What a cache does for whoever asks it.

import CacheTestSupport
import Foundation
import Glibc
import Precast
import PrecastArtifact
import PrecastLoader
import PrecastWasm
import Synchronization
import Testing

@testable import PrecastCache

@Suite struct CacheTests {
  @Test func theSecondTimeNothingIsCompiled() throws {
    let folder = try Folder()
    let wasm = module(answer: 7)
    let first = try TestCache(folder)
    #expect(try answer(of: first.module(wasm)) == 7)
    #expect(first.counts.misses == 1)
    #expect(first.counts.hits == 0)
    let second = try TestCache(folder)
    let hit = try second.module(wasm)
    #expect(try answer(of: hit) == 7)
    #expect(second.cache.core.pendingCounts.misses == 0)
    first.settle()
    second.settle()
    #expect(second.counts.hits == 1)
    #expect(folder.files(".cwasm").count == 1)
    // Mapped where it lies.
    let link = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(hit.artifact.fileDescriptor)")
    #expect(link.hasSuffix(try key(wasm).description + ".cwasm"))
  }

  @Test func everySettingThatTheCompilerTakesHasAnEntryWithItsOwnCode() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let wasm = module(answer: 3)
    var all: [CompilerSettings] = [CompilerSettings()]
    for (_, feature) in CPUFeatures.named where HostSettings.cpuFeatures.contains(feature) {
      var settings = CompilerSettings()
      settings.cpuFeatures = feature
      all.append(settings)
    }
    var withoutMap = CompilerSettings()
    withoutMap.addressMap = false
    var smallGuard = CompilerSettings()
    smallGuard.memoryGuardSize = 1 << 30
    all += [withoutMap, smallGuard]
    for _ in 0..<2 {
      for settings in all {
        let module = try test.module(wasm, settings: settings)
        #expect(try answer(of: module) == 3)
        #expect(module.artifact.header.record.settings == settings)
        let hasMap = module.artifact.header.extent(of: .addressMap).size > 0
        #expect(hasMap == settings.addressMap)
      }
    }
    test.settle()
    #expect(folder.files(".cwasm").count == all.count)
    #expect(test.counts.misses == UInt64(all.count))
    #expect(test.counts.hits == UInt64(all.count))
  }

  @Test func sameBytesInOneEngineShareOneMapping() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let engine = Engine(cache: test.cache)
    let wasm = module(answer: 5)
    weak var artifact: LoadedArtifact?
    do {
      let a = try Module(engine: engine, wasm: wasm)
      let b = try Module(engine: engine, wasm: wasm)
      #expect(a.artifact === b.artifact)
      #expect(try Module(engine: engine, wasm: module(answer: 6)).artifact !== a.artifact)
      artifact = a.artifact
      #expect(artifact != nil)
    }
    #expect(artifact == nil, "released with its last user")
    #expect(try answer(of: Module(engine: engine, wasm: wasm)) == 5)
    #expect(test.counts.misses == 2)
  }

  @Test func withoutACacheMemoryStillServes() throws {
    let engine = Engine()
    let wasm = module(answer: 9)
    let a = try Module(engine: engine, wasm: wasm)
    let b = try Module(engine: engine, wasm: wasm)
    #expect(a.artifact === b.artifact)
    #expect(engine.cache == nil)
  }

  @Test func whoeverAsksWhileItIsCompiledWaitsForThat() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let engine = Engine(cache: test.cache)
    let wasm = module(answer: 11, padding: 2000)
    let modules = Mutex<[Module]>([])
    DispatchQueue.concurrentPerform(iterations: 8) { _ in
      if let module = try? Module(engine: engine, wasm: wasm) { modules.withLock { $0.append(module) } }
    }
    let all = modules.withLock { $0 }
    #expect(all.count == 8)
    #expect(Set(all.map { ObjectIdentifier($0.artifact) }).count == 1)
    #expect(test.counts.misses == 1)
  }

  @Test func anErrorOfTheCompilerIsTheCallersAndLeavesNothing() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    #expect(throws: (any Error).self) { try test.module([0, 0x61, 0x73, 0x6D, 1, 0, 0, 0, 99]) }
    #expect(folder.files(".cwasm").isEmpty)
  }

  @Test func deferredWorkIsDoneByWhoeverFinishes() throws {
    let folder = try Folder()
    let wasm = module(answer: 12)
    _ = try TestCache(folder).module(wasm)
    let configuration = CacheConfiguration(directory: folder["cache"])
    for _ in 0..<3 {
      let cache = try ArtifactCache(configuration, defersWork: true)
      #expect(try answer(of: Module(engine: Engine(cache: cache), wasm: wasm)) == 12)
      #expect(cache.finish(within: .seconds(60)))
    }
    #expect(try TestCache(folder).cache.entries().first?.uses == 3)
  }

  @Test func aReadOnlyCacheServesAndNeverCompilesOrWrites() throws {
    let folder = try Folder()
    let wasm = module(answer: 13)
    let filling = try TestCache(folder)
    _ = try filling.module(wasm)
    filling.settle()
    let before = folder.files
    let readOnly = try TestCache(folder) { $0.isReadOnly = true }
    #expect(try answer(of: readOnly.module(wasm)) == 13)
    let other = module(answer: 14)
    let error = #expect(throws: CacheError.self) { try readOnly.module(other) }
    #expect(error == .notInCache(key: try key(other).description, directory: folder["cache"]))
    readOnly.settle()
    #expect(folder.files == before)
  }

  @Test func aReadOnlyCacheThatWasCopiedWithoutItsTimesIsVerified() throws {
    let folder = try Folder()
    let wasm = module(answer: 15)
    let filling = try TestCache(folder)
    _ = try filling.module(wasm)
    let entry = try #require(folder.files(".cwasm").first)
    setTime(folder[entry], 1_700_000_000)
    let readOnly = try TestCache(folder) { $0.isReadOnly = true }
    #expect(try answer(of: readOnly.module(wasm)) == 15)
    try damage(folder, entry, at: 4096, keepingTime: true)
    #expect(throws: CacheError.self) { try readOnly.module(wasm) }
    #expect(folder.files(".cwasm") == [entry], "nothing is removed")
  }
}

/// Flips a bit of a file, in place.
func damage(_ folder: Folder, _ file: String, at offset: Int, keepingTime: Bool = false) throws {
  let path = folder[file]
  let before = status(path)
  chmod(path, 0o600)
  let descriptor = open(path, O_RDWR)
  try #require(descriptor >= 0)
  var byte: UInt8 = 0
  #expect(pread(descriptor, &byte, 1, off_t(offset)) == 1)
  byte ^= 0x10
  #expect(pwrite(descriptor, &byte, 1, off_t(offset)) == 1)
  close(descriptor)
  chmod(path, 0o400)
  if keepingTime { setTime(path, before.st_mtim.tv_sec, nanoseconds: before.st_mtim.tv_nsec) }
}

@Suite struct DamageTests {
  @Test(arguments: [0, 100, 4096, 4100, 8192, -1, -200])
  func anEntryThatWasChangedIsMadeAgain(offset: Int) throws {
    let folder = try Folder()
    let wasm = module(answer: 21)
    let test = try TestCache(folder)
    _ = try test.module(wasm)
    let entry = try #require(folder.files(".cwasm").first)
    let original = try folder.read(entry)
    try damage(folder, entry, at: offset < 0 ? original.count + offset : offset)
    #expect(try answer(of: test.module(wasm)) == 21)
    #expect(test.counts.misses == 2)
    #expect(test.counts.damaged == 1)
    #expect(try folder.read(entry) == original)
    #expect(try answer(of: test.module(wasm)) == 21)
    #expect(test.counts.misses == 2)
  }

  @Test(arguments: [0, 1, 63, 4095, 4096, 4097, 12288])
  func anEntryThatWasCutOffIsMadeAgain(size: Int) throws {
    let folder = try Folder()
    let wasm = module(answer: 22)
    let test = try TestCache(folder)
    _ = try test.module(wasm)
    let entry = try #require(folder.files(".cwasm").first)
    // Even where something put its time back.
    let seal = status(folder[entry]).st_mtim
    #expect(truncate(folder[entry], off_t(size)) == 0)
    setTime(folder[entry], seal.tv_sec)
    #expect(try answer(of: test.module(wasm)) == 22)
    #expect(test.counts.misses == 2)
  }

  @Test func damageThatHidesIsFoundWhenAllIsVerified() throws {
    let folder = try Folder()
    let wasm = module(answer: 23)
    let test = try TestCache(folder) { $0.verifiesEverything = true }
    _ = try test.module(wasm)
    let entry = try #require(folder.files(".cwasm").first)
    let size = try folder.read(entry).count
    for offset in stride(from: 64, to: size, by: 997) {
      try damage(folder, entry, at: offset, keepingTime: true)
      #expect(try answer(of: test.module(wasm)) == 23, "offset \(offset)")
    }
    #expect(test.counts.hits == 0)
  }

  @Test func damagedTablesAreFoundWhereTheyCanBeMended() throws {
    let folder = try Folder()
    let wasm = module(answer: 24)
    let test = try TestCache(folder)
    let first = try test.module(wasm)
    let info = first.artifact.header.extent(of: .info)
    let entry = try #require(folder.files(".cwasm").first)
    try damage(folder, entry, at: Int(info.offset) + 40, keepingTime: true)
    #expect(try answer(of: test.module(wasm)) == 24)
    #expect(test.counts.misses == 2)
  }

  @Test func aModuleThatTurnsOutToBeDamagedCanBeDiscarded() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let engine = Engine(cache: test.cache)
    let wasm = module(answer: 25)
    let first = try Module(engine: engine, wasm: wasm)
    #expect(engine.discardCached(first))
    #expect(!engine.discardCached(first))
    #expect(folder.files(".cwasm").isEmpty)
    let second = try Module(engine: engine, wasm: wasm)
    #expect(second.artifact !== first.artifact)
    #expect(try answer(of: second) == 25)
    #expect(test.counts.misses == 2)
  }

  @Test func anEntryUnderAnothersNameIsNotServed() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let (a, b) = (module(answer: 31), module(answer: 32))
    _ = try test.module(a)
    let first = try #require(folder.files(".cwasm").first)
    _ = try test.module(b)
    let second = try #require(folder.files(".cwasm").first { $0 != first })
    // With its times, as `cp -p` and backups do.
    let times = status(folder[first]).st_mtim
    try FileManager.default.removeItem(atPath: folder[second])
    try FileManager.default.copyItem(atPath: folder[first], toPath: folder[second])
    setTime(folder[second], times.tv_sec)
    #expect(try answer(of: test.module(b)) == 32)
  }

  @Test func whatOthersCouldHaveWrittenIsNotServed() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let wasm = module(answer: 33)
    _ = try test.module(wasm)
    let entry = try #require(folder.files(".cwasm").first)
    let seal = status(folder[entry]).st_mtim
    for mode: mode_t in [0o420, 0o402, 0o666] {
      chmod(folder[entry], mode)
      #expect(try answer(of: test.module(wasm)) == 33)
      #expect(status(folder[entry]).st_mode & 0o777 == 0o400, "made again")
    }
    #expect(test.counts.hits == 0)
    // A link to a good entry is not an entry either.
    try FileManager.default.moveItem(atPath: folder[entry], toPath: folder["elsewhere"])
    setTime(folder["elsewhere"], seal.tv_sec)
    try FileManager.default.createSymbolicLink(atPath: folder[entry], withDestinationPath: folder["elsewhere"])
    #expect(try answer(of: test.module(wasm)) == 33)
    #expect(test.counts.hits == 0)
  }

  @Test func anEntryOfSomebodyElsesIsNotServed() throws {
    try #require(geteuid() == 0)
    let folder = try Folder()
    let test = try TestCache(folder)
    let wasm = module(answer: 34)
    _ = try test.module(wasm)
    let entry = try #require(folder.files(".cwasm").first)
    let seal = status(folder[entry]).st_mtim
    #expect(chown(folder[entry], 65534, 65534) == 0)
    setTime(folder[entry], seal.tv_sec)
    #expect(try answer(of: test.module(wasm)) == 34)
    #expect(test.counts.hits == 0)
    #expect(status(folder[entry]).st_uid == 0)
    // Nor is anything from, or put into, a directory of somebody else's.
    #expect(chown(folder["cache"], 65534, 65534) == 0)
    let other = try TestCache(folder)
    #expect(try answer(of: other.module(wasm)) == 34)
    #expect(other.counts.hits == 0)
    #expect(other.warnings.count == 1)
    #expect(other.warnings.first?.contains("belongs to user 65534") == true)
  }

  @Test func aDirectoryThatOthersMayWriteToIsNotUsed() throws {
    let folder = try Folder()
    let wasm = module(answer: 35)
    let test = try TestCache(folder)
    _ = try test.module(wasm)
    #expect(status(folder["cache"]).st_mode & 0o777 == 0o700)
    chmod(folder["cache"], 0o722)
    let other = try TestCache(folder)
    #expect(try answer(of: other.module(wasm)) == 35)
    #expect(try answer(of: other.module(module(answer: 36))) == 36)
    #expect(other.cache.core.pendingCounts.hits == 0)
    #expect(other.warnings.count == 1)
    #expect(other.warnings.first?.contains("written to by others") == true)
    chmod(folder["cache"], 0o700)
  }

  @Test func aDirectoryThatGoesAwayIsMadeAgain() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let wasm = module(answer: 37)
    let kept = try test.module(wasm)
    for _ in 0..<3 {
      // Not while the worker puts something there.
      test.settle()
      try FileManager.default.removeItem(atPath: folder["cache"])
      #expect(try answer(of: test.module(wasm)) == 37)
      #expect(folder.files(".cwasm").count == 1)
      #expect(try answer(of: test.module(wasm)) == 37)
    }
    #expect(try answer(of: kept) == 37, "what is loaded stays")
    test.settle()
    #expect(test.warnings.isEmpty)
  }
}
