// Memory that lives as long as its store.
//
// Function references, host function contexts and the cells of host globals are small, numerous, and may be held by
// generated code anywhere; nothing says when the last user is gone. So they are cut from large chunks and given back
// together, with the store.

/// A bump allocator of zeroed, 16-byte aligned blocks that stay where they are until it goes.
@safe
final class Arena {
  private var chunks: [UnsafeMutableRawPointer] = unsafe []
  private var next: UnsafeMutableRawPointer?
  private var left = 0
  private static let chunkSize = 16 << 10

  deinit {
    for index in unsafe chunks.indices { unsafe chunks[index].deallocate() }
  }

  /// A zeroed block, 16-byte aligned.
  func allocate(_ size: Int) -> UnsafeMutableRawPointer {
    let rounded = (size + 15) & ~15
    if rounded > left {
      let chunk = max(Self.chunkSize, rounded)
      let memory = UnsafeMutableRawPointer.allocate(byteCount: chunk, alignment: 16)
      unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: chunk)
      unsafe chunks.append(memory)
      unsafe next = memory
      left = chunk
    }
    // `left` is positive only with a chunk.
    let block = unsafe next.unsafelyUnwrapped
    unsafe next = block + rounded
    left -= rounded
    return unsafe block
  }
}
