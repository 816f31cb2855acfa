// The tables about code answer as a plain sorted array would, from Swift and from C.

import CPrecastHost
import PrecastMachineCode
import TestSupport
import Testing

@testable import PrecastArtifact

/// Functions with entries, by text offset.
struct NaiveTable {
  var functions: [(textOffset: UInt32, entries: [RunEntry])] = []

  /// Functions whose sizes reach from empty to several thousand entries.
  static func random(seed: UInt64, functions count: Int, longest: Int, wasm: Bool) -> NaiveTable {
    var random = Random(seed: seed)
    var table = NaiveTable()
    var text: UInt32 = 0
    var wasmOffset: UInt32 = 100
    for _ in 0..<count {
      var entries: [RunEntry] = []
      var code: UInt32 = UInt32.random(in: 0...9, using: &random)
      for _ in 0..<Int.random(in: 0...(Bool.random(using: &random) ? longest : 20), using: &random) {
        entries.append(RunEntry(codeOffset: code, value: wasm ? wasmOffset : UInt32.random(in: 1...12, using: &random)))
        let rare = Int.random(in: 0..<100, using: &random) == 0
        code += rare ? UInt32.random(in: 1...100_000, using: &random) : UInt32.random(in: 1...12, using: &random)
        if rare {
          wasmOffset = UInt32.random(in: 0...UInt32.max, using: &random)
        } else {
          wasmOffset &+= UInt32.random(in: 1...5, using: &random)
        }
      }
      table.functions.append((text, entries))
      text += (code + 16 + 15) & ~15
    }
    return table
  }

  /// Encodes through the encoders the compiler uses.
  func section(addressMap: Bool) throws -> [UInt8] {
    var map = AddressMapEncoder(capacity: 64)
    var traps = TrapTableEncoder(capacity: 64)
    var lengths: [Int] = []
    for function in functions {
      if addressMap {
        map.begin()
        for entry in function.entries { map.add(codeOffset: entry.codeOffset, wasmOffset: entry.value) }
        lengths.append(map.finish())
      } else {
        traps.begin()
        for entry in function.entries {
          traps.add(codeOffset: entry.codeOffset, code: try #require(TrapCode(rawValue: UInt8(entry.value))))
        }
        lengths.append(traps.finish())
      }
    }
    let bytes = addressMap ? map.bytes.array : traps.bytes.array
    return try bytes.withUnsafeBytes { bytes in
      var runs: [CodeRun] = []
      var start = 0
      for (function, length) in zip(functions, lengths) {
        runs.append(CodeRun(textOffset: function.textOffset, base: bytes.baseAddress! + start, count: length))
        start += length
      }
      let section = addressMap ? AddressMap.encoded(runs) : TrapTable.encoded(runs)
      guard let section else { throw ArtifactError(.damaged, section: "", offset: 0, message: "too large") }
      return section.array
    }
  }
}

func withRegion<R>(_ bytes: [UInt8], _ section: SectionKind, _ body: (ByteRegion) throws -> R) throws -> R {
  try bytes.withUnsafeBytes { try body(ByteRegion(base: $0.baseAddress!, count: $0.count, section: section)) }
}

@Suite struct RunTableTests {
  @Test(arguments: [(1, 1, 3), (2, 40, 300), (3, 7, 5000), (4, 300, 30)] as [(UInt64, Int, Int)])
  func addressMapFindsTheEntryAtOrBefore(seed: UInt64, count: Int, longest: Int) throws {
    let naive = NaiveTable.random(seed: seed, functions: count, longest: longest, wasm: true)
    let bytes = try naive.section(addressMap: true)
    try withRegion(bytes, .addressMap) { (region: ByteRegion) throws in
      let map = try AddressMap(region)
      var random = Random(seed: seed)
      #expect(map.entryCount == UInt64(naive.functions.reduce(0) { $0 + $1.entries.count }))
      for function in naive.functions {
        #expect(try map.entries(functionTextOffset: function.textOffset) == function.entries)
        for _ in 0..<50 {
          let end = (function.entries.last?.codeOffset ?? 0) + 5
          let query = UInt32.random(in: 0...end, using: &random)
          let expected = function.entries.last { $0.codeOffset <= query }?.value
          #expect(try map.wasmOffset(functionTextOffset: function.textOffset, codeOffset: query) == expected)
        }
        for entry in function.entries.suffix(3) {
          let found = try map.wasmOffset(functionTextOffset: function.textOffset, codeOffset: entry.codeOffset)
          #expect(found == entry.value)
        }
        #expect(try map.wasmOffset(functionTextOffset: function.textOffset + 1, codeOffset: 0) == nil)
      }
    }
  }

  @Test(arguments: [(5, 1, 3), (6, 40, 300), (7, 7, 5000), (8, 300, 30)] as [(UInt64, Int, Int)])
  func trapTableFindsExactSitesFromSwiftAndFromC(seed: UInt64, count: Int, longest: Int) throws {
    let naive = NaiveTable.random(seed: seed, functions: count, longest: longest, wasm: false)
    let bytes = try naive.section(addressMap: false)
    try withRegion(bytes, .traps) { (region: ByteRegion) throws in
      let table = try TrapTable(region)
      for function in naive.functions {
        #expect(try table.entries(functionTextOffset: function.textOffset) == function.entries)
        let sites = Dictionary(uniqueKeysWithValues: function.entries.map { ($0.codeOffset, UInt8($0.value)) })
        for entry in function.entries {
          for distance: UInt32 in 0...2 {
            let text = function.textOffset + entry.codeOffset + distance
            let expected = sites[entry.codeOffset + distance]
            #expect(try table.code(textOffset: text) == expected)
            #expect(precast_trap_lookup(region.baseAddress, region.count, UInt64(text), nil) == expected ?? 0)
          }
        }
      }
    }
  }

