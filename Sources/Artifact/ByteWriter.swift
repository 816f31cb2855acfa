// Growing little-endian bytes, for the sections whose size follows the module and not the code.
//
// The hot encoders append to a `CodeBuffer`; these tables are a few hundred kilobytes at most, and
// a plain array, reserved once, is enough.

/// Appends little-endian values to an array.
@safe
struct ByteWriter: Sendable {
  private(set) var bytes: [UInt8] = []

  init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  var count: Int { bytes.count }

  mutating func put8(_ value: UInt8) { bytes.append(value) }

  mutating func put16(_ value: UInt16) { put(integer: value) }

  mutating func put32(_ value: UInt32) { put(integer: value) }

  mutating func put64(_ value: UInt64) { put(integer: value) }

  private mutating func put<T: FixedWidthInteger>(integer value: T) {
    // Reads exactly the bytes of a trivial local.
    unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
  }

  mutating func put(_ string: some Sequence<UInt8>) { bytes.append(contentsOf: string) }

  mutating func patch32(_ value: UInt32, at offset: Int) {
    for byte in 0..<4 { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)) }
  }

  mutating func align(_ alignment: Int) {
    while bytes.count & (alignment - 1) != 0 { bytes.append(0) }
  }
}
