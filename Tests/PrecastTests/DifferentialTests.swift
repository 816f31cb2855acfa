// Random modules do the same here, natively and on AArch64, as in another runtime.
//
// `wasm-tools smith` makes valid modules out of random bytes (Tests/Tools/smith.json keeps it to the features that are
// supported, with NaNs made canonical), and adds a counter that ends every loop and recursion. Each module's exported
// functions are called in wasmtime (Tests/Tools/observe-wasmtime.py, which says what is observed) and here, by way of an
// artifact on disk; results, traps with their kinds, memories, globals and tables must agree, with the code for any
// processor, with that for this one, and with that for AArch64, which an emulated processor runs (Tests/EmulatedRuntime).
// AArch64's is made in another way for each seed (Support/AArch64Variant.swift): nothing but the code may know of guards,
// landing pads, veneers, address maps, or whether an artifact was written or an object linked.
//
// A second generator of our own (Tests/LargeModule/RandomProgram.swift) makes larger bodies that are hard on the compiler's
// bookkeeping of values, locals and labels.
//
// The seeds are fixed. For a long run take more of them, or others; what was compared is printed in the end:
//
//     make differential COUNT=20000 SEED=1000

import Foundation
import LargeModule
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastEmulatedRuntime
import PrecastEmulator
import PrecastLoader
import PrecastRuntime
import PrecastWasm
import TestSupport
import Testing

@Suite struct DifferentialTests {
  /// How many modules a test case takes: one start of the other runtime for all of them.
  static let batch = 25

  static let seeds = Seeds(count: 400)
  static let programSeeds = Seeds(count: 150)

  /// Seeds that follow one another, in batches.
  struct Seeds: Sendable {
    let all: Range<Int>
    /// The first seed of each batch.
    let batches: [Int]
    let account: DifferentialAccount

    /// Those that the environment asks for, or the first `count`.
    init(count: Int) {
      let first = Repository.environment("PRECAST_DIFFERENTIAL_SEED").flatMap { Int($0) } ?? 1
      let count = Repository.environment("PRECAST_DIFFERENTIAL_COUNT").flatMap { Int($0) } ?? count
      all = first..<first + max(0, count)
      batches = Array(stride(from: all.lowerBound, to: all.upperBound, by: DifferentialTests.batch))
      account = DifferentialAccount(cases: batches.count)
    }

    func batch(from first: Int) -> Range<Int> { first..<min(first + DifferentialTests.batch, all.upperBound) }
  }

  static let isPossible: Bool = {
    guard Repository.wasmTools != nil, let python = Repository.python else { return false }
    return (try? run(python, ["-c", "import wasmtime"]).status) == 0
  }()
  private static let hasEmulator = AArch64Processor.unavailableReason == nil

  /// A module, and how code for AArch64 is made of it.
  private struct Subject {
    var seed: Int
    var file: URL
    var variant: AArch64Variant
  }

  @Test(
    "A random module does what it does in another runtime, natively and on AArch64",
    .enabled(if: isPossible, "needs wasm-tools, and Python with its package wasmtime"), arguments: seeds.batches)
  func agreement(firstSeed: Int) throws {
    var tally = DifferentialTally()
    defer { close(Self.seeds.account, tally, "wasm-tools smith") }
    let directory = try TemporaryDirectory()
    var subjects: [Subject] = []
    for seed in Self.seeds.batch(from: firstSeed) {
      guard let file = try makeModule(seed: seed, in: directory) else { continue }
      // Every other seed makes modules that do not trap: both sorts shall meet every variant.
      subjects.append(Subject(seed: seed, file: file, variant: AArch64Variant(seed / 2)))
    }
    try compare(subjects, &tally)
  }

  @Test(
    "A random program that is hard on registers does what it does in another runtime, natively and on AArch64",
    .enabled(if: isPossible, "needs wasm-tools, and Python with its package wasmtime"), arguments: programSeeds.batches)
  func programs(firstSeed: Int) throws {
    var tally = DifferentialTally()
    defer { close(Self.programSeeds.account, tally, "programs hard on registers") }
    let directory = try TemporaryDirectory()
    var subjects: [Subject] = []
    for seed in Self.programSeeds.batch(from: firstSeed) {
      let file = directory.appending("program-\(seed).wasm")
      try Data(RandomProgram(seed: UInt64(seed)).wasm()).write(to: file)
      subjects.append(Subject(seed: seed, file: file, variant: AArch64Variant(seed)))
    }
    try compare(subjects, &tally)
  }

