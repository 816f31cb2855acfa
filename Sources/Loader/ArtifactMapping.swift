// The mapping of an artifact's file, while it is being loaded.
//
// Either anywhere, as the kernel likes, or at the addresses that the code was linked for: those have been reserved
// before it was linked, so that nobody else could take them meanwhile, and the mapping replaces the reservation.

import CPrecastHost
import Glibc
import PrecastArtifact

/// Address space at which an artifact is to be mapped, with one owner.
struct AddressReservation: ~Copyable {
  let address: UInt
  let size: Int

  /// Reserves whole pages, anywhere. The address is a multiple of `alignment`, a power of two: an artifact's pages may be
  /// larger than the system's.
  init(size: Int, alignment: Int) throws(LoadError) {
    var address: UInt64 = 0
    let padded = Self.padded(size, alignment)
    let result = unsafe precast_reserve(padded, &address)
    guard result == 0 else { throw .system(-result, "reserve \(size) bytes of address space", requesting: size) }
    self.address = Self.trim(address, padded, size, alignment)
    self.size = size
  }

  /// Reserves whole pages below 2 GiB; nil where there is no room.
  init?(lowSize size: Int, alignment: Int) {
    var address: UInt64 = 0
    let padded = Self.padded(size, alignment)
    guard unsafe precast_reserve_low(padded, &address) == 0 else { return nil }
    self.address = Self.trim(address, padded, size, alignment)
    self.size = size
  }

  private static func padded(_ size: Int, _ alignment: Int) -> Int {
    let (padded, overflow) = size.addingReportingOverflow(max(0, alignment - precast_page_size()))
    // More than there is; the system says so.
    return overflow ? size : padded
  }

  /// Gives what is before and behind `size` aligned bytes back; their address.
  private static func trim(_ address: UInt64, _ padded: Int, _ size: Int, _ alignment: Int) -> UInt {
    let mask = UInt64(alignment) - 1
    let start = padded > size ? (address + mask) & ~mask : address
    let before = Int(start - address)
    if before > 0 { _ = precast_release(address, before) }
    if padded - before > size { _ = precast_release(start + UInt64(size), padded - before - size) }
    return UInt(start)
  }

  deinit { _ = precast_release(UInt64(address), size) }

  /// Gives the addresses up, but for the first `kept` bytes, which are the caller's from now on.
  consuming func keep(_ kept: Int) {
    if kept < size { _ = precast_release(UInt64(address) + UInt64(kept), size - kept) }
    discard self
  }
}

extension CodeSpace {
  /// Maps `file` from its text on: over the reservation, which is used up; into an arena, where `unwinding` wants one; or
  /// anywhere.
  ///
  /// An arena's unwind entry is about compiled wasm. What C compilers made has frames of its own, so an artifact that has
  /// been linked with it is told by its data, and stays outside.
  convenience init(
    mapping file: borrowing FileDescriptor, header: ArtifactHeader, at reservation: consuming AddressReservation?,
    path: String?, unwinding: UnwindRegistration
  ) throws(LoadError) {
    let text = header.text.offset
    let writable = header.engine.writable
    let page = UInt64(precast_page_size())
    let end = writable.map { $0.offset + $0.memorySize } ?? header.fileSize
    // The header has checked that all of these lie in the file, in this order, or shortly behind its end.
    guard let size = Int(exactly: (end - text + page - 1) & ~(page - 1)) else {
      throw .system(ENOMEM, "map the file", path: path)
    }
    // Code of C compilers may have no landing pads.
    let isOurs = writable == nil && header.extent(of: .readOnlyData).size == 0
    var parts = precast_artifact_parts(
      file_size: Int(header.fileSize - text), text_size: Int(header.text.size),
      data_start: Int((writable?.offset ?? header.fileSize) - text), memory_size: size,
      has_landing_pads: isOurs && header.record.settings.hasLandingPads)
    var address: UInt64 = 0
    var arena: CodeArena?
    let result: Int32
    if let reservation {
      guard size <= reservation.size else { throw .system(ENOMEM, "map \(size) bytes where room for fewer was made") }
      address = UInt64(reservation.address)
      result = unsafe precast_map_artifact(file.number, text, &parts, &address)
      if result == 0 { reservation.keep(size) }
    } else if !isOurs, header.record.settings.pageSize > page {
      // C compilers' data may be aligned to the artifact's pages, which are larger than the system's.
      let place = try AddressReservation(size: size, alignment: Int(header.record.settings.pageSize))
      address = UInt64(place.address)
      result = unsafe precast_map_artifact(file.number, text, &parts, &address)
      if result == 0 { place.keep(size) }
    } else {
      if case .shared(let arenaSize) = unwinding.kind, isOurs {
        let taken = try CodeArena.take(size, arenaSize: arenaSize)
        arena = taken.arena
        address = UInt64(taken.address)
      }
      result = unsafe precast_map_artifact(file.number, text, &parts, &address)
      if result != 0, let arena { arena.release(UInt(address), size) }
    }
    if result == -EACCES || result == -EPERM {
      throw LoadError(
        kind: .cannotRead(errno: -result), path: path,
        message:
          "could not map the text for execution: the file system is mounted noexec, or a security policy forbids it")
    }
    if result != 0 { throw .system(-result, "map the file's \(size) bytes", path: path, requesting: size) }
    self.init(address: UInt(address), size: size, arena: arena)
  }
}
