// Random programs made to trouble a register allocator.
//
// `wasm-tools smith` finds what a module may be; its bodies are short, and what they compute is mostly thrown away. Here it
// is the other way round: a fixed frame of a module, and functions full of what decides where values live. Expressions are
// deep, with many values waiting on the stack while locals that they came from are set; blocks, ifs and loops take and give
// several values of mixed types, left by `br_if`, `br` and `br_table`; calls have more arguments than registers; operands
// are often the constants for which compilers have special cases, addresses are sums with scaled indexes and offsets, and
// comparisons feed branches and selects.
//
// Everything that is computed shows in the end: in results, exported globals and the memory. A counter in a global ends
// every loop and recursion with a trap. Where a NaN's bits could be seen (in memory, after a reinterpretation), NaNs are
// replaced by a number first, since which of them an operation gives is up to an engine.
//
// The same seed gives the same module.

/// A generator of random modules.
public struct RandomProgram {
  private enum Kind: Int, CaseIterable {
    case i32, i64, f32, f64
    /// The type in the binary format.
    var code: UInt8 { 0x7F - UInt8(rawValue) }
    var isFloat: Bool { self == .f32 || self == .f64 }
  }

  private struct Signature {
    var parameters: [Kind]
    var results: [Kind]
  }

  private struct Target {
    var kinds: [Kind]
    var isFunction = false
  }

  private var random: SplitMix64
  private var module = ShapeModule()
  private var signatures: [Signature] = []
  private var types: [Int] = []
  private let globals: [Kind]
  private var fuel: Int { globals.count }

  // The function in the making.
  private var code = Bytes()
  private var locals: [Kind] = []
  /// Locals that statements may set: all but the counters of loops.
  private var settable = 0
  private var counters: [Int] = []
  private var freeCounters: [Int] = []
  private var targets: [Target] = []
  private var budget = 0
  private var scratch: [Kind: Int] = [:]
  private var functionNumber = 0

  /// A program for a seed.
  public init(seed: UInt64) {
    random = SplitMix64(state: seed &* 0x9E37_79B9_7F4A_7C15)
    globals = [.i32, .i64, .f32, .f64, .i32, .i64]
  }

  /// The module's bytes.
  public func wasm() -> [UInt8] {
    var copy = self
    return copy.make()
  }

  // MARK: The module

  private mutating func make() -> [UInt8] {
    let count = 3 + random.below(5)
    for _ in 0..<count {
      let bias = chance(50) ? any() : nil
      let parameters = kinds([0, 1, 2, 3, 4, 6, 9, 14, 20][random.below(9)], bias)
      let results = kinds([0, 1, 1, 1, 2, 3, 5][random.below(7)], nil)
      signatures.append(Signature(parameters: parameters, results: results))
      types.append(module.addType(parameters.map(\.code), results.map(\.code)))
    }
    for number in 0..<count {
      let body = function(number)
      module.addFunction(type: types[number], locals: body.locals) { $0.raw(body.code) }
    }
    module.addTable(elements: count + 1)
    module.addMemory()
    for kind in globals {
      module.add(6) { item in
        item.raw([kind.code, 1])
        item.raw(
          kind == .i32
            ? [0x41, 7]
            : kind == .i64
              ? [0x42, 0x7E] : kind == .f32 ? [0x43, 0, 0, 0xC0, 0x3F] : [0x44, 0, 0, 0, 0, 0, 0, 4, 0x40])
        item.byte(0x0B)
      }
    }
    module.add(6) {
      $0.raw([Kind.i32.code, 1, 0x41])
      $0.signed(1500)
      $0.byte(0x0B)
    }
    export("memory", 2, 0)
    for number in 0..<count { export("f\(number)", 0, number) }
    for number in 0...globals.count { export("g\(number)", 3, number) }
    module.add(9) {
      $0.raw([0, 0x41, 0, 0x0B])
      $0.number(count)
      for number in 0..<count { $0.number(number) }
    }
    var contents: [UInt8] = []
    for _ in 0..<1024 { contents.append(chance(40) ? 0 : UInt8(truncatingIfNeeded: random.next())) }
    module.add(11) {
      $0.raw([0, 0x41, 0, 0x0B])
      $0.number(contents.count)
      $0.raw(contents)
    }
    return module.wasm()
  }

  private mutating func export(_ name: String, _ kind: UInt8, _ index: Int) {
    module.add(7) {
      $0.name(name)
      $0.byte(kind)
      $0.number(index)
    }
  }

