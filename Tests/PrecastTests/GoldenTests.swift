// A few small artifacts, pinned byte by byte, and all that `inspect` says about them.
//
// Any change of the format, of the generated code or of the report shows here, so that nobody makes one unawares. When a
// change is meant, `make golden` writes the files anew (`PRECAST_UPDATE_GOLDEN=1` with these tests), for a look at the
// difference before it is committed. Each module stands beside its golden files as text and as the binary made from it.
// Those of `NAME.aarch64` are made of the module NAME for AArch64.

import Foundation
import PrecastArtifact
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct GoldenTests {
  static let folder = Repository.testData.appending(path: "Golden")
  static let names = ["empty", "fib", "linked", "worked"]
  /// The artifacts, by the names of their files without the last suffix: of each module for x86-64, of some for AArch64.
  static let artifacts = names + ["fib.aarch64", "linked.aarch64"]

  /// The module that a golden artifact is made of.
  static func module(of artifact: String) -> URL {
    folder.appending(path: "\(artifact.prefix { $0 != "." }).wasm")
  }

  /// What it is compiled for. The larger one for AArch64 has landing pads.
  static func settings(of artifact: String) -> CompilerSettings {
    var settings = CompilerSettings()
    settings.architecture = artifact.hasSuffix(".aarch64") ? .aarch64 : .x86_64
    if artifact == "linked.aarch64" { settings.cpuFeatures = .bti }
    return settings
  }
  static let isUpdating = Repository.environment("PRECAST_UPDATE_GOLDEN") != nil

  @Test("The artifact's bytes are the golden ones", arguments: artifacts)
  func bytes(name: String) throws {
    let path = try RealPath()
    let artifact = try path.compile(wasm: Self.module(of: name), settings: Self.settings(of: name))
    let golden = Self.folder.appending(path: "\(name).cwasm")
    let made = try Data(contentsOf: artifact)
    if Self.isUpdating { return try made.write(to: golden) }
    let wanted = try Data(contentsOf: golden)
    guard made != wanted else { return }
    let place =
      zip(made, wanted).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? min(made.count, wanted.count)
    let kept = Repository.root.appending(path: ".build/golden")
    try FileManager.default.createDirectory(at: kept, withIntermediateDirectories: true)
    let copy = kept.appending(path: "\(name).cwasm")
    try made.write(to: copy)
    Issue.record(
      """
      \(name): \(made.count) bytes, golden \(wanted.count); the first that differs is at 0x\(String(place, radix: 16)), \
      in \(try section(at: place, of: golden)). Compare \(copy.path) with \(golden.path).
      """)
  }

  @Test("inspect says what it said", arguments: artifacts, [false, true])
  func inspection(name: String, json: Bool) throws {
    let path = try RealPath()
    let artifact = try path.compile(wasm: Self.module(of: name), settings: Self.settings(of: name))
    let text = try path.inspect(artifact, json: json)
    let golden = Self.folder.appending(path: "\(name).inspect.\(json ? "json" : "txt")")
    if Self.isUpdating { return try text.write(to: golden, atomically: true, encoding: .utf8) }
    #expect(try text == String(contentsOf: golden, encoding: .utf8), "see `git diff` after `make golden`")
  }

  @Test("inspect --section says what it said", arguments: [false, true])
  func sections(json: Bool) throws {
    let path = try RealPath()
    let artifact = try path.compile(wasm: Self.folder.appending(path: "linked.wasm"))
    let text = try path.describeAll(artifact, json ? .json : .text)
    let golden = Self.folder.appending(path: "linked.sections.\(json ? "json" : "txt")")
    if Self.isUpdating { return try text.write(to: golden, atomically: true, encoding: .utf8) }
    #expect(try text == String(contentsOf: golden, encoding: .utf8), "see `git diff` after `make golden`")
  }

  @Test("The same module gives the same bytes, with any number of threads", arguments: artifacts)
  func determinism(name: String) throws {
    let wasm = Self.module(of: name)
    let settings = Self.settings(of: name)
    let path = try RealPath()
    let first = try Data(contentsOf: path.compile(wasm: wasm, threads: 1, settings: settings))
    for threads in [1, 2, 3, 8] {
      let made = try Data(contentsOf: path.compile(wasm: wasm, threads: threads, settings: settings))
      #expect(made == first, "\(threads) threads")
    }
  }

  @Test("The binaries are what the text says", .enabled(if: Repository.wasmTools != nil), arguments: names)
  func sources(name: String) throws {
    let tools = try #require(Repository.wasmTools)
    let result = try run(tools, ["parse", Self.folder.appending(path: "\(name).wat").path])
    #expect(try result.output == Data(contentsOf: Self.folder.appending(path: "\(name).wasm")))
  }

  @Test(
    "readelf, objdump and eu-elflint take the artifacts, and the demo's, without a complaint",
    .enabled(if: ELFTools.missing.isEmpty, "needs \(ELFTools.missing.joined(separator: ", "))"))
  func tools() throws {
    let path = try RealPath()
    for name in Self.names { _ = try path.compile(wasm: Self.folder.appending(path: "\(name).wasm")) }
    _ = try path.compile(wasm: Repository.testData.appending(path: "demo/tracer.wasm"))
    #expect(try ELFTools.complaints(about: path.artifacts) == [])
  }

  @Test("The tools' complaints are noticed", .enabled(if: ELFTools.missing.isEmpty))
  func complaints() throws {
    // A program has relocations, which an artifact must not have.
    let program = try #require(findTool("readelf"))
    #expect(try ELFTools.complaints(about: [program]).contains { $0.contains("RELA") })
    // Half an artifact.
    let path = try RealPath()
    let artifact = try path.compile(wasm: Self.folder.appending(path: "fib.wasm"))
    let bytes = try Data(contentsOf: artifact)
    try bytes.prefix(bytes.count / 2).write(to: artifact)
    let complaints = try ELFTools.complaints(about: [artifact])
    for tool in ["readelf", "objdump", "eu-elflint"] {
      #expect(complaints.contains { $0.hasPrefix(tool) }, "\(tool) says nothing")
    }
  }

  /// The name of the section that holds a file offset.
  private func section(at offset: Int, of file: URL) throws -> String {
    guard let readelf = findTool("readelf") else { return "an unknown section" }
    for line in try run(readelf, ["-SW", file.path]).outputText.split(separator: "\n") {
      // `[ 3] .text PROGBITS address offset size …`
      guard let close = line.firstIndex(of: "]") else { continue }
      let fields = line[line.index(after: close)...].split(separator: " ")
      guard fields.count > 4, let start = Int(fields[3], radix: 16), let size = Int(fields[4], radix: 16) else {
        continue
      }
      if offset >= start, offset < start + size { return String(fields[0]) }
    }
    return "no section"
  }
}
