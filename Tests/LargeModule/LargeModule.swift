// A module with as many functions as one likes, for what must not depend on their number.
//
// Published programs end at some tens of thousands of functions. This makes a valid module of any number of them that has a
// fair share of everything that a loader could be tempted to walk: types, imports, exports, a table with element segments
// (active, passive, and one that is declared), globals, a memory with data segments far apart, and a name for each function.
// Bodies are short but not trivial: arithmetic, loads and stores, branches, a loop now and then, calls and indirect calls.
//
// The same count and seed give the same bytes: all choices come from SplitMix64 (Steele, Lea, Flood: Fast Splittable
// Pseudorandom Number Generators, 2014).

/// A generator of large modules.
public struct LargeModule {
  /// Number of functions that the module defines.
  public let functionCount: Int
  private var random: SplitMix64

  /// A module of `functionCount` functions; `seed` varies what is in them.
  public init(functionCount: Int, seed: UInt64 = 1) {
    self.functionCount = max(1, functionCount)
    random = SplitMix64(state: seed)
  }

  /// The module's bytes.
  public func wasm() -> [UInt8] {
    var copy = self
    return copy.make()
  }

  // MARK: What there is

  // Value types and opcodes are those of the binary format (https://webassembly.github.io/spec/core/binary/).
  private static let i32: UInt8 = 0x7F, i64: UInt8 = 0x7E, f64: UInt8 = 0x7C

  /// Function types by number; a function has the type of its index modulo this many.
  private static let types: [(parameters: [UInt8], results: [UInt8])] = [
    ([i32], [i32]), ([i32, i32], [i32]), ([i64, i32], [i64]), ([f64], [f64]), ([], []), ([i32, i64, f64], [i32]),
    ([], [i32]), ([i32, i32, i32, i32], []),
  ]

  private static let importCount = 24
  private static let globalCount = 64
  private static let pages = 256
  private static let dataStride = 32 * 1024

  /// The first bytes of what a body may touch are those that segments fill.
  private static let addressMask = 0xF_FFFF

  private var definedStart: Int { Self.importCount }
  private var indexEnd: Int { Self.importCount + functionCount }

  /// Table elements: one function in four.
  private var elementCount: Int { functionCount / 4 + 1 }

  private mutating func make() -> [UInt8] {
    var module = Bytes()
    module.bytes.reserveCapacity(functionCount * 96 + 65536)
    module.raw([0x00, 0x61, 0x73, 0x6D, 0x01, 0x00, 0x00, 0x00])
    module.section(1, types())
    module.section(2, imports())
    module.section(3, functions())
    module.section(4, tables())
    module.section(5, memory())
    module.section(6, globals())
    module.section(7, exports())
    module.section(9, elements())
    module.section(12, dataCount())
    module.section(10, code())
    module.section(11, data())
    module.section(0, names())
    return module.bytes
  }

  private func types() -> Bytes {
    var section = Bytes()
    section.number(Self.types.count)
    for type in Self.types {
      section.byte(0x60)
      section.number(type.parameters.count)
      section.raw(type.parameters)
      section.number(type.results.count)
      section.raw(type.results)
    }
    return section
  }

  private func imports() -> Bytes {
    var section = Bytes()
    section.number(Self.importCount)
    for index in 0..<Self.importCount {
      section.name("host")
      section.name("call_\(index)")
      section.byte(0x00)
      section.number(index % Self.types.count)
    }
    return section
  }

  private func functions() -> Bytes {
    var section = Bytes()
    section.number(functionCount)
    for index in definedStart..<indexEnd { section.number(index % Self.types.count) }
    return section
  }

  private func tables() -> Bytes {
    var section = Bytes()
    section.number(1)
    section.raw([0x70, 0x00])
    section.number(elementCount)
    return section
  }

  private func memory() -> Bytes {
    var section = Bytes()
    section.raw([0x01, 0x00])
    section.number(Self.pages)
    return section
  }

  private mutating func globals() -> Bytes {
    var section = Bytes()
    section.number(Self.globalCount)
    for index in 0..<Self.globalCount {
      section.raw([Self.i32, index % 2 == 0 ? 0x01 : 0x00, 0x41])
      section.signed(random.below(1 << 20))
      section.byte(0x0B)
    }
    return section
  }

  /// One function in sixteen, and the memory.
  private func exports() -> Bytes {
    var section = Bytes()
    let exported = stride(from: definedStart, to: indexEnd, by: 16)
    section.number(exported.underestimatedCount + 1)
    section.name("memory")
    section.raw([0x02, 0x00])
    for index in exported {
      section.name("export_\(index)")
      section.byte(0x00)
      section.number(index)
    }
    return section
  }

  /// Active segments of a thousand elements each, one passive, one that only declares.
  private mutating func elements() -> Bytes {
    var section = Bytes()
    let starts = Array(stride(from: 0, to: elementCount, by: 1000))
    section.number(starts.count + 2)
    for start in starts {
      section.raw([0x00, 0x41])
      section.signed(start)
      section.byte(0x0B)
      let count = min(1000, elementCount - start)
      section.number(count)
      for _ in 0..<count { section.number(definedStart + random.below(functionCount)) }
    }
    for flags: UInt8 in [0x01, 0x03] {
      section.raw([flags, 0x00])
      section.number(1)
      section.number(definedStart)
    }
    return section
  }

