// The specification's test suite on AArch64: the same files, the same directives, the same real path (compiled to an
// artifact on disk, loaded from there), and again as unlinked objects. The processor is emulated, and nothing else is
// (Tests/EmulatedRuntime). What must come out is what comes out natively: as many directives pass, and what traps has the
// same functions and wasm offsets on its stack.

import Foundation
import PrecastEmulator
import PrecastEmulatedRuntime
import Synchronization
import Testing

/// What all files together come to. The test that ends last closes the account.
private final class EmulatedAccount: Sendable {
  private let state = Mutex((tally: SpecTally(), open: SpecSuiteTests.files.count))
  private let start = ContinuousClock.now

  /// Adds a file's tally; gives the whole, and the time since the first, when it was the last.
  func add(_ tally: SpecTally) -> (tally: SpecTally, time: Duration)? {
    state.withLock { state in
      state.tally += tally
      state.open -= 1
      return state.open == 0 ? (state.tally, .now - start) : nil
    }
  }
}

@Suite(
  .enabled(
    if: AArch64Processor.unavailableReason == nil, Comment(rawValue: AArch64Processor.unavailableReason ?? "")))
struct AArch64SpecSuiteTests {
  private static let account = EmulatedAccount()
  private static let isVerbose = Repository.environment("PRECAST_SPEC_VERBOSE") != nil

  @Test("Every directive holds on AArch64, from artifacts and from objects", arguments: SpecSuiteTests.files)
  func file(name: String) throws {
    let account = Self.account
    var tally = SpecTally()
    defer { close(account, tally) }
    do {
      tally = try runFile(name)
    } catch {
      // The account must be closed all the same.
      tally.failures.append("\(name).wast: \(error)")
      throw error
    }
  }

  private func runFile(_ name: String) throws -> SpecTally {
    let (script, binaries) = try SpecSuiteTests.script(name)
    let native = try SpecRunner(name: name, folder: binaries)
    native.run(script)
    let artifacts = try SpecRunner(name: name, folder: binaries, machine: .aarch64)
    let before = EmulatedAArch64.executedInstructions
    artifacts.run(script)
    if Self.isVerbose {
      print("\(name).wast: \(EmulatedAArch64.executedInstructions - before) instructions, \(artifacts.tally.summary)")
    }
    for failure in artifacts.tally.failures.prefix(20) { Issue.record("\(failure)") }
    #expect(artifacts.tally == native.tally, "\(name).wast natively: \(native.tally.summary)")
    let objects = try SpecRunner(name: name, folder: binaries, way: .object, machine: .aarch64)
    objects.run(script)
    #expect(objects.tally == artifacts.tally, "\(name).wast as objects: \(objects.tally.failures.prefix(3))")
    // Where the stack ended, it ended at a depth that frames of the host and of the other machine have a part in.
    let traps = [native, artifacts, objects].map { $0.traps.filter { !$0.hasPrefix("stackOverflow") } }
    #expect(traps[0] == traps[1])
    #expect(traps[1] == traps[2])
    return artifacts.tally
  }

  private func close(_ account: EmulatedAccount, _ tally: SpecTally) {
    guard let whole = account.add(tally) else { return }
    print("spec suite on AArch64: \(SpecSuiteTests.files.count) files, \(whole.tally.summary), \(whole.time)")
    if Repository.environment("PRECAST_SPEC_FILES") == nil {
      #expect(whole.tally.passed >= SpecSuiteTests.floor, "fewer directives pass than did natively")
    }
  }
}
