// Everything about an artifact's bytes that can be verified, for who has them all in memory anyway.

import PrecastArtifact
import PrecastVerification

enum Verification {
  /// What is wrong with an artifact's bytes; nil where they are as they were written.
  static func problem(_ bytes: borrowing HeapBytes) -> ArtifactError? {
    unsafe bytes.withBytes { buffer in
      do throws(ArtifactError) {
        // The span is of memory that the caller holds.
        try unsafe ArtifactVerification.verify(RawSpan(_unsafeBytes: buffer))
        return nil
      } catch {
        return error
      }
    }
  }
}
