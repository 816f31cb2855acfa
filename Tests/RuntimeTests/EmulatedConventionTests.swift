// The runtime's instances on the emulated AArch64 processor, with code written by hand: what the emulator and the runtime
// have to do with each other, and no compiler.

import Foundation
import Precast
import PrecastArtifact
import PrecastEmulator
import PrecastMachineCode
import Testing

@testable import PrecastEmulatedRuntime
@testable import PrecastRuntime

extension Trait where Self == ConditionTrait {
  /// Only where there are an emulator and the text format's converter.
  static var emulated: Self {
    .enabled(
      if: AArch64Processor.unavailableReason == nil && WAT.isAvailable,
      Comment(rawValue: AArch64Processor.unavailableReason ?? "wasm-tools is not there"))
  }
}

@Suite(.emulated) struct EmulatedInstances {
  private let engine = Engine(processor: EmulatedAArch64(instructionLimit: 10_000_000))

  private func instance(
    _ text: String, _ bodies: [HandMadeAArch64Module.Body], in store: Store? = nil, imports: Imports = Imports()
  ) throws -> Instance {
    try Module(engine: engine, deserialize: try HandMadeAArch64Module.artifact(text, bodies))
      .instantiate(store: store ?? Store(engine: engine), imports: imports)
  }

  private func imports(_ values: KeyValuePairs<String, ExternalValue>) -> Imports {
    var imports = Imports()
    for (name, value) in values { imports.define(module: "host", name: name, value) }
    return imports
  }

  private static let sum = "(module (func (export \"sum\") (param i32 i32) (result i32) unreachable))"

  private static func sumBody(
    _ assembler: inout AArch64Assembler, _: inout [(offset: Int, code: TrapCode)], _: ContextLayout
  ) { assembler.add(.b32, .x0, .x0, .x1) }

