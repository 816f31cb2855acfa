import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastLoader
import PrecastWasm
import Testing

@testable import PrecastDebugInfo

/// DWARF that no compiler writes.
@Suite struct HostileDWARFTests {
  /// The offset of the contents of a custom section, whose name has less than 128 bytes.
  private func contents(_ name: String, in wasm: [UInt8]) throws -> Int {
    let bytes = [UInt8(name.utf8.count)] + Array(name.utf8)
    let start = (0..<wasm.count - bytes.count).first { Array(wasm[$0..<$0 + bytes.count]) == bytes }
    return try #require(start) + bytes.count
  }

  @Test(
    "A line of a file that the table does not list is no line", .enabled(if: LibDW.use { _ in true } != nil, "no libdw")
  )
  func linesWithoutFiles() throws {
    var wasm = [UInt8](try Data(contentsOf: Place.guests.appendingPathComponent("traps-O0.wasm")))
    let table = try contents(".debug_line", in: wasm)
    // DWARF 4, 6.2.4: the list of files starts at 29; it ends there now, and the program starts right behind it,
    // with instructions (DW_LNS_set_basic_block) that do nothing.
    try #require(wasm[table + 4] == 4 && wasm[table + 6] == 31 && wasm[table + 29] == UInt8(ascii: "t"))
    wasm[table + 6] = 20
    wasm[table + 29] = 0
    for offset in 30..<41 { wasm[table + offset] = 7 }
    let scratch = try Scratch()
    let path = scratch.path("hostile.cwasm")
    var settings = CompilerSettings()
    settings.debugInfo = true
    try Compiler(settings: settings).compile(WasmBinary(wasm), toFile: path)
    let artifact = try LoadedArtifact(path: path)
    let (tables, _) = artifact.symbolizer.tables(of: artifact)
    #expect(tables.lines.count > 100)
    #expect(tables.lines.allSatisfy { $0.line == 0 || Int($0.file) < tables.files.count })
  }

  @Test(
    "Blocks in blocks without end take no stack", .enabled(if: LibDW.use { _ in true } != nil, "no libdw"))
  func deep() throws {
    // DWARF 4, 7.5.3: a unit, a function, and blocks in it, each with a range; DW_FORM_addr and DW_FORM_data4.
    var abbreviations: [UInt8] = []
    for (code, tag) in [(1, 0x11), (2, 0x2E), (3, 0x0B)] as [(UInt8, UInt8)] {
      abbreviations += [code, tag, 1, 0x11, 0x01, 0x12, 0x06, 0, 0]
    }
    abbreviations.append(0)
    func entry(_ code: UInt8) -> [UInt8] { [code, 0, 0, 0, 0, 0xE8, 3, 0, 0] }
    let levels = 200_000
    var info: [UInt8] = [4, 0, 0, 0, 0, 0, 4] + entry(1) + entry(2)
    for _ in 0..<levels { info += entry(3) }
    info += [UInt8](repeating: 0, count: levels + 2)
    info = (0..<4).map { UInt8(truncatingIfNeeded: info.count >> (8 * $0)) } + info

    let artifact = try artifact([(".debug_abbrev", abbreviations), (".debug_info", info)])
    let (_, codeStart) = artifact.symbolizer.tables(of: artifact)
    let positions = artifact.sourcePositions(ofWasmOffset: Int(codeStart) + 100)
    // The function, without a name.
    #expect(positions.count == 1 && positions.first?.isInlined == false)
  }

  /// An artifact whose guest has this for DWARF.
  private func artifact(_ sections: [(name: String, bytes: [UInt8])]) throws -> LoadedArtifact {
    var wasm = [UInt8](try Data(contentsOf: Place.guests.appendingPathComponent("traps-O0.wasm")))
    // Its own is under other names now.
    for name in [".debug_abbrev", ".debug_info", ".debug_line", ".debug_ranges"] {
      wasm[try contents(name, in: wasm) - 1] = UInt8(ascii: "_")
    }
    for (name, bytes) in sections {
      let section = [UInt8(name.utf8.count)] + Array(name.utf8) + bytes
      wasm.append(0)
      for group in 0..<5 {
        wasm.append(UInt8(truncatingIfNeeded: section.count >> (7 * group)) & 0x7F | (group < 4 ? 0x80 : 0))
      }
      wasm += section
    }
    let scratch = try Scratch()
    let path = scratch.path("hostile.cwasm")
    var settings = CompilerSettings()
    settings.debugInfo = true
    try Compiler(settings: settings).compile(WasmBinary(wasm), toFile: path)
    return try LoadedArtifact(path: path)
  }

  // MARK: Who asks pays

