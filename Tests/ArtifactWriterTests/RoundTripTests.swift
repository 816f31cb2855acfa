// What was put into an artifact comes out of it.

import CPrecastHost
import PrecastArtifact
import PrecastWasm
import PrecastVerification
import Testing

@testable import PrecastArtifactWriter

@Suite struct RoundTripTests {
  @Test func headerDescribesTheFile() throws {
    let bytes = try TestModule.everything().artifact()
    try withArtifact(bytes) { (artifact: Artifact) throws in
      let header = artifact.header
      #expect(header.fileSize == UInt64(bytes.count))
      #expect(header.record.compilerName == "precast-test")
      #expect(header.record.compilerVersion == "1.2.3")
      #expect(header.record.settings == CompilerSettings())
      #expect(header.text.offset == 4096 && header.text.size == 4096)
      #expect(header.extent(of: .ehFrame).offset == header.text.end)
      #expect(header.extent(of: .dataImage).offset % 4096 == 0)
      #expect(header.buildID == bytes.withUnsafeBytes { BuildID.digest(of: $0) })
    }
  }

  @Test func moduleComesBack() throws {
    let test = try TestModule.everything()
    let module = test.module
    try withArtifact(try test.artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      #expect(info.typeCount == 4)
      for index in 0..<4 { #expect(try info.type(index) == module.types[index]) }
      #expect(try info.firstEqualType(3) == 1)
      #expect(info.functionCount == 5 && info.importedFunctionCount == 1)
      for index in 0..<5 { #expect(try info.typeIndex(function: index) == Int(module.functions[index])) }
      for index in 0..<4 {
        let function = try info.definedFunction(index)
        #expect(Int(function.wasmOffset) == module.bodies[index].body.lowerBound)
        #expect(try info.definedFunction(containing: function.textOffset) == index)
        #expect(try info.definedFunction(containing: function.textOffset + function.size - 1) == index)
        #expect(try info.definedFunction(containing: function.textOffset + function.size) == nil)
      }
      #expect(info.start == 2)
      #expect(info.importCount == 3)
      #expect(try info.importEntry(0).descriptor == .function(typeIndex: 0))
      #expect(try info.importEntry(1).descriptor == .global(GlobalType(value: .i32, isMutable: false)))
      let table = try info.importEntry(2)
      #expect(table.module == "env" && table.name == "shared table")
      #expect(table.descriptor == .table(TableType(element: .funcref, limits: Limits(minimum: 4, maximum: 8))))
      #expect(try info.memory(0) == MemoryType(limits: Limits(minimum: 20, maximum: 100)))
      #expect(info.tableCount == 3 && info.importedTableCount == 1)
      #expect(try info.table(1) == module.tables[1])
      #expect(try info.table(2) == module.tables[2])
      #expect(info.globalCount == 8 && info.importedGlobalCount == 1)
      for index in 0..<8 {
        let global = try info.global(index)
        #expect(global.type == module.globals[index])
        let expected = index == 0 ? [] : Array(module.instructions(of: module.globalInitializers[index - 1]))
        #expect(try global.initializer.map { try info.constant($0) } == expected)
      }
      let layout = info.contextLayout
      #expect(layout.importedMemories == 0 && layout.importedTables == 1 && layout.importedGlobals == 1)
      #expect(layout.size == layout.importedFunctionsOffset + 16)
    }
  }

  @Test func exportsAreFoundByName() throws {
    let test = try TestModule.everything()
    try withArtifact(try test.artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      #expect(info.exportCount == 7)
      for export in test.module.exports {
        let found = try #require(try info.export(named: export.name))
        #expect(found.kind == export.kind && found.index == export.index)
      }
      for absent in ["alph", "alphabets", "zzz", "a", "\u{0}", "mémoire"] {
        #expect(try info.export(named: absent) == nil)
      }
      #expect(try info.exportsInDeclarationOrder().map(\.name) == test.module.exports.map(\.name))
      let sorted = try (0..<7).map { try info.export($0).name }
      #expect(sorted == ["", "alpha", "alphabet", "global", "memory", "table", "zeta"])
    }
  }

  @Test func trampolinesAreThereForTypesThatHaveThem() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      let entry = try #require(try info.entryTrampoline(type: 0))
      #expect(try info.exitTrampoline(type: 0) == CodeRange(textOffset: entry.textOffset + 16, size: 16))
      #expect(try info.entryTrampoline(type: 1) == CodeRange(textOffset: entry.textOffset + 32, size: 16))
      #expect(try info.exitTrampoline(type: 1) == nil)
      #expect(try info.entryTrampoline(type: 3) == nil)
    }
  }

