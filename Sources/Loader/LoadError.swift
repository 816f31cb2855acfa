// What can go wrong between a file and code that can run.
//
// A load fails for one of a few reasons that call for different things from the caller: the file
// cannot be had, it is not an artifact, it is damaged, it was made for something else, or the
// system has run out of something. The kind says which; the message says what, where, and what to
// do about it.

public import PrecastArtifact
import PrecastLinker

/// Why an artifact could not be loaded, or memory not be had.
public struct LoadError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The reasons that callers may want to tell apart.
  public enum Kind: Sendable, Equatable {
    /// The file could not be opened or read. The number is an `errno`.
    case cannotRead(errno: Int32)
    /// It is not an artifact at all.
    case notAnArtifact
    /// It is an artifact, but damaged.
    case damaged
    /// It is sound, but not for this machine, this version or these settings.
    case incompatible
    /// It is objects, and they cannot be linked.
    case cannotLink
    /// The artifact works where it was linked, and nowhere else.
    case boundToAddress
    /// A limit of the system was reached. The number is an `errno`.
    case outOfResources(errno: Int32)
  }

  /// Which of the reasons.
  public let kind: Kind
  /// The file, as the caller named it; nil for bytes.
  public var path: String?
  /// The settings in which artifact and host differ, when that is the reason.
  public var mismatches: [CompatibilityMismatch] = []
  /// What was wrong, where, and what to do.
  public let message: String
  /// Whether a value did not fit into the place that a relocation gives it.
  var isOutOfRange = false

  /// Makes an error.
  public init(kind: Kind, path: String? = nil, message: String) {
    self.kind = kind
    self.path = path
    self.message = message
  }

  /// What the reader found wrong.
  public init(_ error: ArtifactError, path: String?) {
    switch error.kind {
    case .notAnArtifact: kind = .notAnArtifact
    case .damaged: kind = .damaged
    case .incompatible(let mismatches):
      kind = .incompatible
      self.mismatches = mismatches
    }
    self.path = path
    message = error.description
  }

  /// What the linker found wrong.
  init(_ error: LinkError) {
    kind = .cannotLink
    path = nil
    message = error.message
    isOutOfRange = error.kind == .outOfRange
  }

  /// `path: message`.
  public var description: String {
    if let path { return "\(path): \(message)" }
    return message
  }
}
