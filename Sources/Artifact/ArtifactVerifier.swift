// The checks that loading leaves out.
//
// Load looks at the first page; each table is checked where it is read. `Artifact.verify` makes all
// of that at once, and what nothing needs at run time besides: section headers, indices that point
// into other tables, order of the sorted ones, every entry of the tables about code, unwind tables
// (UnwindVerifier.swift), and what is said about the text (TextVerifier.swift). It takes time
// in proportion to the file's tables, and is for `inspect`, tests, and those who ask for it.
//
// In proportion even for a file made to waste time: rows of one table refer to ranges of another, and
// a million rows that all refer to the same million would take days. In a sound artifact such ranges
// do not overlap, so each kind of range has a budget, the size of the table it refers to.

/// How many rows of a table may still be referred to.
private struct Budget {
  let table: InfoTable
  var left: Int

  init(_ table: InfoTable, _ info: ModuleInfo) throws(ArtifactError) {
    self.table = table
    left = try info.rows(table)
  }

  mutating func spend(_ count: Int) throws(ArtifactError) {
    left -= count
    if left < 0 { throw .damaged(.info, 0, "rows of table \(table) are referred to more than once") }
  }
}

extension Artifact {
  /// Checks all page checksums and every table of the artifact.
  ///
  /// Contents of text and data image are not looked at: that is what the build-id is for. See
  /// `ArtifactVerification` in PrecastVerification for all of it.
  ///
  /// - Throws: `ArtifactError` of kind `damaged`, for the first thing that is wrong.
  public func verify() throws(ArtifactError) {
    try checkPages()
    try checkStructure()
  }

  /// Checks every table of the artifact, and not the checksums.
  ///
  /// - Throws: `ArtifactError` of kind `damaged`, for the first thing that is wrong.
  public func checkStructure() throws(ArtifactError) {
    try checkLayout()
    try checkSectionHeaders()
    try checkUnwindTables()
    let info = try moduleInfo()
    try checkTypesAndFunctions(info)
    try checkCode(info)
    try checkSymbols(info)
    try checkImportsAndExports(info)
    var constants = try Budget(.constants, info)
    try checkEntities(info, &constants)
    try checkSegments(info, &constants)
    try checkActive(info)
    try checkCodeTable(trapTable().table, info)
    if let map = try addressMap() { try checkCodeTable(map.table, info) }
    if let names = try names() {
      _ = try names.moduleName()
      try names.checkOrder()
    }
  }

  /// The same for linked objects without a wasm module: what tools and unwinders read.
  ///
  /// - Throws: `ArtifactError` of kind `damaged`, for the first thing that is wrong.
  public func checkLinkedCode() throws(ArtifactError) {
    try checkLayout()
    try checkSectionHeaders()
    try checkUnwindTables()
    try checkSymbols(nil)
  }

  /// Types of sections that ask for relocation (gABI, "Sections").
  private static let relocationTypes: [(type: UInt32, name: StaticString)] = [
    (4, "SHT_RELA"), (6, "SHT_DYNAMIC"), (9, "SHT_REL"), (19, "SHT_RELR"),
  ]

