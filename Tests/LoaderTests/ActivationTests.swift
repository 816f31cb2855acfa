import CLoaderTestCode
import CPrecastHost
import Foundation
import Testing

@Suite struct ActivationTests {
  @Test func noActivationIsLeftBehind() {
    let store = TestStore()
    #expect(precast_current_activation() == nil)
    store.enter(Label.add)
    store.enter(Label.unreachable)
    #expect(precast_current_activation() == nil)
    #expect(store.raw.pointee.store.activation == nil)
    #expect(store.raw.pointee.store.stack_limit == 0)
  }

  @Test func aHostFunctionGetsArgumentsAndGivesAResult() {
    let store = TestStore()
    store.hostFunction = { _, slots in
      slots[0].low = slots[0].low * 10 + slots[1].low
      return true
    }
    #expect(store.enter(Label.callHost, 4, 2) == .returned(42))
  }

  @Test func aHostErrorEndsTheActivationWithoutATrap() {
    let store = TestStore()
    store.hostFunction = { _, _ in false }
    #expect(store.enter(Label.callHost) == .hostError)
    #expect(store.enter(Label.add, 1, 1) == .returned(2))
  }

  @Test func aTrapInANestedActivationLeavesTheOuterOneRunning() {
    let store = TestStore()
    let inner = TestStore()
    store.hostFunction = { store, slots in
      let outer = precast_current_activation()
      #expect(store.enter(Label.unreachable) == .trapped(code: 1, signal: SIGILL))
      #expect(inner.enter(Label.load, 8) == .trapped(code: 2, signal: SIGSEGV))
      #expect(precast_current_activation() == outer)
      #expect(store.raw.pointee.store.activation == outer)
      slots[0].low += 1
      return true
    }
    #expect(store.enter(Label.callHost, 6) == .returned(7))
  }

  @Test func anErrorPassesThroughNestedActivationsOneByOne() {
    let store = TestStore()
    var depth = 0
    var ends: [Ended] = []
    store.hostFunction = { store, _ in
      depth += 1
      if depth == 5 { return false }
      ends.append(store.enter(Label.callHost))
      return false
    }
    #expect(store.enter(Label.callHost) == .hostError)
    #expect(ends == Array(repeating: .hostError, count: 4))
    #expect(precast_current_activation() == nil)
  }
}

@Suite struct StackLimitTests {
  @Test func deepRecursionTrapsAtTheStoresLimit() {
    let store = TestStore(maxWasmStack: 64 * 1024)
    let ended = store.enter(Label.recurse, 1_000_000, 64) { activation in
      #expect(activation.pointee.trap_pc == TestCode.address(Label.recurseOverflowSite))
    }
    #expect(ended == .trapped(code: 10, signal: SIGILL))
    // 64 bytes a level: saved rbp, return address, 48.
    #expect(store.enter(Label.recurse, 900, 64) == .trapped(code: 2, signal: SIGSEGV))
  }

  @Test func withoutALimitRecursionTrapsBeforeTheThreadsStackEnds() throws {
    let ended = onThread(stackSize: 512 * 1024) {
      let store = TestStore()
      return [store.enter(Label.recurse, 1_000_000, 64), store.enter(Label.recurse, 5000, 64)]
    }
    #expect(ended == [.trapped(code: 10, signal: SIGILL), .trapped(code: 2, signal: SIGSEGV)])
  }

  @Test func theReserveBelowTheLimitStaysFree() {
    let free = onThread(stackSize: 512 * 1024) {
      let store = TestStore(maxWasmStack: 1 << 40)
      var low: UInt64 = 0
      var high: UInt64 = 0
      precast_thread_stack_bounds(&low, &high)
      var limit: UInt64 = 0
      store.enter(Label.recurse, 1_000_000, 64) { limit = $0.pointee.stack_limit }
      return limit - low
    }
    #expect(free == UInt64(PRECAST_STACK_RESERVE))
  }

  @Test func nestedEntriesKeepTheOuterLimit() {
    let store = TestStore(maxWasmStack: 100 * 1024)
    let generous = TestStore(maxWasmStack: 10 << 20)
    let strict = TestStore(maxWasmStack: 1024)
    store.hostFunction = { store, _ in
      let outer = store.raw.pointee.store.stack_limit
      for inner in [store, generous] {
        inner.enter(Label.add) { #expect($0.pointee.stack_limit == outer) }
      }
      strict.enter(Label.add) { #expect($0.pointee.stack_limit > outer) }
      #expect(store.raw.pointee.store.stack_limit == outer)
      return true
    }
    #expect(store.enter(Label.callHost) == .returned(0))
  }

  @Test func recursionThroughTheHostTrapsAsWell() {
    let store = TestStore(maxWasmStack: 256 * 1024)
    var depth = 0
    var innermost: Ended?
    var frames: [precast_frame] = []
    store.hostFunction = { store, _ in
      depth += 1
      let ended = store.enter(Label.callHost) { activation in
        if innermost == nil { frames = walk(activation).frames }
      }
      if innermost == nil { innermost = ended }
      return false
    }
    #expect(store.enter(Label.callHost) == .hostError)
    // Found at the entry: the function itself checks nothing.
    #expect(innermost == .trapped(code: 10, signal: 0))
    #expect(depth > 10)
    #expect(frames.map(\.pc) == Array(repeating: TestCode.address(Label.callHostReturn), count: depth))
    #expect(frames.map(\.activation_depth) == (0..<depth).map { UInt32($0) + 1 })
  }
}

/// Runs `body` on a thread of its own.
func onThread<R>(stackSize: Int, _ body: @escaping () -> R) -> R {
  let box = ThreadBox(body)
  let done = DispatchSemaphore(value: 0)
  let thread = Thread {
    box.result = box.body()
    done.signal()
  }
  thread.stackSize = stackSize
  thread.start()
  done.wait()
  return box.result!
}

private final class ThreadBox<R>: @unchecked Sendable {
  let body: () -> R
  var result: R?
  init(_ body: @escaping () -> R) { self.body = body }
}
