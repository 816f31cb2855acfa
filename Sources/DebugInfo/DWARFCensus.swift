// How much work a guest's DWARF would be for libdw, found out before libdw is asked.
//
// libdw reads what compilers write, in time and memory that grow with it; it was not made for what somebody writes to hurt.
// Some of its costs are products: a table of abbreviations is read anew for each unit that names it, and a directory's name is
// copied for each file in it. Eighty kilobytes can cost it half a gigabyte, and where memory ends it ends the process. Its calls
// cannot be interrupted. So before a unit is shown to it, what the unit leads to is counted here, by reading each byte of a table
// at most a few times and keeping nothing; and what would be too much, or is of a kind that no compiler writes, is not shown.
//
// Counting needs no understanding: names, addresses and lines are libdw's. What this refuses has no lines, and nothing else.

import PrecastArtifact

/// Counts what is in the sections of a guest's DWARF. Use it only inside `LibDW.use`.
struct DWARFCensus {
  /// What all questions about one artifact may cost together. Each table is counted once; a compiler's fit many times.
  enum Limit {
    /// Abbreviations that libdw reads, over all units. It keeps some 60 bytes for each.
    static let abbreviations = 1 << 20
    /// Abbreviations of one table, their codes and the attributes of each; libdw finds them by a hash of the code.
    static let abbreviationsOfTable = 4096
    static let abbreviationCode: UInt64 = 1 << 16
    static let attributes = 128
    /// Rows of line tables: of one, and of all. libdw has some 60 bytes for each, and twice that for a while.
    static let rowsOfTable = 1 << 21
    static let rows = 1 << 23
    /// Bytes of the names of files, with their directories.
    static let nameBytes = 1 << 25
  }

  /// A unit that may be shown to libdw.
  struct Unit {
    var abbreviations: UInt64
    var size: Int
    /// Whether entries say where their next sibling is: then nobody knows how far that is.
    var hasSiblings = false
    /// Whether its entries may be gone through; otherwise only its first.
    var isWhole = false
  }

  private let info: ByteRegion
  private let abbreviations: ByteRegion
  private let lines: ByteRegion
  private let lineStrings: ByteRegion
  private let strings: ByteRegion

  /// Abbreviations, rows and bytes of names that were let through, and steps of our own.
  private(set) var abbreviationCount = 0
  private(set) var rowCount = 0
  private(set) var nameByteCount = 0
  private(set) var steps = 0
  private var tables: [UInt64: Table?] = [:]
  private var lineTables: [UInt64: Bool] = [:]
  /// Steps through line tables.
  private var lineSteps = 0
  /// Bytes of strings that were gone through to find their ends.
  private var nameSteps = 0

  /// What is in a table of abbreviations.
  private struct Table {
    var count: Int
    var hasSiblings: Bool
  }

  /// Finds the sections in the file of `.wasmtime.dwarf`.
  init(_ file: ByteRegion) throws(ArtifactError) {
    var found: [String: ByteRegion] = [:]
    let most = UInt64(file.count)
    let headers = Int(min(most, try file.u64(40)))
    let count = Int(try file.u16(60))
    let names = headers + Int(try file.u16(62)) * Int(ELF.sectionHeaderSize)
    let strings = Int(min(most, try file.u64(names + 24)))
    for index in 1..<max(1, count) {
      let header = headers + index * Int(ELF.sectionHeaderSize)
      // SHT_NOBITS has no contents.
      if try file.u32(header + 4) == 8 { continue }
      let name = try Self.name(file, strings + Int(file.u32(header)))
      found[name] = try file.slice(Int(clamping: file.u64(header + 24)), Int(clamping: file.u64(header + 32)))
    }
    let empty = try file.slice(0, 0)
    info = found[".debug_info"] ?? empty
    abbreviations = found[".debug_abbrev"] ?? empty
    lines = found[".debug_line"] ?? empty
    lineStrings = found[".debug_line_str"] ?? empty
    self.strings = found[".debug_str"] ?? empty
  }

  private static func name(_ region: ByteRegion, _ offset: Int) throws(ArtifactError) -> String {
    var count = 0
    while count < 64, try region.u8(offset + count) != 0 { count += 1 }
    return try region.string(offset, count)
  }

