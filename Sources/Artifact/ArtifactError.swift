// What a file that cannot be used gets.
//
// One error type serves reader, loader and `inspect`: where (section and offset in it), what kind
// (so that a caller can tell "some other file" from "our file, damaged" from "our file, for
// another host"), and a sentence.

/// Why an artifact cannot be used.
public struct ArtifactError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What is wrong in principle.
  public enum Kind: Sendable, Equatable {
    /// The file is not an artifact at all.
    case notAnArtifact
    /// The file is an artifact, but its structure is broken.
    case damaged
    /// The artifact is sound, and made for another host or with other settings.
    case incompatible([CompatibilityMismatch])
  }

  /// What is wrong in principle.
  public var kind: Kind
  /// Name of the section, or "ELF header", "program headers", "section headers".
  public var section: String
  /// Offset in the section, in bytes.
  public var offset: UInt64
  /// What was wrong.
  public var message: String

  /// Creates an error.
  public init(_ kind: Kind, section: String, offset: UInt64, message: String) {
    self.kind = kind
    self.section = section
    self.offset = offset
    self.message = message
  }

  /// The error in a sentence.
  public var description: String {
    switch kind {
    case .notAnArtifact: "not a precast artifact: \(message)"
    case .damaged: "damaged artifact: \(section), offset \(offset): \(message)"
    case .incompatible(let mismatches):
      "artifact does not fit this host: " + mismatches.map(\.description).joined(separator: "; ")
    }
  }

  @inline(never)
  static func damaged(_ section: SectionKind, _ offset: Int, _ message: String) -> ArtifactError {
    ArtifactError(.damaged, section: section.name, offset: UInt64(truncatingIfNeeded: offset), message: message)
  }
}

/// One field in which an artifact and a host (or a requested setting) differ.
public struct CompatibilityMismatch: Sendable, Equatable, CustomStringConvertible {
  /// The field's name, as in `inspect`.
  public var field: String
  /// The artifact's value, in words.
  public var artifact: String
  /// The host's value, in words.
  public var host: String
  /// What to do about it.
  public var advice: String

  /// Creates a mismatch.
  public init(field: String, artifact: String, host: String, advice: String) {
    self.field = field
    self.artifact = artifact
    self.host = host
    self.advice = advice
  }

  /// Field, both values, and what to do.
  public var description: String { "\(field) is \(artifact) in the artifact, \(host) here (\(advice))" }
}
