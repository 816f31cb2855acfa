// The settings file says what it can say, and says where it is wrong.

import Foundation
import PrecastCache
import Testing

@testable import PrecastCacheSettings

private func parse(_ text: String) throws(CacheSettingsError) -> CacheConfiguration {
  try CacheSettings.parse(Array(text.utf8), path: "cache.toml")
}

private func problem(_ text: String) -> CacheSettingsError? {
  do throws(CacheSettingsError) {
    _ = try parse(text)
    return nil
  } catch {
    return error
  }
}

@Suite struct SettingsTests {
  @Test func nothingSaidIsTheDefault() throws {
    #expect(try parse("") == CacheConfiguration())
    #expect(try parse("[cache]\n# nothing\n") == CacheConfiguration())
  }

  @Test func everyKeyIsUnderstood() throws {
    let configuration = try parse(
      """
      [cache]
      directory = "/somewhere/else"
      worker-event-queue-size = "1K"
      baseline-compression-level = 1
      optimized-compression-level = 22
      optimized-compression-usage-counter-threshold = "2M"
      cleanup-interval = "30m"
      optimizing-compression-task-timeout = "45s"
      allowed-clock-drift-for-files-from-future = "2d"
      file-count-soft-limit = 100
      files-total-size-soft-limit = "1Gi"
      file-count-limit-percent-if-deleting = "60%"
      files-total-size-limit-percent-if-deleting = "0%"
      compress-after = "12h"
      """)
    var expected = CacheConfiguration(directory: "/somewhere/else")
    expected.workerEventQueueSize = 1000
    expected.baselineCompressionLevel = 1
    expected.optimizedCompressionLevel = 22
    expected.optimizedCompressionUsageCounterThreshold = 2_000_000
    expected.cleanupInterval = .seconds(1800)
    expected.optimizingCompressionTaskTimeout = .seconds(45)
    expected.allowedClockDriftForFilesFromFuture = .seconds(2 * 86400)
    expected.fileCountSoftLimit = 100
    expected.filesTotalSizeSoftLimit = 1 << 30
    expected.fileCountLimitPercentIfDeleting = 60
    expected.filesTotalSizeLimitPercentIfDeleting = 0
    expected.compressAfter = .seconds(12 * 3600)
    #expect(configuration == expected)
  }

  @Test func theDefaultFileSaysTheDefaults() throws {
    let text = CacheSettings.defaultText
    #expect(try parse(text) == CacheConfiguration())
    // With every setting in force it is still the defaults, but for the directory, which then is said.
    let lines = text.split(separator: "\n").map(String.init)
    let isSetting = { (line: String) in line.hasPrefix("# ") && line.contains(" = ") }
    let active = lines.map { isSetting($0) ? String($0.dropFirst(2)) : $0 }.joined(separator: "\n")
    var configuration = try parse(active)
    #expect(configuration.directory != nil)
    configuration.directory = nil
    #expect(configuration == CacheConfiguration())
    #expect(lines.count(where: isSetting) == CacheSetting.all.count)
    #expect(lines.allSatisfy { $0.utf8.count <= 120 })
  }

  @Test(arguments: [
    ("files-total-size-soft-limit = \"512Mi\"", 512 << 20), ("files-total-size-soft-limit = \"1G\"", 1_000_000_000),
    ("files-total-size-soft-limit = \"5K\"", 5000), ("files-total-size-soft-limit = \"5 Ki\"", 5120),
    ("files-total-size-soft-limit = \"7\"", 7), ("files-total-size-soft-limit = 7", 7),
    ("files-total-size-soft-limit = \"2Ti\"", 2 << 40), ("files-total-size-soft-limit = \"3P\"", 3_000_000_000_000_000),
  ]) func sizesHaveUnits(line: String, size: Int) throws {
    #expect(try parse("[cache]\n\(line)\n").filesTotalSizeSoftLimit == size)
  }

  @Test(arguments: [
    ("[cache]\ndirectry = \"/x\"\n", 2, "unknown key 'directry'; is it directory?"),
    ("# comment\n\n[cache]\nx = 1\n", 4, "unknown key 'x'"),
    ("[cash]\n", 1, "unknown key 'cash'"),
    ("directory = \"/x\"\n", 1, "in the table [cache]"),
    ("cache = 1\n", 1, "has to be a table"),
    ("[cache]\ndirectory = \"relative\"\n", 2, "not absolute"),
    ("[cache]\ndirectory = 1\n", 2, "an absolute path"),
    ("[cache]\n\ncleanup-interval = \"1x\"\n", 3, "unknown unit 'x'"),
    ("[cache]\n\ncleanup-interval = 3600\n", 3, "unit is missing"),
    ("[cache]\ncleanup-interval = \"1\"\n", 2, "unit is missing"),
    ("[cache]\ncleanup-interval = \"-1h\"\n", 2, "a duration"),
    ("[cache]\nfile-count-soft-limit = -1\n", 2, "a number"),
    ("[cache]\nfile-count-soft-limit = \"1Ki\"\n", 2, "unknown unit 'Ki'"),
    ("[cache]\nfile-count-soft-limit = 1.5\n", 2, "floating-point"),
    ("[cache]\nfiles-total-size-soft-limit = \"99999999999999999999\"\n", 2, "too large"),
    ("[cache]\nfiles-total-size-soft-limit = \"99999P\"\n", 2, "too large"),
    ("[cache]\nfile-count-limit-percent-if-deleting = \"101%\"\n", 2, "percentage"),
    ("[cache]\nfile-count-limit-percent-if-deleting = 70\n", 2, "% is missing"),
    ("[cache]\nbaseline-compression-level = 23\n", 2, "1 to 22"),
    ("[cache]\nbaseline-compression-level = \"3\"\n", 2, "1 to 22"),
    ("[cache]\nworker-event-queue-size = [1]\n", 2, "a number"),
    ("[cache]\ndirectory = \"/x\"\ndirectory = \"/y\"\n", 3, ""),
    ("[cache\n", 1, ""),
    ("[cache]\ndirectory = \n", 2, ""),
    ("[cache]\n\n\nx = \"\u{0}\"\n", 4, "zero byte"),
    ("[cache]\nnotes = '''\ndirectory = 1\n'''\n", 2, "unknown key 'notes'"),
    ("cache.directory = \"/x\"\ncache.bad = 1\n", 2, "unknown key 'bad'"),
  ]) func mistakesHaveTheirLine(text: String, line: Int, message: String) throws {
    let error = try #require(problem(text))
    #expect(error.line == line, "\(error)")
    #expect(error.message.contains(message) || message.isEmpty, "\(error)")
    #expect(error.description.hasPrefix("cache.toml:\(line): "))
  }

  @Test func aFileThatIsNotThereIsAnErrorWhenAskedFor() {
    #expect(throws: CacheSettingsError.self) { try CacheSettings.read("/nowhere/cache.toml") }
  }
}
