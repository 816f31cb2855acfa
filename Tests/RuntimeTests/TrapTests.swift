// Every kind of trap, what it says, and how it passes through hosts.

import Foundation
import Precast
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct Traps {
  @Test func haveTheSpecificationsWords() throws {
    let instance = try World().instance(
      """
      (module
        (memory 1)
        (table 2 funcref)
        (elem (i32.const 0) $wrong)
        (type $void (func))
        (func $wrong (param i32))
        (func $unreachable (export "unreachable") unreachable)
        (func $load (export "load") (drop (i32.load (i32.const 65533))))
        (func $far (export "far") (drop (i64.load offset=0xFFFFFFFF (i32.const -1))))
        (func $store (export "store") (i32.store8 (i32.const 65536) (i32.const 1)))
        (func $divide (export "divide") (param i32) (drop (i32.div_u (i32.const 1) (local.get 0))))
        (func $overflow (export "overflow") (param i32) (drop (i32.div_s (i32.const 0x80000000) (local.get 0))))
        (func $truncate (export "truncate") (param f64) (drop (i32.trunc_f64_s (local.get 0))))
        (func $undefined (export "undefined") (call_indirect (type $void) (i32.const 2)))
        (func $uninitialized (export "uninitialized") (call_indirect (type $void) (i32.const 1)))
        (func $mismatch (export "mismatch") (call_indirect (type $void) (i32.const 0)))
        (func $table (export "table") (drop (table.get 0 (i32.const 2))))
        (func $deep (export "deep") (call $deep)))
      """)
    let expected: [(String, [Value], TrapCode, String)] = [
      ("unreachable", [], .unreachable, "unreachable"),
      ("load", [], .memoryOutOfBounds, "out of bounds memory access"),
      ("far", [], .memoryOutOfBounds, "out of bounds memory access"),
      ("store", [], .memoryOutOfBounds, "out of bounds memory access"),
      ("divide", [.i32(0)], .integerDivideByZero, "integer divide by zero"),
      ("overflow", [Value(signed: Int32(-1))], .integerOverflow, "integer overflow"),
      ("truncate", [.fromFloat64(1e10)], .integerOverflow, "integer overflow"),
      ("truncate", [.fromFloat64(.nan)], .invalidConversionToInteger, "invalid conversion to integer"),
      ("undefined", [], .undefinedElement, "undefined element"),
      ("uninitialized", [], .uninitializedElement, "uninitialized element"),
      ("mismatch", [], .indirectCallTypeMismatch, "indirect call type mismatch"),
      ("table", [], .tableOutOfBounds, "out of bounds table access"),
      ("deep", [], .stackOverflow, "call stack exhausted"),
    ]
    for (name, arguments, code, message) in expected {
      let found = trap { try instance.exports[function: name]?.invoke(arguments) }
      #expect(found?.code == code, "\(name)")
      #expect(found?.message == message, "\(name)")
      #expect(found?.frames.first?.functionName == name || name == "deep", "\(name)")
    }
    // The instance is as good as before.
    #expect(trap { try instance.call("divide", .i32(1)) } == nil)
  }

  @Test func tellTheFunctionAndTheOffsetOfEveryFrame() throws {
    let world = World()
    let text = """
      (module $shop
        (import "host" "call" (func $call (param i32)))
        (func $inner (export "inner") (param i32) (drop (i32.div_s (i32.const 7) (local.get 0))))
        (func $middle (param i32) (call $inner (local.get 0)))
        (func $outer (export "outer") (param i32) (nop) (call $middle (local.get 0)))
        (func $through (export "through") (param i32) (call $call (local.get 0))))
      """
    let inner = Box<Instance>()
    let call = Function(store: world.store) { (value: Int32) in
      try inner.value?.call("outer", .i32(UInt32(bitPattern: value)))
    }
    let instance = try world.instance(text, world.imports(["call": .function(call)]))
    inner.value = instance
    defer { inner.value = nil }
    let found = try #require(trap { try instance.call("through", .i32(0)) })
    #expect(found.frames.map(\.functionIndex) == [1, 2, 3, 4])
    #expect(found.frames.map(\.functionName) == ["inner", "middle", "outer", "through"])
    #expect(found.frames.map(\.depth) == [0, 0, 0, 1])
    #expect(found.frames.allSatisfy { $0.moduleName == "shop" })
    // The offsets are of the division, and of each call.
    let bytes = try WAT.binary(text)
    let opcodes = found.frames.map { frame in frame.wasmOffset.map { bytes[$0] } }
    #expect(opcodes == [0x6D, 0x10, 0x10, 0x10])
    let lines = found.description.split(separator: "\n")
    #expect(lines.first == "wasm trap: integer divide by zero")
    #expect(lines.dropFirst().first?.hasSuffix(" - shop!inner") == true)
    #expect(lines.dropFirst().first?.hasPrefix("  0: 0x") == true)
  }

  @Test func canBeCaughtByAHostFunction() throws {
    let world = World()
    let inner = Box<Instance>()
    let attempt = Function(store: world.store) { () throws -> Int32 in
      do {
        try inner.value?.call("fail")
        return 0
      } catch let error as Trap {
        return Int32(error.code.rawValue)
      }
    }
    let instance = try world.instance(
      """
      (module (import "host" "attempt" (func $attempt (result i32)))
        (func $fail (export "fail") unreachable)
        (func $run (export "run") (result i32) (i32.add (call $attempt) (call $attempt))))
      """, world.imports(["attempt": .function(attempt)]))
    inner.value = instance
    defer { inner.value = nil }
    #expect(try instance.call("run") == [.i32(2 * UInt32(TrapCode.unreachable.rawValue))])
  }

  @Test func ofExhaustedStacksHappenAtAnyDepthOfNesting() throws {
    let world = World()
    let inner = Box<Instance>()
    let again = Function(store: world.store) { try inner.value?.call("run") }
    let instance = try world.instance(
      """
      (module (import "host" "again" (func $again))
        (func $run (export "run") (call $again)))
      """, world.imports(["again": .function(again)]))
    inner.value = instance
    defer { inner.value = nil }
    for _ in 0..<3 {
      let found = trap { try instance.call("run") }
      #expect(found?.code == .stackOverflow)
      #expect(found.map { $0.frames.count > 10 } == true)
    }
  }

  @Test func happenOnManyThreadsAtOnce() throws {
    let world = World()
    let module = try world.module(
      """
      (module (memory 1)
        (func $load (export "load") (param i32) (result i32) (i32.load (local.get 0)))
        (func $divide (export "divide") (param i32) (result i32) (i32.div_u (i32.const 8) (local.get 0))))
      """)
    let threads = 8
    let good = Mutexed(0)
    let done = DispatchSemaphore(value: 0)
    for thread in 0..<threads {
      Thread.detachNewThread {
        defer { done.signal() }
        guard let instance = try? module.instantiate(store: Store(engine: module.engine)) else { return }
        for round in 0..<200 {
          let name = (round + thread) % 2 == 0 ? "load" : "divide"
          let argument: Value = name == "load" ? .i32(70_000) : .i32(0)
          let code: TrapCode = name == "load" ? .memoryOutOfBounds : .integerDivideByZero
          do {
            try instance.exports[function: name]?.invoke([argument])
          } catch let error as Trap where error.code == code {
            good.add(1)
          } catch {}
        }
      }
    }
    for _ in 0..<threads { done.wait() }
    #expect(good.value == threads * 200)
  }
}

/// A number that threads add to.
final class Mutexed: @unchecked Sendable {
  private let lock = NSLock()
  private var number: Int
  init(_ number: Int) { self.number = number }
  func add(_ amount: Int) { lock.withLock { number += amount } }
  var value: Int { lock.withLock { number } }
}
