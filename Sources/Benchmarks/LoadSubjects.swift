// What is loaded: a hello world, two published programs, and a module of 200,000 functions.
//
// Load times are compared over sizes, so the subjects span five orders of magnitude in functions, and between us and the
// peer, so each is compiled by both. The large module is made on the spot (Tests/LargeModule); the peer's artifacts stay in
// .build/bench, since its compiler takes half a minute for the larger ones.

import Glibc
import LargeModule

/// A module for the load benchmarks.
struct LoadSubject {
  /// What the report calls it.
  var name: String
  /// Path of its wasm.
  var wasm: String
  /// Timed turns in a process; fewer where the peer takes milliseconds.
  var runs: Int

  /// Number of functions of the large one.
  static let largeCount = 200_000
}

extension Workbench {
  /// The subjects that are here; the large module is written if it is not there yet.
  func loadSubjects() throws(BenchmarkError) -> [LoadSubject] {
    let large = "\(folder)/large-\(LoadSubject.largeCount).wasm"
    if !isReadable(large) { try write(LargeModule(functionCount: LoadSubject.largeCount).wasm(), to: large) }
    return [
      LoadSubject(name: "hello", wasm: "TestData/Load/hello.wasm", runs: 401),
      LoadSubject(name: "boolector", wasm: "TestData/Corpus/boolector.wasm", runs: 401),
      LoadSubject(name: "cc1", wasm: "TestData/Corpus/cc1.wasm", runs: 201),
      LoadSubject(name: "200,000 functions", wasm: large, runs: 101),
    ].filter { isReadable($0.wasm) }
  }

  /// Our artifact of a subject, made anew.
  func artifact(of subject: LoadSubject) throws(BenchmarkError) -> String {
    let path = artifactPath(subject, "precast")
    _ = try Command(program: precast, arguments: ["compile", subject.wasm, "-o", path]).run()
    return path
  }

  /// The same module, not linked.
  func object(of subject: LoadSubject) throws(BenchmarkError) -> String {
    let path = artifactPath(subject, "precast") + ".o"
    _ = try Command(program: precast, arguments: ["compile", "--emit", "object", subject.wasm, "-o", path]).run()
    return path
  }

  /// Where an artifact of a subject goes.
  func artifactPath(_ subject: LoadSubject, _ compiler: String) -> String {
    "\(folder)/\(subject.name.filter { $0 != "," && $0 != " " }).\(compiler).cwasm"
  }

  /// Writes a file, which has its name only when it is complete.
  private func write(_ bytes: [UInt8], to path: String) throws(BenchmarkError) {
    let part = path + ".part"
    guard let file = unsafe fopen(part, "w") else { throw BenchmarkError("\(part): cannot be written") }
    // The buffer is the array's, for the time of the call.
    let written = unsafe bytes.withUnsafeBytes { unsafe fwrite($0.baseAddress, 1, $0.count, file) }
    guard unsafe fclose(file) == 0, written == bytes.count, unsafe rename(part, path) == 0 else {
      throw BenchmarkError("\(path): cannot be written")
    }
  }
}

/// Whether `path` is there and not older than `other`.
func isCurrent(_ path: String, comparedTo other: String) -> Bool {
  var mine = stat()
  var theirs = stat()
  guard unsafe stat(path, &mine) == 0, unsafe stat(other, &theirs) == 0 else { return false }
  return (mine.st_mtim.tv_sec, mine.st_mtim.tv_nsec) >= (theirs.st_mtim.tv_sec, theirs.st_mtim.tv_nsec)
}
