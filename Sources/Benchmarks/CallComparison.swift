// Calls, ours and the peer's, in one run.
//
// Each turn is a process that times every kind of call (ours is `precast-bench call FILE`); turns alternate, forwards in one
// round and backwards in the next. A figure is the median of the turns' medians; beside it stands the least of all batches,
// which other work on the machine moves least. Where ours has several ways to make a call, the peer's fastest stands
// beside each of them.

import Glibc

/// What a turn prints: by kind, the least and the median in nanoseconds.
private struct CallTurn {
  var times: [String: (minimum: Double, median: Double)] = [:]

  /// Reads lines such as `NAME: min A median B ns`.
  init(_ text: String) throws(BenchmarkError) {
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: ":")
      let words = parts.last?.split(separator: " ") ?? []
      guard parts.count == 2, words.count == 5, let minimum = Double(words[1]), let median = Double(words[3]) else {
        throw BenchmarkError("not a line of times: \(line)")
      }
      times[String(parts[0])] = (minimum, median)
    }
  }

  /// The figures of a kind, or of the raw call where the API has no other.
  subscript(_ name: String) -> (minimum: Double, median: Double)? {
    times[name]
      ?? times[name.replacing("closure", with: "raw").replacing("handle", with: "raw").replacing("typed", with: "raw")]
  }
}

extension Workbench {
  /// Calls of every kind, in processes that do nothing else.
  func call(_ report: inout Report) throws(BenchmarkError) {
    let module = "TestData/Load/calls.wasm"
    let artifact = "\(folder)/calls.precast.cwasm"
    _ = try Command(program: precast, arguments: ["compile", module, "-o", artifact]).run()
    var contenders = [("precast", Command(program: Command.itself, arguments: ["call", artifact]))]
    do {
      let peer = try PeerLibrary(folder: folder)
      let compiled = "\(folder)/calls.library-\(peer.version).cwasm"
      try peer.compile(module, to: compiled)
      contenders.append(("wasmtime \(peer.version)", peer.call(compiled, batches: 101)))
    } catch {
      report.notes.append("calls are ours alone: \(error)")
    }
    var turns: [[CallTurn]] = contenders.map { _ in [] }
    let rounds = max(5, runs)
    for round in 0..<rounds {
      let order = Array(contenders.indices)
      for index in round % 2 == 0 ? order : order.reversed() {
        turns[index].append(try CallTurn(contenders[index].1.text(in: folder)))
      }
    }
    for name in CallTimes.names {
      for least in [false, true] {
        let figures = zip(contenders, turns).compactMap { contender, turns -> (name: String, value: Double)? in
          let times = turns.compactMap { $0[name] }
          guard !times.isEmpty else { return nil }
          return (contender.0, least ? times.map(\.minimum).min() ?? 0 : median(times.map(\.median)))
        }
        report.rows.append(
          Row(
            benchmark: "call, \(rounds) turns each", subject: name, quantity: least ? "least" : "median",
            unit: .nanoseconds, figures: figures))
      }
    }
  }
}
