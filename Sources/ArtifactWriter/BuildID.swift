// The digest that identifies an artifact.
//
// SHA-256 over the SHA-256s of the file's chunks of 1 MiB, with the digest itself taken as zeros:
// two levels, so that chunks can be hashed, and verified, independently of one another.

import Crypto
import PrecastArtifact

/// Computes build-ids.
public enum BuildID {
  /// Size of a chunk in bytes.
  public static let chunkSize = 1 << 20

  /// The digest of an artifact's bytes, 32 bytes; what stands at the digest's place does not matter.
  @unsafe
  public static func digest(of file: UnsafeRawBufferPointer) -> [UInt8] {
    var outer = SHA256()
    var start = 0
    while start < file.count {
      let end = min(start + chunkSize, file.count)
      var inner = SHA256()
      let digest = ArtifactHeader.digestOffset
      if start == 0 && end >= digest + 32 {
        unsafe inner.update(bufferPointer: UnsafeRawBufferPointer(rebasing: file[0..<digest]))
        inner.update(data: [UInt8](repeating: 0, count: 32))
        unsafe inner.update(bufferPointer: UnsafeRawBufferPointer(rebasing: file[digest + 32..<end]))
      } else {
        unsafe inner.update(bufferPointer: UnsafeRawBufferPointer(rebasing: file[start..<end]))
      }
      outer.update(data: [UInt8](inner.finalize()))
      start = end
    }
    return [UInt8](outer.finalize())
  }
}