  /// Checks that the section headers, which other tools go by, say what the directory says.
  public func checkSectionHeaders() throws(ArtifactError) {
    func error(_ index: Int, _ message: String) -> ArtifactError {
      ArtifactError(.damaged, section: "section headers", offset: UInt64(index), message: message)
    }
    let count = header.sectionHeaderCount
    let table = try bytes(
      at: header.sectionHeadersOffset, count: UInt64(count) * ELF.sectionHeaderSize, for: .sectionNames)
    guard let names = try section(.sectionNames) else { throw error(0, "no section names") }
    for at in stride(from: 0, to: Int(ELF.sectionHeaderSize), by: 8) where try table.u64(at) != 0 {
      throw error(0, "the null section is not null")
    }
    var symbolsLink = 0
    var stringsIndex = 0
    var seen: UInt32 = 0
    for index in 1..<count {
      let at = index * Int(ELF.sectionHeaderSize)
      let name = Int(try table.u32(at))
      // By type, whatever its name: nothing is left to do for who loads it.
      if let type = Self.relocationTypes.first(where: { (try? table.u32(at + 4)) == $0.type }) {
        throw error(index, "a section of type \(type.name), and an artifact has no relocations")
      }
      var found: SectionKind?
      for kind in SectionKind.allCases where try names.hasString(kind.name, at: name) { found = kind }
      guard let kind = found else { throw error(index, "a section of unknown name") }
      guard seen & (1 << UInt32(kind.rawValue)) == 0 else { throw error(index, "a second \(kind.name)") }
      seen |= 1 << UInt32(kind.rawValue)
      let extent = header.extent(of: kind)
      guard try table.u32(at + 4) == kind.elfType, try table.u64(at + 8) == kind.elfFlags,
        try table.u64(at + 16) == (kind.elfFlags & ELF.flagAlloc != 0 ? extent.offset : 0),
        try table.u64(at + 24) == extent.offset, try table.u64(at + 32) == extent.size,
        try table.u64(at + 48) == kind.alignment(pageSize: header.record.settings.pageSize),
        try table.u64(at + 56) == kind.elfEntrySize
      else { throw error(index, "\(kind.name) does not agree with the directory") }
      let link = try table.u32(at + 40)
      let information = try table.u32(at + 44)
      switch kind {
      case .symbols:
        symbolsLink = Int(link)
        guard UInt64(information) * ELF.symbolSize == extent.size else {
          throw error(index, "not all symbols are local")
        }
      case .strings:
        stringsIndex = index
        guard link == 0 && information == 0 else { throw error(index, "a link too many") }
      default: guard link == 0 && information == 0 else { throw error(index, "a link too many") }
      }
    }
    guard symbolsLink == stringsIndex else { throw error(symbolsLink, "the symbols' names are elsewhere") }
    for kind in SectionKind.allCases where header.extent(of: kind).size > 0 && seen & (1 << UInt32(kind.rawValue)) == 0
    {
      throw error(0, "no header for \(kind.name)")
    }
  }

  private func checkTypesAndFunctions(_ info: ModuleInfo) throws(ArtifactError) {
    var values = try Budget(.valueTypes, info)
    for index in 0..<info.typeCount {
      let row = try info.row(.types, index)
      let first = try info.row(.types, info.firstEqualType(index))
      if first == row {
        try values.spend(Int(info.region.u32(row + 4)) + Int(info.region.u32(row + 8)))
        _ = try info.type(index)
      } else {
        guard try info.region.u64(row) == info.region.u64(first),
          try info.region.u32(row + 8) == info.region.u32(first + 8)
        else { throw .damaged(.info, 0, "type \(index) does not equal the first equal type") }
      }
    }
    for index in 0..<info.functionCount {
      guard try info.typeIndex(function: index) < info.typeCount else {
        throw .damaged(.info, 0, "function \(index) has no type")
      }
    }
    if let start = info.start, Int(start) >= info.functionCount {
      throw .damaged(.info, 8, "no start function \(start)")
    }
  }

  private func checkImportsAndExports(_ info: ModuleInfo) throws(ArtifactError) {
    var strings = try Budget(.strings, info)
    for index in 0..<info.importCount {
      let row = try info.row(.imports, index)
      try strings.spend(Int(info.region.u32(row + 12)) + Int(info.region.u32(row + 20)))
      _ = try info.importEntry(index)
    }
    for index in 0..<info.importedFunctionCount {
      try strings.spend(Int(info.region.u32(info.row(.importedFunctions, index) + 16)))
      _ = try info.adapter(importedFunction: index)
    }
    for index in 0..<info.exportCount {
      try strings.spend(Int(info.region.u32(info.row(.exports, index) + 4)))
      let export = try info.export(index)
      let count =
        switch export.kind {
        case .function: info.functionCount
        case .table: info.tableCount
        case .memory: info.memoryCount
        case .global: info.globalCount
        }
      guard Int(export.index) < count else { throw .damaged(.info, 0, "export \(index) names nothing") }
      if index > 0 {
        let row = try info.row(.exports, index - 1)
        let range = try info.range(row, in: .strings)
        let previous =
          range.isEmpty
          ? ByteRegion(emptyIn: .info) : try info.region.slice(info.row(.strings, range.lowerBound), range.count)
        guard ModuleInfo.compare(previous, export.name.utf8) < 0 else {
          throw .damaged(.info, 0, "export \(index) is out of order")
        }
      }
    }
  }

