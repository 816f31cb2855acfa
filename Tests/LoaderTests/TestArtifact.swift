// A complete artifact around the code of `CLoaderTestCode`, made by the real writer.

import CLoaderTestCode
import Foundation
import PrecastArtifact
import PrecastArtifactWriter
import PrecastMachineCode
import PrecastWasm
import TestSupport
import Testing

/// A module of functions (i64, i64) -> i64 with the test code as what they were compiled to.
enum TestArtifact {
  /// The functions in the order of the text, which is that of the module; an imported function is before them.
  nonisolated(unsafe) static let functions:
    [(name: String, start: UnsafeRawPointer, sites: [(UnsafeRawPointer, TrapCode)])] = [
      ("add", Label.add, []),
      ("unreachable", Label.unreachable, [(Label.unreachableSite, .unreachable)]),
      ("clobber", Label.clobber, [(Label.clobberSite, .unreachable)]),
      ("load", Label.load, [(Label.loadSite, .memoryOutOfBounds)]),
      ("spin", Label.spin, [(Label.spinSite, .memoryOutOfBounds)]),
      ("load_unlisted", Label.loadUnlisted, []),
      ("divide", Label.divide, [(Label.divideSite, .integerDivideByZero)]),
      ("recurse", Label.recurse, [(Label.recurseOverflowSite, .stackOverflow)]),
      ("call_host", Label.callHost, []),
      ("damage", Label.damage, [(Label.damageSite, .unreachable)]),
    ]

  /// The index of a function in the index space.
  static func index(_ name: String) -> Int { 1 + functions.firstIndex { $0.name == name }! }

  static func textOffset(_ label: UnsafeRawPointer) -> UInt32 { UInt32(label - Label.textStart) }

  /// Bytes of the data image: where the module puts them in its memory.
  static let data = Array("cast in advance, set in place".utf8)
  static let dataOffset = 70_000

  /// A module with an import, one memory of two pages with data (unless `data` is empty), and the functions.
  static func wasm(data: [UInt8] = data) -> [UInt8] {
    func leb(_ value: Int) -> [UInt8] {
      var rest = value
      var bytes: [UInt8] = []
      repeat {
        bytes.append(UInt8(rest & 0x7F) | (rest > 0x7F ? 0x80 : 0))
        rest >>= 7
      } while rest != 0
      return bytes
    }
    func signed(_ value: Int) -> [UInt8] {
      // Positive numbers: one more byte where bit 6 would look like a sign.
      var bytes = leb(value)
      if bytes.last! & 0x40 != 0 {
        bytes[bytes.count - 1] |= 0x80
        bytes.append(0)
      }
      return bytes
    }
    func name(_ text: String) -> [UInt8] { leb(text.utf8.count) + Array(text.utf8) }
    func vector(_ items: [[UInt8]]) -> [UInt8] { leb(items.count) + items.flatMap { $0 } }
    func section(_ id: UInt8, _ contents: [UInt8]) -> [UInt8] { [id] + leb(contents.count) + contents }
    var bytes: [UInt8] = [0, 0x61, 0x73, 0x6D, 1, 0, 0, 0]
    bytes += section(1, vector([[0x60, 2, 0x7E, 0x7E, 1, 0x7E]]))
    bytes += section(2, vector([name("env") + name("host") + [0, 0]]))
    bytes += section(3, vector(functions.map { _ in [0] }))
    bytes += section(5, vector([[0, 2]]))
    bytes += section(7, vector(functions.enumerated().map { name($1.name) + [0] + leb($0 + 1) }))
    bytes += section(10, vector(functions.map { _ in [4, 0, 0x20, 0, 0x0B] }))
    if !data.isEmpty {
      bytes += section(11, vector([[0, 0x41] + signed(dataOffset) + [0x0B] + leb(data.count) + data]))
    }
    return bytes
  }

  /// The artifact's bytes. Each function's only entry in the address map is its first instruction.
  static func make(data: [UInt8] = data, settings: CompilerSettings = CompilerSettings()) throws -> [UInt8] {
    let bytes = try withInput(data: data, settings: settings) { try ArtifactWriter.bytes($0) }
    #expect(relocations(inArtifact: bytes) == [])
    return bytes
  }

