// The calling convention between generated code and the runtime, with code written by hand on the one side.

import Precast
import PrecastArtifact
import PrecastMachineCode
import Testing

@testable import PrecastRuntime

@Suite struct SharedLayouts {
  @Test func ofFunctionReferencesAgree() {
    typealias Block = FunctionReferenceBlock
    #expect(MemoryLayout<Block>.size == FunctionReferenceLayout.size)
    #expect(MemoryLayout<Block>.offset(of: \.code) == FunctionReferenceLayout.code)
    #expect(MemoryLayout<Block>.offset(of: \.context) == FunctionReferenceLayout.context)
    #expect(MemoryLayout<Block>.offset(of: \.signature) == FunctionReferenceLayout.signatureID)
    #expect(MemoryLayout<Block>.offset(of: \.entryTrampoline) == FunctionReferenceLayout.entryTrampoline)
  }

  @Test func numberEqualTypesEquallyInAnEngine() {
    let engine = Engine()
    let type = FunctionType(parameters: [.i32], results: [.i64])
    let number = engine.signatures.number(of: type)
    #expect(engine.signatures.number(of: FunctionType(parameters: [.i32])) != number)
    #expect(engine.signatures.number(of: FunctionType(parameters: [.i32], results: [.i64])) == number)
    #expect(engine.signatures.type(of: number) == type)
  }
}

// (Code by hand is of one machine.)
@Suite(.enabled(if: WAT.isAvailable && !World.isEmulated)) struct CallingConvention {
  @Test func passesArgumentsAndResultsInRegistersAndOnTheStack() throws {
    let world = World()
    let bytes = try HandMadeModule.artifact(
      """
      (module
        (func (export "sum") (param i32 i32 i32 i32 i32 i32 i32 f64) (result i32 f64) unreachable))
      """,
      [
        { assembler, _, _ in
          // The seventh integer is the first word of the stack; the second result goes behind the arguments there.
          assembler.mov(.b32, dst: .rax, src: .rdi)
          for register in [Register.rsi, .r8, .r9, .r10, .r11] {
            assembler.alu(.add, .b32, dst: .rax, src: register)
          }
          assembler.alu(.add, .b32, dst: .rax, from: Address(base: .rbp, displacement: 16))
          assembler.store(.f64, to: Address(base: .rbp, displacement: 24), src: .xmm6)
        }
      ])
    let instance = try Module(engine: world.engine, deserialize: bytes).instantiate(store: world.store)
    let arguments = (1...7).map { Value.i32($0) } + [.fromFloat64(2.5)]
    #expect(try instance.exports[function: "sum"]?.invoke(arguments) == [.i32(28), .fromFloat64(2.5)])
    let typed: (Int32, Int32, Int32, Int32, Int32, Int32, Int32, Double) throws -> (Int32, Double) =
      try #require(instance.exports[function: "sum"]).typed()
    #expect(try typed(1, 2, 3, 4, 5, 6, 70, -1) == (91, -1))
  }

  @Test func reachesHostFunctionsAndComesBack() throws {
    let world = World()
    let bytes = try HandMadeModule.artifact(
      """
      (module
        (import "host" "f" (func $f (param i32 i64) (result i64)))
        (memory (export "memory") 1)
        (data (i32.const 8) "cast")
        (func (export "run") (param i32 i64) (result i64) unreachable))
      """, [{ assembler, _, layout in assembler.callImport(0, layout) }])
    let seen = Counter()
    let function = Function(store: world.store) { (caller: borrowing Caller, a: Int32, b: Int64) throws -> Int64 in
      #expect(try caller.memory?.readString(at: 8, count: 4) == "cast")
      #expect(caller.instance?.exports[memory: "memory"] == caller.memory)
      seen.alive += 1
      return Int64(a) - b
    }
    let instance = try Module(engine: world.engine, deserialize: bytes)
      .instantiate(store: world.store, imports: world.imports(["f": .function(function)]))
    #expect(try instance.call("run", .i32(7), .i64(9)) == [Value(signed: Int64(-2))])
    #expect(seen.alive == 1)
  }

  @Test func carriesErrorsOfTheHostThroughNestedCallsUnchanged() throws {
    let world = World()
    let bytes = try HandMadeModule.artifact(
      """
      (module (import "host" "f" (func $f (param i32))) (func (export "run") (param i32) unreachable))
      """, [{ assembler, _, layout in assembler.callImport(0, layout) }])
    let failure = HostFailure(5)
    let inner = Box<Instance>()
    let function = Function(store: world.store) { (depth: Int32) in
      if depth == 0 { throw failure }
      try inner.value?.call("run", .i32(UInt32(depth - 1)))
    }
    let instance = try Module(engine: world.engine, deserialize: bytes)
      .instantiate(store: world.store, imports: world.imports(["f": .function(function)]))
    inner.value = instance
    for _ in 0..<3 {
      do {
        try instance.call("run", .i32(10))
        Issue.record("nothing thrown")
      } catch {
        #expect((error as? HostFailure) === failure)
      }
    }
    inner.value = nil
  }

  @Test func reportsTrapsWithFramesAcrossNestedCalls() throws {
    let world = World()
    let bytes = try HandMadeModule.artifact(
      """
      (module $m
        (import "host" "f" (func $f))
        (func $trap (export "trap") unreachable)
        (func $run (export "run") unreachable))
      """,
      [
        { assembler, sites, _ in
          sites.append((assembler.code.count, .integerDivideByZero))
          assembler.ud2()
        },
        { assembler, _, layout in assembler.callImport(0, layout) },
      ])
    let inner = Box<Instance>()
    let function = Function(store: world.store) { try inner.value?.call("trap") }
    let instance = try Module(engine: world.engine, deserialize: bytes)
      .instantiate(store: world.store, imports: world.imports(["f": .function(function)]))
    inner.value = instance
    let found = try #require(trap { try instance.call("run") })
    #expect(found.code == .integerDivideByZero)
    #expect(found.message == "integer divide by zero")
    #expect(found.frames.map(\.functionIndex) == [1, 2])
    #expect(found.frames.map(\.depth) == [0, 1])
    inner.value = nil
  }

  @Test func callsBuiltins() throws {
    let world = World()
    let bytes = try HandMadeModule.artifact(
      """
      (module
        (memory (export "memory") 1 3)
        (func (export "grow") (param i32) (result i32) unreachable))
      """,
      [
        { assembler, _, _ in
          assembler.mov(.b32, dst: .rdx, src: .rdi)
          assembler.mov(.b32, dst: .rsi, immediate: 0)
          assembler.callBuiltin(.memoryGrow)
        }
      ])
    let instance = try Module(engine: world.engine, deserialize: bytes).instantiate(store: world.store)
    #expect(try instance.call("grow", .i32(2)) == [.i32(1)])
    #expect(instance.exports[memory: "memory"]?.pageCount == 3)
    #expect(try instance.call("grow", .i32(1)) == [Value(signed: Int32(-1))])
  }
}

/// A place for a value that a closure needs before it is there.
final class Box<T> {
  var value: T?
}
