// One artifact's DWARF, open in libdw.
//
// A thin layer: names of libdw's become names of ours, pointers stay in here. Every function is called with libdw's lock held
// (`LibDW.use`), and the mapped bytes outlive the object (`ArtifactCompanion`).

import Glibc
import PrecastArtifact
import PrecastLoader

/// The guest's DWARF, opened. Use it only inside `LibDW.use`.
///
/// What a guest says of itself may be written to hurt, so everything has a bound: what libdw is shown at all (`DWARFCensus`), what
/// one unit may cost when its functions are listed, and what one question may. Behind a bound, answers are missing, or less
/// exact; nothing else is.
@safe
final class GuestDWARF {
  typealias Die = LibDW.Die

  /// A range of addresses of a unit, or of a function in one.
  struct Range {
    var start: UInt64
    var end: UInt64
    /// Offset of the DIE.
    var die: UInt64
  }

  /// What may be spent. A step is a range that is looked at, or a byte of DIEs that libdw goes over.
  enum Limit {
    /// Steps to find the addresses of all units.
    static let opening = 1 << 22
    /// Steps to list a unit's functions, for each byte of it: namespaces are gone through once for each level.
    static let listing = 16
    /// Steps inside one function, for one question.
    static let question = 1 << 20
    /// Functions that are inlined into one another.
    static let levels = 128
    /// Bytes of a name.
    static let name = 1024
  }

  // DWARF 5, 7.5.3 and 7.5.4.
  enum Tag {
    static let classType: Int32 = 0x02
    static let structure: Int32 = 0x13
    static let union: Int32 = 0x17
    static let inlinedSubroutine: Int32 = 0x1D
    static let module: Int32 = 0x1E
    static let subprogram: Int32 = 0x2E
    static let namespace: Int32 = 0x39
  }
  private enum AttributeName {
    static let statementList: UInt32 = 0x10
    static let directory: UInt32 = 0x1B
    static let linkageName: UInt32 = 0x6E
    static let declarationFile: UInt32 = 0x3A
    static let declarationLine: UInt32 = 0x3B
    static let callColumn: UInt32 = 0x57
    static let callFile: UInt32 = 0x58
    static let callLine: UInt32 = 0x59
    static let mipsLinkageName: UInt32 = 0x2007
  }

  let library: LibDW
  let layout: GuestDebugInfo
  private let elf: LibDW.Pointer
  private let dwarf: LibDW.Pointer
  private var ranges: [Range] = []
  /// Offsets of the units' DIEs, in order.
  private(set) var units: [UInt64] = []
  private var admitted: [UInt64: DWARFCensus.Unit] = [:]
  private var functionsOf: [UInt64: [Range]] = [:]
  private(set) var census: DWARFCensus
  /// Steps that were made, of all kinds.
  private(set) var steps = 0

  /// Opens the DWARF; nil where there is none, or it is damaged or not DWARF.
  init?(_ artifact: LoadedArtifact, _ library: LibDW) {
    guard let found = try? artifact.artifact.debugInfo(), let census = try? DWARFCensus(found.region) else {
      return nil
    }
    // Checks all pages, which stay mapped until `artifactWillUnmap` has let go of this object.
    guard let bytes = try? unsafe found.region.withUnsafeBytes({ unsafe $0 }), let base = bytes.baseAddress,
      // libdw only reads what it is given in memory.
      let elf = unsafe library.elfMemory(UnsafeMutableRawPointer(mutating: base), bytes.count)
    else { return nil }
    guard let dwarf = unsafe library.begin(elf, 0, nil) else {
      unsafe _ = library.elfEnd(elf)
      return nil
    }
    self.library = library
    layout = found
    unsafe self.elf = elf
    unsafe self.dwarf = dwarf
    self.census = census
    readUnits()
  }

  deinit {
    unsafe _ = library.end(dwarf)
    unsafe _ = library.elfEnd(elf)
  }

  private func readUnits() {
    var offset: UInt64 = 0
    var next: UInt64 = 0
    var headerSize = 0
    var left = Limit.opening
    while left > 0, unsafe library.nextUnit(dwarf, offset, &next, &headerSize, nil, nil, nil) == 0, next > offset {
      left -= 1
      let unit = offset + UInt64(headerSize)
      let known = census.unit(at: offset, die: unit, end: next)
      offset = next
      var die = Die()
      guard let known, unsafe library.die(dwarf, unit, &die) != nil else { continue }
      units.append(unit)
      admitted[unit] = known
      forEachRange(of: &die, &left) { start, end in
        // What a linker dropped has addresses past all code.
        if start < end, start < layout.codeSize { ranges.append(Range(start: start, end: end, die: unit)) }
      }
    }
    steps += Limit.opening - left
    ranges.sort { ($0.start, $0.end) < ($1.start, $1.end) }
  }

