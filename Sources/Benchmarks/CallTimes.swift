// Calls between host and wasm, one at a time.
//
// A call takes nanoseconds, so a batch of many is timed, and a figure is the median (and the least) of many batches, per
// call. Loops in wasm are timed less the same loop without a call. The loops in Swift have the host's loop in them: one
// addition and one comparison. What is called adds two integers or does nothing at all (TestData/Load/calls.wat).
//
// A peer is timed in a process of its own by Tests/Tools/wasmtime-load.c, through the fastest calls that its C API has
// (`wasmtime_func_call_unchecked`, `wasmtime_func_new_unchecked`), on the same module and in the same way.

import Glibc
import Precast
import PrecastRuntime

/// Nanoseconds of one kind of call, in this process.
struct CallTimes {
  /// The kinds, in the order in which they are printed. A peer has those that its API offers.
  static let names = [
    "enter, raw, ()", "enter, raw, (i32 i32) -> i32", "enter, closure, ()", "enter, closure, (i32 i32) -> i32",
    "enter, handle, ()", "enter, handle, (i32 i32) -> i32", "host function, raw", "host function, typed",
    "direct call", "imported function", "call_indirect, same instance", "call_indirect, other instance",
  ]

  private var figures: [String: [Double]] = [:]
  private let batches: Int
  private static let calls = 10_000
  private static let loop: UInt32 = 100_000

  /// Measures everything, or the kind whose name is `only`.
  init(artifact: String, batches: Int, only: String? = nil) throws(BenchmarkError) {
    self.batches = batches
    do {
      try measure(artifact, only)
    } catch {
      throw BenchmarkError("\(artifact): \(error)")
    }
  }

  private mutating func measure(_ artifact: String, _ only: String?) throws {
    let engine = Engine()
    let store = Store(engine: engine)
    let module = try Module(engine: engine, deserializeFile: artifact)
    let type = FunctionType(parameters: [.i32, .i32], results: [.i32])
    let raw = Function(store: store, type: type, raw: { _, slots in slots[u32: 0] = slots[u32: 0] &+ slots[u32: 1] })
    let typed = Function(store: store) { (a: Int32, b: Int32) -> Int32 in a &+ b }

    func instantiate(_ host: Function, _ other: Function) throws -> Instance {
      var imports = Imports()
      imports.define(module: "host", name: "add", host)
      imports.define(module: "other", name: "add", other)
      return try module.instantiate(store: store, imports: imports)
    }
    let first = try instantiate(raw, raw)
    let add = try function(first, "add")
    let second = try instantiate(typed, add)
    let nothing = try function(second, "nothing")

    let closure: () throws -> Void = try nothing.typed()
    let addClosure: (Int32, Int32) throws -> Int32 = try add.typed()

    let handle = try TypedFunction<Void, Void>(nothing)
    let addHandle = try TypedFunction<(Int32, Int32), Int32>(add)

    /// Batches of calls from here.
    func enter(_ name: String, _ call: () throws -> Void) rethrows {
      if let only, only != name { return }
      try call()
      for _ in 0..<batches {
        let start = now()
        try call()
        record(name, Double(now() - start) / Double(Self.calls))
      }
    }
    try enter("enter, raw, ()") {
      for _ in 0..<Self.calls {
        try nothing.invokeRaw(slotCount: 0) { _ in
        } finish: { _ in
        }
      }
    }
    try enter("enter, raw, (i32 i32) -> i32") {
      var sum: UInt32 = 0
      for index in 0..<UInt32(Self.calls) {
        sum = try add.invokeRaw(slotCount: 2) {
          $0[u32: 0] = sum
          $0[u32: 1] = index
        } finish: {
          $0[u32: 0]
        }
      }
      consume(Int(sum))
    }
    try enter("enter, closure, ()") { for _ in 0..<Self.calls { try closure() } }
    try enter("enter, closure, (i32 i32) -> i32") {
      var sum: Int32 = 0
      for index in 0..<Int32(Self.calls) { sum = try addClosure(sum, index) }
      consume(Int(sum))
    }
    try enter("enter, handle, ()") { for _ in 0..<Self.calls { try handle() } }
    try enter("enter, handle, (i32 i32) -> i32") {
      var sum: Int32 = 0
      for index in 0..<Int32(Self.calls) { sum = try addHandle(sum, index) }
      consume(Int(sum))
    }

    // Batches of loops in wasm, less the empty loop's.
    let empty = try loop(try function(first, "empty"), nil)
    func inside(_ name: String, _ instance: Instance, _ export: String, element: UInt32? = nil) throws {
      if let only, only != name { return }
      let least = empty.min() ?? 0
      for time in try loop(try function(instance, export), element) { record(name, max(0, time - least)) }
    }
    try inside("host function, raw", first, "host")
    try inside("host function, typed", second, "host")
    try inside("direct call", second, "direct")
    try inside("imported function", second, "imported")
    try inside("call_indirect, same instance", second, "indirect", element: 0)
    try inside("call_indirect, other instance", second, "indirect", element: 1)
  }

  private mutating func record(_ name: String, _ nanoseconds: Double) {
    figures[name, default: []].append(nanoseconds)
  }

  private func function(_ instance: Instance, _ name: String) throws -> Function {
    guard let function = instance.exports[function: name] else { throw BenchmarkError("no function \(name)") }
    return function
  }

  /// Nanoseconds of one round of a loop, for each batch.
  private func loop(_ function: Function, _ element: UInt32?) throws -> [Double] {
    var times: [Double] = []
    for batch in -2..<batches {
      let start = now()
      let sum = try function.invokeRaw(slotCount: 2) {
        $0[u32: 0] = Self.loop
        if let element { $0[u32: 1] = element }
      } finish: {
        $0[u32: 0]
      }
      let end = now()
      consume(Int(sum))
      if batch >= 0 { times.append(Double(end - start) / Double(Self.loop)) }
    }
    return times
  }

  /// `enter, raw, (): min 12.01 median 12.30 ns`, and so on.
  var text: String {
    Self.names.compactMap { name in
      figures[name].map { "\(name): min \(decimals($0.min() ?? 0, 2)) median \(decimals(median($0), 2)) ns" }
    }.joined(separator: "\n")
  }
}