  private func checkConstants(
    _ range: Range<Int>, _ info: ModuleInfo, _ budget: inout Budget
  ) throws(ArtifactError) {
    try budget.spend(range.count)
    for position in range {
      switch try info.constant(position) {
      case .refFunction(let function):
        guard Int(function) < info.functionCount else { throw .damaged(.info, 0, "no function \(function)") }
      case .globalGet(let global):
        guard Int(global) < info.globalCount else { throw .damaged(.info, 0, "no global \(global)") }
      default: break
      }
    }
  }

  private func checkEntities(_ info: ModuleInfo, _ constants: inout Budget) throws(ArtifactError) {
    var rows = try Budget(.tableImages, info)
    var extents = try Budget(.extents, info)
    for index in 0..<info.tableCount {
      let table = try info.table(index)
      guard table.limits.minimum <= UInt64(UInt32.max), table.limits.maximum ?? .max >= table.limits.minimum else {
        throw .damaged(.info, 0, "table \(index) has impossible limits")
      }
      try rows.spend(info.tableImage(index).count)
      for position in try info.tableImage(index) {
        let row = try info.tableImageRow(position)
        guard UInt64(row.element) + UInt64(row.count) <= table.limits.minimum else {
          throw .damaged(.info, 0, "the image of table \(index) does not fit into it")
        }
      }
    }
    for index in 0..<info.memoryCount {
      let memory = try info.memory(index)
      // Pages of 64 KiB in an index space of 32 or 64 bits.
      let most: UInt64 = memory.isMemory64 ? 1 << 48 : 65_536
      guard memory.limits.minimum <= memory.limits.maximum ?? most, memory.limits.maximum ?? most <= most else {
        throw .damaged(.info, 0, "memory \(index) has impossible limits")
      }
      try extents.spend(info.memoryImage(index).count)
      for position in try info.memoryImage(index) {
        let extent = try info.imageExtent(position)
        _ = try fileOffset(of: extent)
        // They are mapped.
        guard extent.size > 0, (extent.memoryOffset | extent.size) % header.record.settings.pageSize == 0 else {
          throw .damaged(.info, 0, "the image of memory \(index) does not consist of whole pages")
        }
        let (size, overflow) = memory.limits.minimum.multipliedReportingOverflow(by: 65536)
        guard overflow || (extent.memoryOffset <= size && extent.size <= size - extent.memoryOffset) else {
          throw .damaged(.info, 0, "the image of memory \(index) does not fit into it")
        }
      }
    }
    for index in 0..<info.globalCount { try checkConstants(info.global(index).initializer, info, &constants) }
  }

  private func checkSegments(_ info: ModuleInfo, _ constants: inout Budget) throws(ArtifactError) {
    var functions = try Budget(.elementFunctions, info)
    var expressions = try Budget(.elementExpressions, info)
    for index in 0..<info.elementSegmentCount {
      let segment = try info.elementSegment(index)
      try checkConstants(segment.offset, info, &constants)
      if segment.mode == .active || segment.mode == .inImage, Int(segment.table) >= info.tableCount {
        throw .damaged(.info, 0, "element segment \(index) has no table")
      }
      switch segment.items {
      case .functions(let range):
        try functions.spend(range.count)
        for position in range {
          guard try Int(info.elementFunction(position)) < info.functionCount else {
            throw .damaged(.info, 0, "element segment \(index) holds an unknown function")
          }
        }
      case .expressions(let range):
        try expressions.spend(range.count)
        for position in range { try checkConstants(info.elementExpression(position), info, &constants) }
      }
    }
    for index in 0..<info.dataSegmentCount {
      let segment = try info.dataSegment(index)
      try checkConstants(segment.offset, info, &constants)
      if segment.mode != .passive, Int(segment.memory) >= info.memoryCount {
        throw .damaged(.info, 0, "data segment \(index) has no memory")
      }
      _ = try bytes(of: segment)
    }
  }

