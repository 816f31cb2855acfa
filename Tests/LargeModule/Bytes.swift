// What makers of modules are made of: bytes in the binary format, and random numbers that are the same everywhere.

/// Bytes of a binary in the making.
struct Bytes {
  var bytes: [UInt8] = []

  mutating func byte(_ value: UInt8) { bytes.append(value) }
  mutating func raw(_ values: [UInt8]) { bytes += values }

  /// Unsigned LEB128.
  mutating func number(_ value: Int) {
    var rest = UInt64(value)
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  /// Signed LEB128.
  mutating func signed(_ value: Int) {
    var rest = value
    while rest < -0x40 || rest >= 0x40 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest) & 0x7F)
  }

  mutating func name(_ text: String) {
    number(text.utf8.count)
    bytes += text.utf8
  }

  mutating func section(_ identifier: UInt8, _ contents: Bytes) {
    byte(identifier)
    number(contents.bytes.count)
    bytes += contents.bytes
  }

  mutating func get(_ local: Int) {
    byte(0x20)
    number(local)
  }

  mutating func set(_ local: Int) {
    byte(0x21)
    number(local)
  }

  mutating func tee(_ local: Int) {
    byte(0x22)
    number(local)
  }

  mutating func constant(_ value: Int) {
    byte(0x41)
    signed(value)
  }
}

/// SplitMix64.
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  /// From 0 to `bound` - 1; the bounds here are far too small for the remainder's bias to matter.
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(max(1, bound))) }
}
