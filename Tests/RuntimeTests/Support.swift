// Modules for these tests are written in the text format, and made into binaries by wasm-tools when the tests run.

import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastEmulatedRuntime
import PrecastWasm
import Synchronization
import Testing

/// What the tests of one behaviour need: an engine and a store.
struct World {
  let engine = World.engine()
  let store: Store

  init(limits: StoreLimits = StoreLimits()) { store = Store(engine: engine, limits: limits) }

  /// Compiles a module from text.
  func module(_ text: String) throws -> Module { try World.module(text, engine) }

  /// Whether the tests' modules are for AArch64, and run by an emulated processor (`PRECAST_TEST_MACHINE=aarch64`).
  static let isEmulated = ProcessInfo.processInfo.environment["PRECAST_TEST_MACHINE"] == "aarch64"

  /// An engine for the tests' modules.
  static func engine(_ configuration: EngineConfiguration = EngineConfiguration()) -> Engine {
    Engine(configuration: configuration, processor: isEmulated ? EmulatedAArch64() : nil)
  }

  /// Compiles a module from text for such an engine.
  static func module(_ text: String, _ engine: Engine) throws -> Module {
    let binary = try WAT.binary(text)
    guard isEmulated else { return try Module(engine: engine, wasm: binary) }
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    return try Module(engine: engine, deserialize: try Compiler(settings: settings).compile(WasmBinary(binary)))
  }

  /// Compiles and instantiates a module from text.
  @discardableResult
  func instance(_ text: String, _ imports: Imports = Imports()) throws -> Instance {
    try module(text).instantiate(store: store, imports: imports)
  }

  /// Imports under the module name "host".
  func imports(_ values: KeyValuePairs<String, ExternalValue>) -> Imports {
    var imports = Imports()
    for (name, value) in values { imports.define(module: "host", name: name, value) }
    return imports
  }
}

extension Instance {
  /// Calls an export.
  @discardableResult
  func call(_ name: String, _ arguments: Value...) throws -> [Value] {
    try #require(exports[function: name], "no function \(name)").invoke(arguments)
  }
}

/// The text format's converter.
enum WAT {
  private static let cache = Mutex<[String: [UInt8]]>([:])

  static let path: String? = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    .map { $0 + "/wasm-tools" }.first { FileManager.default.isExecutableFile(atPath: $0) }

  /// Whether modules can be made here; tests that need them are skipped otherwise.
  static var isAvailable: Bool { path != nil }

  static func binary(_ text: String) throws -> [UInt8] {
    if let bytes = cache.withLock({ $0[text] }) { return bytes }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(path))
    process.arguments = ["parse", "-"]
    let input = Pipe()
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    try input.fileHandleForWriting.write(contentsOf: Data(text.utf8))
    try input.fileHandleForWriting.close()
    let bytes = [UInt8](try output.fileHandleForReading.readToEnd() ?? Data())
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "wasm-tools refuses the text")
    cache.withLock { $0[text] = bytes }
    return bytes
  }
}

/// The error that `body` throws, as a `RuntimeError`'s kind.
func kind(_ body: () throws -> Void) -> RuntimeError.Kind? {
  do {
    try body()
    return nil
  } catch let error as RuntimeError {
    return error.kind
  } catch {
    Issue.record("unexpected error \(error)")
    return nil
  }
}

/// The trap that `body` ends in.
func trap(_ body: () throws -> Void) -> Trap? {
  do {
    try body()
    return nil
  } catch let error as Trap {
    return error
  } catch {
    Issue.record("unexpected error \(error)")
    return nil
  }
}

/// An error of a host, told apart by identity.
final class HostFailure: Error, @unchecked Sendable {
  let number: Int
  init(_ number: Int) { self.number = number }
}
