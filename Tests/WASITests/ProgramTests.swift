// Programs in C, compiled against wasi-libc, on the whole way from wasm to their output.
//
// They need clang with wasi-libc (Debian: clang-19, lld-19, wasi-libc, libclang-rt-19-dev-wasm32) and are
// skipped where that is missing. Outputs were compared with those of another runtime once; where the two
// differ, the comment says how and why.

import Foundation
import Precast
import Testing

@testable import PrecastWASI

/// Compiles the programs beside this file.
enum Clang {
  static let path = ["/usr/bin/clang-19", "/usr/bin/clang"].first { path in
    FileManager.default.isExecutableFile(atPath: path)
      && FileManager.default.fileExists(atPath: "/usr/lib/wasm32-wasi/libc.a")
  }
  static var isAvailable: Bool { path != nil }

  static func wasm(_ name: String, in directory: String) throws -> [UInt8] {
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Programs/\(name).c")
    let output = "\(directory)/\(name).wasm"
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(path))
    process.arguments = ["--target=wasm32-wasi", "-O1", "-o", output, source.path]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "clang failed on \(name).c")
    return Array(try Data(contentsOf: URL(fileURLWithPath: output)))
  }
}

@Suite(.enabled(if: Clang.isAvailable, "clang-19 and wasi-libc are not installed"))
struct ProgramTests {
  /// Runs a program with `root` as its "/"; returns its exit code.
  private func run(_ name: String, _ configuration: WASIConfiguration, root: String, in scratch: Scratch) throws
    -> UInt32
  {
    var configuration = configuration
    configuration.arguments.insert(name, at: 0)
    configuration.preopens = [.init(hostPath: root, guestPath: "/")]
    let engine = Engine()
    let module = try Module(engine: engine, wasm: try Clang.wasm(name, in: scratch.path))
    let store = Store(engine: engine)
    var imports = Imports()
    try WASI(configuration).define(in: &imports, store: store, for: module)
    let instance = try module.instantiate(store: store, imports: imports)
    do {
      try #require(instance.exports[function: "_start"]).invoke()
      return 0
    } catch let exit as WASIExit {
      return exit.code
    }
  }

  /// Wasmtime differs in three places: its `writev` and `readv` use the first buffer only, and its
  /// directory cookies count entries, so that removing files while reading skips half of them.
  @Test func filesAndDirectoriesBehaveAsOnPOSIX() throws {
    let scratch = try Scratch()
    let output = WASIOutputBuffer()
    var configuration = WASIConfiguration()
    configuration.standardOutput = .buffer(output)
    #expect(try run("files", configuration, root: "\(scratch.path)/other", in: scratch) == 0)
    let expected = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(
      path: "Programs/files.expected")
    let lines = output.text.split(separator: "\n", omittingEmptySubsequences: false)
    let expectedLines = try String(contentsOf: expected, encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false)
    for (line, expectedLine) in zip(lines, expectedLines) { #expect(line == expectedLine) }
    #expect(lines.count == expectedLines.count)
  }

  @Test func everyFunctionOfPreview1IsThereWithItsType() throws {
    let scratch = try Scratch()
    let output = WASIOutputBuffer()
    var configuration = WASIConfiguration()
    configuration.standardOutput = .buffer(output)
    #expect(try run("imports", configuration, root: scratch.root, in: scratch) == 0)
    #expect(output.text == "45 functions\n")
  }

  @Test func noCallOfAProgramLeavesItsDirectory() throws {
    let scratch = try Scratch()
    let before = try scratch.outside()
    let output = WASIOutputBuffer()
    var configuration = WASIConfiguration(arguments: escapesBeforeTheEnd)
    configuration.standardOutput = .buffer(output)
    // The program is compiled to where nobody looks: beside the scratch directory's own contents.
    let elsewhere = try Scratch()
    #expect(try run("escape", configuration, root: scratch.root, in: elsewhere) == 0)
    #expect(output.text == "\(escapesBeforeTheEnd.count * 23) refused, 0 allowed\n")
    #expect(try scratch.outside() == before)
  }

  @Test func aProgramGetsItsArgumentsStreamsAndTime() throws {
    let scratch = try Scratch()
    let (output, errors) = (WASIOutputBuffer(), WASIOutputBuffer())
    var configuration = WASIConfiguration(arguments: ["42", "x y", ""])
    configuration.environment = [("HOME", "/home"), ("EMPTY", "")]
    configuration.standardInput = .bytes(Array("one\ntwo\n\nlast, without an end".utf8))
    configuration.standardOutput = .buffer(output)
    configuration.standardError = .buffer(errors)
    #expect(try run("process", configuration, root: scratch.root, in: scratch) == 42)
    #expect(
      output.text == """
        argument 0: 'process'
        argument 1: '42'
        argument 2: 'x y'
        argument 3: ''
        variable 'HOME=/home'
        variable 'EMPTY='
        4 lines, 29 bytes, end 1
        nanosleep 0
        slept 1
        usleep 0
        slept 1
        poll for nothing 0
        waited 1
        poll 2: 1 1
        after 2020: 1
        getentropy 0
        random 1
        isatty 0 0

        """)
    #expect(errors.text == "to standard error\n")
  }
}
