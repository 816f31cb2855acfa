// From a place in wasm code to the source: file, line, and functions that were inlined there.
//
// The guest's DWARF lies in the artifact (`.wasmtime.dwarf`, an ELF file that libdw opens where it is mapped) and is not looked
// at before the first question about its module. Then its pages are checked against their checksums, and the address ranges of
// all units are put into one sorted array: a question is a binary search, and one unit's scopes and lines, which libdw decodes
// once and keeps. So the first line costs time in proportion to the number of units, the next ones little. Answers are kept: a
// program that traps does so in the same places.
//
// What a guest says of itself is not to be believed: time and memory are bounded (GuestDWARF.swift, DWARFCensus.swift), and behind
// a bound there is no answer. But it is libdw that reads it, in this process; `PRECAST_BACKTRACE_DETAILS=0` keeps it from being
// read at all (Docs/Security.md).

import Glibc
import PrecastArtifact
public import PrecastLoader
import Synchronization

/// A place in the guest's source, with the function that it is in.
public struct SourcePosition: Sendable, Hashable {
  /// The function, as its author wrote it where that can be told: a C++ or Rust name with its scope, otherwise the plain name.
  public var function: String?
  /// The source file, as the compiler knew it.
  public var file: String?
  /// The line, from 1.
  public var line: Int?
  /// The column, from 1.
  public var column: Int?
  /// Whether the function was inlined into that of the position that follows.
  public var isInlined: Bool

  /// Makes a position.
  public init(function: String?, file: String?, line: Int?, column: Int?, isInlined: Bool) {
    self.function = function
    self.file = file
    self.line = line
    self.column = column
    self.isInlined = isInlined
  }
}

extension LoadedArtifact {
  /// Where in the guest's source the instruction at a wasm offset comes from: innermost first, the functions that were inlined
  /// there and last the one that was not. Empty where the artifact has no DWARF for it, or libdw is absent.
  public func sourcePositions(ofWasmOffset offset: Int) -> [SourcePosition] {
    if header.extent(of: .dwarf).size == 0 || !Symbolizer.isAllowed { return [] }
    let found = symbolizer.positions(of: self, offset)
    return isDamaged ? [] : found
  }

  var symbolizer: Symbolizer {
    if let known = companion.load() as? Symbolizer { return known }
    return companion.storeIfNil(Symbolizer()) as? Symbolizer ?? Symbolizer()
  }
}

/// What was found out of one artifact's DWARF.
final class Symbolizer: ArtifactCompanion, @unchecked Sendable {
  /// Whether guests' DWARF may be read in this process.
  static let isAllowed: Bool = unsafe getenv("PRECAST_BACKTRACE_DETAILS").map { unsafe $0.pointee != 0x30 } ?? true

  // All of these belong to whoever holds libdw's lock.
  private var debugInfo: GuestDWARF?
  private var isOpened = false
  private var known: [Int: [SourcePosition]] = [:]
  /// Bytes of what is known, about.
  private var knownSize = 0
  private static let mostKnown = 1 << 20

  /// Steps that reading the DWARF has taken, and what libdw was let see of it; nil before anything was asked.
  var cost: (steps: Int, abbreviations: Int, rows: Int, nameBytes: Int)? {
    LibDW.use { _ in
      debugInfo.map {
        ($0.steps + $0.census.steps, $0.census.abbreviationCount, $0.census.rowCount, $0.census.nameByteCount)
      }
    }
  }

  /// What others were told of the artifact's code.
  let announcement = Announcement()

  override func artifactWillUnmap() {
    announcement.withdraw()
    _ = LibDW.use { _ -> Void? in
      debugInfo = nil
      return ()
    }
  }

  /// The artifact's DWARF, opened once. With libdw's lock held.
  private func open(_ artifact: LoadedArtifact, _ library: LibDW) -> GuestDWARF? {
    if !isOpened {
      isOpened = true
      debugInfo = GuestDWARF(artifact, library)
    }
    return debugInfo
  }

  /// All functions and lines, with the wasm offset that addresses count from; empty where there is no DWARF or no libdw.
  func tables(of artifact: LoadedArtifact) -> (tables: GuestTables, codeStart: UInt64) {
    guard Self.isAllowed, artifact.header.extent(of: .dwarf).size > 0 else { return (GuestTables(), 0) }
    return LibDW.use { library in open(artifact, library).map { ($0.tables(), $0.layout.codeStart) } } ?? (
      GuestTables(), 0
    )
  }

  func positions(of artifact: LoadedArtifact, _ offset: Int) -> [SourcePosition] {
    LibDW.use { library -> [SourcePosition]? in
      if let answer = known[offset] { return answer }
      guard let debugInfo = open(artifact, library) else { return nil }
      let answer = debugInfo.positions(ofWasmOffset: offset)
      let size = answer.reduce(64) { $0 + 100 + ($1.function?.utf8.count ?? 0) + ($1.file?.utf8.count ?? 0) }
      if knownSize + size > Self.mostKnown {
        known.removeAll(keepingCapacity: true)
        knownSize = 0
      }
      known[offset] = answer
      knownSize += size
      return answer
    } ?? []
  }
}
