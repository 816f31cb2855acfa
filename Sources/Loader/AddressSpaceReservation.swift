// Address space for linear memories.
//
// A memory with a 32-bit index reserves all that an index can reach, and a guard, so that loads and
// stores need no bounds check: what is not accessible faults. Reserving costs no memory, only a
// mapping. Parts of it are then made accessible (zero pages, or the data image straight from the
// artifact's file, copy-on-write), and the whole can be put back to how it was first mapped, for
// the next instance.

import CPrecastHost
import Glibc

/// A range of address space that belongs to one owner and is given back with it.
///
/// All offsets and lengths are in bytes and multiples of the page size, and inside the reservation;
/// anything else is refused with `EINVAL`. Not internally synchronised: one thread at a time.
@safe
public final class AddressSpaceReservation: @unchecked Sendable {
  /// The first address; page-aligned.
  public let base: UInt
  /// The size in bytes, a multiple of the page size.
  public let size: Int
  /// Images that are mapped here, for the signal handler; to be let go of before anything else is mapped over them.
  public var registeredImages: [ImageRegistration] = []

  /// Reserves `size` bytes, rounded up to whole pages, that cannot be accessed yet.
  public init(size: Int) throws(LoadError) {
    let page = precast_page_size()
    var address: UInt64 = 0
    let (padded, overflow) = size.addingReportingOverflow(page - 1)
    guard size > 0, !overflow else { throw .system(EINVAL, "reserve \(size) bytes of address space") }
    let rounded = padded & ~(page - 1)
    let result = unsafe precast_reserve(rounded, &address)
    guard result == 0 else { throw .system(-result, "reserve \(rounded) bytes of address space", requesting: rounded) }
    self.base = UInt(address)
    self.size = rounded
  }

  deinit {
    // Before the addresses can be somebody else's.
    registeredImages = []
    _ = precast_release(UInt64(base), size)
  }

  /// Makes a range readable and writable. Pages never touched before read as zero.
  public func commit(offset: Int, length: Int) throws(LoadError) {
    if length == 0 { return }
    try check(precast_commit(try address(offset, length), length), "make \(length) bytes accessible")
  }

  /// Makes a range inaccessible, and gives its pages back.
  public func decommit(offset: Int, length: Int) throws(LoadError) {
    if length == 0 { return }
    try check(precast_decommit(try address(offset, length), length), "give \(length) bytes back")
  }

  /// Maps `length` bytes of a file from `fileOffset` copy-on-write at `offset`: readable, writable,
  /// private. The file may end inside the last page; what follows reads as zero.
  public func mapImage(
    offset: Int, length: Int, fileDescriptor: Int32, fileOffset: Int
  ) throws(LoadError) {
    if length == 0 { return }
    guard fileOffset >= 0 else { throw .system(EINVAL, "map a data image") }
    try check(
      precast_map_image(try address(offset, length), length, fileDescriptor, UInt64(fileOffset)),
      "map \(length) bytes of a data image")
  }

  /// Replaces whatever is mapped over a range by accessible zero pages.
  public func mapZero(offset: Int, length: Int) throws(LoadError) {
    if length == 0 { return }
    try check(precast_map_zero(try address(offset, length), length), "map \(length) zero bytes")
  }

  /// Drops all writes to a range: zero pages are zero again, image pages as in the file.
  public func reset(offset: Int, length: Int) throws(LoadError) {
    if length == 0 { return }
    try check(precast_reset(try address(offset, length), length), "reset \(length) bytes")
  }

  private func address(_ offset: Int, _ length: Int) throws(LoadError) -> UInt64 {
    let page = precast_page_size()
    guard offset >= 0, length >= 0, offset <= size, length <= size - offset,
      offset & (page - 1) == 0, length & (page - 1) == 0
    else {
      throw .system(EINVAL, "use bytes \(offset) to \(offset)+\(length) of a reservation of \(size) bytes")
    }
    return UInt64(base) + UInt64(offset)
  }

  private func check(_ result: Int32, _ what: @autoclosure () -> String) throws(LoadError) {
    if result != 0 { throw .system(-result, what()) }
  }
}