  /// Holds what modules do here against what they do there.
  private func compare(_ subjects: [Subject], _ tally: inout DifferentialTally) throws {
    let python = try #require(Repository.python)
    let other = try run(
      python, [Repository.tools.appending(path: "observe-wasmtime.py").path] + subjects.map(\.file.path))
    try #require(other.status == 0, "\(other.errorText)")
    let before = EmulatedAArch64.executedInstructions
    for subject in subjects {
      let observed = try String(
        contentsOf: subject.file.deletingPathExtension().appendingPathExtension("observed"), encoding: .utf8)
      var sides = [DifferentialSide(name: "wasmtime", lines: observed.split(separator: "\n").map(String.init))]
      for features in [CPUFeatures(), HostSettings.cpuFeatures] {
        observe(subject, on: "x86-64 with \(features.names)", &sides) { try native(subject, features) }
      }
      if Self.hasEmulator {
        observe(subject, on: "AArch64 with \(subject.variant)", &sides) { try emulated(subject) }
      }
      if let difference = tally.compare(sides, variant: Self.hasEmulator ? subject.variant : nil) {
        let kept = try keep(subject.file)
        Issue.record("seed \(subject.seed): \(difference); the module is \(kept)")
      }
    }
    if Self.hasEmulator { #expect(EmulatedAArch64.executedInstructions > before, "nothing was emulated") }
  }

  /// Adds what one runtime does, or records why it does nothing.
  private func observe(
    _ subject: Subject, on name: String, _ sides: inout [DifferentialSide], _ module: () throws -> Module
  ) {
    do {
      sides.append(DifferentialSide(name: name, lines: try ModuleObserver(module: module()).observe()))
    } catch {
      let kept = (try? keep(subject.file)) ?? "lost"
      Issue.record("seed \(subject.seed), \(name): \(error); the module is \(kept)")
    }
  }

  private static let configuration = EngineConfiguration(maximumWasmStack: 4 << 20)

  private func native(_ subject: Subject, _ features: CPUFeatures) throws -> Module {
    var settings = CompilerSettings()
    settings.cpuFeatures = features
    let artifact = artifact(of: subject, "\(features.rawValue)")
    try Compiler(settings: settings, threads: 1).compile(binary(of: subject), toFile: artifact)
    return try Module(engine: Engine(configuration: Self.configuration), deserializeFile: artifact)
  }

  private func emulated(_ subject: Subject) throws -> Module {
    try subject.variant.module(
      subject.variant.engine(Self.configuration), wasm: binary(of: subject), artifact: artifact(of: subject, "aarch64"))
  }

  private func binary(of subject: Subject) throws -> WasmBinary {
    WasmBinary([UInt8](try Data(contentsOf: subject.file)))
  }

  private func artifact(of subject: Subject, _ way: String) -> String {
    subject.file.deletingPathExtension().appendingPathExtension("\(way).cwasm").path
  }

  /// Adds a case's tally to the account, and says what it comes to when it was the last.
  private func close(_ account: DifferentialAccount, _ tally: DifferentialTally, _ name: String) {
    guard let whole = account.add(tally) else { return }
    print("differential, \(name): \(whole.summary)")
    guard Self.hasEmulator, Repository.environment("PRECAST_DIFFERENTIAL_COUNT") == nil else { return }
    #expect(whole.variants.count == AArch64Variant.count)
  }

  /// Puts a module where it can be looked at after the test.
  private func keep(_ file: URL) throws -> String {
    let folder = Repository.root.appending(path: ".build/differential")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let kept = folder.appending(path: file.lastPathComponent)
    try? FileManager.default.removeItem(at: kept)
    try FileManager.default.copyItem(at: file, to: kept)
    return kept.path
  }

  /// Nil in the rare case that nothing can be made of the bytes.
  private func makeModule(seed: Int, in directory: TemporaryDirectory) throws -> URL? {
    let tools = try #require(Repository.wasmTools)
    var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15
    var bytes = Data()
    for _ in 0..<(60 + seed % 60 * 25) {
      // SplitMix64.
      state &+= 0x9E37_79B9_7F4A_7C15
      var word = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
      word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
      withUnsafeBytes(of: (word ^ (word >> 31)).littleEndian) { bytes.append(contentsOf: $0) }
    }
    let input = directory.appending("\(seed).seed")
    let file = directory.appending("\(seed).wasm")
    try bytes.write(to: input)
    let result = try run(
      tools,
      [
        "smith", "--ensure-termination", "--fuel", "2000", "--disallow-traps", seed % 2 == 0 ? "true" : "false",
        "-c", Repository.tools.appending(path: "smith.json").path, input.path, "-o", file.path,
      ])
    return result.status == 0 ? file : nil
  }
}
