// Tables wherever their elements are: in a slot, in memory of their own, small or large; looked at or not.

import Precast
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct TableStorage {
  /// A module whose table `t` holds numbered functions from its image, with or without a memory (hence a slot).
  private func text(_ limits: String, hasMemory: Bool, functions: Int) -> String {
    let names = (0..<functions).map { "$f\($0)" }.joined(separator: " ")
    let bodies = (0..<functions).map { "(func $f\($0) (result i32) (i32.const \($0)))" }.joined(separator: "\n")
    return """
      (module \(hasMemory ? "(memory 1)" : "")
        (table $t (export "t") \(limits) funcref)
        (table $u (export "u") 10 1000000 externref)
        (elem (table $t) (i32.const 3) func \(names))
        \(bodies)
        (elem declare func $f1)
        (func (export "call") (param i32) (result i32) (call_indirect $t (result i32) (local.get 0)))
        (func (export "grow") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0)))
        (func (export "growFull") (param i32) (result i32) (table.grow $t (ref.func $f1) (local.get 0)))
        (func (export "growObjects") (param externref i32) (result i32)
          (table.grow $u (local.get 0) (local.get 1)))
        (func (export "move") (table.copy $t $t (i32.const 0) (i32.const 3) (i32.const 3)))
        (func (export "clear") (param i32 i32) (table.fill $t (local.get 0) (ref.null func) (local.get 1))))
      """
  }

  @Test(arguments: [true, false], [("8", 5), ("2000", 1500), ("150000", 20), ("8 300000", 5)])
  func elementsKeepTheirFunctionsWhereverTheyMove(hasMemory: Bool, size: (limits: String, functions: Int)) throws {
    let world = World()
    let instance = try world.instance(text(size.limits, hasMemory: hasMemory, functions: size.functions))
    let table = try #require(instance.exports[table: "t"])
    let start = table.count
    func call(_ index: Int) throws -> UInt32? { try instance.call("call", .i32(UInt32(index)))[0].i32 }
    #expect(try call(4) == 1)
    // By little steps, then past the area of a slot.
    for step in [1, 2, 700, 200_000] {
      let old = table.count
      #expect(try instance.call(step == 2 ? "growFull" : "grow", .i32(UInt32(step))) == [.i32(UInt32(old))])
      #expect(table.count == old + step)
    }
    #expect(try call(4) == 1)
    #expect(try call(3 + size.functions - 1) == UInt32(size.functions - 1))
    #expect(try call(start + 1) == 1)
    #expect(try call(start + 2) == 1)
    for index in [0, start, start + 3, start + 702, table.count - 1] where index < 3 || index >= 3 + size.functions {
      #expect(trap { _ = try call(index) }?.code == .uninitializedElement)
    }
    #expect(trap { _ = try call(table.count) }?.code == .undefinedElement)
    try instance.call("move")
    #expect(try (0..<3).map { try call($0) } == [0, 1, 2])
    try instance.call("clear", .i32(1), .i32(3))
    #expect(trap { _ = try call(3) }?.code == .uninitializedElement)
    #expect(try call(5) == 2)
    #expect(try Set((5..<3 + size.functions).map { try call($0) }).count == size.functions - 2)

    let reference = ExternRef(store: world.store, "one")
    let objects = try #require(instance.exports[table: "u"])
    try objects.set(9, .externref(reference))
    #expect(try instance.call("growObjects", .externref(reference), .i32(3)) == [.i32(10)])
    #expect(try instance.call("growObjects", .externref(nil), .i32(400_000)) == [.i32(13)])
    world.store.collect()
    #expect(try objects.get(9).externRef === reference)
    #expect(try objects.get(12).externRef === reference)
    #expect(try objects.get(13) == .externref(nil))
    #expect(try objects.get(400_012) == .externref(nil))
  }

  @Test func shareASlotsAreaWithoutOverlap() throws {
    let tables = (0..<6).map { "(table (export \"t\($0)\") \($0 * 900) \($0 * 900 + 200_000) externref)" }
    let instance = try World().instance("(module (memory 1) \(tables.joined()) (table 140000 externref))")
    let references = (0..<6).map { ExternRef(store: instance.store, $0) }
    for round in 0..<4 {
      for number in 0..<6 {
        try #require(instance.exports[table: "t\(number)"])
          .grow(by: [3, 500, 20_000, 100_000][round], initial: .externref(references[number]))
      }
    }
    for number in 0..<6 {
      let table = try #require(instance.exports[table: "t\(number)"])
      #expect(table.count == number * 900 + 120_503)
      #expect(try (0..<number * 900).allSatisfy { try table.get($0) == .externref(nil) })
      #expect(try (number * 900..<table.count).allSatisfy { try table.get($0).externRef === references[number] })
    }
  }

  @Test func slotsOfCallsHoldManyValuesAtManyDepths() throws {
    let store = World().store
    let types = [ValueType](repeating: .i64, count: 70)
    let type = FunctionType(parameters: types, results: types)
    let inner = Box<Function>()
    inner.value = Function(store: store, type: type) { _, values in
      guard let first = values[0].i64, first < 40 else { return values }
      let next = values.map { Value.i64(($0.i64 ?? 0) + 1) }
      let results = try inner.value?.invoke(next) ?? []
      // What is below in the stack of slots was left alone.
      return results.map { Value.i64(($0.i64 ?? 0) + 100) }
    }
    defer { inner.value = nil }
    for _ in 0..<3 {
      let arguments: [Value] = (0..<70).map { (number: UInt64) -> Value in .i64(number) }
      let expected: [Value] = (0..<70).map { (number: UInt64) -> Value in .i64(number + 40 + 40 * 100) }
      let results = try #require(try inner.value?.invoke(arguments))
      #expect(results == expected)
    }
  }
}
