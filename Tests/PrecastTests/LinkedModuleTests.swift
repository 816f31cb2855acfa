// Modules from objects: the same as from a finished artifact, wherever the linker has put the code.

import Foundation
import LargeModule
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastLoader
import PrecastMachineCode
import PrecastRuntime
import PrecastWasm
import TestSupport
import Testing

@Suite struct LinkedModuleTests {
  static let names = ["fib", "worked", "linked", "hello", "large"]

  private func wasm(_ name: String) throws -> WasmBinary {
    switch name {
    case "hello": WasmBinary([UInt8](try Data(contentsOf: LoadInputs.helloWasm)))
    case "large": WasmBinary(LargeModule(functionCount: 2_000).wasm())
    default: WasmBinary([UInt8](try Data(contentsOf: GoldenTests.folder.appending(path: "\(name).wasm"))))
    }
  }

  private func object(_ name: String, sections: Bool = false) throws -> LinkableObject {
    var options = ObjectOptions()
    options.hasFunctionSections = sections
    return LinkableObject(try Compiler().compileObject(try wasm(name), options: options), name: "\(name).o")
  }

  // As everybody wants it; every call through a veneer; functions apart; islands between functions.
  static let layouts: [LinkLayout] = {
    var forced = TextSectionOptions()
    forced.testing.forceVeneers = true
    var padded = TextSectionOptions()
    padded.testing.padding = 4096
    var narrow = TextSectionOptions()
    narrow.testing.reach = 24_000
    return [LinkLayout(), LinkLayout(text: forced), LinkLayout(text: padded), LinkLayout(text: narrow)]
  }()

  @Test("Linking one object gives the finished artifact, byte for byte", arguments: names, [false, true])
  func sameBytes(name: String, sections: Bool) throws {
    let folder = try TemporaryDirectory()
    let file = folder.appending("linked.cwasm")
    try ObjectLinking.link([try object(name, sections: sections)], toFile: file.path, durable: false)
    #expect(try [UInt8](Data(contentsOf: file)) == Compiler().compile(try wasm(name)))
    #expect(try ELFTools.complaints(about: [file]).isEmpty)
  }

