// The bytes of an artifact and what `inspect` says of it, pinned.
//
// A change of either has to be meant. To write the golden files anew:
//
//     PRECAST_UPDATE_GOLDEN=1 swift test --filter ArtifactWriterTests.GoldenTests

import Foundation
import PrecastArtifact
import Testing

@testable import PrecastArtifactWriter

@Suite struct GoldenTests {
  static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("TestData/artifact")

  static func compare(_ bytes: [UInt8], with name: String) throws {
    let file = directory.appendingPathComponent(name)
    if ProcessInfo.processInfo.environment["PRECAST_UPDATE_GOLDEN"] != nil {
      try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
      try Data(bytes).write(to: file)
    }
    let expected = [UInt8](try Data(contentsOf: file))
    let first = zip(bytes, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
    #expect(bytes == expected, "\(name) differs, first at byte \(first ?? min(bytes.count, expected.count))")
  }

  @Test func bytesAreThoseOfTheGoldenFile() throws {
    try Self.compare(try TestModule.everything().artifact(), with: "everything.cwasm")
    try Self.compare(try TestModule(WasmBuilder().bytes).artifact(), with: "empty.cwasm")
  }

  @Test func inspectSaysWhatItSaid() throws {
    try withArtifact(try TestModule.everything().artifact()) { (artifact: Artifact) throws in
      let summary = try ArtifactSummary(artifact, largestFunctions: 3)
      try Self.compare(Array(summary.text.utf8), with: "everything.txt")
      try Self.compare(Array(summary.json.utf8), with: "everything.json")
      #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(summary.json.utf8)) }
    }
  }
}
