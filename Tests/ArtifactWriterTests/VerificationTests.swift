// What full verification finds that checksums do not, and in which words.

import PrecastArtifact
import PrecastVerification
import Testing

@testable import PrecastArtifactWriter

@Suite struct VerificationTests {
  static func error(_ bytes: [UInt8]) -> ArtifactError? {
    do throws(ArtifactError) {
      try ArtifactVerification.verify(bytes.span.bytes)
      return nil
    } catch {
      return error
    }
  }

  /// The artifact with `change` made to a section's bytes, and all sums computed anew.
  static func changed(_ kind: SectionKind, _ change: (inout [UInt8]) -> Void) throws -> [UInt8] {
    let bytes = try TestModule.everything().artifact()
    let engine = try DamageTests.engine(of: bytes)
    let range = Int(engine[kind].offset)..<Int(engine[kind].end)
    var section = Array(bytes[range])
    change(&section)
    var result = bytes
    result.replaceSubrange(range, with: section)
    return DamageTests.sealed(result, engine)
  }

  @Test func soundArtifactsAreFoundSound() throws {
    for test in try FileTests.modules() { #expect(Self.error(try test.artifact()) == nil) }
    #expect(Self.error(try Self.changed(.info) { _ in }) == nil)
  }

  @Test func changedTextIsFoundByTheDigest() throws {
    for kind in [SectionKind.text, .dataImage] {
      var bytes = try TestModule.everything().artifact()
      bytes[Int(try DamageTests.engine(of: bytes)[kind].offset) + 5] ^= 4
      let error = try #require(Self.error(bytes))
      #expect(error.kind == .damaged && error.section == ".note.gnu.build-id" && error.offset == 16)
      #expect(error.message.hasSuffix(".text or .rodata.wasm was changed"))
    }
  }

  @Test func aChangedTableIsFoundByThePageItStandsOn() throws {
    for kind in [SectionKind.ehFrame, .info, .addressMap, .traps, .names, .symbols, .strings, .sectionNames] {
      var bytes = try TestModule.everything().artifact()
      let place = try DamageTests.engine(of: bytes)[kind].offset
      bytes[Int(place)] ^= 4
      let error = try #require(Self.error(bytes))
      // The section that the page starts with; the message says which page it is.
      #expect(error.kind == .damaged)
      #expect(error.message == "the checksum of the page at file offset \(place / 4096 * 4096) differs")
    }
  }

  @Test func aChangeWithNewSumsIsFoundByWhatItMeans() throws {
    func section(_ kind: SectionKind, _ place: Int, _ value: UInt8) throws -> String? {
      Self.error(try Self.changed(kind) { $0[place] = value })?.section
    }
    // A symbol's value, its size, its kind, its section; its name.
    for place in [24 + 8, 24 + 16, 24 + 4, 24 + 6, 24] {
      #expect(try section(.symbols, place, 0x55) == ".symtab")
    }
    // `wasm[0]`.
    #expect(try section(.strings, 3, 0x55) == ".symtab")
    // A trap code that there is none of, in the table of short codes: all of them, since not each is used.
    let traps = try Self.changed(.traps) { section in
      for entry in 0..<256 where section[176 + entry * 4] != 0 { section[176 + entry * 4 + 2] = 13 }
    }
    #expect(Self.error(traps)?.message == "trap code 13")
    #expect(try section(.sectionNames, 5, 0x55) == "section headers")
  }

  // MARK: Unwind tables

  /// The error for an artifact with such unwind tables.
  static func error(unwindTables: [UInt8]) throws -> ArtifactError? {
    let module = try TestModule(WasmBuilder().bytes)
    return try module.withInput { input in
      var input = input
      input.ehFrame = unwindTables
      return error(try ArtifactWriter.bytes(input))
    }
  }

  static func word(_ value: Int) -> [UInt8] {
    withUnsafeBytes(of: UInt32(truncatingIfNeeded: value).littleEndian) { Array($0) }
  }

  /// A common entry of 20 bytes, and a description of `size` bytes from `start` of the text on.
  static func tables(start: Int = 0, size: Int = 64) -> [UInt8] {
    let common: [UInt8] = [1, 0x7A, 0x52, 0, 1, 0x78, 16, 1, 0x1B, 0, 0, 0]
    var bytes = word(16) + word(0) + common
    let pointer = bytes.count + 8
    // The text has one page, and ends where this section starts.
    bytes += word(16) + word(bytes.count + 4) + word(start - 4096 - pointer) + word(size) + [0, 0, 0, 0]
    return bytes + word(0)
  }

  @Test func soundUnwindTablesPass() throws {
    #expect(try Self.error(unwindTables: Self.tables()) == nil)
    #expect(try Self.error(unwindTables: Self.tables(start: 4000, size: 96)) == nil)
    #expect(try Self.error(unwindTables: Self.word(0)) == nil)
  }

  @Test func unwindTablesThatLeadAstrayAreNamed() throws {
    func message(_ bytes: [UInt8]) throws -> String? {
      let error = try #require(try Self.error(unwindTables: bytes))
      #expect(error.section == ".eh_frame")
      return error.message
    }
    let sound = Self.tables()
    // No terminator; one in the middle; a length past the end; one of 64 bits; of no use.
    _ = try message(Array(sound.dropLast(4)))
    #expect(try message(sound + Self.word(0)) == "the terminator is not at the end")
    #expect(try message(Self.word(0xFFFF_FFF0) + sound.dropFirst(4)) == "an entry of 4294967280 bytes")
    #expect(try message(Self.word(0xFFFF_FFFF) + sound.dropFirst(4)) == "an entry of 4294967295 bytes")
    #expect(try message(Self.word(3) + sound.dropFirst(4)) == "an entry of 3 bytes")
    // A description without a common entry; code outside of the text, on either side.
    #expect(try message(Array(sound.dropFirst(20)))!.hasPrefix("no common entry"))
    for (start, size) in [(-4, 8), (4090, 8), (4096, 1), (0, 4097), (0, 0), (0x7000_0000, 16)] {
      #expect(try message(Self.tables(start: start, size: size))!.hasSuffix("outside the text"))
    }
  }

  // MARK: Places in the text

  @Test func codeThatOverlapsIsNamed() throws {
    let test = try TestModule.everything()
    func message(_ change: (inout ArtifactInput) -> Void) throws -> String? {
      try test.withInput { input in
        var input = input
        change(&input)
        return Self.error(try ArtifactWriter.bytes(input))?.message
      }
    }
    #expect(try message { _ in } == nil)
    // A trampoline over a function; one over another; equal ones may be shared.
    #expect(
      try message { $0.trampolines[0].entry = CodeRange(textOffset: $0.functions[1].textOffset + 4, size: 4) }
        == "function 1 and a trampoline overlap")
    #expect(
      try message { $0.trampolines[0].exit = CodeRange(textOffset: $0.trampolines[0].entry!.textOffset + 8, size: 16) }
        == "trampolines overlap")
    #expect(try message { $0.trampolines[0].exit = $0.trampolines[0].entry } == nil)
  }
}
