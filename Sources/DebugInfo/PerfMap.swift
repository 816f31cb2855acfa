// A perf map: `/tmp/perf-PID.map`, one line for each piece of code, START SIZE NAME in hexadecimal.
//
// perf resolves a mapped file's symbols by itself, so artifacts from files need no line (they get one all the same: other
// profilers know nothing but the map). Code of modules from memory is mapped from a file too, but one without a name; perf looks
// for a map only where code is in anonymous memory. (tools/perf/Documentation/jit-interface.txt)

import CPrecastHost
import Glibc
import PrecastLoader

enum PerfMap {
  // Guarded by `ProfilerFile.withLock`.
  private nonisolated(unsafe) static var file = ProfilerFile()

  /// Adds the artifact's code to the process's map.
  static func add(_ artifact: LoadedArtifact) {
    let lines = lines(of: artifact)
    if artifact.currentPath?.hasPrefix("/memfd:") == true {
      _ = precast_make_text_anonymous(UInt64(artifact.textBase), artifact.textSize)
    }
    ProfilerFile.withLock {
      if unsafe file.open({ _ in ProfilerFile.create("/tmp/perf-\(getpid()).map") }) { _ = unsafe file.append(lines) }
    }
  }

  /// The lines of an artifact's code.
  static func lines(of artifact: LoadedArtifact) -> [UInt8] {
    var lines: [UInt8] = []
    for piece in artifact.codePieces() {
      let start = UInt64(artifact.textBase) + UInt64(piece.textOffset)
      lines += "\(String(start, radix: 16)) \(String(piece.size, radix: 16)) \(piece.name)\n".utf8
    }
    return lines
  }
}
