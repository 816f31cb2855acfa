// Memories, tables, globals and functions that the host makes: no module is needed to use them.

import Precast
import Testing

@Suite struct HostMemories {
  @Test func areZeroAndOfTheirMinimumSize() throws {
    let world = World()
    let memory = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 2, maximum: 4)))
    #expect(memory.byteCount == 131_072)
    #expect(memory.pageCount == 2)
    #expect(try memory.load(UInt64.self, at: 131_064) == 0)
  }

  @Test func growUpToTheirMaximumAndKeepTheirContents() throws {
    let world = World()
    let memory = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 1, maximum: 3)))
    try memory.store(UInt32(0xDEAD_BEEF), at: 100)
    #expect(try memory.grow(by: 2) == 1)
    #expect(memory.byteCount == 3 * 65_536)
    #expect(try memory.load(UInt32.self, at: 100) == 0xDEAD_BEEF)
    #expect(try memory.load(UInt8.self, at: 3 * 65_536 - 1) == 0)
    #expect(kind { try memory.grow(by: 1) } == .limit)
    #expect(kind { try memory.grow(by: -1) } == .limit)
    #expect(kind { try memory.grow(by: .max) } == .limit)
    #expect(try memory.grow(by: 0) == 3)
  }

  @Test func refuseWhatIsOutOfBounds() throws {
    let world = World()
    let memory = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 1)))
    #expect(kind { _ = try memory.load(UInt32.self, at: 65_533) } == .outOfBounds)
    #expect(kind { _ = try memory.load(UInt32.self, at: -1) } == .outOfBounds)
    #expect(kind { _ = try memory.load(UInt32.self, at: .max) } == .outOfBounds)
    #expect(kind { try memory.store(UInt16(1), at: 65_535) } == .outOfBounds)
    #expect(kind { _ = try memory.read(at: 65_536, count: 1) } == .outOfBounds)
    #expect(kind { _ = try memory.read(at: 0, count: .max) } == .outOfBounds)
    #expect(kind { _ = try memory.readString(at: 1, count: -1) } == .outOfBounds)
    #expect(try memory.read(at: 65_536, count: 0) == [])
    #expect(kind { try memory.write([1, 2, 3], at: 65_534) } == .outOfBounds)
    #expect(try memory.read(at: 65_534, count: 2) == [0, 0])
  }

  @Test func readBackWhatWasWritten() throws {
    let world = World()
    let memory = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 1)))
    try memory.write(Array("grüß".utf8), at: 7)
    #expect(try memory.readString(at: 7, count: 6) == "grüß")
    try memory.store(Int16(-2), at: 1)
    #expect(try memory.read(at: 1, count: 2) == [0xFE, 0xFF])
    #expect(memory.withUnsafeMutableBytes { $0[1] } == 0xFE)
  }

  @Test func obeyTheStoresLimits() throws {
    let world = World(limits: StoreLimits(memoryBytes: 2 * 65_536, totalMemoryBytes: 3 * 65_536, memories: 2))
    let first = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 1)))
    try first.grow(by: 1)
    #expect(kind { try first.grow(by: 1) } == .limit)
    let second = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 1)))
    #expect(kind { try second.grow(by: 1) } == .limit)
    #expect(kind { _ = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 0))) } == .limit)
  }

  @Test func canBeOfTheLargestSize() throws {
    let world = World()
    let memory = try Memory(store: world.store, type: MemoryType(limits: Limits(minimum: 65_536)))
    #expect(memory.byteCount == 4 << 30)
    try memory.store(UInt8(1), at: (4 << 30) - 1)
    #expect(kind { try memory.grow(by: 1) } == .limit)
  }
}

@Suite struct HostTables {
  @Test func holdReferencesOfTheirType() throws {
    let world = World()
    let type = TableType(element: .externref, limits: Limits(minimum: 2, maximum: 3))
    let table = try Table(store: world.store, type: type)
    #expect(try table.get(0) == .externref(nil))
    let reference = ExternRef(store: world.store, "thing")
    try table.set(1, .externref(reference))
    #expect(try table.get(1).externRef === reference)
    #expect(kind { try table.set(1, .funcref(nil)) } == .typeMismatch)
    #expect(kind { try table.set(2, .externref(nil)) } == .outOfBounds)
    #expect(kind { _ = try table.get(-1) } == .outOfBounds)
    #expect(try table.grow(by: 1, initial: .externref(reference)) == 2)
    #expect(try table.get(2).externRef === reference)
    #expect(kind { try table.grow(by: 1) } == .limit)
  }

  @Test func holdFunctionsAndNulls() throws {
    let world = World()
    let function = Function(store: world.store) { (a: Int32) -> Int32 in a + 1 }
    let type = TableType(element: .funcref, limits: Limits(minimum: 3))
    let table = try Table(store: world.store, type: type, initial: .funcref(function))
    #expect(try table.get(2).function == function)
    #expect(try table.get(2).function?.invoke([.i32(4)]) == [.i32(5)])
    try table.set(2, .funcref(nil))
    #expect(try table.get(2) == .funcref(nil))
  }

