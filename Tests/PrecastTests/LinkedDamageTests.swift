// Objects that are damaged, or made to say something else than their code does: linking never makes an artifact of them
// that `precast verify` would refuse, and says where the damage is.

import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastLoader
import PrecastMachineCode
import PrecastRuntime
import PrecastWasm
import TestSupport
import Testing

/// An object whose bytes can be changed by what they mean.
private struct PatchedObject {
  var bytes: [UInt8]

  struct Section {
    var header: Int
    var offset: Int
    var size: Int
  }

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func number(_ offset: Int, _ size: Int) -> Int {
    (0..<size).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
  }

  mutating func put(_ value: Int, _ size: Int, at offset: Int) {
    for byte in 0..<size { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
  }

  /// All sections, by `Elf64_Shdr`.
  var sections: [(name: String, type: Int, section: Section)] {
    let table = number(40, 8)
    let names = number(table + number(62, 2) * 64 + 24, 8)
    return (0..<number(60, 2)).map { index in
      let header = table + index * 64
      let name = names + number(header, 4)
      return (
        String(decoding: bytes[name...].prefix { $0 != 0 }, as: UTF8.self), number(header + 4, 4),
        Section(header: header, offset: number(header + 24, 8), size: number(header + 32, 8))
      )
    }
  }

  func section(_ name: String) throws -> Section {
    try #require(sections.first { $0.name == name }, "no \(name)").section
  }

  /// Makes a section one that is not there.
  mutating func remove(_ name: String) throws { put(0, 4, at: try section(name).header + 4) }

  /// Where the row of a symbol stands.
  func symbol(_ index: Int) throws -> Int { try section(".symtab").offset + 24 * index }

  func name(ofSymbol index: Int) throws -> String {
    let start = try section(".strtab").offset + number(symbol(index), 4)
    return String(decoding: bytes[start...].prefix { $0 != 0 }, as: UTF8.self)
  }

  /// The number of the first symbol whose name starts so.
  func symbol(named prefix: String) throws -> Int {
    for index in 1..<(try section(".symtab").size / 24) where try name(ofSymbol: index).hasPrefix(prefix) {
      return index
    }
    throw CocoaError(.featureUnsupported)
  }

  /// Gives two symbols each other's place in the table; whoever refers to them still means the same.
  mutating func exchange(_ a: Int, _ b: Int) throws {
    let (first, second) = (try symbol(a), try symbol(b))
    for byte in 0..<24 { bytes.swapAt(first + byte, second + byte) }
    for (_, type, section) in sections where type == 4 {
      for row in stride(from: section.offset, to: section.offset + section.size, by: 24) {
        let number = number(row + 12, 4)
        if number == a { put(b, 4, at: row + 12) } else if number == b { put(a, 4, at: row + 12) }
      }
    }
  }
}

@Suite struct LinkedDamageTests {
  private static func object(_ name: String) throws -> PatchedObject {
    let wasm =
      name == "hello"
      ? try Data(contentsOf: LoadInputs.helloWasm)
      : try Data(contentsOf: GoldenTests.folder.appending(path: "\(name).wasm"))
    return PatchedObject(try Compiler().compileObject(WasmBinary([UInt8](wasm))))
  }

  /// What linking says, to a file and in memory.
  private func error(_ object: PatchedObject) throws -> String {
    let linkable = LinkableObject(object.bytes, name: "a.o")
    let folder = try TemporaryDirectory()
    let file = folder.appending("a.cwasm")
    let toFile = #expect(throws: LoadError.self) {
      try ObjectLinking.link([linkable], toFile: file.path, durable: false)
    }
    #expect(!FileManager.default.fileExists(atPath: file.path))
    let inMemory = #expect(throws: LoadError.self) { try Module(engine: Engine(), linking: [linkable]) }
    #expect(toFile?.kind == .cannotLink && inMemory?.kind == .cannotLink)
    #expect(toFile?.message == inMemory?.message)
    return toFile?.message ?? ""
  }

