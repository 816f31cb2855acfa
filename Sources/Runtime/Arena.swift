// Memory that lives as long as its store.
//
// Function references, host function contexts and the cells of host globals are small, numerous, and may be held by
// generated code anywhere; nothing says when the last user is gone. So they are cut from large chunks and given back
// together, with the store. A store that needs none of them has no chunk.

/// A bump allocator of zeroed, 16-byte aligned blocks that stay where they are until it goes.
///
/// A view of its state, which stands in the store's block: copying it copies nothing.
@safe
struct Arena {
  /// Chunks are linked through their first word.
  @safe
  struct State {
    // The newest chunk, allocated by `allocate`, freed by `release`.
    var chunk: UnsafeMutableRawPointer?
    // The next free byte of it.
    var next: UnsafeMutableRawPointer?
    var left = 0
    /// The size of the next chunk in bytes: they double, as most stores need little.
    var chunkSize = 1 << 10

    init() {
      unsafe chunk = nil
      unsafe next = nil
    }
  }

  // In the store's block, valid as long as the store.
  let state: UnsafeMutablePointer<State>
  private static let largestChunk = 16 << 10
  private static let header = 16

  /// A zeroed block, 16-byte aligned.
  func allocate(_ size: Int) -> UnsafeMutableRawPointer {
    let rounded = (size + 15) & ~15
    if unsafe rounded > state.pointee.left { addChunk(rounded) }
    // `left` is positive only with a chunk.
    let block = unsafe state.pointee.next.unsafelyUnwrapped
    unsafe state.pointee.next = block + rounded
    unsafe state.pointee.left -= rounded
    return unsafe block
  }

  @inline(never)
  private func addChunk(_ needed: Int) {
    let size = unsafe max(state.pointee.chunkSize, needed + Self.header)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    unsafe memory.storeBytes(of: state.pointee.chunk, as: UnsafeMutableRawPointer?.self)
    unsafe state.pointee.chunk = memory
    unsafe state.pointee.next = memory + Self.header
    unsafe state.pointee.left = size - Self.header
    unsafe state.pointee.chunkSize = min(size * 2, Self.largestChunk)
  }

  /// Gives everything back; the store is going.
  func release() {
    var chunk = unsafe state.pointee.chunk
    while let memory = unsafe chunk {
      unsafe chunk = memory.load(as: UnsafeMutableRawPointer?.self)
      unsafe memory.deallocate()
    }
    unsafe state.pointee = State()
  }
}
