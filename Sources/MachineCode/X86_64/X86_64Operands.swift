/// Operands of x86-64 instructions: registers, sizes, conditions, addresses.
///
/// Raw values are the numbers that the processor's encoding uses (Intel SDM volume 2, chapter 2 and
/// appendix B), so that encoding an operand is arithmetic on it.

/// A general-purpose register.
public enum Register: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15

  // Three low bits: what ModRM and SIB hold.
  @inlinable @inline(__always) internal var low: UInt64 { UInt64(rawValue) & 7 }
  // The fourth bit: what a REX prefix holds.
  @inlinable @inline(__always) internal var high: UInt64 { UInt64(rawValue) >> 3 }

  /// The register with number `number & 15`.
  @inlinable @inline(__always) public init(number: UInt8) {
    // Every value of four bits is a case.
    self = unsafe unsafeBitCast(number & 15, to: Register.self)
  }
}

/// A vector register.
public enum XMMRegister: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15

  @inlinable @inline(__always) internal var low: UInt64 { UInt64(rawValue) & 7 }
  @inlinable @inline(__always) internal var high: UInt64 { UInt64(rawValue) >> 3 }

  /// The register with number `number & 15`.
  @inlinable @inline(__always) public init(number: UInt8) {
    // Every value of four bits is a case.
    self = unsafe unsafeBitCast(number & 15, to: XMMRegister.self)
  }
}

/// A condition on the flags, by its code in `jcc`, `setcc` and `cmovcc`.
public enum Condition: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case overflow, noOverflow, below, aboveOrEqual, equal, notEqual, belowOrEqual, above
  // swift-format-ignore
  case sign, noSign, parity, noParity, less, greaterOrEqual, lessOrEqual, greater

  /// The condition that holds exactly when this one does not.
  @inlinable @inline(__always) public var inverted: Condition {
    // Conditions stand in pairs, and every value of four bits is one.
    unsafe unsafeBitCast(rawValue ^ 1, to: Condition.self)
  }

  /// The condition that holds for `b ? a` when this one holds for `a ? b`.
  @inlinable public var swapped: Condition {
    switch self {
    case .below: .above
    case .above: .below
    case .aboveOrEqual: .belowOrEqual
    case .belowOrEqual: .aboveOrEqual
    case .less: .greater
    case .greater: .less
    case .lessOrEqual: .greaterOrEqual
    case .greaterOrEqual: .lessOrEqual
    default: self
    }
  }
}

/// The eight classic two-operand operations; the raw value is their `/digit`.
public enum AluOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case add, or, adc, sbb, and, sub, xor, cmp
}

/// Rotates and shifts; the raw value is their `/digit`.
public enum ShiftOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// Rotate left.
  case rol = 0
  /// Rotate right.
  case ror = 1
  /// Shift left.
  case shl = 4
  /// Shift right, filling with zeros.
  case shr = 5
  /// Shift right, filling with the sign.
  case sar = 7
}

/// Scalar SSE arithmetic; the raw value is the last opcode byte.
public enum SSEOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case sqrt = 0x51, add = 0x58, mul = 0x59, sub = 0x5C, min = 0x5D, div = 0x5E, max = 0x5F
}

/// Rounding of `roundss`/`roundsd` (SSE4.1); the raw value is the immediate, inexactness masked.
public enum RoundingMode: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// To nearest, ties to even.
  case nearest = 8
  /// Towards minus infinity.
  case floor = 9
  /// Towards plus infinity.
  case ceil = 10
  /// Towards zero.
  case truncate = 11
}

/// How far a forward branch must reach.
public enum BranchReach: Sendable, BitwiseCopyable {
  /// 32-bit displacement.
  case near
  /// 8-bit displacement: the caller knows that the label will be at most 127 bytes away.
  case short
}

/// A memory operand: base + index × scale + displacement. Eight bytes, plain data.
///
/// Without base and index it is an absolute address in the low or high 2 GiB. `rsp` cannot be
/// the index.
public struct Address: Sendable, Equatable, BitwiseCopyable {
  /// Base register.
  public var base: Register?
  /// Index register; never `rsp`.
  public var index: Register?
  /// 1, 2, 4 or 8.
  public var scale: UInt8
  /// Signed displacement in bytes.
  public var displacement: Int32

  /// base + displacement.
  @inlinable @inline(__always)
  public init(base: Register, displacement: Int32 = 0) {
    self.base = base
    self.index = nil
    self.scale = 1
    self.displacement = displacement
  }

  /// base + index × scale + displacement; `scale` is 1, 2, 4 or 8.
  @inlinable @inline(__always)
  public init(base: Register?, index: Register?, scale: UInt8 = 1, displacement: Int32 = 0) {
    assert(index != .rsp && (scale == 1 || scale == 2 || scale == 4 || scale == 8))
    self.base = base
    self.index = index
    self.scale = scale
    self.displacement = displacement
  }
}
