import Foundation
import PrecastArtifact
import PrecastMachineCode
import PrecastWasm
import TestSupport
import Testing

@testable import PrecastCompiler

/// A program of some size, of our own: the demo's.
private func demo() throws -> WasmBinary {
  let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  return WasmBinary([UInt8](try Data(contentsOf: root.appending(path: "TestData/demo/tracer.wasm"))))
}

/// Ten thousand functions that call one another.
private func manyFunctions(_ count: Int = 10_000) -> WasmBuilder {
  var builder = WasmBuilder()
  for index in 0..<count {
    builder.functions.append(
      .init(
        parameters: [WasmBuilder.i32], results: [WasmBuilder.i32],
        code: [0x20, 0, 0x41] + WasmBuilder.signed(index) + [0x6A, 0x10] + WasmBuilder.unsigned(index * 7919 % count)))
  }
  return builder
}

@Suite("The output of the compiler")
struct OutputTests {
  private func settings(_ architecture: Architecture) -> CompilerSettings {
    var settings = CompilerSettings()
    settings.architecture = architecture
    return settings
  }

  @Test("does not depend on the number of threads", arguments: [2, 3, 8], Architecture.allCases)
  func threads(_ threads: Int, architecture: Architecture) throws {
    for binary in [try demo(), manyFunctions().binary] {
      let one = try Compiler(settings: settings(architecture), threads: 1).compile(binary)
      #expect(try Compiler(settings: settings(architecture), threads: threads).compile(binary) == one)
    }
  }

  @Test("is the same the second time, in memory and in a file", arguments: Architecture.allCases)
  func repeatable(architecture: Architecture) throws {
    let binary = try demo()
    let compiler = Compiler(settings: settings(architecture))
    let first = try compiler.compile(binary)
    #expect(try compiler.compile(binary) == first)
    let folder = try TemporaryDirectory()
    try compiler.compile(binary, toFile: folder.file("a.cwasm"))
    #expect(try Data(contentsOf: folder.appending("a.cwasm")) == Data(first))
    let file = FileHandle(fileDescriptor: try compiler.compileToMemory(binary), closeOnDealloc: true)
    try file.seek(toOffset: 0)
    #expect(try file.readToEnd() == Data(first))
  }

  @Test("is an ELF file for the architecture that was asked for", arguments: Architecture.allCases)
  func machine(architecture: Architecture) throws {
    let compiler = Compiler(settings: settings(architecture))
    for file in [try compiler.compile(demo()), try compiler.compileObject(demo())] {
      #expect(UInt16(file[18]) | UInt16(file[19]) << 8 == UInt16(architecture.rawValue))
    }
  }

  @Test("differs by the CPU features that were asked for, and records them")
  func features() throws {
    // i32.clz and a variable shift.
    var builder = WasmBuilder()
    builder.functions.append(
      .init(
        parameters: [WasmBuilder.i32, WasmBuilder.i32], results: [WasmBuilder.i32],
        code: [0x20, 0, 0x67, 0x20, 1, 0x74]))
    var settings = settings(.x86_64)
    let plain = try Compiler(settings: settings).compile(builder.binary)
    settings.cpuFeatures = [.lzcnt, .bmi2]
    let featured = try Compiler(settings: settings).compile(builder.binary)
    #expect(plain != featured)
    let record = try featured.withUnsafeBytes { bytes in
      try unsafe Artifact(ByteRegion(base: bytes.baseAddress!, count: bytes.count)).header.record
    }
    #expect(record.settings.cpuFeatures == [.lzcnt, .bmi2])
  }

  @Test("has an address map unless it is left out")
  func addressMap() throws {
    let binary = try demo()
    var settings = CompilerSettings()
    settings.addressMap = false
    let with = try Compiler().compile(binary)
    let without = try Compiler(settings: settings).compile(binary)
    #expect(without.count < with.count)
    try without.withUnsafeBytes { bytes in
      let artifact = try unsafe Artifact(ByteRegion(base: bytes.baseAddress!, count: bytes.count))
      #expect(try artifact.addressMap() == nil)
    }
  }
}

@Suite("Modules that do not compile")
struct FailureTests {
  @Test("fail by the first bad function, whoever compiles it", arguments: [1, 2, 4])
  func firstError(_ threads: Int) throws {
    var builder = manyFunctions(5000)
    // A result is missing in both; the error is the one of the first.
    builder.functions[1234].code = [0x01]
    builder.functions[4321].code = [0x01]
    let offsets = [1, threads].map { threads in
      let error = #expect(throws: CompilerError.self) { try Compiler(threads: threads).compile(builder.binary) }
      guard case .wasm(let wasm) = error else {
        Issue.record("not an error of the module: \(String(describing: error))")
        return 0
      }
      #expect(wasm.kind == .invalid)
      return wasm.offset
    }
    #expect(offsets[0] == offsets[1])
    var only = manyFunctions(5000)
    only.functions[1234].code = [0x01]
    let error = #expect(throws: CompilerError.self) { try Compiler(threads: 1).compile(only.binary) }
    if case .wasm(let wasm) = error { #expect(wasm.offset == offsets[0]) }
  }

  @Test("leave no file, and an old one as it was")
  func noFile() throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "precast-compiler-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let path = directory.appending(path: "out.cwasm").path
    try Data("old".utf8).write(to: URL(filePath: path))
    var builder = manyFunctions(10)
    builder.functions[5].code = []
    #expect(throws: CompilerError.self) { try Compiler().compile(builder.binary, toFile: path) }
    #expect(try Data(contentsOf: URL(filePath: path)) == Data("old".utf8))
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["out.cwasm"])
  }

  @Test("with CPU features of another architecture are refused by name")
  func foreignFeatures() {
    for (architecture, feature) in [(Architecture.aarch64, CPUFeatures.bmi2), (.x86_64, .bti)] {
      var settings = CompilerSettings()
      settings.architecture = architecture
      settings.cpuFeatures = [feature]
      let error = #expect(throws: CompilerError.self) {
        try Compiler(settings: settings).compile(manyFunctions(1).binary)
      }
      let text = "\(String(describing: error))"
      #expect(text.contains(architecture.name) && text.contains(feature.names), "\(text)")
    }
  }
}

@Suite("The calling convention")
struct SignatureTests {
  @Test("puts the first arguments in registers, the rest and further results in the outgoing area")
  func locations() throws {
    var builder = WasmBuilder()
    let i32 = WasmBuilder.i32
    let f64 = WasmBuilder.f64
    builder.functions.append(
      .init(
        parameters: Array(repeating: i32, count: 8) + Array(repeating: f64, count: 7), results: [f64, i32, f64],
        code: [0x00]))
    let module = try WasmModule(decoding: builder.binary)
    let table = SignatureTable(module.types, .x86_64)
    let signature = table.signatures[0]
    #expect((0..<6).map { table.parameter(signature, $0).register } == [7, 6, 8, 9, 10, 11])
    #expect((6..<8).map { table.parameter(signature, $0).offset } == [0, 8])
    #expect((8..<14).map { table.parameter(signature, $0).register } == [6, 7, 8, 9, 10, 11])
    #expect(table.parameter(signature, 14).offset == 16)
    #expect(signature.argumentBytes == 24)
    #expect(table.result(signature, 0).kind == .vector)
    #expect((1..<3).map { table.result(signature, $0).offset } == [24, 32])
    #expect(signature.outgoingBytes == 40)
  }
}
