// Whatever an artifact says, reading it ends: in an answer or in an `ArtifactError`.
//
// Broken artifacts (`ArtifactMutator`) go through everything that reads them: the header, `verify`, `inspect`, each look-up, and
// the loader with the look-ups that a running program and the signal handler make. Nothing in them is executed: what the text
// holds is believed. So are the unwind tables, by the process's own unwinder, which reads what it was given whenever a thread of
// the process ends (Docs/Security.md): an artifact whose unwind tables were changed is read but not loaded. A crash ends the test's process; which artifact it was stands in `.build/fuzz/` then. A few
// thousand take part in every run of the tests; `make fuzz SECONDS=600 SEED=7` goes on for as long as one likes.

import CPrecastHost
import Foundation
import PrecastArtifact
import PrecastLoader
import PrecastRuntime
import Testing

@Suite struct ArtifactFuzzTests {
  /// How long, for the command; otherwise a number of artifacts.
  private static let seconds = Repository.environment("PRECAST_FUZZ_SECONDS").flatMap(Double.init)
  private static let seed = Repository.environment("PRECAST_FUZZ_SEED").flatMap(UInt64.init) ?? 1
  private static let count = 1500

  @Test("A broken artifact is read or refused, never more", arguments: GoldenTests.names)
  func broken(name: String) throws {
    let golden = [UInt8](try Data(contentsOf: GoldenTests.folder.appending(path: "\(name).cwasm")))
    var mutator = try ArtifactMutator(golden, seed: Self.seed &* 1000 &+ UInt64(name.utf8.count))
    let kept = Repository.root.appending(path: ".build/fuzz/\(name)-\(getpid()).cwasm")
    try FileManager.default.createDirectory(
      at: kept.deletingLastPathComponent(), withIntermediateDirectories: true)
    let end = Self.seconds.map { Date(timeIntervalSinceNow: $0) }
    var reader = Reader()
    var number = 0
    while end.map({ Date() < $0 }) ?? (number < Self.count) {
      number += 1
      let bytes = mutator.next()
      // Written only for long runs: a crash in the tests comes again with the same seed.
      if end != nil { try Data(bytes).write(to: kept) }
      reader.read(bytes, loading: unwindTables(bytes) == unwindTables(golden))
    }
    if end != nil { print("\(name): \(number) artifacts, \(reader.loaded) loaded, \(reader.answers) answers") }
    try? FileManager.default.removeItem(at: kept)
    // If nothing got through to the look-ups, the mutations prove nothing.
    #expect(reader.loaded > number / 20, "of \(number) artifacts")
    #expect(reader.answers > number)
  }

  /// `.eh_frame`, as it would be given to the unwinder.
  private func unwindTables(_ artifact: [UInt8]) -> [UInt8]? {
    artifact.withUnsafeBytes { bytes in
      let region = ByteRegion(base: bytes.baseAddress!, count: bytes.count)
      return try? Artifact(region).section(.ehFrame)?.copyBytes()
    }
  }
}

/// Everything that can be read in an artifact.
private struct Reader {
  var loaded = 0
  var answers = 0

  /// Counts an answer; any other error than the reader's own is recorded.
  private mutating func attempt(_ body: () throws -> Void) {
    do {
      try body()
      answers += 1
    } catch is ArtifactError {
    } catch is LoadError {
    } catch {
      Issue.record("an error of another kind: \(error)")
    }
  }

  mutating func read(_ bytes: [UInt8], loading: Bool) {
    bytes.withUnsafeBytes { buffer in
      let region = ByteRegion(base: buffer.baseAddress!, count: buffer.count)
      do throws(ArtifactError) {
        read(try Artifact(region))
      } catch {
        let explanation = ArtifactExplanation(region, error)
        explanation.describe(.text, to: TextOutput { _ in true })
      }
    }
    guard loading, let artifact = try? LoadedArtifact(bytes: bytes.span.bytes) else { return }
    loaded += 1
    look(artifact)
  }

  private mutating func read(_ artifact: Artifact) {
    attempt { try artifact.verify() }
    attempt { _ = try ArtifactSummary(artifact).text }
    // What `inspect --section` and `--functions` write goes nowhere.
    for kind in SectionKind.allCases {
      attempt { try artifact.describe(kind, .text, to: TextOutput { _ in true }) }
    }
    attempt { try artifact.describeFunctions(.json, to: TextOutput { _ in true }) }
    _ = artifact.damagedPages()
    attempt { _ = try artifact.moduleInfo().exportsInDeclarationOrder() }
    guard let info = try? artifact.moduleInfo() else { return }
    for name in ["divide", "", "memory", "\u{10FFFF}"] { attempt { _ = try info.export(named: name) } }
    // Counts are what the file says: a few of each are enough.
    for index in 0..<12 {
      attempt { _ = try info.type(index) }
      attempt { _ = try info.importEntry(index) }
      attempt { _ = try info.table(index) }
      attempt { _ = try info.tableImageRow(index) }
      attempt { _ = try info.memory(index) }
      attempt { _ = try artifact.fileOffset(of: info.imageExtent(index)) }
      attempt { _ = try info.global(index) }
      attempt { _ = try info.constant(index) }
      attempt { _ = try info.elementSegment(index) }
      attempt { _ = try info.elementExpression(index) }
      attempt { _ = try artifact.bytes(of: info.dataSegment(index)) }
      attempt { _ = try artifact.names()?.function(index) }
    }
    for offset: UInt32 in [0, 1, 16, 40, 300, 4095, 4096, .max] {
      attempt { _ = try artifact.trapTable().code(textOffset: offset) }
      attempt { _ = try artifact.trapTable().entries(functionTextOffset: offset) }
      attempt { _ = try artifact.addressMap()?.wasmOffset(functionTextOffset: 0, codeOffset: offset) }
      attempt { _ = try artifact.addressMap()?.entries(functionTextOffset: offset) }
      attempt { _ = try info.definedFunction(containing: offset) }
    }
    attempt { _ = try artifact.names()?.moduleName() }
  }

  /// As a running program does.
  private mutating func look(_ artifact: LoadedArtifact) {
    for offset in [0, 1, 16, 40, 300, 4095] as [UInt] {
      let pc = artifact.textBase + offset
      _ = artifact.location(of: pc, isReturnAddress: false)
      _ = artifact.location(of: pc, isReturnAddress: true)
      _ = artifact.trapCode(at: pc)
    }
    for index in 0..<12 {
      // What is handed out as code lies in the text.
      let text = artifact.textBase..<artifact.textBase + UInt(artifact.textSize)
      for address in [
        artifact.functionAddress(index), artifact.entryTrampoline(typeIndex: index),
        artifact.exitTrampoline(typeIndex: index),
      ] {
        if let address { #expect(text.contains(address)) }
      }
    }
    let module = Module(engine: Self.engine, artifact: artifact)
    _ = (module.imports, module.exports, module.name)
  }

  private static let engine = Engine()
}
