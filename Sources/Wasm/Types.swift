// The types of WebAssembly, in the vocabulary of the specification.
//
// A value type is one byte wherever it is stored, because function types, locals and the validator's operand stack are
// all arrays of them, and hostile input decides how long those are. `v128` is a value type like another, although no
// instruction of this version makes one; so whoever switches over types has room for it already.

/// A value type, with its binary encoding as raw value.
///
/// Spec: Core 5.3.1 to 5.3.4, "Number Types" to "Value Types".
public enum ValueType: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// A 32-bit integer.
  case i32 = 0x7F
  /// A 64-bit integer.
  case i64 = 0x7E
  /// A 32-bit float.
  case f32 = 0x7D
  /// A 64-bit float.
  case f64 = 0x7C
  /// A 128-bit vector.
  case v128 = 0x7B
  /// A reference to a function, or null.
  case funcref = 0x70
  /// A reference to an object of the host, or null.
  case externref = 0x6F

  /// Whether values of this type are references.
  @inlinable public var isReference: Bool { self == .funcref || self == .externref }

  /// Whether values of this type live in floating-point or vector registers.
  @inlinable public var isFloatOrVector: Bool { self == .f32 || self == .f64 || self == .v128 }

  /// The type's place among the cases, 0 to 6. Costs nothing: it is how the case is stored.
  ///
  /// The validator keeps its operand stack in these, with one more number for the type of an operand that dead code
  /// takes from nowhere.
  @inlinable var tag: UInt8 {
    // An enum of fewer than 256 cases without payloads is one byte, the case's ordinal.
    unsafe unsafeBitCast(self, to: UInt8.self)
  }

  /// The type with this place among the cases.
  @inlinable init(tag: UInt8) {
    precondition(tag < 7)
    self = unsafe unsafeBitCast(tag, to: ValueType.self)
  }
}

extension ValueType: CustomStringConvertible {
  /// The type's name in the text format.
  public var description: String {
    switch self {
    case .i32: "i32"
    case .i64: "i64"
    case .f32: "f32"
    case .f64: "f64"
    case .v128: "v128"
    case .funcref: "funcref"
    case .externref: "externref"
    }
  }
}

/// A function type: what a function takes and what it returns, in order.
///
/// Spec: Core 2.3.6, "Function Types".
public struct FunctionType: Hashable, Sendable, CustomStringConvertible {
  /// The types of the parameters, in order.
  public var parameters: [ValueType]
  /// The types of the results, in order.
  public var results: [ValueType]

  /// Makes a function type from its parameters and results.
  public init(parameters: [ValueType] = [], results: [ValueType] = []) {
    self.parameters = parameters
    self.results = results
  }

  /// The specification's notation: `[i32 i64] -> [f32]`.
  public var description: String { "\(Self.list(parameters)) -> \(Self.list(results))" }

  static func list(_ types: some Sequence<ValueType>) -> String {
    "[" + types.map(\.description).joined(separator: " ") + "]"
  }
}

/// The size range of a memory (in pages of 64 KiB) or of a table (in elements).
///
/// Spec: Core 2.3.7, "Limits".
public struct Limits: Hashable, Sendable {
  /// The initial size.
  public var minimum: UInt64
  /// The largest size it may grow to; unlimited when absent.
  public var maximum: UInt64?

  /// Makes limits; validity (minimum at most maximum) is the decoder's business.
  public init(minimum: UInt64, maximum: UInt64? = nil) {
    self.minimum = minimum
    self.maximum = maximum
  }
}

/// The type of a linear memory. Limits count pages of 64 KiB.
public struct MemoryType: Hashable, Sendable {
  /// Initial and largest size, in pages.
  public var limits: Limits
  /// Whether addresses are 64-bit. Never set by this version of the decoder.
  public var isMemory64: Bool
  /// Whether threads may share it. Never set by this version of the decoder.
  public var isShared: Bool

  /// Makes a memory type.
  public init(limits: Limits, isMemory64: Bool = false, isShared: Bool = false) {
    self.limits = limits
    self.isMemory64 = isMemory64
    self.isShared = isShared
  }

  /// The most pages that a memory with 32-bit addresses may have (4 GiB).
  public static let maximumPages32: UInt64 = 65_536
}

/// The type of a table. Limits count elements.
public struct TableType: Hashable, Sendable {
  /// The type of the elements, a reference type.
  public var element: ValueType
  /// Initial and largest size, in elements.
  public var limits: Limits

  /// Makes a table type.
  public init(element: ValueType, limits: Limits) {
    self.element = element
    self.limits = limits
  }
}

/// The type of a global.
public struct GlobalType: Hashable, Sendable, BitwiseCopyable {
  /// The type of the value it holds.
  public var value: ValueType
  /// Whether it can be set.
  public var isMutable: Bool

  /// Makes a global type.
  public init(value: ValueType, isMutable: Bool) {
    self.value = value
    self.isMutable = isMutable
  }
}

/// The four kinds of things that modules import and export, with their binary encoding as raw value.
public enum ExternalKind: UInt8, Sendable, CaseIterable {
  /// A function.
  case function = 0
  /// A table.
  case table = 1
  /// A linear memory.
  case memory = 2
  /// A global.
  case global = 3
}
