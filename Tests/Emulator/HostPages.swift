// Pages of the host's own memory, for stacks, code and data that a processor is to see.

import Glibc

/// Whole pages of memory with one owner.
@safe
package final class HostPages {
  package static let pageSize = 4096

  /// The first address.
  package let address: UInt64
  /// Bytes, whole pages.
  package let count: Int

  /// Maps zero pages, readable and writable by the host.
  ///
  /// - Parameters:
  ///   - isReserved: only take the addresses, so that nothing else gets them.
  ///   - neighbor: an address that the pages are to be less than 2 GiB away from, if there is room.
  package init(count: Int, isReserved: Bool = false, near neighbor: UInt64? = nil) throws(ProcessorError) {
    let rounded = max(1, (count + Self.pageSize - 1) / Self.pageSize) * Self.pageSize
    let protection = isReserved ? PROT_NONE : PROT_READ | PROT_WRITE
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    if let neighbor {
      for distance in (1...31).flatMap({ [$0, -$0] }) {
        let hint = (neighbor &+ UInt64(bitPattern: Int64(distance) << 26)) & ~UInt64(Self.pageSize - 1)
        // Only there, and only if nobody has these addresses (MAP_FIXED_NOREPLACE).
        let pages = unsafe mmap(
          UnsafeMutableRawPointer(bitPattern: UInt(hint)), rounded, protection, flags | 0x10_0000, -1, 0)
        guard let pages = unsafe pages, unsafe pages != MAP_FAILED else { continue }
        address = UInt64(UInt(bitPattern: pages))
        self.count = rounded
        return
      }
    }
    // A new mapping at addresses that nobody has.
    let pages = unsafe mmap(nil, rounded, protection, flags, -1, 0)
    guard let pages = unsafe pages, unsafe pages != MAP_FAILED else { throw .outOfMemory(errno) }
    address = UInt64(UInt(bitPattern: pages))
    self.count = rounded
  }

  deinit { unsafe _ = munmap(UnsafeMutableRawPointer(bitPattern: UInt(address)), count) }

  /// One past the last byte.
  package var end: UInt64 { address + UInt64(count) }

  /// The bytes, for as long as the pages live.
  @unsafe package var bytes: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: UnsafeMutableRawPointer(bitPattern: UInt(address)), count: count)
  }

  /// Writes an integer at a byte offset, which must lie inside.
  package func write<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    unsafe bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }

  /// Reads an integer at a byte offset, which must lie inside.
  package func read<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type = T.self, at offset: Int) -> T {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    return unsafe T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  /// Writes AArch64 instructions from a byte offset on.
  package func write(instructions: [UInt32], at offset: Int = 0) {
    for (index, instruction) in instructions.enumerated() { write(instruction, at: offset + 4 * index) }
  }

  /// Lets the host itself no longer write (or, with a range, reach some of) the pages.
  package func protect(_ range: Range<Int>? = nil, readable: Bool = true, writable: Bool = false) {
    let range = range ?? 0..<count
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    unsafe _ = mprotect(
      UnsafeMutableRawPointer(bitPattern: UInt(address) + UInt(range.lowerBound)), range.count,
      (readable ? PROT_READ : PROT_NONE) | (writable ? PROT_WRITE : PROT_NONE))
  }
}
