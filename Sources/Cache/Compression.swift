// Entries that nobody has asked for in a while, at a third of their size.
//
// A warm entry is mapped where it lies and must not be compressed; a cold one only takes room. So compression is the worker's,
// after `compress-after`, and an entry that is asked for again is unpacked for good. zstd is the right trade for that:
// unpacking takes a tenth of a second for 60 MB, at any level; the level only says how long packing may take. Frames carry
// their contents' size and a checksum.

import CLibZstd
import Glibc

enum Compression {
  /// Most bytes that an entry may have: code has 32-bit offsets, and tables less than that again.
  static let mostBytes = 8 << 30

  /// Packs bytes into a file, a piece at a time, as long as `goesOn` says so.
  ///
  /// - Returns: the size of the result; nil where that was cut short, or the file could not be written.
  static func pack(
    _ bytes: UnsafeRawBufferPointer, level: Int, to descriptor: Int32, calls: FileCalls, while goesOn: () -> Bool
  ) -> Int? {
    guard let context = unsafe ZSTD_createCCtx() else { return nil }
    defer { unsafe _ = ZSTD_freeCCtx(context) }
    let level = Int32(clamping: min(max(level, Int(ZSTD_minCLevel())), Int(ZSTD_maxCLevel())))
    unsafe _ = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
    unsafe _ = ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
    unsafe _ = ZSTD_CCtx_setPledgedSrcSize(context, UInt64(bytes.count))
    guard var output = HeapBytes(count: Int(ZSTD_CStreamOutSize())) else { return nil }
    var offset = 0
    var written = 0
    // Small enough that a stop does not wait long at the slowest level.
    let piece = 128 << 10
    while true {
      guard goesOn() else { return nil }
      let count = min(piece, bytes.count - offset)
      let isLast = offset + count == bytes.count
      var input = unsafe ZSTD_inBuffer(src: bytes.baseAddress.map { unsafe $0 + offset }, size: count, pos: 0)
      var isDone = false
      repeat {
        let produced: Int? = unsafe output.withMutableBytes { buffer in
          var target = unsafe ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
          let left = unsafe ZSTD_compressStream2(context, &target, &input, isLast ? ZSTD_e_end : ZSTD_e_continue)
          if ZSTD_isError(left) != 0 { return nil }
          isDone = isLast ? left == 0 : unsafe input.pos == input.size
          return unsafe target.pos
        }
        guard let produced else { return nil }
        let result = unsafe output.withBytes { buffer in
          unsafe calls.write(descriptor, UnsafeRawBufferPointer(rebasing: buffer[0..<produced]), at: written)
        }
        if result < 0 { return nil }
        written += produced
      } while !isDone
      offset += count
      if isLast { return written }
    }
  }

  /// Unpacks a whole frame. Nil where it is damaged, or there is no memory.
  static func unpack(_ packed: borrowing HeapBytes) -> HeapBytes? {
    // What ZSTD_CONTENTSIZE_UNKNOWN and ZSTD_CONTENTSIZE_ERROR stand for is above any size.
    let size = unsafe packed.withBytes { unsafe ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
    guard size <= UInt64(mostBytes), var bytes = HeapBytes(count: Int(size)) else { return nil }
    let result = unsafe packed.withBytes { source in
      unsafe bytes.withMutableBytes { target in
        unsafe ZSTD_decompress(target.baseAddress, target.count, source.baseAddress, source.count)
      }
    }
    if ZSTD_isError(result) != 0 || result != Int(size) { return nil }
    return bytes
  }
}
