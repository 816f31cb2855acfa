// Loading, dropping and instantiating one artifact, many times over, in this process.
//
// The file is in the kernel's cache after the first time, which is the case that matters to a host that starts guests all day.
// For imports there are stand-ins of the right types: nothing of the guest runs but a start function.

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
  /// A store, its imports, the instance, and the end of all three.
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
      for _ in 0..<runs {
        let start = now()
        do {
          let store = Store(engine: engine)
          let imports = try Self.standIns(for: module, store)
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

  private static func standIns(for module: Module, _ store: Store) throws -> Imports {
    var imports = Imports()
    for needed in module.imports {
      switch needed.type {
      case .function(let type):
        let results = type.results.map { Value(defaultOf: $0) }
        let function = Function(store: store, type: type) { _, _ in results }
        imports.define(module: needed.module, name: needed.name, function)
      case .memory(let type):
        imports.define(module: needed.module, name: needed.name, try Memory(store: store, type: type))
      case .table(let type):
        imports.define(module: needed.module, name: needed.name, try Table(store: store, type: type))
      case .global(let type):
        let value = Value(defaultOf: type.value)
        imports.define(module: needed.module, name: needed.name, try Global(store: store, type: type, value: value))
      }
    }
    return imports
  }
}
