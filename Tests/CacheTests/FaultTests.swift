// Every system call of writing and of cleaning up may fail. Whoever asks for a module gets it all the same, and afterwards
// the cache is as sound as if nothing had been tried.

import CacheTestSupport
import Foundation
import Glibc
import Precast
import Synchronization
import Testing

@testable import PrecastCache

/// Makes one call fail, by its number, or all from there on.
final class Injector: Sendable {
  private struct State {
    var next = 0
    var seen: Set<FileCall> = []
    var hit: FileCall?
  }
  private let state = Mutex(State())
  let target: Int
  let fault: FileFault
  let lasts: Bool

  init(at target: Int, _ fault: FileFault, lasts: Bool) {
    self.target = target
    self.fault = fault
    self.lasts = lasts
  }

  var calls: FileCalls {
    FileCalls { [self] call in
      state.withLock { state in
        state.seen.insert(call)
        let number = state.next
        state.next += 1
        guard number == target || lasts && number > target else { return nil }
        // A part is all there is of a short write only.
        if case .short = fault, call != .write && call != .read { return nil }
        if state.hit == nil { state.hit = call }
        return fault
      }
    }
  }

  /// The call that was made to fail; nil if there were not that many.
  var hit: FileCall? { state.withLock { $0.hit } }
  var count: Int { state.withLock { $0.next } }
  var seen: Set<FileCall> { state.withLock { $0.seen } }
}

/// The ways in which calls fail.
private let faults: [(String, FileFault)] = [
  ("no space", .error(ENOSPC)), ("read-only", .error(EROFS)), ("permission", .error(EACCES)),
  ("input/output", .error(EIO)), ("quota", .error(EDQUOT)), ("no such file", .error(ENOENT)),
  ("too many files", .error(EMFILE)), ("short", .short),
]

/// All that may be in a cache's directory after clean-up; and every entry verifies.
private func expectSound(_ folder: Folder, _ comment: Comment) throws {
  let test = try TestCache(folder)
  try test.cache.prune()
  for file in folder.files where file.hasPrefix("cache/") {
    let name = file.split(separator: "/").last.map(String.init) ?? ""
    let isKnown =
      ["CACHEDIR.TAG", "lock", "counters"].contains(name) || FileIndex.isName(name) || EntryName.split(name) != nil
    #expect(isKnown, "\(file), \(comment)")
  }
  let damaged = try test.cache.verify { _, _ in }
  #expect(damaged == 0, comment)
}

