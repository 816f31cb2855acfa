// Wasm binaries and artifacts for the tests, put together by hand.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

@testable import PrecastArtifactWriter

/// Puts a wasm binary together, section by section.
struct WasmBuilder {
  var bytes: [UInt8] = [0x00, 0x61, 0x73, 0x6D, 1, 0, 0, 0]

  static func leb(_ value: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = UInt64(value)
    while rest >= 0x80 {
      bytes.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  static func sleb(_ value: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = value
    while true {
      let byte = UInt8(truncatingIfNeeded: rest & 0x7F)
      rest >>= 7
      if (rest == 0 && byte & 0x40 == 0) || (rest == -1 && byte & 0x40 != 0) { return bytes + [byte] }
      bytes.append(byte | 0x80)
    }
  }

  static func name(_ text: String) -> [UInt8] { leb(text.utf8.count) + text.utf8 }

  mutating func section(_ id: UInt8, _ items: [[UInt8]]) {
    let body = Self.leb(items.count) + items.flatMap { $0 }
    bytes += [id] + Self.leb(body.count) + body
  }

  mutating func custom(_ name: String, _ body: [UInt8]) {
    let body = Self.name(name) + body
    bytes += [0] + Self.leb(body.count) + body
  }
}

/// A module with something of everything, and its artifact.
struct TestModule {
  var binary: WasmBinary
  var module: WasmModule

  init(_ bytes: [UInt8]) throws {
    binary = WasmBinary(bytes)
    module = try WasmModule(decoding: binary)
  }

  static func i32Const(_ value: Int) -> [UInt8] { [0x41] + WasmBuilder.sleb(value) + [0x0B] }

  /// Types, imports of all kinds, exports, tables, memory, globals, element and data segments of all
  /// modes, names.
  static func everything() throws -> TestModule {
    var wasm = WasmBuilder()
    wasm.section(1, [[0x60, 1, 0x7F, 1, 0x7F], [0x60, 0, 0], [0x60, 2, 0x7E, 0x7D, 2, 0x7C, 0x70], [0x60, 0, 0]])
    wasm.section(
      2,
      [
        WasmBuilder.name("env") + WasmBuilder.name("host") + [0x00, 0],
        WasmBuilder.name("env") + WasmBuilder.name("base") + [0x03, 0x7F, 0],
        WasmBuilder.name("env") + WasmBuilder.name("shared table") + [0x01, 0x70, 0x01, 4, 8],
      ])
    wasm.section(3, [[0], [1], [0], [3]])
    wasm.section(4, [[0x70, 0x01, 10, 20], [0x6F, 0x00, 1]])
    wasm.section(5, [[0x01] + WasmBuilder.leb(20) + WasmBuilder.leb(100)])
    wasm.section(
      6,
      [
        [0x7F, 1] + i32Const(42), [0x7E, 0, 0x42] + WasmBuilder.sleb(-1) + [0x0B],
        [0x7D, 0, 0x43, 0, 0, 0x80, 0x3F, 0x0B],
        [0x7C, 0, 0x44, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0x0B], [0x70, 0, 0xD2, 2, 0x0B], [0x6F, 0, 0xD0, 0x6F, 0x0B],
        [0x7F, 0, 0x23, 0, 0x41, 1, 0x6A, 0x0B],
      ])
    wasm.section(
      7,
      [
        WasmBuilder.name("zeta") + [0, 1], WasmBuilder.name("alpha") + [0, 2], WasmBuilder.name("memory") + [2, 0],
        WasmBuilder.name("alphabet") + [0, 3], WasmBuilder.name("table") + [1, 1], WasmBuilder.name("global") + [3, 1],
        WasmBuilder.name("") + [0, 1],
      ])
    wasm.bytes += [8, 1, 2]  // start
    wasm.section(
      9,
      [
        [0] + i32Const(1) + [2, 1, 2],  // into the imported table
        [2, 1] + i32Const(3) + [0, 3, 1, 2, 3],  // into our own
        [2, 1] + i32Const(7) + [0, 1, 0],
        [1, 0, 2, 3, 1],  // passive
        [3, 0, 1, 4],  // declarative
        [5, 0x70, 2, 0xD2, 1, 0x0B, 0xD0, 0x70, 0x0B],  // passive, expressions
        [2, 1, 0x23, 0, 0x0B, 0, 1, 2],  // offset from an import
      ])
    wasm.bytes += [12, 1, 4]  // data count
    let body: [UInt8] = [0, 0x41, 7, 0x0B]
    let empty: [UInt8] = [0, 0x0B]
    wasm.section(10, [[UInt8(body.count)] + body, [2] + empty, [UInt8(body.count)] + body, [2] + empty])
    func data(_ text: String) -> [UInt8] { WasmBuilder.name(text) }
    wasm.section(
      11,
      [
        [0] + i32Const(1024) + data("hello, world"), [0] + i32Const(1026) + data("LL"), [1] + data("passive bytes"),
        [0] + i32Const(1_000_000) + data("far away"),
      ])
    let functionNames = [[0] + data("host"), [1] + data("zeta"), [3] + data("gamma::fn"), [4] + data("a\u{0}b")]
    let names = WasmBuilder.leb(functionNames.count) + functionNames.flatMap { $0 }
    wasm.custom("name", [0] + WasmBuilder.leb(4) + data("mod") + [1] + WasmBuilder.leb(names.count) + names)
    return try TestModule(wasm.bytes)
  }

  /// Calls `body` with the input for an artifact whose functions are single instructions.
  func withInput<R>(settings: CompilerSettings = CompilerSettings(), _ body: (ArtifactInput) throws -> R) rethrows -> R
  {
    let record = CompatibilityRecord(compilerName: "precast-test", compilerVersion: "1.2.3", settings: settings)
    var input = ArtifactInput(record: record, module: module, binary: binary)
    var code = CodeBuffer()
    var map = AddressMapEncoder()
    var traps = TrapTableEncoder()
    var mapRuns: [(UInt32, Int, Int)] = []
    var trapRuns: [(UInt32, Int, Int)] = []
    for (index, function) in module.bodies.enumerated() {
      let start = UInt32(code.count)
      map.begin()
      traps.begin()
      // push rbp; mov rbp, rsp; ud2 … ; leave; ret
      code.put8(0x55)
      code.put8(0x48)
      code.put16(0xE589)
      for site in 0...index {
        map.add(codeOffset: UInt32(code.count) - start, wasmOffset: UInt32(function.body.lowerBound + 1 + site))
        traps.add(codeOffset: UInt32(code.count) - start, code: .unreachable)
        code.put16(0x0B0F)
      }
      code.put8(0xC9)
      code.put8(0xC3)
      let mapLength = map.finish()
      let trapLength = traps.finish()
      mapRuns.append((start, map.bytes.count - mapLength, mapLength))
      trapRuns.append((start, traps.bytes.count - trapLength, trapLength))
      input.functions.append(CodeRange(textOffset: start, size: UInt32(code.count) - start))
      // Padding is left to the writer.
      code.put(repeating: 0x90, count: -code.count & 15)
    }
    let trampolines = UInt32(code.count)
    code.put(repeating: 0xC3, count: 64)
    input.trampolines = [
      TypeTrampolines(
        entry: CodeRange(textOffset: trampolines, size: 16), exit: CodeRange(textOffset: trampolines + 16, size: 16)),
      TypeTrampolines(entry: CodeRange(textOffset: trampolines + 32, size: 16)),
    ]
    input.trampolines.removeLast(max(0, input.trampolines.count - module.types.count))
    input.textSize = UInt64(code.count)
    // Each function a piece of its own; the gaps between are the writer's to fill.
    for function in input.functions {
      input.text.append(
        TextPiece(
          textOffset: UInt64(function.textOffset), base: code.startAddress + Int(function.textOffset),
          count: Int(function.size)))
    }
    input.text.append(TextPiece(textOffset: UInt64(trampolines), base: code.startAddress + Int(trampolines), count: 64))
    input.ehFrame = [0, 0, 0, 0]
    input.addressMap = mapRuns.map { CodeRun(textOffset: $0.0, base: map.bytes.startAddress + $0.1, count: $0.2) }
    input.traps = trapRuns.map { CodeRun(textOffset: $0.0, base: traps.bytes.startAddress + $0.1, count: $0.2) }
    let names = NameSection(module: module, binary: binary)
    input.functionNames = names.functionNames
    input.moduleName = names.moduleName
    return try body(input)
  }

  func artifact(settings: CompilerSettings = CompilerSettings()) throws -> [UInt8] {
    try withInput(settings: settings) { try ArtifactWriter.bytes($0) }
  }
}

func withArtifact<R>(_ bytes: [UInt8], _ body: (Artifact) throws -> R) throws -> R {
  try bytes.withUnsafeBytes { try body(Artifact(ByteRegion(base: $0.baseAddress!, count: $0.count))) }
}
