// `.wasmtime.addrmap` and `.wasmtime.traps`: the two tables about code, over RunTable.swift.

import CPrecastHost
public import PrecastMachineCode

/// `.wasmtime.addrmap`, read in place: from a code offset to the wasm offset of its operator.
public struct AddressMap: Sendable {
  let table: RunTable

  /// Opens the section; checks its header only.
  public init(_ region: ByteRegion) throws(ArtifactError) { table = try RunTable(region, kind: .addressMap) }

  /// Number of entries.
  public var entryCount: UInt64 { table.entryCount }

  /// Number of functions that have entries.
  public var functionCount: Int { table.runCount }

  /// The wasm offset of the operator whose code covers `codeOffset` of the function at `textOffset`:
  /// that of the last entry at or before it. For a return address, ask for the offset before it.
  ///
  /// - Returns: nil where the function has no entry at or before the offset.
  public func wasmOffset(functionTextOffset textOffset: UInt32, codeOffset: UInt32) throws(ArtifactError) -> UInt32? {
    let (offset, overflow) = textOffset.addingReportingOverflow(codeOffset)
    if !overflow {
      switch table.find(offset) {
      case .found(let function, let entry): return function == textOffset ? entry.value : nil
      case .nothing: return nil
      case .damaged: break
      }
    }
    // Step by step, which finds out what is wrong.
    guard let row = try table.row(atOrBefore: textOffset), try table.textOffset(row) == textOffset else { return nil }
    return try table.entry(row: row, atOrBefore: codeOffset)?.value
  }

  /// All entries of the function at `textOffset`, in order.
  public func entries(functionTextOffset textOffset: UInt32) throws(ArtifactError) -> [RunEntry] {
    try table.entries(functionTextOffset: textOffset)
  }

  /// Builds the section; the runs' text offsets ascend.
  ///
  /// - Returns: nil where it would pass 2 GiB.
  public static func encoded(_ runs: [CodeRun]) -> CodeBuffer? { RunTableBuilder(kind: .addressMap).build(runs) }
}

/// `.wasmtime.traps`, read in place: from a trap site to its trap code.
///
/// The signal handler reads the same bytes through `precast_trap_lookup`.
public struct TrapTable: Sendable {
  let table: RunTable

  /// Opens the section; checks its header only.
  public init(_ region: ByteRegion) throws(ArtifactError) { table = try RunTable(region, kind: .traps) }

  /// Number of trap sites.
  public var entryCount: UInt64 { table.entryCount }

  /// Number of functions that have trap sites.
  public var functionCount: Int { table.runCount }

  /// The trap code of the instruction at `textOffset`, if it is a trap site.
  public func code(textOffset: UInt32) throws(ArtifactError) -> UInt8? {
    switch table.find(textOffset) {
    case .found(let function, let entry):
      return function &+ entry.codeOffset == textOffset ? UInt8(exactly: entry.value) : nil
    case .nothing: return nil
    case .damaged: break
    }
    // Step by step, which finds out what is wrong.
    guard let row = try table.row(atOrBefore: textOffset) else { return nil }
    let codeOffset = textOffset - (try table.textOffset(row))
    guard let entry = try table.entry(row: row, atOrBefore: codeOffset), entry.codeOffset == codeOffset else {
      return nil
    }
    return UInt8(exactly: entry.value)
  }

  /// All trap sites of the function at `textOffset`, in order.
  public func entries(functionTextOffset textOffset: UInt32) throws(ArtifactError) -> [RunEntry] {
    try table.entries(functionTextOffset: textOffset)
  }

  /// Builds the section; the runs' text offsets ascend.
  ///
  /// - Returns: nil where it would pass 2 GiB.
  public static func encoded(_ runs: [CodeRun]) -> CodeBuffer? { RunTableBuilder(kind: .traps).build(runs) }
}

extension RunTable {
  /// What a query found.
  enum Answer {
    /// An entry, and the text offset of its function.
    case found(function: UInt32, entry: RunEntry)
    case nothing
    case damaged
  }

  /// The last entry at or before `textOffset`, of the last function with entries that starts at or before it: the way that
  /// queries take, in `precast_run_table.c`.
  func find(_ textOffset: UInt32) -> Answer {
    var entry = precast_run_entry()
    let kind = self.kind == .addressMap ? PRECAST_RUN_ADDRESS_MAP : PRECAST_RUN_TRAPS
    // The region's bytes stay mapped as long as it is used, and its guard in place.
    switch unsafe precast_run_lookup(
      region.baseAddress, region.count, kind, textOffset, region.pages, true, &entry)
    {
    case PRECAST_RUN_FOUND:
      return .found(
        function: entry.function, entry: RunEntry(codeOffset: entry.code_offset, value: entry.value))
    case PRECAST_RUN_NONE: return .nothing
    default: return .damaged
    }
  }

  /// All entries of the function at `textOffset`, in order.
  func entries(functionTextOffset textOffset: UInt32) throws(ArtifactError) -> [RunEntry] {
    guard let row = try row(atOrBefore: textOffset), try self.textOffset(row) == textOffset else { return [] }
    var cursor = try cursor(row: row)
    var entries: [RunEntry] = []
    while let entry = try cursor.next() { entries.append(entry) }
    return entries
  }
}