  // MARK: Reading

  /// A place in a section.
  private struct Cursor {
    let region: ByteRegion
    var at: Int

    /// Anything behind the end is as good as the end.
    init(_ region: ByteRegion, at offset: UInt64) {
      self.region = region
      at = Int(min(UInt64(region.count), offset))
    }

    mutating func byte() throws(ArtifactError) -> UInt8 {
      defer { at += 1 }
      return try region.u8(at)
    }

    /// A number of so many bytes: 1, 2, 4 or 8.
    mutating func number(_ size: Int) throws(ArtifactError) -> UInt64 {
      defer { at += size }
      switch size {
      case 1: return UInt64(try region.u8(at))
      case 2: return UInt64(try region.u16(at))
      case 4: return UInt64(try region.u32(at))
      default: return try region.u64(at)
      }
    }

    /// DWARF 5, 7.6. Bits past the 64th are lost, and signs are none of ours.
    mutating func leb() throws(ArtifactError) -> UInt64 {
      var value: UInt64 = 0
      var shift: UInt64 = 0
      while true {
        let next = try byte()
        if shift < 64 { value |= UInt64(next & 0x7F) << shift }
        if next < 0x80 { return value }
        shift += 7
      }
    }

    mutating func skip(_ count: UInt64) throws(ArtifactError) {
      // Past the end is found by the next read.
      at += Int(clamping: min(count, UInt64(region.count) + 1))
    }

    /// The length of a string, which is skipped.
    mutating func string() throws(ArtifactError) -> Int {
      let start = at
      while try byte() != 0 {}
      return at - start - 1
    }
  }

  // MARK: Units

  /// Whether the unit whose header is at `offset` and whose first entry is at `die` may be shown to libdw.
  mutating func unit(at offset: UInt64, die: UInt64, end: UInt64) -> Unit? {
    (try? readUnit(at: offset, die: die, end: end)) ?? nil
  }

  private mutating func readUnit(at offset: UInt64, die: UInt64, end: UInt64) throws(ArtifactError) -> Unit? {
    // DWARF 5, 7.5.1.
    var header = Cursor(info, at: offset)
    let isWide = try header.number(4) == 0xFFFF_FFFF
    if isWide { _ = try header.number(8) }
    let version = try header.number(2)
    guard (2...5).contains(version) else { return nil }
    if version == 5 {
      // DW_UT_compile, DW_UT_partial. Those of split DWARF name files, which a guest does not get opened.
      guard [1, 3].contains(try header.byte()) else { return nil }
      _ = try header.byte()
    }
    let table = try header.number(isWide ? 8 : 4)
    var first = Cursor(info, at: die)
    let code = try first.leb()
    guard try reaches(code, in: table) else { return nil }
    return Unit(abbreviations: table, size: Int(clamping: end - min(end, offset)))
  }

  /// Whether a table has an abbreviation, which has to be harmless like all before it: libdw reads up to the one that it looks for.
  private mutating func reaches(_ wanted: UInt64, in table: UInt64) throws(ArtifactError) -> Bool {
    var cursor = Cursor(abbreviations, at: table)
    var hasSiblings = false
    for _ in 0..<min(Limit.abbreviationsOfTable, Limit.abbreviations - abbreviationCount) {
      abbreviationCount += 1
      guard let next = try abbreviation(&cursor, &hasSiblings) else { return false }
      if next == wanted { return true }
    }
    return false
  }

  /// Reads one; its code, or nil where it is not harmless, or the table ends.
  private mutating func abbreviation(_ cursor: inout Cursor, _ hasSiblings: inout Bool) throws(ArtifactError) -> UInt64?
  {
    // DWARF 5, 7.5.3.
    let code = try cursor.leb()
    guard code != 0, code < Limit.abbreviationCode else { return nil }
    _ = try cursor.leb()
    _ = try cursor.byte()
    for _ in 0..<Limit.attributes {
      steps += 1
      let (name, form) = (try cursor.leb(), try cursor.leb())
      if form == 0x21 { _ = try cursor.leb() }  // DW_FORM_implicit_const
      if name == 0 && form == 0 { return code }
      if name == 0x01 { hasSiblings = true }
      // DW_AT_dwo_name, and GNU's: the rest is in another file.
      if name == 0x76 || name == 0x2130 { return nil }
    }
    return nil
  }

