// What can be asked of a cache, and done to it, by hand.
//
// `precast cache` is made of these; a host may use them for a page of its own. None of them compiles anything. A cache whose
// directory is not there yet is an empty one.

import Glibc
import PrecastArtifact

/// An entry of a cache.
public struct CacheEntry: Sendable {
  /// Its key: 64 hexadecimal digits.
  public var key: String
  /// The directory of the compiler that made it.
  public var compiler: String
  /// Bytes of all its files.
  public var size: Int
  /// Whether it is compressed.
  public var isCompressed: Bool
  /// How often it was served.
  public var uses: Int
  /// When it was last served or, if it never was, made: seconds of the epoch.
  public var lastUse: Int
}

/// A cache in numbers.
public struct CacheStatistics: Sendable {
  /// Path of the root.
  public var directory: String
  /// What happened, over all processes.
  public var counts: Counts
  /// Number of entries.
  public var entries = 0
  /// Those of them that are compressed.
  public var compressedEntries = 0
  /// Those of other compilers than this program's.
  public var foreignEntries = 0
  /// Wasm files whose digests are remembered.
  public var indexRecords = 0
  /// All files of entries and of the index, as the limits count them.
  public var files = 0
  /// Bytes of these files.
  public var size = 0
  /// The earliest and the latest last use of an entry, in seconds of the epoch.
  public var lastUses: ClosedRange<Int>?
}

extension ArtifactCache {
  /// The root, or nil where there is none yet.
  private func existingRoot() throws(CacheError) -> OwnedDescriptor? {
    do throws(DirectoryProblem) {
      return try core.root(creates: false)
    } catch {
      if error.isAbsent { return nil }
      throw .unusable("the artifact cache \(directory) cannot be used (\(error.message))")
    }
  }

  private func items(_ root: OwnedDescriptor) -> [EntryItem] {
    var items: [EntryItem] = []
    for name in core.calls.names(in: root.number) ?? [] where CompilerIdentity.isDirectoryName(name) {
      guard let directory = try? core.directory.open(name, in: root, creates: false) else { continue }
      items += Maintenance.entries(
        among: core.calls.names(in: directory.number) ?? [], directory, name, core.calls)
    }
    return items.filter { $0.artifactSize != nil || $0.compressedSize != nil }
  }

  /// All entries, those used last first.
  public func entries() throws(CacheError) -> [CacheEntry] {
    guard let root = try existingRoot() else { return [] }
    return items(root).sorted { ($1.lastUse, $0.key.description) < ($0.lastUse, $1.key.description) }.map(Self.entry)
  }

  private static func entry(_ item: EntryItem) -> CacheEntry {
    CacheEntry(
      key: item.key.description, compiler: item.directoryName, size: item.bytes,
      isCompressed: item.artifactSize == nil, uses: item.uses, lastUse: item.lastUse.seconds)
  }

  /// The cache in numbers.
  ///
  /// - Parameter compiler: the compiler whose entries are not foreign.
  public func statistics(for compiler: CompilerIdentity) throws(CacheError) -> CacheStatistics {
    core.flushCounts()
    var statistics = CacheStatistics(directory: directory, counts: core.pendingCounts)
    guard let root = try existingRoot() else { return statistics }
    statistics.counts += core.directory.counts(in: root)
    for item in items(root) {
      statistics.entries += 1
      if item.artifactSize == nil { statistics.compressedEntries += 1 }
      if item.directoryName != compiler.directoryName { statistics.foreignEntries += 1 }
      statistics.files += item.files
      statistics.size += item.bytes
      let use = item.lastUse.seconds
      let known = statistics.lastUses ?? use...use
      statistics.lastUses = min(use, known.lowerBound)...max(use, known.upperBound)
    }
    if let index = try? core.directory.open(FileIndex.directoryName, in: root, creates: false) {
      statistics.indexRecords = (core.calls.names(in: index.number) ?? []).count { FileIndex.isName($0) }
      statistics.files += statistics.indexRecords
      statistics.size += statistics.indexRecords * FileIndex.recordSize
    }
    return statistics
  }

