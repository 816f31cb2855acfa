import Foundation
import Testing

@Suite struct VerifyTests {
  let folder: Folder

  init() throws {
    folder = try Folder()
    try folder.addArtifact(of: "guest.wasm", as: "good.cwasm")
  }

  /// A copy with one bit flipped.
  private func damage(_ name: String, at offset: Int) throws {
    var bytes = try folder.read("good.cwasm")
    bytes[offset] ^= 1
    try folder.write(name, bytes)
  }

  @Test func anArtifactAsItWasWrittenIsOk() throws {
    let outcome = try Command.run("verify", "good.cwasm", in: folder)
    #expect(outcome.status == 0 && outcome.errors == "")
    let summary = try Command.run("inspect", "--json", "good.cwasm", in: folder)
    let object = try JSONSerialization.jsonObject(with: summary.output) as? [String: Any]
    let buildID = try #require(object?["build_id"] as? String)
    #expect(outcome.text == "good.cwasm: ok, build-id \(buildID)\n")
    let quiet = try Command.run("verify", "-q", "good.cwasm", in: folder)
    #expect(quiet.status == 0 && quiet.output.isEmpty && quiet.errors == "")
  }

  @Test func damageIsNamedByItsSectionAndOffset() throws {
    let bytes = try folder.read("good.cwasm")
    let info = try #require(bytes.range(of: Data("INFO".utf8))).lowerBound
    try damage("first.cwasm", at: 1000)
    try damage("info.cwasm", at: info + 8)
    // No checksum covers the text: only the digest of the whole tells.
    try damage("text.cwasm", at: 4096)
    for (name, words) in [
      ("first.cwasm", [".wasmtime.engine", "checksum of the first page differs"]),
      ("info.cwasm", ["the checksum of the page at file offset"]),
      ("text.cwasm", [".note.gnu.build-id", ".text"]),
    ] {
      let outcome = try Command.run("verify", name, in: folder)
      #expect(outcome.status == 1 && outcome.output.isEmpty)
      #expect(outcome.errors.hasPrefix("precast: error: \(name): damaged artifact: "))
      for word in words { #expect(outcome.errors.contains(word), "\(word) in \(outcome.errors)") }
      #expect(outcome.errors.split(separator: "\n").count == 1)
    }
  }

  @Test func oneBadFileDoesNotHideTheOthers() throws {
    try damage("bad.cwasm", at: 5000)
    try folder.add("guest.wasm")
    let outcome = try Command.run(
      "verify", "bad.cwasm", "missing", "guest.wasm", "/bin/true", "good.cwasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.lines.count == 1 && outcome.text.hasPrefix("good.cwasm: ok"))
    let errors = outcome.errors.split(separator: "\n")
    #expect(errors.count == 4)
    for (error, name) in zip(errors, ["bad.cwasm", "missing", "guest.wasm", "/bin/true"]) {
      #expect(error.hasPrefix("precast: error: \(name): "))
    }
  }

  @Test func anArtifactCanBeVerifiedThroughAPipe() throws {
    let outcome = try Command.shell("cat good.cwasm | \"$precast\" verify /dev/stdin", in: folder)
    #expect(outcome.status == 0 && outcome.text.hasPrefix("/dev/stdin: ok"))
  }

  @Test func runVerifiesWhenAsked() throws {
    let good = try Command.run("run", "--verify", "good.cwasm", "both", in: folder)
    #expect(good.status == 0 && good.text == "to standard output\n")
    // A bit in the padding behind the code: nothing that runs would ever notice.
    let bytes = try folder.read("good.cwasm")
    let filler = try #require(bytes.range(of: Data(repeating: 0xCC, count: 16)))
    try damage("bad.cwasm", at: filler.upperBound - 1)
    #expect(try Command.run("run", "bad.cwasm", "both", in: folder).status == 0)
    let bad = try Command.run("run", "--verify", "bad.cwasm", "both", in: folder)
    #expect(bad.status == 1 && bad.output.isEmpty)
    #expect(bad.errors.contains("damaged artifact: .note.gnu.build-id"), "\(bad.errors)")
  }

  @Test func aDamagedPageIsNamedByInspect() throws {
    let bytes = try folder.read("good.cwasm")
    let info = try #require(bytes.range(of: Data("INFO".utf8))).lowerBound
    try damage("bad.cwasm", at: info + 16)
    for words in [[], ["--json"], ["--section", "name.wasm"], ["--functions"]] {
      let outcome = try Command.run(["inspect", "bad.cwasm"] + words, in: folder)
      #expect(outcome.status == 1)
      #expect(outcome.errors.contains("the checksum of the page at file offset"), "\(words): \(outcome.errors)")
      #expect(!outcome.output.isEmpty || words == ["--functions"])
    }
  }
}
