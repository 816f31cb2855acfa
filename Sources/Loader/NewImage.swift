// The memory in which a whole artifact is put together.
//
// Fresh pages from the kernel: zero, and gone without a trace in the heap. What is complete is copied into a sealed `memfd`
// or a file. (Writing into the `memfd` itself would spare the copy, a tenth of what a link takes; but it has to be unmapped
// before it can be sealed, and the linker's result still refers to it then.)

import Glibc
import PrecastArtifact

/// The bytes of an artifact that is being made.
@safe
struct NewImage: ~Copyable {
  private let memory: UnsafeMutableRawBufferPointer

  /// So many zeros.
  init(size: UInt64) throws(LoadError) {
    guard let length = Int(exactly: size), length > 0 else { throw .system(ENOMEM, "make an image") }
    guard let base = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe base != MAP_FAILED
    else { throw .system(errno, "have \(length) bytes of memory", requesting: length) }
    unsafe memory = UnsafeMutableRawBufferPointer(start: base, count: length)
  }

  deinit { unsafe _ = munmap(memory.baseAddress, memory.count) }

  /// All bytes, as long as this lives.
  @unsafe var bytes: UnsafeMutableRawBufferPointer { unsafe memory }

  /// The bytes of a section, as long as this lives; none of what does not lie in the file.
  @unsafe subscript(extent: SectionExtent) -> UnsafeMutableRawBufferPointer {
    let (end, overflow) = extent.offset.addingReportingOverflow(extent.size)
    guard !overflow, unsafe end <= UInt64(memory.count) else {
      return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[0..<0])
    }
    return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[Int(extent.offset)..<Int(end)])
  }

  /// A sealed file in memory with these bytes.
  borrowing func sealedFile() throws(LoadError) -> FileDescriptor {
    // The memory is this object's.
    try unsafe FileDescriptor.sealed(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(memory)))
  }

  /// Writes the bytes to a new file at `path`, atomically.
  borrowing func write(toFile path: String, durable: Bool) throws(LoadError) {
    let file = try NewFile(for: path)
    try unsafe file.write(UnsafeRawBufferPointer(memory))
    try file.publish(durable: durable)
  }
}
