import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastLoader
import PrecastMachineCode
import PrecastWasm
import Testing

/// Files of the repository, programs of the build, programs of the system.
enum Place {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let guests = root.appendingPathComponent("TestData/Debug")

  /// A program of the build that these tests belong to.
  static func built(_ name: String) -> URL {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent(name)
  }

  static func program(_ name: String) -> URL? {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
      .map { URL(fileURLWithPath: String($0)).appendingPathComponent(name) }
      .first { FileManager.default.isExecutableFile(atPath: $0.path) }
  }

  static func has(_ name: String) -> Bool { program(name) != nil }
}

/// A folder that goes with this object.
final class Scratch {
  let url = FileManager.default.temporaryDirectory.appendingPathComponent("debug-info-\(UUID().uuidString)")
  init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(at: url) }
  func path(_ name: String) -> String { url.appendingPathComponent(name).path }

  /// Runs a program to its end; what it wrote, both streams together.
  @discardableResult
  func run(_ program: URL, _ words: [String], environment: [String: String] = [:]) throws -> (
    status: Int32, text: String
  ) {
    let output = url.appendingPathComponent("out-\(UUID().uuidString)")
    _ = FileManager.default.createFile(atPath: output.path, contents: nil)
    let process = Process()
    // A shell in between takes back that the test's threads block SIGCHLD, without which a debugger waits for ever.
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", "exec timeout --foreground 120 \"$@\"", "bash", program.path] + words
    process.currentDirectoryURL = url
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let stream = try FileHandle(forWritingTo: output)
    process.standardOutput = stream
    process.standardError = stream
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: try Data(contentsOf: output), as: UTF8.self))
  }

  /// Compiles a guest of TestData/Debug to an artifact here.
  func artifact(of guest: String, debugInfo: Bool = true) throws -> String {
    var settings = CompilerSettings()
    settings.debugInfo = debugInfo
    let path = path("\(guest)-\(debugInfo).cwasm")
    let wasm = [UInt8](try Data(contentsOf: Place.guests.appendingPathComponent(guest)))
    try Compiler(settings: settings).compile(WasmBinary(wasm), toFile: path)
    return path
  }
}

/// A guest whose import `host.call` is a function of C, `call_in_c`, which calls `inner_in_c`.
struct BoundGuest {
  /// Calls the host's `host_enter`, where there is one.
  static let source = """
    int host_enter(int) __attribute__((weak));
    static __attribute__((noinline)) int inner_in_c(int x) { return host_enter ? host_enter(x) + 1 : x + 1; }
    int call_in_c(int x) { return inner_in_c(x) * 2; }
    """
  static let canCompile = Place.has("cc")

  /// Objects, as files: of the guest, and of the C.
  var objects: [String]

  init(_ scratch: Scratch, guest: String = "traps-O0.wasm") throws {
    objects = [scratch.path("guest.o"), scratch.path("bound.o")]
    var options = ObjectOptions()
    options.bindings = [ImportBinding(path: "host.call", symbol: "call_in_c")]
    let wasm = [UInt8](try Data(contentsOf: Place.guests.appendingPathComponent(guest)))
    _ = try Compiler().compileObject(WasmBinary(wasm), options: options, toFile: objects[0])
    try Self.source.write(toFile: scratch.path("bound.c"), atomically: false, encoding: .utf8)
    // Nothing between functions that is in none of them.
    let words = [
      "-c", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-stack-protector", "-falign-functions=1",
      "-fcf-protection=none",
      "-fno-optimize-sibling-calls", "-o", objects[1], scratch.path("bound.c"),
    ]
    let result = try scratch.run(#require(Place.program("cc")), words)
    try #require(result.status == 0, "\(result.text)")
  }

  var linkable: [LinkableObject] { get throws { try objects.map { try LinkableObject(contentsOfFile: $0) } } }

  /// With every call through a veneer.
  static let veneers: LinkLayout = {
    var options = TextSectionOptions()
    options.testing.forceVeneers = true
    return LinkLayout(text: options)
  }()
}

/// The line of a source of TestData/Debug that a text occurs in.
func sourceLine(of text: String, in source: String) throws -> Int {
  let lines = try String(contentsOf: Place.guests.appendingPathComponent(source), encoding: .utf8).split(
    separator: "\n", omittingEmptySubsequences: false)
  return try #require(lines.firstIndex { $0.contains(text) }) + 1
}
