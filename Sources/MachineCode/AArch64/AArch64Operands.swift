/// Operands of AArch64 instructions: registers, conditions, operations, addresses.
///
/// Raw values are the numbers that the processor's encoding uses (Arm Architecture Reference Manual for
/// A-profile, C4.1 and C6.2), so that encoding an operand is arithmetic on it.

/// A general-purpose register.
///
/// The number 31 means the stack pointer in some places of some instructions and zero in all others.
/// Here they are two registers, and each instruction says where it takes which.
public enum AArch64Register: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15
  // swift-format-ignore
  case x16, x17, x18, x19, x20, x21, x22, x23, x24, x25, x26, x27, x28, x29, x30
  /// Reads as zero, takes what is of no interest.
  case zr
  /// The stack pointer.
  case sp

  // The five bits that instructions hold: 31 for the stack pointer as well.
  @inlinable @inline(__always) internal var bits: UInt32 { UInt32(rawValue) &- UInt32(rawValue) >> 5 }

  /// The register with number `number & 31`; 31 is `zr`.
  @inlinable @inline(__always) public init(number: UInt8) {
    // Every value of five bits is a case.
    self = unsafe unsafeBitCast(number & 31, to: AArch64Register.self)
  }
}

/// A floating-point and vector register.
public enum AArch64VectorRegister: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15
  // swift-format-ignore
  case v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28, v29, v30, v31

  @inlinable @inline(__always) internal var bits: UInt32 { UInt32(rawValue) }

  /// The register with number `number & 31`.
  @inlinable @inline(__always) public init(number: UInt8) {
    // Every value of five bits is a case.
    self = unsafe unsafeBitCast(number & 31, to: AArch64VectorRegister.self)
  }
}

/// A condition on the flags, by its code in `b.cond` and `csel` (C1.2.4).
public enum AArch64Condition: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// Equal. Z.
  case eq
  /// Not equal, or unordered.
  case ne
  /// Unsigned higher or same (carry set); greater than, equal or unordered.
  case hs
  /// Unsigned lower (carry clear); less than.
  case lo
  /// Negative; less than.
  case mi
  /// Positive or zero; greater than, equal or unordered.
  case pl
  /// Overflow; unordered.
  case vs
  /// No overflow; ordered.
  case vc
  /// Unsigned higher; greater than or unordered.
  case hi
  /// Unsigned lower or same; less than or equal.
  case ls
  /// Signed greater than or equal.
  case ge
  /// Signed less than; less than or unordered.
  case lt
  /// Signed greater than.
  case gt
  /// Signed less than or equal; less than, equal or unordered.
  case le

  @inlinable @inline(__always) internal var bits: UInt32 { UInt32(rawValue) }

  /// The condition that holds exactly when this one does not.
  @inlinable @inline(__always) public var inverted: AArch64Condition {
    // Conditions stand in pairs, and each value of the two has its partner among the cases.
    unsafe unsafeBitCast(rawValue ^ 1, to: AArch64Condition.self)
  }

  /// The condition that holds after comparing b with a when this one holds after comparing a with b.
  @inlinable public var swapped: AArch64Condition {
    switch self {
    case .hs: .ls
    case .ls: .hs
    case .lo: .hi
    case .hi: .lo
    case .ge: .le
    case .le: .ge
    case .lt: .gt
    case .gt: .lt
    default: self
    }
  }
}

/// Addition and subtraction, with and without flags; the raw value is the encoding's `op:S`.
public enum AArch64ArithmeticOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case add, adds, sub, subs
}

/// Bitwise operations; the raw value is the encoding's `opc:N`. Those with N invert their second
/// operand, and have no form with an immediate.
public enum AArch64LogicalOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case and, bic, orr, orn, eor, eon, ands, bics
}

/// Shifts; the raw value is the encoding's `shift`.
public enum AArch64ShiftOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// Shift left.
  case lsl
  /// Shift right, filling with zeros.
  case lsr
  /// Shift right, filling with the sign.
  case asr
  /// Rotate right.
  case ror
}

