// What has been unmapped, for processors to learn of.
//
// A processor finds memory of the host when code first touches it, and must let go of it before the addresses mean
// something else. The runtime tells an observer, on whatever thread drops a module or a memory; but a processor
// belongs to its thread. So the observer only writes it down, and each processor reads on from where it was, before it
// enters code and after it has called the host. In between it cannot meet anything that has come since: new addresses
// reach code only through these two.
//
// One that has not run for a long time has missed a part; it forgets everything and finds it again.

import CPrecastHost
import Synchronization

enum MappingLog {
  typealias Range = (start: UInt64, end: UInt64)

  private struct State {
    var ranges: [Range] = []
    /// The number of ranges that were dropped before the first.
    var dropped = 0
  }
  private static let state = Mutex(State())
  /// All ranges so far, dropped ones included.
  private static let count = Atomic<Int>(0)
  private static let most = 4096

  private static let started: Void = {
    precast_set_mapping_observer { address, size in
      let page: UInt64 = 4096
      let start = address & ~(page - 1)
      let (last, overflow) = address.addingReportingOverflow(UInt64(size) + page - 1)
      if size == 0 || overflow { return }
      let end = last & ~(page - 1)
      NativeThunks.shared.forget(start, end)
      MappingLog.state.withLock { state in
        if state.ranges.count >= most {
          state.ranges.removeFirst(most / 2)
          state.dropped += most / 2
        }
        state.ranges.append((start, end))
        MappingLog.count.store(state.dropped + state.ranges.count, ordering: .releasing)
      }
    }
  }()

  /// Begins to keep the log, once a process.
  static func start() { started }

  /// What was written down since `position`, which moves to the end; nil if a part of it is lost.
  static func changes(since position: inout Int) -> [Range]? {
    if count.load(ordering: .acquiring) == position { return [] }
    return state.withLock { state in
      let first = position - state.dropped
      position = state.dropped + state.ranges.count
      return first < 0 ? nil : Array(state.ranges[first...])
    }
  }
}
