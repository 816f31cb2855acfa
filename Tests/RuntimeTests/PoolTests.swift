// Slots of address space: that the next guest sees nothing of the last one, and that limits and counts hold.

import CPrecastHost
import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastWasm
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct Pools {
  /// An engine with a pool of its own, and the binary of each text compiled for it.
  func engine(inUse: Int = 100, idle: Int = 1) -> Engine {
    Engine(configuration: EngineConfiguration(pool: InstancePoolConfiguration(maximumInUse: inUse, maximumIdle: idle)))
  }

  func module(_ engine: Engine, _ text: String) throws -> Module {
    try Module(engine: engine, wasm: try WAT.binary(text))
  }

  /// Instantiates in a store of its own, which goes when `body` is done.
  @discardableResult
  func use<R>(_ module: Module, _ imports: Imports = Imports(), _ body: (Instance) throws -> R) throws -> R {
    try body(try module.instantiate(store: Store(engine: module.engine), imports: imports))
  }

  func address(_ memory: Memory?) throws -> UInt {
    UInt(bitPattern: try #require(memory).withUnsafeMutableBytes { $0.baseAddress })
  }

  static let guest = """
    (module
      (memory (export "memory") 2 10)
      (table $t (export "table") 6 5000 funcref)
      (table $x (export "objects") 4 externref)
      (global (export "global") (mut i32) (i32.const 77))
      (elem (table $t) (i32.const 1) func $one $two)
      (data (i32.const 100) "image")
      (data (i32.const 70000) "far")
      (func $one (result i32) (i32.const 1))
      (func $two (result i32) (i32.const 2))
      (func (export "call") (param i32) (result i32) (call_indirect $t (result i32) (local.get 0)))
      (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
      (func (export "growTable") (param i32) (result i32) (table.grow $t (ref.func $two) (local.get 0)))
      (elem declare func $two)
      (func (export "isNull") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
      (func (export "growMemory") (param i32) (result i32) (memory.grow (local.get 0))))
    """

  /// Checks that everything is as in a new instance.
  func expectPristine(_ instance: Instance) throws {
    let memory = try #require(instance.exports[memory: "memory"])
    #expect(memory.pageCount == 2)
    var bytes = [UInt8](repeating: 0, count: 2 * 65_536)
    bytes.replaceSubrange(100..<105, with: Array("image".utf8))
    bytes.replaceSubrange(70_000..<70_003, with: Array("far".utf8))
    #expect(try memory.read(at: 0, count: bytes.count) == bytes)
    for address in [2 * 65_536, 3 * 65_536, 9 * 65_536, 1 << 31] {
      #expect(trap { try instance.call("load", .i32(UInt32(address))) }?.code == .memoryOutOfBounds)
    }
    let table = try #require(instance.exports[table: "table"])
    #expect(table.count == 6)
    #expect(try instance.call("call", .i32(1)) == [.i32(1)])
    #expect(try instance.call("call", .i32(2)) == [.i32(2)])
    for index: UInt32 in [0, 3, 4, 5] {
      #expect(try instance.call("isNull", .i32(index)) == [.i32(1)])
      #expect(try table.get(Int(index)) == .funcref(nil))
      #expect(trap { try instance.call("call", .i32(index)) }?.code == .uninitializedElement)
    }
    #expect(trap { try instance.call("call", .i32(6)) }?.code == .undefinedElement)
    let objects = try #require(instance.exports[table: "objects"])
    #expect(objects.count == 4)
    #expect(try (0..<4).allSatisfy { try objects.get($0) == .externref(nil) })
    #expect(instance.exports[global: "global"]?.value == .i32(77))
  }

  /// Writes to everything that can be written to, and grows everything that can grow.
  func makeDirty(_ instance: Instance, tableGrowth: UInt32) throws {
    let memory = try #require(instance.exports[memory: "memory"])
    #expect(try instance.call("growMemory", .i32(5)) == [.i32(2)])
    try memory.grow(by: 2)
    memory.withUnsafeMutableBytes { for index in $0.indices { $0[index] = 0xA5 } }
    #expect(try instance.call("growTable", .i32(tableGrowth)) == [.i32(6)])
    let table = try #require(instance.exports[table: "table"])
    let function = try #require(instance.exports[function: "load"])
    for index in 0..<table.count { try table.set(index, .funcref(function)) }
    let objects = try #require(instance.exports[table: "objects"])
    try objects.grow(by: 1000)
    let reference = ExternRef(store: instance.store, "secret")
    for index in 0..<objects.count { try objects.set(index, .externref(reference)) }
    try instance.exports[global: "global"]?.set(.i32(1))
  }

  @Test(arguments: [1, 4990] as [UInt32])
  func aReusedSlotShowsNothingOfItsLastGuest(tableGrowth: UInt32) throws {
    let engine = engine()
    let module = try module(engine, Self.guest)
    var places: Set<UInt> = []
    for _ in 0..<4 {
      try use(module) { instance in
        #expect(engine.poolCounts == InstancePoolCounts(inUse: 1, idle: 0))
        places.insert(try address(instance.exports[memory: "memory"]))
        try expectPristine(instance)
        try makeDirty(instance, tableGrowth: tableGrowth)
      }
      #expect(engine.poolCounts == InstancePoolCounts(inUse: 0, idle: 1))
    }
    #expect(places.count == 1)
  }

  @Test func anotherModuleGetsASlotAsItNeedsIt() throws {
    let engine = engine()
    let first = try module(engine, Self.guest)
    let others = try ["1 20", "3 20", "0", "64"].map { limits in
      try module(
        engine,
        """
        (module (memory (export "memory") \(limits)) (table (export "table") 600 funcref)
          (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0))))
        """)
    }
    var places: Set<UInt> = []
    for other in others {
      try use(first) {
        try expectPristine($0)
        try makeDirty($0, tableGrowth: 700)
        places.insert(try address($0.exports[memory: "memory"]))
      }
      try use(other) { instance in
        let memory = try #require(instance.exports[memory: "memory"])
        places.insert(try address(memory))
        #expect(memory.withUnsafeMutableBytes { $0.allSatisfy { $0 == 0 } })
        #expect(trap { try instance.call("load", .i32(UInt32(memory.byteCount))) }?.code == .memoryOutOfBounds)
        #expect(trap { try instance.call("load", .i32(UInt32(memory.byteCount + 65_536))) }?.code == .memoryOutOfBounds)
        let table = try #require(instance.exports[table: "table"])
        #expect(try (0..<600).allSatisfy { try table.get($0) == .funcref(nil) })
      }
    }
    // (The memory of no pages has an address too.)
    #expect(places.count == 1)
  }

  @Test func anInstanceThatCouldNotBeMadeGivesItsSlotBackClean() throws {
    let engine = engine()
    let good = try module(engine, Self.guest)
    try use(good) { try makeDirty($0, tableGrowth: 10) }
    let bad = try module(
      engine,
      """
      (module (import "host" "at" (global $at i32)) (memory 2) (data (i32.const 0) "x") (data (global.get $at) "late"))
      """)
    let store = Store(engine: engine)
    var imports = Imports()
    let at = try Global(store: store, type: GlobalType(value: .i32, isMutable: false), value: .i32(131_070))
    imports.define(module: "host", name: "at", at)
    #expect(trap { try bad.instantiate(store: store, imports: imports) }?.code == .memoryOutOfBounds)
    let limited = Store(engine: engine, limits: StoreLimits(memoryBytes: 65_536))
    #expect(kind { try good.instantiate(store: limited) } == .limit)
    let tables = Store(engine: engine, limits: StoreLimits(tableElements: 3))
    #expect(kind { try good.instantiate(store: tables) } == .limit)
    try use(good) { try expectPristine($0) }
  }

  @Test func whatStandsInForImportsCountsAndAFailureGivesTheRoomBack() throws {
    let engine = engine()
    let guest = try module(
      engine,
      """
      (module (import "host" "table" (table 2 externref)) (import "host" "memory" (memory 1)) (table 3 externref))
      """)
    let imports = Imports.trapping(for: guest)
    let four = try module(engine, "(module (table 4 funcref) (memory 1))")
    for limits in [StoreLimits(totalTableElements: 4), StoreLimits(totalTableElements: 5, memories: 0)] {
      let store = Store(engine: engine, limits: limits)
      for _ in 0..<3 { #expect(kind { try guest.instantiate(store: store, imports: imports) } == .limit) }
      // All of the limit is there for another one.
      store.limits.memories = 1
      #expect(kind { try four.instantiate(store: store) } == nil)
    }
    #expect(
      kind {
        let store = Store(engine: engine, limits: StoreLimits(totalTableElements: 5, memories: 1, tables: 2))
        try guest.instantiate(store: store, imports: imports)
      } == nil)
  }

  @Test func slotsThatWaitMakeRoomWhereMappingsRunOut() async {
    await #expect(processExitsWith: .success) {
      var limits = precast_limits()
      precast_find_limits(&limits)
      guard limits.maximum_mappings <= 1 << 20 else { return }  // would take too long
      let engine = Engine(configuration: EngineConfiguration(pool: InstancePoolConfiguration(maximumIdle: 50)))
      let first = try Module(engine: engine, wasm: try WAT.binary(Pools.guest))
      let second = try Module(engine: engine, wasm: try WAT.binary(Pools.guest))
      do {
        let stores = (0..<20).map { _ in Store(engine: engine) }
        for store in stores { try first.instantiate(store: store) }
      }
      let idle = engine.poolCounts.idle
      // As many as there may be but for a few: pages of one mapping, every other one with other rights.
      precast_find_limits(&limits)
      let page = precast_page_size()
      let count = Int(limits.maximum_mappings - limits.mappings) - 3
      guard let area = mmap(nil, count * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), area != MAP_FAILED else {
        exit(2)
      }
      for index in stride(from: 1, to: count, by: 2) { mprotect(area + index * page, page, PROT_NONE) }
      let instance = try second.instantiate(store: Store(engine: engine))
      guard idle == 20, engine.poolCounts == InstancePoolCounts(inUse: 1, idle: 0) else { exit(3) }
      guard try instance.call("call", .i32(1)) == [.i32(1)] else { exit(4) }
    }
  }

  @Test func refusesMoreInstancesThanItsLimitAndSaysWhich() throws {
    let engine = engine(inUse: 2)
    let module = try module(engine, Self.guest)
    let plain = try self.module(engine, "(module (table 10 funcref))")
    var stores = (0..<2).map { _ in Store(engine: engine) }
    for store in stores { try module.instantiate(store: store) }
    do {
      try use(module) { _ in Issue.record("there was a third slot") }
    } catch let error as RuntimeError {
      #expect(error.kind == .limit)
      #expect(error.message.contains("limit of 2 instances"))
      #expect(error.message.contains("pool.maximumInUse"))
    }
    // Those without a memory need no slot.
    try use(plain) { _ in }
    stores.removeLast()
    try use(module) { try expectPristine($0) }
    #expect(engine.poolCounts == InstancePoolCounts(inUse: 1, idle: 1))
  }

  @Test func keepsNoMoreIdleSlotsThanItsLimit() throws {
    for limit in [0, 1, 3] {
      let engine = engine(idle: limit)
      let module = try module(engine, Self.guest)
      var stores = (0..<5).map { _ in Store(engine: engine) }
      for store in stores { try module.instantiate(store: store) }
      #expect(engine.poolCounts == InstancePoolCounts(inUse: 5, idle: 0))
      stores = []
      #expect(engine.poolCounts == InstancePoolCounts(inUse: 0, idle: limit))
      for _ in 0..<2 { try use(module) { try expectPristine($0) } }
      engine.releaseIdleSlots()
      #expect(engine.poolCounts == InstancePoolCounts(inUse: 0, idle: 0))
      try use(module) { try expectPristine($0) }
    }
  }

  @Test func modulesThatTakeTurnsKeepTheirSlots() throws {
    let engine = engine(idle: 3)
    let modules = try (0..<3).map { try module(engine, "(module (memory (export \"memory\") \($0 + 1)))") }
    func places() throws -> [UInt] {
      try modules.map { try use($0) { try address($0.exports[memory: "memory"]) } }
    }
    let first = try places()
    #expect(Set(first).count == 3)
    #expect(try places() == first)
    // A fourth one takes the place of the module that has waited longest.
    let fourth = try module(engine, "(module (memory (export \"memory\") 9))")
    #expect(try use(fourth) { try address($0.exports[memory: "memory"]) } == first[0])
    #expect(try places()[1...] != first[...])
  }

  @Test func guardsOfASlotAreAtLeastThoseThatAModuleNeeds() throws {
    let engine = Engine(
      configuration: EngineConfiguration(
        memoryGuardSize: 0, pool: InstancePoolConfiguration(maximumInUse: 10, maximumIdle: 1)))
    let text =
      #"(module (memory (export "memory") 1) (func (export "far") (drop (i32.load offset=0x7FFFFFF0 (i32.const -1)))))"#
    func module(guard size: UInt64) throws -> Module {
      var settings = CompilerSettings()
      settings.memoryGuardSize = size
      return try Module(engine: engine, wasm: WasmBinary(try WAT.binary(text)), settings: settings)
    }
    let small = try module(guard: 64 << 10)
    let large = try module(guard: 2 << 30)
    for (module, size) in [(small, 64 << 10), (large, 2 << 30), (small, 64 << 10), (large, 2 << 30)] as [(Module, UInt)]
    {
      try use(module) { instance in
        #expect(trap { try instance.call("far") }?.code == .memoryOutOfBounds)
        // What is behind the memory is one inaccessible mapping, to the guard's end at least.
        let end = try address(instance.exports[memory: "memory"]) + (4 << 30) + size
        let covering = try String(contentsOfFile: "/proc/self/maps", encoding: .utf8).split(separator: "\n").first {
          let bounds = $0.prefix { $0 != " " }.split(separator: "-").compactMap { UInt($0, radix: 16) }
          return bounds.count == 2 && bounds[0] <= end - size - 65_536 && bounds[1] >= end
        }
        #expect(try #require(covering).contains(" ---p "))
      }
    }
  }

  // MARK: Nothing is kept

  /// Lines of /proc/self/maps that satisfy a condition.
  func mappings(where condition: (Substring) -> Bool) throws -> Int {
    try String(contentsOfFile: "/proc/self/maps", encoding: .utf8).split(separator: "\n").count { condition($0) }
  }

  /// Mappings that begin in a range of addresses.
  func mappings(in range: Range<UInt>) throws -> Int {
    try mappings { line in
      let parts = line.split(separator: " ", maxSplits: 2)
      guard let start = parts[0].split(separator: "-").first.flatMap({ UInt($0, radix: 16) }), parts.count > 1 else {
        return false
      }
      return range.contains(start)
    }
  }

  @Test func aModuleThatGoesLeavesNothingOfItsFileMapped() throws {
    let name = "pool-\(UInt64.random(in: 0 ... .max)).cwasm"
    let path = FileManager.default.temporaryDirectory.appendingPathComponent(name).path
    defer { unlink(path) }
    let bytes = try Compiler(settings: CompilerSettings()).compile(WasmBinary(try WAT.binary(Self.guest)))
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let engine = engine(idle: 5)
    do {
      let module = try Module(engine: engine, deserializeFile: path)
      let stores = (0..<3).map { _ in Store(engine: engine) }
      for store in stores { try module.instantiate(store: store) }
      #expect(try mappings { $0.contains(name) } > 3)
    }
    #expect(try mappings { $0.contains(name) } == 0)
    // The address space is there for others.
    #expect(engine.poolCounts == InstancePoolCounts(inUse: 0, idle: 3))
    try use(try module(engine, Self.guest)) { try expectPristine($0) }
    #expect(engine.poolCounts == InstancePoolCounts(inUse: 0, idle: 3))
  }

  @Test func addressSpaceIsGivenBackWithTheEngine() throws {
    var place: UInt = 0
    do {
      let engine = engine()
      try use(try module(engine, Self.guest)) {
        place = try address($0.exports[memory: "memory"])
        #expect(try mappings(in: place - (2 << 20)..<place + (6 << 30)) > 3)
      }
      // Idle, it is still reserved.
      #expect(try mappings(in: place - (2 << 20)..<place + (6 << 30)) > 0)
    }
    // Others may have mapped something there since, but not a table's area, a gap and a memory.
    #expect(try mappings(in: place - (2 << 20)..<place + 1) == 0)
  }

  // MARK: Threads

  @Test func threadsTakeAndGiveBackSlotsOfOneModule() throws {
    let engine = engine(idle: 3)
    let module = try module(
      engine,
      """
      (module
        (import "host" "mix" (func $mix (param i32) (result i32)))
        (memory (export "memory") 2)
        (table $t 100 funcref) (elem (i32.const 7) $f)
        (data (i32.const 8) "good")
        (func $f (param i32) (result i32) (call $mix (local.get 0)))
        (func (export "run") (param i32) (result i32)
          (if (i32.ne (i32.load (i32.const 8)) (i32.const 0x646f6f67)) (then unreachable))
          (if (i32.load (i32.const 70000)) (then unreachable))
          (i32.store (i32.const 8) (local.get 0))
          (i32.store (i32.const 70000) (local.get 0))
          (call_indirect $t (param i32) (result i32) (local.get 0) (i32.const 7))))
      """)
    var imports = Imports()
    imports.define(module: "host", name: "mix") { (value: Int32) -> Int32 in value &* 3 }
    let shared = imports
    let good = Mutexed(0)
    let done = DispatchSemaphore(value: 0)
    for thread in 0..<6 {
      Thread.detachNewThread {
        defer { done.signal() }
        for round in 1...150 {
          let number = UInt32(thread * 1000 + round)
          let store = Store(engine: engine)
          guard let instance = try? module.instantiate(store: store, imports: shared),
            (try? instance.call("run", .i32(number))) == [.i32(number * 3)]
          else { continue }
          good.add(1)
        }
      }
    }
    for _ in 0..<6 { done.wait() }
    #expect(good.value == 6 * 150)
    #expect(engine.poolCounts.inUse == 0)
    #expect((1...3).contains(engine.poolCounts.idle))
  }
}
