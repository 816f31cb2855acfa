// The specification's test suite, by the real path: each module is compiled to an artifact on disk, loaded from that file,
// linked and run. Then again, compiled to an object that is linked into memory: the same holds, and traps have the same
// backtraces. Every top-level `.wast` file is taken; the folders beside them (`proposals`, `legacy`, `custom`) hold what
// is not part of the specification.

import Foundation
import Synchronization
import TestSupport
import Testing

/// What all files together come to. The test that ends last closes the account.
private final class SpecAccount: Sendable {
  private let state = Mutex((tally: SpecTally(), open: SpecSuiteTests.files.count, artifacts: 0))

  /// Adds a file's tally; gives the whole when it was the last.
  func add(_ tally: SpecTally, artifacts: Int) -> (tally: SpecTally, artifacts: Int)? {
    state.withLock { state in
      state.tally += tally
      state.artifacts += artifacts
      state.open -= 1
      return state.open == 0 ? (state.tally, state.artifacts) : nil
    }
  }
}

@Suite struct SpecSuiteTests {
  /// How many directives pass at least: fewer, and something is skipped that was not before.
  static let floor = 33_759

  /// The scripts, by name. `PRECAST_SPEC_FILES=a,b` takes only these.
  static let files: [String] = {
    guard let folder = Repository.testSuite, Repository.wasmTools != nil else { return [] }
    let chosen = Repository.environment("PRECAST_SPEC_FILES")?.split(separator: ",").map(String.init)
    let all = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return all.filter { $0.hasSuffix(".wast") }.map { String($0.dropLast(5)) }.filter { chosen?.contains($0) ?? true }
      .sorted()
  }()

  /// `PRECAST_SPEC_VERBOSE=1` prints a line a file.
  private static let isVerbose = Repository.environment("PRECAST_SPEC_VERBOSE") != nil
  private static let account = SpecAccount()
  private static let converterVersion: String =
    (try? run(Repository.wasmTools ?? URL(fileURLWithPath: "/bin/false"), ["--version"]).outputText) ?? ""

  @Test(
    "The specification's test suite is where it is expected",
    .enabled(
      if: !files.isEmpty,
      "no test suite: set PRECAST_TESTSUITE to a copy of github.com/WebAssembly/testsuite; wasm-tools is needed as well"
    ))
  func suiteIsThere() {
    #expect(!Self.files.isEmpty)
  }

  @Test("Every directive of the file holds, and its artifacts please the tools", arguments: files)
  func file(name: String) throws {
    do {
      try runFile(name)
    } catch {
      // The account must be closed all the same.
      var tally = SpecTally()
      tally.failures.append("\(name).wast: \(error)")
      close(tally, artifacts: 0)
      throw error
    }
  }

  /// A script by name, with the folder that its binaries are in.
  static func script(_ name: String) throws -> (script: SpecScript, folder: URL) {
    let folder = try #require(Repository.testSuite)
    let converter = try #require(Repository.wasmTools)
    return try SpecScript.load(
      folder.appending(path: "\(name).wast"), converter: converter, converterVersion: converterVersion)
  }

  private func runFile(_ name: String) throws {
    let (script, binaries) = try Self.script(name)
    let runner = try SpecRunner(name: name, folder: binaries)
    runner.run(script)
    if Self.isVerbose { print("\(name).wast: \(runner.tally.summary)") }
    for failure in runner.tally.failures.prefix(20) { Issue.record("\(failure)") }
    if runner.tally.failures.count > 20 {
      Issue.record("\(name).wast: and \(runner.tally.failures.count - 20) failures more")
    }
    // The same modules as objects, linked into memory.
    let linked = try SpecRunner(name: name, folder: binaries, way: .object)
    linked.run(script)
    #expect(linked.tally == runner.tally, "\(name).wast as objects: \(linked.tally.failures.prefix(3))")
    // Where the stack ended, it ended at a depth that the layout of the host's frames has a part in.
    let traps = (runner.traps.filter { !$0.contains("true") }, linked.traps.filter { !$0.contains("true") })
    #expect(traps.0 == traps.1)
    for complaint in try ELFTools.complaints(about: runner.artifacts).prefix(5) { Issue.record("\(complaint)") }
    close(runner.tally, artifacts: runner.artifacts.count)
  }

  private func close(_ tally: SpecTally, artifacts: Int) {
    guard let whole = Self.account.add(tally, artifacts: artifacts) else { return }
    print("spec suite: \(Self.files.count) files, \(whole.artifacts) artifacts, \(whole.tally.summary)")
    if Repository.environment("PRECAST_SPEC_FILES") == nil {
      #expect(whole.tally.passed >= Self.floor, "fewer directives pass than did")
    }
  }
}
