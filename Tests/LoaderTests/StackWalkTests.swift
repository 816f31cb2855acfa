import CLoaderTestCode
import CPrecastHost
import Testing

@Suite struct StackWalkTests {
  /// What `lt_recurse(n)` has on its stack when the load it ends in traps.
  func expectedFrames(recursions n: Int) -> [UInt64] {
    [TestCode.address(Label.loadSite), TestCode.address(Label.recurseLastReturn)]
      + Array(repeating: TestCode.address(Label.recurseReturn), count: n)
  }

  @Test func aTrapReportsEveryFrame() {
    for n in [0, 1, 2, 100] {
      TestStore().enter(Label.recurse, UInt64(n), 64) { activation in
        let (frames, truncated) = walk(activation)
        #expect(frames.map(\.pc) == expectedFrames(recursions: n))
        #expect(frames.map(\.is_return_address) == [false] + Array(repeating: true, count: n + 1))
        #expect(!truncated)
        #expect(zip(frames, frames.dropFirst()).allSatisfy { $0.frame_pointer < $1.frame_pointer })
      }
    }
  }

  @Test func framesOfATrapAreCapped() {
    let most = Int(PRECAST_TRAP_FRAMES)
    TestStore().enter(Label.recurse, UInt64(most - 2), 64) { activation in
      let (frames, truncated) = walk(activation)
      #expect(frames.count == most)
      #expect(!truncated)
    }
    TestStore().enter(Label.recurse, UInt64(most - 1), 64) { activation in
      let (frames, truncated) = walk(activation)
      #expect(frames.map(\.pc) == Array(expectedFrames(recursions: most - 2)))
      #expect(truncated)
      #expect(walk(activation, capacity: 3).frames.count == 3)
      #expect(walk(activation, capacity: 3).truncated)
    }
  }

  @Test func aHostFunctionSeesItsCallers() {
    let store = TestStore()
    store.hostFunction = { _, _ in
      let (frames, truncated) = walk(precast_current_activation())
      #expect(frames.map(\.pc) == [TestCode.address(Label.callHostReturn)])
      #expect(frames.allSatisfy { $0.is_return_address })
      #expect(!truncated)
      return true
    }
    #expect(store.enter(Label.callHost) == .returned(0))
  }

  @Test func aWalkGoesOnThroughHostFrames() {
    let store = TestStore()
    let inner = TestStore()
    store.hostFunction = { _, _ in
      inner.enter(Label.recurse, 2, 64) { activation in
        let (frames, _) = walk(activation)
        #expect(frames.map(\.pc) == expectedFrames(recursions: 2) + [TestCode.address(Label.callHostReturn)])
        #expect(frames.map(\.activation_depth) == [0, 0, 0, 0, 1])
      }
      return true
    }
    #expect(store.enter(Label.callHost) == .returned(0))
  }

  @Test(arguments: [0, 8, 0x1234_5678, UInt64.max - 7, UInt64.max, 1 << 47])
  func aDamagedFrameChainEndsTheWalk(_ value: UInt64) {
    let ended = TestStore().enter(Label.damage, value) { activation in
      let (frames, truncated) = walk(activation)
      #expect(frames.map(\.pc) == [TestCode.address(Label.damageSite)])
      #expect(!truncated)
    }
    #expect(ended == .trapped(code: 1, signal: 4))
  }

  @Test func thereIsNothingToWalkOutsideAnActivation() {
    #expect(walk(nil).frames.isEmpty)
  }
}
