import Foundation
import PrecastArtifact
import PrecastLinker
import TestSupport
import Testing

/// What several objects bring alike, and how their unwind entries are put together.
@Suite struct GroupTests {
  static let inlined = """
    inline long shared(long x) { static long count = 100; return x + ++count; }
    template<class T> T twice(T x) { return x + x; }
    """
  static let a =
    inlined + """
      extern "C" long from_b(long);
      extern "C" long from_a(long x) { return shared(x) + twice(x) + from_b(x); }
      """
  static let b =
    inlined + """
      extern "C" long from_b(long x) { return shared(x) + twice(x); }
      """

  func objects(_ compiler: CCompiler, _ scratch: TemporaryDirectory) throws -> [ObjectBytes] {
    try [("a.cpp", Self.a), ("b.cpp", Self.b)].map {
      try ObjectBytes(path: compiler.compile($0.1, $0.0, ["-O0", "-fPIC"], in: scratch))
    }
  }

  @Test(arguments: CCompiler.native)
  func aFunctionThatEachObjectHasIsThereOnce(_ compiler: CCompiler) throws {
    let scratch = try TemporaryDirectory()
    let loaded = try LoadedObjects(try objects(compiler, scratch))
    // The counter is one: 101, then 102.
    #expect(try loaded.call("from_a", 5) == (5 + 101) + 10 + (5 + 102) + 10)
    let names = (0..<loaded.image.symbolCount).map {
      String(decoding: bytes(loaded.image.symbolName($0)), as: UTF8.self)
    }
    #expect(names.filter { $0 == "_Z6sharedl" }.count == 1)
  }

  /// The lengths and kinds of the records of a table: true for a CIE.
  static func records(_ table: [UInt8]) -> [(offset: Int, isCIE: Bool, length: Int)] {
    func word(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(table[offset + $1]) << (8 * $1) } }
    var result: [(offset: Int, isCIE: Bool, length: Int)] = []
    var offset = 0
    while offset + 4 <= table.count, word(offset) != 0 {
      result.append((offset, word(offset + 4) == 0, word(offset)))
      offset += 4 + word(offset)
    }
    return result
  }

  @Test(arguments: CCompiler.native, [false, true])
  func eachFunctionThatIsThereHasAnUnwindEntry(_ compiler: CCompiler, _ isWide: Bool) throws {
    let scratch = try TemporaryDirectory()
    let loaded = try LoadedObjects(try objects(compiler, scratch), wide: isWide)
    let table = bytes(loaded.image.ehFrame)
    #expect(table.count % 4 == 0)
    #expect(table.suffix(4) == [0, 0, 0, 0])
    func value(_ offset: Int, _ size: Int) -> Int {
      let bits = (0..<size).reduce(UInt64(0)) { $0 | UInt64(table[offset + $1]) << (8 * $1) }
      return size == 8 ? Int(bitPattern: UInt(bits)) : Int(Int32(truncatingIfNeeded: bits))
    }
    var starts: [Int] = []
    let records = Self.records(table)
    for record in records where !record.isCIE {
      let cie = record.offset + 4 - value(record.offset + 4, 4)
      #expect(records.contains { $0.offset == cie && $0.isCIE })
      let size = isWide ? 8 : 4
      starts.append(loaded.image.sizes.text + record.offset + 8 + value(record.offset + 8, size))
      #expect((1...500).contains(value(record.offset + 8 + size, size)))
    }
    let functions = (0..<loaded.image.symbolCount).map { loaded.image.symbol($0) }.filter(\.isFunction).map(\.offset)
    #expect(starts.sorted() == functions.sorted())
    #expect(starts.count == 4)
  }
}
