// Address space for code that one unwind entry covers.
//
// An arena is a range of address space, reserved at once and never given back, and registered with the process's unwinder
// as a whole (ArenaUnwindTable.swift). Images are mapped over parts of it, and when one goes, inaccessible pages are put back
// in its place in the same call: at no time is there a hole that another mapping of the process could take, which would
// then be described as if it were wasm. The kernel merges inaccessible neighbours, so an arena costs one mapping between
// images, or less.
//
// Arenas belong to the process, because an unwinder does. There is none until the first image wants one, and there is
// another one only when none has room.

import CPrecastHost
import Glibc
import PrecastArtifact
import Synchronization

/// A range of address space for images, known to the unwinder as a whole.
final class CodeArena: Sendable {
  /// The smallest block: no page is larger.
  static let granuleSize = 1 << 16

  let base: UInt
  let size: Int
  private let blocks: Mutex<BuddyAllocator>

  private init(size wanted: Int) throws(LoadError) {
    let order = BuddyAllocator.order(for: (wanted + Self.granuleSize - 1) / Self.granuleSize)
    guard order <= 30, let blocks = BuddyAllocator(order: order) else {
      throw .system(ENOMEM, "reserve \(wanted) bytes of address space for code", requesting: wanted)
    }
    size = Self.granuleSize << order
    var address: UInt64 = 0
    let result = unsafe precast_reserve(size, &address)
    guard result == 0 else {
      throw .system(
        -result, "reserve \(size) bytes of address space for code with shared unwind registration", requesting: size)
    }
    base = UInt(address)
    self.blocks = Mutex(blocks)
    // For good: the unwinder reads it as long as the process runs.
    let section = ArenaUnwindTable.native.section(start: base, size: size)
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: section.count, alignment: 8)
    unsafe copy.copyBytes(from: section)
    _ = unsafe precast_register_frames(copy.baseAddress, copy.count)
  }

  private func allocate(_ size: Int) -> UInt? {
    let order = BuddyAllocator.order(for: (size + Self.granuleSize - 1) / Self.granuleSize)
    guard let granule = blocks.withLock({ $0.allocate(order: order) }) else { return nil }
    return base + UInt(granule * Self.granuleSize)
  }

  /// Gives back `size` bytes at `address`, as they were taken, with whatever is mapped there.
  func release(_ address: UInt, _ size: Int) {
    // Where the kernel is out of mappings the image stays, and nothing else is ever put there.
    guard precast_decommit(UInt64(address), size) == 0 else { return }
    let order = BuddyAllocator.order(for: (size + Self.granuleSize - 1) / Self.granuleSize)
    blocks.withLock { $0.free(Int(address - base) / Self.granuleSize, order: order) }
  }

  /// Whether nothing is in it.
  var isEmpty: Bool { blocks.withLock { $0.isAllFree } }

  // MARK: The process's arenas

  private static let all = Mutex<[CodeArena]>([])

  /// Takes `size` bytes from an arena that has them; otherwise from a new one, of `arenaSize` bytes or more.
  static func take(_ size: Int, arenaSize: Int) throws(LoadError) -> (arena: CodeArena, address: UInt) {
    let result: Result<(CodeArena, UInt), LoadError> = all.withLock { arenas in
      for arena in arenas {
        if let address = arena.allocate(size) { return .success((arena, address)) }
      }
      do throws(LoadError) {
        let arena = try CodeArena(size: max(size, arenaSize))
        arenas.append(arena)
        if let address = arena.allocate(size) { return .success((arena, address)) }
        return .failure(.system(ENOMEM, "take \(size) bytes of a code arena"))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// The arenas that there are now.
  static var current: [CodeArena] { all.withLock { $0 } }
}

/// Address space for one image: of its own, or in an arena. Given back when it goes.
final class CodeSpace: Sendable {
  let address: UInt
  /// Bytes, whole pages.
  let size: Int
  /// The arena that it is in, if it is in one.
  let arena: CodeArena?

  /// Takes over `size` bytes at `address`.
  init(address: UInt, size: Int, arena: CodeArena?) {
    self.address = address
    self.size = size
    self.arena = arena
  }

  deinit {
    if let arena {
      arena.release(address, size)
    } else {
      _ = precast_release(UInt64(address), size)
    }
  }
}
