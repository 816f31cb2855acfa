// Compiling and running, ours and the peer's. (Loading: LoadComparison.swift; whole processes: ProcessTimes.swift.)
//
// Each is a table of contenders, ours first, and a number of rounds; in each round every contender has one turn. The work is
// that of the corpus tests (TestData/CorpusInputs), so what is timed here is checked there.

import Glibc

/// A program of the corpus, and work for it.
struct Workload {
  /// What the report calls it.
  var name: String
  /// The module, in `TestData/Corpus`.
  var file: String
  /// Arguments of a run; `/io` is a folder with the inputs.
  var arguments: [String]
  /// Exit statuses of a run that did its work.
  var accepted: Set<Int32>

  static let all = [
    Workload(name: "boolector", file: "boolector.wasm", arguments: ["--smt2", "/io/prime.smt2"], accepted: [20]),
    Workload(
      name: "cc1", file: "cc1.wasm", arguments: ["-quiet", "-O2", "-mmcu=avr5", "/io/large.c", "-o", "/io/large.s"],
      accepted: [0]),
  ]
}

struct Workbench {
  let runs: Int
  /// Our command, beside this one.
  let precast: String
  let wasmtime: String?
  let workloads: [Workload]
  /// Where artifacts and outputs go.
  let folder: String
  private let absent: [String]

  /// The peer's two compilers, by the names that its option takes.
  static let peers = ["winch", "cranelift"]

  init(runs: Int) throws(BenchmarkError) {
    self.runs = runs
    let own = CommandLine.arguments[0]
    let directory =
      own.contains("/")
      ? own.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") : "."
    let beside = [directory + "/precast", ".build/release/precast"].first(where: isExecutable)
    guard let beside else { throw BenchmarkError("the command precast is not there; build it first") }
    precast = beside
    wasmtime = findProgram("wasmtime")
    workloads = Workload.all.filter { isReadable("TestData/Corpus/\($0.file)") }
    absent = Workload.all.filter { !isReadable("TestData/Corpus/\($0.file)") }.map(\.name)
    folder = ".build/bench"
    unsafe mkdir(".build", 0o755)
    unsafe mkdir(folder, 0o755)
  }

  // MARK: Compiling

  /// Wall time and peak memory of a process that compiles a module to a file.
  func compile(_ report: inout Report) throws(BenchmarkError) {
    note(&report)
    for workload in workloads {
      let contenders = [("precast", compileCommand(workload))] + peerCommands { compileCommand(workload, peer: $0) }
      try measure("compile, \(runs) runs each", workload.name, contenders, [.wall, .processor, .peak], &report)
    }
  }

  private func compileCommand(_ workload: Workload) -> Command {
    Command(program: precast, arguments: ["compile", input(workload), "-o", artifact(workload, "precast")])
  }

  private func compileCommand(_ workload: Workload, peer: String) -> Command {
    Command(
      program: wasmtime ?? "",
      arguments: ["compile", "-C", "compiler=\(peer)", input(workload), "-o", artifact(workload, peer)])
  }

  // MARK: Running

  /// Wall time of a process that runs an artifact, loading included.
  func run(_ report: inout Report) throws(BenchmarkError) {
    note(&report)
    for name in ["prime.smt2", "factors.smt2"] { try copy("TestData/CorpusInputs/\(name)") }
    try copy("TestData/Corpus/large.c")
    for workload in workloads {
      _ = try compileCommand(workload).run()
      for (_, command) in peerCommands({ compileCommand(workload, peer: $0) }) { _ = try command.run() }
      let ours = Command(
        program: precast,
        arguments: ["run", "--dir", "\(folder)::/io", artifact(workload, "precast")] + workload.arguments,
        accepted: workload.accepted)
      let peers = peerCommands { peer in
        Command(
          program: wasmtime ?? "",
          arguments: [
            "run", "-C", "compiler=\(peer)", "--allow-precompiled", "--dir", "\(folder)::/io", artifact(workload, peer),
          ] + workload.arguments, accepted: workload.accepted)
      }
      try measure(
        "run, \(runs) runs each", workload.name, [("precast", ours)] + peers, [.wall, .processor, .peak], &report)
    }
  }

  // MARK: Measuring

  private enum Quantity { case wall, peak, processor }

  private func measure(
    _ benchmark: String, _ subject: String, _ contenders: [(String, Command)], _ quantities: [Quantity],
    _ report: inout Report
  ) throws(BenchmarkError) {
    var costs: [[Cost]] = contenders.map { _ in [] }
    for _ in 0..<runs {
      for (index, contender) in contenders.enumerated() { costs[index].append(try contender.1.run()) }
    }
    for quantity in quantities {
      var figures: [(String, Double)] = []
      for (contender, costs) in zip(contenders, costs) {
        let values = costs.map { cost in
          switch quantity {
          case .wall: Double(cost.wall) / 1e9
          case .processor: Double(cost.processor) / 1e9
          case .peak: Double(cost.peak) / 1048576
          }
        }
        figures.append((contender.0, median(values)))
      }
      let names: [Quantity: String] = [.wall: "wall", .peak: "peak memory", .processor: "processor time"]
      report.rows.append(
        Row(
          benchmark: benchmark, subject: subject, quantity: names[quantity] ?? "",
          unit: quantity == .peak ? .mebibytes : .seconds, figures: figures))
    }
  }

  private func peerCommands(_ make: (String) -> Command) -> [(String, Command)] {
    wasmtime == nil ? [] : Self.peers.map { ($0, make($0)) }
  }

  private func note(_ report: inout Report) {
    guard report.rows.isEmpty, report.notes.isEmpty else { return }
    if wasmtime == nil { report.notes.append("no wasmtime command here: compiling and running are ours alone") }
    if !absent.isEmpty { report.notes.append("not in TestData/Corpus: \(absent.joined(separator: ", "))") }
  }

  private func input(_ workload: Workload) -> String { "TestData/Corpus/\(workload.file)" }

  private func artifact(_ workload: Workload, _ compiler: String) -> String {
    "\(folder)/\(workload.name).\(compiler).cwasm"
  }

  private func copy(_ path: String) throws(BenchmarkError) {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    _ = try Command(program: findProgram("cp") ?? "/bin/cp", arguments: [path, "\(folder)/\(name)"]).run()
  }
}
