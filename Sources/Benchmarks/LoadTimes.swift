// Loading, dropping and instantiating one artifact, many times over, in this process.
//
// The file is in the kernel's cache after the first time, which is the case that matters to a host that starts guests all day.
// Imports are replaced by functions that trap, and the like: nothing of the guest runs but a start function.

import Glibc
import Precast
import PrecastRuntime

/// Times of one kind.
struct Samples {
  private(set) var microseconds: [Double] = []

  mutating func add(from start: UInt64, to end: UInt64) { microseconds.append(Double(end - start) / 1000) }

  var minimum: Double { microseconds.min() ?? 0 }
  var median: Double { precast_bench.median(microseconds) }
}

struct LoadTimes {
  var load = Samples()
  var drop = Samples()
  /// `Module.instantiate` alone.
  var instantiate = Samples()
  /// A store, the instance, and the end of both.
  var cycle = Samples()

  init(artifact: String, runs: Int) throws(BenchmarkError) {
    do {
      let engine = Engine()
      // An array decides when the module goes: the optimiser may end a local's life wherever it likes.
      var modules: [Module] = []
      modules.reserveCapacity(1)
      for _ in 0..<runs {
        let start = now()
        modules.append(try Module(engine: engine, deserializeFile: artifact))
        let loaded = now()
        modules.removeAll(keepingCapacity: true)
        let dropped = now()
        load.add(from: start, to: loaded)
        drop.add(from: loaded, to: dropped)
      }
      let module = try Module(engine: engine, deserializeFile: artifact)
      // Made once, as a host does; looked up in each round, as far as there is anything to look up.
      let imports = Imports.trapping(for: module)
      for _ in 0..<runs {
        let start = now()
        do {
          let store = Store(engine: engine)
          let before = now()
          _ = try module.instantiate(store: store, imports: imports)
          instantiate.add(from: before, to: now())
        }
        cycle.add(from: start, to: now())
      }
    } catch {
      throw BenchmarkError("\(artifact): \(error)")
    }
  }

  /// `load_us min 8.1 median 8.4`, and so on.
  var text: String {
    [("load", load), ("drop", drop), ("instantiate", instantiate), ("instantiate_cycle", cycle)].map { name, samples in
      "\(name)_us min \(tenths(samples.minimum)) median \(tenths(samples.median))"
    }.joined(separator: "\n")
  }

  private func tenths(_ value: Double) -> String {
    let number = Int((value * 10).rounded())
    return "\(number / 10).\(number % 10)"
  }
}
