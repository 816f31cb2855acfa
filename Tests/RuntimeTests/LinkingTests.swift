// Imports: what fits, what does not, and what instances share with one another.

import Precast
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct Linking {
  /// The error of instantiating `text` with `imports`.
  func failure(_ world: World, _ text: String, _ imports: Imports) throws -> RuntimeError? {
    do {
      try world.instance(text, imports)
      return nil
    } catch let error as RuntimeError {
      return error
    }
  }

  @Test func namesWhatIsMissing() throws {
    let error = try #require(
      try failure(World(), #"(module (import "env" "missing" (func (param i32))))"#, Imports()))
    #expect(error.kind == .unknownImport)
    #expect(error.message == "unknown import: env.missing (function [i32] -> []) is not defined")
  }

  @Test func refusesOtherTypesAndSaysWhichWasExpected() throws {
    let world = World()
    let store = world.store
    let values: KeyValuePairs<String, ExternalValue> = [
      "function": .function(Function(store: store) { (_: Int32) in }),
      "memory": .memory(try Memory(store: store, type: MemoryType(limits: Limits(minimum: 1, maximum: 2)))),
      "table": .table(
        try Table(store: store, type: TableType(element: .funcref, limits: Limits(minimum: 10, maximum: 20)))),
      "constant": .global(
        try Global(store: store, type: GlobalType(value: .i32, isMutable: false), value: .i32(1))),
      "variable": .global(try Global(store: store, type: GlobalType(value: .i32, isMutable: true), value: .i32(1))),
    ]
    let imports = world.imports(values)
    let fitting = [
      #"(import "host" "function" (func (param i32)))"#,
      #"(import "host" "memory" (memory 1))"#, #"(import "host" "memory" (memory 0 2))"#,
      #"(import "host" "memory" (memory 1 3))"#,
      #"(import "host" "table" (table 10 funcref))"#, #"(import "host" "table" (table 5 20 funcref))"#,
      #"(import "host" "constant" (global i32))"#, #"(import "host" "variable" (global (mut i32)))"#,
    ]
    for text in fitting {
      let error = try failure(world, "(module \(text))", imports)
      #expect(error == nil, "\(text)")
    }
    let refused = [
      #"(import "host" "function" (func (param i64)))"#, #"(import "host" "function" (func (param i32) (result i32)))"#,
      #"(import "host" "function" (memory 1))"#, #"(import "host" "memory" (func))"#,
      #"(import "host" "memory" (memory 2))"#, #"(import "host" "memory" (memory 1 1))"#,
      #"(import "host" "table" (table 11 funcref))"#, #"(import "host" "table" (table 10 19 funcref))"#,
      #"(import "host" "table" (table 10 externref))"#, #"(import "host" "constant" (global i64))"#,
      #"(import "host" "constant" (global (mut i32)))"#, #"(import "host" "variable" (global i32))"#,
    ]
    for text in refused {
      let error = try failure(world, "(module \(text))", imports)
      #expect(error?.kind == .incompatibleImport, "\(text)")
      #expect(error?.message.hasPrefix("incompatible import type: host.") == true)
    }
    let message = try failure(world, "(module \(refused[0]))", imports)?.message
    #expect(
      message == "incompatible import type: host.function must be function [i64] -> [], but is function [i32] -> []")
  }

  @Test func comparesTheCurrentSizeOfMemoriesAndTables() throws {
    let world = World()
    let memory = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 1)))
    let text = #"(module (import "host" "memory" (memory 2)))"#
    #expect(try failure(world, text, world.imports(["memory": .memory(memory)])) != nil)
    try memory.grow(by: 1)
    #expect(try failure(world, text, world.imports(["memory": .memory(memory)])) == nil)
  }

  @Test func refusesWhatIsOfAnotherStoreOrEngine() throws {
    let world = World()
    let other = Store(engine: world.engine)
    let imports = world.imports(["f": .function(Function(store: other) {})])
    #expect(try failure(world, #"(module (import "host" "f" (func)))"#, imports)?.kind == .foreignStore)
    let module = try world.module("(module)")
    #expect(kind { try module.instantiate(store: World().store) } == .foreignStore)
  }

  @Test func lastDefinitionOfANameCounts() throws {
    let world = World()
    var imports = world.imports(["f": .function(Function(store: world.store) { () -> Int32 in 1 })])
    imports.define(module: "host", name: "f", Function(store: world.store) { () -> Int32 in 2 })
    let instance = try world.instance(
      #"(module (import "host" "f" (func (result i32))) (export "g" (func 0)))"#, imports)
    #expect(try instance.call("g") == [.i32(2)])
  }

  @Test func sharesFunctionsMemoriesTablesAndGlobals() throws {
    let world = World()
    let first = try world.instance(
      """
      (module
        (memory (export "memory") 1)
        (table (export "table") 4 funcref)
        (global (export "global") (mut i64) (i64.const 5))
        (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
        (func (export "size") (result i32) (memory.size)))
      """)
    var imports = Imports()
    imports.define(module: "first", first)
    let second = try world.instance(
      """
      (module
        (import "first" "memory" (memory 1))
        (import "first" "table" (table 4 funcref))
        (import "first" "global" (global $g (mut i64)))
        (import "first" "store" (func $store (param i32 i32)))
        (import "first" "size" (func $size (result i32)))
        (elem (i32.const 1) $bump)
        (func $bump (result i64) (global.set $g (i64.add (global.get $g) (i64.const 1))) (global.get $g))
        (func (export "run") (result i32 i64 i32)
          (call $store (i32.const 16) (i32.const 77))
          (drop (memory.grow (i32.const 2)))
          (i32.load (i32.const 16))
          (call_indirect (result i64) (i32.const 1))
          (call $size)))
      """, imports)
    #expect(try second.call("run") == [.i32(77), .i64(6), .i32(3)])
    #expect(first.exports[global: "global"]?.value == .i64(6))
    #expect(try first.exports[memory: "memory"]?.load(UInt32.self, at: 16) == 77)
    #expect(try first.exports[table: "table"]?.get(1).function?.invoke() == [.i64(7)])
    #expect(try first.exports[table: "table"]?.get(0) == .funcref(nil))
  }

  @Test func describesImportsAndExports() throws {
    let module = try World().module(
      """
      (module $named
        (import "a" "b" (func (param i32) (result f64)))
        (import "a" "c" (memory 1 2))
        (global (export "z") (mut f32) (f32.const 1))
        (table (export "t") 3 externref)
        (func (export "f") (param i64))
        (export "again" (func 0)))
      """)
    #expect(module.name == "named")
    #expect(
      module.imports == [
        ImportType(module: "a", name: "b", type: .function(FunctionType(parameters: [.i32], results: [.f64]))),
        ImportType(module: "a", name: "c", type: .memory(MemoryType(limits: Limits(minimum: 1, maximum: 2)))),
      ])
    #expect(module.exports.map(\.name) == ["z", "t", "f", "again"])
    #expect(module.exports[1].type == .table(TableType(element: .externref, limits: Limits(minimum: 3))))
  }

  @Test func keepsTheIdentityOfFunctionsThatAreExportedAgain() throws {
    let world = World()
    let function = Function(store: world.store) { (a: Int32) -> Int32 in a * 2 }
    let instance = try world.instance(
      """
      (module
        (import "host" "f" (func $f (param i32) (result i32)))
        (export "f" (func $f))
        (elem declare func $f)
        (func (export "ref") (result funcref) (ref.func $f)))
      """, world.imports(["f": .function(function)]))
    #expect(instance.exports[function: "f"] == function)
    #expect(try instance.call("ref") == [.funcref(function)])
    #expect(try instance.call("f", .i32(21)) == [.i32(42)])
  }
}
