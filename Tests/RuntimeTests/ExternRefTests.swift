// Host objects behind `externref`s are kept as long as something can reach them, and released afterwards.

import Precast
import Testing

/// Counts objects that are alive.
final class Counter {
  var alive = 0
}

final class Tracked {
  let counter: Counter
  init(_ counter: Counter) {
    self.counter = counter
    counter.alive += 1
  }
  deinit { counter.alive -= 1 }
}

@Suite struct ExternRefs {
  @Test func releaseTheirObjectWhenNothingRefersToIt() throws {
    let store = World().store
    let counter = Counter()
    var reference: ExternRef? = ExternRef(store: store, Tracked(counter))
    store.collect()
    #expect(counter.alive == 1)
    #expect(reference?.value is Tracked)
    reference = nil
    #expect(counter.alive == 1)
    store.collect()
    #expect(counter.alive == 0)
    #expect(store.externRefCount == 0)
  }

  @Test func areKeptByTablesAndGlobals() throws {
    let store = World().store
    let counter = Counter()
    let table = try Table(store: store, type: TableType(element: .externref, limits: Limits(minimum: 1)))
    let type = GlobalType(value: .externref, isMutable: true)
    let global = try Global(store: store, type: type, value: .externref(nil))
    try table.set(0, .externref(ExternRef(store: store, Tracked(counter))))
    try global.set(.externref(ExternRef(store: store, Tracked(counter))))
    store.collect()
    #expect(counter.alive == 2)
    #expect(try table.get(0).externRef?.value is Tracked)
    try table.set(0, .externref(nil))
    store.collect()
    #expect(counter.alive == 1)
    try global.set(.externref(nil))
    store.collect()
    #expect(counter.alive == 0)
  }

  @Test func areCollectedWhenTheirNumberHasDoubled() throws {
    let store = World().store
    let counter = Counter()
    for _ in 0..<10_000 { _ = ExternRef(store: store, Tracked(counter)) }
    #expect(counter.alive <= 257)
    let kept = (0..<1000).map { _ in ExternRef(store: store, Tracked(counter)) }
    #expect(counter.alive >= kept.count)
    for _ in 0..<10_000 { _ = ExternRef(store: store, Tracked(counter)) }
    #expect(counter.alive >= kept.count)
    #expect(counter.alive <= 4 * kept.count)
    withExtendedLifetime(kept) {}
  }

  @Test func areReleasedWithTheirStore() throws {
    let counter = Counter()
    do {
      let store = World().store
      let table = try Table(store: store, type: TableType(element: .externref, limits: Limits(minimum: 1)))
      try table.set(0, .externref(ExternRef(store: store, Tracked(counter))))
    }
    #expect(counter.alive == 0)
  }

  @Test func waitInSlotsOfCallsFromTheHost() throws {
    let store = World().store
    let counter = Counter()
    let function = Function(store: store) { (a: ExternRef?, b: ExternRef?) -> Int32 in
      (a?.value is Tracked ? 1 : 0) + (b?.value is Tracked ? 2 : 0)
    }
    let result = try function.invokeRaw(slotCount: 2) { slots in
      try slots.setExternRef(0, ExternRef(store: store, Tracked(counter)))
      store.collect()
      try slots.setExternRef(1, ExternRef(store: store, Tracked(counter)))
      store.collect()
    } finish: {
      $0[i32: 0]
    }
    #expect(result == 3)
    store.collect()
    #expect(counter.alive == 0)
  }

  @Test(.enabled(if: WAT.isAvailable)) func areKeptByFramesAndReleasedAfterReturn() throws {
    let world = World()
    let store = world.store
    let counter = Counter()
    let make = Function(store: store) { () -> ExternRef? in ExternRef(store: store, Tracked(counter)) }
    let collect = Function(store: store) { () -> Int32 in
      store.collect()
      return Int32(counter.alive)
    }
    let check = Function(store: store) { (reference: ExternRef?) -> Int32 in reference?.value is Tracked ? 1 : 0 }
    let instance = try world.instance(
      """
      (module
        (import "host" "make" (func $make (result externref)))
        (import "host" "collect" (func $collect (result i32)))
        (import "host" "check" (func $check (param externref) (result i32)))
        (func (export "run") (result i32 i32) (local $r externref)
          (local.set $r (call $make))
          (call $collect)
          (call $check (local.get $r)))
        (func (export "pass") (param externref) (result externref) (local.get 0)))
      """, world.imports(["make": .function(make), "collect": .function(collect), "check": .function(check)]))
    #expect(try instance.call("run") == [.i32(1), .i32(1)])
    store.collect()
    #expect(counter.alive == 0)
    let reference = ExternRef(store: store, "here")
    #expect(try instance.call("pass", .externref(reference)) == [.externref(reference)])
    #expect(try instance.call("pass", .externref(nil)) == [.externref(nil)])
  }

  @Test(.enabled(if: WAT.isAvailable)) func areKeptByTheGlobalsAndTablesOfInstances() throws {
    let world = World()
    let counter = Counter()
    let instance = try world.instance(
      """
      (module
        (global $g (mut externref) (ref.null extern))
        (table $t 4 externref)
        (func (export "set") (param externref externref)
          (global.set $g (local.get 0))
          (table.set $t (i32.const 3) (local.get 1)))
        (func (export "get") (result externref externref) (global.get $g) (table.get $t (i32.const 3))))
      """)
    try instance.call(
      "set", .externref(ExternRef(store: world.store, Tracked(counter))),
      .externref(ExternRef(store: world.store, Tracked(counter))))
    world.store.collect()
    #expect(counter.alive == 2)
    #expect(try instance.call("get").allSatisfy { $0.externRef?.value is Tracked })
    try instance.call("set", .externref(nil), .externref(nil))
    world.store.collect()
    #expect(counter.alive == 0)
  }
}
