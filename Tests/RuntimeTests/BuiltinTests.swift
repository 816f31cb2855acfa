// The built-ins, called as generated code calls them: integers in, an integer out, failure by result.

import Precast
import PrecastArtifact
import PrecastMachineCode
import Testing

// (Code by hand is of one machine.)
@Suite(.enabled(if: WAT.isAvailable && !World.isEmulated)) struct Builtins {
  /// An instance whose exports are the built-ins, by the names of their cases, as functions of `i64`s.
  func instance(_ world: World, _ declarations: String, functions: [(text: String, body: HandMadeModule.Body)] = [])
    throws -> Instance
  {
    let parameters: [Builtin: Int] = [
      .memoryGrow: 2, .memoryFill: 4, .memoryCopy: 5, .memoryInit: 5, .dataDrop: 1, .tableGrow: 3, .tableFill: 4,
      .tableCopy: 5, .tableInit: 5, .elementDrop: 1, .functionReference: 1, .tableResolve: 2,
    ]
    let exports = Builtin.allCases.map { builtin in
      let list = Array(repeating: "i64", count: parameters[builtin] ?? 0).joined(separator: " ")
      return "(func (export \"\(builtin)\") (param \(list)) (result i64) unreachable)"
    }
    let bodies = Builtin.allCases.map { builtin -> HandMadeModule.Body in
      { assembler, _, _ in
        // From the wasm convention's registers to the platform's, behind the context.
        assembler.mov(.b64, dst: .rdx, src: .rsi)
        assembler.mov(.b64, dst: .rsi, src: .rdi)
        assembler.mov(.b64, dst: .rcx, src: .r8)
        assembler.mov(.b64, dst: .r8, src: .r9)
        assembler.mov(.b64, dst: .r9, src: .r10)
        assembler.callBuiltin(builtin)
      }
    }
    let text =
      "(module \(declarations) \(functions.map(\.text).joined(separator: "\n")) \(exports.joined(separator: "\n")))"
    let bytes = try HandMadeModule.artifact(text, functions.map(\.body) + bodies)
    return try Module(engine: world.engine, deserialize: bytes).instantiate(store: world.store)
  }

  func call(_ instance: Instance, _ builtin: Builtin, _ arguments: UInt64...) throws -> UInt64? {
    try instance.exports[function: "\(builtin)"]?.invoke(arguments.map { .i64($0) })[0].i64
  }

  let far: UInt64 = 0xFFFF_FFFF

  @Test func ofMemoriesCheckBoundsBeforeTheyWrite() throws {
    let instance = try instance(
      World(), #"(memory (export "m") 1 2) (data $p "abcdef") (data (i32.const 100) "active")"#)
    let memory = try #require(instance.exports[memory: "m"])
    #expect(try call(instance, .memoryInit, 0, 0, 10, 1, 4) == 0)
    #expect(try memory.readString(at: 10, count: 4) == "bcde")
    #expect(try call(instance, .memoryInit, 0, 0, 0, 3, 4) != 0)
    #expect(try call(instance, .memoryInit, 0, 0, 65_535, 0, 2) != 0)
    #expect(try call(instance, .memoryInit, 0, 0, far, far, far) != 0)
    // An active segment is gone after instantiation.
    #expect(try memory.readString(at: 100, count: 6) == "active")
    #expect(try call(instance, .memoryInit, 0, 1, 0, 0, 1) != 0)
    #expect(try call(instance, .memoryInit, 0, 1, 0, 0, 0) == 0)
    #expect(try call(instance, .memoryCopy, 0, 0, 11, 10, 4) == 0)
    #expect(try memory.readString(at: 10, count: 5) == "bbcde")
    #expect(try call(instance, .memoryCopy, 0, 0, 65_533, 10, 4) != 0)
    #expect(try call(instance, .memoryCopy, 0, 0, 10, 65_533, 4) != 0)
    #expect(try memory.read(at: 65_532, count: 4) == [0, 0, 0, 0])
    #expect(try call(instance, .memoryFill, 0, 65_534, 0x1AB, 2) == 0)
    #expect(try memory.read(at: 65_533, count: 3) == [0, 0xAB, 0xAB])
    #expect(try call(instance, .memoryFill, 0, 65_530, 1, 7) != 0)
    #expect(try memory.load(UInt8.self, at: 65_530) == 0)
    #expect(try call(instance, .memoryFill, 0, 65_536, 1, 0) == 0)
    #expect(try call(instance, .memoryFill, 0, 65_537, 1, 0) != 0)
    _ = try call(instance, .dataDrop, 0)
    #expect(try call(instance, .memoryInit, 0, 0, 0, 0, 1) != 0)
    #expect(try call(instance, .memoryInit, 0, 0, 65_536, 0, 0) == 0)
    #expect(try call(instance, .memoryGrow, 0, 1) == 1)
    #expect(try call(instance, .memoryGrow, 0, 1) == .max)
    #expect(try call(instance, .memoryGrow, 0, 0) == 2)
    #expect(try call(instance, .memoryFill, 0, 131_071, 9, 1) == 0)
  }

  @Test func ofTablesLookElementsUpAndCheckBoundsBeforeTheyWrite() throws {
    let world = World()
    let answers: [(text: String, body: HandMadeModule.Body)] = (1...3).map { number in
      (
        "(func (result i32) unreachable)",
        { assembler, _, _ in assembler.mov(.b32, dst: .rax, immediate: UInt64(number)) }
      )
    }
    let instance = try instance(
      world,
      """
      (table (export "t") 8 10 funcref) (table (export "u") 8 funcref)
      (elem (table 0) (i32.const 1) func 0 1 2) (elem func 2 1) (elem (table 1) (i32.const 6) func 0)
      """, functions: answers)
    let table = try #require(instance.exports[table: "t"])
    let other = try #require(instance.exports[table: "u"])
    func numbers(_ table: Table) throws -> [UInt32] {
      try (0..<table.count).map { try table.get($0).function?.invoke()[0].i32 ?? 0 }
    }
    // Elements that nobody has looked at move with what they stand for, also when ranges overlap.
    #expect(try call(instance, .tableCopy, 0, 0, 2, 1, 3) == 0)
    #expect(try numbers(table) == [0, 1, 1, 2, 3, 0, 0, 0])
    #expect(try call(instance, .tableCopy, 1, 0, 0, 3, 2) == 0)
    #expect(try numbers(other) == [2, 3, 0, 0, 0, 0, 1, 0])
    #expect(try call(instance, .tableCopy, 0, 1, 7, 0, 2) != 0)
    #expect(try call(instance, .tableCopy, 0, 1, 0, 7, 2) != 0)
    #expect(try call(instance, .tableInit, 0, 1, 0, 0, 2) == 0)
    #expect(try numbers(table) == [3, 2, 1, 2, 3, 0, 0, 0])
    #expect(try call(instance, .tableInit, 0, 1, 7, 0, 2) != 0)
    #expect(try call(instance, .tableInit, 0, 1, 0, 1, 2) != 0)
    #expect(try call(instance, .tableInit, 0, 0, 0, 0, 1) != 0)
    _ = try call(instance, .elementDrop, 1)
    #expect(try call(instance, .tableInit, 0, 1, 0, 0, 1) != 0)
    #expect(try call(instance, .tableInit, 0, 1, 8, 0, 0) == 0)

    let reference = try #require(try call(instance, .functionReference, 1))
    #expect(reference != 0 && reference & 1 == 0)
    #expect(try call(instance, .functionReference, 1) == reference)
    #expect(try call(instance, .tableResolve, 0, 1) == reference | 1)
    #expect(try call(instance, .tableResolve, 0, 7) == 1)
    #expect(try call(instance, .tableFill, 0, 5, reference, 3) == 0)
    #expect(try numbers(table) == [3, 2, 1, 2, 3, 2, 2, 2])
    #expect(try call(instance, .tableFill, 0, 0, 0, 1) == 0)
    #expect(try call(instance, .tableFill, 0, 6, 0, 3) != 0)
    #expect(try numbers(table) == [0, 2, 1, 2, 3, 2, 2, 2])
    #expect(try call(instance, .tableGrow, 0, reference, 2) == 8)
    #expect(try numbers(table) == [0, 2, 1, 2, 3, 2, 2, 2, 2, 2])
    #expect(try call(instance, .tableGrow, 0, reference, 1) == .max)
    #expect(try call(instance, .tableGrow, 1, 0, far) == .max)
    // Written nulls stay null, whatever the segment said.
    try table.set(1, .funcref(nil))
    #expect(try table.get(1) == .funcref(nil))
  }

  @Test func resolveTablesThatOtherModulesDefine() throws {
    let world = World()
    let one: (text: String, body: HandMadeModule.Body) = (
      "(func (result i32) unreachable)", { assembler, _, _ in assembler.mov(.b32, dst: .rax, immediate: 1) }
    )
    let first = try instance(
      world, #"(table (export "t") 4 funcref) (elem (i32.const 1) func 0 0)"#, functions: [one])
    var imports = Imports()
    imports.define(module: "first", first)
    let bytes = try HandMadeModule.artifact(
      """
      (module (import "first" "t" (table 4 funcref)) (elem (i32.const 2) func 0) (func (result i32) unreachable))
      """, [{ assembler, _, _ in assembler.mov(.b32, dst: .rax, immediate: 2) }])
    try Module(engine: world.engine, deserialize: bytes).instantiate(store: world.store, imports: imports)
    let table = try #require(first.exports[table: "t"])
    #expect(try (0..<4).map { try table.get($0).function?.invoke()[0].i32 } == [nil, 1, 2, nil])
  }
}
