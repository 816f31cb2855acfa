// The few calls into the layers below that are not one line.

import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastLoader
import PrecastMachineCode
import PrecastWasm

/// The version that `precast --version` prints.
let precastVersion = "0.1.0"

enum Backend {
  /// Compiles a module and writes the artifact, or an object as it is asked for; adds the steps to the timings.
  static func compile(
    _ wasm: WasmBinary, settings: CompilerSettings, threads: Int?, object: ObjectOptions?,
    testingLayout: TextLayoutTesting, to output: String, _ timings: inout Timings, progress: ProgressLine
  ) throws(CompilerError) {
    var compiler = Compiler(settings: settings, threads: threads)
    compiler.testingLayout = testingLayout
    compiler.onProgress = { progress.update(done: $0, of: $1) }
    let statistics =
      if let object {
        try compiler.compileObject(wasm, options: object, toFile: output)
      } else {
        try compiler.compile(wasm, toFile: output)
      }
    timings.add("compile", seconds: statistics.decode + statistics.functions + statistics.layout)
    timings.add("  decode", seconds: statistics.decode)
    timings.add("  functions", seconds: statistics.functions)
    timings.add("  layout", seconds: statistics.layout)
    timings.add("write", seconds: statistics.write)
  }
}

extension CPUFeatures {
  /// What this machine has beyond the baseline.
  static var native: CPUFeatures { HostSettings.cpuFeatures }
}
