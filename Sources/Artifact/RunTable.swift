// Tables about code: one format for the address map and the trap table.
//
// A real program has millions of entries (code offset -> wasm offset, code offset -> trap code), and
// the file must answer a point query in place, with nothing decoded ahead. Fixed-width rows would
// cost eight bytes an entry; byte-wise deltas two. But deltas are very uneven: a handful of
// (code delta, wasm delta) pairs make most of them. So a pair is a symbol, symbols have canonical
// Huffman codes made for the artifact at hand, and that brings an entry to some five bits. A
// canonical code is decoded straight from the section: sixteen limits and sixteen bases stand in
// the header, and the symbols stand in code order behind it; there is no tree or table to build. Nearly
// all entries have codes of at most eight bits, and for these a table by the next eight bits, also in
// the header, gives length and symbol in one load instead of a comparison for each length.
//
// Entries are grouped in runs, one a function, with code offsets relative to the function, so
// moving a function only changes its row in the index. Long runs start with checkpoints: the
// decoder's state after each `interval` entries. A query is a binary search in the index, one in
// the checkpoints, and at most `interval` symbols.
//
// Layout (offsets from the start of the section, little-endian, UInt32 where nothing is said):
//
//      0  magic "RUNS"
//      4  kind: 1 address map, 2 trap table
//      8  number of runs
//     12  checkpoint interval, in entries
//     16  number of entries (UInt64)
//     24  offset of the index
//     28  number of symbols
//     32  offset of the symbols
//     36  offset of the runs
//     40  size of the runs in bytes
//     44  0
//     48  limit[1...16]   first 16-bit left-aligned code longer than so many bits
//    112  base[1...16]    add to a code of that length to get its symbol (modulo 2^32)
//    176  short codes: by the next eight bits, length (8 bits, 0: see the limits), code delta (8), value (16)
//   1200  index: (text offset, run offset) of each function, by text offset; then (2^32-1, end)
//      .  symbols: code delta (UInt16, 0 for the escape), value (UInt16)
//      .  runs, each: LEB128 number of entries n; address map: LEB128 wasm offset of the first entry;
//         (n-1)/interval checkpoints: code offset, bit offset, address map: wasm offset;
//         n codes, most significant bit first, filled with zeros to a whole byte
//      .  8 zero bytes, so that a decoder can load whole words
//
// The value of a symbol is the wasm delta, or the trap code. The escape is followed by the code
// delta and the value (zigzag of the wasm delta modulo 2^32), each as a 6-bit width and so many
// bits. The first entry's code delta counts from -1.
//
// `precast_trap_lookup` in `precast_run_table.c` reads the same bytes from a signal handler.

/// Numbers of the layout.
enum RunTableLayout {
  static let magic: UInt32 = 0x534E_5552
  static let shortCodesOffset = 176
  static let shortCodeBits = 8
  static let headerSize = 1200
  static let limitOffset = 48
  static let baseOffset = 112
  static let indexRow = 8
  static let symbolRow = 4
  static let maximumCodeLength = 16
  static let tailPadding = 8
}

/// Which of the two tables.
enum RunTableKind: UInt32, Sendable {
  case addressMap = 1
  case traps = 2

  var section: SectionKind { self == .addressMap ? .addressMap : .traps }
  var checkpointRow: Int { self == .addressMap ? 12 : 8 }
}

/// An entry of a run.
public struct RunEntry: Sendable, Equatable {
  /// Offset from the function's start, in bytes.
  public var codeOffset: UInt32
  /// The wasm offset, or the trap code.
  public var value: UInt32

  /// Creates an entry.
  public init(codeOffset: UInt32, value: UInt32) {
    self.codeOffset = codeOffset
    self.value = value
  }
}

/// Reads a run table in place.
struct RunTable: Sendable {
  let kind: RunTableKind
  let region: ByteRegion
  let runCount: Int
  let interval: Int
  let entryCount: UInt64
  let index: ByteRegion
  let symbols: ByteRegion
  let symbolCount: Int
  let runs: ByteRegion

