// The address space of one instance: its tables and its memory.
//
//      | tables, 1 MiB      | inaccessible, 1 MiB | memory: accessible part | inaccessible, to 4 GiB and the guard's end |
//      0                    1 MiB                 2 MiB
//
// One reservation, so that one call gives back whatever the last user has written (`madvise` with MADV_DONTNEED, which
// takes a range over several mappings): tables and the anonymous part of a memory are zero again, and a page of an image
// is again what the artifact's file has, because the page that is dropped is the private copy. What was mapped for an
// artifact stays mapped, so that the next instance of the same module finds everything in place. Tables stand here because
// pages that nobody touches cost nothing and need no clearing, which no allocator can promise; those that outgrow the area
// move to memory of their own.
//
// What every user of a slot relies on, and `reset` and `prepare` see to:
//
//  1. All bytes of the tables' area are zero, and the memory's first `memorySize` bytes are those of a new instance of the
//     module whose mark the slot bears.
//  2. Nothing behind these is accessible, up to the end of the guard: a tail that a predecessor had grown would make an
//     access in bounds that must trap.
//  3. If that cannot be had, because a system call failed, the slot is given up (unmapped) and never handed on.
//  4. Nobody but its user has an address in it. Generated code and handles (`Memory`, `Table`) reach it only through
//     instances of a store, a handle keeps its store alive, and slots are given back when their store goes, never before.

import CPrecastHost
import PrecastArtifact
import PrecastLoader

/// A reservation for the tables and the memory of one instance at a time.
///
/// Used by one thread at a time: the store's that has it, or one that has just taken it out of the pool's reach; the pool's
/// lock stands between the two. The links and `mark` are the pool's, and are read and written under its lock.
@safe
final class InstanceSlot: @unchecked Sendable {
  /// Bytes for tables.
  static let tableArea = 1 << 20
  /// Where the memory begins: a multiple of the largest page that a system may back it with.
  static let memoryOffset = 2 << 20

  let reservation: AddressSpaceReservation
  let guardSize: Int
  /// Bytes of the memory that are accessible to a new instance.
  private(set) var memorySize = 0
  /// One past the last byte of the memory that may be accessible.
  private var reach = 0
  private var tablesAreAccessible = false

  // The pool's. Neighbours are idle too, and the pool owns all idle slots.
  /// Whose instances find their memory mapped here; nil: nobody's, nothing is mapped.
  var mark: SlotMark?
  unowned(unsafe) var older: InstanceSlot?
  unowned(unsafe) var newer: InstanceSlot?
  unowned(unsafe) var olderOfMark: InstanceSlot?
  unowned(unsafe) var newerOfMark: InstanceSlot?

  init(guardSize: Int) throws(LoadError) {
    self.guardSize = guardSize
    reservation = try AddressSpaceReservation(size: Self.memoryOffset + (4 << 30) + guardSize)
  }

  /// Address of the first byte of the tables' area.
  var tables: UInt { reservation.base }

  /// Makes the slot what a new instance of a plan needs, whatever it was before. (It is not used for one whose mark it bears
  /// already: then it is ready.)
  ///
  /// When this throws, the state is unknown, and the slot must be dropped.
  func prepare(_ plan: InstancePlan, _ artifact: LoadedArtifact) throws(LoadError) {
    try blank()
    if plan.slotTableBytes > 0 && !tablesAreAccessible {
      try reservation.commit(offset: 0, length: Self.tableArea)
      tablesAreAccessible = true
    }
    guard let memory = plan.slotMemory else { return }
    reach = memory.size
    try reservation.commit(offset: Self.memoryOffset, length: memory.size)
    for extent in memory.extents { try artifact.mapImage(extent, into: reservation, at: Self.memoryOffset) }
    memorySize = memory.size
  }

  /// Makes the memory inaccessible, and lets go of the file that was mapped there.
  ///
  /// When this throws, the slot must be dropped.
  func blank() throws(LoadError) {
    // Before something else is there, so that no fault is taken for the artifact's.
    reservation.registeredImages = []
    if reach > 0 { try reservation.decommit(offset: Self.memoryOffset, length: reach) }
    reach = 0
    memorySize = 0
  }

  /// Makes more of the memory accessible, up to `size` bytes from `old`. Growing is undone by `reset`.
  func grow(from old: Int, to size: Int) throws(LoadError) {
    // Even a call that fails may have changed a part.
    reach = max(reach, size)
    try reservation.commit(offset: Self.memoryOffset + old, length: size - old)
  }

  /// Drops all that an instance has written, and takes back what it has grown; one system call if it has not grown.
  ///
  /// - Parameter tableBytes: bytes of the tables' area that the instance may have written to.
  ///
  /// When this throws, the slot must be dropped: it may show what is not the next one's to see.
  func reset(tableBytes: Int) throws(LoadError) {
    if reach > memorySize {
      try reservation.decommit(offset: Self.memoryOffset + memorySize, length: reach - memorySize)
      reach = memorySize
    }
    let start = tableBytes > 0 ? 0 : Self.memoryOffset
    let page = precast_page_size()
    let end = memorySize > 0 ? Self.memoryOffset + memorySize : (tableBytes + page - 1) & ~(page - 1)
    if start < end { try reservation.reset(offset: start, length: end - start) }
  }
}

/// Which module's memory is mapped in a slot. One object for each module that has had a slot; a slot that bears a mark
/// keeps it, so that a mark is never mistaken for another one at the same address.
@safe
final class SlotMark: @unchecked Sendable {
  // The idle slots with this mark, newest first; under the pool's lock.
  unowned(unsafe) var newest: InstanceSlot?
}
