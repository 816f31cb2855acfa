// One artifact's DWARF, open in libdw.
//
// A thin layer: names of libdw's become names of ours, pointers stay in here. Every function is called with libdw's lock held
// (`LibDW.use`), and the mapped bytes outlive the object (`ArtifactCompanion`).

import Glibc
import PrecastArtifact
import PrecastLoader

/// The guest's DWARF, opened. Use it only inside `LibDW.use`.
@safe
final class GuestDWARF {
  typealias Die = LibDW.Die

  /// A range of addresses of a unit.
  private struct Range {
    var start: UInt64
    var end: UInt64
    var unit: UInt64
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

  private static let mostRanges = 1 << 22

  /// Opens the DWARF; nil where there is none, or it is damaged or not DWARF.
  init?(_ artifact: LoadedArtifact, _ library: LibDW) {
    guard let found = try? artifact.artifact.debugInfo() else { return nil }
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
    while unsafe library.nextUnit(dwarf, offset, &next, &headerSize, nil, nil, nil) == 0, next > offset {
      let unit = offset + UInt64(headerSize)
      offset = next
      var die = Die()
      guard unsafe library.die(dwarf, unit, &die) != nil else { continue }
      units.append(unit)
      var base: UInt64 = 0
      var start: UInt64 = 0
      var end: UInt64 = 0
      var position = 0
      while ranges.count < Self.mostRanges {
        position = unsafe library.ranges(&die, position, &base, &start, &end)
        if position <= 0 { break }
        // What a linker dropped has addresses past all code.
        if start < end, start < layout.codeSize { ranges.append(Range(start: start, end: end, unit: unit)) }
      }
    }
    ranges.sort { ($0.start, $0.end) < ($1.start, $1.end) }
  }

  /// The unit that has an address.
  private func unit(of address: UInt64) -> UInt64? {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    // Ranges of a sound file do not overlap; of another, the nearest few are enough.
    for index in stride(from: low - 1, through: max(0, low - 4), by: -1) where index >= 0 {
      if address < ranges[index].end { return ranges[index].unit }
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
    guard let address = layout.address(ofWasmOffset: offset), let unit = unit(of: address) else { return [] }
    return withDie(unit) { die in
      var result: [SourcePosition] = []
      var place = line(of: address, &die)
      for (tag, scope) in scopes(of: address, &die) {
        var scope = scope
        let isInlined = tag == Tag.inlinedSubroutine
        result.append(
          SourcePosition(
            function: functionName(&scope), file: place.file, line: place.line, column: place.column,
            isInlined: isInlined))
        if !isInlined { break }
        place = callSite(&scope, unit: &die)
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
    let file = unsafe library.lineFile(row, nil, nil).map { unsafe String(cString: $0) }
    return (file, line > 0 ? Int(line) : nil, line > 0 && column > 0 ? Int(column) : nil)
  }

  /// The subprogram that has an address, and what is inlined in it there, innermost first.
  ///
  /// Each stands inside the one that it was inlined into. libdw has a function for the walk, but that calls itself for every
  /// level, and a guest may have a hundred thousand: more than a stack has room for.
  private func scopes(of address: UInt64, _ unit: inout Die) -> [(tag: Int32, die: Die)] {
    var found: [(tag: Int32, die: Die)] = []
    var steps = Self.mostSteps
    var parent = unit
    for _ in 0..<Self.mostLevels {
      guard let die = child(of: &parent, at: address, depth: 0, &steps) else { break }
      parent = die
      let tag = unsafe library.tag(&parent)
      if tag == Tag.subprogram || tag == Tag.inlinedSubroutine { found.append((tag, die)) }
    }
    return found.reversed()
  }

  private static let mostSteps = 1 << 22
  private static let mostLevels = 1024

  /// What stands in a DIE, or in a namespace or class in it, and has an address.
  private func child(of parent: inout Die, at address: UInt64, depth: Int, _ steps: inout Int) -> Die? {
    var die = Die()
    guard depth < 32, unsafe library.child(&parent, &die) == 0 else { return nil }
    while steps > 0 {
      steps -= 1
      switch unsafe library.tag(&die) {
      case Tag.namespace, Tag.classType, Tag.structure, Tag.union, Tag.module:
        if let inner = child(of: &die, at: address, depth: depth + 1, &steps) { return inner }
      default:
        if covers(&die, address, &steps) { return die }
      }
      var next = Die()
      guard unsafe library.sibling(&die, &next) == 0 else { return nil }
      die = next
    }
    return nil
  }

  private func covers(_ die: inout Die, _ address: UInt64, _ steps: inout Int) -> Bool {
    var (base, start, end): (UInt64, UInt64, UInt64) = (0, 0, 0)
    var position = 0
    while steps > 0 {
      position = unsafe library.ranges(&die, position, &base, &start, &end)
      if position <= 0 { return false }
      if start <= address && address < end { return true }
      steps -= 1
    }
    return false
  }

  /// Where an inlined function was called.
  private func callSite(_ die: inout Die, unit: inout Die) -> Place {
    let line = number(AttributeName.callLine, &die)
    let column = number(AttributeName.callColumn, &die)
    let file = number(AttributeName.callFile, &die).flatMap { fileName($0, &unit) }
    return (file, line.flatMap { $0 > 0 ? $0 : nil }, column.flatMap { $0 > 0 ? $0 : nil })
  }

  /// Where a function is declared.
  func declaration(_ die: inout Die, unit: inout Die) -> (file: String?, line: Int?) {
    let file = number(AttributeName.declarationFile, &die).flatMap { fileName($0, &unit) }
    return (file, number(AttributeName.declarationLine, &die))
  }

  /// A file of a unit's list.
  private func fileName(_ index: Int, _ unit: inout Die) -> String? {
    var files: LibDW.Pointer?
    guard unsafe library.sourceFiles(&unit, &files, nil) == 0, let files = unsafe files else { return nil }
    return unsafe library.fileName(files, index, nil, nil).map { unsafe String(cString: $0) }
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
        return unsafe String(cString: text)
      }
    }
    return nil
  }

  /// The name in the source, without its scope.
  func plainName(_ die: inout Die) -> String? { unsafe library.name(&die).map { unsafe String(cString: $0) } }

  private func functionName(_ die: inout Die) -> String? {
    linkageName(&die).map(Demangler.demangle) ?? plainName(&die)
  }
}
