// What it costs that stacks can be unwound: registering many modules with the process's unwinder, and walking.
//
// For each way of registering, and each number of modules: load them, unwind for the first time and again from a host
// function that a module called, drop them in random order. What must not grow with the number, with one registration for all,
// are loads, drops and unwinds, so the first tenth of each stands beside the last. The registrations are counted.
//
// The same artifact is loaded again and again: to the unwinder each mapping is another one.

import CPrecastHost
import Glibc
import Precast
import PrecastLoader
import PrecastRuntime

/// What a host function measured while wasm was below it.
private final class Walks {
  var frames = 0
  var first = 0.0
  var later = 0.0
  var ours = 0.0
}

private typealias FrameCallback = @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> CInt
private typealias Backtrace = @convention(c) (FrameCallback, UnsafeMutableRawPointer?) -> CInt

/// The process's unwinder.
private let backtrace: Backtrace? = {
  guard let address = unsafe dlsym(nil, "_Unwind_Backtrace") else { return nil }
  // Its signature, by the Itanium C++ ABI, Exception Handling.
  return unsafe unsafeBitCast(address, to: Backtrace.self)
}()

/// The number of frames of this thread's stack.
private func unwindAll() -> Int {
  var count = 0
  unsafe withUnsafeMutablePointer(to: &count) { count in
    _ = unsafe backtrace?(
      { _, count in
        // What was passed just below.
        unsafe count?.assumingMemoryBound(to: Int.self).pointee += 1
        return 0
      }, UnsafeMutableRawPointer(count))
  }
  return count
}

/// The experiment.
struct UnwindTimes {
  private let path: String
  private static let ways: [(name: String, way: UnwindRegistration)] = [
    ("each module", .perModule), ("one for all", .shared), ("none", .none),
  ]

  /// Compiles the module that everything is measured with.
  init() throws(BenchmarkError) {
    path = "/tmp/precast-bench-unwind-\(getpid()).cwasm"
    do {
      let module = try Module(engine: Engine(), wasmFile: "TestData/Load/unwind.wasm")
      try module.serialize(toFile: path, durable: false)
    } catch {
      throw BenchmarkError("\(error)")
    }
  }

  /// Adds rows to the report.
  func run(_ report: inout Report, counts: [Int]) throws(BenchmarkError) {
    defer { unsafe unlink(path) }
    do {
      for count in counts { try measure(count, &report) }
    } catch {
      throw BenchmarkError("\(error)")
    }
  }

  private func measure(_ count: Int, _ report: inout Report) throws {
    var rows: [(quantity: String, unit: Unit, figures: [(name: String, value: Double)])] = []
    func add(_ quantity: String, _ unit: Unit, _ name: String, _ value: Double) {
      if let index = rows.firstIndex(where: { $0.quantity == quantity }) {
        rows[index].figures.append((name, value))
      } else {
        rows.append((quantity, unit, [(name, value)]))
      }
    }
    for (name, way) in Self.ways {
      var configuration = EngineConfiguration()
      configuration.unwinding = way
      let engine = Engine(configuration: configuration)
      // What a process has only once, and the cost of one module among none.
      let registered = precast_registered_frames()
      let alone = try drops(of: 300, engine)

      var modules: [[Module]] = []
      var loads: [Double] = []
      modules.reserveCapacity(count)
      loads.reserveCapacity(count)
      for _ in 0..<count {
        let start = now()
        let module = try Module(engine: engine, deserializeFile: path)
        loads.append(Double(now() - start))
        modules.append([module])
      }
      add("registrations added", .count, name, Double(precast_registered_frames() - registered))
      let walks = try walk(modules[count / 2][0])

      var random = Random(seed: 7)
      var order = Array(0..<count)
      for index in order.indices.reversed() { order.swapAt(index, random.below(index + 1)) }
      var times: [Double] = []
      times.reserveCapacity(count)
      for index in order {
        // An array decides when the module goes: the optimiser may end a local's life wherever it likes.
        let start = now()
        modules[index].removeAll(keepingCapacity: true)
        times.append(Double(now() - start))
      }
      let tenth = max(1, count / 10)
      add("load, first tenth", .microseconds, name, median(Array(loads.prefix(tenth))) / 1000)
      add("load, last tenth", .microseconds, name, median(Array(loads.suffix(tenth))) / 1000)
      add("first unwind", .microseconds, name, walks.first / 1000)
      add("later unwinds", .microseconds, name, walks.later / 1000)
      add("drop, one module alone", .microseconds, name, alone / 1000)
      add("drop, first tenth", .microseconds, name, median(Array(times.prefix(tenth))) / 1000)
      add("drop, last tenth", .microseconds, name, median(Array(times.suffix(tenth))) / 1000)
      add("frames unwound", .count, name, Double(walks.frames))
      add("our own walk of 100 frames", .microseconds, name, walks.ours / 1000)
    }
    for row in rows {
      report.rows.append(
        Row(
          benchmark: "unwind: \(count) modules", subject: "", quantity: row.quantity, unit: row.unit,
          figures: row.figures))
    }
  }

  /// The median time of a drop with no other module there.
  private func drops(of count: Int, _ engine: Engine) throws -> Double {
    var times: [Double] = []
    for _ in 0..<count {
      var module = [try Module(engine: engine, deserializeFile: path)]
      let start = now()
      module.removeAll(keepingCapacity: true)
      times.append(Double(now() - start))
    }
    return median(times)
  }

  /// Walks from a host function: under it ten frames of wasm, then (our own walk) a hundred.
  private func walk(_ module: Module) throws -> Walks {
    let walks = Walks()
    let store = Store(engine: module.engine)
    var imports = Imports()
    var isDeep = false
    imports.define(
      module: "host", name: "call",
      Function(store: store, type: FunctionType(parameters: [], results: [])) { _, _ in
        if isDeep {
          walks.ours = ownWalk()
          return []
        }
        let start = now()
        walks.frames = unwindAll()
        walks.first = Double(now() - start)
        var later: [Double] = []
        for _ in 0..<101 {
          let start = now()
          _ = unwindAll()
          later.append(Double(now() - start))
        }
        walks.later = median(later)
        return []
      })
    guard let deep = try module.instantiate(store: store, imports: imports).exports[function: "deep"] else {
      throw BenchmarkError("there is no function \"deep\"")
    }
    _ = try deep.invoke([.i32(9)])
    isDeep = true
    _ = try deep.invoke([.i32(99)])
    return walks
  }
}

/// The median time of our own walk, of what has to be a hundred frames, in nanoseconds.
private func ownWalk() -> Double {
  var frames = [precast_frame](repeating: precast_frame(), count: 512)
  var truncated = false
  var times: [Double] = []
  for _ in 0..<1001 {
    let start = now()
    let count = unsafe precast_stack_walk(precast_current_activation(), &frames, frames.count, &truncated)
    times.append(count == 100 ? Double(now() - start) : .infinity)
  }
  return median(times)
}
