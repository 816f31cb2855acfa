// Loading and instantiating, ours and the peer's, on the same modules in one run.
//
// Each turn is a process of its own that loads an artifact some hundreds of times and prints four lines; ours is
// `precast-bench load FILE`. Turns alternate, forwards in one round and backwards in the next, so that whatever the machine
// does meanwhile meets every contender. A figure is the median of the turns' medians; beside it stands the least of all
// times, which other work on the machine moves least.
//
// The peer has two ways to allocate instances: its default, and a pool that an embedder sizes beforehand. Ours has a pool
// without being asked, so both are shown.

import Glibc

/// The four lines that a turn prints: the least and the median, in microseconds.
private struct Turn {
  var times: [(minimum: Double, median: Double)] = []

  static let names = ["load", "drop", "instantiate", "instantiate_cycle"]
  static let titles = ["load", "drop", "instantiate", "store, instance, and their end"]

  /// Reads `NAME_us min A median B`, four times.
  init(_ text: String) throws(BenchmarkError) {
    let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
    for name in Self.names {
      guard let line = lines.first(where: { $0.first == "\(name)_us" }), line.count == 5,
        let minimum = Double(line[2]), let median = Double(line[4])
      else { throw BenchmarkError("no line '\(name)_us' in: \(text)") }
      times.append((minimum, median))
    }
  }
}

extension Workbench {
  /// Load, drop, instantiate and the whole cycle, in processes that do nothing else.
  func load(_ report: inout Report) throws(BenchmarkError) {
    let peer: PeerLibrary?
    do {
      peer = try PeerLibrary(folder: folder)
    } catch {
      peer = nil
      report.notes.append("loading is ours alone: \(error)")
    }
    for subject in try loadSubjects() {
      var contenders = [
        (
          "precast",
          Command(program: Command.itself, arguments: ["load", try artifact(of: subject), "\(subject.runs)"])
        )
      ]
      if let peer {
        let compiled = artifactPath(subject, "library-\(peer.version)")
        try peer.compile(subject.wasm, to: compiled)
        contenders.append(("wasmtime \(peer.version)", peer.load(compiled, runs: subject.runs, pooling: false)))
        contenders.append(("its pool", peer.load(compiled, runs: subject.runs, pooling: true)))
      }
      try compare(subject, contenders, &report)
    }
  }

  private func compare(
    _ subject: LoadSubject, _ contenders: [(String, Command)], _ report: inout Report
  ) throws(BenchmarkError) {
    var turns: [[Turn]] = contenders.map { _ in [] }
    for round in 0..<max(3, runs) {
      let order = Array(contenders.indices)
      for index in round % 2 == 0 ? order : order.reversed() {
        turns[index].append(try Turn(contenders[index].1.text(in: folder)))
      }
    }
    for (index, title) in Turn.titles.enumerated() {
      for least in [false, true] {
        var figures = zip(contenders, turns).map { contender, turns in
          let times = turns.map { $0.times[index] }
          return (
            name: contender.0, value: least ? times.map(\.minimum).min() ?? 0 : median(times.map(\.median))
          )
        }
        // The pool has no part in loading.
        if index < 2 { figures = Array(figures.prefix(2)) }
        report.rows.append(
          Row(
            benchmark: "load, in process, \(max(3, runs)) turns each", subject: subject.name,
            quantity: least ? "\(title), least" : title, unit: .microseconds, figures: figures))
      }
    }
  }
}
