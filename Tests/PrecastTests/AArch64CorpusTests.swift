// Programs that others published, compiled for AArch64 and run by an emulated processor: they print and write what they do
// natively. Their files, arguments and clocks come from the same WASI, called out of emulated code.
//
// Of the steps of TestData/CorpusInputs/steps.json these are the ones that are not large. The emulator does some fifty
// million instructions a second.

import Foundation
import PrecastEmulator
import PrecastEmulatedRuntime
import Testing

@Suite(
  .enabled(
    if: AArch64Processor.unavailableReason == nil, Comment(rawValue: AArch64Processor.unavailableReason ?? "")))
struct AArch64CorpusTests {
  static let chains = [CorpusTests.Chain.boolector, .avr]
  /// Far more than any step takes.
  static let instructionLimit: UInt64 = 20_000_000_000

  @Test(
    "The solver solves, the assembler assembles, the linker links on AArch64",
    .enabled(
      if: chains.allSatisfy { CorpusTests.isFetched($0) },
      "the corpus is not there: Tests/Tools/fetch-corpus fetches it from the Python package registry"),
    arguments: chains)
  func chain(_ chain: CorpusTests.Chain) throws {
    let steps = try CorpusTests.steps(of: chain).filter { $0.isLarge != true }
    try #require(!steps.isEmpty)
    let native = try CorpusTests.check(steps, RealPath())

    let machine = RealPath.Machine.aarch64
    let path = try RealPath(
      engine: machine.engine(instructionLimit: Self.instructionLimit), machine: machine)
    let start = ContinuousClock.now
    let executed = EmulatedAArch64.executedInstructions
    let emulated = try CorpusTests.check(steps, path)
    let count = EmulatedAArch64.executedInstructions - executed
    print("\(chain) on AArch64: \(steps.count) steps, \(count) instructions, \(ContinuousClock.now - start)")
    #expect(emulated == native)
    #expect(count > 1_000_000, "it was not the emulator that ran it")
  }
}
