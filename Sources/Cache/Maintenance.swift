// Maintenance: what keeps a cache from growing, rotting and filling with what dead processes left.
//
// One process at a time does it, at most once per interval: it holds the lock of the file `lock`, whose stamp is the time of
// the last round. In a round,
//
//   1. what belongs to nobody is collected: temporary files of dead writers, the compressed form of an entry that has been
//      unpacked, usage counts of entries that are gone, index records that are none, empty directories of other compilers;
//   2. where there are more files or bytes than the limits say, those used longest ago go, down to a percentage;
//   3. entries that have not been used for `compress-after` are compressed.
//
// Files are only ever unlinked or replaced by a rename, never changed or shortened, so whoever has one open or mapped
// keeps what he has. A file that was used between the look at its stamp and its removal is lost to the cache, not to its user.
//
// Stamps are times of day, and clocks are set. One that lies ahead by more than the allowed drift tells nothing: it counts as
// the oldest, and if the entry survives it is stamped anew.

import Glibc

/// One entry as its files show it.
struct EntryItem {
  var directory: OwnedDescriptor
  var directoryName: String
  var key: CacheKey
  /// Size of the artifact; nil where there is only the compressed form.
  var artifactSize: Int?
  var compressedSize: Int?
  var uses = 0
  /// The latest of its stamps.
  var lastUse = WallTime(seconds: 0)
  /// Size of all its files, and their number.
  var bytes = 0
  var files = 0
}

/// Rounds of maintenance.
struct Maintenance {
  let core: CacheCore
  /// Whether to go on; false once the cache is closing.
  let goesOn: () -> Bool
  private var calls: FileCalls { core.calls }
  private var configuration: CacheConfiguration { core.configuration }

  static let lockName = "lock"

  init(core: CacheCore, while goesOn: @escaping () -> Bool) {
    self.core = core
    self.goesOn = goesOn
  }

  // MARK: When

  /// A round, if the last one is long enough ago and nobody else is at it.
  func runIfDue() {
    guard !configuration.isReadOnly, goesOn(), let root = try? core.directory.openRoot(creates: false) else { return }
    if isDue(root) { _ = run(root, waits: false) }
  }

  /// Whether the last round is long enough ago.
  var isDue: Bool { (try? core.directory.openRoot(creates: false)).map(isDue) ?? false }

  private func isDue(_ root: OwnedDescriptor) -> Bool {
    var status = stat()
    guard calls.status(root.number, Self.lockName, &status) == 0 else { return true }
    let age = WallTime.now.nanoseconds(since: WallTime(status.st_mtim))
    let drift = Self.nanoseconds(configuration.allowedClockDriftForFilesFromFuture)
    return age < -drift || age >= Self.nanoseconds(configuration.cleanupInterval)
  }

  /// A round now. False where another process is at it, or the directory cannot be used.
  func run(_ root: OwnedDescriptor, waits: Bool) -> Bool {
    let lock = calls.openOrCreate(root.number, Self.lockName)
    guard lock >= 0 else { return false }
    defer { calls.close(lock) }
    guard calls.lock(lock, waits: waits) == 0 else { return false }
    // At the beginning: a round that ends the process (no memory, say) is not tried again by the next one at once.
    _ = calls.setTimes(lock, seconds: nil)
    core.count(.rounds)
    let (entries, records) = collect(root)
    let left = evict(entries, records)
    compress(left)
    return true
  }

  // MARK: 1. Collecting

  /// Removes what belongs to nobody; returns the entries, and the index records with their stamps.
  private func collect(_ root: OwnedDescriptor) -> ([EntryItem], [IndexRecord]) {
    let now = WallTime.now
    var entries: [EntryItem] = []
    var records: [IndexRecord] = []
    for name in calls.names(in: root.number) ?? [] where goesOn() {
      if name.hasPrefix(TemporaryFile.prefix) {
        collectTemporary(name, in: root, now)
      } else if name == FileIndex.directoryName {
        if let index = try? core.directory.open(name, in: root, creates: false) { records = collectIndex(index, now) }
      } else if CompilerIdentity.isDirectoryName(name) {
        guard let directory = try? core.directory.open(name, in: root, creates: false) else { continue }
        let found = collectEntries(directory, name, now)
        entries += found
        if found.isEmpty { removeUnused(name, directory, root, now) }
      }
    }
    return (entries, records)
  }

  /// Removes a directory of a compiler that seems to be gone: empty, and not touched for an hour. (That of one which has just
  /// lost its last entry will be needed again in a moment.) One that is not empty after all stays.
  private func removeUnused(_ name: String, _ directory: OwnedDescriptor, _ root: OwnedDescriptor, _ now: WallTime) {
    var status = stat()
    guard calls.status(directory.number, &status) == 0,
      now.nanoseconds(since: WallTime(status.st_mtim)) > 3600 * 1_000_000_000
    else { return }
    _ = calls.removeDirectory(root.number, name)
  }