  @Test(
    "libdw is opened to print a trap, not to load or to trap", .enabled(if: LibDW.use { _ in true } != nil, "no libdw"))
  func openedWhenAsked() throws {
    let scratch = try Scratch()
    let artifact = try scratch.artifact(of: "traps-O2.wasm")
    func moments(_ environment: [String: String]) throws -> [Substring] {
      try scratch.run(
        Place.built("debug-host"), ["file", artifact, "divide_by", "0"],
        environment: environment.merging(["DEBUG_HOST_LIBDW": "1"]) { $1 }
      ).text.split(separator: "\n").filter { $0.hasSuffix("open") }
    }
    #expect(try moments([:]) == ["loaded: not open", "failed: not open", "printed: open"])
    #expect(
      try moments(["PRECAST_BACKTRACE_DETAILS": "0"]) == ["loaded: not open", "failed: not open", "printed: not open"])
  }

  @Test("A guest's DWARF is not read by loading, nor by a trap: damage in it shows in lines alone")
  func readWhenAsked() throws {
    let scratch = try Scratch()
    let path = try scratch.artifact(of: "traps-O2.wasm")
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    let extent = try LoadedArtifact(path: path).header.extent(of: .dwarf)
    try #require(extent.size > 0)
    // On pages without anything that a trap needs.
    let first = (Int(extent.offset) + 4095) / 4096 * 4096
    try #require(first < Int(extent.end))
    for offset in first..<Int(extent.end) { bytes[offset] ^= 0xFF }
    try Data(bytes).write(to: URL(fileURLWithPath: scratch.path("damaged.cwasm")))
    let engine = Engine()
    let module = try Module(engine: engine, deserializeFile: scratch.path("damaged.cwasm"))
    let store = Store(engine: engine)
    var imports = Imports()
    imports.define(module: "host", name: "call") { (a: Int32) in a }
    let instance = try module.instantiate(store: store, imports: imports)
    // By hand: a test that expects an error prints it, and that is a question.
    var trap: Trap?
    do { _ = try instance.exports[function: "divide_by"]?.invoke([.i32(0)]) } catch { trap = error as? Trap }
    let isUntouched = module.artifact.companion.load() == nil
    #expect(isUntouched)
    #expect(trap?.code == .integerDivideByZero)
    #expect(trap?.frames.first?.wasmOffset != nil)
    #expect(trap?.frames.first?.sourcePositions.isEmpty == true)
  }

  // MARK: Costs

  /// Pieces of DWARF 4 with 32-bit lengths and addresses.
  private enum DWARF {
    static func u32(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    static func uleb(_ value: Int) -> [UInt8] {
      value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F) | 0x80] + uleb(value >> 7)
    }
    /// An abbreviation; pairs of attribute and form.
    static func abbreviation(_ code: Int, _ tag: Int, children: Bool, _ attributes: [(Int, Int)]) -> [UInt8] {
      uleb(code) + uleb(tag) + [children ? 1 : 0] + attributes.flatMap { uleb($0.0) + uleb($0.1) } + [0, 0]
    }
    static func unit(_ entries: [UInt8], abbreviations: Int = 0) -> [UInt8] {
      let bytes = [4, 0] + u32(abbreviations) + [4] + entries
      return u32(bytes.count) + bytes
    }
    /// A line table; `files` is the list of directories and that of files.
    static func lines(files: [UInt8], program: [UInt8]) -> [UInt8] {
      let head = [1, 1, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1] + files
      let bytes = [4, 0] + u32(head.count) + head + program
      return u32(bytes.count) + bytes
    }
    /// DW_AT_low_pc and DW_AT_high_pc of the whole code, and their values.
    static let place = [(0x11, 0x01), (0x12, 0x06)]
    static let everywhere = u32(0) + u32(1 << 16)
    static func times(_ count: Int, _ bytes: [UInt8]) -> [UInt8] { Array(repeatElement(bytes, count: count).joined()) }
  }

  struct Attack: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var sections: [(name: String, bytes: [UInt8])]
    /// What a question for the middle of the code gets: so many functions.
    var functions: ClosedRange<Int>

    init(_ name: String, functions: ClosedRange<Int>, _ sections: [(name: String, bytes: [UInt8])]) {
      (testDescription, self.functions, self.sections) = (name, functions, sections)
    }
  }

  static let attacks: [Attack] = {
    let unit = DWARF.abbreviation(1, 0x11, children: true, DWARF.place)
    let unitWithLines = DWARF.abbreviation(1, 0x11, children: true, DWARF.place + [(0x10, 0x17)])
    let function = DWARF.abbreviation(2, 0x2E, children: true, DWARF.place)
    let inlined = DWARF.abbreviation(3, 0x1D, children: true, DWARF.place)
    let here = DWARF.everywhere
    func info(_ entries: [UInt8]) -> [UInt8] { DWARF.unit([1] + here + entries + [0]) }
    var attacks: [Attack] = []

    // A table of abbreviations that every unit reads to its end.
    let many = (0..<4000).flatMap { DWARF.abbreviation($0 + 2, 0x11, children: false, []) } + unit + [0]
    attacks.append(
      Attack(
        "many units with one large table of abbreviations", functions: 0...0,
        [(".debug_abbrev", many), (".debug_info", DWARF.times(2_000, DWARF.unit([1] + here + [0])))]))
    let endless = DWARF.abbreviation(4, 0x34, children: false, Array(repeating: (0x3F, 0x19), count: 40_000))
    attacks.append(
      Attack(
        "entries with a hundred thousand attributes of no size", functions: 0...0,
        [
          (".debug_abbrev", unit + function + endless + [0]),
          (".debug_info", info(DWARF.times(40_000, [4]) + [2] + here + [0])),
        ]))
    attacks.append(
      Attack(
        "80 KB of functions that are inlined into one another", functions: 1...130,
        [
          (".debug_abbrev", unit + function + inlined + [0]),
          (".debug_info", info([2] + here + DWARF.times(9_000, [3] + here) + DWARF.times(9_001, [0]))),
        ]))
    // A sibling that leads back, behind a long subtree.
    let subtree = DWARF.abbreviation(4, 0x0B, children: true, [])
    let leaf = DWARF.abbreviation(5, 0x34, children: false, [])
    let back = DWARF.abbreviation(6, 0x34, children: false, [(0x01, 0x13)])
    attacks.append(
      Attack(
        "siblings in a circle", functions: 0...1,
        [
          (".debug_abbrev", unit + function + subtree + leaf + back + [0]),
          (".debug_info", info([2] + here + [4] + DWARF.times(80_000, [5]) + [0, 6] + DWARF.u32(29) + [0])),
        ]))
    // Each namespace's sibling is its own first child, so that there are 2^n ways through them.
    let space = DWARF.abbreviation(4, 0x39, children: true, [(0x01, 0x13)])
    var spaces: [UInt8] = []
    for level in 0..<2000 { spaces += [4] + DWARF.u32(20 + 5 * (level + 1)) }
    attacks.append(
      Attack(
        "namespaces beside what is in them", functions: 0...1,
        [
          (".debug_abbrev", unit + function + space + leaf + [0]),
          (".debug_info", info(spaces + DWARF.times(40_000, [5]) + DWARF.times(2000, [0]))),
        ]))
    attacks.append(
      Attack(
        "functions whose names are one another's", functions: 1...1,
        [
          (
            ".debug_abbrev",
            unit + DWARF.abbreviation(2, 0x2E, children: false, DWARF.place + [(0x31, 0x13), (0x47, 0x13)]) + [0]
          ),
          (
            ".debug_info", info([2] + here + DWARF.u32(20) + DWARF.u32(37) + [2] + here + DWARF.u32(37) + DWARF.u32(20))
          ),
        ]))
    // Units, each with the same long list of ranges; and functions with it.
    let listed = DWARF.abbreviation(1, 0x11, children: true, [(0x11, 0x01), (0x55, 0x17)])
    let listedFunction = DWARF.abbreviation(2, 0x2E, children: false, [(0x11, 0x01), (0x55, 0x17)])
    let zero = DWARF.u32(0)
    let ranges = DWARF.times(10_000, DWARF.u32(1) + DWARF.u32(2)) + DWARF.u32(0) + DWARF.u32(0)
    attacks.append(
      Attack(
        "units with one list of ranges", functions: 0...1,
        [
          (".debug_abbrev", listed + listedFunction + [0]), (".debug_ranges", ranges),
          (".debug_info", DWARF.times(4000, DWARF.unit([1] + zero + zero + [2] + zero + zero + [0]))),
        ]))
    attacks.append(
      Attack(
        "functions with one list of ranges", functions: 0...1,
        [
          (".debug_abbrev", unit + listedFunction + [0]), (".debug_ranges", ranges),
          (".debug_info", info(DWARF.times(4000, [2] + zero + zero))),
        ]))
    let withLines = DWARF.unit([1] + here + zero + [2] + here + [0, 0])
    let program: [UInt8] = [0, 5, 2] + zero + [1, 2, 0x90, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1, 0, 1, 1]
    attacks.append(
      Attack(
        "one long directory of many files", functions: 1...1,
        [
          (".debug_abbrev", unitWithLines + function + [0]), (".debug_info", withLines),
          (
            ".debug_line",
            DWARF.lines(
              files: DWARF.times(200_000, [0x64]) + [0, 0] + DWARF.times(40_000, [0x66, 0, 1, 0, 0]) + [0],
              program: program)
          ),
        ]))
    attacks.append(
      Attack(
        "a program that goes far at a step, and two million rows and more", functions: 1...1,
        [
          (".debug_abbrev", unitWithLines + function + [0]), (".debug_info", withLines),
          (
            ".debug_line",
            DWARF.lines(files: [0, 0x66, 0, 0, 0, 0, 0], program: program + DWARF.times(2_100_000, [0x1E]) + program)
          ),
        ]))
    // Line tables in the programs of others, which pass them over in their extended instructions.
    var tables: [UInt8] = DWARF.times(2000, [0x20]) + [0, 1, 1]
    var places: [Int] = []
    for _ in 0..<200 {
      // An instruction that nobody knows, as long as the head of the table in it; the program of that goes on as this one's.
      let head = DWARF.lines(files: [0, 0x66, 0, 0, 0, 0, 0], program: []).count
      let inner = places.isEmpty ? [] : [0] + DWARF.uleb(head + 1) + [0x80]
      tables = DWARF.lines(files: [0, 0x66, 0, 0, 0, 0, 0], program: inner + tables)
      places = [0] + places.map { $0 + head + inner.count }
    }
    attacks.append(
      Attack(
        "line tables in line tables", functions: 0...1,
        [
          (".debug_abbrev", unitWithLines + function + [0]),
          (".debug_info", places.flatMap { DWARF.unit([1] + here + DWARF.u32($0) + [2] + here + [0, 0]) }),
          (".debug_line", tables),
        ]))
    attacks.append(
      Attack(
        "a unit that says that it is in another file", functions: 0...0,
        [
          (
            ".debug_abbrev",
            DWARF.abbreviation(1, 0x11, children: false, DWARF.place + [(0x2130, 0x08), (0x1B, 0x08)]) + [0]
          ), (".debug_info", DWARF.unit([1] + here + Array("a.dwo\0/tmp\0".utf8))),
        ]))
    return attacks
  }()

  @Test(
    "What reading a guest's DWARF costs is bounded, whatever it says",
    .enabled(if: LibDW.use { _ in true } != nil, "no libdw"), arguments: attacks)
  func bounded(_ attack: Attack) throws {
    let artifact = try artifact(attack.sections)
    let size = attack.sections.reduce(0) { $0 + $1.bytes.count }
    let start = try #require(try artifact.artifact.debugInfo()).codeStart
    let questions = 5
    for number in 0..<questions {
      let found = artifact.sourcePositions(ofWasmOffset: Int(start) + 100 + number)
      #expect(attack.functions.contains(found.count), "\(found.count)")
    }
    let cost = try #require(artifact.symbolizer.cost)
    #expect(
      cost.steps <= GuestDWARF.Limit.opening + 20 * size + questions * GuestDWARF.Limit.question + 1 << 22,
      "\(cost), \(size) bytes")
    #expect(cost.abbreviations <= DWARFCensus.Limit.abbreviations)
    #expect(cost.rows <= min(DWARFCensus.Limit.rows, 2 * size + 1024))
    #expect(cost.nameBytes <= DWARFCensus.Limit.nameBytes)
    // A debugger wants all of it, for little more.
    _ = artifact.symbolizer.tables(of: artifact)
    let all = try #require(artifact.symbolizer.cost)
    #expect(all.steps <= cost.steps + 40 * size + 1 << 20)
    #expect(all.abbreviations <= DWARFCensus.Limit.abbreviations)
  }

  @Test("Names that stand for far more than they say stay as they are")
  func names() {
    // Each level has the one below twice.
    func reference(_ number: Int) -> String { number == 0 ? "S_" : "S\(String(number - 1, radix: 36).uppercased())_" }
    func name(_ levels: Int) -> String {
      "_Z1f1AIiiE" + (0..<levels).map { "S_I\(reference($0 + 1))\(reference($0 + 1))E" }.joined()
    }
    #expect(
      Demangler.demangle(name(2))
        == "f(A<int, int>, A<A<int, int>, A<int, int> >, A<A<A<int, int>, A<int, int> >, A<A<int, int>, A<int, int> > >)"
    )
    for levels in [24, 60, 400] { #expect(Demangler.demangle(name(levels)) == name(levels)) }
    let swift = "$s1a1fyyAA1BVyAaAaAaAaAaA2000AA2000AAaAbAcG_tF"
    #expect(Demangler.demangle(swift) == swift)
    #expect(
      Demangler.demangle("$s12PrecastCache16CompilerIdentityV6object33_6FF2A1ADF158E30E20F8C2451A166EB3LL_Wz")
        != "$s12PrecastCache16CompilerIdentityV6object33_6FF2A1ADF158E30E20F8C2451A166EB3LL_Wz")
    #expect(
      Demangler.demangle("_ZNSt6vectorIiSaIiEE9push_backERKi")
        == "std::vector<int, std::allocator<int> >::push_back(int const&)")
  }
}