  private var dataSegmentCount: Int { Self.pages * 65536 / 2 / Self.dataStride + 1 }

  private func dataCount() -> Bytes {
    var section = Bytes()
    section.number(dataSegmentCount)
    return section
  }

  /// Active segments over the memory's first half with holes between them, and a passive one.
  private mutating func data() -> Bytes {
    var section = Bytes()
    section.number(dataSegmentCount)
    for index in 0..<dataSegmentCount - 1 {
      section.raw([0x00, 0x41])
      section.signed(index * Self.dataStride)
      section.byte(0x0B)
      let count = 256 + random.below(12_000)
      section.number(count)
      for _ in 0..<count { section.byte(UInt8(truncatingIfNeeded: random.next())) }
    }
    section.byte(0x01)
    section.number(4096)
    for index in 0..<4096 { section.byte(UInt8(truncatingIfNeeded: index)) }
    return section
  }

  // MARK: Bodies

  private mutating func code() -> Bytes {
    var section = Bytes()
    section.bytes.reserveCapacity(functionCount * 64)
    section.number(functionCount)
    for index in definedStart..<indexEnd {
      let body = body(of: index)
      section.number(body.bytes.count)
      section.raw(body.bytes)
    }
    return section
  }

  /// Statements over one `i32` local and one `i64` local, and a result of the right type.
  private mutating func body(of index: Int) -> Bytes {
    let type = Self.types[index % Self.types.count]
    var body = Bytes()
    body.number(2)
    body.raw([0x01, Self.i32, 0x01, Self.i64])
    let x = type.parameters.count
    let y = x + 1
    if type.parameters.first == Self.i32 {
      body.get(0)
      body.set(x)
    }
    for _ in 0..<(2 + random.below(5)) { statement(&body, x, y, index) }
    switch type.results.first {
    case Self.i32: body.get(x)
    case Self.i64: body.get(y)
    case Self.f64:
      body.get(x)
      body.byte(0xB7)  // f64.convert_i32_s
    default: break
    }
    body.byte(0x0B)
    return body
  }

  private mutating func statement(_ body: inout Bytes, _ x: Int, _ y: Int, _ index: Int) {
    switch random.below(9) {
    case 0:
      body.get(x)
      body.constant(random.below(1 << 16))
      body.byte([0x6A, 0x6B, 0x6C, 0x71, 0x72, 0x73, 0x74, 0x76][random.below(8)])
      body.set(x)
    case 1:
      address(&body, x)
      body.raw([0x28, 0x02])  // i32.load
      body.number(random.below(4096) * 4)
      body.set(x)
    case 2:
      address(&body, x)
      body.get(y)
      body.raw([0x37, 0x03])  // i64.store
      body.number(random.below(4096) * 8)
    case 3:
      body.get(x)
      body.raw([0x04, 0x40])  // if
      body.get(x)
      body.constant(1)
      body.byte(0x6B)
      body.set(x)
      body.byte(0x0B)
    case 4:
      // Counts the low bits of x down to nothing.
      body.get(x)
      body.constant(15)
      body.byte(0x71)
      body.set(x)
      body.raw([0x03, 0x40])  // loop
      body.get(x)
      body.constant(1)
      body.byte(0x6B)
      body.tee(x)
      body.constant(0)
      body.byte(0x4A)  // i32.gt_s
      body.raw([0x0D, 0x00, 0x0B])  // br_if, end
    case 5:
      // A call of a function with a lower index, of the type i32 to i32, so that nothing recurs.
      let callee = random.below(index) / Self.types.count * Self.types.count
      body.get(x)
      body.byte(0x10)
      body.number(callee)
      body.set(x)
    case 6:
      body.get(x)
      body.get(x)
      body.constant(1023)
      body.byte(0x71)
      body.raw([0x11, 0x00, 0x00])  // call_indirect, type 0, table 0
      body.set(x)
    case 7:
      body.get(y)
      body.get(x)
      body.byte(0xAD)  // i64.extend_i32_u
      body.byte([0x7C, 0x7E, 0x85, 0x89][random.below(4)])
      body.set(y)
    default:
      let global = random.below(Self.globalCount / 2) * 2
      body.get(x)
      body.byte(0x24)
      body.number(global)
      body.byte(0x23)
      body.number(random.below(Self.globalCount))
      body.set(x)
    }
  }

  private func address(_ body: inout Bytes, _ x: Int) {
    body.get(x)
    body.constant(Self.addressMask)
    body.byte(0x71)
  }

  /// The name section: the module's name, and one for each function.
  private mutating func names() -> Bytes {
    let spaces = ["shape", "text", "graph", "codec", "kernel", "parser"]
    let words = ["area", "merge", "step", "insert", "lookup", "decode", "visit", "resize"]
    var module = Bytes()
    module.name("large")
    var functions = Bytes()
    functions.bytes.reserveCapacity(functionCount * 32)
    functions.number(functionCount)
    for index in definedStart..<indexEnd {
      functions.number(index)
      functions.name("\(spaces[random.below(spaces.count)])::\(words[random.below(words.count)])_\(index)")
    }
    var section = Bytes()
    section.name("name")
    section.section(0, module)
    section.section(1, functions)
    return section
  }
}
