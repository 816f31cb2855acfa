// artifact-holder FILE...: loads artifacts in a process of its own, for tests that look at one from outside.
//
// Each file is loaded and dropped a few times first, between system calls that fail and do nothing else, so that a tracer's
// log shows what belongs to which: `close(-1000 - N)` before a load of file N, `close(-2000 - N)` before a drop, `close(-1)`
// after. Then all are loaded to stay. A line for each says where its text is (address, size, in hexadecimal), a last one that
// it is ready, and the process waits for the end of its input.

import Glibc
import PrecastLoader

let paths = Array(CommandLine.arguments.dropFirst())
do {
  var loaded: [LoadedArtifact] = []
  loaded.reserveCapacity(paths.count + 1)
  for _ in 0..<4 {
    for (number, path) in paths.enumerated() {
      close(-1000 - Int32(number))
      loaded.append(try LoadedArtifact(path: path))
      close(-2000 - Int32(number))
      loaded.removeAll(keepingCapacity: true)
      close(-1)
    }
  }
  for path in paths {
    let artifact = try LoadedArtifact(path: path)
    print(String(artifact.textBase, radix: 16), String(artifact.textSize, radix: 16))
    loaded.append(artifact)
  }
  print("ready")
  // All streams; there is no other thread to write to one.
  fflush(nil)
  withExtendedLifetime(loaded) { while getchar() >= 0 {} }
} catch {
  print("\(error)")
  exit(1)
}
