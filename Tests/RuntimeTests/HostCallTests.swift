// Host functions called by modules: every form, every type, and functions that meet their trampoline late.

import Precast
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct HostCalls {
  @Test func passManyValuesOfAllTypes() throws {
    let world = World()
    let parameters: [ValueType] = (0..<5).flatMap { _ in [ValueType.i32, .i64, .f32, .f64, .externref, .funcref] }
    let type = FunctionType(parameters: parameters, results: parameters.reversed())
    let reverse = Function(store: world.store, type: type) { _, arguments in arguments.reversed() }
    let list = parameters.map(\.description).joined(separator: " ")
    let results = parameters.reversed().map(\.description).joined(separator: " ")
    let instance = try world.instance(
      """
      (module (import "host" "reverse" (func $f (param \(list)) (result \(results))))
        (func (export "run") (param \(list)) (result \(results))
          \(parameters.indices.map { "(local.get \($0))" }.joined(separator: " ")) (call $f)))
      """, world.imports(["reverse": .function(reverse)]))
    let arguments = parameters.enumerated().map { index, type -> Value in
      switch type {
      case .i32: .i32(UInt32(index) | 0x8000_0000)
      case .i64: .i64(UInt64(index) | 1 << 63)
      case .f32: .fromFloat32(Float(index) + 0.5)
      case .f64: .fromFloat64(-Double(index))
      case .externref: .externref(ExternRef(store: world.store, index))
      default: .funcref(index % 4 == 1 ? reverse : nil)
      }
    }
    #expect(try instance.exports[function: "run"]?.invoke(arguments) == arguments.reversed())
  }

  @Test func throwTheSameErrorThroughTables() throws {
    let world = World()
    let failure = HostFailure(8)
    let fail = Function(store: world.store) { throw failure }
    let table = try Table(
      store: world.store, type: TableType(element: .funcref, limits: Limits(minimum: 1)), initial: .funcref(fail))
    let instance = try world.instance(
      """
      (module (import "host" "table" (table 1 funcref))
        (func (export "run") (call_indirect (i32.const 0))))
      """, world.imports(["table": .table(table)]))
    do {
      try instance.call("run")
      Issue.record("nothing thrown")
    } catch {
      #expect(error as? HostFailure === failure)
    }
  }

  @Test func workForFunctionsThatAreInATableBeforeTheirModule() throws {
    let world = World()
    let table = try Table(store: world.store, type: TableType(element: .funcref, limits: Limits(minimum: 2)))
    let early = Function(store: world.store) { (a: Int64, b: Double) -> Double in Double(a) + b }
    try table.set(0, .funcref(early))
    let text = """
      (module (import "host" "table" (table 2 funcref))
        (func (export "run") (param i32) (result f64)
          (call_indirect (param i64 f64) (result f64) (i64.const 3) (f64.const 0.25) (local.get 0))))
      """
    let instance = try world.instance(text, world.imports(["table": .table(table)]))
    #expect(try instance.call("run", .i32(0)) == [.fromFloat64(3.25)])
    let late = Function(store: world.store) { (a: Int64, b: Double) -> Double in Double(a) * b }
    try table.set(1, .funcref(late))
    #expect(try instance.call("run", .i32(1)) == [.fromFloat64(0.75)])
  }

  @Test func knowTheirCaller() throws {
    let world = World()
    let seen = Box<Instance>()
    let who = Function(store: world.store) { (caller: borrowing Caller) in seen.value = caller.instance }
    let text = #"(module (import "host" "who" (func $who)) (memory (export "m") 1) (func (export "run") (call $who)))"#
    let first = try world.instance(text, world.imports(["who": .function(who)]))
    let second = try world.instance(text, world.imports(["who": .function(who)]))
    try first.call("run")
    #expect(seen.value == first)
    try second.call("run")
    #expect(seen.value == second)
    seen.value = nil
    try who.invoke()
    #expect(seen.value == nil)
  }

  @Test func canInstantiateModulesInTheMiddleOfACall() throws {
    let world = World()
    let module = try world.module(#"(module (func (export "f") (param i32) (result i32) (local.get 0)))"#)
    let nested = Function(store: world.store) { (value: Int32) throws -> Int32 in
      let instance = try module.instantiate(store: world.store)
      let function: (Int32) throws -> Int32 = try #require(instance.exports[function: "f"]).typed()
      return try function(value + 1)
    }
    let instance = try world.instance(
      """
      (module (import "host" "nested" (func $n (param i32) (result i32)))
        (func (export "run") (param i32) (result i32) (call $n (call $n (local.get 0)))))
      """, world.imports(["nested": .function(nested)]))
    #expect(try instance.call("run", .i32(5)) == [.i32(7)])
  }

  @Test func canGrowTheMemoryOfTheirCaller() throws {
    let world = World()
    let grow = Function(store: world.store) { (caller: borrowing Caller) throws in
      let found = caller.memory
      let memory = try #require(found)
      try memory.grow(by: 1)
      try memory.store(UInt32(99), at: 65_536)
    }
    let instance = try world.instance(
      """
      (module (import "host" "grow" (func $grow)) (memory 1)
        (func (export "run") (result i32) (call $grow) (i32.load (i32.const 65536))))
      """, world.imports(["grow": .function(grow)]))
    #expect(try instance.call("run") == [.i32(99)])
  }
}

@Suite struct Slots {
  @Test func stayInPlaceWhileManyAreTaken() throws {
    let store = World().store
    let count = 300
    let type = FunctionType(parameters: Array(repeating: .i64, count: count), results: [.i64])
    let box = Box<Function>()
    // Nested far deeper than one chunk of slots; each call's own must be as they were when it comes back.
    let function = Function(
      store: store, type: type,
      raw: { _, slots in
        let depth = slots[u64: 0]
        if depth > 0 {
          let inner = try box.value?.invokeRaw(slotCount: count) { inner in
            for index in 0..<count { inner[u64: index] = depth - 1 }
          } finish: {
            $0[u64: 0]
          }
          try #require(inner == depth - 1)
          for index in 0..<count { try #require(slots[u64: index] == depth) }
        }
        slots[u64: 0] = depth
      })
    box.value = function
    defer { box.value = nil }
    for _ in 0..<3 {
      #expect(try function.invoke(Array(repeating: .i64(20), count: count)) == [.i64(20)])
    }
  }
}
