// What can go wrong between a file and code that can run.
//
// A load fails for one of a few reasons that call for different things from the caller: the file
// cannot be had, it is not an artifact, it is damaged, it was made for something else, or the
// system has run out of something. The kind says which; the message says what, where, and what to
// do about it.

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
    /// A limit of the system was reached. The number is an `errno`.
    case outOfResources(errno: Int32)
  }

  /// Which of the reasons.
  public let kind: Kind
  /// The file, as the caller named it; nil for bytes.
  public var path: String?
  /// What was wrong, where, and what to do.
  public let message: String

  /// Makes an error.
  public init(kind: Kind, path: String? = nil, message: String) {
    self.kind = kind
    self.path = path
    self.message = message
  }

  /// `path: message`.
  public var description: String {
    if let path { return "\(path): \(message)" }
    return message
  }
}