  private mutating func chance(_ percent: Int) -> Bool { random.below(100) < percent }
  private mutating func any() -> Kind { Kind.allCases[random.below(4)] }
  private mutating func kinds(_ count: Int, _ bias: Kind?) -> [Kind] {
    (0..<count).map { _ in
      if let bias, chance(70) { return bias }
      return any()
    }
  }

  // MARK: Functions

  private mutating func function(_ number: Int) -> (locals: [(Int, UInt8)], code: [UInt8]) {
    functionNumber = number
    code = Bytes()
    let signature = signatures[number]
    let bias = chance(60) ? any() : nil
    let own = kinds([0, 2, 5, 10, 20, 50][random.below(6)], bias)
    locals = signature.parameters + own
    settable = locals.count
    // Counters of loops, and one of each type to look at a value twice.
    freeCounters = Array(locals.count..<locals.count + 6)
    locals += Array(repeating: .i32, count: 6)
    for kind in Kind.allCases {
      scratch[kind] = locals.count
      locals.append(kind)
    }
    targets = [Target(kinds: signature.results, isFunction: true)]
    budget = [40, 100, 250, 500][random.below(4)]
    burn()
    for _ in 0..<(2 + random.below(12)) { statement(3) }
    for kind in signature.results { expression(kind, 4) }
    return (locals[signature.parameters.count...].map { (1, $0.code) }, code.bytes)
  }

  /// Takes one from the counter, and traps when there is none left.
  private mutating func burn() {
    code.byte(0x23)
    code.number(fuel)
    code.raw([0x41, 1, 0x6B, 0x24])
    code.number(fuel)
    code.byte(0x23)
    code.number(fuel)
    code.raw([0x41, 0, 0x48, 0x04, 0x40, 0x00, 0x0B])
  }

  private mutating func local(_ kind: Kind, settable isSettable: Bool) -> Int? {
    let end = isSettable ? settable : settable + 6
    guard end > 0 else { return nil }
    // Mostly a few that are used again and again.
    let start = random.below(end)
    for step in 0..<end where locals[(start + step) % end] == kind { return (start + step) % end }
    return nil
  }

  private mutating func global(_ kind: Kind) -> Int {
    let all = globals.indices.filter { globals[$0] == kind }
    return all[random.below(all.count)]
  }

  // MARK: Statements

  private mutating func statements(_ most: Int, _ depth: Int) {
    for _ in 0..<random.below(most + 1) { statement(depth) }
  }

  private mutating func statement(_ depth: Int) {
    budget -= 1
    guard budget > 0 else { return }
    let deep = 1 + random.below(6)
    switch random.below(depth > 0 ? 18 : 8) {
    case 0, 1, 2:
      let kind = any()
      expression(kind, deep)
      consume(kind)
    case 3:
      let kind = any()
      expression(kind, deep)
      code.byte(0x24)
      code.number(global(kind))
    case 4, 5: store(deep)
    case 6: manyValues(depth)
    case 7: call(deep)
    case 8, 9:
      condition(deep)
      code.raw([0x04, 0x40])
      targets.append(Target(kinds: []))
      statements(4, depth - 1)
      if chance(25) { leave() }
      if chance(50) {
        code.byte(0x05)
        statements(4, depth - 1)
        if chance(15) { leave() }
      }
      end()
    case 10, 11: loop(depth)
    case 12, 13, 14: block(depth)
    case 15: table(depth)
    default: branchIf(deep)
    }
  }

  private mutating func end() {
    targets.removeLast()
    code.byte(0x0B)
  }

  /// Takes a value from the stack.
  private mutating func consume(_ kind: Kind) {
    if chance(75), let local = local(kind, settable: true) {
      if chance(25) {
        code.tee(local)
        code.byte(0x24)
        code.number(global(kind))
      } else {
        code.set(local)
      }
    } else if chance(60) {
      code.byte(0x24)
      code.number(global(kind))
    } else {
      code.byte(0x1A)
    }
  }

  private mutating func consume(_ kinds: [Kind]) { for kind in kinds.reversed() { consume(kind) } }

  /// Many values on the stack while other things happen.
  private mutating func manyValues(_ depth: Int) {
    let waiting = kinds(2 + random.below(18), chance(50) ? any() : nil)
    for kind in waiting {
      if chance(60), let local = local(kind, settable: false) { code.get(local) } else { expression(kind, 2) }
    }
    if depth > 0 { statements(3, depth - 1) }
    consume(waiting)
  }