  private func collectTemporary(_ name: String, in directory: OwnedDescriptor, _ now: WallTime) {
    if TemporaryFile.isAbandoned(name, in: directory, calls: calls, now: now) {
      _ = calls.remove(directory.number, name)
    }
  }

  private func collectIndex(_ index: OwnedDescriptor, _ now: WallTime) -> [IndexRecord] {
    var records: [IndexRecord] = []
    for name in calls.names(in: index.number) ?? [] {
      var status = stat()
      if name.hasPrefix(TemporaryFile.prefix) {
        collectTemporary(name, in: index, now)
      } else if calls.status(index.number, name, &status) == 0, FileIndex.isName(name) {
        if status.st_mode & S_IFMT != S_IFREG || status.st_size != FileIndex.recordSize {
          _ = calls.remove(index.number, name)
        } else {
          records.append(IndexRecord(directory: index, name: name, stamp: WallTime(status.st_mtim)))
        }
      }
    }
    return records
  }

  /// The entries in a directory, after removing what does not belong to one.
  private func collectEntries(_ directory: OwnedDescriptor, _ directoryName: String, _ now: WallTime) -> [EntryItem] {
    let names = calls.names(in: directory.number) ?? []
    for name in names where name.hasPrefix(TemporaryFile.prefix) { collectTemporary(name, in: directory, now) }
    let items = Self.entries(among: names, directory, directoryName, calls)
    var entries: [EntryItem] = []
    for var item in items {
      if item.artifactSize == nil && item.compressedSize == nil {
        _ = calls.remove(directory.number, item.key.description + EntryName.use)
        continue
      }
      if item.artifactSize != nil, let size = item.compressedSize {
        _ = calls.remove(directory.number, item.key.description + EntryName.compressed)
        item.compressedSize = nil
        item.bytes -= size
        item.files -= 1
      }
      entries.append(item)
    }
    return entries
  }

  /// What files with these names in a directory make up: entries, and (without a size) counts of entries that are gone.
  static func entries(
    among names: [String], _ directory: OwnedDescriptor, _ directoryName: String, _ calls: FileCalls
  ) -> [EntryItem] {
    var items: [CacheKey: EntryItem] = [:]
    for name in names {
      guard let (key, suffix) = EntryName.split(name) else { continue }
      var status = stat()
      guard calls.status(directory.number, name, &status) == 0 else { continue }
      var item = items[key] ?? EntryItem(directory: directory, directoryName: directoryName, key: key)
      let size = Int(status.st_size)
      switch suffix {
      case EntryName.artifact: item.artifactSize = size
      case EntryName.compressed: item.compressedSize = size
      default: item.uses = size
      }
      // An artifact's own time of modification is its seal; it was made when it last changed.
      let stamp = WallTime(suffix == EntryName.use ? status.st_mtim : status.st_ctim)
      item.lastUse = max(item.lastUse, stamp)
      item.bytes += size
      item.files += 1
      items[key] = item
    }
    return Array(items.values)
  }

  // MARK: 2. Limits

  /// An index record's name and when it was last of use.
  private struct IndexRecord {
    var directory: OwnedDescriptor
    var name: String
    var stamp: WallTime
  }

  /// Brings the numbers of files and bytes below their limits; returns the entries that stay.
  private func evict(_ entries: [EntryItem], _ records: [IndexRecord]) -> [EntryItem] {
    var files = entries.reduce(records.count) { $0 + $1.files }
    var bytes = entries.reduce(records.count * FileIndex.recordSize) { $0 + $1.bytes }
    guard files > configuration.fileCountSoftLimit || bytes > configuration.filesTotalSizeSoftLimit else {
      return entries
    }
    let mostFiles = Self.percent(configuration.fileCountLimitPercentIfDeleting, of: configuration.fileCountSoftLimit)
    let mostBytes = Self.percent(
      configuration.filesTotalSizeLimitPercentIfDeleting, of: configuration.filesTotalSizeSoftLimit)
    let now = WallTime.now
    let drift = Self.nanoseconds(configuration.allowedClockDriftForFilesFromFuture)
    func age(_ stamp: WallTime) -> WallTime {
      now.nanoseconds(since: stamp) < -drift ? WallTime(seconds: Int.min) : stamp
    }
    // Entries by position, records behind them.
    let order = (entries.map { age($0.lastUse) } + records.map { age($0.stamp) }).enumerated()
      .sorted { $0.element < $1.element }.map(\.offset)
    var gone: Set<Int> = []
    for position in order where goesOn() {
      if files <= mostFiles && bytes <= mostBytes { break }
      if position < entries.count {
        let entry = entries[position]
        guard remove(entry) else { continue }
        files -= entry.files
        bytes -= entry.bytes
        gone.insert(position)
      } else {
        let record = records[position - entries.count]
        guard calls.remove(record.directory.number, record.name) == 0 else { continue }
        files -= 1
        bytes -= FileIndex.recordSize
      }
    }
    core.count(.evicted, UInt64(gone.count))
    return entries.enumerated().filter { !gone.contains($0.offset) }.map(\.element)
  }

