// A WebAssembly value as a host sees it.
//
// Numbers are kept as bit patterns, as in other runtimes for Swift: a float that went through a register of the host
// could lose the payload of a NaN, and signedness is not a property of WebAssembly's integers. References are handles
// of their store; null is `nil`.

public import PrecastWasm

/// A WebAssembly value.
///
/// Spec: Core 4.2.1, "Values".
public enum Value: Equatable, CustomStringConvertible {
  /// A 32-bit integer.
  case i32(UInt32)
  /// A 64-bit integer.
  case i64(UInt64)
  /// The bits of a 32-bit float.
  case f32(UInt32)
  /// The bits of a 64-bit float.
  case f64(UInt64)
  /// A vector: its low and its high half.
  case v128(low: UInt64, high: UInt64)
  /// A reference to a function; nil is null.
  case funcref(Function?)
  /// A reference to an object of the host; nil is null.
  case externref(ExternRef?)

  /// An `i32` of the same bits.
  public init(signed value: Int32) { self = .i32(UInt32(bitPattern: value)) }
  /// An `i64` of the same bits.
  public init(signed value: Int64) { self = .i64(UInt64(bitPattern: value)) }
  /// An `f32` of the same bits.
  public static func fromFloat32(_ value: Float) -> Value { .f32(value.bitPattern) }
  /// An `f64` of the same bits.
  public static func fromFloat64(_ value: Double) -> Value { .f64(value.bitPattern) }

  /// The type of the value.
  public var type: ValueType {
    switch self {
    case .i32: .i32
    case .i64: .i64
    case .f32: .f32
    case .f64: .f64
    case .v128: .v128
    case .funcref: .funcref
    case .externref: .externref
    }
  }

  /// The value that a local, a global or a table element of this type starts with: zero, or null.
  public init(defaultOf type: ValueType) {
    switch type {
    case .i32: self = .i32(0)
    case .i64: self = .i64(0)
    case .f32: self = .f32(0)
    case .f64: self = .f64(0)
    case .v128: self = .v128(low: 0, high: 0)
    case .funcref: self = .funcref(nil)
    case .externref: self = .externref(nil)
    }
  }

  /// The bits of an `i32`, otherwise nil.
  public var i32: UInt32? { if case .i32(let value) = self { value } else { nil } }
  /// The bits of an `i64`, otherwise nil.
  public var i64: UInt64? { if case .i64(let value) = self { value } else { nil } }
  /// The number of an `f32`, otherwise nil.
  public var float: Float? { if case .f32(let bits) = self { Float(bitPattern: bits) } else { nil } }
  /// The number of an `f64`, otherwise nil.
  public var double: Double? { if case .f64(let bits) = self { Double(bitPattern: bits) } else { nil } }
  /// The function of a `funcref` that is not null, otherwise nil.
  public var function: Function? { if case .funcref(let function) = self { function } else { nil } }
  /// The reference of an `externref` that is not null, otherwise nil.
  public var externRef: ExternRef? { if case .externref(let reference) = self { reference } else { nil } }

  /// Type and value: `i32:7`, `f64:1.5`, `funcref:null`. Integers are shown as signed.
  public var description: String {
    switch self {
    case .i32(let value): "i32:\(Int32(bitPattern: value))"
    case .i64(let value): "i64:\(Int64(bitPattern: value))"
    case .f32(let bits): "f32:\(Float(bitPattern: bits))"
    case .f64(let bits): "f64:\(Double(bitPattern: bits))"
    case .v128(let low, let high): "v128:0x" + hexadecimal(high, digits: 16) + hexadecimal(low, digits: 16)
    case .funcref(let function): function.map { "funcref:\($0.type)" } ?? "funcref:null"
    case .externref(let reference): reference.map { "externref:\($0.value)" } ?? "externref:null"
    }
  }
}

/// A number in hexadecimal with leading zeros.
func hexadecimal(_ value: some FixedWidthInteger & UnsignedInteger, digits: Int) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}
