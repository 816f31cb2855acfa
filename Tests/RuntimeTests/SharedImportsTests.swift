// Imports that belong to no store: host functions that each instance gets for itself, and stand-ins.

import Foundation
import Precast
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct SharedImports {
  static let guest = """
    (module
      (import "host" "add" (func $add (param i32 i32) (result i32)))
      (import "host" "raw" (func $raw (param i64) (result i64)))
      (import "host" "values" (func $values (param f64) (result f64 i32)))
      (memory (export "memory") 1)
      (table (export "table") 4 funcref)
      (elem (i32.const 1) func $add $raw)
      (export "again" (func $add))
      (func (export "add") (param i32 i32) (result i32) (call $add (local.get 0) (local.get 1)))
      (func (export "raw") (param i64) (result i64) (call $raw (local.get 0)))
      (func (export "values") (param f64) (result f64 i32) (call $values (local.get 0)))
      (func (export "indirect") (param i32 i32) (result i32)
        (call_indirect (param i32 i32) (result i32) (local.get 0) (local.get 1) (i32.const 1)))
      (func (export "reference") (result funcref) (ref.func $raw)))
    """

  private var imports: Imports {
    var imports = Imports()
    imports.define(module: "host", name: "add") { (a: Int32, b: Int32) -> Int32 in a &+ b }
    let long = FunctionType(parameters: [.i64], results: [.i64])
    imports.define(module: "host", name: "raw", type: long, raw: { _, slots in slots[i64: 0] = -slots[i64: 0] })
    let two = FunctionType(parameters: [.f64], results: [.f64, .i32])
    imports.define(module: "host", name: "values", type: two) { _, arguments in [arguments[0], .i32(9)] }
    return imports
  }

  @Test func serveAnyNumberOfStores() throws {
    let world = World()
    let module = try world.module(Self.guest)
    let imports = imports
    for _ in 0..<3 {
      let store = Store(engine: world.engine)
      for _ in 0..<2 {
        let instance = try module.instantiate(store: store, imports: imports)
        #expect(try instance.call("add", .i32(3), .i32(4)) == [.i32(7)])
        #expect(try instance.call("raw", .i64(5)) == [Value(signed: Int64(-5))])
        #expect(try instance.call("values", .fromFloat64(1.5)) == [.fromFloat64(1.5), .i32(9)])
        #expect(try instance.call("indirect", .i32(30), .i32(4)) == [.i32(34)])
        // As functions of the host too: exported again, in a table, as a reference.
        let again = try #require(instance.exports[function: "again"])
        #expect(again.type == FunctionType(parameters: [.i32, .i32], results: [.i32]))
        #expect(try again.invoke([.i32(1), .i32(2)]) == [.i32(3)])
        #expect(try instance.exports[table: "table"]?.get(1).function == again)
        let reference = try #require(instance.call("reference")[0].function)
        #expect(try reference.invoke([.i64(8)]) == [Value(signed: Int64(-8))])
        #expect(try instance.exports[table: "table"]?.get(2).function == reference)
        let typed: (Int32, Int32) throws -> Int32 = try again.typed()
        #expect(try typed(20, 2) == 22)
        // What one instance exports, another imports.
        var others = Imports()
        others.define(module: "first", instance)
        let second = try world.module(
          #"(module (import "first" "again" (func (param i32 i32) (result i32))) (export "f" (func 0)))"#
        ).instantiate(store: store, imports: others)
        #expect(second.exports[function: "f"] == again)
        #expect(try second.call("f", .i32(5), .i32(6)) == [.i32(11)])
      }
    }
  }

  @Test func tellTheirCallersStoreAndInstance() throws {
    let world = World()
    var imports = Imports()
    imports.define(module: "host", name: "f") { (caller: borrowing Caller, at: UInt32) -> UInt32 in
      guard let memory = caller.memory, caller.instance?.exports[memory: "memory"] == memory,
        memory.store === caller.store
      else { return 0 }
      return try memory.load(UInt32.self, at: Int(at))
    }
    let module = try world.module(
      """
      (module (import "host" "f" (func $f (param i32) (result i32))) (memory (export "memory") 1)
        (func (export "run") (param i32) (result i32) (call $f (local.get 0))))
      """)
    let instances = try (0..<2).map { _ in
      try module.instantiate(store: Store(engine: world.engine), imports: imports)
    }
    for (number, instance) in instances.enumerated() {
      try instance.exports[memory: "memory"]?.store(UInt32(number + 50), at: 16)
    }
    #expect(try instances.map { try $0.call("run", .i32(16))[0] } == [.i32(50), .i32(51)])
    // Errors come out unchanged.
    #expect(kind { try instances[0].call("run", .i32(65_535)) } == .outOfBounds)
  }

  @Test func takeEffectAsTheyAreWhenTheyAreUsed() throws {
    let world = World()
    let module = try world.module(
      #"(module (import "host" "f" (func (result i32))) (export "f" (func 0)))"#)
    func answer(_ imports: Imports) throws -> UInt32? {
      try module.instantiate(store: Store(engine: world.engine), imports: imports).call("f")[0].i32
    }
    var imports = Imports()
    imports.define(module: "host", name: "f") { () -> Int32 in 1 }
    let copy = imports
    #expect(try answer(imports) == 1)
    imports.define(module: "host", name: "f") { () -> Int32 in 2 }
    #expect(try answer(imports) == 2)
    #expect(try answer(copy) == 1)
    imports.define(module: "host", name: "f") { () -> Int64 in 3 }
    #expect(kind { _ = try answer(imports) } == .incompatibleImport)
    let store = Store(engine: world.engine)
    imports.define(module: "host", name: "f", Function(store: store) { () -> Int32 in 4 })
    #expect(kind { _ = try answer(imports) } == .foreignStore)
    #expect(try module.instantiate(store: store, imports: imports).call("f") == [.i32(4)])
    #expect(try answer(copy) == 1)
    // More of them than anybody would remember.
    for number in 0..<20 {
      var more = Imports()
      more.define(module: "host", name: "f") { () -> Int32 in Int32(number) }
      for _ in 0..<2 { #expect(try answer(more) == UInt32(number)) }
    }
    #expect(try answer(copy) == 1)
  }

  @Test func outliveTheImportsThatTheyWereDefinedIn() throws {
    let world = World()
    let module = try world.module(Self.guest)
    var imports: Imports? = imports
    let instance = try module.instantiate(store: world.store, imports: try #require(imports))
    imports = nil
    #expect(try instance.call("add", .i32(1), .i32(1)) == [.i32(2)])
    #expect(try instance.call("indirect", .i32(1), .i32(2)) == [.i32(3)])
  }

  @Test func doNotKeepAModuleAliveThatTheyHold() throws {
    weak var kept: Module?
    do {
      let module = try World().module(#"(module (import "host" "f" (func)) (export "f" (func 0)))"#)
      var imports = Imports()
      imports.define(module: "host", name: "f") { () in _ = module.name }
      try module.instantiate(store: Store(engine: module.engine), imports: imports).call("f")
      kept = module
    }
    #expect(kept == nil)
  }

  @Test func areFoundInAStore() throws {
    let world = World()
    var imports = imports
    imports.define(module: "host", name: "own", Function(store: world.store) { () -> Int32 in 5 })
    let add = imports.lookup(module: "host", name: "add", in: world.store)?.function
    #expect(try add?.invoke([.i32(1), .i32(2)]) == [.i32(3)])
    #expect(try imports.lookup(module: "host", name: "own", in: world.store)?.function?.invoke() == [.i32(5)])
    #expect(imports.lookup(module: "host", name: "own", in: Store(engine: world.engine)) == nil)
    #expect(imports.lookup(module: "host", name: "other", in: world.store) == nil)
    #expect(imports.isDefined(module: "host", name: "own"))
    #expect(!imports.isDefined(module: "own", name: "host"))
  }

  @Test func standInForWhatIsMissing() throws {
    let world = World()
    let module = try world.module(
      """
      (module
        (import "env" "known" (func $known (result i32)))
        (import "env" "missing" (func $missing (param i32) (result i64)))
        (import "env" "memory" (memory 2 3))
        (import "env" "table" (table 5 funcref))
        (import "env" "objects" (table 5 9 externref))
        (import "env" "variable" (global $v (mut i64)))
        (import "env" "constant" (global $c f32))
        (export "memory" (memory 0))
        (func (export "known") (result i32) (call $known))
        (func (export "missing") (result i64) (call $missing (i32.const 1)))
        (func (export "count") (result i64)
          (global.set $v (i64.add (global.get $v) (i64.const 1))) (global.get $v)))
      """)
    var imports = Imports()
    imports.define(module: "env", name: "known") { () -> Int32 in 6 }
    imports.fillMissing(for: module)
    for _ in 0..<2 {
      let instance = try module.instantiate(store: Store(engine: world.engine), imports: imports)
      #expect(try instance.call("known") == [.i32(6)])
      // Of its own.
      #expect(try instance.call("count") == [.i64(1)])
      #expect(try instance.exports[memory: "memory"]?.load(UInt64.self, at: 131_064) == 0)
      try instance.exports[memory: "memory"]?.store(UInt64.max, at: 131_064)
      do {
        try instance.call("missing")
        Issue.record("nothing thrown")
      } catch let error as RuntimeError {
        #expect(error.kind == .unknownImport)
        #expect(error.message.contains("env.missing (function [i32] -> [i64])"))
      }
    }
    let trapping = try module.instantiate(store: world.store, imports: .trapping(for: module))
    #expect(kind { try trapping.call("known") } == .unknownImport)
  }

  @Test func aStoreGoesWithItsLastHandleThoughItsOwnFunctionsWereImported() throws {
    let engine = Engine()
    let module = try Module(
      engine: engine,
      wasm: try WAT.binary(
        """
        (module (import "host" "bound" (func $bound (result i32))) (import "host" "shared" (func $shared (result i32)))
          (import "host" "global" (global $global i32)) (import "host" "memory" (memory 1))
          (import "host" "table" (table 1 funcref))
          (func (export "run") (result i32)
            (i32.add (global.get $global) (i32.add (call $bound) (call $shared)))))
        """))
    weak var gone: Store?
    do {
      let store = Store(engine: engine)
      gone = store
      var imports = Imports()
      imports.define(module: "host", name: "bound", Function(store: store) { () -> Int32 in 40 })
      imports.define(module: "host", name: "shared") { () -> Int32 in 2 }
      let global = try Global(store: store, type: GlobalType(value: .i32, isMutable: false), value: .i32(100))
      let memory = try Memory(store: store, type: MemoryType(limits: Limits(minimum: 1, maximum: nil)))
      let table = try Table(
        store: store, type: TableType(element: .funcref, limits: Limits(minimum: 1, maximum: nil)))
      imports.define(module: "host", name: "global", .global(global))
      imports.define(module: "host", name: "memory", .memory(memory))
      imports.define(module: "host", name: "table", .table(table))
      let instance = try module.instantiate(store: store, imports: imports)
      imports = Imports()
      #expect(try instance.call("run") == [.i32(142)])
    }
    #expect(gone == nil)
  }
}
