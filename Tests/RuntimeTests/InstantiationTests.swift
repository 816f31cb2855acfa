// What an instance starts with, and what remains when it cannot start.

import Precast
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct Instantiation {
  @Test func evaluatesConstantExpressions() throws {
    let world = World()
    let base = try Global(store: world.store, type: GlobalType(value: .i32, isMutable: false), value: .i32(10))
    let instance = try world.instance(
      """
      (module
        (import "host" "base" (global $base i32))
        (global $a (export "a") i32 (i32.sub (i32.mul (global.get $base) (i32.const 3)) (i32.const 31)))
        (global (export "b") i64 (i64.add (i64.const -1) (i64.mul (i64.const 3) (i64.const 5))))
        (global (export "c") f32 (f32.const nan:0x200001))
        (global (export "d") f64 (f64.const -0))
        (global (export "e") i32 (global.get $a))
        (global (export "f") funcref (ref.func $f))
        (global (export "g") externref (ref.null extern))
        (memory (export "memory") 1)
        (data (i32.add (global.get $base) (i32.const 6)) "here")
        (func $f (export "function") (result i32) (i32.const 9)))
      """, world.imports(["base": .global(base)]))
    let exports = instance.exports
    #expect(exports[global: "a"]?.value == Value(signed: Int32(-1)))
    #expect(exports[global: "b"]?.value == .i64(14))
    #expect(exports[global: "c"]?.value == .f32(0x7FA0_0001))
    #expect(exports[global: "d"]?.value == .f64(1 << 63))
    #expect(exports[global: "e"]?.value == Value(signed: Int32(-1)))
    #expect(exports[global: "f"]?.value == .funcref(exports[function: "function"]))
    #expect(exports[global: "g"]?.value == .externref(nil))
    #expect(try exports[memory: "memory"]?.readString(at: 16, count: 4) == "here")
  }

  @Test func givesEachInstanceItsOwnMemoryFromTheSameImage() throws {
    let world = World()
    let module = try world.module(
      """
      (module (memory (export "memory") 4)
        (data (i32.const 3) "first") (data (i32.const 200000) "second") (data (i32.const 5) "!"))
      """)
    let memories = try (0..<2).map { _ in
      try #require(module.instantiate(store: world.store).exports[memory: "memory"])
    }
    try memories[0].write(Array("XXXX".utf8), at: 3)
    #expect(try memories[0].readString(at: 3, count: 5) == "XXXXt")
    #expect(try memories[1].readString(at: 3, count: 5) == "fi!st")
    #expect(try memories[1].readString(at: 200_000, count: 6) == "second")
    #expect(try memories[1].load(UInt64.self, at: 100_000) == 0)
    try memories[1].grow(by: 1)
    #expect(try memories[1].load(UInt64.self, at: 4 * 65_536) == 0)
    #expect(try memories[1].readString(at: 200_000, count: 6) == "second")
  }

  @Test func appliesSegmentsInOrderAndLeavesWhatWasWrittenBeforeATrap() throws {
    let world = World()
    let memory = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 1)))
    let table = try Table(store: world.store, type: TableType(element: .funcref, limits: Limits(minimum: 4)))
    let imports = world.imports(["memory": .memory(memory), "table": .table(table)])
    let failed = trap {
      try world.instance(
        """
        (module
          (import "host" "memory" (memory 1))
          (import "host" "table" (table 4 funcref))
          (elem (i32.const 2) $f)
          (data (i32.const 0) "one")
          (data (i32.const 65534) "two")
          (data (i32.const 8) "three")
          (func $f (result i32) (i32.const 11)))
        """, imports)
    }
    #expect(failed?.code == .memoryOutOfBounds)
    #expect(failed?.message == "out of bounds memory access")
    #expect(try memory.readString(at: 0, count: 3) == "one")
    #expect(try memory.load(UInt16.self, at: 65_534) == 0)
    #expect(try memory.load(UInt8.self, at: 8) == 0)
    // The function outlives the instance that failed.
    #expect(try table.get(2).function?.invoke() == [.i32(11)])
    let other = trap {
      try world.instance(
        #"(module (import "host" "table" (table 4 funcref)) (elem (i32.const 3) $f $f) (func $f))"#, imports)
    }
    #expect(other?.message == "out of bounds table access")
    #expect(try table.get(3) == .funcref(nil))
  }

  @Test func runsTheStartFunctionLast() throws {
    let world = World()
    let seen = Box<[Int32]>()
    seen.value = []
    let function = Function(store: world.store) { (value: Int32) in seen.value?.append(value) }
    let text = """
      (module
        (import "host" "f" (func $f (param i32)))
        (memory 1) (data (i32.const 4) "\\2a")
        (func $start (call $f (i32.load8_u (i32.const 4))) (if (global.get $fail) (then unreachable)))
        (global $fail i32 (i32.const FAIL))
        (start $start))
      """
    let imports = world.imports(["f": .function(function)])
    try world.instance(text.replacing("FAIL", with: "0"), imports)
    #expect(seen.value == [42])
    #expect(trap { try world.instance(text.replacing("FAIL", with: "1"), imports) }?.code == .unreachable)
    #expect(seen.value == [42, 42])
  }

  @Test func fillsTablesLazilyAndKeepsWrittenElements() throws {
    let world = World()
    let instance = try world.instance(
      """
      (module
        (table $t (export "table") 8 funcref)
        (table $u (export "other") 8 funcref)
        (elem (table $t) (i32.const 1) func $a $b $c)
        (elem $passive func $c $b)
        (func $a (result i32) (i32.const 1)) (func $b (result i32) (i32.const 2)) (func $c (result i32) (i32.const 3))
        (func (export "call") (param i32) (result i32) (call_indirect $t (result i32) (local.get 0)))
        (func (export "copy") (param i32 i32 i32) (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
        (func (export "across") (table.copy $u $t (i32.const 0) (i32.const 1) (i32.const 3)))
        (func (export "init") (param i32 i32 i32) (table.init $t $passive (local.get 0) (local.get 1) (local.get 2)))
        (func (export "drop") (elem.drop $passive))
        (func (export "clear") (param i32) (table.set $t (local.get 0) (ref.null func)))
        (func (export "fill") (table.fill $t (i32.const 5) (table.get $t (i32.const 2)) (i32.const 3)))
        (func (export "isnull") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0)))))
      """)
    func call(_ index: UInt32) throws -> Value { try instance.call("call", .i32(index))[0] }
    #expect(try call(2) == .i32(2))
    // Overlapping, with elements that nobody has looked at.
    try instance.call("copy", .i32(2), .i32(1), .i32(3))
    #expect(try [call(1), call(2), call(3), call(4)] == [.i32(1), .i32(1), .i32(2), .i32(3)])
    try instance.call("across")
    #expect(try instance.exports[table: "other"]?.get(1).function?.invoke() == [.i32(1)])
    try instance.call("clear", .i32(1))
    #expect(trap { _ = try call(1) }?.message == "uninitialized element")
    #expect(try instance.call("isnull", .i32(1)) == [.i32(1)])
    #expect(try instance.call("isnull", .i32(0)) == [.i32(1)])
    #expect(try instance.call("isnull", .i32(2)) == [.i32(0)])
    try instance.call("init", .i32(0), .i32(1), .i32(1))
    #expect(try call(0) == .i32(2))
    #expect(trap { try instance.call("init", .i32(7), .i32(0), .i32(2)) }?.code == .tableOutOfBounds)
    #expect(trap { try instance.call("init", .i32(0), .i32(1), .i32(2)) }?.code == .tableOutOfBounds)
    try instance.call("drop")
    try instance.call("init", .i32(8), .i32(0), .i32(0))
    #expect(trap { try instance.call("init", .i32(0), .i32(0), .i32(1)) }?.code == .tableOutOfBounds)
    try instance.call("fill")
    #expect(try call(7) == .i32(1))
    #expect(try instance.exports[table: "table"]?.get(6).function?.invoke() == [.i32(1)])
  }

  @Test func initialisesCopiesAndFillsMemoryWithinBounds() throws {
    let world = World()
    let instance = try world.instance(
      """
      (module
        (memory (export "memory") 1)
        (data $d "abcdef")
        (func (export "init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
        (func (export "drop") (data.drop $d))
        (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
        (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2))))
      """)
    let memory = try #require(instance.exports[memory: "memory"])
    try instance.call("init", .i32(10), .i32(1), .i32(4))
    #expect(try memory.readString(at: 10, count: 4) == "bcde")
    try instance.call("copy", .i32(11), .i32(10), .i32(4))
    #expect(try memory.readString(at: 10, count: 5) == "bbcde")
    try instance.call("fill", .i32(65_534), .i32(0x1FF), .i32(2))
    #expect(try memory.read(at: 65_533, count: 3) == [0, 0xFF, 0xFF])
    for (name, arguments) in [
      ("init", [Value.i32(0), .i32(3), .i32(4)]), ("init", [.i32(65_535), .i32(0), .i32(2)]),
      ("copy", [.i32(65_535), .i32(0), .i32(2)]), ("copy", [.i32(0), .i32(0xFFFF_FFFF), .i32(2)]),
      ("fill", [.i32(65_530), .i32(1), .i32(7)]), ("fill", [.i32(0xFFFF_FFFF), .i32(1), .i32(0xFFFF_FFFF)]),
    ] {
      let failed = trap { try instance.exports[function: name]?.invoke(arguments) }
      #expect(failed?.message == "out of bounds memory access", "\(name) \(arguments)")
    }
    #expect(try memory.read(at: 65_530, count: 4) == [0, 0, 0, 0])
    try instance.call("drop")
    try instance.call("init", .i32(65_536), .i32(0), .i32(0))
    #expect(trap { try instance.call("init", .i32(0), .i32(0), .i32(1)) }?.code == .memoryOutOfBounds)
  }

  @Test func growsMemoriesAndTablesWithinTheStoresLimits() throws {
    let world = World(limits: StoreLimits(memoryBytes: 3 * 65_536, tableElements: 5))
    let instance = try world.instance(
      """
      (module (memory 1) (table $t 1 externref)
        (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "table") (param i32) (result i32) (table.grow $t (ref.null extern) (local.get 0)))
        (func (export "sizes") (result i32 i32) (memory.size) (table.size $t)))
      """)
    #expect(try instance.call("memory", .i32(2)) == [.i32(1)])
    #expect(try instance.call("memory", .i32(1)) == [Value(signed: Int32(-1))])
    #expect(try instance.call("memory", .i32(0xFFFF_FFFF)) == [Value(signed: Int32(-1))])
    #expect(try instance.call("table", .i32(4)) == [.i32(1)])
    #expect(try instance.call("table", .i32(1)) == [Value(signed: Int32(-1))])
    #expect(try instance.call("table", .i32(0xFFFF_FFFF)) == [Value(signed: Int32(-1))])
    #expect(try instance.call("sizes") == [.i32(3), .i32(5)])
    #expect(kind { try world.instance("(module (memory 4))") } == .limit)
  }

  @Test func makesThousandsOfInstances() throws {
    let world = World()
    let module = try world.module(
      """
      (module (global $g (mut i32) (i32.const 0)) (table 10 funcref) (elem (i32.const 0) $f)
        (func $f (export "next") (result i32)
          (global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g)))
      """)
    for _ in 0..<5000 {
      let instance = try module.instantiate(store: world.store)
      try #require(try instance.call("next") == [.i32(1)])
    }
  }
}
