// A page of a loaded artifact is checked when it is first read, and is not believed when it differs.

import CPrecastHost
import PrecastArtifact
import PrecastVerification
import Testing

@testable import PrecastArtifactWriter

/// An artifact in memory that can be changed, with a guarded reader over it as a loaded one has.
final class GuardedArtifact: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer
  let header: ArtifactHeader
  let pages: PageGuard
  let artifact: Artifact

  /// The reader believes `header`, or else the first page.
  init(_ contents: [UInt8], header: ArtifactHeader? = nil) throws {
    bytes = .allocate(byteCount: contents.count, alignment: 4096)
    bytes.copyBytes(from: contents)
    do {
      let first = ByteRegion(base: bytes.baseAddress!, count: 4096)
      self.header = try header ?? ArtifactHeader(first, fileSize: UInt64(contents.count))
      let rest = bytes.baseAddress! + Int(self.header.text.end)
      pages = PageGuard(self.header.engine, rest: rest)
      artifact = try Artifact(
        header: self.header,
        rest: ByteRegion(base: rest, count: contents.count - Int(self.header.text.end), pages: pages.pointer))
    } catch let error {
      bytes.deallocate()
      throw error
    }
  }

  deinit { bytes.deallocate() }

  func section(_ kind: SectionKind) throws -> ByteRegion { try #require(try artifact.section(kind)) }

  func trapCode(_ textOffset: UInt64) throws -> UInt8 {
    let traps = try section(.traps)
    return precast_trap_lookup(
      traps.baseAddress.assumingMemoryBound(to: UInt8.self), traps.count, textOffset, pages.pointer)
  }
}

@Suite struct PageGuardTests {
  private static let everythingBytes = Result { try TestModule.everything().artifact() }
  private static let largeBytes = Result { () throws -> [UInt8] in
    var wasm = WasmBuilder()
    wasm.section(1, [[0x60, 0, 0]])
    wasm.section(3, Array(repeating: [0], count: 900))
    wasm.section(10, Array(repeating: [2, 0, 0x0B], count: 900))
    let names = (0..<900).map { WasmBuilder.leb($0) + WasmBuilder.name("a function of some name \($0)") }
    let map = WasmBuilder.leb(900) + names.flatMap { $0 }
    wasm.custom("name", [1] + WasmBuilder.leb(map.count) + map)
    return try TestModule(wasm.bytes).artifact()
  }

  static func everything() throws -> GuardedArtifact { try GuardedArtifact(try everythingBytes.get()) }

  /// A file with so many names that its sections have pages of their own.
  static func large() throws -> GuardedArtifact { try GuardedArtifact(try largeBytes.get()) }

  @Test func nothingIsAllocatedOrReadBeforeTheFirstQuestion() throws {
    let guarded = try Self.everything()
    #expect(guarded.pages.pointer.pointee.good == nil)
    _ = try guarded.artifact.moduleInfo()
    #expect(guarded.pages.pointer.pointee.good != nil)
  }

  @Test func aSignalHandlersQuestionChecksAndDoesNotAllocate() throws {
    let guarded = try Self.everything()
    // push rbp; mov rbp, rsp; and the first site.
    #expect(try guarded.trapCode(4) == TrapCode.unreachable.rawValue)
    #expect(guarded.pages.pointer.pointee.good == nil)
    let offset = Int(guarded.header.extent(of: .traps).offset)
    guarded.bytes[offset + 200] ^= 1
    #expect(try guarded.trapCode(4) == TrapCode.damagedArtifact.rawValue)
    guarded.bytes[offset + 200] ^= 1
    #expect(try guarded.trapCode(4) == TrapCode.unreachable.rawValue)
  }

  @Test func aDamagedPageGivesAnErrorWithSectionAndPageEachTime() throws {
    let guarded = try Self.large()
    let names = guarded.header.extent(of: .names)
    // In the middle of the section, on a page that nothing else needs.
    let place = Int(names.offset) + 20_000
    guarded.bytes[place] ^= 0x10
    let page = place / 4096 * 4096
    let region = try guarded.section(.names)
    for _ in 0..<2 {
      let error = #expect(throws: ArtifactError.self) { try region.u8(20_004) }
      #expect(error?.section == ".name.wasm" && error?.offset == 20_004)
      #expect(error?.message == "the checksum of the page at file offset \(page) differs")
    }
    // Other pages are none the worse for it.
    #expect(try guarded.artifact.names()?.function(3) == "a function of some name 3")
    #expect(throws: ArtifactError.self) { try guarded.artifact.checkPages() }
  }