  /// Whether all entries of a unit may be gone through; remembered in it.
  mutating func admitAll(of unit: inout Unit) -> Bool {
    if unit.isWhole { return true }
    // What is refused has been read as well.
    let table = table(at: unit.abbreviations)
    let count = min(table?.count ?? Limit.abbreviationsOfTable, Limit.abbreviations - abbreviationCount)
    abbreviationCount += count
    guard let table, table.count == count else { return false }
    unit.isWhole = true
    unit.hasSiblings = table.hasSiblings
    return true
  }

  private mutating func table(at offset: UInt64) -> Table? {
    if let known = tables[offset] { return known }
    let found = (try? readTable(at: offset)) ?? nil
    tables[offset] = .some(found)
    return found
  }

  private mutating func readTable(at offset: UInt64) throws(ArtifactError) -> Table? {
    var cursor = Cursor(abbreviations, at: offset)
    var table = Table(count: 0, hasSiblings: false)
    while cursor.at < abbreviations.count, try abbreviations.u8(cursor.at) != 0 {
      table.count += 1
      guard table.count <= Limit.abbreviationsOfTable, try abbreviation(&cursor, &table.hasSiblings) != nil else {
        return nil
      }
    }
    return table
  }

  // MARK: Lines

  /// Whether the line table at `offset` may be shown to libdw, for a unit with a directory's name of so many bytes.
  mutating func admitLines(at offset: UInt64, directoryLength: Int) -> Bool {
    if let known = lineTables[offset] { return known }
    var count = (rows: 0, bytes: 0)
    // Tables may overlap; those of a compiler do not, and each is counted once.
    guard lineSteps <= 4 * lines.count + 1 << 16 else { return false }
    let before = steps
    let isReadable = (try? countLines(at: offset, directoryLength, &count)) ?? false
    lineSteps += steps - before
    let isAdmitted =
      isReadable && count.rows <= Limit.rowsOfTable
      && rowCount + count.rows <= min(Limit.rows, 2 * lines.count + 1 << 10)
      && nameByteCount + count.bytes <= Limit.nameBytes
    if isAdmitted {
      rowCount += count.rows
      nameByteCount += count.bytes
    }
    lineTables[offset] = isAdmitted
    return isAdmitted
  }

  private mutating func countLines(
    at offset: UInt64, _ directoryLength: Int, _ count: inout (rows: Int, bytes: Int)
  ) throws(ArtifactError) -> Bool {
    // DWARF 5, 6.2.4.
    var cursor = Cursor(lines, at: offset)
    var length = try cursor.number(4)
    let isWide = length == 0xFFFF_FFFF
    if isWide { length = try cursor.number(8) }
    guard length <= UInt64(lines.count - min(lines.count, cursor.at)) else { return false }
    let end = cursor.at + Int(length)
    let version = try cursor.number(2)
    guard (2...5).contains(version) else { return false }
    if version == 5 { try cursor.skip(2) }
    let headerLength = try cursor.number(isWide ? 8 : 4)
    guard headerLength <= UInt64(end - min(end, cursor.at)) else { return false }
    let program = cursor.at + Int(headerLength)
    try cursor.skip(version >= 4 ? 5 : 4)
    let opcodeBase = try cursor.byte()
    var operands: [UInt8] = [0]
    for _ in 1..<max(1, opcodeBase) { operands.append(try cursor.byte()) }

    // The name of a file is copied with that of its directory, and of the unit's.
    var directories = [directoryLength]
    if version < 5 {
      while try lines.u8(cursor.at) != 0 { directories.append(try cursor.string()) }
      cursor.at += 1
      while try lines.u8(cursor.at) != 0 { try countFile(&cursor, directories, directoryLength, &count) }
    } else {
      directories = []
      guard
        try forEachEntry(&cursor, isWide, { _, length, _ throws(ArtifactError) in directories.append(length) }),
        try forEachEntry(
          &cursor, isWide,
          { census, length, directory throws(ArtifactError) in
            census.countFile(length, directory, directories, directoryLength, &count)
          })
      else { return false }
    }
    cursor.at = program
    while cursor.at < end {
      steps += 1
      let opcode = try cursor.byte()
      switch opcode {
      case 0:
        let size = try cursor.leb()
        let start = cursor.at
        if size > 0 {
          switch try cursor.byte() {
          case 1: count.rows += 1  // DW_LNE_end_sequence
          case 3: try countFile(&cursor, directories, directoryLength, &count)  // DW_LNE_define_file
          default: break
          }
        }
        cursor.at = start
        try cursor.skip(size)
      case opcodeBase...: count.rows += 1
      case 1: count.rows += 1  // DW_LNS_copy
      case 9: try cursor.skip(2)  // DW_LNS_fixed_advance_pc
      default: for _ in 0..<operands[Int(opcode)] { _ = try cursor.leb() }
      }
      if count.rows > Limit.rowsOfTable || count.bytes > Limit.nameBytes { return false }
    }
    return true
  }

