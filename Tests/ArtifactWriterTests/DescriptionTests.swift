// Every section has a readable form, in columns and in JSON, and no file, however broken, makes describing it do harm.

import Foundation
import PrecastArtifact
import PrecastVerification
import Testing

@testable import PrecastArtifactWriter

@Suite struct DescriptionTests {
  private static func text(
    _ artifact: Artifact, _ kind: SectionKind, _ format: DescriptionFormat = .text
  ) throws -> String {
    let output = TextOutput()
    try artifact.describe(kind, format, to: output)
    return output.text
  }

  private static func object(_ text: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
  }

  /// Describes all of a file, in both forms; what cannot be read must be an `ArtifactError`.
  private static func describeAll(_ bytes: [UInt8]) throws {
    try bytes.withUnsafeBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      let file = ByteRegion(base: base, count: buffer.count)
      var size = 0
      func count(_ body: (TextOutput) throws -> Void) rethrows {
        let output = TextOutput {
          size += $0.byteCount
          return size < 64 << 20
        }
        defer { output.flush() }
        try body(output)
      }
      do {
        let artifact = try Artifact(file)
        for format in [DescriptionFormat.text, .json] {
          for kind in artifact.sections {
            do { try count { try artifact.describe(kind, format, to: $0) } } catch is ArtifactError {}
          }
          do { try count { try artifact.describeFunctions(format, to: $0) } } catch is ArtifactError {}
        }
        if let pieces = try? CodePieces(artifact) { for word in ["0", "3", "99", "fn", "a"] { _ = pieces.find(word) } }
      } catch let error as ArtifactError {
        let explanation = ArtifactExplanation(file, error)
        for format in [DescriptionFormat.text, .json] { count { explanation.describe(format, to: $0) } }
        for name in explanation.sectionNames { count { _ = explanation.describe(section: name, to: $0) } }
      }
      #expect(size < 16 << 20, "\(bytes.count) bytes became \(size)")
    }
  }

  /// With checksums that fit, so that what is behind them is reached.
  private static func sealed(_ bytes: [UInt8]) throws -> [UInt8] {
    let sound = try TestModule.everything().artifact()
    let engine = try withArtifact(sound) { $0.header.engine }
    var bytes = bytes
    bytes.withUnsafeMutableBytes { ArtifactSeal.apply(to: $0, engine: engine) }
    return bytes
  }

  @Test func everySectionHasBothForms() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      #expect(artifact.sections.count >= 12)
      for kind in artifact.sections {
        let text = try Self.text(artifact, kind)
        #expect(text.hasPrefix("\(kind.name): \(artifact.header.extent(of: kind).size) bytes at file offset 0x"))
        #expect(!text.contains("  !"), "\(text)")
        guard kind.isDescribedAsJSON else { continue }
        let object = try Self.object(try Self.text(artifact, kind, .json))
        #expect(object["section"] as? String == kind.name)
        #expect(object["size"] as? Int == Int(artifact.header.extent(of: kind).size))
        #expect(object["errors"] == nil)
      }
    }
  }

  @Test func infoHasARowForEachRow() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      let info = try artifact.moduleInfo()
      let object = try Self.object(try Self.text(artifact, .info, .json))
      func rows(_ name: String) -> [[String: Any]] { object[name] as? [[String: Any]] ?? [] }
      #expect(rows("types").count == info.typeCount)
      #expect(rows("imports").count == info.importCount)
      #expect(rows("exports").count == info.exportCount)
      #expect(rows("functions").count == info.definedFunctionCount)
      #expect(rows("tables").count == info.tableCount)
      #expect(rows("memories").count == info.memoryCount)
      #expect(rows("globals").count == info.globalCount)
      #expect(rows("elements").count == info.elementSegmentCount)
      #expect(rows("data_segments").count == info.dataSegmentCount)
      for (row, function) in rows("functions").enumerated() {
        let expected = try info.definedFunction(row)
        #expect(function["index"] as? Int == info.importedFunctionCount + row)
        #expect(function["text_offset"] as? UInt32 == expected.textOffset)
        #expect(function["size"] as? UInt32 == expected.size)
        #expect(function["wasm_offset"] as? UInt32 == expected.wasmOffset)
      }
      for (row, entry) in rows("exports").enumerated() {
        #expect(entry["name"] as? String == (try info.export(row).name))
      }
    }
  }

  @Test func tablesAboutCodeShowEveryEntry() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      for kind in [SectionKind.addressMap, .traps] {
        let object = try Self.object(try Self.text(artifact, kind, .json))
        let runs = try #require(object["runs"] as? [[String: Any]])
        for run in runs {
          let textOffset = try #require(run["text_offset"] as? UInt32)
          let entries = try #require(run["entries"] as? [[Any]])
          let expected =
            kind == .traps
            ? try artifact.trapTable().entries(functionTextOffset: textOffset)
            : try #require(try artifact.addressMap()).entries(functionTextOffset: textOffset)
          #expect(entries.compactMap { $0[0] as? UInt32 } == expected.map(\.codeOffset))
          let values = kind == .traps ? expected.map { TrapCode.words($0.value) } : expected.map { "\($0.value)" }
          #expect(entries.map { "\($0[1])" } == values)
        }
        let total = try kind == .traps ? artifact.trapTable().entryCount : artifact.addressMap()?.entryCount ?? 0
        #expect(runs.reduce(0) { $0 + (($1["entries"] as? [Any])?.count ?? 0) } == Int(total))
      }
    }
  }

  @Test func functionsAreInOrderOfSizeAndTrampolinesAmongThem() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      let output = TextOutput()
      try artifact.describeFunctions(.json, to: output)
      let rows = try #require(try Self.object(output.text)["functions"] as? [[String: Any]])
      let sizes = rows.compactMap { $0["size"] as? Int }
      #expect(sizes == sizes.sorted(by: >))
      let kinds = rows.compactMap { $0["kind"] as? String }
      #expect(kinds.count { $0 == "function" } == (try artifact.moduleInfo().definedFunctionCount))
      #expect(kinds.contains("entry_trampoline"))
    }
  }

  @Test func namesAreShownAndNotObeyed() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      let text = try Self.text(artifact, .names)
      #expect(text.contains("a\\u{0}b"))
      #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 || $0 == "\n" })
    }
  }

  @Test func theReceiverOfALongDescriptionGetsItInPieces() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      var text: [UInt8] = []
      var most = 0
      let output = TextOutput { piece in
        most = max(most, piece.byteCount)
        for at in 0..<piece.byteCount { text.append(piece.unsafeLoad(fromByteOffset: at, as: UInt8.self)) }
        return true
      }
      for _ in 0..<50 { try artifact.describe(.info, .text, to: output) }
      output.flush()
      #expect(String(decoding: text, as: UTF8.self) == String(repeating: try Self.text(artifact, .info), count: 50))
      #expect(most < 1 << 17)
      // Who wants no more is not asked again.
      var pieces = 0
      let closed = TextOutput { _ in
        pieces += 1
        return false
      }
      for _ in 0..<50 { try artifact.describe(.info, .text, to: closed) }
      closed.flush()
      #expect(pieces == 1)
    }
  }

  @Test func anArtifactForAArch64IsDescribedInItsTerms() throws {
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    let bytes = try TestModule.everything().artifact(settings: settings)
    try withArtifact(bytes) { (artifact: Artifact) throws in
      for kind in artifact.sections { #expect(!(try Self.text(artifact, kind)).contains("  !")) }
      #expect(try Self.text(artifact, .engine).contains("183  aarch64"))
    }
  }

  // MARK: Files that are not in order

  @Test func everyPageThatDiffersIsNamed() throws {
    let bytes = try TestModule.everything().artifact()
    #expect(try withArtifact(bytes) { $0.damagedPages() } == [])
    var broken = bytes
    broken[8300] ^= 1
    broken[bytes.count - 1] ^= 1
    try withArtifact(broken) { (artifact: Artifact) throws in
      let pages = artifact.damagedPages()
      #expect(pages.count == 2)
      #expect(pages[0].section == ".eh_frame" && pages[0].message.contains("page at file offset 8192 differs"))
      #expect(pages[0].message.contains("it holds .eh_frame, .wasmtime.checksums, .wasmtime.info"))
      #expect(artifact.damagedPages(limit: 1).count == 1)
      let summary = try ArtifactSummary(artifact, damagedPages: pages)
      #expect(summary.text.contains("damaged pages\n  ! damaged artifact: .eh_frame"))
      #expect(try Self.object(summary.json)["damaged_pages"] as? [String] == pages.map(\.description))
      // The table of checksums shows which.
      let table = try Self.object(try Self.text(artifact, .checksums, .json))["checksums"] as? [[String: Any]]
      #expect(table?.map { $0["found"] as? String == "the same" } == [false, true, false])
    }
  }

  @Test func anotherVersionIsExplained() throws {
    var bytes = try TestModule.everything().artifact()
    bytes[ArtifactHeader.engineOffset + 8] = 77
    bytes.withUnsafeMutableBytes { ArtifactHeader.fillChecksum($0) }
    try bytes.withUnsafeBytes { buffer in
      let file = ByteRegion(base: buffer.baseAddress!, count: buffer.count)
      let error = try #require(throws: ArtifactError.self) { try Artifact(file) }
      let explanation = ArtifactExplanation(file, error)
      #expect(explanation.finding == .otherVersion && explanation.isSound)
      let output = TextOutput()
      explanation.describe(.text, to: output)
      for word in ["77", "precast-test", "1.2.3", "x86_64", ".wasmtime.info", "compile the module again"] {
        #expect(output.text.contains(word), "\(word) in \(output.text)")
      }
      let json = TextOutput()
      explanation.describe(.json, to: json)
      #expect(try Self.object(json.text)["finding"] as? String == "otherVersion")
      // The bytes of its sections can be seen.
      let section = TextOutput()
      #expect(explanation.describe(section: "name.wasm", to: section))
      #expect(section.text.contains("gamma"))
      #expect(!explanation.describe(section: "nothing", to: section))
    }
  }

  @Test func aForeignRecordIsAnotherRuntimes() throws {
    var bytes = try TestModule.everything().artifact()
    bytes[ArtifactHeader.engineOffset] ^= 1
    try bytes.withUnsafeBytes { buffer in
      let file = ByteRegion(base: buffer.baseAddress!, count: buffer.count)
      let error = try #require(throws: ArtifactError.self) { try Artifact(file) }
      #expect(ArtifactExplanation(file, error).finding == .otherRuntime)
    }
  }

  @Test func everyTruncationIsExplained() throws {
    let bytes = try TestModule.everything().artifact()
    for length in Array(4..<1000) + Array(stride(from: 1000, to: bytes.count, by: 97)) {
      try Self.describeAll(Array(bytes[..<length]))
    }
  }

  @Test func noFlippedBitDoesHarm() throws {
    let bytes = try TestModule.everything().artifact()
    let places = bytes.indices.filter { !(4096..<8192).contains($0) && (bytes[$0] != 0 || $0 % 64 == 0) }
    for (number, place) in places.enumerated() where number % 3 == 0 {
      var broken = bytes
      broken[place] ^= 1 << UInt8(number % 8)
      try Self.describeAll(broken)
      if place < 4096 { try Self.describeAll(try Self.sealed(broken)) }
    }
  }

  @Test func noWordOfOnesDoesHarm() throws {
    let bytes = try TestModule.everything().artifact()
    for place in stride(from: 0, to: bytes.count - 3, by: 12) where !(4096..<8192).contains(place) {
      var broken = bytes
      broken.replaceSubrange(place..<place + 4, with: [0xFF, 0xFF, 0xFF, 0xFF])
      try Self.describeAll(broken)
      if place < 4096 { try Self.describeAll(try Self.sealed(broken)) }
    }
  }
}