  @Test func areOfTheProcessorsArchitectureOnly() throws {
    let bytes = try HandMadeAArch64Module.artifact(Self.sum, [Self.sumBody])
    #expect {
      try Module(engine: Engine(), deserialize: bytes)
    } throws: {
      "\($0)".contains("aarch64")
    }
    let native = try HandMadeModule.artifact(
      Self.sum, [{ assembler, _, _ in assembler.mov(.b32, dst: .rax, immediate: 0) }])
    #expect {
      try Module(engine: engine, deserialize: native)
    } throws: {
      "\($0)".contains("x86_64") || "\($0)".contains("x86-64")
    }
  }

  @Test func computeWithTheirArguments() throws {
    let instance = try instance(Self.sum, [Self.sumBody])
    #expect(try instance.call("sum", .i32(40), .i32(2)) == [.i32(42)])
    let typed: (Int32, Int32) throws -> Int32 = try #require(instance.exports[function: "sum"]).typed()
    for value in Int32(0)..<100 { #expect(try typed(value, -1) == value - 1) }
  }

  @Test func reachTheHostWithItsMemoryAndComeBack() throws {
    let store = Store(engine: engine)
    let function = Function(store: store) { (caller: borrowing Caller, a: Int32, b: Int64) throws -> Int64 in
      #expect(try caller.memory?.readString(at: 8, count: 4) == "cast")
      return Int64(a) - b
    }
    let instance = try instance(
      """
      (module
        (import "host" "f" (func $f (param i32 i64) (result i64)))
        (memory (export "memory") 1)
        (data (i32.const 8) "cast")
        (func (export "run") (param i32 i64) (result i64) unreachable))
      """, [{ assembler, _, layout in assembler.callImport(0, layout) }], in: store,
      imports: imports(["f": .function(function)]))
    #expect(try instance.call("run", .i32(7), .i64(9)) == [Value(signed: Int64(-2))])
  }

  @Test func carryErrorsOfTheHostThroughNestedCallsUnchanged() throws {
    struct Failure: Error, Equatable { var number: Int }
    let store = Store(engine: engine)
    let inner = Box<Instance>()
    let function = Function(store: store) { (depth: Int32) in
      if depth == 0 { throw Failure(number: 5) }
      try inner.value?.call("run", .i32(UInt32(depth - 1)))
    }
    let instance = try instance(
      """
      (module (import "host" "f" (func $f (param i32))) (func (export "run") (param i32) unreachable))
      """, [{ assembler, _, layout in assembler.callImport(0, layout) }], in: store,
      imports: imports(["f": .function(function)]))
    inner.value = instance
    defer { inner.value = nil }
    for _ in 0..<3 {
      #expect(throws: Failure(number: 5)) { try instance.call("run", .i32(10)) }
    }
  }

  @Test func reportTrapsWithFramesAcrossNestedCalls() throws {
    let store = Store(engine: engine)
    let inner = Box<Instance>()
    let function = Function(store: store) { try inner.value?.call("trap") }
    let instance = try instance(
      """
      (module $m
        (import "host" "f" (func $f))
        (func $trap (export "trap") unreachable)
        (func $run (export "run") unreachable))
      """,
      [
        { assembler, sites, _ in
          sites.append((assembler.code.count, .integerDivideByZero))
          assembler.udf(1)
        },
        { assembler, _, layout in assembler.callImport(0, layout) },
      ], in: store, imports: imports(["f": .function(function)]))
    inner.value = instance
    defer { inner.value = nil }
    for _ in 0..<3 {
      let found = try #require(trap { try instance.call("run") })
      #expect(found.code == .integerDivideByZero)
      #expect(found.frames.map(\.functionIndex) == [1, 2])
      #expect(found.frames.map(\.depth) == [0, 1])
    }
  }

  @Test func meetTheEndOfTheirMemoryWhereverItIs() throws {
    let instance = try instance(
      """
      (module
        (memory (export "memory") 1 4)
        (func $load (export "load") (param i32) (result i32) unreachable)
        (func (export "grow") (param i32) (result i32) unreachable))
      """,
      [
        { assembler, sites, _ in
          sites.append((assembler.code.count, .memoryOutOfBounds))
          assembler.load(.b32, dst: .x0, from: .init(base: .x26, index: .x0, .uxtw))
        },
        { assembler, _, _ in
          assembler.mov(.b32, dst: .x2, src: .x0)
          assembler.mov(.b32, dst: .x1, immediate: 0)
          assembler.callBuiltin(.memoryGrow)
        },
      ])
    let memory = try #require(instance.exports[memory: "memory"])
    for pages in 1...4 {
      let end = pages * 65_536
      try memory.store(UInt32(pages), at: end - 4)
      #expect(try instance.call("load", .i32(UInt32(end - 4))) == [.i32(UInt32(pages))])
      let found = trap { try instance.call("load", .i32(UInt32(end))) }
      #expect(found?.code == .memoryOutOfBounds && found?.frames.map(\.functionIndex) == [0])
      #expect(trap { try instance.call("load", .i32(.max)) }?.code == .memoryOutOfBounds)
      let old = pages < 4 ? Int32(pages) : -1
      #expect(try instance.call("grow", .i32(1)) == [Value(signed: old)])
    }
  }

  @Test func comeAndGoByTheThousandAtTheSameAddresses() throws {
    // Artifacts of one size are mapped where the last one was; what one computes must not be what another did.
    for round in 0..<300 {
      let store = Store(engine: engine)
      let instance = try instance(
        "(module (memory 1) (func (export \"get\") (result i32) unreachable))",
        [{ assembler, _, _ in assembler.mov(.b32, dst: .x0, immediate: UInt64(round)) }], in: store)
      #expect(try instance.call("get") == [.i32(UInt32(round))])
    }
  }

  @Test func runOnManyThreadsAtOnce() throws {
    let module = try Module(
      engine: engine, deserialize: try HandMadeAArch64Module.artifact(Self.sum, [Self.sumBody]))
    DispatchQueue.concurrentPerform(iterations: 8) { thread in
      let sums = try? (0..<50).map { round in
        try module.instantiate(store: Store(engine: engine)).call("sum", .i32(UInt32(thread)), .i32(round))
      }
      #expect(sums == (0..<50).map { [.i32(UInt32(thread) + $0)] })
    }
  }

  @Test func endWhenTheyDoNotEnd() throws {
    let instance = try instance(
      "(module (func (export \"forever\")))",
      [
        { assembler, _, _ in
          let again = assembler.makeLabel()
          assembler.bind(again)
          assembler.b(again)
        }
      ])
    #expect {
      try instance.call("forever")
    } throws: {
      ($0 as? ProcessorStop)?.reason == .limit
    }
    #expect(throws: ProcessorStop.self) { try instance.call("forever") }
  }

  @Test func endWithoutATrapWhereNoTrapSiteIs() throws {
    let instance = try instance(
      "(module (func (export \"wild\")))", [{ assembler, _, _ in assembler.udf(3) }])
    #expect {
      try instance.call("wild")
    } throws: {
      ($0 as? ProcessorStop)?.reason == .undefined(3)
    }
  }

  @Test func haveAStackLimitOfTheirOwn() throws {
    let instance = try instance(
      "(module (func $deep (export \"deep\") (param i32)))",
      [
        { assembler, sites, layout in
          // What compiled functions do on entry: compare sp with the store's limit; then call oneself.
          let fine = assembler.makeLabel()
          assembler.load(.b64, dst: .x16, from: .init(base: .x28, displacement: Int32(ContextLayout.store)))
          assembler.load(.b64, dst: .x16, from: .init(base: .x16, displacement: Int32(StoreContextLayout.stackLimit)))
          assembler.mov(.b64, dst: .x17, src: .sp)
          assembler.cmp(.b64, .x17, .x16)
          assembler.b(.hs, fine)
          sites.append((assembler.code.count, .stackOverflow))
          assembler.udf(10)
          assembler.bind(fine)
          let itself = assembler.makeLabel()
          assembler.adr(.x16, itself)
          // The function is the first of the text.
          assembler.bind(itself)
          assembler.arithmetic(.sub, .b64, .x16, .x16, immediate: UInt64(assembler.code.count))
          assembler.blr(.x16)
        }
      ])
    let found = trap { try instance.call("deep", .i32(0)) }
    #expect(found?.code == .stackOverflow)
    #expect(found?.isTruncated == true)
    #expect(found?.frames.count == Backtrace.maximumFrameCount)
  }

  @Test func keepReferencesThatOnlyTheEmulatedStackHolds() throws {
    let store = Store(engine: engine)
    // The host's function collects while its argument's reference stands in a frame of emulated code alone.
    let collect = Function(store: store, type: FunctionType(parameters: [.externref])) { caller, _ in
      caller.store.collect()
      return []
    }
    let instance = try instance(
      """
      (module (import "host" "collect" (func (param externref)))
        (func (export "run") (param externref) (result externref) unreachable))
      """,
      [
        { assembler, _, layout in
          assembler.arithmetic(.sub, .b64, .sp, .sp, immediate: 16)
          assembler.store(.b64, to: .init(base: .sp), src: .x0)
          assembler.callImport(0, layout)
          assembler.load(.b64, dst: .x0, from: .init(base: .sp))
        }
      ], in: store, imports: imports(["collect": .function(collect)]))
    let results = try #require(instance.exports[function: "run"]).invoke([
      .externref(ExternRef(store: store, "kept"))
    ])
    guard case .externref(let reference) = results.first else {
      Issue.record("no reference")
      return
    }
    #expect(reference?.value as? String == "kept")
  }
}
