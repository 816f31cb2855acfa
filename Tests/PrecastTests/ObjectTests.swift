// Unlinked objects: what is in them, and what other people's tools make of them.
//
// The judge of what an object means is a finished artifact of the same module: the same code, the same functions calling the
// same functions.

import Foundation
import LargeModule
import PrecastCompiler
import PrecastWasm
import TestSupport
import Testing

@Suite struct ObjectTests {
  static let golden = ["fib", "worked"]
  static let demo = Repository.testData.appending(path: "demo/tracer.wasm")

  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  static func has(_ tools: String...) -> Bool { tools.allSatisfy { findTool($0) != nil } }

  private func binary(_ wasm: URL) throws -> WasmBinary { WasmBinary([UInt8](try Data(contentsOf: wasm))) }

  /// Compiles a module to an object of some name.
  private func object(
    _ wasm: URL, _ name: String = "a.o", sections: Bool = false, wide: Bool = false, threads: Int? = nil
  ) throws -> URL {
    var options = ObjectOptions()
    options.hasFunctionSections = sections
    options.hasWideUnwindTables = wide
    let file = directory.appending(name)
    try Compiler(threads: threads).compileObject(try binary(wasm), options: options, toFile: file.path)
    return file
  }

  /// Runs a tool that must have nothing to say, or only what `output` expects.
  @discardableResult
  private func use(_ tool: String, _ words: [String]) throws -> String {
    let result = try run(try #require(findTool(tool)), words, in: directory.url)
    #expect(result.status == 0 && result.errorText == "", "\(tool) \(words): \(result.errorText)")
    return result.outputText
  }

  // MARK: Bytes

  @Test("The object's bytes are the golden ones", arguments: golden, [false, true])
  func bytes(name: String, sections: Bool) throws {
    let made = try Data(
      contentsOf: object(GoldenTests.folder.appending(path: "\(name).wasm"), sections: sections))
    let file = GoldenTests.folder.appending(path: name + (sections ? ".sections.o" : ".o"))
    if GoldenTests.isUpdating { return try made.write(to: file) }
    #expect(try made == Data(contentsOf: file), "see `git diff` after `make golden`")
  }

  @Test("The same module gives the same bytes, with any number of threads", arguments: [false, true])
  func determinism(sections: Bool) throws {
    let first = try Data(contentsOf: object(Self.demo, sections: sections, threads: 1))
    for threads in [1, 2, 5] {
      #expect(try Data(contentsOf: object(Self.demo, sections: sections, threads: threads)) == first)
    }
    var options = ObjectOptions()
    options.hasFunctionSections = sections
    #expect(try Data(Compiler().compileObject(try binary(Self.demo), options: options)) == first)
  }

  // MARK: Contents

  @Test("Tables are those of the artifact, whose text is the nominal one", arguments: [false, true])
  func tables(sections: Bool) throws {
    let object = try ObjectFile(object(Self.demo, sections: sections))
    let artifact = ObjectFile(Data(try Compiler().compile(try binary(Self.demo))))
    #expect(object.type == 1)
    for name in [".wasmtime.info", ".wasmtime.addrmap", ".wasmtime.traps", ".rodata.wasm", ".name.wasm"] {
      // The bytes may contain offsets of the text: nominal ones are those of a text without islands.
      #expect(try #require(object[name]).bytes == #require(artifact[name]).bytes, "\(name)")
      #expect(object[name]?.flags == 2)
    }
    #expect(object[".wasmtime.checksums"] == nil)
    #expect(object[".note.gnu.build-id"] == nil)
    #expect(object[".note.GNU-stack"]?.bytes.isEmpty == true)
    #expect(object[".note.GNU-stack"]?.flags == 0)
    // The settings are the artifact's, the places are not.
    let record = try #require(object[".wasmtime.engine"]).bytes
    let finished = try #require(artifact[".wasmtime.engine"]).bytes
    let settings = 64..<64 + record.number(28, 4) * 16
    #expect(Data(record.dropFirst(64).prefix(settings.count)) == Data(finished.dropFirst(64).prefix(settings.count)))
    #expect(record.number(16, 8) == 0 && record.number(56, 4) == 0)
    let directory = record.number(32, 4)
    #expect((0..<record.number(36, 4)).allSatisfy { record.number(directory + $0 * 16, 8) == 0 })
  }

  @Test(
    "Every piece of code has a row, a symbol, an unwind entry, and in its section its code", arguments: [false, true])
  func pieces(sections: Bool) throws {
    let object = try ObjectFile(object(Self.demo, sections: sections))
    let artifact = ObjectFile(Data(try Compiler().compile(try binary(Self.demo))))
    let text = try #require(artifact[".text"])
    let rows = try #require(object[".wasmtime.functions"]).bytes
    let addresses = object.relocations(of: ".wasmtime.functions")
    let unwind = object.relocations(of: ".eh_frame")
    let symbols = object.symbols.dropFirst()
    #expect(rows.count == 16 * symbols.count && addresses.count == symbols.count && unwind.count == symbols.count)
    #expect(Set(symbols.map(\.name)).count == symbols.count)
    var end = 0
    for (row, symbol) in symbols.enumerated() {
      // R_X86_64_PC64, R_X86_64_PC32.
      #expect(addresses[row] == .init(offset: row * 16, type: 24, symbol: row + 1, addend: 0))
      #expect(unwind[row].type == 2 && unwind[row].symbol == row + 1 && unwind[row].addend == 0)
      let nominal = rows.number(row * 16 + 8, 4)
      let size = rows.number(row * 16 + 12, 4)
      #expect(nominal == (end + 15) / 16 * 16)
      end = nominal + size
      #expect(symbol.info == 2 && symbol.size == size && size > 0)
      #expect(symbol.value == (sections ? 0 : nominal))
      let section = object.sections[symbol.section]
      #expect(section.name == (sections ? ".text.\(symbol.name)" : ".text"))
      #expect(section.flags == 6 && section.alignment == 16)
      // The finished code, but for the calls, whose fields are zero.
      var code = Data(section.bytes.dropFirst(symbol.value).prefix(size))
      var finished = Data(text.bytes.dropFirst(nominal).prefix(size))
      for call in object.relocations(of: symbol.section) {
        let at = call.offset - symbol.value
        guard (0..<size).contains(at) else { continue }
        #expect(code.number(at, 4) == 0)
        for k in 0..<4 { (code[at + k], finished[at + k]) = (0, 0) }
      }
      #expect(code == finished, "\(symbol.name)")
    }
    // What the artifact calls them.
    let names = Set(artifact.symbols.map(\.name))
    #expect(symbols.allSatisfy { names.contains($0.name) })
  }

  @Test("Pointers of unwind tables have 64 bits where that is asked for")
  func wide() throws {
    let object = try ObjectFile(object(Self.demo, wide: true))
    let unwind = object.relocations(of: ".eh_frame")
    #expect(unwind.count == object.symbols.count - 1 && unwind.allSatisfy { $0.type == 24 })
  }

  // MARK: Tools

  /// Each direct call as the function it is in and what objdump says it calls.
  private func calls(_ listing: String, isObject: Bool) -> [String] {
    var calls: [String] = []
    var function = ""
    for line in listing.split(separator: "\n") {
      if line.hasSuffix(">:"), let name = line.firstIndex(of: "<") {
        function = String(line[line.index(after: name)...].dropLast(2))
      } else if isObject, let mark = line.range(of: "R_X86_64_PLT32\t") {
        calls.append("\(function) calls \(line[mark.upperBound...].replacing(/-0x4$/, with: ""))")
      } else if !isObject, let mark = line.firstRange(of: /call +[0-9a-f]+ </) {
        calls.append("\(function) calls \(line[mark.upperBound...].dropLast())")
      }
    }
    return calls
  }

  @Test(
    "objdump names the target of each call, and it is the artifact's",
    .enabled(if: has("objdump"), "objdump is not installed"), arguments: [false, true])
  func targets(sections: Bool) throws {
    let object = try object(Self.demo, sections: sections)
    let artifact = directory.appending("a.cwasm")
    try Compiler().compile(try binary(Self.demo), toFile: artifact.path)
    let wanted = calls(try use("objdump", ["-d", artifact.path]), isObject: false)
    let shown = calls(try use("objdump", ["-dr", object.path]), isObject: true)
    #expect(wanted.count > 300)
    #expect(shown == wanted)
  }

  @Test(
    "readelf, objdump, eu-elflint, ld -r and gcc take objects without a word",
    .enabled(if: has("readelf", "objdump", "eu-elflint", "ld", "gcc"), "needs binutils, elfutils and gcc"),
    arguments: [(false, false), (true, false), (false, true)])
  func acceptance(sections: Bool, wide: Bool) throws {
    let object = try object(Self.demo, sections: sections, wide: wide)
    try "int main(void) { return 7; }\n".write(to: directory.appending("m.c"), atomically: true, encoding: .utf8)
    try use("ld", ["-r", object.path, "-o", "r.o"])
    try use("gcc", ["-shared", object.path, "-o", "whole.so"])
    try use("gcc", ["-shared", "r.o", "-o", "again.so"])
    try use("gcc", ["m.c", object.path, "-o", "program"])
    for file in ["a.o", "r.o", "whole.so", "again.so", "program"] {
      // Warnings go to standard error, which `use` wants to be empty.
      #expect(!(try use("readelf", ["-aW", file])).contains("<corrupt"), "\(file)")
      try use("objdump", ["-dr", file])
    }
    for file in ["a.o", "r.o"] { #expect(try use("eu-elflint", ["--gnu-ld", file]) == "No errors\n") }
    #expect(try run(directory.appending("program"), []).status == 7)

    // Linked, with and without `ld -r` before: rows lead to the functions they are of, unwind entries cover them.
    let before = try ObjectFile(object)
    for file in ["whole.so", "again.so", "program"] {
      let linked = try ObjectFile(directory.appending(file))
      let rows = try #require(linked[".wasmtime.functions"])
      #expect(rows.bytes.count == 16 * (before.symbols.count - 1))
      let symbols = Dictionary(
        linked.symbols.filter { $0.name.hasPrefix("wasm[0]::") }.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
      var frames: Set<String> = []
      for line in try use("readelf", ["--debug-dump=frames", file]).split(separator: "\n") {
        if let range = line.split(separator: "pc=").dropFirst().first { frames.insert(String(range)) }
      }
      for (row, symbol) in before.symbols.dropFirst().enumerated() {
        let place = try #require(symbols[symbol.name])
        #expect(rows.address + row * 16 + rows.bytes.number(row * 16, 8) == place.value, "\(file): \(symbol.name)")
        #expect(rows.bytes.number(row * 16 + 12, 4) == place.size)
        #expect(
          frames.contains(String(format: "%016lx..%016lx", place.value, place.value + place.size)),
          "\(file): \(symbol.name)")
      }
    }
  }

  @Test(
    "More sections than 16 bits can count make an object that all tools take",
    .enabled(if: has("readelf", "eu-elflint", "ld"), "needs binutils and elfutils"))
  func manySections() throws {
    let count = 66_000
    let wasm = directory.appending("many.wasm")
    try Data(LargeModule(functionCount: count).wasm()).write(to: wasm)
    let object = try object(wasm, sections: true)
    let read = try ObjectFile(object)
    #expect(read.sections.count > 0xFF00 && read[".symtab_shndx"] != nil)
    #expect(try use("eu-elflint", ["--gnu-ld", object.path]) == "No errors\n")
    #expect(try use("readelf", ["-hW", object.path]).contains("0 (\(read.sections.count))"))
    try use("ld", ["-r", object.path, "-o", "r.o"])
    let functions = read.symbols.filter { $0.name.hasPrefix("wasm[0]::function[") }
    #expect(functions.count >= count)
    for symbol in functions {
      guard read.sections[symbol.section].name == ".text.\(symbol.name)" else {
        Issue.record("\(symbol.name) is in \(read.sections[symbol.section].name)")
        break
      }
    }
    let again = try ObjectFile(directory.appending("r.o"))
    #expect(again.symbols.count(where: { $0.name.hasPrefix("wasm[0]::function[") }) == functions.count)
    #expect(again.relocations(of: ".wasmtime.functions").count == read.symbols.count - 1)
  }
}