  @Test(
    "A table that is missing is named", arguments: [".wasmtime.traps", ".rodata.wasm", ".wasmtime.info", ".eh_frame"])
  func missing(section: String) throws {
    var object = try Self.object("hello")
    try object.remove(section)
    let message = try error(object)
    #expect(message.hasPrefix("a.o: "))
    if section == ".wasmtime.info" {
      #expect(message == "a.o: a wasm module without its tables")
    } else if section == ".eh_frame" {
      #expect(message.contains("there is no .eh_frame"), "\(message)")
    } else {
      let what = section == ".rodata.wasm" ? "an extent lies outside the data image" : "the section is missing"
      #expect(message.contains("\(section)+0x0: \(what)"), "\(message)")
      #expect(message.hasSuffix("; make the object again with precast compile --emit object"))
    }
  }

  @Test("Without the list of its code, or without its record, a module cannot be linked")
  func noList() throws {
    var object = try Self.object("worked")
    try object.remove(".wasmtime.functions")
    #expect(try error(object).contains("no code of"))
    object = try Self.object("worked")
    try object.remove(".wasmtime.engine")
    #expect(try error(object).contains("a.o: a wasm module without its tables"))
  }

  @Test(
    "What may be left out when a module is compiled may be missing", arguments: [".wasmtime.addrmap", ".name.wasm"])
  func optional(section: String) throws {
    var object = try Self.object("worked")
    try object.remove(section)
    _ = try Module(engine: Engine(), linking: [LinkableObject(object.bytes, name: "a.o")])
  }

  @Test(
    "Tables about code that say something else than the code are damaged",
    arguments: [".wasmtime.traps", ".wasmtime.addrmap"])
  func codeTables(section: String) throws {
    let whole = try Self.object("hello")
    let table = try whole.section(section)
    let runs = whole.number(table.offset + 8, 4)
    let index = table.offset + whole.number(table.offset + 24, 4)
    let nominal = whole.number(index, 4)
    #expect(runs > 2)
    let changes: [(what: String, at: Int, size: Int, value: Int)] = [
      ("wrong magic number", table.offset, 4, 0),
      ("wrong kind of table", table.offset + 4, 4, 9),
      // One function's entries are not told of any more.
      ("the last run is not the end", table.offset + 8, 4, runs - 1),
      ("entries, and not", table.offset + 16, 8, whole.number(table.offset + 16, 8) + 1),
      ("run 1 is out of order", index + 8, 4, nominal),
      ("starts within function", index, 4, nominal + 1),
      ("no code at nominal text offset", index, 4, 0xFFFF_0000),
      ("does not follow the one before", index + 4, 4, 1),
    ]
    for (what, at, size, value) in changes {
      var object = whole
      object.put(value, size, at: at)
      let message = try error(object)
      #expect(message.hasPrefix("a.o: ") && message.contains(section) && message.contains(what), "\(what): \(message)")
    }
  }

  @Test("A module's functions are where its list says, and as large, or it is damaged")
  func functions() throws {
    let whole = try Self.object("hello")
    // The directory of tables starts at 32; functions are the fourth, and start with text offset and size (Docs/Format.md).
    let tables = try whole.section(".wasmtime.info").offset
    let info = tables + whole.number(tables + 32 + 3 * 8, 4)
    for (change, value) in [(0, 1), (4, 16), (4, 1 << 20)] {
      var object = whole
      object.put(object.number(info + change, 4) + value, 4, at: info + change)
      let message = try error(object)
      #expect(message.hasPrefix("a.o: ") && message.contains("damaged"), "\(change) \(value): \(message)")
    }
    let list = try whole.section(".wasmtime.functions").offset
    for (change, value) in [(8, 16), (12, -5), (12, 16), (12, 1 << 24)] {
      for row in [0, 3] {
        var object = whole
        let place = list + row * 16 + change
        object.put(object.number(place, 4) + value, 4, at: place)
        #expect(try error(object).contains("a.o"), "\(change) \(value)")
      }
    }
  }

