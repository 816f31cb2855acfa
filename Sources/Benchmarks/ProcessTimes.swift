// Whole processes: what a user waits for, and what it costs in memory, when a precompiled program does next to nothing.
//
// A hello world, and a 24 MB compiler that prints its version: the time is that of starting the process, loading,
// instantiating and leaving. Contenders take turns. The peer's command gets artifacts of its own compilers.

import Glibc

extension Workbench {
  /// Wall time and peak memory of `run` on precompiled programs.
  func process(_ report: inout Report) throws(BenchmarkError) {
    let programs: [(name: String, wasm: String, words: [String])] = [
      ("hello", "TestData/Load/hello.wasm", []), ("cc1 --version", "TestData/Corpus/cc1.wasm", ["--version"]),
    ]
    for (name, wasm, words) in programs where isReadable(wasm) {
      let stem = "\(folder)/process-" + (name.split(separator: " ").first ?? "")
      let ours = stem + ".precast.cwasm"
      _ = try Command(program: precast, arguments: ["compile", wasm, "-o", ours]).run()
      var contenders = [("precast", Command(program: precast, arguments: ["run", ours] + words))]
      for peer in wasmtime == nil ? [] : Self.peers {
        let theirs = "\(stem).\(peer).cwasm"
        if !isCurrent(theirs, comparedTo: wasm) {
          _ = try Command(
            program: wasmtime ?? "", arguments: ["compile", "-C", "compiler=\(peer)", wasm, "-o", theirs]
          ).run()
        }
        contenders.append(
          (
            peer,
            Command(
              program: wasmtime ?? "",
              arguments: ["run", "-C", "compiler=\(peer)", "--allow-precompiled", theirs] + words)
          ))
      }
      var costs: [[Cost]] = contenders.map { _ in [] }
      // A process takes milliseconds: many more turns than where it takes seconds.
      let turns = max(31, runs)
      for _ in 0..<turns {
        for (index, contender) in contenders.enumerated() { costs[index].append(try contender.1.run()) }
      }
      func row(_ quantity: String, _ unit: Unit, _ value: ([Cost]) -> Double) {
        report.rows.append(
          Row(
            benchmark: "process, \(turns) runs each", subject: name, quantity: quantity, unit: unit,
            figures: zip(contenders, costs).map { ($0.0, value($1)) }))
      }
      row("wall", .milliseconds) { median($0.map { Double($0.wall) / 1e6 }) }
      row("wall, least", .milliseconds) { $0.map { Double($0.wall) / 1e6 }.min() ?? 0 }
      row("processor time", .milliseconds) { median($0.map { Double($0.processor) / 1e6 }) }
      row("peak memory", .mebibytes) { median($0.map { Double($0.peak) / 1_048_576 }) }
    }
  }

  /// Sizes of an artifact's parts, ours and the peer's. (`readelf` reads both: both are ELF files.)
  func sizes(_ report: inout Report) throws(BenchmarkError) {
    guard let readelf = findProgram("readelf"), let workload = workloads.last else {
      report.notes.append("no sizes: readelf or cc1 is not here")
      return
    }
    let stem = "\(folder)/process-\(workload.name)"
    let contenders = [("precast", "\(stem).precast.cwasm")] + Self.peers.map { ($0, "\(stem).\($0).cwasm") }
    let sections = [".text", ".wasmtime.addrmap", ".wasmtime.traps"]
    var sizes: [(name: String, sizes: [Double])] = []
    for (name, path) in contenders where isReadable(path) {
      let text = try Command(program: readelf, arguments: ["-SW", path]).text(in: folder)
      let lines = text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
      // `[ 3] .text PROGBITS address offset size ...`, or `[13] ...`.
      let found = sections.map { section in
        let line = lines.first { $0.contains(section) } ?? []
        let place = (line.firstIndex(of: section) ?? 0) + 4
        return line.indices.contains(place) ? Double(Int(line[place], radix: 16) ?? 0) / 1e6 : 0
      }
      var file = stat()
      unsafe stat(path, &file)
      sizes.append((name, found + [found[1] + found[2], Double(file.st_size) / 1e6]))
    }
    for (index, quantity) in (sections + ["address map and traps", "file"]).enumerated() {
      report.rows.append(
        Row(
          benchmark: "sizes of an artifact", subject: workload.name, quantity: quantity, unit: .megabytes,
          figures: sizes.map { ($0.name, $0.sizes[index]) }))
    }
  }
}
