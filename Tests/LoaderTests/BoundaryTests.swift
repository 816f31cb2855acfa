import CLoaderTestCode
import Foundation
import Testing

/// Exceptions and ending threads, with wasm between the host's frames (`unwinding.cpp`); each in a process of its own.
@Suite struct BoundaryTests {
  @Test(arguments: [
    "an exception ends at the boundary", "an exception ends at the inner boundary",
    "an exception inside a host function", "a thread exits in a host function",
    "a thread exits in a nested activation", "a thread is cancelled in a host function",
  ])
  func scenarioEndsWell(_ name: String) {
    #expect(TestCode.scenario(name) == .exit(0))
  }

  @Test func anExceptionThatReachesWasmEndsTheProcess() {
    #expect(TestCode.scenario("an exception ends the process") == .signal(SIGABRT))
  }
}