  /// A file as up to version 4: its name, and three numbers, of which the first is its directory's.
  private mutating func countFile(
    _ cursor: inout Cursor, _ directories: [Int], _ directoryLength: Int, _ count: inout (rows: Int, bytes: Int)
  ) throws(ArtifactError) {
    let length = try cursor.string()
    let directory = try cursor.leb()
    _ = try cursor.leb()
    _ = try cursor.leb()
    countFile(length, directory, directories, directoryLength, &count)
  }

  private mutating func countFile(
    _ length: Int, _ directory: UInt64, _ directories: [Int], _ directoryLength: Int,
    _ count: inout (rows: Int, bytes: Int)
  ) {
    steps += 1
    let own = Int(exactly: directory).flatMap { directories.indices.contains($0) ? directories[$0] : nil } ?? 0
    // And some 40 bytes for the entry itself.
    count.bytes += min(Limit.nameBytes, length) + min(Limit.nameBytes, own) + min(Limit.nameBytes, directoryLength) + 40
  }

  /// The entries of a list of version 5, directories or files, each with the length of its name and its directory; false for
  /// what libdw need not see.
  private mutating func forEachEntry(
    _ cursor: inout Cursor, _ isWide: Bool, _ body: (inout DWARFCensus, Int, UInt64) throws(ArtifactError) -> Void
  ) throws(ArtifactError) -> Bool {
    var formats: [(content: UInt64, form: UInt64)] = []
    for _ in 0..<(try cursor.byte()) { formats.append((try cursor.leb(), try cursor.leb())) }
    let entries = try cursor.leb()
    guard entries <= UInt64(lines.count), entries == 0 || !formats.isEmpty else { return false }
    for _ in 0..<Int(entries) {
      var length = 0
      var directory: UInt64 = 0
      for (content, form) in formats {
        steps += 1
        var value: UInt64 = 0
        switch form {
        case 0x08: length = max(length, try cursor.string())  // DW_FORM_string
        case 0x1F: length = try max(length, self.length(in: lineStrings, cursor.number(isWide ? 8 : 4)))
        case 0x0E: length = try max(length, self.length(in: strings, cursor.number(isWide ? 8 : 4)))
        case 0x0B: value = try cursor.number(1)  // DW_FORM_data1, 2, 4, 8, 16
        case 0x05: value = try cursor.number(2)
        case 0x06: value = try cursor.number(4)
        case 0x07: value = try cursor.number(8)
        case 0x1E: try cursor.skip(16)
        case 0x0F: value = try cursor.leb()  // DW_FORM_udata
        case 0x09: try cursor.skip(try cursor.leb())  // DW_FORM_block
        default: return false
        }
        if content == 2 { directory = value }  // DW_LNCT_directory_index
      }
      try body(&self, length, directory)
      if nameSteps > Limit.nameBytes { return false }
    }
    return true
  }

  /// The length of a string of a section of strings.
  private mutating func length(in section: ByteRegion, _ offset: UInt64) throws(ArtifactError) -> Int {
    var cursor = Cursor(section, at: offset)
    var length = 0
    while nameSteps <= Limit.nameBytes, try cursor.byte() != 0 {
      length += 1
      nameSteps += 1
    }
    return length
  }
}
