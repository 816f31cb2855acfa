// Artifacts as files: what other tools say of them, and how they get to their place.

import Crypto
import Foundation
import PrecastArtifact
import PrecastVerification
import TestSupport
import Testing

@testable import PrecastArtifactWriter

@Suite struct FileTests {
  static func modules() throws -> [TestModule] {
    [try TestModule.everything(), try TestModule(WasmBuilder().bytes)]
  }

  @Test func elflintFindsNothing() throws {
    let directory = try TemporaryDirectory()
    for test in try Self.modules() {
      try test.withInput { try ArtifactWriter.write($0, toFile: directory.path + "/a.cwasm", durable: false) }
      guard let result = try runTool("eu-elflint", ["--gnu-ld", directory.path + "/a.cwasm"]) else { return }
      #expect(result.text == "No errors\n")
      #expect(result.status == 0)
    }
  }

  @Test func readelfHasNoWarning() throws {
    let directory = try TemporaryDirectory()
    for test in try Self.modules() {
      try test.withInput { try ArtifactWriter.write($0, toFile: directory.path + "/a.cwasm", durable: false) }
      guard let result = try runTool("readelf", ["-aW", directory.path + "/a.cwasm"]) else { return }
      #expect(!result.text.lowercased().contains("warning") && !result.text.lowercased().contains("error"))
      #expect(result.status == 0)
    }
  }

  @Test func objdumpAndNmFindTheFunctions() throws {
    let directory = try TemporaryDirectory()
    let file = directory.path + "/a.cwasm"
    try TestModule.everything().withInput { try ArtifactWriter.write($0, toFile: file, durable: false) }
    if let result = try runTool("objdump", ["-d", file]) {
      #expect(result.text.contains("<wasm[0]::function[3]::gamma::fn>:"))
      #expect(result.text.contains("<wasm[0]::trampoline[1]::enter>:"))
      #expect(!result.text.lowercased().contains("warning"))
    }
    if let result = try runTool("nm", ["-S", file]) {
      #expect(result.text.contains("0000000000001000 0000000000000008 t wasm[0]::function[1]::zeta\n"))
      #expect(result.text.contains("t wasm[0]::function[4]::a?b\n"))
      #expect(result.text.contains("t wasm[0]::function[2]\n"))
      #expect(result.text.contains("t wasm[0]::trampoline[0]::exit\n"))
    }
  }

  @Test func fileMemoryFileAndBytesAreTheSame() throws {
    let directory = try TemporaryDirectory()
    let file = directory.path + "/a.cwasm"
    let test = try TestModule.everything()
    let bytes = try test.artifact()
    try test.withInput { try ArtifactWriter.write($0, toFile: file) }
    #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: file))) == bytes)
    let descriptor = try test.withInput { try ArtifactWriter.memoryFile($0) }
    defer { close(descriptor) }
    var read = [UInt8](repeating: 0, count: bytes.count + 1)
    #expect(pread(descriptor, &read, read.count, 0) == bytes.count)
    #expect(Array(read.dropLast()) == bytes)
    #expect(pwrite(descriptor, &read, 1, 0) < 0, "a sealed file can be written to")
  }

  @Test func anExistingFileIsReplacedAsAWhole() throws {
    let directory = try TemporaryDirectory()
    let file = directory.path + "/a.cwasm"
    try Data("old".utf8).write(to: URL(fileURLWithPath: file))
    #expect(chmod(file, 0o640) == 0)
    let old = open(file, O_RDONLY)
    defer { close(old) }
    try TestModule.everything().withInput { try ArtifactWriter.write($0, toFile: file) }
    // Who has the old file open still sees it.
    var buffer = [UInt8](repeating: 0, count: 8)
    #expect(pread(old, &buffer, 8, 0) == 3)
    var status = stat()
    #expect(stat(file, &status) == 0 && status.st_mode & 0o777 == 0o640 && status.st_size > 4096)
    #expect(directory.contents == ["a.cwasm"])
  }

  @Test func aLinkIsKept() throws {
    let directory = try TemporaryDirectory()
    try Data("old".utf8).write(to: URL(fileURLWithPath: directory.path + "/real"))
    #expect(symlink("real", directory.path + "/link") == 0)
    try TestModule.everything().withInput {
      try ArtifactWriter.write($0, toFile: directory.path + "/link", durable: false)
    }
    #expect(directory.contents == ["link", "real"])
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: directory.path + "/link") == "real")
    #expect(try Data(contentsOf: URL(fileURLWithPath: directory.path + "/real")).count > 4096)
  }

  @Test func failureNamesThePathAndLeavesNothing() throws {
    let directory = try TemporaryDirectory()
    let test = try TestModule.everything()
    let missing = directory.path + "/no/such/directory/a.cwasm"
    let error = #expect(throws: ArtifactWriterError.self) {
      try test.withInput { try ArtifactWriter.write($0, toFile: missing) }
    }
    #expect(error?.path.hasPrefix(missing) == true && error?.message == "No such file or directory")
    #expect(throws: ArtifactWriterError.self) {
      try test.withInput { try ArtifactWriter.write($0, toFile: directory.path) }
    }
    #expect(throws: ArtifactWriterError.self) {
      try test.withInput { (input: ArtifactInput) throws in
        var broken = input
        broken.functions.removeLast()
        try ArtifactWriter.write(broken, toFile: directory.path + "/a.cwasm")
      }
    }
    #expect(directory.contents == [])
  }

  @Test func buildIDChangesWithTheContents() throws {
    let first = try TestModule.everything().artifact()
    var settings = CompilerSettings()
    settings.memoryGuardSize = 1 << 20
    let second = try TestModule.everything().artifact(settings: settings)
    let digest = ArtifactHeader.digestOffset
    #expect(first[digest..<digest + 32] != second[digest..<digest + 32])
  }

  @Test func digestIsTheSameFromManyThreads() {
    var bytes = [UInt8](repeating: 0, count: 9 * BuildID.chunkSize + 1)
    for index in stride(from: 0, to: bytes.count, by: 97) { bytes[index] = UInt8(truncatingIfNeeded: index / 97) }
    let digest = ArtifactHeader.digestOffset
    var outer = SHA256()
    for start in stride(from: 0, to: bytes.count, by: BuildID.chunkSize) {
      var chunk = Array(bytes[start..<min(start + BuildID.chunkSize, bytes.count)])
      if start == 0 { chunk.replaceSubrange(digest..<digest + 32, with: Array(repeating: 0, count: 32)) }
      outer.update(data: Array(SHA256.hash(data: chunk)))
    }
    #expect(bytes.withUnsafeBytes { BuildID.digest(of: $0) } == Array(outer.finalize()))
  }

  @Test func digestHasTwoLevels() throws {
    var bytes = [UInt8](repeating: 7, count: BuildID.chunkSize + 100)
    let digest = bytes.withUnsafeBytes { BuildID.digest(of: $0) }
    // What stands at the digest's own place does not matter; all else does.
    bytes[ArtifactHeader.digestOffset + 31] = 1
    #expect(bytes.withUnsafeBytes { BuildID.digest(of: $0) } == digest)
    bytes[BuildID.chunkSize + 99] = 1
    #expect(bytes.withUnsafeBytes { BuildID.digest(of: $0) } != digest)
  }
}