  private func forEachRange(of die: inout Die, _ left: inout Int, _ body: (UInt64, UInt64) -> Void) {
    var (base, start, end): (UInt64, UInt64, UInt64) = (0, 0, 0)
    var position = 0
    while left > 0 {
      left -= 1
      position = unsafe library.ranges(&die, position, &base, &start, &end)
      if position <= 0 { return }
      body(start, end)
    }
  }

  /// The DIE that has an address, of ranges in order.
  private static func die(of address: UInt64, in ranges: [Range]) -> UInt64? {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    // Ranges of a sound file do not overlap; of another, the nearest few are enough.
    for index in stride(from: low - 1, through: max(0, low - 4), by: -1) where index >= 0 {
      if address < ranges[index].end { return ranges[index].die }
    }
    return nil
  }

  /// Calls `body` with a unit's DIE.
  func withDie<R>(_ offset: UInt64, _ body: (inout Die) -> R?) -> R? {
    var die = Die()
    guard unsafe library.die(dwarf, offset, &die) != nil else { return nil }
    return body(&die)
  }

  // MARK: Positions

  func positions(ofWasmOffset offset: Int) -> [SourcePosition] {
    guard let address = layout.address(ofWasmOffset: offset), let unit = Self.die(of: address, in: ranges) else {
      return []
    }
    return withDie(unit) { die in
      var result: [SourcePosition] = []
      let hasLines = admitsLines(of: &die)
      var place: Place = hasLines ? line(of: address, &die) : (nil, nil, nil)
      for (tag, scope) in scopes(of: address, unit: unit) {
        var scope = scope
        let isInlined = tag == Tag.inlinedSubroutine
        result.append(
          SourcePosition(
            function: functionName(&scope), file: place.file, line: place.line, column: place.column,
            isInlined: isInlined))
        if !isInlined { break }
        place = callSite(&scope, unit: &die, hasLines)
      }
      if result.isEmpty, place.file != nil {
        result.append(
          SourcePosition(function: nil, file: place.file, line: place.line, column: place.column, isInlined: false))
      }
      return result
    } ?? []
  }

  private typealias Place = (file: String?, line: Int?, column: Int?)

  /// What the line table says of an address.
  private func line(of address: UInt64, _ unit: inout Die) -> Place {
    guard let row = unsafe library.lineOfAddress(&unit, address) else { return (nil, nil, nil) }
    var line: Int32 = 0
    var column: Int32 = 0
    unsafe _ = library.lineNumber(row, &line)
    unsafe _ = library.lineColumn(row, &column)
    let file = unsafe library.lineFile(row, nil, nil).map { unsafe Self.text($0) }
    return (file, line > 0 ? Int(line) : nil, line > 0 && column > 0 ? Int(column) : nil)
  }

  /// Whether libdw may read the line table of a unit.
  func admitsLines(of unit: inout Die) -> Bool {
    guard let offset = number(AttributeName.statementList, &unit) else { return false }
    var attribute = LibDW.Attribute()
    var directoryLength = 0
    if unsafe library.integratedAttribute(&unit, AttributeName.directory, &attribute) != nil,
      let text = unsafe library.string(&attribute)
    {
      // A string of a section, which ends in it.
      directoryLength = unsafe strlen(text)
    }
    return census.admitLines(at: UInt64(offset), directoryLength: directoryLength)
  }

  // MARK: Functions

  /// Calls `body` with the functions of a unit that have code, also those in namespaces and classes. None where a unit would cost
  /// too much.
  func forEachFunction(of unit: UInt64, _ body: (inout Die) -> Void) {
    guard var known = admitted[unit], census.admitAll(of: &known) else { return }
    admitted[unit] = known
    var left = Limit.listing * known.size + 1 << 12
    let before = left
    _ = withDie(unit) { die -> Void? in
      forEachFunction(in: &die, depth: 0, known, &left, body)
      return ()
    }
    steps += before - max(0, left)
  }

  private func forEachFunction(
    in parent: inout Die, depth: Int, _ unit: DWARFCensus.Unit, _ left: inout Int, _ body: (inout Die) -> Void
  ) {
    var die = Die()
    guard depth < 32, unsafe library.child(&parent, &die) == 0 else { return }
    while left > 0 {
      switch unsafe library.tag(&die) {
      case Tag.subprogram: body(&die)
      case Tag.namespace, Tag.classType, Tag.structure, Tag.union, Tag.module:
        forEachFunction(in: &die, depth: depth + 1, unit, &left, body)
      default: break
      }
      guard let next = sibling(of: &die, unit, &left) else { return }
      die = next
    }
  }

  /// The next DIE beside one. Costs what libdw goes over to find it: all that is inside.
  private func sibling(of die: inout Die, _ unit: DWARFCensus.Unit, _ left: inout Int) -> Die? {
    var next = Die()
    let here = unsafe library.dieOffset(&die)
    guard unsafe library.sibling(&die, &next) == 0 else {
      // At the end; where entries say themselves where their siblings are, nobody knows how often.
      left -= unit.hasSiblings ? unit.size : 1
      return nil
    }
    let there = unsafe library.dieOffset(&next)
    // A compiler's leads on.
    guard there > here else { return nil }
    left -= Int(clamping: there - here)
    return next
  }

