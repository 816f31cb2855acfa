// Options that tests alone need; `--help` does not show them, `--help-hidden` does.
//
// They make the text of a small module behave like that of a large one: far apart, out of reach of one another. What comes
// out is right and runs, and its record says that it was made with them (`inspect`: compiler version 0.1.0+testing-layout).

import ArgumentParser
import PrecastMachineCode

struct TestingOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Bytes put before each function.", valueName: "bytes", visibility: .hidden))
  var testingTextPadding = 0

  @Option(
    help: ArgumentHelp("How far calls are taken to reach, if less.", valueName: "bytes", visibility: .hidden))
  var testingBranchReach: Int?

  @Flag(help: ArgumentHelp("Let every call go through a veneer.", visibility: .hidden))
  var testingForceVeneers = false

  func validate() throws {
    // A text has at most 4 GiB.
    if !(0...1 << 32).contains(testingTextPadding) {
      throw ValidationError("--testing-text-padding takes a number from 0 to \(1 << 32)")
    }
    if let reach = testingBranchReach, !(1...1 << 31).contains(reach) {
      throw ValidationError("--testing-branch-reach takes a number from 1 to \(1 << 31)")
    }
  }

  /// What the options ask for.
  var layout: TextLayoutTesting {
    var layout = TextLayoutTesting()
    layout.padding = testingTextPadding
    layout.reach = testingBranchReach
    layout.forceVeneers = testingForceVeneers
    return layout
  }
}
