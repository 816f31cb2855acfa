// The suite: kernels and programs, compiled and run by us, by a peer's two compilers, and natively.
//
// It answers how good the generated code is, and what it costs to make. A kernel (TestData/Kernels) is C of our own, so there is
// a native build of the same source to compare with; boolector and cc1 of the corpus are what real modules look like. All
// compile for the processor at hand: a peer does so by default, we when told to. Native code is built for the architecture's
// baseline, as most programs are.
//
// Each step of a subject, first compiling, then running, goes in rounds: in a round every contender has one turn, and the
// one that begins moves on from round to round. A turn is a process of its own. What a run prints is compared with what is
// expected, every time: a figure for a wrong result would be worse than none, so that ends the suite.

import Glibc

/// What the words behind `suite` ask for.
struct SuiteOptions {
  /// Turns of each contender in each step.
  var runs = 5
  var json = false
  /// Names of the subjects to take; all where it is empty.
  var only: [String] = []

  init(_ words: [String]) throws(BenchmarkError) {
    var words = words[...]
    while let word = words.popFirst() {
      switch word {
      case "--json": json = true
      case "--runs":
        guard let runs = words.popFirst().flatMap({ Int($0) }), (1...1000).contains(runs) else {
          throw BenchmarkError("--runs takes a number from 1 to 1000")
        }
        self.runs = runs
      case "--only":
        guard let name = words.popFirst() else { throw BenchmarkError("--only takes the name of a kernel or program") }
        only.append(name)
      default: throw BenchmarkError("usage: precast-bench suite [--runs N] [--only NAME]... [--json]")
      }
    }
  }
}

/// Who takes part; the order is that of the columns.
enum Contender: String, CaseIterable {
  case precast, winch, cranelift, native
}

/// A program of the suite, and its work.
struct SuiteSubject {
  /// How a run that did its work is told.
  enum Expectation {
    /// Exactly this on standard output.
    case output(String)
    /// A file of that name in the benchmarks' folder, with that SHA-256 in hexadecimal digits.
    case file(String, digest: String)
  }

  var name: String
  /// Path of the module.
  var module: String
  /// Path of the C source that the module was made from.
  var source: String?
  /// Arguments of a run; `/io` is the benchmarks' folder.
  var arguments: [String] = []
  /// Exit statuses of a run that did its work.
  var accepted: Set<Int32> = [0]
  var expectation: Expectation

  /// The kernels, and what there is of the corpus.
  static func all() throws(BenchmarkError) -> [SuiteSubject] {
    try kernels() + corpus()
  }

  /// From the lines of `expected.txt`, `name size checksum`: of each name, the last has the full size.
  private static func kernels() throws(BenchmarkError) -> [SuiteSubject] {
    let folder = "TestData/Kernels"
    var subjects: [SuiteSubject] = []
    for line in try contents(of: "\(folder)/expected.txt").split(separator: "\n") {
      guard let name = line.split(separator: " ").first.map(String.init) else { continue }
      if subjects.last?.name == name { subjects.removeLast() }
      subjects.append(
        SuiteSubject(
          name: name, module: "\(folder)/\(name).wasm", source: "\(folder)/\(name).c",
          expectation: .output(line + "\n")))
    }
    return subjects
  }

  private static func corpus() throws(BenchmarkError) -> [SuiteSubject] {
    var subjects: [SuiteSubject] = []
    for workload in Workload.all where isReadable("TestData/Corpus/\(workload.file)") {
      subjects.append(
        SuiteSubject(
          name: workload.name, module: "TestData/Corpus/\(workload.file)", arguments: workload.arguments,
          accepted: workload.accepted,
          expectation: workload.name == "cc1"
            ? .file("large.s", digest: try corpusDigest(of: "large.s")) : .output("unsat\n")))
    }
    return subjects
  }

  /// The SHA-256 that the corpus tests expect of a file. Its name is in their list once, before its digest.
  private static func corpusDigest(of file: String) throws(BenchmarkError) -> String {
    let path = "TestData/CorpusInputs/expected.json"
    for line in try contents(of: path).split(separator: "\n") {
      let words = line.split(separator: "\"")
      if words.count >= 4, words[1] == file { return String(words[3]) }
    }
    throw BenchmarkError("\(path): nothing about \(file)")
  }
}

/// The suite on one machine.
struct Suite {
  private let options: SuiteOptions
  private let bench: Workbench
  /// A C compiler, the one that made the modules if it is here.
  private let compiler: String?
  private let subjects: [SuiteSubject]

  init(_ options: SuiteOptions) throws(BenchmarkError) {
    self.options = options
    bench = try Workbench(runs: options.runs)
    compiler = ["clang-19", "clang", "cc"].lazy.compactMap { findProgram($0) }.first
    let all = try SuiteSubject.all()
    for name in options.only where !all.contains(where: { $0.name == name }) {
      throw BenchmarkError("\(name): there are \(all.map(\.name).joined(separator: ", "))")
    }
    subjects = options.only.isEmpty ? all : all.filter { options.only.contains($0.name) }
    if subjects.contains(where: { $0.name == "boolector" || $0.name == "cc1" }) {
      let inputs = ["TestData/CorpusInputs/prime.smt2", "TestData/Corpus/large.c"].filter(isReadable)
      _ = try Command(program: findProgram("cp") ?? "/bin/cp", arguments: inputs + [bench.folder]).run()
    }
  }