  @Test func elementSegmentsAreImagesUntilOneMayTrap() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      let segments = try (0..<info.elementSegmentCount).map { try info.elementSegment($0) }
      #expect(segments.map(\.mode) == [.active, .inImage, .inImage, .passive, .declarative, .passive, .active])
      #expect(segments[6].table == 1)
      #expect(try segments[6].offset.map { try info.constant($0) } == [.globalGet(0)])
      guard case .functions(let first) = segments[1].items, case .expressions(let list) = segments[5].items else {
        Issue.record("kinds of items changed")
        return
      }
      #expect(try first.map { try info.elementFunction($0) } == [1, 2, 3])
      let expressions = try list.map { try info.elementExpression($0).map { try info.constant($0) } }
      #expect(expressions == [[.refFunction(1)], [.refNull(.funcref)]])
      let rows = try info.tableImage(1).map { try info.tableImageRow($0) }
      #expect(rows.map(\.element) == [3, 7] && rows.map(\.count) == [3, 1])
      #expect(try info.elementFunction(Int(rows[1].firstFunction)) == 0)
      #expect(try info.tableImage(0).isEmpty && info.tableImage(2).isEmpty)
    }
  }

  /// The last element segment's offset is imported, so the module may trap before any data segment.
  @Test func dataAfterASegmentThatMayTrapIsCopied() throws {
    let test = try TestModule.everything()
    try withArtifact(try test.artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      let segments = try (0..<4).map { try info.dataSegment($0) }
      #expect(segments.map(\.mode) == [.active, .active, .passive, .active])
      #expect(try info.memoryImage(0).isEmpty)
      for (index, segment) in segments.enumerated() {
        let expected = test.binary.bytes(test.module.data[index].bytes)
        #expect(try artifact.bytes(of: segment).copyBytes() == expected)
      }
      #expect(try segments[3].offset.map { try info.constant($0) } == [.i32Const(1_000_000)])
    }
  }

  @Test func dataIsLaidOutAsTheMemoryWillLook() throws {
    var wasm = WasmBuilder()
    wasm.section(5, [[0x00, 20]])
    wasm.section(
      11,
      [
        [0] + TestModule.i32Const(1024) + WasmBuilder.name("hello, world"),
        [0] + TestModule.i32Const(1026) + WasmBuilder.name("LL"), [1] + WasmBuilder.name("passive"),
        [0] + TestModule.i32Const(1_000_000) + WasmBuilder.name("far away"),
        [0] + TestModule.i32Const(4095) + WasmBuilder.name("across"),
        [0] + TestModule.i32Const(20 * 65536) + WasmBuilder.name(""),
        [0] + TestModule.i32Const(20 * 65536) + WasmBuilder.name("x"),
        [0] + TestModule.i32Const(0) + WasmBuilder.name("too late"),
      ])
    let test = try TestModule(wasm.bytes)
    let bytes = try test.artifact()
    try withArtifact(bytes) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      let modes = try (0..<8).map { try info.dataSegment($0).mode }
      #expect(modes == [.inImage, .inImage, .passive, .inImage, .inImage, .inImage, .active, .active])
      var memory = [UInt8](repeating: 0, count: 20 * 65536)
      let extents = try info.memoryImage(0).map { try info.imageExtent($0) }
      #expect(extents.map(\.memoryOffset) == [0, 999_424] && extents.map(\.size) == [8192, 4096])
      for extent in extents {
        let file = Int(try artifact.fileOffset(of: extent))
        #expect(file % 4096 == 0)
        memory.replaceSubrange(
          Int(extent.memoryOffset)..<Int(extent.memoryOffset + extent.size), with: bytes[file..<file + Int(extent.size)]
        )
      }
      var expected = [UInt8](repeating: 0, count: 20 * 65536)
      for (at, text) in [(1024, "hello, world"), (1026, "LL"), (1_000_000, "far away"), (4095, "across")] {
        expected.replaceSubrange(at..<at + text.utf8.count, with: text.utf8)
      }
      #expect(memory == expected)
      #expect(try artifact.bytes(of: info.dataSegment(2)).copyBytes() == Array("passive".utf8))
      #expect(try artifact.bytes(of: info.dataSegment(6)).copyBytes() == Array("x".utf8))
    }
  }

  @Test func strewnSegmentsMakeNoImage() throws {
    var wasm = WasmBuilder()
    wasm.section(5, [[0x00] + WasmBuilder.leb(1000)])
    wasm.section(11, (0..<200).map { [0] + TestModule.i32Const($0 * 300_000) + WasmBuilder.name("x") })
    let test = try TestModule(wasm.bytes)
    try withArtifact(try test.artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      #expect(try info.memoryImage(0).isEmpty)
      #expect(try (0..<200).allSatisfy { try info.dataSegment($0).mode == .active })
    }
  }

  @Test func overlappingElementSegmentsMakeNoImage() throws {
    var wasm = WasmBuilder()
    wasm.section(1, [[0x60, 0, 0]])
    wasm.section(3, [[0], [0]])
    wasm.section(4, [[0x70, 0x00, 10]])
    wasm.section(9, [[0] + TestModule.i32Const(0) + [2, 0, 1], [0] + TestModule.i32Const(1) + [2, 0, 1]])
    wasm.section(10, [[2, 0, 0x0B], [2, 0, 0x0B]])
    let test = try TestModule(wasm.bytes)
    try withArtifact(try test.artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      #expect(try info.tableImage(0).isEmpty)
      #expect(try info.elementSegment(0).mode == .active && info.elementSegment(1).mode == .active)
    }
  }

  @Test func namesComeBack() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      let names = try #require(try artifact.names())
      #expect(try names.moduleName() == "mod")
      let functions = try (0..<5).map { try names.function($0) }
      #expect(functions == ["host", "zeta", nil, "gamma::fn", "a\u{0}b"])
      #expect(try names.function(5) == nil && names.function(-1) == nil)
    }
  }

  @Test func codeOffsetsLeadToWasmOffsetsAndTrapCodes() throws {
    let test = try TestModule.everything()
    let bytes = try test.artifact()
    try withArtifact(bytes) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      let map = try #require(try artifact.addressMap())
      let traps = try artifact.trapTable()
      let section = try #require(try artifact.section(.traps))
      for index in 0..<4 {
        let function = try info.definedFunction(index)
        #expect(try map.wasmOffset(functionTextOffset: function.textOffset, codeOffset: 3) == nil)
        for site in 0...index {
          let offset = UInt32(4 + site * 2)
          let wasm = try map.wasmOffset(functionTextOffset: function.textOffset, codeOffset: offset + 1)
          #expect(wasm == function.wasmOffset + 1 + UInt32(site))
          #expect(try traps.code(textOffset: function.textOffset + offset) == TrapCode.unreachable.rawValue)
          #expect(try traps.code(textOffset: function.textOffset + offset + 1) == nil)
          let code = precast_trap_lookup(section.baseAddress, section.count, UInt64(function.textOffset + offset), nil)
          #expect(code == TrapCode.unreachable.rawValue)
          // The code itself: ud2 at its place in the file.
          let file = Int(artifact.header.text.offset) + Int(function.textOffset + offset)
          #expect(bytes[file] == 0x0F && bytes[file + 1] == 0x0B)
        }
        // Gaps trap.
        let end = Int(artifact.header.text.offset) + Int(function.textOffset + function.size)
        #expect(end % 16 == 0 || bytes[end] == 0xCC)
      }
    }
  }

  @Test func theAddressMapCanBeLeftOut() throws {
    var settings = CompilerSettings()
    settings.addressMap = false
    let bytes = try TestModule.everything().artifact(settings: settings)
    try withArtifact(bytes) { (artifact: Artifact) throws in
      #expect(try artifact.addressMap() == nil)
      #expect(artifact.header.record.settings.addressMap == false)
    }
  }

  @Test func theEmptyModuleIsAnArtifactToo() throws {
    let test = try TestModule(WasmBuilder().bytes)
    try withArtifact(try test.artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      #expect(info.functionCount == 0 && info.start == nil)
      #expect(try artifact.names() == nil)
    }
  }

  @Test func theSameInputGivesTheSameBytes() throws {
    let first = try TestModule.everything().artifact()
    let second = try TestModule.everything().artifact()
    #expect(first == second)
  }

  @Test func inconsistentInputIsRefused() throws {
    let test = try TestModule.everything()
    try test.withInput { (input: ArtifactInput) throws in
      var broken = input
      broken.functions.removeLast()
      #expect(throws: ArtifactWriterError.self) { try ArtifactWriter.bytes(broken) }
      broken = input
      broken.functions.swapAt(0, 1)
      #expect(throws: ArtifactWriterError.self) { try ArtifactWriter.bytes(broken) }
      broken = input
      broken.textSize = 3
      #expect(throws: ArtifactWriterError.self) { try ArtifactWriter.bytes(broken) }
      broken = input
      broken.text.swapAt(0, 1)
      #expect(throws: ArtifactWriterError.self) { try ArtifactWriter.bytes(broken) }
    }
  }
}
