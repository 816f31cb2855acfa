// `precast run` keeps what it compiles, and `precast cache` looks after it.

import Foundation
import Testing

@Suite struct CacheCommandTests {
  /// A folder with a guest, and the variables of a cache in it.
  private func prepare() throws -> (Folder, [String: String]) {
    let folder = try Folder()
    try folder.add("guest.wasm")
    return (folder, ["PRECAST_CACHE_DIR": folder["cache"], "PRECAST_CACHE_CONFIG": folder["cache.toml"]])
  }

  private func settings(_ folder: Folder, _ text: String = "") throws {
    try folder.write("cache.toml", "[cache]\n" + text)
  }

  private func object(_ outcome: Outcome) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: outcome.output) as? [String: Any], "\(outcome.text)")
  }

  private func entries(_ folder: Folder) -> [String] {
    let all = FileManager.default.enumerator(atPath: folder["cache"])?.compactMap { $0 as? String } ?? []
    return all.filter { $0.hasSuffix(".cwasm") }.map { folder["cache/\($0)"] }
  }

  @Test func theSecondRunLoadsWhatTheFirstCompiled() throws {
    let (folder, environment) = try prepare()
    try settings(folder)
    let first = try Command.run("run", "--timings", "guest.wasm", "exit", "5", environment: environment, in: folder)
    #expect(first.status == 5)
    #expect(first.errors.contains("compile"))
    let second = try Command.run("run", "--timings", "guest.wasm", "exit", "5", environment: environment, in: folder)
    #expect(second.status == 5)
    #expect(!second.errors.contains("compile"))
    #expect(second.errors.contains("load"))
    let piped = try Command.shell(
      "PRECAST_CACHE_CONFIG=cache.toml PRECAST_CACHE_DIR=cache $precast run /dev/stdin exit 5 < guest.wasm", in: folder)
    #expect(piped.status == 5)
    #expect(entries(folder).count == 1)
    let statistics = try object(Command.run("cache", "stats", "--json", environment: environment, in: folder))
    #expect(statistics["entries"] as? Int == 1)
    let counts = try #require(statistics["counts"] as? [String: Any])
    #expect(counts["hits"] as? Int == 2)
    #expect(counts["misses"] as? Int == 1)
  }

  @Test func withoutTheCacheNothingIsKept() throws {
    let (folder, environment) = try prepare()
    try settings(folder)
    for _ in 0..<2 {
      let outcome = try Command.run(
        "run", "--no-cache", "--timings", "guest.wasm", "exit", "0", environment: environment, in: folder)
      #expect(outcome.status == 0)
      #expect(outcome.errors.contains("compile"))
    }
    #expect(!folder.exists("cache"))
  }

  @Test func otherSettingsAreOtherEntries() throws {
    let (folder, environment) = try prepare()
    try settings(folder)
    for list in ["baseline", "native", "baseline"] {
      let outcome = try Command.run(
        "run", "--cpu-features", list, "guest.wasm", "exit", "0", environment: environment, in: folder)
      #expect(outcome.status == 0)
    }
    #expect(entries(folder).count == 2)
  }

  @Test func aCacheThatCannotBeWrittenIsWarnedOfAndTheGuestRuns() throws {
    let (folder, _) = try prepare()
    let outcome = try Command.run(
      "run", "guest.wasm", "exit", "3", environment: ["PRECAST_CACHE_DIR": folder["guest.wasm"] + "/cache"], in: folder)
    #expect(outcome.status == 3)
    #expect(outcome.errors.split(separator: "\n").count == 1)
    #expect(outcome.errors.hasPrefix("precast: warning: the artifact cache"))
  }

  @Test func aMistakeInTheSettingsFileIsAnErrorWithItsLine() throws {
    let (folder, environment) = try prepare()
    try settings(folder, "\ncleanup-intervall = \"1h\"\n")
    let outcome = try Command.run("run", "guest.wasm", "exit", "0", environment: environment, in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("cache.toml:3: unknown key 'cleanup-intervall'; is it cleanup-interval?"))
    // Who does not use the cache does not read its settings.
    let without = try Command.run("run", "--no-cache", "guest.wasm", "exit", "0", environment: environment, in: folder)
    #expect(without.status == 0)
  }

  @Test func aSettingsFileThatWasNamedHasToBeThere() throws {
    let (folder, environment) = try prepare()
    let outcome = try Command.run("cache", "stats", environment: environment, in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("cache.toml: No such file or directory"))
  }

  @Test func configWritesAFileThatIsReadAndReplacesNone() throws {
    let (folder, environment) = try prepare()
    let written = try Command.run("cache", "config", environment: environment, in: folder)
    #expect(written.status == 0)
    #expect(written.text == folder["cache.toml"] + "\n")
    let text = String(decoding: try folder.read("cache.toml"), as: UTF8.self)
    #expect(text.contains("# files-total-size-soft-limit = \"512Mi\""))
    #expect(try Command.run("cache", "stats", environment: environment, in: folder).status == 0)
    let again = try Command.run("cache", "config", environment: environment, in: folder)
    #expect(again.status == 1)
    #expect(again.errors.contains("is there already"))
    #expect(try Command.run("cache", "config", "-", environment: environment, in: folder).text == text)
    let deep = try Command.run("cache", "config", "a/b/c.toml", environment: environment, in: folder)
    #expect(deep.status == 0)
    #expect(folder.exists("a/b/c.toml"))
  }

  @Test func pathSaysWhereThingsAre() throws {
    let (folder, environment) = try prepare()
    try settings(folder)
    #expect(try Command.run("cache", "path", environment: environment, in: folder).text == folder["cache"] + "\n")
    let other = ["PRECAST_CACHE_DIR": "", "XDG_CACHE_HOME": folder["xdg"]]
    #expect(
      try Command.run("cache", "path", environment: other, in: folder).text == folder["xdg/precast"] + "\n")
    try settings(folder, "directory = \"/some/where\"\n")
    let configured = environment.merging(["PRECAST_CACHE_DIR": ""]) { $1 }
    #expect(try Command.run("cache", "path", environment: configured, in: folder).text == "/some/where\n")
    let both = try object(Command.run("cache", "path", "--json", environment: configured, in: folder))
    #expect(both["settings"] as? String == folder["cache.toml"])
  }

  @Test func verifyFindsDamageAndListAndClearKnowEveryEntry() throws {
    let (folder, environment) = try prepare()
    try settings(folder)
    for list in ["baseline", "native"] {
      _ = try Command.run(
        "run", "--cpu-features", list, "guest.wasm", "exit", "0", environment: environment, in: folder)
    }
    let listed = try Command.run("cache", "list", "--json", environment: environment, in: folder)
    let all = try #require(try JSONSerialization.jsonObject(with: listed.output) as? [[String: Any]])
    #expect(all.count == 2)
    #expect(all.allSatisfy { ($0["key"] as? String)?.count == 64 && $0["compressed"] as? Bool == false })
    #expect(try Command.run("cache", "list", environment: environment, in: folder).lines.count == 3)
    #expect(try Command.run("cache", "verify", environment: environment, in: folder).text == "2 entries, 0 damaged\n")
    let entry = try #require(entries(folder).first)
    chmod(entry, 0o600)
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: entry))
    try file.truncate(atOffset: 5000)
    try file.close()
    let verified = try Command.run("cache", "verify", environment: environment, in: folder)
    #expect(verified.status == 1)
    #expect(verified.text.contains("changed since it was written; removed\n2 entries, 1 damaged\n"))
    #expect(entries(folder).count == 1)
    #expect(try Command.run("cache", "prune", environment: environment, in: folder).status == 0)
    let cleared = try object(Command.run("cache", "clear", "--json", environment: environment, in: folder))
    #expect(cleared["removed"] as? Int == 1)
    #expect(entries(folder).isEmpty)
    #expect(try Command.run("cache", "list", environment: environment, in: folder).text.isEmpty)
  }

  @Test func anUnknownSubcommandIsAMistakeOfTheCommandLine() throws {
    let (folder, _) = try prepare()
    #expect(try Command.run("cache", "sweep", in: folder).status == 64)
    #expect(try Command.run("cache", "stats", "--bogus", in: folder).status == 64)
    #expect(try Command.run("cache", "--help", in: folder).text.contains("prune"))
  }
}
