import Foundation
import PrecastLinker
import TestSupport
import Testing

/// Objects that are not what they should be get an error, or an image; never anything else.
@Suite struct DamageTests {
  static func tryToLink(_ bytes: [UInt8], _ base: UInt64?) {
    let object = ObjectBytes(bytes, name: "damaged.o")
    _ = linkError {
      var options = LinkOptions(baseAddress: base, externalSymbols: ExecutionTests.libc)
      options.externalSymbols["a_recursion"] = 0x7000_0000_0000
      options.externalSymbols["b_recursion"] = 0x7000_0000_0000
      _ = try Linker.extentBound([object.input], options: options)
      let linker = try Linker([object.input], options: options)
      // An image of more than this is one of zeros, or of a section that is aligned to 64 KiB.
      let placement = LinkPlacement(linker.sizes, pageSize: 65536)
      let image = try linker.link(placement)
      for index in 0..<min(image.symbolCount, 1000) { _ = image.symbol(index) }
    }
  }

  static func objects() throws -> [[UInt8]] {
    let scratch = try TemporaryDirectory()
    var result: [[UInt8]] = []
    for (index, compiler) in CCompiler.all.enumerated() {
      for (name, text) in [("a.c", ExecutionTests.a), ("b.c", ExecutionTests.b)] {
        for options in [["-O2", "-fPIC", "-ffunction-sections"], ["-O0", "-fcommon", "-fno-pic"]] {
          let path = try compiler.compile(text, "\(index)\(options.count)\(name)", options, in: scratch)
          result.append([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        }
      }
    }
    let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../TestData/Golden")
    for name in try FileManager.default.contentsOfDirectory(atPath: golden.path).sorted() where name.hasSuffix(".o") {
      result.append([UInt8](try Data(contentsOf: golden.appendingPathComponent(name))))
    }
    return result
  }

  @Test func noObjectThatWasCutShortDoesAnyHarm() throws {
    for object in try Self.objects() {
      var length = 0
      while length < object.count {
        Self.tryToLink(Array(object[0..<length]), 0x1000_0000)
        length += max(1, object.count / 150)
      }
    }
  }

  @Test func noObjectWithWrongBytesDoesAnyHarm() throws {
    var numbers = Random(seed: 1)
    for object in try Self.objects() {
      // Section headers are at the end, and worth more attempts than code.
      let headers = object[40..<48].enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
      for attempt in 0..<300 {
        var bytes = object
        for _ in 0..<Int.random(in: 1...3, using: &numbers) {
          let start = attempt % 3 == 0 ? 0 : attempt % 3 == 1 ? headers : headers * 3 / 4
          let place = Int.random(in: start..<(attempt % 3 == 2 ? headers : bytes.count), using: &numbers)
          bytes[place] = [0, 1, 0x7F, 0x80, 0xFF, UInt8.random(in: 0...255, using: &numbers)].randomElement(
            using: &numbers)!
        }
        Self.tryToLink(bytes, attempt % 2 == 0 ? 0x1000_0000 : nil)
      }
    }
  }
}