  // What instantiation applies are all the active segments, in order, and no others.
  private func checkActive(_ info: ModuleInfo) throws(ArtifactError) {
    func check(
      _ table: InfoTable, _ segments: Int, _ mode: (Int) throws(ArtifactError) -> SegmentMode
    ) throws(ArtifactError) {
      var position = 0
      let count = try info.rows(table)
      for index in 0..<segments where try mode(index) == .active {
        guard position < count, try Int(info.region.u32(info.row(table, position))) == index else {
          throw .damaged(.info, 0, "segment \(index) is missing in table \(table), or out of order")
        }
        position += 1
      }
      guard position == count else { throw .damaged(.info, 0, "table \(table) names a segment too many") }
    }
    try check(.activeElements, info.elementSegmentCount) { (index) throws(ArtifactError) in
      try info.elementSegment(index).mode
    }
    try check(.activeData, info.dataSegmentCount) { (index) throws(ArtifactError) in try info.dataSegment(index).mode }
  }

  // Each run is of a piece of code: a function, or one of the others, which stand between and behind the functions.
  private func checkCodeTable(_ table: RunTable, _ info: ModuleInfo) throws(ArtifactError) {
    func damaged(_ why: String) -> ArtifactError { .damaged(table.kind.section, 0, why) }
    var last: Int64 = -1
    var end: UInt32 = 0
    var entries: UInt64 = 0
    // The first function that does not end before the run.
    var position = 0
    for row in 0..<table.runCount {
      let text = try table.textOffset(row)
      guard Int64(text) > last else { throw damaged("run \(row) is out of order") }
      last = Int64(text)
      guard try table.index.u32(row * RunTableLayout.indexRow + 4) == end else {
        throw damaged("run \(row) does not follow the one before")
      }
      var limit = header.text.size
      while position < info.definedFunctionCount {
        let function = try info.definedFunction(position)
        let functionEnd = UInt64(function.textOffset) + UInt64(function.size)
        if functionEnd <= UInt64(text) {
          position += 1
          continue
        }
        guard function.textOffset >= text else { throw damaged("run \(row) starts within function \(position)") }
        limit = function.textOffset == text ? functionEnd : UInt64(function.textOffset)
        break
      }
      var cursor = try table.cursor(row: row)
      end = try table.index.u32((row + 1) * RunTableLayout.indexRow + 4)
      var previous: Int64 = -1
      while let entry = try cursor.next() {
        let place = UInt64(text) + UInt64(entry.codeOffset)
        // The end of a function's body may be an operator without code.
        guard place < limit || place == limit && table.kind == .addressMap else {
          throw damaged("an entry of run \(row) lies outside its code")
        }
        guard Int64(entry.codeOffset) > previous else { throw damaged("an entry of run \(row) is out of order") }
        previous = Int64(entry.codeOffset)
        if table.kind == .traps, UInt8(exactly: entry.value).flatMap(TrapCode.init(rawValue:))?.isTrapSite != true {
          throw damaged("trap code \(entry.value)")
        }
        if cursor.position % table.interval == 0 { try cursor.checkCheckpoint() }
        entries += 1
      }
    }
    guard Int(end) == table.runs.count || table.runCount == 0 else { throw damaged("the last run is not the end") }
    guard entries == table.entryCount else {
      throw damaged("there are \(entries) entries, and not \(table.entryCount)")
    }
  }
}