  @Test("Symbols of a module's code have the names, places and sizes of what they are of")
  func symbols() throws {
    let whole = try Self.object("worked")
    let function = try whole.symbol(named: "wasm[0]::function[")
    let trampoline = try whole.symbol(named: "wasm[0]::trampoline[")
    for symbol in [function, trampoline] {
      let row = try whole.symbol(symbol)
      let name = try whole.name(ofSymbol: symbol)
      var changes: [(what: String, object: PatchedObject)] = []
      func change(_ what: String, _ offset: Int, _ size: Int, _ value: (Int) -> Int) {
        var object = whole
        object.put(value(object.number(row + offset, size)), size, at: row + offset)
        changes.append((what, object))
      }
      change("size", 16, 8) { $0 + 1 }
      change("size 0", 16, 8) { _ in 0 }
      change("huge size", 16, 8) { _ in -1 }
      change("type", 4, 1) { _ in 0 }
      change("name", 0, 4) { $0 + 1 }
      change("no name", 0, 4) { _ in 0 }
      change("the name of another", 0, 4) { _ in whole.number(row + 24, 4) }
      for (what, object) in changes {
        let message = try error(object)
        #expect(message.contains(".symtab+0x") && message.contains("a.o: "), "\(name) \(what): \(message)")
      }
    }
    // Its code is elsewhere then.
    var object = whole
    object.put(object.number(try whole.symbol(function) + 8, 8) + 1, 8, at: try whole.symbol(function) + 8)
    #expect(try error(object).contains("a.o: .wasmtime.functions has a row 0 for code at"))
  }

  @Test("The order of the symbols is of no importance")
  func order() throws {
    let whole = try Self.object("hello")
    let finished = try Module(engine: Engine(), linking: [LinkableObject(whole.bytes, name: "a.o")])
    let function = try whole.symbol(named: "wasm[0]::function[")
    let trampoline = try whole.symbol(named: "wasm[0]::trampoline[")
    for (a, b) in [(function, function + 1), (function, trampoline), (trampoline, trampoline + 1)] {
      var object = whole
      try object.exchange(a, b)
      let module = try Module(engine: Engine(), linking: [LinkableObject(object.bytes, name: "a.o")])
      try module.artifact.artifact.verify()
      #expect(module.exports == finished.exports)
    }
  }

  @Test("Unwind entries of code that is not there are an error")
  func unwind() throws {
    let whole = try Self.object("worked")
    let entries = try whole.section(".eh_frame")
    // The second entry is the first function's: its length, its distance to the common one, its size.
    let first = entries.offset + 4 + whole.number(entries.offset, 4)
    var object = whole
    object.put(0x00FF_FFFF, 4, at: first + 12)
    #expect(
      try error(object).contains(
        /^the objects' unwind tables do not describe their code: \.eh_frame\+0x.*outside the text/))
    object = whole
    object.put(0x7FFF_FFF0, 4, at: first)
    #expect(try error(object).contains("a.o: .eh_frame+0x"))
    object = whole
    object.put(20, 4, at: first + 4)
    #expect(try error(object).contains("a.o: .eh_frame+0x"))
  }

  private func loadError(_ body: () throws -> Void) -> LoadError? {
    do {
      try body()
      return nil
    } catch { return error as? LoadError }
  }

  @Test("Whatever is damaged, what comes of linking is sound", arguments: 0..<4)
  func random(seed: Int) throws {
    let whole = try Self.object(seed % 2 == 0 ? "worked" : "hello")
    // What the code itself does is not checked, and names may be any.
    let places = whole.sections.filter { ![".text", ".strtab", ".name.wasm", ".rodata.wasm"].contains($0.name) }
      .map { $0.section.offset..<$0.section.offset + $0.section.size }.filter { !$0.isEmpty }
    var random = Random(seed: UInt64(seed) + 1)
    var configuration = EngineConfiguration()
    configuration.verifiesArtifacts = true
    let engine = Engine(configuration: configuration)
    let folder = try TemporaryDirectory()
    var failures = 0
    for round in 0..<120 {
      var object = whole
      for _ in 0..<1 + round % 3 {
        let range = places[Int.random(in: 0..<places.count, using: &random)]
        object.bytes[Int.random(in: range, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      let linkable = LinkableObject(object.bytes, name: "a.o")
      let file = folder.appending("\(round).cwasm")
      if let error = loadError({ try ObjectLinking.link([linkable], toFile: file.path, durable: false) }) {
        #expect(error.kind == .cannotLink, "\(error)")
        failures += 1
      } else {
        let error = loadError { _ = try Module(engine: engine, deserializeFile: file.path) }
        // Settings may have become those of another host.
        #expect(error == nil || error?.kind == .incompatible, "\(error?.description ?? "")")
      }
    }
    #expect(failures > 40)
  }
}
