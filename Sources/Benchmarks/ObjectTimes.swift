// Loading a module as an object, beside loading it finished; and finishing it.
//
// A finished artifact is mapped, and that is all. An object's calls are resolved when it is loaded, so it is read, laid out
// and copied to where it runs: the cost grows with the module. How fast it grows, and with what, is shown here. Both are
// loaded in turn in this process, from files in the kernel's cache. The object is read from its file at each turn, as a
// host does that loads it once.

import Glibc
import Precast
import PrecastLinker
import PrecastLoader
import PrecastRuntime

/// Times of one module in both forms.
private struct ObjectTimes {
  var finished = Samples()
  var object = Samples()
  var finishedDrop = Samples()
  var objectDrop = Samples()
  /// Reading the object's file.
  var read = Samples()
  /// By `LinkStep`.
  var steps = [Samples](repeating: Samples(), count: LinkStep.allCases.count)
  /// From a file to a file.
  var link = Samples()

  init(artifact: String, object path: String, output: String, runs: Int) throws(BenchmarkError) {
    do {
      let engine = Engine()
      // An array decides when the module goes: the optimiser may end a local's life wherever it likes.
      var modules: [Module] = []
      modules.reserveCapacity(1)
      let warmUp = runs / 10 + 2
      for turn in -warmUp..<runs {
        let start = now()
        modules.append(try Module(engine: engine, deserializeFile: artifact))
        let loaded = now()
        modules.removeAll(keepingCapacity: true)
        let dropped = now()

        let clock = StepClock()
        let layout = LinkLayout { clock.ended($0) }
        let before = now()
        var objects = [try LinkableObject(contentsOfFile: path)]
        clock.last = now()
        let readEnd = clock.last
        modules.append(try Module(engine: engine, linking: objects, layout: layout))
        // A host needs the object no longer.
        objects.removeAll()
        let linked = now()
        modules.removeAll(keepingCapacity: true)
        let gone = now()

        try ObjectLinking.link([LinkableObject(contentsOfFile: path)], toFile: output, durable: false)
        let written = now()
        if turn < 0 { continue }
        finished.add(from: start, to: loaded)
        finishedDrop.add(from: loaded, to: dropped)
        object.add(from: before, to: linked)
        objectDrop.add(from: linked, to: gone)
        read.add(from: before, to: readEnd)
        for step in LinkStep.allCases { steps[step.rawValue].add(from: 0, to: clock.nanoseconds[step.rawValue]) }
        link.add(from: gone, to: written)
      }
    } catch {
      throw BenchmarkError("\(path): \(error)")
    }
  }
}

/// What each step of a link took.
private final class StepClock: @unchecked Sendable {
  // Used by the thread that links, which is the one that asks afterwards.
  var last: UInt64 = 0
  var nanoseconds = [UInt64](repeating: 0, count: LinkStep.allCases.count)

  func ended(_ step: LinkStep) {
    let time = now()
    nanoseconds[step.rawValue] += time - last
    last = time
  }
}

extension LinkStep {
  fileprivate var title: String {
    switch self {
    case .symbols: "headers and symbols"
    case .layout: "layout"
    case .relocations: "code, data, relocations"
    case .tables: "tables"
    case .sums: "checksums, digest, memory"
    case .mapping: "map, protect, register"
    }
  }
}

extension Workbench {
  /// Modules from a hello world to 200,000 functions, finished and not.
  func objects(_ report: inout Report) throws(BenchmarkError) {
    for subject in try loadSubjects() {
      let files = (finished: try artifact(of: subject), object: try object(of: subject))
      let turns = max(runs, 3) * (subject.runs > 400 ? 67 : 7)
      let times = try ObjectTimes(
        artifact: files.finished, object: files.object, output: "\(folder)/linked.cwasm", runs: turns)
      func add(_ quantity: String, _ unit: Unit, _ figures: [(String, Double)]) {
        report.rows.append(
          Row(benchmark: "objects, in process", subject: subject.name, quantity: quantity, unit: unit, figures: figures)
        )
      }
      add("file", .megabytes, [("finished", try megabytes(files.finished)), ("object", try megabytes(files.object))])
      for (title, finished, object) in [
        ("load", times.finished, times.object), ("drop", times.finishedDrop, times.objectDrop),
      ] {
        add(title, .microseconds, [("finished", finished.median), ("object", object.median)])
        add("\(title), least", .microseconds, [("finished", finished.minimum), ("object", object.minimum)])
      }
      add("of it read", .microseconds, [("object", times.read.median)])
      for step in LinkStep.allCases {
        add("of it \(step.title)", .microseconds, [("object", times.steps[step.rawValue].median)])
      }
      add("link to a file", .microseconds, [("object", times.link.median)])
    }
  }

  private func megabytes(_ path: String) throws(BenchmarkError) -> Double {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw BenchmarkError("\(path): is not there") }
    return Double(status.st_size) / 1e6
  }
}
