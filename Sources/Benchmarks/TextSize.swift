// The size of the code in an ELF file.
//
// All three sorts of product are ELF files of 64 bits, little-endian: ours, the peer's, and a native program. The size of
// `.text` is in the section headers, so a few reads at known places are enough, however large the file.

import Glibc

/// Bytes in the section `.text` of an ELF file (gABI, chapter 4).
func textSize(of path: String) throws(BenchmarkError) -> UInt64 {
  let file = try BenchmarkFile(path)
  let header = try file.read(0, 64)
  guard header.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]) else {
    throw BenchmarkError("\(path): not an ELF file of 64 bits")
  }
  // e_shoff, e_shnum and e_shstrndx; a header of a section is 64 bytes.
  let count = Int(number(header, 60, 2))
  let sections = try file.read(number(header, 40, 8), 64 * count)
  let names = Int(number(header, 62, 2))
  guard names < count else { throw BenchmarkError("\(path): without names of sections") }
  // sh_offset and sh_size of the names, then of each section sh_name and sh_size.
  let nameOffset = number(sections, 64 * names + 24, 8)
  let nameSize = number(sections, 64 * names + 32, 8)
  guard nameSize <= 1 << 20 else { throw BenchmarkError("\(path): too many names of sections") }
  let strings = try file.read(nameOffset, Int(nameSize))
  for section in 0..<count {
    let name = strings.dropFirst(Int(number(sections, 64 * section, 4))).prefix { $0 != 0 }
    if name.elementsEqual(".text".utf8) { return number(sections, 64 * section + 32, 8) }
  }
  throw BenchmarkError("\(path): without a section .text")
}

/// A little-endian number. The place must be in the bytes.
private func number(_ bytes: [UInt8], _ offset: Int, _ width: Int) -> UInt64 {
  bytes[offset..<offset + width].reversed().reduce(0) { $0 << 8 | UInt64($1) }
}

/// A file that is open for reading.
private struct BenchmarkFile: ~Copyable {
  let path: String
  let size: UInt64
  private let descriptor: Int32

  init(_ path: String) throws(BenchmarkError) {
    self.path = path
    descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw BenchmarkError("\(path): cannot be read (error \(errno))") }
    size = UInt64(max(0, lseek(descriptor, 0, SEEK_END)))
  }

  deinit { close(descriptor) }

  /// Exactly so many bytes.
  func read(_ offset: UInt64, _ count: Int) throws(BenchmarkError) -> [UInt8] {
    guard offset <= size, UInt64(count) <= size - offset else {
      throw BenchmarkError("\(path): ends before byte \(offset &+ UInt64(count))")
    }
    // The buffer has room for `count` bytes; pread writes no more, and what it wrote is what counts.
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      filled = unsafe max(0, pread(descriptor, buffer.baseAddress, count, off_t(offset)))
    }
    guard bytes.count == count else { throw BenchmarkError("\(path): cannot be read") }
    return bytes
  }
}
