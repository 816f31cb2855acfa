// `--invoke`: words of the command line become values of the export's types, and results become words.
//
// Integers may be written in decimal or, after `0x`, in hexadecimal, with a sign or without; anything that fits in the
// type's bits, read as signed or as unsigned, is accepted. Floats may be written in decimal, in hexadecimal (`0x1.8p3`),
// as `inf` or as `nan`, the latter with a payload after a colon as in the text format (`nan:0x200000`). Results are
// printed so that they can be given back: integers signed and in decimal, floats with as many digits as tell them apart.
// (Core 6.3, "Values".)

import Precast

/// Values as words of the command line.
enum InvokeValue {
  /// Parses a word as a value of a type; nil where it is none. The only reference there is a word for is `null`.
  static func parse(_ word: String, as type: ValueType) -> Value? {
    switch type {
    case .i32: integer(word, bits: 32).map { .i32(UInt32(truncatingIfNeeded: $0)) }
    case .i64: integer(word, bits: 64).map { .i64($0) }
    case .f32: float(word, Float.self).map { .f32(UInt32(truncatingIfNeeded: $0)) }
    case .f64: float(word, Double.self).map { .f64($0) }
    case .funcref: word == "null" ? .funcref(nil) : nil
    case .externref: word == "null" ? .externref(nil) : nil
    case .v128: nil
    }
  }

  /// A value as a word.
  static func text(_ value: Value) -> String {
    switch value {
    case .i32(let bits): "\(Int32(bitPattern: bits))"
    case .i64(let bits): "\(Int64(bitPattern: bits))"
    case .f32(let bits): text(Float(bitPattern: bits), bits: UInt64(bits))
    case .f64(let bits): text(Double(bitPattern: bits), bits: bits)
    case .funcref(let function): function == nil ? "null" : "funcref"
    case .externref(let reference): reference == nil ? "null" : "externref"
    case .v128(let low, let high): "0x\(String(high, radix: 16)):\(String(low, radix: 16))"
    }
  }

  private static func integer(_ word: String, bits: Int) -> UInt64? {
    let (negative, digits) = sign(word)
    let magnitude = digits.hasPrefix("0x") || digits.hasPrefix("0X") ? hexadecimal(digits) : decimal(digits)
    guard let magnitude else { return nil }
    let most: UInt64 = negative ? 1 << UInt64(bits - 1) : UInt64.max >> UInt64(64 - bits)
    guard magnitude <= most else { return nil }
    return negative ? 0 &- magnitude : magnitude
  }

  private static func float<F: InvokeFloat>(_ word: String, _ type: F.Type) -> UInt64? {
    let (negative, digits) = sign(word)
    guard let magnitude = magnitude(digits, type) else { return nil }
    return negative ? magnitude | 1 << UInt64(F.bitWidth - 1) : magnitude
  }

  private static func magnitude<F: InvokeFloat>(_ digits: String, _ type: F.Type) -> UInt64? {
    if digits == "nan" { return F.infinity.bits | F.quietBit }
    if digits.hasPrefix("nan:0x") {
      guard let payload = hexadecimal(String(digits.dropFirst(4))), payload > 0, payload < F.quietBit << 1 else {
        return nil
      }
      return F.infinity.bits | payload
    }
    // The standard library accepts more spellings of infinity, and a second sign.
    if digits == "inf" { return F.infinity.bits }
    guard digits.utf8.first.map({ $0 >= 0x30 && $0 <= 0x39 || $0 == 0x2E }) == true else {
      return nil
    }
    // Beyond the largest, rounding gives infinity; as with integers, what does not fit is refused.
    guard let value = F(digits), value.isFinite else { return nil }
    return value.bits
  }

  private static func sign(_ word: String) -> (negative: Bool, rest: String) {
    if word.hasPrefix("-") { return (true, String(word.dropFirst())) }
    if word.hasPrefix("+") { return (false, String(word.dropFirst())) }
    return (false, word)
  }

  // `UInt64(_:)` alone would accept a second sign.
  private static func decimal(_ digits: String) -> UInt64? {
    digits.utf8.first == 0x2B ? nil : UInt64(digits)
  }

  private static func hexadecimal(_ digits: String) -> UInt64? {
    let rest = digits.dropFirst(2)
    return rest.utf8.first == 0x2B ? nil : UInt64(rest, radix: 16)
  }

  private static func text<F: InvokeFloat>(_ value: F, bits: UInt64) -> String {
    guard value.isNaN else { return value.description }
    let payload = bits & (F.quietBit << 1 - 1)
    let name = payload == F.quietBit ? "nan" : "nan:0x\(String(payload, radix: 16))"
    return bits >> UInt64(F.bitWidth - 1) == 1 ? "-\(name)" : name
  }
}

/// What parsing and printing need to know of a float.
private protocol InvokeFloat: BinaryFloatingPoint, LosslessStringConvertible {
  static var bitWidth: Int { get }
  var bits: UInt64 { get }
}

extension InvokeFloat {
  /// The highest bit of the fraction, alone in the fraction of a canonical NaN (Core 2.2.3).
  fileprivate static var quietBit: UInt64 { 1 << UInt64(significandBitCount - 1) }
}

extension Float: InvokeFloat {
  fileprivate static var bitWidth: Int { 32 }
  fileprivate var bits: UInt64 { UInt64(bitPattern) }
}

extension Double: InvokeFloat {
  fileprivate static var bitWidth: Int { 64 }
  fileprivate var bits: UInt64 { bitPattern }
}
