import CLoaderTestCode
import CPrecastHost
import Foundation
import Testing

@Suite struct TrapTests {
  @Test func codeThatReturnsGivesItsResult() {
    #expect(TestStore().enter(Label.add, 40, 2) == .returned(42))
  }

  @Test func anUndefinedInstructionAtATrapSiteTraps() {
    let store = TestStore()
    let ended = store.enter(Label.unreachable) { activation in
      #expect(activation.pointee.trap_pc == TestCode.address(Label.unreachableSite))
      #expect(activation.pointee.trap_fault_address == 0)
    }
    #expect(ended == .trapped(code: 1, signal: SIGILL))
    #expect(store.enter(Label.add, 1, 2) == .returned(3))
  }

  @Test func aLoadFromInaccessibleMemoryTrapsWithItsAddress() throws {
    let page = UInt64(sysconf(Int32(_SC_PAGESIZE)))
    let address = UInt64(UInt(bitPattern: mmap(nil, Int(page), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)))
    defer { munmap(UnsafeMutableRawPointer(bitPattern: UInt(address)), Int(page)) }
    let ended = TestStore().enter(Label.load, address + 12) { activation in
      #expect(activation.pointee.trap_pc == TestCode.address(Label.loadSite))
      #expect(activation.pointee.trap_fault_address == address + 12)
    }
    #expect(ended == .trapped(code: 2, signal: SIGSEGV))
  }

  @Test func aLoadPastTheEndOfAMappedFileTraps() throws {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    var path = Array("/tmp/precast-loader-XXXXXX\0".utf8CString.dropLast())
    let file = mkstemp(&path)
    try #require(file >= 0)
    unlink(path)
    let address = mmap(nil, page, PROT_READ, MAP_SHARED, file, 0)!
    defer {
      munmap(address, page)
      close(file)
    }
    #expect(
      TestStore().enter(Label.load, UInt64(UInt(bitPattern: address))) == .trapped(code: 2, signal: SIGBUS))
  }

  @Test func aDivisionByZeroTraps() {
    let store = TestStore()
    let ended = store.enter(Label.divide, 7, 0) { activation in
      #expect(activation.pointee.trap_pc == TestCode.address(Label.divideSite))
    }
    #expect(ended == .trapped(code: 8, signal: SIGFPE))
    #expect(store.enter(Label.divide, 7, 2) == .returned(3))
  }

  @Test func theHostsRegistersSurviveATrap() {
    // Kept in callee-saved registers across the entry, as far as the compiler goes.
    let store = TestStore()
    var sum = 0
    for i in 0..<100 {
      let (a, b, c, d) = (i &* 3, i &* 5, i &* 7, i &* 11)
      #expect(store.enter(Label.clobber) == .trapped(code: 1, signal: SIGILL))
      sum += a + b + c + d
    }
    #expect(sum == 26 * 4950)
  }

  @Test func eightThreadsTrapAtOnce() {
    let failures = Counter()
    let threads = (0..<8).map { number in
      let done = DispatchSemaphore(value: 0)
      let thread = Thread {
        let store = TestStore()
        for i in 0..<10_000 {
          let ended: Ended
          let expected: Ended
          switch (i + number) % 4 {
          case 0:
            ended = store.enter(Label.load, 64)
            expected = .trapped(code: 2, signal: SIGSEGV)
          case 1:
            ended = store.enter(Label.divide, 1, 0)
            expected = .trapped(code: 8, signal: SIGFPE)
          case 2:
            ended = store.enter(Label.unreachable)
            expected = .trapped(code: 1, signal: SIGILL)
          default:
            ended = store.enter(Label.add, UInt64(i), 1)
            expected = .returned(UInt64(i) + 1)
          }
          if ended != expected { failures.increment() }
        }
        done.signal()
      }
      thread.start()
      return done
    }
    for done in threads { done.wait() }
    #expect(failures.value == 0)
  }
}

/// A counter that threads share.
final class Counter: @unchecked Sendable {
  private let lock = NSLock()
  private var count = 0
  func increment() { lock.withLock { count += 1 } }
  var value: Int { lock.withLock { count } }
}
