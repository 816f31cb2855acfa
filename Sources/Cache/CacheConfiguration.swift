// What users can set, and what holds if they do not.
//
// Keys, units and defaults are those that users of wasmtime's cache know. `compress-after` is our own: there, everything in
// the cache is compressed; here, only what has not been used for that long.

/// How a cache behaves.
public struct CacheConfiguration: Sendable, Equatable {
  /// Path of the root; nil: `defaultDirectory`.
  public var directory: String?
  /// `worker-event-queue-size`: how many events may wait for the worker. More are dropped.
  public var workerEventQueueSize = 16
  /// `baseline-compression-level`: zstd's level for entries that are seldom used.
  public var baselineCompressionLevel = 3
  /// `optimized-compression-level`: zstd's level for entries that have been used often.
  public var optimizedCompressionLevel = 20
  /// `optimized-compression-usage-counter-threshold`: how many uses are often.
  public var optimizedCompressionUsageCounterThreshold = 256
  /// `cleanup-interval`: the shortest time between two rounds of maintenance.
  public var cleanupInterval = Duration.seconds(3600)
  /// `optimizing-compression-task-timeout`: the longest that compressing one entry at the optimised level may take. One that
  /// takes longer is compressed at the baseline level.
  public var optimizingCompressionTaskTimeout = Duration.seconds(30 * 60)
  /// `allowed-clock-drift-for-files-from-future`: how far in the future a time of last use may be. One that is further ahead
  /// comes from a clock that was wrong, and counts as the oldest.
  public var allowedClockDriftForFilesFromFuture = Duration.seconds(86400)
  /// `file-count-soft-limit`: how many files there may be before some are deleted.
  public var fileCountSoftLimit = 65536
  /// `files-total-size-soft-limit`: how many bytes there may be before some are deleted.
  public var filesTotalSizeSoftLimit = 512 << 20
  /// `file-count-limit-percent-if-deleting`: how far the number of files goes down then, in percent of its limit.
  public var fileCountLimitPercentIfDeleting = 70
  /// `files-total-size-limit-percent-if-deleting`: how far the number of bytes goes down then, in percent of its limit.
  public var filesTotalSizeLimitPercentIfDeleting = 70
  /// `compress-after`: how long an entry is not used before it is compressed.
  public var compressAfter = Duration.seconds(14 * 86400)

  /// Whether entries are only looked up: nothing is written, compiled or removed, and a miss is an error.
  public var isReadOnly = false
  /// Whether all of an entry is verified when it is served, not only what is looked at.
  public var verifiesEverything = false

  /// The defaults.
  public init() {}

  /// The defaults, with the root at a path.
  public init(directory: String) { self.directory = directory }
}
