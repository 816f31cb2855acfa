// Every key of the settings file, once: its meaning, its default, and where its value goes.

import PrecastCache

/// A value of TOML, of the kinds that settings have.
enum SettingValue: CustomStringConvertible {
  case text(String)
  case integer(Int)
  case other(String)

  var description: String {
    switch self {
    case .text(let text): "'\(text)'"
    case .integer(let number): "\(number)"
    case .other(let kind): "a \(kind)"
    }
  }
}

/// Why a value does not do.
struct SettingProblem: Error {
  /// More than that it is of the wrong kind.
  var why: String?

  init(_ why: String? = nil) { self.why = why }
}

/// A key of the settings file.
struct CacheSetting: Sendable {
  var key: String
  /// What it takes, in words.
  var kind: String
  /// What it means, in lines for the default file.
  var comment: String
  /// Its default, as it would stand in the file.
  var defaultText: String
  /// Puts a value in its place.
  var apply: @Sendable (SettingValue, inout CacheConfiguration) throws(SettingProblem) -> Void

  static let all: [CacheSetting] = [
    CacheSetting(
      key: "directory", kind: "an absolute path", comment: "Where the cache is. An absolute path.",
      defaultText: "\"\(StandardPaths.cacheDirectory ?? "/var/cache/precast")\""
    ) { (value, configuration) throws(SettingProblem) in
      guard case .text(let path) = value else { throw SettingProblem() }
      guard path.hasPrefix("/") else { throw SettingProblem("it is not absolute") }
      configuration.directory = path
    },
    count(
      "worker-event-queue-size", \.workerEventQueueSize, "\"16\"",
      "How many events may wait for the worker (uses to be counted, entries to be cleaned up after).\nMore are dropped."
    ),
    level(
      "baseline-compression-level", \.baselineCompressionLevel, "3",
      "zstd's level for entries that have not been used for a while (see compress-after)."),
    level(
      "optimized-compression-level", \.optimizedCompressionLevel, "20",
      "zstd's level for those among them that had been used often, since they will be read again."),
    count(
      "optimized-compression-usage-counter-threshold", \.optimizedCompressionUsageCounterThreshold, "\"256\"",
      "How many uses are often."),
    duration(
      "cleanup-interval", \.cleanupInterval, "\"1h\"",
      "The shortest time between two rounds of maintenance (clean-up and compression), by whichever process."),
    duration(
      "optimizing-compression-task-timeout", \.optimizingCompressionTaskTimeout, "\"30m\"",
      "The longest that compressing one entry at the optimized level may take.\n"
        + "One that takes longer is compressed at the baseline level."),
    duration(
      "allowed-clock-drift-for-files-from-future", \.allowedClockDriftForFilesFromFuture, "\"1d\"",
      "How far in the future a file's time of last use may lie. One further ahead counts as the oldest."),
    count(
      "file-count-soft-limit", \.fileCountSoftLimit, "\"65536\"",
      "How many files the cache may have. When it has more, those used longest ago are deleted."),
    size(
      "files-total-size-soft-limit", \.filesTotalSizeSoftLimit, "\"512Mi\"",
      "How many bytes the cache may have. When it has more, those used longest ago are deleted."),
    percent(
      "file-count-limit-percent-if-deleting", \.fileCountLimitPercentIfDeleting, "\"70%\"",
      "When files are deleted, how far down their number goes, in percent of file-count-soft-limit."),
    percent(
      "files-total-size-limit-percent-if-deleting", \.filesTotalSizeLimitPercentIfDeleting, "\"70%\"",
      "When files are deleted, how far down their size goes, in percent of files-total-size-soft-limit."),
    duration(
      "compress-after", \.compressAfter, "\"14d\"",
      "How long an entry is not used before it is compressed. It is unpacked again when it is used."),
  ]

  // MARK: Kinds

  private typealias Path<Value> = any WritableKeyPath<CacheConfiguration, Value> & Sendable