  /// Verifies all of every entry. Damaged ones are removed, unless the cache is read-only.
  ///
  /// - Parameter report: told of each entry, and what is wrong with it, or nil.
  /// - Returns: the number of damaged entries.
  public func verify(_ report: (CacheEntry, String?) -> Void) throws(CacheError) -> Int {
    guard let root = try existingRoot() else { return 0 }
    var damaged = 0
    for item in items(root).sorted(by: { $0.key.description < $1.key.description }) {
      let problem = verify(item)
      if problem != nil { damaged += 1 }
      report(Self.entry(item), problem)
    }
    core.flushCounts()
    return damaged
  }

  /// What is wrong with an entry, which is then removed; nil for a good one (or one that is gone by now).
  private func verify(_ item: EntryItem) -> String? {
    let suffix = item.artifactSize != nil ? EntryName.artifact : EntryName.compressed
    let name = item.key.description + suffix
    let problem: String?
    var identity: stat?
    switch core.directory.openFile(name, in: item.directory, seal: item.key.seal) {
    case .absent: return nil
    case .unreadable(let number): return errorText(number)
    case .untrusted(let why): problem = why
    case .unsealed(let descriptor, let status):
      defer { core.calls.close(descriptor) }
      identity = status
      // A read-only cache may have been copied without its times.
      problem =
        configuration.isReadOnly
        ? contentsProblem(descriptor, Int(status.st_size), isPacked: item.artifactSize == nil)
        : "was changed since it was written"
    case .sound(let descriptor, let status):
      defer { core.calls.close(descriptor) }
      identity = status
      problem = contentsProblem(descriptor, Int(status.st_size), isPacked: item.artifactSize == nil)
    }
    if problem != nil && !configuration.isReadOnly {
      core.directory.discard(name, in: item.directory, ifStill: identity)
      core.count(.damaged)
    }
    return problem
  }

  private func contentsProblem(_ descriptor: Int32, _ size: Int, isPacked: Bool) -> String? {
    guard size <= Compression.mostBytes, let bytes = HeapBytes.read(descriptor, size: size, calls: core.calls) else {
      return "cannot be read"
    }
    if !isPacked { return Verification.problem(bytes)?.description }
    guard let unpacked = Compression.unpack(bytes) else { return "cannot be unpacked" }
    return Verification.problem(unpacked)?.description
  }

  /// A round of maintenance now, by this process: what belongs to nobody is collected, the limits are kept, and cold entries
  /// are compressed. Waits for another process that is at it.
  public func prune() throws(CacheError) {
    if configuration.isReadOnly { throw .unusable("the artifact cache \(directory) is read-only") }
    guard let root = try existingRoot() else { return }
    guard Maintenance(core: core, while: { true }).run(root, waits: true) else {
      throw .unusable("the artifact cache \(directory) cannot be written")
    }
    core.flushCounts()
  }

  /// Removes all entries, the index and the counts.
  ///
  /// - Returns: the number of entries that were removed.
  @discardableResult
  public func clear() throws(CacheError) -> Int {
    if configuration.isReadOnly { throw .unusable("the artifact cache \(directory) is read-only") }
    guard let root = try existingRoot() else { return 0 }
    let calls = core.calls
    let all = items(root)
    for name in calls.names(in: root.number) ?? [] {
      if CompilerIdentity.isDirectoryName(name) || name == FileIndex.directoryName {
        guard let below = try? core.directory.open(name, in: root, creates: false) else { continue }
        for file in calls.names(in: below.number) ?? []
        where EntryName.split(file) != nil || FileIndex.isName(file) || file.hasPrefix(TemporaryFile.prefix) {
          _ = calls.remove(below.number, file)
        }
        _ = calls.removeDirectory(root.number, name)
      } else if name == CacheDirectory.countersName || name.hasPrefix(TemporaryFile.prefix) {
        _ = calls.remove(root.number, name)
      }
    }
    core.forget()
    let left = items(root).count
    if left > 0 {
      throw .unusable("\(left) of \(all.count) entries of the artifact cache \(directory) could not be removed")
    }
    return all.count
  }
}
