// Native code in the place of entry trampolines that only the emulator can run.
//
// The runtime calls an entry trampoline through a pointer, `entry(context, code, slots, activation)`, from C that is the
// same natively and under emulation. So for each trampoline there are a few native instructions that add what the C
// code does not know, and go on to a function of this target:
//
//      mov r8, trampoline          fifth argument
//      mov r9, owner               sixth
//      mov rax, target
//      jmp rax
//
// They stand in memory that is mapped twice, once to be written and once to be executed, so that none has to be unmapped
// while others are in use. A thunk goes when its trampoline does, whose address another artifact may get.

import CUnicorn
import Synchronization

final class NativeThunks: Sendable {
  /// What a thunk jumps to.
  typealias Target = @convention(c) (UInt, UInt, UInt, UInt, _ trampoline: UInt, _ owner: UInt) -> UInt64

  static let shared = NativeThunks()

  private struct Entry {
    var trampoline: UInt
    var owner: UInt
    var index: Int
  }
  private struct State {
    /// In the order of trampolines.
    var entries: [Entry] = []
    var free: [Int] = []
    var used = 0
  }
  private let state = Mutex(State())
  private let written: UInt
  private let executed: UInt
  private static let size = 32
  private static let capacity = 1 << 20

  private init() {
    #if !arch(x86_64)
      preconditionFailure("thunks are x86-64 code")
    #endif
    // Pages that nobody writes cost nothing.
    var addresses: (written: UInt64, executed: UInt64) = (0, 0)
    let isMapped = unsafe precast_map_code_twice(
      Self.size * Self.capacity, &addresses.written, &addresses.executed)
    precondition(isMapped, "no memory for thunks")
    written = UInt(addresses.written)
    executed = UInt(addresses.executed)
  }

  /// The thunk that goes to `target` with a trampoline and an owner.
  func address(of target: Target, trampoline: UInt, owner: UInt) -> UInt {
    state.withLock { state in
      var position = Self.position(of: trampoline, in: state.entries)
      while position < state.entries.count, state.entries[position].trampoline == trampoline {
        if state.entries[position].owner == owner { return executed + UInt(state.entries[position].index * Self.size) }
        position += 1
      }
      let index: Int
      if let free = state.free.popLast() {
        index = free
      } else {
        index = state.used
        precondition(index < Self.capacity, "too many thunks")
        state.used += 1
      }
      state.entries.insert(Entry(trampoline: trampoline, owner: owner, index: index), at: position)
      write(index, trampoline, owner, unsafe unsafeBitCast(target, to: UInt.self))
      return executed + UInt(index * Self.size)
    }
  }

  /// Takes the thunks of all trampolines in a range of addresses away.
  func forget(_ start: UInt64, _ end: UInt64) {
    state.withLock { state in
      let first = Self.position(of: UInt(start), in: state.entries)
      let last = Self.position(of: UInt(end), in: state.entries)
      if first == last { return }
      state.free += state.entries[first..<last].map(\.index)
      state.entries.removeSubrange(first..<last)
    }
  }

  private static func position(of trampoline: UInt, in entries: [Entry]) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].trampoline < trampoline { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private func write(_ index: Int, _ trampoline: UInt, _ owner: UInt, _ target: UInt) {
    // Inside the mapping: the index is below the capacity. Nobody calls a thunk before it has its address.
    let place = unsafe UnsafeMutableRawPointer(bitPattern: written + UInt(index * Self.size)).unsafelyUnwrapped
    var offset = 0
    func put(_ opcode: [UInt8], _ immediate: UInt? = nil) {
      for byte in opcode {
        unsafe place.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
        offset += 1
      }
      guard let immediate else { return }
      unsafe place.storeBytes(of: immediate, toByteOffset: offset, as: UInt.self)
      offset += 8
    }
    put([0x49, 0xB8], trampoline)
    put([0x49, 0xB9], owner)
    put([0x48, 0xB8], target)
    put([0xFF, 0xE0])
  }
}
