// Modules that would cost a compiler time out of proportion, if anything did.
//
// Each shape is a module of one kind of thing and little else, as large as one likes: what there is `count` of grows, and all
// else stays. A compiler whose cost is linear takes four times as much for four times the count, and for any of them not much
// more for a byte than for a byte of another. Tests/PrecastTests/LinearityTests.swift counts instructions.

/// A kind of module of which there can be more or less.
public enum CostShape: String, CaseIterable, Sendable {
  // Within one body.
  case arithmetic, liveLocals, branchesToOneLabel, chainedBlocks, chainedIfs, chainedLoops, nestedBlocks, nestedLoops
  case nestedIfs, deadBlocks, deepOperands, deepOperandsWithBlocks, deepOperandsWithCalls, earlyReferences, selects
  case longBranchTable, branchTables, branchTableWithValues, branchesWithValues, branchesOutward, memoryAccesses
  case indirectCalls, wideCalls, wideBlocks, localGroups
  // Bodies.
  case tinyFunctions, functionsWithDeclaredLocals, functionsWithParameters, functionsWithOneMoreByte
  // Around them.
  case types, equalTypes, typesOfFunctions, wideTypes, imports, exports, longNames, globals, dependentGlobals
  case longConstant, elementSegments, elementExpressions, overlappingElements, dataSegments, overlappingData
  case scatteredData, customSections, functionNames

  /// The module's bytes.
  public func wasm(count: Int) -> [UInt8] {
    var module = ShapeModule()
    build(&module, max(1, count))
    return module.wasm()
  }
}

/// The sections of a module in the making; those that are empty are left out.
struct ShapeModule {
  static let i32: UInt8 = 0x7F
  static let i64: UInt8 = 0x7E
  static let f64: UInt8 = 0x7C

  /// The items of each section by its identifier, which come after their number.
  private var items: [UInt8: (count: Int, bytes: Bytes)] = [:]
  private var trailing = Bytes()
  private var functions = 0

  init() {
    // Type 0: [i32] -> [i32]; type 1: [] -> [].
    addType([Self.i32], [Self.i32])
    addType([], [])
  }

  /// Adds an item to a section.
  mutating func add(_ section: UInt8, _ item: (inout Bytes) -> Void) {
    items[section, default: (0, Bytes())].count += 1
    item(&items[section, default: (0, Bytes())].bytes)
  }

  /// Adds a function type; its index is how many there were.
  @discardableResult
  mutating func addType(_ parameters: [UInt8], _ results: [UInt8]) -> Int {
    let index = items[1]?.count ?? 0
    add(1) {
      $0.byte(0x60)
      $0.number(parameters.count)
      $0.raw(parameters)
      $0.number(results.count)
      $0.raw(results)
    }
    return index
  }

  /// Adds a function of a type, with runs of locals; the body is without its final `end`. Returns its number among those
  /// defined.
  @discardableResult
  mutating func addFunction(type: Int = 0, locals: [(Int, UInt8)] = [], _ code: (inout Bytes) -> Void) -> Int {
    var body = Bytes()
    body.number(locals.count)
    for (count, type) in locals {
      body.number(count)
      body.byte(type)
    }
    code(&body)
    body.byte(0x0B)
    add(3) { $0.number(type) }
    add(10) {
      $0.number(body.bytes.count)
      $0.raw(body.bytes)
    }
    functions += 1
    return functions - 1
  }

  mutating func addMemory(pages: Int = 1) {
    add(5) {
      $0.byte(0)
      $0.number(pages)
    }
  }

  mutating func addTable(elements: Int) {
    add(4) {
      $0.raw([0x70, 0])
      $0.number(elements)
    }
  }

  /// Adds a custom section at the end.
  mutating func addCustom(_ name: String, _ contents: Bytes = Bytes()) {
    var section = Bytes()
    section.name(name)
    section.raw(contents.bytes)
    trailing.section(0, section)
  }

  func wasm() -> [UInt8] {
    var module = Bytes()
    module.raw([0x00, 0x61, 0x73, 0x6D, 0x01, 0x00, 0x00, 0x00])
    for identifier in [1, 2, 3, 4, 5, 6, 7, 9, 10, 11] as [UInt8] {
      guard let (count, bytes) = items[identifier] else { continue }
      var section = Bytes()
      section.number(count)
      section.raw(bytes.bytes)
      module.section(identifier, section)
    }
    module.raw(trailing.bytes)
    return module.bytes
  }
}
