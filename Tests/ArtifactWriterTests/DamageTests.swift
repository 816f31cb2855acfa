// No file, however broken, makes the reader do anything but answer or throw an `ArtifactError`.

import PrecastArtifact
import PrecastVerification
import Testing

@testable import PrecastArtifactWriter

@Suite struct DamageTests {
  /// Reads everything there is to read in a copy whose allocation ends where the file does.
  static func readAll(_ bytes: [UInt8]) throws {
    try withArtifact(bytes) { (artifact: Artifact) throws in
      // Each of these has to stand a broken file by itself, not only after `verify`.
      let results: [Result<Void, any Error>] = [
        Result { try artifact.verify() },
        Result { _ = try ArtifactSummary(artifact).json },
        Result { _ = try artifact.moduleInfo().exportsInDeclarationOrder() },
        Result { _ = try artifact.moduleInfo().export(named: "alphabet") },
        Result { _ = try artifact.trapTable().code(textOffset: 20) },
        Result { _ = try artifact.addressMap()?.wasmOffset(functionTextOffset: 16, codeOffset: 6) },
        Result { _ = try artifact.names()?.function(3) },
      ]
      for result in results {
        do { try result.get() } catch let error { #expect(error is ArtifactError) }
      }
      try results[0].get()
    }
  }

  @Test func soundArtifactsPass() throws {
    for test in try FileTests.modules() { try Self.readAll(try test.artifact()) }
  }

  @Test func everyTruncationIsRefused() throws {
    let bytes = try TestModule.everything().artifact()
    for length in 0..<bytes.count {
      // Without an allocation for each length: the prefix is read in place.
      bytes.withUnsafeBytes { buffer in
        let region = ByteRegion(base: buffer.baseAddress!, count: length)
        #expect(throws: ArtifactError.self) { try Artifact(region) }
      }
    }
  }

  /// `bytes` with its sums computed anew, so that the checks behind them are reached.
  static func sealed(_ bytes: [UInt8], _ engine: EngineSection) -> [UInt8] {
    var bytes = bytes
    bytes.withUnsafeMutableBytes { ArtifactSeal.apply(to: $0, engine: engine) }
    return bytes
  }

  static func engine(of bytes: [UInt8]) throws -> EngineSection {
    try withArtifact(bytes) { $0.header.engine }
  }

  /// Truncated contents behind a first page that was made to agree.
  @Test func truncationWithARepairedHeaderIsRefused() throws {
    let bytes = try TestModule.everything().artifact()
    let engine = try Self.engine(of: bytes)
    for length in stride(from: 4096, to: bytes.count, by: 41) {
      var broken = Array(bytes[..<length])
      let size = withUnsafeBytes(of: UInt64(length).littleEndian) { Array($0) }
      broken.replaceSubrange(ArtifactHeader.engineOffset + 16..<ArtifactHeader.engineOffset + 24, with: size)
      #expect(throws: ArtifactError.self) { try Self.readAll(Self.sealed(broken, engine)) }
    }
  }

  @Test func noFlippedBitDoesHarm() throws {
    let bytes = try TestModule.everything().artifact()
    let engine = try Self.engine(of: bytes)
    // All bytes but the text and the zeros that fill pages.
    let places = bytes.indices.filter { !(4096..<8192).contains($0) && (bytes[$0] != 0 || $0 % 8 == 0) }
    for (number, place) in places.enumerated() {
      var broken = bytes
      broken[place] ^= 1 << UInt8(number % 8)
      do {
        try Self.readAll(Self.sealed(broken, engine))
      } catch let error {
        #expect(error is ArtifactError, "byte \(place): \(error)")
      }
    }
  }

  @Test func noWordOfOnesDoesHarm() throws {
    let bytes = try TestModule.everything().artifact()
    let engine = try Self.engine(of: bytes)
    for place in stride(from: 0, to: bytes.count - 3, by: 4) where !(4096..<8192).contains(place) {
      var broken = bytes
      broken.replaceSubrange(place..<place + 4, with: [0xFF, 0xFF, 0xFF, 0xFF])
      do {
        try Self.readAll(Self.sealed(broken, engine))
      } catch let error {
        #expect(error is ArtifactError, "byte \(place): \(error)")
      }
    }
  }

  @Test func otherFilesAreTold() throws {
    func kind(_ bytes: [UInt8]) -> ArtifactError.Kind? {
      do {
        try withArtifact(bytes) { _ in }
        return nil
      } catch let error {
        return (error as? ArtifactError)?.kind
      }
    }
    #expect(kind([]) == .notAnArtifact)
    #expect(kind(WasmBuilder().bytes) == .notAnArtifact)
    let bytes = try TestModule.everything().artifact()
    #expect(bytes.withUnsafeBytes { ArtifactHeader.looksLikeArtifact(ByteRegion(base: $0.baseAddress!, count: 4096)) })
    var other = bytes
    other[ArtifactHeader.engineOffset] = 0
    #expect(kind(other) == .notAnArtifact)
    #expect(!other.withUnsafeBytes { ArtifactHeader.looksLikeArtifact(ByteRegion(base: $0.baseAddress!, count: 4096)) })
    other = bytes
    other[ArtifactHeader.engineOffset + 8] = 77
    // As it stands, this is damage and no other version.
    #expect(kind(other) == .damaged)
    other.withUnsafeMutableBytes { ArtifactHeader.fillChecksum($0) }
    guard case .incompatible(let mismatches) = kind(other) else {
      Issue.record("a newer format was taken")
      return
    }
    #expect(mismatches.map(\.field) == ["format_version"] && mismatches[0].artifact == "77")
  }
}
