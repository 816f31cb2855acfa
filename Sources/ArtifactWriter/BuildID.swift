// The digest that identifies an artifact.
//
// SHA-256 over the SHA-256s of the file's chunks of 1 MiB, with the digest itself taken as zeros:
// two levels, so that chunks can be hashed, and verified, independently of one another. Large files
// are hashed by several threads, which take the next chunk each until none is left.

import Crypto
import Glibc
import PrecastArtifact
import Synchronization

/// Computes build-ids.
public enum BuildID {
  /// Size of a chunk in bytes.
  public static let chunkSize = 1 << 20

  /// The digest of an artifact's bytes, 32 bytes; what stands at the digest's place does not matter.
  @unsafe
  public static func digest(of file: UnsafeRawBufferPointer) -> [UInt8] {
    let work = unsafe HashingWork(file)
    // Below some chunks a thread costs more than it saves; above a few, memory is the limit.
    let processors = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    let helpers = min(processors, 8, work.chunkCount / 4) - 1
    var threads: [pthread_t] = []
    for _ in 0..<max(0, helpers) {
      var thread = pthread_t()
      // The thread borrows `work`, which lives until all threads are joined below.
      let started = unsafe pthread_create(
        &thread, nil,
        { argument in
          unsafe Unmanaged<HashingWork>.fromOpaque(argument!).takeUnretainedValue().run()
          return nil
        }, Unmanaged.passUnretained(work).toOpaque())
      if started != 0 { break }
      threads.append(thread)
    }
    work.run()
    for thread in threads { _ = pthread_join(thread, nil) }
    return withExtendedLifetime(work) { work.finish() }
  }
}

/// The chunks of a file and their digests.
@safe
private final class HashingWork: @unchecked Sendable {
  let chunkCount: Int
  private let file: UnsafeRawBufferPointer
  // 32 bytes a chunk, each written by the thread that took the chunk, read when all have ended.
  private let digests: UnsafeMutableRawPointer
  private let next = Atomic<Int>(0)

  init(_ file: UnsafeRawBufferPointer) {
    unsafe self.file = file
    chunkCount = (file.count + BuildID.chunkSize - 1) / BuildID.chunkSize
    unsafe digests = .allocate(byteCount: max(1, chunkCount * 32), alignment: 16)
  }

  deinit { unsafe digests.deallocate() }

  func run() {
    while true {
      let chunk = next.wrappingAdd(1, ordering: .relaxed).oldValue
      if chunk >= chunkCount { return }
      let start = chunk * BuildID.chunkSize
      let end = unsafe min(start + BuildID.chunkSize, file.count)
      var hash = SHA256()
      let digest = ArtifactHeader.digestOffset
      if start == 0 && end >= digest + 32 {
        unsafe hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: file[0..<digest]))
        hash.update(data: [UInt8](repeating: 0, count: 32))
        unsafe hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: file[digest + 32..<end]))
      } else {
        unsafe hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: file[start..<end]))
      }
      // A SHA-256 has 32 bytes, and the chunk's place is this thread's alone.
      unsafe hash.finalize().withUnsafeBytes { bytes in
        unsafe (digests + chunk * 32).copyMemory(from: bytes.baseAddress!, byteCount: 32)
      }
    }
  }

  func finish() -> [UInt8] {
    var hash = SHA256()
    unsafe hash.update(bufferPointer: UnsafeRawBufferPointer(start: digests, count: chunkCount * 32))
    return [UInt8](hash.finalize())
  }
}
