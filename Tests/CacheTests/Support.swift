// What the tests of the cache share: folders of their own, small modules whose answers are known, and caches that say what
// happened to them.

import CacheTestSupport
import Foundation
import Glibc
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastWasm
import Synchronization
import Testing

@testable import PrecastCache

/// A folder of a test's own, gone with the test.
final class Folder: Sendable {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("precast-cache-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit {
    // A cache's worker may put something there while it is being removed.
    for _ in 0..<100 where FileManager.default.fileExists(atPath: url.path) {
      try? FileManager.default.removeItem(at: url)
    }
  }

  subscript(name: String) -> String { url.appendingPathComponent(name).path }

  /// Paths of all files below, relative to the folder, sorted.
  var files: [String] {
    let all = FileManager.default.enumerator(atPath: url.path)?.compactMap { $0 as? String } ?? []
    return all.filter { path in
      var isDirectory: ObjCBool = false
      return FileManager.default.fileExists(atPath: self[path], isDirectory: &isDirectory) && !isDirectory.boolValue
    }.sorted()
  }

  /// Files with one of these endings.
  func files(_ suffixes: String...) -> [String] { files.filter { file in suffixes.contains { file.hasSuffix($0) } } }

  func read(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: url.appendingPathComponent(name))) }
  func write(_ name: String, _ bytes: [UInt8]) throws { try Data(bytes).write(to: url.appendingPathComponent(name)) }
}

/// A cache in a folder, and what it warned of.
final class TestCache: Sendable {
  let cache: ArtifactCache

  init(
    _ folder: Folder, name: String = "cache", calls: FileCalls = FileCalls(),
    _ change: (inout CacheConfiguration) -> Void = { _ in }
  ) throws {
    var configuration = CacheConfiguration(directory: folder[name])
    change(&configuration)
    let box = Warnings()
    cache = try ArtifactCache(configuration, calls: calls) { box.add($0) }
    warningsBox = box
    self.folder = folder
  }

  private let warningsBox: Warnings
  // Outlives the cache and its worker.
  private let folder: Folder
  var warnings: [String] { warningsBox.all }

  /// An engine of its own, so that nothing is found in memory.
  func module(_ wasm: [UInt8], settings: CompilerSettings = .native) throws -> Module {
    let module = try Module(engine: Engine(cache: cache), wasm: wasm, settings: settings)
    // Among other things, that there is no section with relocations.
    try module.artifact.artifact.checkSectionHeaders()
    return module
  }

  /// What happened so far, in this process.
  var counts: Counts {
    // Not while the worker carries some from here to there.
    settle()
    var counts = cache.core.pendingCounts
    if let root = try? cache.core.root(creates: false) { counts += cache.core.directory.counts(in: root) }
    return counts
  }

  /// Lets the worker finish what it was given.
  func settle() { #expect(cache.finish(within: .seconds(60))) }
}

final class Warnings: Sendable {
  private let texts = Mutex<[String]>([])
  func add(_ text: String) { texts.withLock { $0.append(text) } }
  var all: [String] { texts.withLock { $0 } }
}

/// Wasm files are remembered only once they are older than the clock's grain; this one has an age.
func writeWasm(_ folder: Folder, _ name: String, _ bytes: [UInt8]) throws -> String {
  try folder.write(name, bytes)
  usleep(60_000)
  return folder[name]
}

/// The key under which a module is kept.
func key(_ wasm: [UInt8], _ settings: CompilerSettings = .native) throws -> CacheKey {
  try CacheKey(of: CompiledModule(wasm: WasmSource(wasm), settings: settings))
}

/// Sets a file's time of last modification (and access), in seconds of the epoch.
func setTime(_ path: String, _ seconds: Int, nanoseconds: Int = 0) {
  var times = [timespec(tv_sec: seconds, tv_nsec: nanoseconds), timespec(tv_sec: seconds, tv_nsec: nanoseconds)]
  #expect(utimensat(AT_FDCWD, path, &times, 0) == 0)
}

/// A file's times.
func status(_ path: String) -> stat {
  var status = stat()
  #expect(stat(path, &status) == 0)
  return status
}

/// Random numbers that are the same each time.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_F491_4F6C_DD1D
  }
}
