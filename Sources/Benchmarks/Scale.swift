// Ten thousand artifacts loaded at once, from several threads, then dropped in random order.
//
// What must not grow is the cost of one more: so the loads of the first tenth are compared with those of the last, and the
// drops likewise. Each artifact is a file of its own, a copy of a small one that has a data image, so each costs what it
// costs a host: a descriptor and two mappings. What they are counted by, before, full and after, is what the kernel says of
// this process in /proc/self. The unwinder's share stands apart (UnwinderShare.swift).
//
// Threads take turns on the machine's processors, so a single time may include another thread's: figures are medians.

import Glibc
import Precast
import PrecastLoader
import PrecastRuntime
import Synchronization

/// What the process holds.
struct Holdings {
  var descriptors: Int
  var mappings: Int
  /// Resident bytes.
  var resident: UInt64

  /// As of now.
  init() {
    descriptors = files("/proc/self/fd/*").count
    mappings = (try? contents(of: "/proc/self/maps"))?.split(separator: "\n").count ?? 0
    let pages = (try? contents(of: "/proc/self/statm"))?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }
    resident = (pages ?? 0) * UInt64(sysconf(Int32(_SC_PAGESIZE)))
  }
}

/// The experiment.
final class Scale: Sendable {
  /// Time of an operation, in nanoseconds.
  private struct Sample {
    /// Its place among the operations, as they began.
    var order: Int
    var total: UInt64
    var unwinder: UInt64
    var rest: UInt64 { total - min(total, unwinder) }
  }

  private struct State {
    var modules: [[Module]]
    var samples: [Sample] = []
    var lookups: [Double] = []
    var failure: String?
  }

  private let count: Int
  private let threads: Int
  private let folder: String
  private let engine = Engine()
  private let state: Mutex<State>
  private let next = Atomic<Int>(0)
  private let isOver = Atomic<Bool>(false)
  /// The order in which modules go.
  private let shuffled: [Int]

  /// Copies `artifact` so often, into a folder beside it.
  init(artifact: String, count: Int, threads: Int = 4) throws(BenchmarkError) {
    self.count = count
    self.threads = threads
    folder = artifact + ".copies"
    state = Mutex(State(modules: Array(repeating: [], count: count)))
    var random = Random(seed: 11)
    var order = Array(0..<count)
    for index in order.indices.reversed() { order.swapAt(index, random.below(index + 1)) }
    shuffled = order
    unsafe mkdir(folder, 0o755)
    for index in 0..<count { try copyFile(artifact, to: path(index)) }
  }

  deinit {
    for index in 0..<count { unsafe unlink(path(index)) }
    unsafe rmdir(folder)
  }

  private func path(_ index: Int) -> String { "\(folder)/\(index).cwasm" }

  /// Loads all, looks up, drops all; adds rows to the report.
  func run(_ report: inout Report) throws(BenchmarkError) {
    let first: LoadedArtifact
    do { first = try LoadedArtifact(path: path(0)) } catch { throw BenchmarkError("\(error)") }
    // What is made once in a process, or grows to its size, is there before anything is counted.
    try perform(loadNext, withReader: first)
    try perform(dropNext, withReader: first)

    let before = Holdings()
    let alone = timeToFindModules([first])
    let loads = try perform(loadNext, withReader: first)
    let whileLoading = median(state.withLock { $0.lookups })
    let full = Holdings()
    // The artifacts must not outlive their modules: they are gone with the call.
    let among = timeToFindModules(state.withLock { $0.modules.compactMap { $0.first?.artifact } })
    let drops = try perform(dropNext, withReader: first)
    let whileDropping = median(state.withLock { $0.lookups })
    let after = Holdings()

    let heading = "scale: \(count) artifacts, \(threads) threads"
    func row(_ quantity: String, _ unit: Unit, _ figures: [(name: String, value: Double)]) {
      report.rows.append(Row(benchmark: heading, subject: "", quantity: quantity, unit: unit, figures: figures))
    }
    for (name, samples) in [("load", loads), ("drop", drops)] {
      row("\(name) without the unwinder", .microseconds, tenths(samples) { $0.rest })
      row("\(name), the unwinder's share", .microseconds, tenths(samples) { $0.unwinder })
    }
    row(
      "pc to module", .nanoseconds,
      [("alone", alone), ("while they load", whileLoading), ("among all", among), ("while they go", whileDropping)])
    func holdings(_ quantity: String, _ unit: Unit, _ value: (Holdings) -> Double) {
      row(quantity, unit, [("before", value(before)), ("full", value(full)), ("after", value(after))])
    }
    holdings("descriptors", .count) { Double($0.descriptors) }
    holdings("mappings", .count) { Double($0.mappings) }
    holdings("resident memory", .mebibytes) { Double($0.resident) / 1_048_576 }
  }

