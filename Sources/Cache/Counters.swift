// How often the cache helped, over all processes.
//
// A process counts in memory; its worker adds the counts to the ones in a file of the cache, under that file's lock. A
// process that is killed takes a few counts with it, and a file that is damaged starts again at zero: nothing depends on them.
//
//       0  magic "PRECCNT1"
//       8  the counts, UInt64 each, in the order of `Counts.fields`
//     120  the first 8 bytes of the SHA-256 of what is before

import Glibc
import Synchronization

/// What happened in a cache.
public struct Counts: Sendable, Equatable {
  /// Entries served.
  public var hits: UInt64 = 0
  /// Modules compiled because there was no entry.
  public var misses: UInt64 = 0
  /// Entries written.
  public var stored: UInt64 = 0
  /// Entries that could not be written.
  public var notStored: UInt64 = 0
  /// Entries removed because they were damaged, changed or not to be trusted.
  public var damaged: UInt64 = 0
  /// Entries removed to make room.
  public var evicted: UInt64 = 0
  /// Entries compressed.
  public var compressed: UInt64 = 0
  /// Entries unpacked because they were asked for again.
  public var unpacked: UInt64 = 0
  /// Events that the worker's queue had no room for.
  public var dropped: UInt64 = 0
  /// Rounds of maintenance.
  public var rounds: UInt64 = 0

  /// Nothing yet.
  public init() {}

  /// Every count, in the order of the file.
  static let fields: [(name: String, path: any WritableKeyPath<Counts, UInt64> & Sendable)] = [
    ("hits", \.hits), ("misses", \.misses), ("stored", \.stored), ("not_stored", \.notStored), ("damaged", \.damaged),
    ("evicted", \.evicted), ("compressed", \.compressed), ("unpacked", \.unpacked), ("dropped", \.dropped),
    ("rounds", \.rounds),
  ]

  /// Name and value of every count.
  public var named: [(name: String, value: UInt64)] { Self.fields.map { ($0.name, self[keyPath: $0.path]) } }

  static func += (a: inout Counts, b: Counts) {
    for field in fields { a[keyPath: field.path] &+= b[keyPath: field.path] }
  }
}

/// The counts of this process that are not in the file yet. Without a lock: the worker, which may stand still for long
/// where all processors are busy, must never hold one that callers need.
final class PendingCounts: Sendable {
  private let hits = Atomic<UInt64>(0)
  private let misses = Atomic<UInt64>(0)
  private let stored = Atomic<UInt64>(0)
  private let notStored = Atomic<UInt64>(0)
  private let damaged = Atomic<UInt64>(0)
  private let evicted = Atomic<UInt64>(0)
  private let compressed = Atomic<UInt64>(0)
  private let unpacked = Atomic<UInt64>(0)
  private let dropped = Atomic<UInt64>(0)
  private let rounds = Atomic<UInt64>(0)

  /// Counts something.
  func add(_ what: Counted, _ number: UInt64) {
    switch what {
    case .hits: hits.wrappingAdd(number, ordering: .relaxed)
    case .misses: misses.wrappingAdd(number, ordering: .relaxed)
    case .stored: stored.wrappingAdd(number, ordering: .relaxed)
    case .notStored: notStored.wrappingAdd(number, ordering: .relaxed)
    case .damaged: damaged.wrappingAdd(number, ordering: .relaxed)
    case .evicted: evicted.wrappingAdd(number, ordering: .relaxed)
    case .compressed: compressed.wrappingAdd(number, ordering: .relaxed)
    case .unpacked: unpacked.wrappingAdd(number, ordering: .relaxed)
    case .dropped: dropped.wrappingAdd(number, ordering: .relaxed)
    case .rounds: rounds.wrappingAdd(number, ordering: .relaxed)
    }
  }

  /// What was counted so far; from now on it is counted from zero.
  func take() -> Counts {
    var counts = Counts()
    counts.hits = hits.exchange(0, ordering: .relaxed)
    counts.misses = misses.exchange(0, ordering: .relaxed)
    counts.stored = stored.exchange(0, ordering: .relaxed)
    counts.notStored = notStored.exchange(0, ordering: .relaxed)
    counts.damaged = damaged.exchange(0, ordering: .relaxed)
    counts.evicted = evicted.exchange(0, ordering: .relaxed)
    counts.compressed = compressed.exchange(0, ordering: .relaxed)
    counts.unpacked = unpacked.exchange(0, ordering: .relaxed)
    counts.dropped = dropped.exchange(0, ordering: .relaxed)
    counts.rounds = rounds.exchange(0, ordering: .relaxed)
    return counts
  }

