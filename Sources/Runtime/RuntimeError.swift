// What an embedder can do wrong, or run out of, as one error type.
//
// Errors of host functions and traps go through the runtime unchanged and have types of their own; a file that cannot
// be loaded is a `LoadError`. What is left (linking, calling with wrong arguments, reaching past the end of a memory,
// limits) is caught by the same `catch` in practice, so it is one type, with a kind to tell cases apart and a sentence
// to read.

/// A mistake in the use of the runtime, a module that does not link, or a limit that was reached.
public struct RuntimeError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What went wrong in principle.
  public enum Kind: Sendable, Equatable {
    /// Nothing was given for an import ("unknown import").
    case unknownImport
    /// What was given for an import is of another kind or type ("incompatible import type").
    case incompatibleImport
    /// A call with the wrong number of arguments.
    case argumentCount
    /// A value is not of the type that is needed.
    case typeMismatch
    /// A function, reference, memory, table or global belongs to another store, or a module to another engine.
    case foreignStore
    /// Bytes outside of a memory, or elements outside of a table.
    case outOfBounds
    /// A global that is not mutable.
    case immutable
    /// There is no export of that name and kind.
    case unknownExport
    /// A limit of the store or the system was reached.
    case limit
    /// The artifact is damaged.
    case damagedArtifact
  }

  /// What went wrong in principle.
  public let kind: Kind
  /// What went wrong, in a sentence.
  public let message: String

  /// Makes an error.
  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  /// The message.
  public var description: String { message }
}
