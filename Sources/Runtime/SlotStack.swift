// Slots for calls from the host.
//
// A typed or raw call needs a few 16-byte slots for its arguments and results. Taking them from a stack that the store
// keeps costs an addition; and since the collector of host objects has to find references that wait in slots, it is
// better that these are in one known place than somewhere on the host's stack. The first chunk is made by the first
// call that needs a slot, and is small: most stores are short-lived, and zeroing memory is most of what they would pay.

import PrecastWasm

/// Slots taken from a stack, and what the stack must be told when they are given back.
@safe
@usableFromInline
struct TakenSlots {
  // Memory of the stack, which its store keeps.
  @usableFromInline let base: UnsafeMutableRawPointer
  @usableFromInline let top: UnsafeMutableRawPointer
  @usableFromInline let end: UnsafeMutableRawPointer
  @usableFromInline let chunk: UnsafeMutablePointer<SlotStack.Chunk>?

  @inlinable @inline(__always)
  init(
    base: UnsafeMutableRawPointer, top: UnsafeMutableRawPointer, end: UnsafeMutableRawPointer,
    chunk: UnsafeMutablePointer<SlotStack.Chunk>?
  ) {
    unsafe self.base = base
    unsafe self.top = top
    unsafe self.end = end
    unsafe self.chunk = chunk
  }
}

/// A stack of 16-byte slots, in chunks that never move: calls that are under way point into them.
///
/// A view of its state, which stands in the store's block: checking access to a class's fields would cost more than the
/// rest.
@safe
@usableFromInline
struct SlotStack {
  /// The head of a chunk; its slots follow.
  @safe
  @usableFromInline
  struct Chunk {
    // The next chunk, owned by this one.
    var next: UnsafeMutablePointer<Chunk>?
    var capacity: Int
    /// Slots in use, up to date only while a later chunk is current.
    var used: Int
    private var padding = 0

    init(capacity: Int) {
      unsafe next = nil
      self.capacity = capacity
      used = 0
    }
  }

  /// Where the next slot is.
  @safe
  @usableFromInline
  struct State {
    // In the current chunk; before there is one, both are the same address, which nobody reads.
    @usableFromInline var top: UnsafeMutableRawPointer
    @usableFromInline var end: UnsafeMutableRawPointer
    @usableFromInline var current: UnsafeMutablePointer<Chunk>?
    var first: UnsafeMutablePointer<Chunk>?

    init() {
      unsafe top = UnsafeMutableRawPointer(bitPattern: 16).unsafelyUnwrapped
      unsafe end = top
      unsafe current = nil
      unsafe first = nil
    }
  }

  // In the store's block, valid as long as the store.
  @usableFromInline let state: UnsafeMutablePointer<State>
  private static let firstCapacity = 64
  private static let laterCapacity = 1024

  @inlinable @inline(__always)
  init(_ state: UnsafeMutablePointer<State>) { unsafe self.state = state }

  private static func slots(_ chunk: UnsafeMutablePointer<Chunk>) -> UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(chunk) + MemoryLayout<Chunk>.stride
  }

  private static func makeChunk(_ capacity: Int) -> UnsafeMutablePointer<Chunk> {
    let header = MemoryLayout<Chunk>.stride
    let memory = UnsafeMutableRawPointer.allocate(byteCount: header + capacity * 16, alignment: 16)
    unsafe (memory + header).initializeMemory(as: UInt8.self, repeating: 0, count: capacity * 16)
    let chunk = unsafe memory.bindMemory(to: Chunk.self, capacity: 1)
    unsafe chunk.initialize(to: Chunk(capacity: capacity))
    return unsafe chunk
  }

  /// Takes `count` slots, which are the caller's until `giveBack`. Last in, first out.
  @inlinable @inline(__always)
  func take(_ count: Int) -> TakenSlots {
    let (top, end, chunk) = unsafe (state.pointee.top, state.pointee.end, state.pointee.current)
    if unsafe end - top >= count * 16 {
      unsafe state.pointee.top = top + count * 16
      return unsafe TakenSlots(base: top, top: top, end: end, chunk: chunk)
    }
    return takeFromNextChunk(count)
  }

  /// Gives back the slots that were taken last.
  @inlinable @inline(__always)
  func giveBack(_ taken: TakenSlots) {
    unsafe state.pointee.top = taken.top
    unsafe state.pointee.end = taken.end
    unsafe state.pointee.current = taken.chunk
  }

  @inline(never) @usableFromInline
  func takeFromNextChunk(_ count: Int) -> TakenSlots {
    let (top, end) = unsafe (state.pointee.top, state.pointee.end)
    let next: UnsafeMutablePointer<Chunk>
    let current = unsafe state.pointee.current
    if let current = unsafe current {
      unsafe current.pointee.used = unsafe (top - Self.slots(current)) / 16
      // No later chunk is in use.
      if let later = unsafe current.pointee.next, unsafe later.pointee.capacity < count {
        unsafe Self.free(later)
        unsafe current.pointee.next = nil
      }
      if unsafe current.pointee.next == nil {
        unsafe current.pointee.next = unsafe Self.makeChunk(max(Self.laterCapacity, count))
      }
      unsafe next = current.pointee.next.unsafelyUnwrapped
    } else {
      unsafe next = Self.makeChunk(max(Self.firstCapacity, count))
      unsafe state.pointee.first = next
    }
    let base = unsafe Self.slots(next)
    let limit = unsafe base + next.pointee.capacity * 16
    unsafe state.pointee.top = base + count * 16
    unsafe state.pointee.end = limit
    unsafe state.pointee.current = next
    // Given back, the first chunk stays the current one; a later one gives way to the one before.
    return unsafe current == nil
      ? TakenSlots(base: base, top: base, end: limit, chunk: next)
      : TakenSlots(base: base, top: top, end: end, chunk: current)
  }

  /// Calls `body` with each 64-bit word of the slots in use.
  func forEachWord(_ body: (UInt64) -> Void) {
    guard let current = unsafe state.pointee.current else { return }
    unsafe current.pointee.used = unsafe (state.pointee.top - Self.slots(current)) / 16
    var chunk = unsafe state.pointee.first
    while let visited = unsafe chunk {
      for word in unsafe 0..<visited.pointee.used * 2 {
        unsafe body(Self.slots(visited).load(fromByteOffset: word * 8, as: UInt64.self))
      }
      unsafe chunk = visited == current ? nil : visited.pointee.next
    }
  }

  private static func free(_ chunk: UnsafeMutablePointer<Chunk>?) {
    var chunk = unsafe chunk
    while let visited = unsafe chunk {
      unsafe chunk = visited.pointee.next
      unsafe visited.deallocate()
    }
  }

  /// Gives everything back; the store is going.
  func release() {
    unsafe Self.free(state.pointee.first)
    unsafe state.pointee = State()
  }
}

extension Store {
  /// The slots of calls from the host.
  @inlinable var slotStack: SlotStack { @inline(__always) get { unsafe SlotStack(slots) } }
}