  /// Checks the header; nothing else is touched.
  init(_ region: ByteRegion, kind: RunTableKind) throws(ArtifactError) {
    self.kind = kind
    self.region = region
    guard try region.u32(0) == RunTableLayout.magic else { throw region.damaged(0, "wrong magic number") }
    guard try region.u32(4) == kind.rawValue else { throw region.damaged(4, "wrong kind of table") }
    runCount = Int(try region.u32(8))
    interval = Int(try region.u32(12))
    guard (1...65536).contains(interval) else { throw region.damaged(12, "checkpoint interval \(interval)") }
    entryCount = try region.u64(16)
    symbolCount = Int(try region.u32(28))
    index = try region.slice(Int(try region.u32(24)), (runCount + 1) * RunTableLayout.indexRow)
    symbols = try region.slice(Int(try region.u32(32)), symbolCount * RunTableLayout.symbolRow)
    runs = try region.slice(Int(try region.u32(36)), Int(try region.u32(40)))
    try region.check(RunTableLayout.limitOffset, RunTableLayout.headerSize - RunTableLayout.limitOffset)
  }

  /// Text offset of the function of run `row`.
  func textOffset(_ row: Int) throws(ArtifactError) -> UInt32 { try index.u32(row * RunTableLayout.indexRow) }

