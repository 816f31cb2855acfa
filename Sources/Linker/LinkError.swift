// What objects that cannot be linked get.
//
// A linker's messages are read by people who did not write the linker, about objects that they may not have written
// either. So each says which object, which section and offset, in which function, which relocation against which
// symbol, and what to do where that is known. One type serves all of it: a kind for programs, a sentence for people.

/// Why objects cannot be linked.
public struct LinkError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What is wrong in principle.
  public enum Kind: Sendable, Equatable, CaseIterable {
    /// The bytes are no relocatable ELF object.
    case notAnObject
    /// An object whose structure is broken.
    case damaged
    /// An object for another machine than the rest, or than this linker knows.
    case wrongMachine
    /// Something that a sound object may hold, and that is not linked here: thread-local storage, constructors, IFUNC.
    case unsupported
    /// A relocation of a type that is not known, or not linked here.
    case unsupportedRelocation
    /// A symbol that nothing defines.
    case undefinedSymbol
    /// A symbol that two objects define.
    case duplicateSymbol
    /// A value that does not fit into the place that a relocation gives it.
    case outOfRange
    /// An absolute address where the result must not depend on where it is loaded.
    case absoluteAddress
    /// More than one wasm module.
    case severalModules
    /// The result would be too large, or a setting makes no sense.
    case cannotLayOut
  }

  /// What is wrong in principle.
  public var kind: Kind
  /// What is wrong, where, in one or several lines, without a final full stop or newline.
  public var message: String

  /// Creates an error.
  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  /// The message.
  public var description: String { message }
}
