// The cost of an instance does not depend on the size of what it starts with. Counted, not timed.

import Foundation
import Glibc
import Precast
import Testing

@Suite struct FlatInstantiation {
  /// A binary with a memory, a table, and segments that all are part of images.
  private struct Guest {
    var functions = 1
    var tableSize = 1
    var elementSegments = 1
    var elementsEach = 1
    var pages = 1
    var dataSegments = 1
    var dataStride = 1
    var dataSize = 1

    var binary: [UInt8] {
      var bytes: [UInt8] = [0, 0x61, 0x73, 0x6D, 1, 0, 0, 0]
      func number(_ value: Int) -> [UInt8] {
        var value = value
        var result: [UInt8] = []
        repeat {
          result.append(UInt8(value & 0x7F) | (value > 0x7F ? 0x80 : 0))
          value >>= 7
        } while value > 0
        return result
      }
      func signed(_ value: Int) -> [UInt8] {
        // Long enough that no sign bit is set by mistake.
        (0..<4).map { UInt8(value >> ($0 * 7) & 0x7F) | 0x80 } + [UInt8(value >> 28 & 0x7F)]
      }
      func section(_ id: UInt8, _ contents: [UInt8]) { bytes += [id] + number(contents.count) + contents }
      section(1, [1, 0x60, 0, 0])
      section(3, number(functions) + [UInt8](repeating: 0, count: functions))
      section(4, [1, 0x70, 0] + number(tableSize))
      section(5, [1, 0] + number(pages))
      section(7, [1, 6] + Array("memory".utf8) + [2, 0])
      var elements = number(elementSegments)
      for segment in 0..<elementSegments {
        elements += [0, 0x41] + signed(segment * elementsEach) + [0x0B] + number(elementsEach)
        for element in 0..<elementsEach { elements += number((segment + element) % functions) }
      }
      section(9, elements)
      section(10, number(functions) + (0..<functions).flatMap { _ in [2, 0, 0x0B] as [UInt8] })
      var data = number(dataSegments)
      let contents = [UInt8](repeating: 0xEE, count: dataSize)
      for segment in 0..<dataSegments {
        data += [0, 0x41] + signed(segment * dataStride) + [0x0B] + number(dataSize) + contents
      }
      section(11, data)
      return bytes
    }
  }

  /// What one cycle (a store, an instance, their end) costs at least: page faults of this thread.
  private func faults(_ module: Module, cycles: Int = 40) throws -> Int {
    var least = Int.max
    let onlyThisThread: Int32 = 1  // RUSAGE_THREAD
    for _ in 0..<cycles {
      var before = rusage()
      getrusage(onlyThisThread, &before)
      try module.instantiate(store: Store(engine: module.engine))
      var after = rusage()
      getrusage(onlyThisThread, &after)
      least = min(least, after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt)
    }
    return least
  }

  @Test func touchesNoMoreForALargeModuleThanForASmallOne() throws {
    let small = try Module(engine: Engine(), wasm: Guest().binary)
    // 64 MB of image in 10,000 segments, 100,000 elements in 10,000 segments, 20,000 functions.
    let large = try Module(
      engine: Engine(),
      wasm: Guest(
        functions: 20_000, tableSize: 100_000, elementSegments: 10_000, elementsEach: 10, pages: 1024,
        dataSegments: 10_000, dataStride: 6_700, dataSize: 850
      ).binary)
    #expect(try faults(small) == 0)
    #expect(try faults(large) == 0)
    // It is all there.
    let store = Store(engine: large.engine)
    let memory = try #require(large.instantiate(store: store).exports[memory: "memory"])
    #expect(try memory.load(UInt8.self, at: 9_999 * 6_700 + 849) == 0xEE)
    #expect(try memory.load(UInt8.self, at: 9_999 * 6_700 + 850) == 0)
  }
}

@Suite(.enabled(if: WAT.isAvailable)) struct SegmentsEitherWay {
  /// Instantiation that traps half-way has done the same, whether segments are images (constant offsets) or copied
  /// (offsets of imported globals).
  @Test(arguments: [false, true])
  func trapInTheSamePlaceAndLeaveTheSame(isCopied: Bool) throws {
    let world = World()
    let table = try Table(store: world.store, type: TableType(element: .funcref, limits: Limits(minimum: 8)))
    func offset(_ number: Int) -> String { isCopied ? "(global.get $g\(number))" : "(i32.const \(number))" }
    func instantiate(_ numbers: [Int], elements: Int) throws -> Trap? {
      var imports = Imports()
      imports.define(module: "host", name: "table", table)
      var text = #"(module (import "host" "table" (table $i 8 funcref))"#
      for number in Set(numbers + [elements]).sorted() {
        let type = GlobalType(value: .i32, isMutable: false)
        imports.define(
          module: "host", name: "g\(number)",
          try Global(store: world.store, type: type, value: .i32(UInt32(truncatingIfNeeded: number))))
        text += #"(import "host" "g\#(number)" (global $g\#(number) i32))"#
      }
      text += "(table $own 4 funcref) (memory 1) (elem (table $i) (i32.const 0) func $load $grow $size)"
      text += "(elem (table $own) \(offset(elements)) func $load $load)"
      for number in numbers { text += "(data \(offset(number)) \"data\")" }
      text += """
        (func $load (param i32) (result i32) (i32.load (local.get 0)))
        (func $grow (param i32) (result i32) (memory.grow (local.get 0)))
        (func $size (param i32) (result i32) (table.size $own)))
        """
      return trap { try world.instance(text, imports) }
    }
    func load(_ address: Int) throws -> UInt32? { try table.get(0).function?.invoke([.i32(UInt32(address))])[0].i32 }
    let word: UInt32 = 0x6174_6164

    #expect(try instantiate([0, 65_532, 65_533, 100], elements: 2)?.code == .memoryOutOfBounds)
    #expect(try load(0) == word)
    #expect(try load(65_532) == word)
    #expect(try load(100) == 0)
    // The instance that failed is reachable through the table, and lives.
    #expect(try table.get(1).function?.invoke([.i32(1)]) == [.i32(1)])
    #expect(try load(65_536) == 0)

    #expect(try instantiate([0], elements: 3)?.code == .tableOutOfBounds)
    #expect(try load(0) == 0)
    #expect(try instantiate([8], elements: -1)?.code == .tableOutOfBounds)
    #expect(try load(8) == 0)
    #expect(try instantiate([16], elements: 2) == nil)
    #expect(try load(16) == word)
  }
}
