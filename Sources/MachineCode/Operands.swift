/// What operands of every machine have in common: widths of integers and floats, and labels.

/// Width of an integer operand.
public enum OperandSize: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case b8, b16, b32, b64

  /// Width in bytes.
  @inlinable public var bytes: Int { 1 << Int(rawValue) }
}

/// Width of a floating-point operand.
public enum FloatSize: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// Single precision.
  case f32
  /// Double precision.
  case f64
}

/// A place in the code of the function being assembled, perhaps still to come.
public struct Label: Sendable, Equatable, BitwiseCopyable {
  @usableFromInline internal var id: UInt32

  @inlinable internal init(id: UInt32) { self.id = id }
}
