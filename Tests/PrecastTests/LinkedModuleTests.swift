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
}
