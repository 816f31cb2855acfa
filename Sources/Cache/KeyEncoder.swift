// The canonical encoding that keys are digests of.
//
// It must be injective (two different states never encode alike) and it must depend on the type's shape as well as on the
// values (a field that is renamed, retyped, moved or added gives other keys, even where its value is a default). It need
// never be decoded. So it is a plain transcript of what the derived `encode(to:)` does, in the order in which the fields are
// declared, each item with a tag and, where its size varies, its length:
//
//     T length name        a value of the type with that name begins (anything but the standard types below)
//     {                    a keyed container begins       K length name    the next value's field
//     [                    an unkeyed container begins
//     (                    a single value follows
//     n                    nil
//     b 0|1                Bool
//     i width bytes        an integer, eight bytes, with its width and signedness
//     f bytes              Float, Double (as eight bytes)
//     s length bytes       String, UTF-8
//     ;                    the value that began with T ends
//
// Each container writes when it is asked for something, so this relies on containers being used one after the other, as
// derived code does. Names of types and fields cannot run into each other: every string has its length before it.

/// Writes down a value in a form that differs for different values and for different types.
final class KeyEncoder: Encoder {
  private(set) var bytes: [UInt8] = []

  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  init() { bytes.reserveCapacity(1024) }

  /// Appends a value.
  func encode<Value: Encodable>(_ value: Value) throws {
    // The standard types encode themselves through a container of single values, one of the overloads below; by way of their
    // own type's name they would cost a look-up each.
    if let text = value as? String { return put(text: text) }
    if let number = value as? UInt64 { return put(integer: number, tag: 64) }
    put(tag: "T")
    // The name as the linker knows it: a private type's printed name has an address in it, and differs from run to run.
    put(string: _mangledTypeName(Value.self) ?? _typeName(Value.self, qualified: true))
    try value.encode(to: self)
    put(tag: ";")
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    put(tag: "{")
    return KeyedEncodingContainer(KeyedTranscript(encoder: self))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    put(tag: "[")
    return UnkeyedTranscript(encoder: self)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer {
    put(tag: "(")
    return SingleTranscript(encoder: self)
  }

  // MARK: Items

  func put(tag: Unicode.Scalar) { bytes.append(UInt8(truncatingIfNeeded: tag.value)) }

  func put(word: UInt64) {
    for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
  }

  func put(string: String) {
    put(word: UInt64(string.utf8.count))
    bytes.append(contentsOf: string.utf8)
  }

  func put(key: any CodingKey) {
    put(tag: "K")
    put(string: key.stringValue)
  }

  func put(text: String) {
    put(tag: "s")
    put(string: text)
  }

  func put(integer: UInt64, tag: UInt8) {
    put(tag: "i")
    bytes.append(tag)
    put(word: integer)
  }

  func put(_ value: Bool) {
    put(tag: "b")
    bytes.append(value ? 1 : 0)
  }

  func put(_ value: Double) {
    put(tag: "f")
    put(word: value.bitPattern)
  }

  /// The value's bits and which integer type it is.
  func put<Value: FixedWidthInteger>(integer: Value) {
    put(
      integer: UInt64(truncatingIfNeeded: integer),
      tag: UInt8(truncatingIfNeeded: Value.bitWidth) | (Value.isSigned ? 128 : 0))
  }
}

/// A container with names.
private struct KeyedTranscript<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let encoder: KeyEncoder
  var codingPath: [any CodingKey] { [] }

