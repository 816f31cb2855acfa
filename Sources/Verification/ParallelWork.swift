// Work on a large file, by several threads.
//
// A file is cut into pieces of 1 MiB, and threads take the next piece each until none is left, so that
// it does not matter how fast each of them is. Results go to places that belong to the piece. Small
// files are done by the caller alone: starting a thread costs as much as a piece.

import Glibc
import Synchronization

/// Pieces of work that do not depend on one another; subclasses say what a piece is.
class ParallelWork: @unchecked Sendable {
  /// Number of pieces.
  let pieceCount: Int
  private let next = Atomic<Int>(0)

  init(pieceCount: Int) { self.pieceCount = pieceCount }

  /// Does piece `number`; called once for each, from any thread.
  func run(_ number: Int) {}

  private func takePieces() {
    while true {
      let number = next.wrappingAdd(1, ordering: .relaxed).oldValue
      if number >= pieceCount { return }
      run(number)
    }
  }

  /// Does all pieces; what they wrote can be read when this returns.
  final func runAll() {
    // Below some pieces a thread costs more than it saves; above a few, memory is the limit.
    let processors = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    let helpers = min(processors, 8, pieceCount / 4) - 1
    var threads: [pthread_t] = []
    for _ in 0..<max(0, helpers) {
      var thread = pthread_t()
      // The thread borrows `self`, which lives until all threads are joined below.
      let started = unsafe pthread_create(
        &thread, nil,
        { argument in
          unsafe Unmanaged<ParallelWork>.fromOpaque(argument!).takeUnretainedValue().takePieces()
          return nil
        }, Unmanaged.passUnretained(self).toOpaque())
      if started != 0 { break }
      threads.append(thread)
    }
    takePieces()
    for thread in threads { _ = pthread_join(thread, nil) }
  }
}
