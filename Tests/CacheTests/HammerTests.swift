// Many processes on one cache, which is too small for them, while some of them are killed, entries are damaged, and the
// directory is removed: everybody is served, and served right.
//
// Takes `PRECAST_HAMMER_SECONDS` (12 where it is not set), with the random numbers of `PRECAST_HAMMER_SEED`.

import CacheTestSupport
import Foundation
import Glibc
import Precast
import Testing

@testable import PrecastCache

/// A process that was started, and where its output goes.
private struct Hammer {
  let process = Process()
  private let output: URL

  static let path: String = {
    let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: program).deletingLastPathComponent().appendingPathComponent("cache-hammer").path
  }()

  init(_ folder: Folder, _ arguments: String...) throws {
    output = folder.url.appendingPathComponent("out-\(UUID().uuidString)")
    try Data().write(to: output)
    process.executableURL = URL(fileURLWithPath: Self.path)
    process.arguments = arguments
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = process.standardOutput
    try process.run()
  }

  var text: String { (try? String(contentsOf: output, encoding: .utf8)) ?? "" }
}

@Suite struct HammerTests {
  @Test func everyModuleServedIsRightWhateverHappens() throws {
    let environment = ProcessInfo.processInfo.environment
    let seconds = environment["PRECAST_HAMMER_SECONDS"].flatMap(Double.init) ?? 12
    var random = Seeded(environment["PRECAST_HAMMER_SEED"].flatMap(UInt64.init) ?? 8)
    let folder = try Folder()
    let wasm = folder["wasm"]
    try FileManager.default.createDirectory(atPath: wasm, withIntermediateDirectories: true)
    for number in 0..<24 {
      try folder.write("wasm/\(number).wasm", module(answer: Int32(number), padding: number * 20))
    }
    let directory = folder["cache"]
    func seed() -> String { "\(UInt64.random(in: 1...UInt64(UInt32.max), using: &random))" }

    let servers = try (0..<8).map { _ in try Hammer(folder, "serve", directory, wasm, seed(), "\(seconds)") }
    let spoilers = try (0..<2).map { _ in try Hammer(folder, "spoil", directory, seed(), "\(seconds)") }
    let end = ContinuousClock.now + .seconds(seconds)
    let removal = ContinuousClock.now + .seconds(seconds / 2)
    var isRemoved = false
    var killed = 0
    while ContinuousClock.now < end {
      let victim = try Hammer(folder, "serve", directory, wasm, seed(), "60")
      usleep(UInt32.random(in: 1000..<400_000, using: &random))
      kill(victim.process.processIdentifier, SIGKILL)
      victim.process.waitUntilExit()
      #expect(victim.process.terminationReason == .uncaughtSignal, "\(victim.text)")
      killed += 1
      if !isRemoved && ContinuousClock.now > removal {
        isRemoved = true
        // As `rm -rf` does, while others put things there.
        let aside = folder["removed"]
        try FileManager.default.moveItem(atPath: directory, toPath: aside)
        for _ in 0..<100 where FileManager.default.fileExists(atPath: aside) {
          try? FileManager.default.removeItem(atPath: aside)
        }
      }
    }
    for server in servers {
      server.process.waitUntilExit()
      #expect(server.process.terminationReason == .exit && server.process.terminationStatus == 0, "\(server.text)")
      #expect(Int(server.text.split(separator: "\n").last ?? "") ?? 0 > 0, "\(server.text)")
    }
    for spoiler in spoilers {
      spoiler.process.waitUntilExit()
      #expect(spoiler.process.terminationStatus == 0, "\(spoiler.text)")
    }
    #expect(killed > 0)

    // What is left is what clean-up leaves: entries that verify, their counts, the index, and the cache's own files.
    let test = try TestCache(folder)
    _ = try test.cache.verify { _, _ in }
    try test.cache.prune()
    #expect(try test.cache.verify { _, _ in } == 0)
    for file in folder.files where file.hasPrefix("cache/") {
      let name = file.split(separator: "/").last.map(String.init) ?? ""
      #expect(
        ["CACHEDIR.TAG", "lock", "counters"].contains(name) || FileIndex.isName(name) || EntryName.split(name) != nil,
        "\(file)")
    }
    for number in 0..<24 {
      #expect(try answer(of: test.module(module(answer: Int32(number), padding: number * 20))) == Int32(number))
    }
    let counts = test.counts
    // All of it has happened.
    #expect(counts.hits > 0 && counts.misses > 0 && counts.damaged > 0 && counts.rounds > 0)
    print(
      "hammer: \(servers.compactMap { Int($0.text.split(separator: "\n").last ?? "") }.reduce(0, +)) served, "
        + "\(killed) killed, \(counts.named.map { "\($0.name) \($0.value)" }.joined(separator: ", "))")
  }
}
