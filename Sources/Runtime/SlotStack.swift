// Slots for calls from the host.
//
// A typed or raw call needs a few 16-byte slots for its arguments and results. Taking them from a stack that the store
// keeps costs an addition; and since the collector of host objects has to find references that wait in slots, it is
// better that these are in one known place than somewhere on the host's stack.

import PrecastWasm

/// A stack of 16-byte slots, in chunks that never move: calls that are under way point into them.
@safe
final class SlotStack {
  @safe
  private struct Chunk {
    // Owned by the stack, freed in its `deinit`.
    let base: UnsafeMutableRawPointer
    let capacity: Int
    var used: Int
  }
  private var chunks: [Chunk] = []
  private var current = 0
  private static let chunkCapacity = 1024

  init() { chunks.append(Self.makeChunk(Self.chunkCapacity)) }

  deinit {
    for chunk in chunks { unsafe chunk.base.deallocate() }
  }

  private static func makeChunk(_ capacity: Int) -> Chunk {
    let base = UnsafeMutableRawPointer.allocate(byteCount: capacity * 16, alignment: 16)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * 16)
    return unsafe Chunk(base: base, capacity: capacity, used: 0)
  }

  /// Takes `count` slots, which are the caller's until `pop` with the same count. Last in, first out.
  func push(_ count: Int) -> UnsafeMutableRawPointer {
    while chunks[current].capacity - chunks[current].used < count {
      if current + 1 == chunks.count { chunks.append(Self.makeChunk(max(Self.chunkCapacity, count))) }
      current += 1
    }
    let slots = unsafe chunks[current].base + chunks[current].used * 16
    chunks[current].used += count
    return unsafe slots
  }

  /// Gives back the `count` slots that were taken last.
  func pop(_ count: Int) {
    chunks[current].used -= count
    while current > 0 && chunks[current].used == 0 { current -= 1 }
  }

  /// Calls `body` with each 64-bit word of the slots in use.
  func forEachWord(_ body: (UInt64) -> Void) {
    for chunk in chunks[...current] {
      for word in 0..<chunk.used * 2 {
        unsafe body(chunk.base.load(fromByteOffset: word * 8, as: UInt64.self))
      }
    }
  }
}
