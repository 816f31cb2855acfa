// All that a guest's DWARF says of functions and lines, at once, for those who make another form of it.
//
// A debugger wants whole tables before it has asked anything. These are read only when code is announced to one; sizes follow
// the DWARF's.

/// A function of the guest's source.
struct GuestFunction {
  var name: String?
  var linkageName: String?
  var file: UInt32?
  var line: UInt32?
}

/// A row of the guest's line tables.
struct GuestLine {
  var address: UInt64
  /// Index in `GuestTables.files`.
  var file: UInt32
  /// 0 where the code is of no line, or of no sequence.
  var line: UInt32
  var column: UInt32
}

/// Functions by the address of their bodies, and lines in the order of addresses.
struct GuestTables {
  var functions: [UInt64: GuestFunction] = [:]
  var lines: [GuestLine] = []
  var files: [String] = []
  var indices: [String: UInt32] = [:]

  mutating func file(_ name: String) -> UInt32 {
    if let index = indices[name] { return index }
    let index = UInt32(files.count)
    files.append(name)
    indices[name] = index
    return index
  }

  /// The row that covers an address.
  func line(at address: UInt64) -> GuestLine? {
    var low = 0
    var high = lines.count
    while low < high {
      let middle = (low + high) / 2
      if lines[middle].address <= address { low = middle + 1 } else { high = middle }
    }
    return low > 0 ? lines[low - 1] : nil
  }
}

extension GuestDWARF {
  /// Reads all functions and lines.
  func tables() -> GuestTables {
    var tables = GuestTables()
    for unit in units {
      var hasLines = false
      _ = withDie(unit) { die -> Void? in
        hasLines = admitsLines(of: &die)
        if hasLines { readLines(&die, into: &tables) }
        return ()
      }
      forEachFunction(of: unit) { die in
        var address: UInt64 = 0
        if unsafe library.lowPC(&die, &address) == 0, address < layout.codeSize {
          tables.functions[address] = function(&die, unit, hasLines, &tables)
        }
      }
    }
    // At one address the last row counts, as in a line table; the end of a sequence comes before the start of the next.
    let order = tables.lines.indices.sorted {
      let (left, right) = (tables.lines[$0], tables.lines[$1])
      if left.address != right.address { return left.address < right.address }
      if (left.line == 0) != (right.line == 0) { return left.line == 0 }
      return $0 < $1
    }
    tables.lines = order.map { tables.lines[$0] }
    return tables
  }

  private func readLines(_ unit: inout Die, into tables: inout GuestTables) {
    var rows: LibDW.Pointer?
    var count = 0
    guard unsafe library.lines(&unit, &rows, &count) == 0, let rows = unsafe rows else { return }
    // The pointer of a file's name is the same for all its rows.
    var lastName: UnsafePointer<CChar>?
    var lastFile: UInt32 = 0
    for index in 0..<count {
      guard let row = unsafe library.line(rows, index) else { continue }
      var address: UInt64 = 0
      var line: Int32 = 0
      var column: Int32 = 0
      var isEnd = false
      unsafe _ = library.lineAddress(row, &address)
      unsafe _ = library.lineNumber(row, &line)
      unsafe _ = library.lineColumn(row, &column)
      unsafe _ = library.lineEndsSequence(row, &isEnd)
      guard address <= layout.codeSize else { continue }
      // A row of a file that the table does not list is of no line: there may be no file at all.
      let name = unsafe library.lineFile(row, nil, nil)
      if let name = unsafe name, unsafe name != lastName {
        unsafe lastName = name
        lastFile = tables.file(unsafe Self.text(name))
      }
      tables.lines.append(
        GuestLine(
          address: address, file: lastFile, line: unsafe isEnd || name == nil ? 0 : UInt32(max(0, line)),
          column: UInt32(max(0, column))))
    }
  }

  private func function(_ die: inout Die, _ unit: UInt64, _ hasLines: Bool, _ tables: inout GuestTables)
    -> GuestFunction
  {
    let place: (file: String?, line: Int?) =
      (hasLines ? withDie(unit) { declaration(&die, unit: &$0) } : nil) ?? (nil, nil)
    return GuestFunction(
      name: plainName(&die), linkageName: linkageName(&die), file: place.file.map { tables.file($0) },
      line: place.line.flatMap { UInt32(exactly: $0) })
  }
}