  /// The artifact in a new file, whose path is given to `body` and which is gone afterwards.
  static func withFile<R>(data: [UInt8] = data, _ body: (String) throws -> R) throws -> R {
    let path = NSTemporaryDirectory() + "/precast-loader-\(UUID().uuidString).cwasm"
    defer { unlink(path) }
    try withInput(data: data, settings: CompilerSettings()) { try ArtifactWriter.write($0, toFile: path) }
    #expect(try relocations(inArtifact: Data(contentsOf: URL(fileURLWithPath: path))) == [])
    return try body(path)
  }

  private static func withInput<R>(
    data: [UInt8], settings: CompilerSettings, _ body: (ArtifactInput) throws -> R
  ) throws -> R {
    let binary = WasmBinary(wasm(data: data))
    let module = try WasmModule(decoding: binary)
    var input = ArtifactInput(
      record: CompatibilityRecord(compilerName: "loader tests", compilerVersion: "1", settings: settings),
      module: module, binary: binary)
    let size = Label.textEnd - Label.textStart
    input.text = [TextPiece(textOffset: 0, base: Label.textStart, count: size)]
    input.textSize = UInt64(size)
    let ends = functions.dropFirst().map(\.start) + [Label.textEnd]
    input.functions = zip(functions, ends).map { function, end in
      CodeRange(textOffset: textOffset(function.start), size: UInt32(end - function.start))
    }
    input.trampolines = [
      TypeTrampolines(
        entry: CodeRange(textOffset: textOffset(Label.entry), size: UInt32(Label.exit - Label.entry)),
        exit: CodeRange(textOffset: textOffset(Label.exit), size: UInt32(Label.add - Label.exit)))
    ]
    input.ehFrame = unwindTables(
      textSize: Int(ArtifactInput.paddedTextSize(input.textSize, settings: settings)), functions: input.functions)
    var map = AddressMapEncoder()
    var traps = TrapTableEncoder()
    var mapLengths: [Int] = []
    var trapLengths: [Int] = []
    for (position, function) in functions.enumerated() {
      map.begin()
      map.add(codeOffset: 0, wasmOffset: UInt32(1000 + position))
      mapLengths.append(map.finish())
      traps.begin()
      for (site, code) in function.sites { traps.add(codeOffset: UInt32(site - function.start), code: code) }
      trapLengths.append(traps.finish())
    }
    return try map.bytes.withUnsafeBytes { mapBytes in
      try traps.bytes.withUnsafeBytes { trapBytes in
        var (mapOffset, trapOffset) = (0, 0)
        for (position, function) in functions.enumerated() {
          let offset = textOffset(function.start)
          if mapLengths[position] > 0 {
            input.addressMap.append(
              CodeRun(textOffset: offset, base: mapBytes.baseAddress! + mapOffset, count: mapLengths[position]))
          }
          if trapLengths[position] > 0 {
            input.traps.append(
              CodeRun(textOffset: offset, base: trapBytes.baseAddress! + trapOffset, count: trapLengths[position]))
          }
          mapOffset += mapLengths[position]
          trapOffset += trapLengths[position]
        }
        return try body(input)
      }
    }
  }

  /// Unwind tables that are right at calls.
  private static func unwindTables(textSize: Int, functions: [CodeRange]) -> [UInt8] {
    var builder = UnwindBuilder(textSize: textSize)
    // push rbp; mov rbp, rsp; then rbx and r12...r15 (DWARF 3, 12...15) are pushed.
    builder.addTrampoline(
      textOffset: Int(textOffset(Label.entry)), size: UInt32(Label.exit - Label.entry), returns: [],
      savedRegisters: [(5, 3), (7, 12), (9, 13), (11, 14), (13, 15)].enumerated().map {
        SavedRegister(codeOffset: $1.0, dwarfRegister: $1.1, cfaOffset: Int32(-24 - 8 * $0))
      })
    builder.add(textOffset: Int(textOffset(Label.exit)), size: UInt32(Label.add - Label.exit))
    for function in functions { builder.add(textOffset: Int(function.textOffset), size: function.size) }
    let section = builder.finish()
    return section.withUnsafeBytes { [UInt8]($0) }
  }
}
