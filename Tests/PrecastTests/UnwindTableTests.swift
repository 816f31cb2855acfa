// What `.eh_frame` of the golden artifacts says, by two readers that share no code, and what it ought to say.
//
// binutils' readelf interprets the tables into rows; elfutils' eu-readelf prints the instructions, which are interpreted here
// (DWARF 5, 6.4.2: the few that the compiler writes). Both must give the rows that stand beside the golden files, and, for
// functions, those that follow from the instructions that objdump shows. `make golden` writes the rows anew.

import Foundation
import PrecastArtifact
import PrecastMachineCode
import TestSupport
import Testing

/// The rules of a stretch of code.
struct FrameRow: Equatable, CustomStringConvertible {
  /// Code offset of the first instruction.
  var offset: Int
  var cfa: String
  /// By register: where it is saved, as in "c-16". "ra" is the return address.
  var saved: [String: String]

  var description: String {
    let places = saved.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    return "  +\(String(offset, radix: 16)) \(([cfa] + places).joined(separator: " "))"
  }
}

/// A description, by the address of its function.
typealias FrameTable = [Int: [FrameRow]]

private struct Unreadable: Error, CustomStringConvertible {
  var description: String
  init(_ line: some StringProtocol) { description = "not understood: \(line)" }
}

enum FrameReader {
  /// Rows as readelf interprets them.
  static func binutils(_ artifact: URL) throws -> FrameTable {
    var table: FrameTable = [:]
    var start: Int?
    var columns: [String] = []
    for line in try output("readelf", ["--debug-dump=frames-interp", artifact.path]) {
      let fields = line.split(separator: " ").map(String.init)
      if fields.contains("CIE") || fields.contains("ZERO") {
        start = nil
      } else if let range = fields.last, range.hasPrefix("pc="),
        let address = Int(range.dropFirst(3).prefix(16), radix: 16)
      {
        start = address
        table[address] = []
      } else if fields.first == "LOC" {
        columns = Array(fields.dropFirst(2))
      } else if let start, let place = fields.first.flatMap({ Int($0, radix: 16) }) {
        guard fields.count == columns.count + 2 else { throw Unreadable(line) }
        let saved = zip(columns, fields.dropFirst(2)).filter { $0.1 != "u" }
        table[start]?.append(
          FrameRow(offset: place - start, cfa: fields[1], saved: Dictionary(uniqueKeysWithValues: saved)))
      }
    }
    return table
  }

  /// The instructions that eu-readelf shows, interpreted.
  static func elfutils(_ artifact: URL) throws -> FrameTable {
    var table: FrameTable = [:]
    var initial = FrameRow(offset: 0, cfa: "", saved: [:])
    var row = initial
    var remembered: [FrameRow] = []
    var start: Int?
    var isProgram = false
    // Of the one CIE that there is.
    var unit = 1
    func number(_ text: Substring?) throws -> Int {
      guard let value = text.flatMap({ Int($0) }) else { throw Unreadable(text ?? "no number") }
      return value
    }
    func finish() {
      if let start { table[start]?.append(row) } else { initial = row }
    }
    for line in try output("eu-readelf", ["--debug-dump=frames", artifact.path]) {
      let fields = line.split(separator: " ")
      guard let first = fields.first else { continue }
      if line.contains("] CIE") || line.contains("] FDE") || line.contains("] Zero") {
        if isProgram { finish() }
        isProgram = false
        row = FrameRow(offset: 0, cfa: "", saved: [:])
        start = nil
      } else if first == "code_alignment_factor:" {
        unit = try number(fields.last)
      } else if first == "initial_location:" {
        guard let address = Int(fields[1].dropFirst(3), radix: 16) else { throw Unreadable(line) }
        start = address
        table[address] = []
        row = initial
      } else if first == "Program:" {
        isProgram = true
      } else if isProgram {
        // Registers appear as "r6 (rbp)".
        func register(_ index: Int) -> String { String(fields[index].dropFirst().dropLast()) }
        // The return address has a column of its own on one machine, and on the other x30's.
        func column(_ index: Int) -> String { ["rip", "x30"].contains(register(index)) ? "ra" : register(index) }
        switch first {
        case "nop": break
        case "advance_loc", "advance_loc1", "advance_loc2", "advance_loc4":
          if let start { table[start]?.append(row) }
          row.offset += try number(fields[1]) * unit
        case "def_cfa": row.cfa = "\(register(2))+\(try number(fields.last))"
        case "def_cfa_offset": row.cfa = "\(row.cfa.prefix { $0 != "+" })+\(try number(fields[1]))"
        case "def_cfa_register": row.cfa = "\(register(2))\(row.cfa.drop { $0 != "+" })"
        case "offset", "offset_extended":
          row.saved[column(2)] = fields.last?.replacingOccurrences(of: "cfa", with: "c")
        case "restore", "restore_extended": row.saved[column(2)] = initial.saved[column(2)]
        case "remember_state": remembered.append(row)
        case "restore_state":
          guard let last = remembered.popLast() else { throw Unreadable(line) }
          row = FrameRow(offset: row.offset, cfa: last.cfa, saved: last.saved)
        default: throw Unreadable(line)
        }
      }
    }
    if isProgram { finish() }
    // Advances by 0 do not occur; a row that changes nothing would.
    return table
  }