  @Test func aReadThatSpansTwoPagesChecksBoth() throws {
    for damaged in [0, 1] {
      let guarded = try Self.large()
      let names = try guarded.section(.names)
      let start = Int(guarded.header.extent(of: .names).offset)
      let boundary = (start / 4096 + 2) * 4096
      #expect(try names.u32(boundary - start - 2) == names.u32(boundary - start - 2))
      let fresh = try Self.large()
      fresh.bytes[boundary - 1 + damaged * 2] ^= 1
      let region = try fresh.section(.names)
      #expect(throws: ArtifactError.self) { try region.u32(boundary - start - 2) }
      #expect(throws: ArtifactError.self) { try region.string(0, 20_000) }
      // The byte on the sound side of the boundary can be had.
      #expect(throws: Never.self) { try region.u8(boundary - start - damaged) }
    }
  }

  @Test func aPageIsBelievedUntilItIsForgotten() throws {
    let guarded = try Self.everything()
    let info = try guarded.section(.info)
    let before = try info.u32(40)
    let place = guarded.bytes.baseAddress! + Int(guarded.header.extent(of: .info).offset) + 60
    place.storeBytes(of: place.load(as: UInt8.self) ^ 1, as: UInt8.self)
    #expect(try info.u32(40) == before)
    precast_checked_pages_forget(guarded.pages.pointer, place, 1)
    #expect(throws: ArtifactError.self) { try info.u32(40) }
    place.storeBytes(of: place.load(as: UInt8.self) ^ 1, as: UInt8.self)
    #expect(try info.u32(40) == before)
  }

  @Test func forgettingWhatLiesElsewhereIsNothing() throws {
    let guarded = try Self.everything()
    _ = try guarded.artifact.moduleInfo()
    precast_checked_pages_forget(guarded.pages.pointer, guarded.bytes.baseAddress!, 4096)
    precast_checked_pages_forget(guarded.pages.pointer, guarded.bytes.baseAddress! + guarded.bytes.count, 1)
    precast_checked_pages_forget(
      guarded.pages.pointer, guarded.bytes.baseAddress! + Int(guarded.header.text.end), UInt64.max)
    #expect(throws: Never.self) { try guarded.artifact.checkPages() }
  }

  @Test func theTableOfChecksumsIsPartOfTheBargain() throws {
    let table = try Self.everything().header.extent(of: .checksums)
    for place in 0..<Int(table.size) {
      let guarded = try Self.everything()
      guarded.bytes[Int(table.offset) + place] ^= 0x40
      let error = #expect(throws: ArtifactError.self) { try guarded.artifact.checkPages() }
      if place < 16 { #expect(error?.section == ".wasmtime.checksums") }
    }
  }

  @Test func theDataImageHasNoChecksums() throws {
    let guarded = try Self.everything()
    let image = guarded.header.extent(of: .dataImage)
    #expect(image.size > 0)
    for place in Int(image.offset)..<Int(image.end) { guarded.bytes[place] ^= 0xFF }
    #expect(throws: Never.self) { try guarded.artifact.verify() }
    // Both sides of it have.
    #expect(PageChecksums(guarded.header.engine).beforeImage.upperBound == image.offset)
    #expect(PageChecksums(guarded.header.engine).behindImage == image.end..<UInt64(guarded.bytes.count))
    guarded.bytes[Int(image.end)] ^= 1
    precast_checked_pages_forget(guarded.pages.pointer, guarded.bytes.baseAddress! + Int(image.end), 1)
    #expect(throws: ArtifactError.self) { try guarded.artifact.names()?.moduleName() }
  }

  @Test func threadsThatAskAtOnceGetTheSameAnswer() async throws {
    let guarded = try Self.large()
    let expected = try (0..<900).map { try guarded.artifact.names()?.function($0) }
    for round in 0..<10 {
      let fresh = try Self.large()
      let isDamaged = round % 2 == 1
      // On the pages of names, where no index stands.
      if isDamaged { fresh.bytes[Int(fresh.header.extent(of: .names).end) - 6000] ^= 1 }
      let answers = await withTaskGroup(of: [String??].self) { group in
        for _ in 0..<4 {
          group.addTask {
            (0..<900).map { index in try? fresh.artifact.names()?.function(index) }
          }
        }
        return await group.reduce(into: []) { $0.append($1) }
      }
      for answer in answers {
        #expect(answer == answers[0])
        var errors = 0
        for (index, name) in answer.enumerated() {
          if let name { #expect(name == expected[index]) } else { errors += 1 }
        }
        #expect((errors > 0) == isDamaged)
      }
    }
  }
}
