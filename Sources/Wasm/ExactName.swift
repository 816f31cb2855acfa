// Names are compared byte by byte.
//
// Swift's strings are equal when they are canonically equivalent: a precomposed letter equals the letter followed by its
// combining mark. WebAssembly's names are sequences of code points, and a module may export both of those. Whatever
// looks an import or export up by name must therefore compare the UTF-8; this is the dictionary key that does.

/// A name of an import or export, equal to another only if it is the same sequence of code points.
///
/// Spec: Core 2.2.4, "Names".
public struct ExactName: Hashable, Sendable {
  /// The name as a string.
  public let string: String

  /// Makes a name of a string.
  public init(_ string: String) { self.string = string }

  /// Whether the names are the same code points.
  public static func == (first: ExactName, second: ExactName) -> Bool {
    first.string.utf8.elementsEqual(second.string.utf8)
  }

  /// Feeds the name's UTF-8 to a hasher.
  public func hash(into hasher: inout Hasher) {
    for byte in string.utf8 { hasher.combine(byte) }
    hasher.combine(0xFF as UInt8)
  }
}
