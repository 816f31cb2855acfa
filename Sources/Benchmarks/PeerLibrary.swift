// The peer's library, called from C.
//
// Loading takes microseconds, so what is timed must be the library and not a language in front of it: a small driver
// (Tests/Tools/wasmtime-load.c) opens the library that the PyPI package `wasmtime` brings, and is compiled here when it is
// first needed. It prints what `precast-bench load FILE` prints, so both sides are read by the same code.

import Glibc

/// The library, and the driver for it.
struct PeerLibrary {
  /// Path of the library.
  let library: String
  /// The package's version.
  let version: String
  /// Path of the compiled driver.
  let driver: String

  /// Finds the library and compiles the driver, in `folder`.
  ///
  /// - Throws: what is missing.
  init(folder: String) throws(BenchmarkError) {
    let packages = ".build/tools/python/lib/python3*/site-packages"
    guard
      let library = environment("PRECAST_WASMTIME_LIBRARY")
        ?? files("\(packages)/wasmtime/linux-*/_libwasmtime.so").first
    else { throw BenchmarkError("the Python package wasmtime is not in .build/tools (.ci/setup test puts it there)") }
    self.library = library
    let metadata = files("\(packages)/wasmtime-*.dist-info").first?.split(separator: "/").last ?? ""
    version = String(metadata.dropFirst("wasmtime-".count).dropLast(".dist-info".count))
    driver = "\(folder)/wasmtime-load"
    let source = "Tests/Tools/wasmtime-load.c"
    if !isCurrent(driver, comparedTo: source) {
      guard let compiler = ["cc", "clang", "gcc", "clang-19"].compactMap({ findProgram($0) }).first else {
        throw BenchmarkError("there is no C compiler for \(source)")
      }
      _ = try Command(program: compiler, arguments: ["-O2", "-o", driver, source, "-ldl"]).run()
    }
  }

  /// Compiles a module with the library, unless that has been done.
  func compile(_ wasm: String, to artifact: String) throws(BenchmarkError) {
    if isCurrent(artifact, comparedTo: wasm) { return }
    _ = try Command(program: driver, arguments: [library, "compile", wasm, artifact + ".part"]).run()
    unsafe rename(artifact + ".part", artifact)
  }

  /// A run of the driver that prints times of making a module of wasm with the library's cache.
  func cache(_ wasm: String, runs: Int, settings: String) -> Command {
    Command(program: driver, arguments: [library, "cache", wasm, "\(runs)", settings])
  }

  /// A run of the driver that prints times of an artifact.
  func load(_ artifact: String, runs: Int, pooling: Bool) -> Command {
    Command(program: driver, arguments: [library, "load", artifact, "\(runs)"] + (pooling ? ["pooling"] : []))
  }

  /// A run of the driver that prints times of calls.
  func call(_ artifact: String, batches: Int) -> Command {
    Command(program: driver, arguments: [library, "call", artifact, "\(batches)"])
  }
}

/// The files that a pattern of the shell's kind matches.
func files(_ pattern: String) -> [String] {
  var found = unsafe glob_t()
  // The list is glob's until `globfree`; the names are copied out before.
  defer { unsafe globfree(&found) }
  guard unsafe glob(pattern, 0, nil, &found) == 0 else { return [] }
  return unsafe (0..<Int(found.gl_pathc)).compactMap { index in
    guard let path = unsafe found.gl_pathv[index] else { return nil }
    return unsafe String(cString: path)
  }
}