  @Test func refuseWhatIsOfAnotherStore() throws {
    let world = World()
    let other = Store(engine: world.engine)
    let function = Function(store: other) {}
    let table = try Table(store: world.store, type: TableType(element: .funcref, limits: Limits(minimum: 1)))
    #expect(kind { try table.set(0, .funcref(function)) } == .foreignStore)
  }
}

@Suite struct HostGlobals {
  @Test func keepTheBitsOfEveryType() throws {
    let world = World()
    let reference = ExternRef(store: world.store, 1)
    let values: [Value] = [
      .i32(0xFFFF_FFFE), .i64(1 << 63), .f32(0x7FA0_0001), .f64(0x7FF4_0000_0000_0001),
      .v128(low: 1, high: 2), .funcref(nil), .externref(reference), .externref(nil),
    ]
    for value in values {
      let type = GlobalType(value: value.type, isMutable: true)
      let global = try Global(store: world.store, type: type, value: Value(defaultOf: value.type))
      #expect(global.value == Value(defaultOf: value.type))
      try global.set(value)
      #expect(global.value == value)
    }
  }

  @Test func refuseWrongTypesAndChangesOfConstants() throws {
    let world = World()
    let type = GlobalType(value: .i32, isMutable: false)
    #expect(kind { _ = try Global(store: world.store, type: type, value: .i64(1)) } == .typeMismatch)
    let global = try Global(store: world.store, type: type, value: .i32(1))
    #expect(kind { try global.set(.i32(2)) } == .immutable)
    let foreign = ExternRef(store: Store(engine: world.engine), 0)
    let references = GlobalType(value: .externref, isMutable: true)
    #expect(
      kind { _ = try Global(store: world.store, type: references, value: .externref(foreign)) } == .foreignStore)
  }
}

@Suite struct HostFunctions {
  @Test func haveTheTypeOfTheirClosure() {
    let store = World().store
    #expect(Function(store: store) {}.type == FunctionType())
    #expect(
      Function(store: store) { (_: Int32, _: UInt64, _: Float, _: Double) in }.type
        == FunctionType(parameters: [.i32, .i64, .f32, .f64]))
    #expect(
      Function(store: store) { (_: borrowing Caller, _: Function?) -> ExternRef? in nil }.type
        == FunctionType(parameters: [.funcref], results: [.externref]))
    #expect(
      Function(store: store) { () -> (Int32, Double) in (1, 2) }.type == FunctionType(results: [.i32, .f64]))
  }

  @Test func canBeCalledByTheHost() throws {
    let store = World().store
    let swap = Function(store: store) { (a: Int32, b: Float) -> (Float, Int32) in (b, a) }
    #expect(try swap.invoke([.i32(7), .fromFloat32(1.5)]) == [.fromFloat32(1.5), .i32(7)])
    let type = FunctionType(parameters: [.i64, .i64], results: [.i64])
    let raw = Function(store: store, type: type, raw: { _, slots in slots[i64: 0] = slots[i64: 0] - slots[i64: 1] })
    #expect(try raw([.i64(3), .i64(10)]) == [Value(signed: Int64(-7))])
    let untyped = Function(store: store, type: type) { _, arguments in [arguments[1]] }
    #expect(try untyped([.i64(3), .i64(10)]) == [.i64(10)])
    let typed: (Int64, Int64) throws -> Int64 = try raw.typed()
    #expect(try typed(1, 2) == -1)
    #expect(
      try raw.invokeRaw(slotCount: 2) {
        $0[i64: 0] = 5; $0[i64: 1] = 2
      } finish: {
        $0[i64: 0]
      } == 3)
  }

  @Test func refuseArgumentsThatDoNotFit() throws {
    let world = World()
    let function = Function(store: world.store) { (_: Int32, _: ExternRef?) in }
    #expect(kind { try function.invoke([.i32(1)]) } == .argumentCount)
    #expect(kind { try function.invoke([.i64(1), .externref(nil)]) } == .typeMismatch)
    let foreign = ExternRef(store: Store(engine: world.engine), 0)
    #expect(kind { try function.invoke([.i32(1), .externref(foreign)]) } == .foreignStore)
    #expect(kind { let _: (Int64) throws -> Void = try function.typed() } == .typeMismatch)
  }

  @Test func refuseResultsThatDoNotFit() throws {
    let store = World().store
    let type = FunctionType(results: [.i32])
    #expect(kind { try Function(store: store, type: type) { _, _ in [] }.invoke() } == .argumentCount)
    #expect(kind { try Function(store: store, type: type) { _, _ in [.i64(1)] }.invoke() } == .typeMismatch)
  }

  @Test func throwWhatTheirClosureThrows() throws {
    let error = HostFailure(3)
    let function = Function(store: World().store) { throw error }
    do {
      try function.invoke()
      Issue.record("nothing thrown")
    } catch {
      #expect((error as? HostFailure)?.number == 3)
    }
  }
}
