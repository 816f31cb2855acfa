// A perf map: `/tmp/perf-PID.map`, one line for each piece of code, START SIZE NAME in hexadecimal.
//
// perf resolves a mapped file's symbols by itself, so artifacts from files need no line (they get one all the same: other
// profilers know nothing but the map). Code of modules from memory is mapped from a file too, but one without a name; perf looks
// for a map only where code is in anonymous memory. (tools/perf/Documentation/jit-interface.txt)

import CPrecastHost
import Glibc
import PrecastLoader
import Synchronization

enum PerfMap {
  private struct State {
    var descriptor: Int32 = 0
  }
  private static let state = Mutex(State())

  /// Adds the artifact's code to the process's map.
  static func add(_ artifact: LoadedArtifact) {
    var lines: [UInt8] = []
    for piece in artifact.codePieces() {
      let start = UInt64(artifact.textBase) + UInt64(piece.textOffset)
      lines += "\(String(start, radix: 16)) \(String(piece.size, radix: 16)) \(piece.name)\n".utf8
    }
    if artifact.currentPath?.hasPrefix("/memfd:") == true {
      _ = precast_make_text_anonymous(UInt64(artifact.textBase), artifact.textSize)
    }
    state.withLock { state in
      if state.descriptor == 0 { state.descriptor = ProfilerFile.create("/tmp/perf-\(getpid()).map") }
      if state.descriptor > 0 { _ = ProfilerFile.write(lines, to: state.descriptor) }
    }
  }
}
