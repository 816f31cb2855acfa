// What the suite measured: a table for each quantity, a line for each subject, and geometric means.
//
// A ratio is our figure by the other's, from the same run: 0.5 beside a peer's means that we need half of what it needs. The
// mean over the suite is the geometric one of the ratios: it does not depend on who is divided by whom, and no subject
// counts for more because it runs longer. A subject that a contender lacks is left out of that contender's mean.

import Glibc

struct SuiteTable {
  /// What is measured on every subject.
  enum Quantity: String, CaseIterable {
    case runWall = "run, wall time"
    case runProcessor = "run, processor time"
    case compileWall = "compile, wall time"
    case compileProcessor = "compile, processor time"
    case compilePeak = "compile, peak memory"
    case text = "text"

    var unit: String {
      switch self {
      case .runWall, .runProcessor: "s"
      case .compileWall, .compileProcessor: "ms"
      case .compilePeak: "MiB"
      case .text: "KiB"
      }
    }
  }

  typealias Figures = [Quantity: [Contender: Double]]

  /// Turns of which each figure is the median.
  var runs: Int
  var rows: [(subject: String, figures: Figures)] = []
  /// What was left out, and why.
  var notes: [String] = []

  init(runs: Int) { self.runs = runs }

  /// Our figure by another's; nil where one is missing.
  private func ratio(_ figures: Figures, _ quantity: Quantity, _ contender: Contender) -> Double? {
    guard let ours = figures[quantity]?[.precast], let other = figures[quantity]?[contender] else { return nil }
    // The clock of processor time ticks by microseconds, so a figure of zero is possible in theory.
    return ours > 0 && other > 0 ? ours / other : nil
  }

  /// The geometric mean of the ratios; nil where there are none.
  func mean(_ quantity: Quantity, _ contender: Contender) -> Double? {
    let logarithms = rows.compactMap { ratio($0.figures, quantity, contender).map { log($0) } }
    return logarithms.isEmpty ? nil : exp(logarithms.reduce(0, +) / Double(logarithms.count))
  }

  /// Those beside us of whom there is a figure.
  private var others: [Contender] {
    Contender.allCases.filter { contender in
      contender != .precast && rows.contains { $0.figures[.runWall]?[contender] != nil }
    }
  }

  var text: String {
    var lines = ["medians of \(runs); a ratio is our figure by the other's: less than 1 is in our favour"]
    for quantity in Quantity.allCases {
      lines += ["", "\(quantity.rawValue) (\(quantity.unit))"]
      var heading = "  " + pad("", 16) + right("precast", 10)
      for other in others { heading += right(other.rawValue, 12) + right("ratio", 8) }
      lines.append(heading)
      for (subject, figures) in rows {
        var line = "  " + pad(subject, 16) + right(figures[quantity]?[.precast].map(format) ?? "", 10)
        for other in others {
          line += right(figures[quantity]?[other].map(format) ?? "-", 12)
          line += right(ratio(figures, quantity, other).map { decimals($0, 2) } ?? "-", 8)
        }
        lines.append(line)
      }
      var last = "  " + pad("geometric mean", 16) + right("", 10)
      for other in others { last += right(mean(quantity, other).map { decimals($0, 2) } ?? "-", 20) }
      lines.append(last)
    }
    if !notes.isEmpty { lines += [""] + notes.map { "note: \($0)" } }
    return lines.joined(separator: "\n") + "\n"
  }

  var json: String {
    let tables = Quantity.allCases.map { quantity in
      let rows = rows.map { subject, figures in
        let figures = Contender.allCases.compactMap { contender in
          figures[quantity]?[contender].map { "\(quote(contender.rawValue)): \(plain($0))" }
        }
        return "        {\"subject\": \(quote(subject)), \"figures\": {\(figures.joined(separator: ", "))}}"
      }
      let means = others.compactMap { other in
        mean(quantity, other).map { "\(quote(other.rawValue)): \(plain($0))" }
      }
      return "    {\n      \"quantity\": \(quote(quantity.rawValue)), \"unit\": \(quote(quantity.unit)),\n"
        + "      \"rows\": [\n\(rows.joined(separator: ",\n"))\n      ],\n"
        + "      \"geometric_means_of_ratios\": {\(means.joined(separator: ", "))}\n    }"
    }
    return "{\n  \"runs\": \(runs),\n  \"tables\": [\n\(tables.joined(separator: ",\n"))\n  ],\n"
      + "  \"notes\": [\(notes.map(quote).joined(separator: ", "))]\n}\n"
  }
}

private func right(_ text: String, _ width: Int) -> String {
  String(repeating: " ", count: max(1, width - text.count)) + text
}