  /// The functions of a unit by their addresses, in order; listed once.
  private func functions(of unit: UInt64) -> [Range] {
    if let known = functionsOf[unit] { return known }
    var found: [Range] = []
    // As many as entries have room for.
    var left = admitted[unit]?.size ?? 0
    forEachFunction(of: unit) { die in
      let offset = unsafe library.dieOffset(&die)
      forEachRange(of: &die, &left) { start, end in
        if start < end, start < layout.codeSize { found.append(Range(start: start, end: end, die: offset)) }
      }
    }
    found.sort { ($0.start, $0.end) < ($1.start, $1.end) }
    functionsOf[unit] = found
    return found
  }

  /// The subprogram that has an address, and what is inlined in it there, innermost first.
  ///
  /// Each stands inside the one that it was inlined into. libdw has a function for the walk, but that calls itself for every
  /// level, and a guest may have a hundred thousand: more than a stack has room for.
  private func scopes(of address: UInt64, unit: UInt64) -> [(tag: Int32, die: Die)] {
    guard let offset = Self.die(of: address, in: functions(of: unit)), let known = admitted[unit] else { return [] }
    var left = Limit.question
    defer { steps += Limit.question - max(0, left) }
    return withDie(offset) { function in
      var found = [(tag: unsafe library.tag(&function), die: function)]
      var parent = function
      while found.count <= Limit.levels, let die = child(of: &parent, at: address, known, &left) {
        parent = die
        let tag = unsafe library.tag(&parent)
        if tag == Tag.subprogram || tag == Tag.inlinedSubroutine { found.append((tag, die)) }
      }
      return found.reversed()
    } ?? []
  }

  /// What stands in a DIE and has an address.
  private func child(of parent: inout Die, at address: UInt64, _ unit: DWARFCensus.Unit, _ left: inout Int) -> Die? {
    var die = Die()
    guard unsafe library.child(&parent, &die) == 0 else { return nil }
    while left > 0 {
      var isThere = false
      forEachRange(of: &die, &left) { start, end in
        if start <= address && address < end { isThere = true }
      }
      if isThere { return die }
      guard let next = sibling(of: &die, unit, &left) else { return nil }
      die = next
    }
    return nil
  }

  /// Where an inlined function was called.
  private func callSite(_ die: inout Die, unit: inout Die, _ hasLines: Bool) -> Place {
    let line = number(AttributeName.callLine, &die)
    let column = number(AttributeName.callColumn, &die)
    let file = hasLines ? number(AttributeName.callFile, &die).flatMap { fileName($0, &unit) } : nil
    return (file, line.flatMap { $0 > 0 ? $0 : nil }, column.flatMap { $0 > 0 ? $0 : nil })
  }

  /// Where a function is declared, in a unit whose lines may be read.
  func declaration(_ die: inout Die, unit: inout Die) -> (file: String?, line: Int?) {
    let file = number(AttributeName.declarationFile, &die).flatMap { fileName($0, &unit) }
    return (file, number(AttributeName.declarationLine, &die))
  }

  /// A file of a unit's list.
  private func fileName(_ index: Int, _ unit: inout Die) -> String? {
    var files: LibDW.Pointer?
    guard unsafe library.sourceFiles(&unit, &files, nil) == 0, let files = unsafe files else { return nil }
    return unsafe library.fileName(files, index, nil, nil).map { unsafe Self.text($0) }
  }

  private func number(_ name: UInt32, _ die: inout Die) -> Int? {
    var attribute = LibDW.Attribute()
    var value: UInt64 = 0
    guard unsafe library.integratedAttribute(&die, name, &attribute) != nil,
      unsafe library.number(&attribute, &value) == 0
    else { return nil }
    return Int(exactly: value)
  }

  // MARK: Names

  /// The mangled name, where there is one.
  func linkageName(_ die: inout Die) -> String? {
    for name in [AttributeName.linkageName, AttributeName.mipsLinkageName] {
      var attribute = LibDW.Attribute()
      if unsafe library.integratedAttribute(&die, name, &attribute) != nil,
        let text = unsafe library.string(&attribute)
      {
        return unsafe Self.text(text)
      }
    }
    return nil
  }

  /// The name in the source, without its scope.
  func plainName(_ die: inout Die) -> String? { unsafe library.name(&die).map { unsafe Self.text($0) } }

  /// A name, or the beginning of one that is nobody's.
  @unsafe
  static func text(_ text: UnsafePointer<CChar>) -> String {
    // A string of libdw's, which ends in zero.
    let length = unsafe strnlen(text, Limit.name)
    return unsafe String(decoding: UnsafeRawBufferPointer(start: text, count: length), as: UTF8.self)
  }

  private func functionName(_ die: inout Die) -> String? {
    linkageName(&die).map(Demangler.demangle) ?? plainName(&die)
  }
}