  private static func count(_ key: String, _ path: Path<Int>, _ text: String, _ comment: String) -> CacheSetting {
    CacheSetting(
      key: key, kind: "a number, such as 256 or \"64K\"", comment: comment, defaultText: text
    ) { (value, configuration) throws(SettingProblem) in
      configuration[keyPath: path] = try Units.number(value, Units.decimal)
    }
  }

  private static func size(_ key: String, _ path: Path<Int>, _ text: String, _ comment: String) -> CacheSetting {
    CacheSetting(
      key: key, kind: "a size, such as \"512Mi\" or \"1G\"", comment: comment, defaultText: text
    ) { (value, configuration) throws(SettingProblem) in
      configuration[keyPath: path] = try Units.number(value, Units.decimal + Units.binary)
    }
  }

  private static func duration(_ key: String, _ path: Path<Duration>, _ text: String, _ comment: String) -> CacheSetting
  {
    CacheSetting(
      key: key, kind: "a duration, such as \"90s\", \"30m\", \"1h\" or \"14d\"", comment: comment, defaultText: text
    ) { (value, configuration) throws(SettingProblem) in
      guard case .text = value else { throw SettingProblem("its unit is missing") }
      configuration[keyPath: path] = .seconds(try Units.number(value, Units.times, needsUnit: true))
    }
  }

  private static func percent(_ key: String, _ path: Path<Int>, _ text: String, _ comment: String) -> CacheSetting {
    CacheSetting(
      key: key, kind: "a percentage from \"0%\" to \"100%\"", comment: comment, defaultText: text
    ) { (value, configuration) throws(SettingProblem) in
      guard case .text = value else { throw SettingProblem("the sign % is missing") }
      let percent = try Units.number(value, [("%", 1)], needsUnit: true)
      guard percent <= 100 else { throw SettingProblem() }
      configuration[keyPath: path] = percent
    }
  }

  private static func level(_ key: String, _ path: Path<Int>, _ text: String, _ comment: String) -> CacheSetting {
    CacheSetting(
      key: key, kind: "an integer from 1 to 22", comment: comment, defaultText: text
    ) { (value, configuration) throws(SettingProblem) in
      guard case .integer(let level) = value, (1...22).contains(level) else { throw SettingProblem() }
      configuration[keyPath: path] = level
    }
  }
}

/// Numbers with units.
enum Units {
  static let decimal: [(String, Int)] = [
    ("K", 1000), ("M", 1000_000), ("G", 1000_000_000), ("T", 1_000_000_000_000), ("P", 1_000_000_000_000_000),
  ]
  static let binary: [(String, Int)] = [
    ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40), ("Pi", 1 << 50),
  ]
  static let times: [(String, Int)] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]

  /// A number that is not negative, with one of the units behind it or, unless it needs one, without.
  static func number(
    _ value: SettingValue, _ units: [(String, Int)], needsUnit: Bool = false
  ) throws(SettingProblem) -> Int {
    switch value {
    case .integer(let number):
      guard number >= 0, !needsUnit else { throw SettingProblem() }
      return number
    case .text(let text):
      let digits = text.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard !digits.isEmpty else { throw SettingProblem() }
      var unit = text.utf8.dropFirst(digits.count)
      while unit.first == UInt8(ascii: " ") { unit = unit.dropFirst() }
      let name = String(decoding: unit, as: UTF8.self)
      let factor: Int
      if let known = units.first(where: { $0.0 == name }) {
        factor = known.1
      } else if name.isEmpty && !needsUnit {
        factor = 1
      } else {
        throw SettingProblem(
          name.isEmpty
            ? "its unit is missing" : "unknown unit '\(name)'; known: \(units.map(\.0).joined(separator: ", "))")
      }
      guard let number = Int(String(decoding: digits, as: UTF8.self)) else { throw SettingProblem("it is too large") }
      let (result, overflow) = number.multipliedReportingOverflow(by: factor)
      if overflow { throw SettingProblem("it is too large") }
      return result
    case .other: throw SettingProblem()
    }
  }
}