@Suite struct FaultTests {
  @Test(arguments: faults.indices) func whateverFailsWhileWritingTheModuleIsThere(index: Int) throws {
    let (name, fault) = faults[index]
    var seen: Set<FileCall> = []
    let wasmFolder = try Folder()
    let path = try writeWasm(wasmFolder, "m.wasm", module(answer: 41))
    for lasts in [false, true] {
      for target in 0... {
        let folder = try Folder()
        let injector = Injector(at: target, fault, lasts: lasts)
        do {
          // The worker has its turn in the next test; here it would take numbers away at random.
          let test = try TestCache(folder, calls: injector.calls) { $0.workerEventQueueSize = 0 }
          #expect(
            try answer(of: Module(engine: Engine(cache: test.cache), wasmFile: path)) == 41,
            "\(name) at \(target)")
          #expect(test.warnings.count <= 1)
          seen.formUnion(injector.seen)
        }
        if injector.count <= target { break }
        let comment: Comment = "\(name) at \(injector.hit.map { "\($0)" } ?? "nothing"), call \(target)"
        // Whoever comes next is served, and right.
        let next = try TestCache(folder)
        #expect(try answer(of: Module(engine: Engine(cache: next.cache), wasmFile: path)) == 41, comment)
        #expect(next.warnings.isEmpty, comment)
        next.settle()
        try expectSound(folder, comment)
        #expect(folder.files(".cwasm").count == 1, comment)
      }
    }
    for call in [FileCall.open, .create, .status, .write, .sync, .setTimes, .rename, .makeDirectory, .lock] {
      #expect(seen.contains(call))
    }
  }

  @Test(arguments: [0, 1, 2, 7]) func whateverFailsWhileCleaningUpTheCacheStaysSound(index: Int) throws {
    let (name, fault) = faults[index]
    let modules = (0..<3).map { module(answer: Int32(50 + $0)) }
    var seen: Set<FileCall> = []
    for lasts in [false, true] {
      // Every second call, but each of the kinds that matter is met many times.
      for target in stride(from: index % 2, to: 1000, by: 2) {
        let folder = try Folder()
        let fill = try TestCache(folder) { $0.workerEventQueueSize = 0 }
        for wasm in modules { _ = try fill.module(wasm) }
        // What there is to collect: a dead writer's file, a count without an entry.
        let directory = try #require(folder.files(".cwasm").first).split(separator: "/").dropLast().joined(
          separator: "/")
        try folder.write(directory + "/.tmp-1-1-dead", [1, 2, 3])
        try folder.write(directory + "/" + String(repeating: "a", count: 64) + ".use", [1])
        let injector = Injector(at: target, fault, lasts: lasts)
        do {
          let test = try TestCache(folder, calls: injector.calls) {
            $0.workerEventQueueSize = 0
            $0.fileCountSoftLimit = 2
            $0.compressAfter = .zero
          }
          try? test.cache.prune()
        }
        seen.formUnion(injector.seen)
        if injector.count <= target { break }
        let comment: Comment = "\(name) at \(injector.hit.map { "\($0)" } ?? "nothing"), call \(target)"
        try expectSound(folder, comment)
        let next = try TestCache(folder) { $0.workerEventQueueSize = 0 }
        for (index, wasm) in modules.enumerated() {
          #expect(try answer(of: next.module(wasm)) == Int32(50 + index), comment)
        }
      }
    }
    for call in [FileCall.open, .create, .status, .read, .write, .sync, .setTimes, .rename, .remove, .list, .lock] {
      #expect(seen.contains(call))
    }
  }

  @Test func whateverFailsWhileUnpackingTheModuleIsThere() throws {
    for (name, fault) in faults {
      for target in 0... {
        let folder = try Folder()
        let wasm = module(answer: 61)
        let fill = try TestCache(folder) {
          $0.workerEventQueueSize = 0
          $0.compressAfter = .zero
        }
        _ = try fill.module(wasm)
        try fill.cache.prune()
        #expect(folder.files(".zst").count == 1)
        let injector = Injector(at: target, fault, lasts: false)
        do {
          let test = try TestCache(folder, calls: injector.calls) { $0.workerEventQueueSize = 0 }
          #expect(try answer(of: test.module(wasm)) == 61, "\(name) at \(target)")
        }
        if injector.count <= target { break }
        try expectSound(folder, "\(name) at \(target)")
      }
    }
  }

  @Test func aFullDiskIsWarnedOfOnceAndEverythingCompiles() throws {
    let folder = try Folder()
    let test = try TestCache(folder, calls: FileCalls { $0 == .write ? .error(ENOSPC) : nil })
    for number in 0..<3 { #expect(try answer(of: test.module(module(answer: Int32(number)))) == Int32(number)) }
    #expect(test.warnings.count == 1)
    #expect(test.warnings.first?.contains("No space left on device") == true)
    #expect(folder.files(".cwasm", ".tmp").isEmpty)
  }

  @Test func entriesThatCannotBeUsedWhereTheyAreStayAndAreWarnedOfOnce() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let state = CompiledModule(wasm: WasmSource(module(answer: 1)), settings: .native)
    for _ in 0..<3 {
      // As on a file system that is mounted noexec: only what is in memory can be mapped.
      let isFresh = try test.cache.artifact(for: state) { file -> CachedLoad<Bool> in
        file.isFresh ? .loaded(true) : .unavailable("mounted noexec")
      }
      #expect(isFresh)
      #expect(folder.files(".cwasm").count == 1)
    }
    #expect(test.warnings.count == 1)
    #expect(test.counts.damaged == 0)
  }

  @Test func aDirectoryThatCannotBeMadeIsWarnedOfOnce() throws {
    let folder = try Folder()
    try folder.write("file", [])
    let test = try TestCache(folder, name: "file/cache")
    for number in 0..<3 { #expect(try answer(of: test.module(module(answer: Int32(number)))) == Int32(number)) }
    #expect(test.warnings.count == 1)
    #expect(test.counts.misses == 3)
  }
}
