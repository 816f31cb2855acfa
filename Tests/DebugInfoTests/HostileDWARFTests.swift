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

    var wasm = [UInt8](try Data(contentsOf: Place.guests.appendingPathComponent("traps-O0.wasm")))
    // Its own is under other names now.
    for name in [".debug_abbrev", ".debug_info", ".debug_line", ".debug_ranges"] {
      wasm[try contents(name, in: wasm) - 1] = UInt8(ascii: "_")
    }
    for (name, bytes) in [(".debug_abbrev", abbreviations), (".debug_info", info)] {
      let section = [UInt8(name.utf8.count)] + Array(name.utf8) + bytes
      wasm.append(0)
      for group in 0..<5 {
        wasm.append(UInt8(truncatingIfNeeded: section.count >> (7 * group)) & 0x7F | (group < 4 ? 0x80 : 0))
      }
      wasm += section
    }
    let scratch = try Scratch()
    let path = scratch.path("deep.cwasm")
    var settings = CompilerSettings()
    settings.debugInfo = true
    try Compiler(settings: settings).compile(WasmBinary(wasm), toFile: path)
    let artifact = try LoadedArtifact(path: path)
    let (_, codeStart) = artifact.symbolizer.tables(of: artifact)
    // The function, without a name.
    let positions = artifact.sourcePositions(ofWasmOffset: Int(codeStart) + 100)
    #expect(positions.count == 1 && positions.first?.isInlined == false)
  }
}