  /// What functions' instructions ask for: the frame is made by the first two, behind a landing pad where there is one, and
  /// gone at each `ret`.
  static func instructions(
    _ artifact: URL, _ architecture: Architecture
  ) throws -> (names: [Int: String], rows: FrameTable) {
    var names: [Int: String] = [:]
    var rows: FrameTable = [:]
    var listing: [(function: Int, offset: Int, text: Substring)] = []
    var function = 0
    for line in try output(disassembler(architecture), ["-d", "--no-show-raw-insn", artifact.path]) {
      if line.hasSuffix(">:"), let address = Int(line.prefix(16), radix: 16) {
        function = address
        names[address] = String(line.dropFirst(18).dropLast(2))
      } else if let colon = line.firstIndex(of: ":"), names[function] != nil,
        let address = Int(line[..<colon].trimmingCharacters(in: .whitespaces), radix: 16)
      {
        listing.append((function, address - function, line[line.index(after: colon)...]))
      }
    }
    let frame = FrameShape(architecture)
    for (k, item) in listing.enumerated() where names[item.function]!.contains("function[") {
      let previous = k > 0 && listing[k - 1].function == item.function ? listing[k - 1].text : ""
      func add(_ cfa: String, _ saved: [String: String]) {
        rows[item.function, default: []].append(FrameRow(offset: item.offset, cfa: cfa, saved: saved))
      }
      if item.offset == 0 || item.text.contains("\tret") {
        add(frame.outside.cfa, frame.outside.saved)
      } else if previous.contains(frame.first) {
        add(frame.pushed, frame.inside.saved)
      } else if previous.contains(frame.second) || previous.contains("\tret"), !frame.isFiller(item.text) {
        add(frame.inside.cfa, frame.inside.saved)
      }
    }
    return (names, rows)
  }

  static func disassembler(_ architecture: Architecture) -> String {
    architecture == .x86_64 ? "objdump" : "aarch64-linux-gnu-objdump"
  }

  private static func output(_ tool: String, _ arguments: [String]) throws -> [Substring] {
    let program = try #require(findTool(tool))
    return try run(program, arguments).outputText.split(separator: "\n")
  }
}

/// The standard frame of a function.
private struct FrameShape {
  typealias State = (cfa: String, saved: [String: String])
  /// At the call, and at each return.
  var outside: State
  /// The CFA behind the first instruction.
  var pushed: String
  /// Behind the second.
  var inside: State
  /// The two instructions, as objdump writes them.
  var first: String
  var second: String
  /// What stands between functions.
  private var filler: [String]

  init(_ architecture: Architecture) {
    switch architecture {
    case .x86_64:
      outside = ("rsp+8", ["ra": "c-8"])
      (pushed, inside) = ("rsp+16", ("rbp+16", ["rbp": "c-16", "ra": "c-8"]))
      (first, second) = ("push   %rbp", "mov    %rsp,%rbp")
      filler = ["int3"]
    case .aarch64:
      outside = ("sp+0", [:])
      (pushed, inside) = ("sp+16", ("x29+16", ["x29": "c-16", "ra": "c-8"]))
      (first, second) = ("stp\tx29, x30, [sp, #-16]!", "mov\tx29, sp")
      filler = ["brk\t#0x0"]
    }
  }

  func isFiller(_ text: Substring) -> Bool { filler.contains { text.contains($0) } }
}

@Suite struct UnwindTableTests {
  static let missing = ["readelf", "eu-readelf", "objdump", "aarch64-linux-gnu-objdump"].filter { findTool($0) == nil }

  @Test(
    "readelf and eu-readelf agree with what the compiler meant", .enabled(if: missing.isEmpty, "needs \(missing)"),
    arguments: GoldenTests.artifacts)
  func rows(name: String) throws {
    let text = try check(
      GoldenTests.folder.appending(path: "\(name).cwasm"), GoldenTests.settings(of: name).architecture)
    let golden = GoldenTests.folder.appending(path: "\(name).frames.txt")
    if GoldenTests.isUpdating { return try text.write(to: golden, atomically: true, encoding: .utf8) }
    #expect(try text == String(contentsOf: golden, encoding: .utf8), "see `git diff` after `make golden`")
  }

  @Test(
    "So they do for every shape of frame", .enabled(if: missing.isEmpty, "needs \(missing)"),
    arguments: [(Architecture.x86_64, CPUFeatures()), (.aarch64, CPUFeatures()), (.aarch64, .bti)])
  func shapes(architecture: Architecture, features: CPUFeatures) throws {
    let path = try RealPath()
    var settings = CompilerSettings()
    settings.architecture = architecture
    settings.cpuFeatures = features
    let text = try check(
      path.compile(wasm: Repository.testData.appending(path: "Unwind/frames.wasm"), settings: settings), architecture)
    #expect(text.contains("trampoline[10]::enter"))
  }

  /// Compares what there is to compare; returns all rows as text.
  private func check(_ artifact: URL, _ architecture: Architecture) throws -> String {
    let binutils = try FrameReader.binutils(artifact)
    let elfutils = try FrameReader.elfutils(artifact)
    #expect(binutils == elfutils)
    let (names, meant) = try FrameReader.instructions(artifact, architecture)
    // Code that has a name has a description, and the other way round.
    #expect(Set(names.keys) == Set(binutils.keys))
    for (address, rows) in meant { #expect(binutils[address] == rows, "\(names[address] ?? "?")") }

    return binutils.sorted { $0.key < $1.key }
      .map { "\(names[$0.key] ?? "?")\n" + $0.value.map { "\($0)\n" }.joined() }.joined()
  }
}