  /// What was counted so far.
  var current: Counts {
    var counts = Counts()
    counts.hits = hits.load(ordering: .relaxed)
    counts.misses = misses.load(ordering: .relaxed)
    counts.stored = stored.load(ordering: .relaxed)
    counts.notStored = notStored.load(ordering: .relaxed)
    counts.damaged = damaged.load(ordering: .relaxed)
    counts.evicted = evicted.load(ordering: .relaxed)
    counts.compressed = compressed.load(ordering: .relaxed)
    counts.unpacked = unpacked.load(ordering: .relaxed)
    counts.dropped = dropped.load(ordering: .relaxed)
    counts.rounds = rounds.load(ordering: .relaxed)
    return counts
  }

  /// Puts back what could not be written.
  func restore(_ counts: Counts) {
    hits.wrappingAdd(counts.hits, ordering: .relaxed)
    misses.wrappingAdd(counts.misses, ordering: .relaxed)
    stored.wrappingAdd(counts.stored, ordering: .relaxed)
    notStored.wrappingAdd(counts.notStored, ordering: .relaxed)
    damaged.wrappingAdd(counts.damaged, ordering: .relaxed)
    evicted.wrappingAdd(counts.evicted, ordering: .relaxed)
    compressed.wrappingAdd(counts.compressed, ordering: .relaxed)
    unpacked.wrappingAdd(counts.unpacked, ordering: .relaxed)
    dropped.wrappingAdd(counts.dropped, ordering: .relaxed)
    rounds.wrappingAdd(counts.rounds, ordering: .relaxed)
  }
}

/// What is counted.
enum Counted {
  case hits, misses, stored, notStored, damaged, evicted, compressed, unpacked, dropped, rounds
}

extension CacheDirectory {
  static let countersName = "counters"
  private static let countersSize = 128
  private static let countersMagic: UInt64 = 0x3154_4E43_4345_5250  // "PRECCNT1"

  /// The counts in the file; zeros where there is none.
  func counts(in root: OwnedDescriptor) -> Counts {
    guard case .sound(let descriptor, _) = openFile(Self.countersName, in: root, seal: nil) else { return Counts() }
    defer { calls.close(descriptor) }
    return readCounts(descriptor)
  }

  /// Adds to the counts in the file. Whether that was done; not done where another process is at it just now.
  func add(_ counts: Counts, in root: OwnedDescriptor) -> Bool {
    let descriptor = calls.openOrCreate(root.number, Self.countersName)
    guard descriptor >= 0 else { return false }
    defer { calls.close(descriptor) }
    guard calls.lock(descriptor) == 0 else { return false }
    var sum = readCounts(descriptor)
    sum += counts
    var bytes = [UInt8](repeating: 0, count: Self.countersSize)
    func put(_ word: UInt64, _ index: Int) {
      for byte in 0..<8 { bytes[index * 8 + byte] = UInt8(truncatingIfNeeded: word >> UInt64(byte * 8)) }
    }
    put(Self.countersMagic, 0)
    for (index, field) in Counts.fields.enumerated() { put(sum[keyPath: field.path], index + 1) }
    put(Digest(of: Array(bytes[..<(Self.countersSize - 8)])).words.0, Self.countersSize / 8 - 1)
    return calls.write(descriptor, bytes, at: 0) == 0
  }

  private func readCounts(_ descriptor: Int32) -> Counts {
    var bytes = [UInt8](repeating: 0, count: Self.countersSize)
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe calls.read(descriptor, $0, at: 0) }
    func word(_ index: Int) -> UInt64 {
      (0..<8).reduce(0) { $0 | UInt64(bytes[index * 8 + $1]) << UInt64($1 * 8) }
    }
    guard count == Self.countersSize, word(0) == Self.countersMagic,
      word(Self.countersSize / 8 - 1) == Digest(of: Array(bytes[..<(Self.countersSize - 8)])).words.0
    else { return Counts() }
    var counts = Counts()
    for (index, field) in Counts.fields.enumerated() { counts[keyPath: field.path] = word(index + 1) }
    return counts
  }
}