  /// Removes an entry, its count last: what is left after a crash is collected.
  func remove(_ entry: EntryItem) -> Bool {
    var isGone = true
    for suffix in [EntryName.artifact, EntryName.compressed, EntryName.use] {
      let result = calls.remove(entry.directory.number, entry.key.description + suffix)
      if result < 0 && result != -ENOENT { isGone = false }
    }
    return isGone
  }

  // MARK: 3. Compression

  private func compress(_ entries: [EntryItem]) {
    let now = WallTime.now
    let drift = Self.nanoseconds(configuration.allowedClockDriftForFilesFromFuture)
    for entry in entries where entry.artifactSize != nil {
      guard goesOn() else { return }
      let age = now.nanoseconds(since: entry.lastUse)
      if age < -drift { restamp(entry) }
      if age < Self.nanoseconds(configuration.compressAfter) { continue }
      if compress(entry) { core.count(.compressed) }
    }
  }

  /// Gives an entry whose stamp lies in the future one from now.
  private func restamp(_ entry: EntryItem) {
    let file = calls.openOrCreate(entry.directory.number, entry.key.description + EntryName.use, appends: true)
    guard file >= 0 else { return }
    _ = calls.setTimes(file, seconds: nil)
    calls.close(file)
  }

  /// Compresses an entry at the level that its uses call for. One that is damaged is removed instead.
  private func compress(_ entry: EntryItem) -> Bool {
    let name = entry.key.description + EntryName.artifact
    let opened = core.directory.openFile(name, in: entry.directory, seal: entry.key.seal)
    guard case .sound(let descriptor, let status) = opened else {
      if case .unsealed(let descriptor, let status) = opened {
        core.directory.discard(name, in: entry.directory, ifStill: status)
        core.count(.damaged)
        calls.close(descriptor)
      }
      return false
    }
    defer { calls.close(descriptor) }
    guard status.st_size <= Compression.mostBytes,
      let bytes = HeapBytes.read(descriptor, size: Int(status.st_size), calls: calls)
    else { return false }
    guard Verification.problem(bytes) == nil else {
      core.directory.discard(name, in: entry.directory, ifStill: status)
      core.count(.damaged)
      return false
    }
    let isUsedOften = entry.uses >= configuration.optimizedCompressionUsageCounterThreshold
    if isUsedOften {
      let start = ContinuousClock.now
      let limit = configuration.optimizingCompressionTaskTimeout
      let isDone = pack(bytes, entry, level: configuration.optimizedCompressionLevel) {
        goesOn() && start.duration(to: .now) < limit
      }
      if isDone { return true }
    }
    return goesOn() && pack(bytes, entry, level: configuration.baselineCompressionLevel, while: goesOn)
  }

  /// Writes the compressed form, and removes the other one.
  private func pack(_ bytes: borrowing HeapBytes, _ entry: EntryItem, level: Int, while goesOn: () -> Bool) -> Bool {
    do throws(DirectoryProblem) {
      var file = try TemporaryFile(in: entry.directory, calls: calls, isFinal: true)
      let descriptor = file.descriptor
      let size = unsafe bytes.withBytes {
        unsafe Compression.pack($0, level: level, to: descriptor, calls: calls, while: goesOn)
      }
      // Not worth unpacking it again.
      guard let size, size < bytes.count else { return false }
      try file.publish(as: entry.key.description + EntryName.compressed, seal: entry.key.seal)
    } catch {
      return false
    }
    _ = calls.remove(entry.directory.number, entry.key.description + EntryName.artifact)
    return true
  }

  // MARK: Numbers

  /// A percentage of a number, without overflow.
  static func percent(_ percent: Int, of number: Int) -> Int {
    let percent = min(max(percent, 0), 100)
    return number / 100 * percent + number % 100 * percent / 100
  }

  /// A duration in nanoseconds, at most three centuries.
  static func nanoseconds(_ duration: Duration) -> Int {
    let (seconds, attoseconds) = duration.components
    return Int(min(max(seconds, 0), 9_000_000_000)) * 1_000_000_000 + Int(max(attoseconds, 0) / 1_000_000_000)
  }
}
