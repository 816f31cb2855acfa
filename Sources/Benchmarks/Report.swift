// What was measured, as text for people and as JSON for scripts.
//
// Absolute times move from machine to machine, so each figure of a peer stands beside its ratio to ours from the same run:
// 3.0x means that the peer took three times as much. Each figure is the median of interleaved runs (ours, peer, ours,
// peer, …), so that a change in the machine's mood meets both sides.

import Glibc

/// What a figure counts.
enum Unit: String {
  case seconds = "s"
  case milliseconds = "ms"
  case microseconds = "us"
  case nanoseconds = "ns"
  case mebibytes = "MiB"
  case megabytes = "MB"
  case count = ""
}

/// One line: something measured on us and, where there is one, on peers.
struct Row {
  /// For example `compile`.
  var benchmark: String
  /// For example `cc1`.
  var subject: String
  /// For example `wall`.
  var quantity: String
  var unit: Unit
  /// Who, and the median of the runs; ours first.
  var figures: [(name: String, value: Double)]
}

extension Row {
  /// What stands before the figures.
  fileprivate var label: String { subject.isEmpty ? quantity : "\(subject), \(quantity)" }
}

struct Report {
  var rows: [Row] = []
  /// What was left out, and why.
  var notes: [String] = []

  var text: String {
    var lines: [String] = []
    var heading = ""
    for row in rows {
      if row.benchmark != heading {
        heading = row.benchmark
        lines += ["", heading]
      }
      var line = "  " + pad(row.label, width(of: heading))
      for (index, figure) in row.figures.enumerated() {
        var cell = "\(figure.name) \(format(figure.value)) \(row.unit.rawValue)"
        if index > 0, let ours = row.figures.first?.value, ours > 0 { cell += " (\(format(figure.value / ours))x)" }
        line += pad(cell, index == 0 ? 24 : 36)
      }
      while line.last == " " { line.removeLast() }
      lines.append(line)
    }
    if !notes.isEmpty { lines += [""] + notes.map { "note: \($0)" } }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Room for what stands before the figures of a benchmark.
  private func width(of benchmark: String) -> Int {
    (rows.filter { $0.benchmark == benchmark }.map(\.label.count).max() ?? 0) + 2
  }

  var json: String {
    let items = rows.map { row in
      let figures = row.figures.map { "\(quote($0.name)): \(plain($0.value))" }.joined(separator: ", ")
      return "    {\"benchmark\": \(quote(row.benchmark)), \"subject\": \(quote(row.subject)), "
        + "\"quantity\": \(quote(row.quantity)), \"unit\": \(quote(row.unit.rawValue)), \"figures\": {\(figures)}}"
    }
    let notes = notes.map { "    \(quote($0))" }
    return "{\n  \"rows\": [\n\(items.joined(separator: ",\n"))\n  ],\n  \"notes\": [\n"
      + "\(notes.joined(separator: ",\n"))\n  ]\n}\n"
  }
}

/// The median; of an even number of values the mean of the two in the middle.
func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  guard !sorted.isEmpty else { return 0 }
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

func pad(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(1, width - text.count))
}

/// About three digits.
func format(_ value: Double) -> String {
  decimals(value, value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3)
}

func plain(_ value: Double) -> String { decimals(value, 6) }

func decimals(_ value: Double, _ count: Int) -> String {
  var scale = 1.0
  for _ in 0..<count { scale *= 10 }
  let number = Int((value * scale).rounded())
  guard count > 0 else { return String(number) }
  let digits = String(number % Int(scale))
  return "\(number / Int(scale))." + String(repeating: "0", count: count - digits.count) + digits
}

func quote(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"", "\\": result += "\\\(scalar)"
    case _ where scalar.value < 0x20: result += " "
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}
