// Random modules do the same here as in another runtime.
//
// `wasm-tools smith` makes valid modules out of random bytes (Tests/Tools/smith.json keeps it to the features that are
// supported, with NaNs made canonical), and adds a counter that ends every loop and recursion. Each module's exported
// functions are called in wasmtime (Tests/Tools/observe-wasmtime.py, which says what is observed) and here, by way of an
// artifact on disk; results, traps with their kinds, memories, globals and tables must agree, with the code for any
// processor and with that for this one.
//
// A second generator of our own (Tests/LargeModule/RandomProgram.swift) makes larger bodies that are hard on the compiler's
// bookkeeping of values, locals and labels.
//
// The seeds are fixed. For a long run take more of them, or others:
//
//     make differential COUNT=20000 SEED=1000

import Foundation
import LargeModule
import Precast
import PrecastArtifact
import PrecastLoader
import PrecastRuntime
import TestSupport
import Testing

@Suite struct DifferentialTests {
  /// How many modules a test case takes: one start of the other runtime for all of them.
  static let batch = 25

  static let seeds = seeds(count: 400)
  static let programSeeds = seeds(count: 150)

  private static func seeds(count: Int) -> [Int] {
    let first = Repository.environment("PRECAST_DIFFERENTIAL_SEED").flatMap { Int($0) } ?? 1
    let count = Repository.environment("PRECAST_DIFFERENTIAL_COUNT").flatMap { Int($0) } ?? count
    return Array(stride(from: first, to: first + max(0, count), by: batch))
  }

  static let isPossible: Bool = {
    guard Repository.wasmTools != nil, let python = Repository.python else { return false }
    return (try? run(python, ["-c", "import wasmtime"]).status) == 0
  }()

  @Test(
    "A random module does what it does in another runtime",
    .enabled(if: isPossible, "needs wasm-tools, and Python with its package wasmtime"), arguments: seeds)
  func agreement(firstSeed: Int) throws {
    let directory = try TemporaryDirectory()
    var files: [(seed: Int, file: URL)] = []
    for seed in firstSeed..<firstSeed + Self.batch {
      if let file = try makeModule(seed: seed, in: directory) { files.append((seed, file)) }
    }
    try compare(files)
  }

  @Test(
    "A random program that is hard on registers does what it does in another runtime",
    .enabled(if: isPossible, "needs wasm-tools, and Python with its package wasmtime"), arguments: programSeeds)
  func programs(firstSeed: Int) throws {
    let directory = try TemporaryDirectory()
    var files: [(seed: Int, file: URL)] = []
    for seed in firstSeed..<firstSeed + Self.batch {
      let file = directory.appending("program-\(seed).wasm")
      try Data(RandomProgram(seed: UInt64(seed)).wasm()).write(to: file)
      files.append((seed, file))
    }
    try compare(files)
  }

