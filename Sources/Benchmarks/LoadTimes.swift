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
      // The first turns find caches cold, and make what is made once in a process; they are not counted.
      let warmUp = runs / 10 + 3
      for turn in -warmUp..<runs {
        let start = now()
        modules.append(try Module(engine: engine, deserializeFile: artifact))
        let loaded = now()
        modules.removeAll(keepingCapacity: true)
        let dropped = now()
        if turn < 0 { continue }
        load.add(from: start, to: loaded)
        drop.add(from: loaded, to: dropped)
      }
      let module = try Module(engine: engine, deserializeFile: artifact)
      // Made once, as a host does; looked up in each round, as far as there is anything to look up.
      let imports = Imports.trapping(for: module)
      for turn in -warmUp..<runs {
        let start = now()
        let before: UInt64
        let after: UInt64
        do {
          let store = Store(engine: engine)
          before = now()
          _ = try module.instantiate(store: store, imports: imports)
          after = now()
        }
        let end = now()
        if turn < 0 { continue }
        instantiate.add(from: before, to: after)
        cycle.add(from: start, to: end)
      }
    } catch {
      throw BenchmarkError("\(artifact): \(error)")
    }
  }

  /// `load_us min 8.12 median 8.40`, and so on.
  var text: String {
    [("load", load), ("drop", drop), ("instantiate", instantiate), ("instantiate_cycle", cycle)].map { name, samples in
      "\(name)_us min \(hundredths(samples.minimum)) median \(hundredths(samples.median))"
    }.joined(separator: "\n")
  }

  private func hundredths(_ value: Double) -> String {
    let number = Int((value * 100).rounded())
    return "\(number / 100).\(number / 10 % 10)\(number % 10)"
  }
}
