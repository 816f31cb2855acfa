// The way that every program takes in these tests: a module's binary is compiled to a file, and what runs is loaded from
// that file. Nothing of the compilation stays in memory.

import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastEmulatedRuntime
import PrecastMachineCode
import PrecastRuntime
import PrecastWASI
import PrecastWasm
import TestSupport
import Testing

/// Compiles modules into a directory of its own, and loads them from there.
final class RealPath {
  /// What modules are compiled to.
  enum Way: Sendable {
    /// A finished artifact on disk.
    case artifact
    /// An unlinked object, linked into memory.
    case object
  }

  /// The processor that the code is for, and that runs it.
  enum Machine: Sendable {
    /// This machine's.
    case native
    /// AArch64, emulated.
    case aarch64

    /// The default settings for code of this machine's.
    var settings: CompilerSettings {
      var settings = CompilerSettings()
      if self == .aarch64 { settings.architecture = .aarch64 }
      return settings
    }

    /// An engine that runs it. No call of an emulated engine executes more than `instructionLimit` instructions.
    func engine(instructionLimit: UInt64 = 2_000_000_000) -> Engine {
      self == .native ? Engine() : Engine(processor: EmulatedAArch64(instructionLimit: instructionLimit))
    }
  }

  let engine: Engine
  let way: Way
  private let machine: Machine
  private var objectCount = 0
  private let directory: TemporaryDirectory
  /// The artifacts so far.
  private(set) var artifacts: [URL] = []

  /// - Parameters:
  ///   - engine: of that machine; a new one if nil.
  ///   - way: what modules are compiled to.
  ///   - machine: what they are compiled for, unless somebody says otherwise.
  init(engine: Engine? = nil, way: Way = .artifact, machine: Machine = .native) throws {
    self.engine = engine ?? machine.engine()
    self.way = way
    self.machine = machine
    directory = try TemporaryDirectory()
  }

  /// Compiles a module to a new file.
  ///
  /// - Throws: `WasmError` for a module that is not accepted.
  func compile(wasm: URL, threads: Int? = nil) throws -> URL {
    try compile(wasm: wasm, threads: threads, settings: machine.settings)
  }

  /// Compiles a module to a new file, with given settings.
  func compile(wasm: URL, threads: Int? = nil, settings: CompilerSettings) throws -> URL {
    let name = wasm.deletingPathExtension().lastPathComponent
    let artifact = directory.appending("\(artifacts.count)-\(name).cwasm")
    let binary = WasmBinary([UInt8](try Data(contentsOf: wasm)))
    do {
      var compiler = Compiler(settings: settings, threads: threads)
      compiler.testingLayout = layout
      _ = try compiler.compile(binary, toFile: artifact.path)
    } catch CompilerError.wasm(let error) {
      throw error
    }
    artifacts.append(artifact)
    try Self.expectNoRelocations(artifact)
    return artifact
  }

  /// Checks that a finished artifact has no relocation of any kind.
  static func expectNoRelocations(_ artifact: URL, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let found = relocations(inArtifact: try Data(contentsOf: artifact, options: .alwaysMapped))
    #expect(found == [], "\(artifact.lastPathComponent)", sourceLocation: sourceLocation)
  }

  /// Compiles a module to an unlinked object, and links that into memory: one as everybody would, the next with every call
  /// through a veneer, the next with functions apart, and so on.
  private func linkedModule(wasm: URL, settings: CompilerSettings) throws -> Module {
    let binary = WasmBinary([UInt8](try Data(contentsOf: wasm)))
    var options = ObjectOptions()
    options.hasFunctionSections = objectCount % 2 == 1
    let object: [UInt8]
    do {
      object = try Compiler(settings: settings).compileObject(binary, options: options)
    } catch CompilerError.wasm(let error) {
      throw error
    }
    objectCount += 1
    let layout = LinkedModuleTests.layouts[objectCount % 3]
    return try Module(
      engine: engine, linking: [LinkableObject(object, name: wasm.lastPathComponent)], layout: layout)
  }

  /// Compiles a module, and loads it.
  func module(wasm: URL, settings: CompilerSettings? = nil) throws -> Module {
    let settings = settings ?? machine.settings
    if way == .object { return try linkedModule(wasm: wasm, settings: settings) }
    return try Module(engine: engine, deserializeFile: compile(wasm: wasm, settings: settings).path)
  }

  /// How texts of artifacts are laid out, if not as usual.
  var layout = TextLayoutTesting()

  /// Runs a WASI command to its end.
  ///
  /// - Returns: its exit status.
  func runCommand(_ module: Module, _ configuration: WASIConfiguration) throws -> Int {
    let store = Store(engine: engine)
    var imports = Imports()
    let wasi = try WASI(configuration)
    wasi.define(in: &imports, store: store)
    do {
      let instance = try module.instantiate(store: store, imports: imports)
      guard let start = instance.exports[function: "_start"] else { throw SpecError("there is no _start") }
      _ = try start.invoke([])
      return 0
    } catch let exit as WASIExit {
      return Int(exit.code)
    }
  }

  /// What `precast inspect` prints about an artifact.
  func inspect(_ artifact: URL, json: Bool) throws -> String {
    try Data(contentsOf: artifact).withUnsafeBytes { bytes in
      let base = try #require(bytes.baseAddress)
      let summary = try ArtifactSummary(Artifact(ByteRegion(base: base, count: bytes.count)))
      return json ? summary.json : summary.text
    }
  }

  /// What `precast inspect --section` prints about each section of an artifact, and `--functions`, one after the other.
  func describeAll(_ artifact: URL, _ format: DescriptionFormat) throws -> String {
    try Data(contentsOf: artifact).withUnsafeBytes { bytes in
      let base = try #require(bytes.baseAddress)
      let artifact = try Artifact(ByteRegion(base: base, count: bytes.count))
      let output = TextOutput()
      for kind in artifact.sections { try artifact.describe(kind, format, to: output) }
      try artifact.describeFunctions(format, to: output)
      return output.text
    }
  }
}

/// The host module that the suite's scripts import from.
func spectest(_ store: Store) throws -> Imports {
  var imports = Imports()
  func function(_ name: String, _ parameters: [PrecastWasm.ValueType]) {
    let type = PrecastWasm.FunctionType(parameters: parameters, results: [])
    imports.define(module: "spectest", name: name, Function(store: store, type: type) { _, _ in [] })
  }
  func global(_ name: String, _ value: Value) throws {
    let type = PrecastWasm.GlobalType(value: value.type, isMutable: false)
    imports.define(module: "spectest", name: name, try Global(store: store, type: type, value: value))
  }
  function("print", [])
  function("print_i32", [.i32])
  function("print_i64", [.i64])
  function("print_f32", [.f32])
  function("print_f64", [.f64])
  function("print_i32_f32", [.i32, .f32])
  function("print_f64_f64", [.f64, .f64])
  try global("global_i32", .i32(666))
  try global("global_i64", .i64(666))
  try global("global_f32", .f32(Float(666.6).bitPattern))
  try global("global_f64", .f64(Double(666.6).bitPattern))
  let table = PrecastWasm.TableType(element: .funcref, limits: .init(minimum: 10, maximum: 20))
  imports.define(module: "spectest", name: "table", try Table(store: store, type: table))
  let memory = PrecastWasm.MemoryType(limits: .init(minimum: 1, maximum: 2))
  imports.define(module: "spectest", name: "memory", try Memory(store: store, type: memory))
  return imports
}