  /// Holds what modules do here against what they do there.
  private func compare(_ files: [(seed: Int, file: URL)]) throws {
    let python = try #require(Repository.python)
    let other = try run(
      python, [Repository.tools.appending(path: "observe-wasmtime.py").path] + files.map(\.file.path))
    try #require(other.status == 0, "\(other.errorText)")
    for (seed, file) in files {
      let expected = try String(
        contentsOf: file.deletingPathExtension().appendingPathExtension("observed"), encoding: .utf8
      ).split(separator: "\n").map(String.init)
      for features in [CPUFeatures(), HostSettings.cpuFeatures] {
        do {
          let observed = try Observer(wasm: file, features: features).observe()
          var pairs = Array(zip(observed, expected))
          // How deep a stack goes depends on the size of frames; what comes after is no longer comparable.
          let deep = pairs.firstIndex { $0.0.hasSuffix("stackOverflow") || $0.1.hasSuffix("stackOverflow") }
          if let deep { pairs.removeSubrange(deep...) }
          if let (index, (ours, theirs)) = pairs.enumerated().first(where: { $0.element.0 != $0.element.1 }) {
            let kept = try keep(file)
            Issue.record(
              "seed \(seed), \(features.names), line \(index): '\(ours)', in wasmtime '\(theirs)'; the module is \(kept)"
            )
          }
          if deep == nil { #expect(observed.count == expected.count, "seed \(seed)") }
        } catch {
          let kept = try keep(file)
          Issue.record("seed \(seed), \(features.names): \(error); the module is \(kept)")
        }
      }
    }
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

/// Makes the observations that `observe-wasmtime.py` describes.
private struct Observer {
  static let integers: [Int64] = [0, 1, -1, 7, 255, 65536, -2_147_483_648, 2_147_483_647]
  static let floats: [Double] = [0.0, 1.5, -1.0, 1e10, -0.0, .infinity, 3e-40, .nan]

  let path: RealPath
  let module: Module

  init(wasm: URL, features: CPUFeatures) throws {
    path = try RealPath(engine: Engine(configuration: EngineConfiguration(maximumWasmStack: 4 << 20)))
    var settings = CompilerSettings()
    settings.cpuFeatures = features
    module = try path.module(wasm: wasm, settings: settings)
  }

  func observe() throws -> [String] {
    let exports = module.exports.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    let functions = exports.indices.filter { exports[$0].type.kind == .function }
    var lines: [String] = []
    for (round, calls) in ([functions] + functions.map { [$0] }).enumerated() {
      lines.append("round \(round)")
      let store = Store(engine: path.engine)
      let instance: Instance
      do {
        instance = try module.instantiate(store: store, imports: Imports())
      } catch let trap as Trap {
        lines.append("instantiate: trap \(trap.code)")
        continue
      }
      for number in calls {
        let function = try #require(instance.exports[function: exports[number].name])
        lines.append("call \(number): \(try call(function, round: round))")
      }
      for (number, export) in exports.enumerated() {
        switch export.type {
        case .global:
          let global = try #require(instance.exports[global: export.name])
          lines.append("global \(number): \(show(global.value))")
        case .memory:
          let memory = try #require(instance.exports[memory: export.name])
          lines.append("memory \(number): \(digest(memory))")
        case .table:
          let table = try #require(instance.exports[table: export.name])
          lines.append("table \(number): \(table.count)")
        case .function: break
        }
      }
    }
    return lines
  }

  private func call(_ function: Function, round: Int) throws -> String {
    let arguments = function.type.parameters.enumerated().map { position, type -> Value in
      let index = (round * 3 + position) % 8
      return switch type {
      case .i32: .i32(UInt32(truncatingIfNeeded: Self.integers[index]))
      case .i64: .i64(UInt64(bitPattern: Self.integers[index]))
      case .f32: .f32(Float(Self.floats[index]).bitPattern)
      case .f64: .f64(Self.floats[index].bitPattern)
      default: Value(defaultOf: type)
      }
    }
    do {
      return try function.invoke(arguments).map(show).joined(separator: " ")
    } catch let trap as Trap {
      // Wasmtime has one code for both.
      return "trap \(trap.code == .undefinedElement ? .tableOutOfBounds : trap.code)"
    }
  }

  private func show(_ value: Value) -> String {
    func hex(_ bits: some FixedWidthInteger & UnsignedInteger, _ digits: Int) -> String {
      let text = String(bits, radix: 16)
      return String(repeating: "0", count: digits - text.count) + text
    }
    return switch value {
    case .i32(let bits): "i32:\(Int32(bitPattern: bits))"
    case .i64(let bits): "i64:\(Int64(bitPattern: bits))"
    case .f32(let bits): Float(bitPattern: bits).isNaN ? "f32:nan" : "f32:" + hex(bits, 8)
    case .f64(let bits): Double(bitPattern: bits).isNaN ? "f64:nan" : "f64:" + hex(bits, 16)
    case .v128: "v128"
    case .funcref(let function): function == nil ? "funcref:null" : "funcref:some"
    case .externref(let reference): reference == nil ? "externref:null" : "externref:some"
    }
  }

  private func digest(_ memory: Memory) -> String {
    memory.withUnsafeMutableBytes { bytes in
      var hash: UInt64 = 0xcbf2_9ce4_8422_2325
      for offset in stride(from: 0, to: bytes.count, by: 8) {
        hash = (hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* 0x100_0000_01b3
      }
      let text = String(hash, radix: 16)
      return "\(bytes.count) " + String(repeating: "0", count: 16 - text.count) + text
    }
  }
}
