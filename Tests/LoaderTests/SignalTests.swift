import CLoaderTestCode
import Foundation
import Testing

/// Each scenario runs in a process of its own (`scenarios.c`), since handlers belong to a process.
@Suite struct SignalTests {
  @Test(arguments: [
    "earlier handler without info", "earlier handler with info", "trap is ours alone", "fault in host function",
    "fault without trap site", "ignored signal from a process", "handled signal from a process",
    "signal from a process at a trap site", "host stack overflow",
    "threads give their mappings back", "adequate alternate stack stays", "main thread's stack bounds",
    "handlers stay in place", "lost tables are zeros", "lost text ends the activation",
    "lost text under a host function", "lost text that the host reads never runs", "lost image",
    "a bus error of others", "a bus error sent by a process", "a fault in the trap table",
    "a file that is shorter by less than a page",
  ])
  func scenarioEndsWell(_ name: String) {
    #expect(TestCode.scenario(name) == .exit(0))
  }

  @Test func aFaultThatNobodyHandlesEndsTheProcessAsWithoutUs() {
    #expect(TestCode.scenario("fault with default action") == .signal(SIGSEGV))
  }

  @Test func aFaultCannotBeIgnored() {
    #expect(TestCode.scenario("ignored fault") == .signal(SIGSEGV))
  }

  @Test func aSignalFromAProcessHasItsDefaultAction() {
    #expect(TestCode.scenario("default signal from a process") == .signal(SIGFPE))
  }
}