  func encodeNil(forKey key: Key) {
    encoder.put(key: key)
    encoder.put(tag: "n")
  }
  func encode(_ value: Bool, forKey key: Key) {
    encoder.put(key: key)
    encoder.put(value)
  }
  func encode(_ value: String, forKey key: Key) {
    encoder.put(key: key)
    encoder.put(text: value)
  }
  func encode(_ value: Double, forKey key: Key) {
    encoder.put(key: key)
    encoder.put(value)
  }
  func encode(_ value: Float, forKey key: Key) { encode(Double(value), forKey: key) }
  func encode(_ value: Int, forKey key: Key) { integer(value, key) }
  func encode(_ value: Int8, forKey key: Key) { integer(value, key) }
  func encode(_ value: Int16, forKey key: Key) { integer(value, key) }
  func encode(_ value: Int32, forKey key: Key) { integer(value, key) }
  func encode(_ value: Int64, forKey key: Key) { integer(value, key) }
  func encode(_ value: UInt, forKey key: Key) { integer(value, key) }
  func encode(_ value: UInt8, forKey key: Key) { integer(value, key) }
  func encode(_ value: UInt16, forKey key: Key) { integer(value, key) }
  func encode(_ value: UInt32, forKey key: Key) { integer(value, key) }
  func encode(_ value: UInt64, forKey key: Key) { integer(value, key) }
  func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
    encoder.put(key: key)
    try encoder.encode(value)
  }

  // A field that is nil leaves nothing in the derived form; here it does, or nil and absent would be alike.
  func encodeIfPresent<T: Encodable>(_ value: T?, forKey key: Key) throws {
    guard let value else { return encodeNil(forKey: key) }
    try encode(value, forKey: key)
  }

  func nestedContainer<Nested: CodingKey>(keyedBy keyType: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<
    Nested
  > {
    encoder.put(key: key)
    return encoder.container(keyedBy: keyType)
  }
  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    encoder.put(key: key)
    return encoder.unkeyedContainer()
  }
  func superEncoder() -> any Encoder {
    encoder.put(tag: "^")
    return encoder
  }
  func superEncoder(forKey key: Key) -> any Encoder {
    encoder.put(key: key)
    return encoder
  }

  private func integer<Value: FixedWidthInteger>(_ value: Value, _ key: Key) {
    encoder.put(key: key)
    encoder.put(integer: value)
  }
}

/// A container without names.
private struct UnkeyedTranscript: UnkeyedEncodingContainer {
  let encoder: KeyEncoder
  var codingPath: [any CodingKey] { [] }
  private(set) var count = 0

  init(encoder: KeyEncoder) { self.encoder = encoder }

  mutating func encodeNil() {
    count += 1
    encoder.put(tag: "n")
  }
  mutating func encode(_ value: Bool) {
    count += 1
    encoder.put(value)
  }
  mutating func encode(_ value: String) {
    count += 1
    encoder.put(text: value)
  }
  mutating func encode(_ value: Double) {
    count += 1
    encoder.put(value)
  }
  mutating func encode(_ value: Float) { encode(Double(value)) }
  mutating func encode(_ value: Int) { integer(value) }
  mutating func encode(_ value: Int8) { integer(value) }
  mutating func encode(_ value: Int16) { integer(value) }
  mutating func encode(_ value: Int32) { integer(value) }
  mutating func encode(_ value: Int64) { integer(value) }
  mutating func encode(_ value: UInt) { integer(value) }
  mutating func encode(_ value: UInt8) { integer(value) }
  mutating func encode(_ value: UInt16) { integer(value) }
  mutating func encode(_ value: UInt32) { integer(value) }
  mutating func encode(_ value: UInt64) { integer(value) }
  mutating func encode<T: Encodable>(_ value: T) throws {
    count += 1
    try encoder.encode(value)
  }
  mutating func nestedContainer<Nested: CodingKey>(keyedBy keyType: Nested.Type) -> KeyedEncodingContainer<Nested> {
    count += 1
    return encoder.container(keyedBy: keyType)
  }
  mutating func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
    count += 1
    return encoder.unkeyedContainer()
  }
  mutating func superEncoder() -> any Encoder {
    count += 1
    return encoder
  }

  private mutating func integer<Value: FixedWidthInteger>(_ value: Value) {
    count += 1
    encoder.put(integer: value)
  }
}

/// A container of one value.
private struct SingleTranscript: SingleValueEncodingContainer {
  let encoder: KeyEncoder
  var codingPath: [any CodingKey] { [] }

  func encodeNil() { encoder.put(tag: "n") }
  func encode(_ value: Bool) { encoder.put(value) }
  func encode(_ value: String) { encoder.put(text: value) }
  func encode(_ value: Double) { encoder.put(value) }
  func encode(_ value: Float) { encoder.put(Double(value)) }
  func encode(_ value: Int) { encoder.put(integer: value) }
  func encode(_ value: Int8) { encoder.put(integer: value) }
  func encode(_ value: Int16) { encoder.put(integer: value) }
  func encode(_ value: Int32) { encoder.put(integer: value) }
  func encode(_ value: Int64) { encoder.put(integer: value) }
  func encode(_ value: UInt) { encoder.put(integer: value) }
  func encode(_ value: UInt8) { encoder.put(integer: value) }
  func encode(_ value: UInt16) { encoder.put(integer: value) }
  func encode(_ value: UInt32) { encoder.put(integer: value) }
  func encode(_ value: UInt64) { encoder.put(integer: value) }
  func encode<T: Encodable>(_ value: T) throws { try encoder.encode(value) }
}
