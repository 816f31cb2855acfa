// What is put into an artifact last, because it depends on all the rest.
//
// Three things sum up the file, and each covers the ones before it: the checksums of the metadata
// pages, then the digest in the build-id (over everything, the table of checksums included), then the
// checksum of the first page (over the digest as well). Their order is kept here, for the writer and
// for whoever changes an artifact on purpose: a fuzzer wants its changes to be found by the checks
// behind the sums.

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
    guard file.count >= ArtifactHeader.size, let base = file.baseAddress else { return }
    unsafe PageChecksums.fill(file, engine)
    let digest = unsafe BuildID.digest(of: UnsafeRawBufferPointer(file))
    unsafe digest.withUnsafeBytes {
      // 32 bytes, in the first page.
      unsafe (base + ArtifactHeader.digestOffset).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
    }
    unsafe ArtifactHeader.fillChecksum(file)
  }
}
