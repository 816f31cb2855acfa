// Everything that can be known of an artifact's integrity, at once.
//
// Loading leaves as much as it can to the moment of use. Some want to know before: whoever copies
// artifacts about, and hosts that would rather start late than find damage late. First comes whether
// the file is what was written, from the precise to the general, so that an error says as much as can
// be said; then whether what was written makes sense, which no sum can tell:
//
//      first page       its checksum, program headers, directory
//      page checksums   which page of which section was changed
//      build-id         whether anything at all was changed: text and data image too
//      structure        section headers, and every row of every table
//
// It does not prove where an artifact comes from: who can change a file can also compute its sums.

import CPrecastHost
public import PrecastArtifact
import Synchronization

/// Full verification of artifacts.
public enum ArtifactVerification {
  /// Verifies a whole artifact in memory.
  ///
  /// Takes time in proportion to the file, on several threads where it is large.
  ///
  /// - Throws: `ArtifactError`, for the first thing that is wrong.
  public static func verify(_ file: RawSpan) throws(ArtifactError) {
    let result: Result<Void, ArtifactError> = unsafe file.withUnsafeBytes { bytes in
      do throws(ArtifactError) {
        let start = min(ArtifactHeader.size, bytes.count)
        let header = try unsafe ArtifactHeader(region(bytes, 0..<start), fileSize: UInt64(bytes.count))
        // The header was found to fit the file, so its text lies in it.
        let text = Int(header.text.offset)
        try unsafe verify(
          header, head: UnsafeRawBufferPointer(rebasing: bytes[..<text]),
          body: UnsafeRawBufferPointer(rebasing: bytes[text...]))
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  /// Verifies an artifact of which the part from the text on is mapped.
  ///
  /// - Parameters:
  ///   - header: what was read of the first page when it was loaded.
  ///   - head: the file's bytes before the text.
  ///   - body: its bytes from the text on.
  ///   - pages: the mapping's guard, which then knows all pages to be good.
  /// - Throws: `ArtifactError`, for the first thing that is wrong.
  @unsafe
  public static func verify(
    _ header: ArtifactHeader, head: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, pages: PageGuard? = nil
  ) throws(ArtifactError) {
    let first = try unsafe ArtifactHeader(
      region(head, 0..<min(head.count, ArtifactHeader.size)), fileSize: UInt64(head.count + body.count))
    guard first == header, head.count == Int(header.text.offset) else {
      throw ArtifactError(
        .damaged, section: "ELF header", offset: 0, message: "the first page changed while it was looked at")
    }
    let rest = Int(header.text.size)..<body.count
    guard let base = body.baseAddress else { return }
    let pages = unsafe pages ?? PageGuard(header.engine, rest: base + rest.lowerBound)
    let artifact = try unsafe Artifact(
      header: header, rest: ByteRegion(base: base + rest.lowerBound, count: rest.count, pages: pages.pointer))
    // The guard is used through the artifact, a struct.
    defer { withExtendedLifetime(pages) {} }

    let checking = CheckingWork(artifact)
    checking.runAll()
    if let error = checking.firstError { throw error }
    let digest = unsafe BuildID.digest(of: FileContents(head: head, body: body))
    guard digest == header.buildID else {
      let names = [SectionKind.text, .dataImage].map(\.name)
      let uncovered =
        header.extent(of: .data).size == 0
        ? names.joined(separator: " or ") : names.joined(separator: ", ") + " or \(SectionKind.data.name)"
      throw ArtifactError(
        .damaged, section: SectionKind.buildID.name,
        offset: UInt64(ArtifactHeader.digestOffset - ArtifactHeader.noteOffset),
        message: "the contents have the digest \(BuildID.hexadecimal(digest)), not "
          + "\(BuildID.hexadecimal(header.buildID)): \(uncovered) was changed")
    }
    try artifact.checkStructure()
  }

  private static func region(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> ByteRegion {
    guard let base = bytes.baseAddress else { return ByteRegion(emptyIn: .engine) }
    return unsafe ByteRegion(base: base + range.lowerBound, count: range.count)
  }
}

/// Comparison of all page checksums.
private final class CheckingWork: ParallelWork, @unchecked Sendable {
  private static let pieceSize: UInt64 = 1 << 20
  private let artifact: Artifact
  private let found = Mutex<(piece: Int, error: ArtifactError)?>(nil)

  init(_ artifact: Artifact) {
    self.artifact = artifact
    super.init(pieceCount: Int((artifact.header.rest.size + Self.pieceSize - 1) / Self.pieceSize))
  }

  override func run(_ number: Int) {
    let start = UInt64(number) * Self.pieceSize
    do throws(ArtifactError) {
      try artifact.checkPages(from: start, to: min(start + Self.pieceSize, artifact.header.rest.size))
    } catch {
      found.withLock { if $0 == nil || $0!.piece > number { $0 = (number, error) } }
    }
  }

  /// What is wrong with the first bad page of the file.
  var firstError: ArtifactError? { found.withLock { $0?.error } }
}
