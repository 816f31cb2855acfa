// Names are compared byte by byte.
//
// Swift's strings are equal when they are canonically equivalent: a precomposed letter equals the letter followed by its
// combining mark. WebAssembly's names are sequences of code points, and a module may export both of those. Whatever
// looks an import or export up by name must therefore compare the UTF-8; this is the dictionary key that does. It does so
// as memory: a module may have many names of 100,000 bytes that differ in the last one.

internal import Glibc

/// A name of an import or export, equal to another only if it is the same sequence of code points; in the order of the
/// UTF-8 bytes, which is that of code points.
///
/// Spec: Core 2.2.4, "Names".
public struct ExactName: Hashable, Comparable, Sendable {
  /// The name as a string.
  public let string: String

  /// Makes a name of a string.
  public init(_ string: String) { self.string = string }

  /// Whether the names are the same code points.
  public static func == (first: ExactName, second: ExactName) -> Bool {
    unsafe first.withBytes { left in
      unsafe second.withBytes { right in
        unsafe left.count == right.count && compare(left, right) == 0
      }
    }
  }

  /// Whether the first name's bytes precede the second's.
  public static func < (first: ExactName, second: ExactName) -> Bool {
    unsafe first.withBytes { left in
      unsafe second.withBytes { right in
        let order = unsafe compare(left, right)
        return order != 0 ? order < 0 : left.count < right.count
      }
    }
  }

  /// Feeds the name's UTF-8 to a hasher.
  public func hash(into hasher: inout Hasher) {
    unsafe withBytes { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    hasher.combine(0xFF as UInt8)
  }

  /// Compares as many bytes as both have.
  private static func compare(_ left: UnsafeBufferPointer<UInt8>, _ right: UnsafeBufferPointer<UInt8>) -> Int32 {
    guard let first = left.baseAddress, let second = right.baseAddress else { return 0 }
    return unsafe memcmp(first, second, min(left.count, right.count))
  }

  /// Calls `body` with the name's UTF-8, where it stands if it is contiguous, as all strings are that Swift made.
  private func withBytes<R>(_ body: (UnsafeBufferPointer<UInt8>) -> R) -> R {
    if let result = unsafe string.utf8.withContiguousStorageIfAvailable(body) { return result }
    return unsafe Array(string.utf8).withUnsafeBufferPointer(body)
  }
}