  /// The last run that starts at or before `textOffset`.
  func row(atOrBefore textOffset: UInt32) throws(ArtifactError) -> Int? {
    var low = 0
    var high = runCount
    while low < high {
      let middle = (low + high) / 2
      if try self.textOffset(middle) <= textOffset { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : low - 1
  }

  /// A decoder at the start of run `row`.
  func cursor(row: Int) throws(ArtifactError) -> RunCursor {
    let start = Int(try index.u32(row * RunTableLayout.indexRow + 4))
    let end = Int(try index.u32((row + 1) * RunTableLayout.indexRow + 4))
    guard start <= end, end <= runs.count else {
      throw index.damaged(row * RunTableLayout.indexRow, "run \(row) out of bounds")
    }
    return try RunCursor(table: self, run: runs.slice(start, end - start))
  }

  /// The last entry at or before `codeOffset` in run `row`.
  func entry(row: Int, atOrBefore codeOffset: UInt32) throws(ArtifactError) -> RunEntry? {
    var cursor = try cursor(row: row)
    try cursor.seek(codeOffset)
    var found: RunEntry?
    if cursor.position > 0 { found = RunEntry(codeOffset: cursor.codeOffset, value: cursor.value) }
    while let entry = try cursor.next() {
      if entry.codeOffset > codeOffset { break }
      found = entry
    }
    return found
  }
}

/// Decodes one run, from its start or from a checkpoint.
struct RunCursor: Sendable {
  let table: RunTable
  /// Entries in the run.
  let count: Int
  private let checkpoints: ByteRegion
  private let bits: ByteRegion
  /// Entries decoded or skipped so far.
  private(set) var position = 0
  private var bitOffset = 0
  /// Of the last entry; 2^32-1 before the first.
  private(set) var codeOffset = UInt32.max
  private(set) var value: UInt32

  init(table: RunTable, run: ByteRegion) throws(ArtifactError) {
    self.table = table
    var offset = 0
    let count = Int(try Self.leb128(run, &offset))
    value = table.kind == .addressMap ? try Self.leb128(run, &offset) : 0
    let checkpointSize = count == 0 ? 0 : (count - 1) / table.interval * table.kind.checkpointRow
    checkpoints = try run.slice(offset, checkpointSize)
    offset += checkpointSize
    bits = try run.slice(offset, run.count - offset)
    // An entry is at least one bit.
    guard count <= bits.count * 8 else { throw run.damaged(0, "\(count) entries in \(bits.count) bytes") }
    self.count = count
  }

  private static func leb128(_ region: ByteRegion, _ offset: inout Int) throws(ArtifactError) -> UInt32 {
    var result: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 35, by: 7) {
      let byte = try region.u8(offset)
      offset += 1
      result |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 {
        guard result <= UInt64(UInt32.max) else { break }
        return UInt32(result)
      }
    }
    throw region.damaged(offset, "LEB128 number too long")
  }

  /// Skips to the last checkpoint before `codeOffset`: strictly, so that an exact hit is decoded and
  /// its value need not stand in the checkpoint.
  mutating func seek(_ codeOffset: UInt32) throws(ArtifactError) {
    let row = table.kind.checkpointRow
    var low = 0
    var high = checkpoints.count / row
    while low < high {
      let middle = (low + high) / 2
      if try checkpoints.u32(middle * row) < codeOffset { low = middle + 1 } else { high = middle }
    }
    if low == 0 { return }
    let at = (low - 1) * row
    self.codeOffset = try checkpoints.u32(at)
    bitOffset = Int(try checkpoints.u32(at + 4))
    if table.kind == .addressMap { value = try checkpoints.u32(at + 8) }
    position = low * table.interval
  }

  /// Checks the checkpoint for what follows the last entry, if there is one: `seek` starts from it.
  func checkCheckpoint() throws(ArtifactError) {
    let row = table.kind.checkpointRow
    let at = (position / table.interval - 1) * row
    guard at >= 0 && at < checkpoints.count else { return }
    let expected = table.kind == .traps ? value : try checkpoints.u32(at + 8)
    guard try checkpoints.u32(at) == codeOffset, try Int(checkpoints.u32(at + 4)) == bitOffset, expected == value else {
      throw checkpoints.damaged(at, "a checkpoint that is not where its run is")
    }
  }

  /// The next 64 bits, of which at least 57 are good; zeros past the end.
  private func window() throws(ArtifactError) -> UInt64 {
    try bits.bigEndianWord(bitOffset >> 3) << UInt64(bitOffset & 7)
  }

  private mutating func take(_ width: UInt64) throws(ArtifactError) -> UInt32 {
    if width == 0 { return 0 }
    let value = UInt32(truncatingIfNeeded: try window() >> (64 - width))
    bitOffset += Int(width)
    return value
  }

  private mutating func takeNumber() throws(ArtifactError) -> UInt32 {
    let width = UInt64(try take(6))
    guard width <= 32 else { throw bits.damaged(bitOffset >> 3, "a number of \(width) bits") }
    return try take(width)
  }

  /// The next entry, or nil at the end of the run.
  mutating func next() throws(ArtifactError) -> RunEntry? {
    if position >= count { return nil }
    guard bitOffset < bits.count * 8 else { throw bits.damaged(bitOffset >> 3, "the run ends early") }
    let code = UInt32(truncatingIfNeeded: try window() >> 48)
    let short = try table.region.u32(RunTableLayout.shortCodesOffset + Int(code >> 8) * 4)
    if short & 0xFF != 0 {
      bitOffset += Int(short & 0xFF)
      position += 1
      codeOffset = codeOffset &+ (short >> 8 & 0xFF)
      value = table.kind == .addressMap ? value &+ (short >> 16) : short >> 16
      return RunEntry(codeOffset: codeOffset, value: value)
    }
    var length = 1
    while try code >= table.region.u32(RunTableLayout.limitOffset + (length - 1) * 4) {
      length += 1
      guard length <= RunTableLayout.maximumCodeLength else {
        throw bits.damaged(bitOffset >> 3, "not a code: \(code)")
      }
    }
    bitOffset += length
    let symbol = Int(
      try table.region.u32(RunTableLayout.baseOffset + (length - 1) * 4)
        &+ (code >> UInt32(RunTableLayout.maximumCodeLength - length)))
    guard symbol < table.symbolCount else {
      throw bits.damaged(bitOffset >> 3, "symbol \(symbol) of \(table.symbolCount)")
    }
    var delta = UInt32(try table.symbols.u16(symbol * RunTableLayout.symbolRow))
    var step = UInt32(try table.symbols.u16(symbol * RunTableLayout.symbolRow + 2))
    if delta == 0 {
      delta = try takeNumber()
      step = try takeNumber()
      if table.kind == .addressMap { step = (step >> 1) ^ (0 &- (step & 1)) }
    }
    codeOffset = codeOffset &+ delta
    value = table.kind == .addressMap ? value &+ step : step
    position += 1
    return RunEntry(codeOffset: codeOffset, value: value)
  }
}
