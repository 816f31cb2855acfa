// Making a module of wasm that the cache has: what a host waits for at every start but the first.
//
// As a path, the file is not read: its digest is known by its identity. As bytes, they have to be hashed, and hashing alone is
// timed beside it. The module is dropped each time, so memory never has it, and each turn goes to the disk's cache. The
// peer is its library with its own cache (a driver in C, see PeerLibrary), and whole processes of both commands.

import Glibc
import Precast
import PrecastCache

/// Times of hits, in this process.
struct CacheTimes {
  var file = Samples()
  var bytes = Samples()
  /// SHA-256 of the bytes.
  var hash = Samples()

  init(wasm path: String, runs: Int) throws(BenchmarkError) {
    do {
      let engine = Engine(cache: try ArtifactCache(CacheConfiguration(directory: Workbench.cacheDirectory)))
      guard let contents = fileContents(path) else { throw BenchmarkError("\(path): cannot be read") }
      var modules: [Module] = []
      modules.reserveCapacity(1)
      let warm = runs / 10 + 3
      for turn in 0..<warm + runs {
        let start = now()
        modules.append(try Module(engine: engine, wasmFile: path))
        let end = now()
        modules.removeAll(keepingCapacity: true)
        if turn >= warm { file.add(from: start, to: end) }
      }
      // Hashing takes milliseconds where the other takes microseconds.
      for turn in 0..<3 + runs / 4 {
        let start = now()
        modules.append(try Module(engine: engine, wasm: contents))
        let end = now()
        modules.removeAll(keepingCapacity: true)
        let before = now()
        let digest = Digest(of: contents)
        let after = now()
        if turn < 3 || digest.bytes.isEmpty { continue }
        bytes.add(from: start, to: end)
        hash.add(from: before, to: after)
      }
    } catch let error as BenchmarkError {
      throw error
    } catch {
      throw BenchmarkError("\(path): \(error)")
    }
  }

  /// `file_us min 8.1 median 8.4`, and so on.
  var text: String {
    [("file", file), ("bytes", bytes), ("hash", hash)].map { name, samples in
      "\(name)_us min \(hundredths(samples.minimum)) median \(hundredths(samples.median))"
    }.joined(separator: "\n")
  }

  private func hundredths(_ value: Double) -> String {
    let number = Int((value * 100).rounded())
    return "\(number / 100).\(number % 100 < 10 ? "0" : "")\(number % 100)"
  }
}

extension Workbench {
  static let cacheDirectory = ".build/bench/cache"

  /// Hits in process, as a path and as bytes, and whole processes the second time.
  func cache(_ report: inout Report) throws(BenchmarkError) {
    var peer: PeerLibrary?
    do {
      peer = try PeerLibrary(folder: folder)
    } catch {
      report.notes.append("the cache in process is ours alone: \(error)")
    }
    let settings = try peerSettings()
    let subjects: [(name: String, wasm: String, words: [String])] = [
      ("hello", "TestData/Load/hello.wasm", []), ("cc1", "TestData/Corpus/cc1.wasm", ["--version"]),
    ]
    for (name, wasm, words) in subjects where isReadable(wasm) {
      try inProcess(name, wasm, peer, settings, &report)
      try processes(name, wasm, words, settings, &report)
    }
  }

  private func inProcess(
    _ name: String, _ wasm: String, _ peer: PeerLibrary?, _ settings: String, _ report: inout Report
  ) throws(BenchmarkError) {
    var ours: [[Double]] = [[], [], []]
    var theirs: [[Double]] = [[], []]
    let turns = max(3, runs)
    for _ in 0..<turns {
      let own = try Command(program: Command.itself, arguments: ["cache", wasm, "201"]).text(in: folder)
      for (index, value) in medians(own).enumerated() where index < 3 { ours[index].append(value) }
      guard let peer else { continue }
      let other = try peer.cache(wasm, runs: 31, settings: settings).text(in: folder)
      for (index, value) in medians(other).enumerated() where index < 2 { theirs[index].append(value) }
    }
    let label = peer.map { "wasmtime \($0.version)" } ?? ""
    func row(_ quantity: String, _ figures: [(name: String, value: Double)]) {
      report.rows.append(
        Row(
          benchmark: "a hit in process, \(turns) turns each", subject: name, quantity: quantity, unit: .microseconds,
          figures: figures))
    }
    let absent = theirs[0].isEmpty
    row("as a path", [("precast", median(ours[0]))] + (absent ? [] : [(label, median(theirs[0]))]))
    row(
      "as bytes",
      [("precast", median(ours[1])), ("SHA-256 alone", median(ours[2]))] + (absent ? [] : [(label, median(theirs[1]))]))
  }

  private func processes(
    _ name: String, _ wasm: String, _ words: [String], _ settings: String, _ report: inout Report
  ) throws(BenchmarkError) {
    var contenders = [
      (
        "precast",
        Command(
          program: "/usr/bin/env",
          arguments: ["\(StandardPaths.directoryVariable)=\(Self.cacheDirectory)", precast, "run", wasm] + words)
      )
    ]
    if let wasmtime {
      contenders.append(
        (
          "wasmtime",
          Command(
            program: "/usr/bin/env", arguments: [wasmtime, "run", "-C", "cache-config=\(settings)", wasm] + words)
        ))
    }
    for (_, command) in contenders { _ = try command.run() }
    var times: [[Double]] = contenders.map { _ in [] }
    let turns = max(31, runs)
    for _ in 0..<turns {
      for (index, contender) in contenders.enumerated() {
        times[index].append(Double(try contender.1.run().wall) / 1e6)
      }
    }
    report.rows.append(
      Row(
        benchmark: "a hit in a whole process, \(turns) runs each", subject: ([name] + words).joined(separator: " "),
        quantity: "wall", unit: .milliseconds, figures: zip(contenders, times).map { ($0.0, median($1)) }))
  }

  /// A settings file for the peer, with a cache of its own beside ours.
  private func peerSettings() throws(BenchmarkError) -> String {
    // Allocated by the call, and copied before it is freed.
    guard let here = unsafe getcwd(nil, 0) else { throw BenchmarkError("there is no working directory") }
    defer { unsafe free(here) }
    let top = unsafe String(cString: here)
    let text = Array("[cache]\ndirectory = \"\(top)/\(folder)/peer-cache\"\n".utf8)
    let path = "\(folder)/peer-cache.toml"
    guard let file = unsafe fopen(path, "w") else { throw BenchmarkError("\(path): cannot be written") }
    // The buffer is the array's, for the time of the call.
    _ = unsafe text.withUnsafeBytes { unsafe fwrite($0.baseAddress, 1, $0.count, file) }
    guard unsafe fclose(file) == 0 else { throw BenchmarkError("\(path): cannot be written") }
    return path
  }

  /// The medians of lines like `file_us min A median B`.
  private func medians(_ text: String) -> [Double] {
    text.split(separator: "\n").compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }
  }
}

/// All bytes of a file; nil where it cannot be read.
private func fileContents(_ path: String) -> [UInt8]? {
  guard let file = unsafe fopen(path, "r") else { return nil }
  defer { unsafe _ = fclose(file) }
  var status = stat()
  guard unsafe fstat(fileno(file), &status) == 0 else { return nil }
  let size = Int(status.st_size)
  let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
    count = unsafe fread(buffer.baseAddress, 1, size, file)
  }
  return bytes.count == size ? bytes : nil
}
