// Code whose calls go through veneers does what it does without.
//
// A text in which calls do not reach their targets has 2 GiB on x86-64. With the layout's settings for tests a text of some
// kilobytes behaves like it: functions are put far apart, the reach of calls is narrowed, or each call is made to take a
// veneer. Scripts of the specification's test suite are run on artifacts that were made so: those about calls of every kind
// (direct, through tables, of imports, at start, recursive until the stack is exhausted), about what crosses them (values,
// traps), and about modules that call one another. `KernelTests` does the same with the kernels.

import Foundation
import PrecastMachineCode
import TestSupport
import Testing

/// A layout that nobody but a test wants.
enum FarLayout: CaseIterable {
  /// No function reaches the one after the next.
  case apart
  /// All calls, short as their ways are, go through one island behind the text.
  case veneers
  /// Both: all calls go through islands between the functions.
  case apartWithVeneers

  var testing: TextLayoutTesting {
    var testing = TextLayoutTesting()
    if self != .veneers {
      testing.padding = 40_000
      testing.reach = 1 << 16
    }
    testing.forceVeneers = self != .apart
    return testing
  }

  /// Whether an artifact's symbols tell of veneers.
  static func hasVeneers(_ artifact: URL) throws -> Bool {
    try Data(contentsOf: artifact, options: .alwaysMapped).range(of: Data("veneers\0".utf8)) != nil
  }
}

@Suite struct FarLayoutTests {
  static let files: [String] = {
    guard let folder = Repository.testSuite, Repository.wasmTools != nil else { return [] }
    return [
      "block", "call", "call_indirect", "elem", "fac", "func", "func_ptrs", "imports", "linking", "ref_func", "return",
      "select", "stack", "start", "table_init",
    ].filter { FileManager.default.fileExists(atPath: folder.appending(path: "\($0).wast").path) }
  }()

  @Test(
    "Every directive of the file holds where calls go through veneers",
    .enabled(if: !files.isEmpty, "no test suite: set PRECAST_TESTSUITE to a copy of github.com/WebAssembly/testsuite"),
    arguments: files, FarLayout.allCases)
  func file(name: String, layout: FarLayout) throws {
    let folder = try #require(Repository.testSuite)
    let converter = try #require(Repository.wasmTools)
    let version = try run(converter, ["--version"]).outputText
    let (script, binaries) = try SpecScript.load(
      folder.appending(path: "\(name).wast"), converter: converter, converterVersion: version)
    let usual = try SpecRunner(name: name, folder: binaries)
    usual.run(script)
    let runner = try SpecRunner(name: name, folder: binaries)
    runner.run(script, layout: layout.testing)
    for failure in runner.tally.failures.prefix(20) { Issue.record("\(failure)") }
    #expect(runner.tally.passed == usual.tally.passed && runner.tally.skipped == usual.tally.skipped)
    // Nothing is shown by calls that reach anyway: in each of these files there are some that have to take a veneer.
    let count = try runner.artifacts.count { try FarLayout.hasVeneers($0) }
    #expect(layout == .apart || count > 0)
    #expect(try usual.artifacts.allSatisfy { try !FarLayout.hasVeneers($0) })
  }
}