/// Extensions of a register operand; the raw value is the encoding's `option`.
public enum AArch64ExtendOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case uxtb, uxth, uxtw, uxtx, sxtb, sxth, sxtw, sxtx
}

/// Conditional selections: b as it is, plus 1, inverted, negated; the raw value is the encoding's
/// `op:op2`.
public enum AArch64SelectOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case csel, csinc, csinv, csneg
}

/// Scalar floating-point operations on two registers; the raw value is the encoding's `opcode`.
public enum AArch64FloatOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case fmul, fdiv, fadd, fsub, fmax, fmin, fmaxnm, fminnm, fnmul
}

/// Scalar floating-point operations on one register; the raw value is the encoding's `opcode`.
public enum AArch64FloatUnaryOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case fmov = 0, fabs, fneg, fsqrt
  /// Rounds to nearest, ties to even.
  case frintn = 8
  /// Rounds towards plus infinity.
  case frintp
  /// Rounds towards minus infinity.
  case frintm
  /// Rounds towards zero.
  case frintz
  /// Rounds to nearest, ties away from zero.
  case frinta
}

/// Bitwise operations on whole vectors; the raw value is the encoding's `U:size`.
public enum AArch64VectorLogicalOp: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  // swift-format-ignore
  case and, bic, orr, orn, eor
  /// dst = dst ? a : b, bit by bit.
  case bsl
  /// dst = b ? a : dst, bit by bit.
  case bit
  /// dst = b ? dst : a, bit by bit.
  case bif
}

/// Where an indirect branch may land (`bti`); the raw value is the hint's number.
public enum AArch64BranchTarget: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// From nowhere.
  case none = 32
  /// `c`: from calls, and from `br` through x16 or x17.
  case call = 34
  /// `j`: from jumps.
  case jump = 36
  /// `jc`: from both.
  case both = 38
}

/// A memory operand. Twelve bytes, plain data.
///
/// A base (a register or sp, never zr) and one of: a displacement, an index, a displacement that is
/// also added to the base before or after the access. Loads and stores take displacements of any
/// size: what their encoding has no room for is put into x16 first.
public struct AArch64Address: Sendable, Equatable, BitwiseCopyable {
  /// When the base is changed.
  public enum Update: UInt8, Sendable, BitwiseCopyable {
    /// Never.
    case none
    /// Before the access: `[base, #displacement]!`, of -256...255.
    case before
    /// After the access, which is at the base: `[base], #displacement`, of -256...255.
    case after
  }

  /// Base register; 31 is sp.
  public var base: AArch64Register
  /// Index register, if any; then there is no displacement.
  public var index: AArch64Register?
  /// How the index is extended: `uxtw`, `uxtx` (which is `lsl`), `sxtw` or `sxtx`.
  public var extend: AArch64ExtendOp
  /// Whether the index counts elements of the access's size.
  public var isScaled: Bool
  /// Whether the base is changed.
  public var update: Update
  /// Signed displacement in bytes.
  public var displacement: Int32

  /// base + displacement.
  @inlinable @inline(__always)
  public init(base: AArch64Register, displacement: Int32 = 0, update: Update = .none) {
    self.base = base
    self.index = nil
    self.extend = .uxtx
    self.isScaled = false
    self.update = update
    self.displacement = displacement
  }

  /// base + index, extended, and times the size of the access if `isScaled`.
  @inlinable @inline(__always)
  public init(
    base: AArch64Register, index: AArch64Register, _ extend: AArch64ExtendOp = .uxtx, isScaled: Bool = false
  ) {
    assert(extend.rawValue & 2 != 0, "an index has 32 or 64 bits")
    self.base = base
    self.index = index
    self.extend = extend
    self.isScaled = isScaled
    self.update = .none
    self.displacement = 0
  }
}
