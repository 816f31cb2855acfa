// The digest that identifies an artifact.
//
// SHA-256 over the SHA-256s of the file's chunks of 1 MiB: two levels, so that chunks can be hashed,
// and verified, independently of one another. The digest itself, and the first page's checksum, which
// covers the digest, count as zeros: both are put in when everything else stands.

import Crypto
import Glibc
import PrecastArtifact
import Synchronization

/// Computes build-ids.
public enum BuildID {
  /// Size of a chunk in bytes.
  public static let chunkSize = 1 << 20

  /// What counts as zeros: the digest and the first page's checksum, ascending.
  static let holes = [
    ArtifactHeader.digestOffset..<ArtifactHeader.digestOffset + 32,
    ArtifactHeader.checksumOffset..<ArtifactHeader.checksumOffset + 4,
  ]

  /// The digest of an artifact's bytes, 32 bytes; what stands at the digest's place does not matter.
  @unsafe
  public static func digest(of file: UnsafeRawBufferPointer) -> [UInt8] {
    unsafe digest(of: FileContents(head: UnsafeRawBufferPointer(start: nil, count: 0), body: file))
  }

  static func digest(of file: FileContents) -> [UInt8] {
    let work = HashingWork(file)
    work.runAll()
    return work.finish()
  }

  /// A digest as it is printed.
  public static func hexadecimal(_ digest: [UInt8]) -> String {
    digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// The chunks of a file and their digests.
@safe
final class HashingWork: ParallelWork, @unchecked Sendable {
  private let file: FileContents
  // Where to write each chunk to.
  private let output: Int32?
  private let firstProblem = Atomic<Int32>(0)
  // 32 bytes a chunk, each written by the thread that took the chunk, read when all have ended.
  private let digests: UnsafeMutableRawPointer

  /// The chunks of `file`, which are written to `output`, too, if there is one.
  init(_ file: FileContents, output: Int32? = nil) {
    self.file = file
    self.output = output
    let count = (file.count + BuildID.chunkSize - 1) / BuildID.chunkSize
    unsafe digests = .allocate(byteCount: max(1, count * 32), alignment: 16)
    super.init(pieceCount: count)
  }

  deinit { unsafe digests.deallocate() }

  override func run(_ number: Int) {
    let end = min((number + 1) * BuildID.chunkSize, file.count)
    var start = number * BuildID.chunkSize
    var hash = SHA256()
    for hole in BuildID.holes where hole.upperBound > start && hole.lowerBound < end {
      unsafe file.withParts(start..<hole.lowerBound) { unsafe hash.update(bufferPointer: $0) }
      start = min(hole.upperBound, end)
      hash.update(data: [UInt8](repeating: 0, count: start - hole.lowerBound))
    }
    unsafe file.withParts(start..<end) { unsafe hash.update(bufferPointer: $0) }
    // A SHA-256 has 32 bytes, and the chunk's place is this thread's alone.
    unsafe hash.finalize().withUnsafeBytes { bytes in
      unsafe (digests + number * 32).copyMemory(from: bytes.baseAddress!, byteCount: 32)
    }
    guard let output, problem == 0 else { return }
    var place = number * BuildID.chunkSize
    unsafe file.withParts(place..<end) { part in
      let result = unsafe writeAll(part, to: output, at: place)
      if result != 0 { firstProblem.store(result, ordering: .relaxed) }
      place += part.count
    }
  }

  /// The `errno` of a write that failed; 0 if none did.
  var problem: Int32 { firstProblem.load(ordering: .relaxed) }

  func finish() -> [UInt8] {
    var hash = SHA256()
    unsafe hash.update(bufferPointer: UnsafeRawBufferPointer(start: digests, count: pieceCount * 32))
    return [UInt8](hash.finalize())
  }
}

/// Writes all bytes at a place in a file; 0, or the `errno`.
@unsafe
func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int) -> Int32 {
  var done = 0
  while done < bytes.count {
    // In bounds: `done` is less than the count.
    let count = unsafe pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
    if count > 0 {
      done += count
    } else if count == 0 || errno != EINTR {
      return count == 0 ? EIO : errno
    }
  }
  return 0
}