  private mutating func loop(_ depth: Int) {
    guard let counter = freeCounters.popLast() else { return }
    let kinds = chance(60) ? [] : kinds(1 + random.below(4), nil)
    code.constant(1 + random.below(5))
    code.set(counter)
    for kind in kinds { expression(kind, 2) }
    code.byte(0x03)
    code.signed(module.addType(kinds.map(\.code), kinds.map(\.code)))
    targets.append(Target(kinds: kinds))
    if !kinds.isEmpty {
      consume(kinds)
    }
    burn()
    statements(6, depth - 1)
    for kind in kinds { expression(kind, 3) }
    code.get(counter)
    code.raw([0x41, 1, 0x6B])
    code.tee(counter)
    switch random.below(3) {
    case 0: break
    case 1: code.raw([0x41, 0, 0x4A])  // i32.gt_s
    default: code.raw([0x45, 0x45])  // not zero, as a truth value
    }
    code.raw([0x0D, 0])
    end()
    consume(kinds)
    freeCounters.append(counter)
  }

  /// A block or an if with values in and out.
  private mutating func block(_ depth: Int) {
    let parameters = kinds([0, 0, 1, 2, 3][random.below(5)], nil)
    let results = kinds([0, 1, 1, 2, 3, 5][random.below(6)], nil)
    for kind in parameters { expression(kind, 3) }
    let isIf = chance(35)
    if isIf { condition(3) }
    code.byte(isIf ? 0x04 : 0x02)
    code.signed(module.addType(parameters.map(\.code), results.map(\.code)))
    targets.append(Target(kinds: results))
    for arm in 0..<(isIf ? 2 : 1) {
      if arm == 1 { code.byte(0x05) }
      if chance(50) {
        consume(parameters)
        statements(4, depth - 1)
      } else {
        statements(3, depth - 1)
        consume(parameters)
      }
      for kind in results { expression(kind, 3) }
      if chance(40) {
        condition(2)
        code.raw([0x0D, 0])
      }
      if chance(40) {
        // Something between, with the results on the stack.
        statements(1, depth - 1)
      }
    }
    end()
    consume(results)
  }

  /// Blocks around a table of branches.
  private mutating func table(_ depth: Int) {
    let kinds = chance(50) ? [] : kinds(1 + random.below(4), nil)
    let type = module.addType([], kinds.map(\.code))
    let count = 1 + random.below(4)
    for _ in 0..<count {
      code.byte(0x02)
      code.signed(type)
      targets.append(Target(kinds: kinds))
    }
    statements(3, depth - 1)
    for kind in kinds { expression(kind, 3) }
    expression(.i32, 2)
    if chance(80) {
      code.constant([1, 3, 7][random.below(3)])
      code.byte(0x71)
    }
    let entries = [0, 1, 2, 3, 4, 5, 9][random.below(7)]
    code.byte(0x0E)
    code.number(entries)
    for _ in 0...entries { code.number(random.below(count)) }
    for _ in 0..<count {
      end()
      consume(kinds)
      statements(2, depth - 1)
      for kind in kinds { expression(kind, 1) }
    }
    consume(kinds)
  }

  /// A conditional branch to some label, and the values that stay when it is not taken.
  private mutating func branchIf(_ deep: Int) {
    let depth = random.below(targets.count)
    let kinds = targets[targets.count - 1 - depth].kinds
    for kind in kinds { expression(kind, 2) }
    condition(deep)
    code.byte(0x0D)
    code.number(depth)
    consume(kinds)
  }

  /// Ends an arm by a branch outwards.
  private mutating func leave() {
    let depth = random.below(targets.count)
    let target = targets[targets.count - 1 - depth]
    for kind in target.kinds { expression(kind, 2) }
    if target.isFunction, chance(50) {
      code.byte(0x0F)
    } else {
      code.byte(0x0C)
      code.number(depth)
    }
  }

  /// A call of a function that came before, or of any by the table.
  private mutating func call(_ deep: Int) {
    let callee = random.below(signatures.count)
    let isDirect = callee < functionNumber && chance(60)
    guard isDirect || chance(50) else { return }
    for kind in signatures[callee].parameters { expression(kind, deep / 2 + 1) }
    if isDirect {
      code.byte(0x10)
      code.number(callee)
    } else {
      if chance(85) { code.constant(callee) } else { expression(.i32, 1) }
      code.byte(0x11)
      code.number(types[callee])
      code.byte(0)
    }
    consume(signatures[callee].results)
  }

  // MARK: Memory