  /// Runs it.
  ///
  /// - Throws: `BenchmarkError`, too, where a run's result is wrong.
  func run() throws(BenchmarkError) -> SuiteTable {
    var table = SuiteTable(runs: options.runs)
    if bench.wasmtime == nil { table.notes.append("no wasmtime command here: there are no figures of a peer's") }
    if compiler == nil { table.notes.append("no C compiler here: there are no figures of native code") }
    let absent = Workload.all.filter { !isReadable("TestData/Corpus/\($0.file)") }.map(\.name)
    if !absent.isEmpty { table.notes.append("not in TestData/Corpus: \(absent.joined(separator: ", "))") }
    for (index, subject) in subjects.enumerated() {
      progress("\(subject.name), \(index + 1) of \(subjects.count)")
      table.rows.append((subject.name, try measure(subject)))
    }
    progress("")
    return table
  }

  /// What one contender does with one subject.
  private struct Turn {
    var contender: Contender
    var compile: Command
    var run: Command
    /// The ELF file that the one writes and the other executes.
    var product: String
  }

  private func measure(_ subject: SuiteSubject) throws(BenchmarkError) -> SuiteTable.Figures {
    let turns = self.turns(subject)
    var compiling: [[Cost]] = turns.map { _ in [] }
    var running = compiling
    for round in 0..<options.runs {
      for step in turns.indices {
        let index = (step + round) % turns.count
        compiling[index].append(try turns[index].compile.run())
      }
    }
    for round in 0..<options.runs {
      for step in turns.indices {
        let index = (step + round) % turns.count
        running[index].append(try run(turns[index], subject))
      }
    }
    var figures: SuiteTable.Figures = [:]
    for (index, turn) in turns.enumerated() {
      func note(_ quantity: SuiteTable.Quantity, _ value: Double) {
        figures[quantity, default: [:]][turn.contender] = value
      }
      note(.runWall, median(running[index].map { Double($0.wall) / 1e9 }))
      note(.runProcessor, median(running[index].map { Double($0.processor) / 1e9 }))
      note(.compileWall, median(compiling[index].map { Double($0.wall) / 1e6 }))
      note(.compileProcessor, median(compiling[index].map { Double($0.processor) / 1e6 }))
      note(.compilePeak, median(compiling[index].map { Double($0.peak) / 1048576 }))
      note(.text, Double(try textSize(of: turn.product)) / 1024)
    }
    return figures
  }

  /// One run, with a look at its result.
  private func run(_ turn: Turn, _ subject: SuiteSubject) throws(BenchmarkError) -> Cost {
    let output = "\(bench.folder)/output.txt"
    // What an earlier run wrote must not pass for this one's.
    if case .file(let name, _) = subject.expectation { unsafe unlink("\(bench.folder)/\(name)") }
    let cost = try turn.run.run(output: output)
    let isRight: Bool
    switch subject.expectation {
    case .output(let text): isRight = try contents(of: output) == text
    case .file(let name, let digest):
      guard let program = findProgram("sha256sum") else { throw BenchmarkError("there is no sha256sum to check with") }
      _ = try Command(program: program, arguments: ["\(bench.folder)/\(name)"]).run(output: output)
      isRight = try contents(of: output).hasPrefix(digest)
    }
    guard isRight else { throw BenchmarkError("\(subject.name) under \(turn.contender.rawValue): the result is wrong") }
    return cost
  }

  /// The turns of those contenders that are here.
  private func turns(_ subject: SuiteSubject) -> [Turn] {
    var turns: [Turn] = []
    for contender in Contender.allCases {
      let product = "\(bench.folder)/suite-\(subject.name).\(contender.rawValue)"
      let guest = ["--dir", "\(bench.folder)::/io", product] + subject.arguments
      switch contender {
      case .precast:
        turns.append(
          Turn(
            contender: contender,
            compile: Command(
              program: bench.precast,
              arguments: ["compile", "--cpu-features", "native", subject.module, "-o", product]),
            run: Command(program: bench.precast, arguments: ["run"] + guest, accepted: subject.accepted),
            product: product))
      case .winch, .cranelift:
        guard let wasmtime = bench.wasmtime else { continue }
        let option = ["-C", "compiler=\(contender.rawValue)"]
        turns.append(
          Turn(
            contender: contender,
            compile: Command(program: wasmtime, arguments: ["compile"] + option + [subject.module, "-o", product]),
            run: Command(
              program: wasmtime, arguments: ["run"] + option + ["--allow-precompiled"] + guest,
              accepted: subject.accepted),
            product: product))
      case .native:
        guard let compiler, let source = subject.source else { continue }
        // The options that the modules were made with (`make kernels-wasm`).
        let options = ["-O2", "-ffp-contract=off", "-fno-math-errno"]
        turns.append(
          Turn(
            contender: contender,
            compile: Command(program: compiler, arguments: options + ["-o", product, source]),
            run: Command(program: product, arguments: subject.arguments, accepted: subject.accepted),
            product: product))
      }
    }
    return turns
  }

  /// One line on a terminal, in place of the one before; an empty one at the end.
  private func progress(_ text: String) {
    guard isatty(STDERR_FILENO) == 1 else { return }
    let line = Array("\r\u{1B}[K\(text)".utf8)
    _ = unsafe line.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}
