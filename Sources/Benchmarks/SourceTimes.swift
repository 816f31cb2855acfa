// What a question for a place in the guest's source costs.
//
// Nobody pays for it but who asks: loading and trapping read no DWARF (HostileDWARFTests). The first question in a process
// opens libdw; the first about a module checks its DWARF and finds its units; the first in a unit lists its functions and reads its
// lines; and answers are kept. So: of fresh modules the first question, then one in each other place of the same unit, then the
// same places once more.

import Glibc
import Precast
import PrecastArtifact
import PrecastDebugInfo
import PrecastLoader

/// The experiment.
enum SourceTimes {
  /// A guest with DWARF: one unit, a dozen functions, inlined ones among them.
  private static let guest = "TestData/Debug/traps-O2.wasm"

  /// Adds rows to the report.
  static func run(_ report: inout Report, runs: Int) throws(BenchmarkError) {
    let path = "/tmp/precast-bench-source-\(getpid()).cwasm"
    defer { unsafe unlink(path) }
    do {
      try Module(engine: Engine(), wasmFile: guest).serialize(toFile: path, durable: false)
      let start = now()
      let isThere = try ask(LoadedArtifact(path: path))
      let opening = Double(now() - start)
      var firsts: [Double] = []
      var others: [Double] = []
      var again: [Double] = []
      for _ in 0..<runs {
        let artifact = try LoadedArtifact(path: path)
        let places = try places(artifact)
        for (round, list) in [places, places].enumerated() {
          for (index, place) in list.enumerated() {
            let start = now()
            _ = artifact.sourcePositions(ofWasmOffset: place)
            let time = Double(now() - start)
            if round > 0 { again.append(time) } else if index > 0 { others.append(time) } else { firsts.append(time) }
          }
        }
      }
      for (quantity, time) in [
        ("first question in the process", opening), ("first question for a module", median(firsts)),
        ("another place in a unit", median(others)), ("a place that was asked for", median(again)),
      ] {
        report.rows.append(
          Row(
            benchmark: "source positions", subject: isThere ? guest : "\(guest), without libdw", quantity: quantity,
            unit: .microseconds, figures: [(name: "precast", value: time / 1000)]))
      }
    } catch {
      throw BenchmarkError("\(error)")
    }
  }

  /// Whether there is an answer for the first place.
  private static func ask(_ artifact: LoadedArtifact) throws -> Bool {
    guard let place = try places(artifact).first else { return false }
    return !artifact.sourcePositions(ofWasmOffset: place).isEmpty
  }

  /// A wasm offset in the middle of each function.
  private static func places(_ artifact: LoadedArtifact) throws -> [Int] {
    let info = try artifact.moduleInfo()
    var places: [Int] = []
    for row in 0..<info.definedFunctionCount {
      let function = try info.definedFunction(row)
      let pc = artifact.textBase + UInt(function.textOffset) + UInt(function.size / 2)
      if let place = artifact.location(of: pc, isReturnAddress: false)?.wasmOffset { places.append(place) }
    }
    return places
  }
}
