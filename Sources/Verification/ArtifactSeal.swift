// What is put into an artifact last, because it depends on all the rest.
//
// Three things sum up the file, and each covers the ones before it: the checksums of the metadata
// pages, then the digest in the build-id (over everything, the table of checksums included), then the
// checksum of the first page (over the digest as well). Their order is kept here, for the writer and
// for whoever changes an artifact on purpose: a fuzzer wants its changes to be found by the checks
// behind the sums.

import Glibc
public import PrecastArtifact

/// Computes the sums of an artifact.
public enum ArtifactSeal {
  /// Fills in page checksums, build-id and the first page's checksum in a file that is complete but for
  /// them, whatever they are now.
  ///
  /// - Parameters:
  ///   - file: the whole file.
  ///   - engine: its directory, or that of the file it was made from.
  @unsafe
  public static func apply(to file: UnsafeMutableRawBufferPointer, engine: EngineSection) {
    _ = unsafe apply(to: file, engine: engine, output: nil)
  }

  /// The same, and writes the file to `output`, from its start: each chunk when it has just been hashed, so that it is read
  /// from memory once, and one thread writes while another one hashes.
  ///
  /// - Returns: 0, or the `errno` of a write that failed.
  @unsafe
  public static func apply(
    to file: UnsafeMutableRawBufferPointer, engine: EngineSection, writingTo output: Int32
  ) -> Int32 {
    unsafe apply(to: file, engine: engine, output: output)
  }

  @unsafe
  private static func apply(
    to file: UnsafeMutableRawBufferPointer, engine: EngineSection, output: Int32?
  ) -> Int32 {
    guard file.count >= ArtifactHeader.size, let base = file.baseAddress else { return EINVAL }
    unsafe PageChecksums.fill(file, engine)
    let work = unsafe HashingWork(
      FileContents(head: UnsafeRawBufferPointer(start: nil, count: 0), body: UnsafeRawBufferPointer(file)),
      output: output)
    work.runAll()
    let digest = work.finish()
    unsafe digest.withUnsafeBytes {
      // 32 bytes, in the first page.
      unsafe (base + ArtifactHeader.digestOffset).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
    }
    unsafe ArtifactHeader.fillChecksum(file)
    guard let output, work.problem == 0 else { return work.problem }
    // Once more, with the digest.
    return unsafe writeAll(
      UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(file)[0..<ArtifactHeader.size]), to: output, at: 0)
  }
}
