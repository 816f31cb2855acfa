// The same module and settings give the same bytes, whoever asks, from where, and how often.
//
// A cache, a signature, a build that others repeat: all rest on it. The number of threads, the directory, the environment and
// the name of the output must leave no trace; neither must the way, library or command.

import Foundation
import LargeModule
import PrecastArtifact
import PrecastCompiler
import PrecastMachineCode
import PrecastWasm
import TestSupport
import Testing

@Suite struct SameBytesTests {
  /// A published program where it is there, and a made one with enough functions for several threads.
  static let names = ["hello", "large"] + (hasBoolector ? ["boolector"] : [])
  static let hasBoolector = FileManager.default.fileExists(atPath: boolector.path)
  static let boolector = Repository.corpus.appending(path: "boolector.wasm")

  private func wasm(_ name: String) throws -> [UInt8] {
    switch name {
    case "hello": try [UInt8](Data(contentsOf: LoadInputs.helloWasm))
    case "large": LargeModule(functionCount: 10_000).wasm()
    default: try [UInt8](Data(contentsOf: Self.boolector))
    }
  }

  private func settings(_ architecture: Architecture) -> CompilerSettings {
    var settings = CompilerSettings()
    settings.architecture = architecture
    return settings
  }

  @Test("One thread, two, a second run", arguments: names, Architecture.allCases)
  func threads(name: String, architecture: Architecture) throws {
    let binary = WasmBinary(try wasm(name))
    let settings = settings(architecture)
    let bytes = try Compiler(settings: settings, threads: 1).compile(binary)
    #expect(try Compiler(settings: settings, threads: 2).compile(binary) == bytes)
    #expect(try Compiler(settings: settings, threads: 2).compile(binary) == bytes)
  }

  @Test(
    "The command, in another directory, with another environment, under another name",
    arguments: names.map { ($0, Architecture.x86_64) } + [("hello", .aarch64)])
  func command(name: String, architecture: Architecture) throws {
    let bytes = try Data(Compiler(settings: settings(architecture), threads: 1).compile(WasmBinary(wasm(name))))
    let folder = try TemporaryDirectory()
    try Data(wasm(name)).write(to: folder.appending("module.wasm"))
    let nested = folder.appending("a/b")
    try FileManager.default.createDirectory(at: nested, withIntermediateDirectories: true)
    let precast = builtProgram("precast").path
    let ways: [(output: String, words: [String], directory: URL)] = [
      ("one.cwasm", ["module.wasm", "-o", "one.cwasm"], folder.url),
      ("a/b/two", ["../../module.wasm", "-o", "two"], nested),
      ("three.cwasm", [folder.appending("module.wasm").path, "-o", folder.appending("three.cwasm").path], nested),
    ]
    for (index, way) in ways.enumerated() {
      let environment = ["LC_ALL=C", "TZ=Asia/Tokyo LANG=de_DE.UTF-8", "HOME=/nonexistent"][index].split(separator: " ")
      let command = [precast, "compile", "--target", architecture.name] + way.words
      let result = try run(
        URL(fileURLWithPath: "/usr/bin/env"), environment.map(String.init) + command, in: way.directory)
      try #require(result.status == 0, "\(result.errorText)")
      #expect(try Data(contentsOf: folder.appending(way.output)) == bytes, "\(way.words)")
    }
  }

  @Test("A module that differs does not give the same bytes")
  func others() throws {
    let made = try [LargeModule(functionCount: 100), LargeModule(functionCount: 100, seed: 2)].map {
      try Compiler().compile(WasmBinary($0.wasm()))
    }
    #expect(made[0] != made[1])
    #expect(LargeModule(functionCount: 100).wasm() == LargeModule(functionCount: 100).wasm())
  }
}
