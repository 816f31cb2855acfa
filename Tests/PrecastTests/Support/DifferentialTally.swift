// Observations of one module in several runtimes, held against one another and counted.
//
// How deep a stack goes depends on the size of frames, which no two compilers share. So a call that ends the stack in one
// runtime may return in another, or trap otherwise. Such a call is counted apart; the runtime in which the stack ended takes
// no further part in the round, since what its instance holds from there on is no longer comparable. The others still have
// to agree with one another.

import Synchronization

/// What was observed in one runtime.
struct DifferentialSide {
  /// The runtime, in words.
  var name: String
  /// What `ModuleObserver` describes.
  var lines: [String]
}

/// What has been compared, and how much of it agreed in all runtimes.
struct DifferentialTally {
  private(set) var modules = 0
  /// Calls by outcome: "returned", or the kind of a trap.
  private(set) var calls: [String: Int] = [:]
  /// Instantiations that trapped, by the kind of the trap.
  private(set) var instantiations: [String: Int] = [:]
  /// Memories, globals and tables by those names.
  private(set) var contents: [String: Int] = [:]
  /// Calls that ended the stack in one runtime and not in another.
  private(set) var unequalDepths = 0
  /// Numbers of the AArch64 variants that had a part.
  private(set) var variants: Set<Int> = []

  static func += (sum: inout DifferentialTally, other: DifferentialTally) {
    sum.modules += other.modules
    sum.calls.merge(other.calls, uniquingKeysWith: +)
    sum.instantiations.merge(other.instantiations, uniquingKeysWith: +)
    sum.contents.merge(other.contents, uniquingKeysWith: +)
    sum.unequalDepths += other.unequalDepths
    sum.variants.formUnion(other.variants)
  }

  /// Counts a module, and what all sides agree on.
  ///
  /// - Returns: the first difference, in words; nil if there is none.
  mutating func compare(_ sides: [DifferentialSide], variant: AArch64Variant?) -> String? {
    modules += 1
    if let variant { variants.insert(variant.number) }
    let rounds = sides.map { $0.lines.split { $0.hasPrefix("round ") }.map(Array.init) }
    for round in 0..<(rounds.map(\.count).max() ?? 0) {
      let lines = rounds.map { round < $0.count ? $0[round] : [] }
      if let difference = compareRound(lines, sides.map(\.name)) { return "round \(round), \(difference)" }
    }
    return nil
  }

  private mutating func compareRound(_ lines: [[String]], _ names: [String]) -> String? {
    func line(_ side: Int, _ position: Int) -> String? {
      position < lines[side].count ? lines[side][position] : nil
    }
    var taking = Array(lines.indices)
    for position in 0...(lines.map(\.count).max() ?? 0) {
      let exhausted = taking.filter { line($0, position)?.hasSuffix("trap stackOverflow") == true }
      if let first = exhausted.first {
        if exhausted.count == lines.count {
          count(line(first, position) ?? "")
          return nil
        }
        unequalDepths += 1
        taking.removeAll(where: exhausted.contains)
      }
      guard let first = taking.first else { return nil }
      let expected = line(first, position)
      if let other = taking.first(where: { line($0, position) != expected }) {
        let found = line(other, position)
        return "'\(expected ?? "the end")' in \(names[first]), '\(found ?? "the end")' in \(names[other])"
      }
      if let expected, taking.count == lines.count { count(expected) }
    }
    return nil
  }

  private mutating func count(_ line: String) {
    let trap = line.firstRange(of: ": trap ").map { String(line[$0.upperBound...]) }
    if line.hasPrefix("call ") {
      calls[trap ?? "returned", default: 0] += 1
    } else if line.hasPrefix("instantiate") {
      instantiations[trap ?? line, default: 0] += 1
    } else {
      contents[String(line.prefix { $0 != " " }), default: 0] += 1
    }
  }

  var summary: String {
    func list(_ counts: [String: Int]) -> String {
      let items = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
      return "\(counts.values.reduce(0, +)) ("
        + items.map { "\($0.key) \($0.value)" }.joined(separator: ", ") + ")"
    }
    return """
      \(modules) modules. Agreed: calls \(list(calls)), instantiations that trapped \(list(instantiations)), \
      contents at the ends of rounds \(list(contents)). \
      The stack ended in one runtime and not in another: \(unequalDepths) calls. \
      AArch64 made in \(variants.count) of \(AArch64Variant.count) ways
      """
  }
}

/// The tallies of a test's cases. The case that ends last closes the account.
final class DifferentialAccount: Sendable {
  private let state: Mutex<(tally: DifferentialTally, open: Int)>

  init(cases: Int) { state = Mutex((tally: DifferentialTally(), open: cases)) }

  /// Adds a case's tally; gives the whole when it was the last.
  func add(_ tally: DifferentialTally) -> DifferentialTally? {
    state.withLock { state in
      state.tally += tally
      state.open -= 1
      return state.open == 0 ? state.tally : nil
    }
  }
}