  /// An address, mostly within the memory, and an offset.
  private mutating func address(_ deep: Int) -> Int {
    switch random.below(8) {
    case 0: code.constant(random.below(1024))
    case 1, 2:
      // An array's element: base + (index << scale).
      expression(.i32, 1)
      code.constant(0xFF)
      code.byte(0x71)
      expression(.i32, 1)
      code.constant(0x3F)
      code.byte(0x71)
      code.constant(random.below(4))
      code.raw([0x74, 0x6A])
    case 3:
      expression(.i32, 1)
      code.constant(0x3F)
      code.byte(0x71)
      code.constant([2, 3, 4, 5, 8, 9, 12, 16][random.below(8)])
      code.byte(0x6C)
      code.constant(random.below(100))
      code.byte(0x6A)
    default:
      expression(.i32, deep)
      code.constant([0x3FF, 0x7F, 0x1FFF][random.below(3)])
      code.byte(0x71)
    }
    return chance(2) ? 0x7FFF_FFF0 : chance(3) ? 65_530 : random.below(chance(50) ? 16 : 600)
  }

  private mutating func store(_ deep: Int) {
    let opcode = 0x36 + random.below(9)
    let kind: Kind = [.i32, .i64, .f32, .f64, .i32, .i32, .i64, .i64, .i64][opcode - 0x36]
    let offset = address(deep - 1)
    expression(kind, deep)
    canonicalize(kind)
    code.raw([UInt8(opcode), 0])
    code.number(offset)
  }

  /// Replaces a NaN.
  private mutating func canonicalize(_ kind: Kind) {
    guard kind.isFloat, let local = scratch[kind] else { return }
    code.tee(local)
    constant(kind)
    code.get(local)
    code.get(local)
    code.raw([kind == .f32 ? 0x5B : 0x61, 0x1B])
  }

  // MARK: Expressions

  /// A constant that is no NaN.
  private mutating func constant(_ kind: Kind) {
    switch kind {
    case .i32:
      code.constant(
        chance(70)
          ? [
            0, 1, -1, 2, 3, 4, 5, 7, 8, 9, 10, 16, 31, 32, 33, 100, 255, 256, 65_535, -128, Int(Int32.min),
            Int(Int32.max),
          ][random.below(22)]
          : Int(Int32(truncatingIfNeeded: random.next())))
    case .i64:
      code.byte(0x42)
      code.signed(
        chance(70)
          ? [
            0, 1, -1, 2, 3, 5, 7, 8, 10, 31, 32, 63, 64, 1000, 0xFFFF_FFFF, 0x8000_0000, -0x8000_0000, Int.min, Int.max,
          ][random.below(19)]
          : Int(truncatingIfNeeded: random.next()))
    case .f32:
      let value: Float = [
        0, -0.0, 1, -1, 0.5, 1.5, -2.5, 1e10, -1e10, .leastNonzeroMagnitude, 2_147_483_648, .infinity, -.infinity,
      ][
        random.below(13)]
      code.byte(0x43)
      for shift in 0..<4 { code.byte(UInt8(truncatingIfNeeded: value.bitPattern >> UInt32(shift * 8))) }
    case .f64:
      let value: Double = [
        0, -0.0, 1, -1, 0.5, 1.5, -2.5, 1e10, -1e300, .leastNonzeroMagnitude, 9.3e18, .infinity, -.infinity,
      ][
        random.below(13)]
      code.byte(0x44)
      for shift in 0..<8 { code.byte(UInt8(truncatingIfNeeded: value.bitPattern >> UInt64(shift * 8))) }
    }
  }

  private mutating func leaf(_ kind: Kind) {
    if chance(65), let local = local(kind, settable: false) { return code.get(local) }
    if chance(30) {
      code.byte(0x23)
      return code.number(global(kind))
    }
    constant(kind)
  }

  /// A truth value, mostly a comparison.
  private mutating func condition(_ deep: Int) {
    if chance(75) { comparison(deep) } else { expression(.i32, deep) }
    if chance(15) { code.byte(0x45) }
  }

  private mutating func comparison(_ deep: Int) {
    if chance(20) {
      let isWide = chance(50)
      expression(isWide ? .i64 : .i32, deep)
      return code.byte(isWide ? 0x50 : 0x45)
    }
    let kind = any()
    expression(kind, deep - 1)
    if chance(40) { constant(kind) } else { expression(kind, deep - 1) }
    let (first, count) = [(0x46, 10), (0x51, 10), (0x5B, 6), (0x61, 6)][kind.rawValue]
    code.byte(UInt8(first + random.below(count)))
  }

