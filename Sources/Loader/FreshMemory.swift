// Memory for a whole file.
//
// Pages fresh from the kernel: zero, and gone without a trace in the heap. Getting them is most of what working on large
// objects takes: a page fault for 4 KiB costs more than copying them. So the kernel is asked for large pages, which it
// gives where it has them.

import Glibc

/// Memory of its own, as long as this lives.
@safe
struct FreshMemory: ~Copyable, @unchecked Sendable {
  // Whoever shares it does not write to it any more.
  @unsafe let bytes: UnsafeMutableRawBufferPointer

  // Less would mostly be lost to rounding up.
  private static var leastSizeOfLargePages: Int { 4 << 20 }

  /// `size` zeros.
  init(size: Int) throws(LoadError) {
    guard size > 0 else {
      unsafe bytes = UnsafeMutableRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let base = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe base != MAP_FAILED
    else { throw .system(errno, "have \(size) bytes of memory", requesting: size) }
    // A kernel without large pages refuses, and nothing is lost.
    if size >= Self.leastSizeOfLargePages { _ = unsafe madvise(base, size, MADV_HUGEPAGE) }
    unsafe bytes = UnsafeMutableRawBufferPointer(start: base, count: size)
  }

  deinit { if let base = unsafe bytes.baseAddress { unsafe _ = munmap(base, bytes.count) } }
}