  @Test("What is linked is a whole artifact, wherever code has gone", arguments: names, layouts.indices)
  func verified(name: String, layout: Int) throws {
    let object = try object(name)
    let folder = try TemporaryDirectory()
    let file = folder.appending("linked.cwasm")
    try ObjectLinking.link([object], toFile: file.path, durable: false, layout: Self.layouts[layout])
    var configuration = EngineConfiguration()
    configuration.verifiesArtifacts = true
    let module = try Module(engine: Engine(configuration: configuration), deserializeFile: file.path)
    #expect(try ELFTools.complaints(about: [file]).isEmpty)

    let inMemory = try Module(engine: Engine(), linking: [object], layout: Self.layouts[layout])
    try inMemory.artifact.artifact.verify()
    #expect(inMemory.exports == module.exports)
    // Nothing that a compiler made of wasm knows where it is, without veneers for far targets.
    if layout == 0 { #expect(try inMemory.serialize() == [UInt8](Data(contentsOf: file))) }
  }

  @Test("Equal types share their trampolines in what is linked", arguments: [false, true])
  func equalTypes(sections: Bool) throws {
    // (type (func (result i32))) twice, a function of each: "a" gives 1, "b" 2.
    let wasm: [UInt8] = [
      0x00, 0x61, 0x73, 0x6D, 1, 0, 0, 0, 1, 9, 2, 0x60, 0, 1, 0x7F, 0x60, 0, 1, 0x7F, 3, 3, 2, 0, 1,
      7, 9, 2, 1, 0x61, 0, 0, 1, 0x62, 0, 1, 10, 11, 2, 4, 0, 0x41, 1, 0x0B, 4, 0, 0x41, 2, 0x0B,
    ]
    var options = ObjectOptions()
    options.hasFunctionSections = sections
    let object = try Compiler().compileObject(WasmBinary(wasm), options: options)
    let module = try Module(engine: Engine(), linking: [LinkableObject(object, name: "types.o")])
    try module.artifact.artifact.verify()
    let instance = try module.instantiate(store: Store(engine: module.engine), imports: Imports())
    for (name, value) in [("a", UInt32(1)), ("b", 2)] {
      #expect(try instance.exports[function: name]?.invoke([]).map(\.description) == ["\(Value.i32(value))"])
    }
  }

  @Test("Tables about code say the same of every instruction, wherever code has gone", arguments: layouts.indices)
  func tables(layout: Int) throws {
    let module = try Module(engine: Engine(), linking: [try object("hello")], layout: Self.layouts[layout])
    let finished = try Module(engine: Engine(), deserialize: Compiler().compile(try wasm("hello")))
    let info = try module.artifact.moduleInfo()
    let finishedInfo = try finished.artifact.moduleInfo()
    let map = try #require(try module.artifact.artifact.addressMap())
    let finishedMap = try #require(try finished.artifact.artifact.addressMap())
    let traps = try module.artifact.artifact.trapTable()
    let finishedTraps = try finished.artifact.artifact.trapTable()
    var moved = 0
    for index in 0..<info.definedFunctionCount {
      let function = try info.definedFunction(index)
      let other = try finishedInfo.definedFunction(index)
      #expect(function.size == other.size)
      if function.textOffset != other.textOffset { moved += 1 }
      #expect(
        try map.entries(functionTextOffset: function.textOffset)
          == finishedMap.entries(functionTextOffset: other.textOffset))
      #expect(
        try traps.entries(functionTextOffset: function.textOffset)
          == finishedTraps.entries(functionTextOffset: other.textOffset))
    }
    #expect(layout < 2 ? moved == 0 : moved > 0)
  }

  @Test("An object where an artifact belongs, and one of another machine, get a message that helps")
  func messages() throws {
    let folder = try TemporaryDirectory()
    let file = folder.appending("fib.o")
    var bytes = try Compiler().compileObject(try wasm("fib"))
    try Data(bytes).write(to: file)
    let loading = #expect(throws: LoadError.self) { try Module(engine: Engine(), deserializeFile: file.path) }
    #expect(loading?.kind == .notAnArtifact && loading?.message.contains("Module(engine:linking:)") == true)

    // EM_AARCH64.
    bytes[18] = 183
    let object = LinkableObject(bytes, name: "fib.o")
    for load in [{ try LoadedArtifact(linking: [object]) }, { try LoadedObjects([object]).artifact }] {
      let error = #expect(throws: LoadError.self) { try load() }
      #expect(error?.kind == .cannotLink && error?.message == "fib.o was built for AArch64, and this is x86-64")
    }
    let nothing = #expect(throws: LoadError.self) { try Module(engine: Engine(), linking: []) }
    #expect(nothing?.kind == .cannotLink)
    let finished = LinkableObject(try Compiler().compile(try wasm("fib")), name: "fib.cwasm")
    let wrong = #expect(throws: LoadError.self) { try Module(engine: Engine(), linking: [finished]) }
    #expect(wrong?.kind == .cannotLink && wrong?.message.contains("fib.cwasm") == true)
    let two = #expect(throws: LoadError.self) {
      try Module(engine: Engine(), linking: [try self.object("fib"), try self.object("worked")])
    }
    #expect(two?.message.contains("wasm module") == true, "\(two?.message ?? "")")
  }

  @Test("A section that asks for relocation is refused by its type")
  func relocationSections() throws {
    let bytes = try Compiler().compile(try wasm("fib"))
    let headers = Int(bytes[40]) | Int(bytes[41]) << 8 | Int(bytes[42]) << 16
    for (type, name) in [(4, "SHT_RELA"), (6, "SHT_DYNAMIC"), (9, "SHT_REL"), (19, "SHT_RELR")] {
      // Every section, one at a time.
      for index in 1..<Int(bytes[60]) {
        var changed = bytes
        changed[headers + index * 64 + 4] = UInt8(type)
        let error = #expect(throws: ArtifactError.self) {
          try changed.withUnsafeBytes { bytes in
            try Artifact(ByteRegion(base: bytes.baseAddress!, count: bytes.count)).checkSectionHeaders()
          }
        }
        #expect(error?.message.contains(name) == true)
      }
    }
  }

  @Test("Broken objects get an error, or load; neither mappings nor descriptors stay behind")
  func broken() async {
    await #expect(processExitsWith: .success) {
      func descriptors() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
      // Executable pages, and pages of files in memory: the heap may grow as it likes.
      func mappings() throws -> Int {
        try String(contentsOfFile: "/proc/self/maps", encoding: .utf8).split(separator: "\n")
          .count { $0.contains(" r-xp ") || $0.contains("memfd:") || $0.contains(" ---p ") }
      }
      let wasm = WasmBinary(
        [UInt8](try Data(contentsOf: GoldenTests.folder.appending(path: "worked.wasm"))))
      let whole = try Compiler().compileObject(wasm)
      _ = try LoadedArtifact(linking: [LinkableObject(whole, name: "a.o")])
      _ = try? LoadedArtifact(linking: [LinkableObject([], name: "a.o")])
      let before = (try descriptors(), try mappings())
      var random = Random(seed: 4)
      var failures = 0
      for round in 0..<400 {
        var bytes = whole
        if round % 4 == 0 {
          bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
        } else {
          for _ in 0..<1 + round % 7 {
            let place = Int.random(in: 0..<bytes.count, using: &random)
            bytes[place] = UInt8.random(in: 0...255, using: &random)
          }
        }
        do throws(LoadError) {
          _ = try LoadedArtifact(linking: [LinkableObject(bytes, name: "a.o")])
        } catch {
          failures += 1
        }
      }
      let after = (try descriptors(), try mappings())
      if failures < 100 || after != before {
        FileHandle.standardError.write(Data("\(failures) failures, \(before), \(after)\n".utf8))
        exit(1)
      }
    }
  }
}
