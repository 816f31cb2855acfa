// Slots for calls from the host.
//
// A typed or raw call needs a few 16-byte slots for its arguments and results. Taking them from a stack that the store
// keeps costs an addition; and since the collector of host objects has to find references that wait in slots, it is
// better that these are in one known place than somewhere on the host's stack.

import PrecastWasm

/// Slots taken from a stack, and what the stack must be told when they are given back.
@safe
@usableFromInline
struct TakenSlots {
  // Memory of the stack, which its store keeps.
  @usableFromInline let base: UnsafeMutableRawPointer
  let top: UnsafeMutableRawPointer
  let end: UnsafeMutableRawPointer
  let chunk: Int
}

/// A stack of 16-byte slots, in chunks that never move: calls that are under way point into them.
@safe
final class SlotStack {
  @safe
  private struct Chunk {
    // Owned by the stack, freed in its `deinit`.
    let base: UnsafeMutableRawPointer
    let capacity: Int
    /// Slots in use, up to date only while a later chunk is current.
    var used: Int
  }
  /// Where the next slot is, in memory of its own: checking access to a class's fields costs more than the rest.
  @safe
  private struct State {
    var top: UnsafeMutableRawPointer
    var end: UnsafeMutableRawPointer
    var chunk: Int
  }
  private var chunks: [Chunk] = []
  private let state: UnsafeMutablePointer<State>
  private static let chunkCapacity = 1024

  init() {
    let chunk = Self.makeChunk(Self.chunkCapacity)
    chunks.append(chunk)
    unsafe state = UnsafeMutablePointer<State>.allocate(capacity: 1)
    unsafe state.initialize(to: State(top: chunk.base, end: chunk.base + chunk.capacity * 16, chunk: 0))
  }

  deinit {
    for chunk in chunks { unsafe chunk.base.deallocate() }
    unsafe state.deallocate()
  }

  private static func makeChunk(_ capacity: Int) -> Chunk {
    let base = UnsafeMutableRawPointer.allocate(byteCount: capacity * 16, alignment: 16)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * 16)
    return unsafe Chunk(base: base, capacity: capacity, used: 0)
  }

  /// Takes `count` slots, which are the caller's until `giveBack`. Last in, first out.
  func take(_ count: Int) -> TakenSlots {
    let (top, end, chunk) = unsafe (state.pointee.top, state.pointee.end, state.pointee.chunk)
    if unsafe end - top >= count * 16 {
      unsafe state.pointee.top = top + count * 16
      return unsafe TakenSlots(base: top, top: top, end: end, chunk: chunk)
    }
    let base = unsafe useNextChunk(count)
    return unsafe TakenSlots(base: base, top: top, end: end, chunk: chunk)
  }

  /// Gives back the slots that were taken last.
  func giveBack(_ taken: TakenSlots) {
    unsafe state.pointee = unsafe State(top: taken.top, end: taken.end, chunk: taken.chunk)
  }

  @inline(never)
  private func useNextChunk(_ count: Int) -> UnsafeMutableRawPointer {
    let current = unsafe state.pointee.chunk
    chunks[current].used = unsafe (state.pointee.top - chunks[current].base) / 16
    if current + 1 == chunks.count || chunks[current + 1].capacity < count {
      // No later chunk is in use.
      for chunk in chunks[(current + 1)...] { unsafe chunk.base.deallocate() }
      chunks.removeSubrange((current + 1)...)
      chunks.append(Self.makeChunk(max(Self.chunkCapacity, count)))
    }
    let next = chunks[current + 1]
    unsafe state.pointee = unsafe State(
      top: next.base + count * 16, end: next.base + next.capacity * 16, chunk: current + 1)
    return unsafe next.base
  }

  /// Calls `body` with each 64-bit word of the slots in use.
  func forEachWord(_ body: (UInt64) -> Void) {
    let current = unsafe state.pointee.chunk
    chunks[current].used = unsafe (state.pointee.top - chunks[current].base) / 16
    for chunk in chunks[...current] {
      for word in 0..<chunk.used * 2 {
        unsafe body(chunk.base.load(fromByteOffset: word * 8, as: UInt64.self))
      }
    }
  }
}

extension Store {
  @usableFromInline func takeSlots(_ count: Int) -> TakenSlots { slotStack.take(count) }
  @usableFromInline func giveBack(_ taken: TakenSlots) { slotStack.giveBack(taken) }
}
