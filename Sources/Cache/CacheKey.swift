// What an entry is known by: a digest of everything that its code depends on.
//
// The classical mistake of a compilation cache is a key that somebody has put together by hand, in which one day a new setting
// is missing: code that was compiled without it is then served to those who asked for it. Here nobody puts a key together. A
// compilation is a static function of one value (`CachedCompilation`), so it can see nothing but that value; and the key is a
// digest of that value's encoding, which the language derives from the type (KeyEncoder.swift). A field that is added
// is in the key because it is in the type.

public import Crypto

/// What a compilation depends on, all of it, and how to carry it out.
///
/// Let the compiler derive `encode(to:)`. A property that cannot change the result, and would only split the cache, is wrapped
/// in `Immaterial`, which says so.
public protocol CachedCompilation: Encodable, Sendable {
  /// Compiles. Static, so that it depends on nothing but `state` by construction.
  ///
  /// - Returns: The artifact, in an in-memory file whose descriptor is the caller's to close.
  static func compile(_ state: Self) throws -> Int32

  /// Which compiler this is, and which version of it: entries of different ones are kept apart.
  static var compiler: CompilerIdentity { get }
}

/// The name of an entry: SHA-256 over the canonical encoding of what its code depends on.
public struct CacheKey: Hashable, Sendable, CustomStringConvertible {
  /// 32 bytes.
  public let digest: Digest

  /// The key of a compilation.
  ///
  /// - Throws: what the state's `encode(to:)` throws; a derived one throws nothing.
  public init<State: CachedCompilation>(of state: State) throws {
    let encoder = KeyEncoder()
    try encoder.encode(State.compiler)
    try encoder.encode(state)
    digest = Digest(of: encoder.bytes)
  }

  init(digest: Digest) { self.digest = digest }

  /// The key whose 64 hexadecimal digits these are.
  public init?(_ text: some StringProtocol) {
    guard let digest = Digest(hexadecimal: text) else { return nil }
    self.digest = digest
  }

  /// 64 hexadecimal digits: the name of the entry's file without its ending.
  public var description: String { digest.description }

  /// The time of last modification that marks an entry with this key as untouched, in seconds of the epoch: a date before
  /// 2004 (see EntryFile.swift).
  var seal: Int { 1 + Int(digest.words.0 & 0x3FFF_FFFF) }
}

/// A SHA-256 as a value of fixed size, without an allocation.
public struct Digest: Hashable, Sendable, Encodable, CustomStringConvertible {
  // The bytes in order, each word little-endian.
  var words: (UInt64, UInt64, UInt64, UInt64)

  /// Hashes bytes.
  public init(of bytes: [UInt8]) {
    self = unsafe bytes.withUnsafeBytes { unsafe Digest(of: $0) }
  }

  /// Hashes bytes.
  @unsafe
  public init(of bytes: UnsafeRawBufferPointer) {
    var hash = SHA256()
    unsafe hash.update(bufferPointer: bytes)
    self.init(hash.finalize())
  }

  /// Takes over what swift-crypto has computed.
  public init(_ digest: SHA256.Digest) {
    // A SHA-256 has 32 bytes.
    words = unsafe digest.withUnsafeBytes { bytes in
      func word(_ index: Int) -> UInt64 {
        UInt64(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
      }
      return (word(0), word(1), word(2), word(3))
    }
  }

  init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

  /// The digest whose 64 hexadecimal digits (in lower case) these are.
  init?(hexadecimal text: some StringProtocol) {
    var words: [UInt64] = [0, 0, 0, 0]
    var count = 0
    for character in text.utf8 {
      let digit: UInt64
      switch character {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt64(character - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = UInt64(character - UInt8(ascii: "a") + 10)
      default: return nil
      }
      if count == 64 { return nil }
      // Two digits a byte, the high one first; bytes from the low end of a word.
      let byte = count / 2
      words[byte / 8] |= digit << UInt64(byte % 8 * 8 + (count % 2 == 0 ? 4 : 0))
      count += 1
    }
    guard count == 64 else { return nil }
    self.init(words: (words[0], words[1], words[2], words[3]))
  }

  /// The 32 bytes.
  public var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(32)
    for word in [words.0, words.1, words.2, words.3] {
      for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
    }
    return bytes
  }

  /// 64 hexadecimal digits.
  public var description: String {
    unsafe String(unsafeUninitializedCapacity: 64) { buffer in
      var at = 0
      func digit(_ value: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: value < 10 ? 48 + value : 87 + value) }
      for word in [words.0, words.1, words.2, words.3] {
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
          let byte = word >> shift & 0xFF
          unsafe buffer[at] = digit(byte >> 4)
          unsafe buffer[at + 1] = digit(byte & 15)
          at += 2
        }
      }
      return at
    }
  }

  /// Encodes the bytes.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.unkeyedContainer()
    try container.encode(words.0)
    try container.encode(words.1)
    try container.encode(words.2)
    try container.encode(words.3)
  }

  /// Whether all bytes are equal.
  public static func == (a: Digest, b: Digest) -> Bool { a.words == b.words }

  /// Any of the words will do.
  public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

/// A property that no result depends on, such as a number of threads: it is left out of the key, and says so by its type.
public struct Immaterial<Value: Sendable>: Encodable, Sendable {
  /// The property.
  public var value: Value

  /// Wraps a value.
  public init(_ value: Value) { self.value = value }

  /// Encodes nothing.
  public func encode(to encoder: any Encoder) {}
}