  /// A value of a type.
  private mutating func expression(_ kind: Kind, _ deep: Int) {
    budget -= 1
    guard deep > 0, budget > 0, !chance(12) else { return leaf(kind) }
    switch random.below(20) {
    case 0..<8: binary(kind, deep)
    case 8, 9: unary(kind, deep)
    case 10, 11: conversion(kind, deep)
    case 12, 13:
      let offset = address(deep - 1)
      let opcodes: [UInt8] = [
        [0x28, 0x28, 0x2C, 0x2D, 0x2E, 0x2F], [0x29, 0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35], [0x2A], [0x2B],
      ][kind.rawValue]
      code.raw([opcodes[random.below(opcodes.count)], 0])
      code.number(offset)
    case 14, 15:
      expression(kind, deep - 1)
      expression(kind, deep - 1)
      condition(deep - 1)
      code.byte(0x1B)
    case 16:
      expression(kind, deep - 1)
      if let local = local(kind, settable: true) { code.tee(local) }
    case 17:
      condition(deep - 1)
      code.raw([0x04, kind.code])
      targets.append(Target(kinds: [kind]))
      expression(kind, deep - 1)
      code.byte(0x05)
      expression(kind, deep - 1)
      end()
    case 18:
      code.raw([0x02, kind.code])
      targets.append(Target(kinds: [kind]))
      expression(kind, deep - 1)
      condition(deep - 1)
      code.raw([0x0D, 0])
      if chance(50) {
        code.byte(0x1A)
        expression(kind, deep - 1)
      }
      end()
    default:
      if kind == .i32 { comparison(deep) } else { binary(kind, deep) }
    }
  }

  private mutating func binary(_ kind: Kind, _ deep: Int) {
    expression(kind, deep - 1)
    let (first, count) = [(0x6A, 15), (0x7C, 15), (0x92, 7), (0xA0, 7)][kind.rawValue]
    var opcode = first + random.below(count)
    // Division by what is computed mostly ends in a trap.
    let isDivision = !kind.isFloat && (3...6).contains(opcode - first)
    if isDivision, chance(30) { opcode = first + random.below(3) }
    let isShift = !kind.isFloat && opcode - first >= 10
    if chance(isDivision ? 85 : isShift ? 60 : 30) {
      constant(kind)
    } else if isDivision, chance(80) {
      expression(kind, deep - 1)
      // One bit is set.
      if kind == .i32 { code.raw([0x41, 1, 0x72]) } else { code.raw([0x42, 1, 0x84]) }
    } else {
      expression(kind, deep - 1)
    }
    // The sign of a NaN must not be seen.
    if kind.isFloat, opcode - first == 6 { canonicalize(kind) }
    code.byte(UInt8(opcode))
  }

  private mutating func unary(_ kind: Kind, _ deep: Int) {
    expression(kind, deep - 1)
    let opcodes: [UInt8] = [
      [0x67, 0x68, 0x69, 0xC0, 0xC1], [0x79, 0x7A, 0x7B, 0xC2, 0xC3, 0xC4], Array(0x8B...0x91), Array(0x99...0x9F),
    ][kind.rawValue]
    code.byte(opcodes[random.below(opcodes.count)])
  }

  private mutating func conversion(_ kind: Kind, _ deep: Int) {
    let (source, opcode): (Kind, [UInt8]) =
      switch (kind, random.below(7)) {
      case (.i32, 0...2): (.i64, [0xA7])
      case (.i32, 3): (.f32, [0xFC, UInt8(random.below(2))])
      case (.i32, 4): (.f64, [0xFC, UInt8(2 + random.below(2))])
      case (.i32, 5): (.f32, [0xBC])
      case (.i32, _): (.f64, [chance(10) ? 0xAA : 0xFC, 3])
      case (.i64, 0...3): (.i32, [UInt8(0xAC + random.below(2))])
      case (.i64, 4): (.f64, [0xBD])
      case (.i64, 5): (.f32, [0xFC, UInt8(4 + random.below(2))])
      case (.i64, _): (.f64, [0xFC, UInt8(6 + random.below(2))])
      case (.f32, 0...1): (.i32, [UInt8(0xB2 + random.below(2))])
      case (.f32, 2...3): (.i64, [UInt8(0xB4 + random.below(2))])
      case (.f32, 4): (.i32, [0xBE])
      case (.f32, _): (.f64, [0xB6])
      case (.f64, 0...1): (.i32, [UInt8(0xB7 + random.below(2))])
      case (.f64, 2...3): (.i64, [UInt8(0xB9 + random.below(2))])
      case (.f64, 4): (.i64, [0xBF])
      case (.f64, _): (.f32, [0xBB])
      }
    expression(source, deep - 1)
    if opcode[0] == 0xBC || opcode[0] == 0xBD { canonicalize(source) }
    code.raw(opcode[0] == 0xFC ? opcode : [opcode[0]])
  }
}