  // MARK: What threads do

  /// One step of a worker: an operation with its number, timed. False when there are none left.
  private typealias Step = @Sendable (Int) throws -> Sample

  private func loadNext(_ order: Int) throws -> Sample {
    let path = path(order)
    _ = UnwinderShare.take()
    let start = now()
    let module = try Module(engine: engine, deserializeFile: path)
    let end = now()
    let share = UnwinderShare.take()
    state.withLock { $0.modules[order].append(module) }
    return Sample(order: order, total: end - start, unwinder: share)
  }

  private func dropNext(_ order: Int) throws -> Sample {
    // An array decides when the module goes: the optimiser may end a local's life wherever it likes.
    var last = state.withLock { state in
      var taken: [Module] = []
      swap(&taken, &state.modules[shuffled[order]])
      return taken
    }
    _ = UnwinderShare.take()
    let start = now()
    last.removeAll(keepingCapacity: true)
    let end = now()
    return Sample(order: order, total: end - start, unwinder: UnwinderShare.take())
  }

  /// Performs `count` steps on all threads; meanwhile one more looks up places in `reader`.
  @discardableResult
  private func perform(_ step: @escaping Step, withReader reader: LoadedArtifact?) throws(BenchmarkError) -> [Sample] {
    next.store(0, ordering: .relaxed)
    isOver.store(false, ordering: .relaxed)
    state.withLock { state in
      state.samples = []
      state.lookups = []
    }
    let lookups = reader.map { reader in
      Worker {
        while !self.isOver.load(ordering: .relaxed) {
          let time = timeToFindModules([reader], batches: 1)
          self.state.withLock { $0.lookups.append(time) }
        }
      }
    }
    let workers = (0..<threads).map { _ in Worker { self.work(step) } }
    for worker in workers { worker.join() }
    isOver.store(true, ordering: .relaxed)
    lookups?.join()
    return try state.withLock { state throws(BenchmarkError) in
      if let failure = state.failure { throw BenchmarkError(failure) }
      return state.samples.sorted { $0.order < $1.order }
    }
  }

  private func work(_ step: Step) {
    UnwinderShare.open()
    defer { UnwinderShare.close() }
    var mine: [Sample] = []
    do {
      while true {
        let order = next.wrappingAdd(1, ordering: .relaxed).oldValue
        if order >= count { break }
        mine.append(try step(order))
      }
    } catch {
      state.withLock { $0.failure = "\(error)" }
    }
    state.withLock { $0.samples += mine }
  }

  /// Medians of the first and the last tenth, in microseconds.
  private func tenths(_ samples: [Sample], _ value: (Sample) -> UInt64) -> [(name: String, value: Double)] {
    let tenth = max(1, samples.count / 10)
    func middle(_ part: ArraySlice<Sample>) -> Double { median(part.map { Double(value($0)) / 1000 }) }
    return [("first tenth", middle(samples.prefix(tenth))), ("last tenth", middle(samples.suffix(tenth)))]
  }
}

/// A thread.
private final class Worker {
  private var handle = pthread_t()

  /// Starts one that performs `body`.
  init(_ body: @escaping @Sendable () -> Void) {
    let box = unsafe Unmanaged.passRetained(Body(body))
    let status = unsafe pthread_create(
      &handle, nil,
      { argument in
        // Retained for this thread just above; a thread always gets its argument.
        if let argument = unsafe argument { unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().perform() }
        return nil
      }, box.toOpaque())
    precondition(status == 0, "no thread to be had")
  }

  /// Waits for its end.
  func join() { pthread_join(handle, nil) }

  private final class Body: Sendable {
    let perform: @Sendable () -> Void
    init(_ perform: @escaping @Sendable () -> Void) { self.perform = perform }
  }
}

private func copyFile(_ from: String, to: String) throws(BenchmarkError) {
  let source = unsafe open(from, O_RDONLY)
  let target = unsafe open(to, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  defer {
    close(source)
    close(target)
  }
  guard source >= 0, target >= 0 else { throw BenchmarkError("\(to): cannot be written (error \(errno))") }
  while true {
    let copied = sendfile(target, source, nil, 1 << 20)
    if copied == 0 { return }
    guard copied > 0 else { throw BenchmarkError("\(to): cannot be written (error \(errno))") }
  }
}