  @Test func ofOperatorsAtOneCodeOffsetTheLastCounts() throws {
    var encoder = AddressMapEncoder()
    encoder.begin()
    encoder.add(codeOffset: 0, wasmOffset: 10)
    encoder.add(codeOffset: 4, wasmOffset: 11)
    encoder.add(codeOffset: 4, wasmOffset: 13)
    encoder.add(codeOffset: 4, wasmOffset: 15)
    encoder.add(codeOffset: 9, wasmOffset: 12)
    let length = encoder.finish()
    let run = CodeRun(textOffset: 32, base: encoder.bytes.startAddress, count: length)
    let section = AddressMap.encoded([run])!.array
    try withRegion(section, .addressMap) { (region: ByteRegion) throws in
      #expect(
        try AddressMap(region).entries(functionTextOffset: 32) == [
          RunEntry(codeOffset: 0, value: 10), RunEntry(codeOffset: 4, value: 15), RunEntry(codeOffset: 9, value: 12),
        ])
    }
  }

  @Test func tablesWithoutEntriesAnswerNothing() throws {
    let section = TrapTable.encoded([])!.array
    try withRegion(section, .traps) { (region: ByteRegion) throws in
      #expect(try TrapTable(region).code(textOffset: 0) == nil)
      #expect(precast_trap_lookup(region.baseAddress, region.count, 0, nil) == 0)
    }
  }

  @Test func damagedTablesEndInAnErrorOrAnAnswer() throws {
    let naive = NaiveTable.random(seed: 9, functions: 5, longest: 400, wasm: false)
    let traps = try naive.section(addressMap: false)
    let map = try NaiveTable.random(seed: 10, functions: 5, longest: 400, wasm: true).section(addressMap: true)
    let queries: [UInt32] = [0, 1, 17, 500, 3000, .max - 1, .max]
    func ask(_ bytes: [UInt8], addressMap: Bool) throws {
      // An allocation of exactly this size, so that a sanitizer sees reads past its end.
      try withRegion(bytes, .traps) { (region: ByteRegion) throws in
        for query in queries {
          if addressMap {
            let map = try? AddressMap(region)
            for function in naive.functions {
              _ = try? map?.wasmOffset(functionTextOffset: function.textOffset, codeOffset: query)
            }
          } else {
            let c = precast_trap_lookup(region.baseAddress, region.count, UInt64(query), nil)
            // What neither has to read may be damaged: C stops at the site, Swift one entry behind it.
            if let swift = try? TrapTable(region).code(textOffset: query) { #expect(c == swift) }
          }
        }
      }
    }
    for (bytes, addressMap) in [(traps, false), (map, true)] {
      for length in stride(from: 1, to: bytes.count, by: max(1, bytes.count / 400)) {
        try ask(Array(bytes[..<length]), addressMap: addressMap)
      }
      for bit in stride(from: 0, to: bytes.count * 8, by: max(1, bytes.count * 8 / 4000)) {
        var broken = bytes
        broken[bit / 8] ^= 1 << UInt8(bit % 8)
        try ask(broken, addressMap: addressMap)
      }
    }
  }

  @Test func codesAreShortForTheCommonAndNeverTooLong() {
    // Counts like Fibonacci numbers make the deepest Huffman tree.
    var counts: [UInt64] = [1, 1]
    while counts.count < 60 { counts.append(counts[counts.count - 1] + counts[counts.count - 2]) }
    let lengths = RunCode.lengths(counts.reversed())
    #expect(lengths.allSatisfy { (1...16).contains($0) })
    #expect(lengths.reduce(0.0) { $0 + 1 / Double(1 << $1) } <= 1)
    #expect(lengths[0] <= 2)
  }

  @Test func entriesLikeRealCodeCostLessThanAByte() throws {
    // Code deltas average five bytes, wasm deltas two, and one site in three operators may trap.
    var random = Random(seed: 11)
    var map = NaiveTable()
    var traps = NaiveTable()
    let codeSteps: [UInt32] = [2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 7, 7, 8, 10]
    let wasmSteps: [UInt32] = [1, 1, 2, 2, 2, 2, 2, 3, 3, 4]
    var text: UInt32 = 0
    var wasm: UInt32 = 1000
    var count = 0
    for _ in 0..<400 {
      var code: UInt32 = 4
      var entries: [RunEntry] = []
      var sites: [RunEntry] = []
      for _ in 0..<Int.random(in: 10...300, using: &random) {
        entries.append(RunEntry(codeOffset: code, value: wasm))
        if UInt8.random(in: 0..<3, using: &random) == 0 { sites.append(RunEntry(codeOffset: code, value: 2)) }
        code += codeSteps.randomElement(using: &random)!
        wasm += wasmSteps.randomElement(using: &random)!
      }
      map.functions.append((text, entries))
      traps.functions.append((text, sites))
      count += entries.count
      text += (code + 15) & ~15
      wasm += 5
    }
    let mapBits = Double(try map.section(addressMap: true).count * 8) / Double(count)
    let trapBits = Double(try traps.section(addressMap: false).count * 8) / Double(count)
    // 5 million operators in 6 MB would be 9.6 bits an operator for both tables together.
    #expect(mapBits < 7)
    #expect(mapBits + trapBits < 9.6, "map \(mapBits), traps \(trapBits) bits an operator")
  }
}
