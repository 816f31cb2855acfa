/// Floating-point instructions of the AArch64 assembler, and what little of the vector side scalar code
/// needs.
///
/// Scalar instructions clear the rest of their register. Minimum, maximum, rounding and conversion do what
/// WebAssembly asks, NaNs included; a comparison with a NaN sets C and V, so `mi`, `ls`, `gt`, `ge` and
/// `eq` are false then.

extension FloatSize {
  // The `ftype` field.
  @inlinable @inline(__always) internal var ftype: UInt32 { UInt32(rawValue) << 22 }
}

extension AArch64Assembler {
  @inlinable @inline(__always)
  internal mutating func emitFloat(_ opcode: UInt32, _ dst: UInt32, _ a: UInt32, _ b: UInt32 = 0) {
    emit(opcode | b << 16 | a << 5 | dst)
  }

  // MARK: Moves

  /// `fmov` between registers: `s` or `d`.
  @inlinable public mutating func fmov(_ size: FloatSize, _ dst: AArch64VectorRegister, _ src: AArch64VectorRegister) {
    float(.fmov, size, dst, src)
  }

  /// `mov dst.16b, src.16b`: the whole register.
  @inlinable public mutating func mov(_ dst: AArch64VectorRegister, _ src: AArch64VectorRegister) {
    vectorLogical(.orr, dst, src, src)
  }

  /// `fmov s, w` or `fmov d, x`.
  @inlinable public mutating func fmov(_ size: FloatSize, _ dst: AArch64VectorRegister, _ src: AArch64Register) {
    emitFloat(0x1E27_0000 | size.ftype | UInt32(size.rawValue) << 31, dst.bits, src.bits)
  }

  /// `fmov w, s` or `fmov x, d`.
  @inlinable public mutating func fmov(_ size: FloatSize, _ dst: AArch64Register, _ src: AArch64VectorRegister) {
    emitFloat(0x1E26_0000 | size.ftype | UInt32(size.rawValue) << 31, dst.bits, src.bits)
  }

  /// The encoding of a constant (its bits) as immediate of `fmov`: ±(16...31)/16 × 2^(-3...4). Nil for all others.
  public static func floatImmediate(_ bits: UInt64, _ size: FloatSize) -> UInt8? {
    // Sign; then the exponent's top bit and its inverse repeated; two bits more; four of the fraction.
    switch size {
    case .f32:
      let exponent = bits >> 25 & 0x3F
      guard bits & 0x7_FFFF == 0, exponent == 0x20 || exponent == 0x1F else { return nil }
      return UInt8(bits >> 24 & 0x80 | (exponent & 1) << 6 | bits >> 19 & 0x3F)
    case .f64:
      let exponent = bits >> 54 & 0x1FF
      guard bits & 0xFFFF_FFFF_FFFF == 0, exponent == 0x100 || exponent == 0xFF else { return nil }
      return UInt8(bits >> 56 & 0x80 | (exponent & 1) << 6 | bits >> 48 & 0x3F)
    }
  }

  /// `fmov dst, #immediate`, by the encoding of `floatImmediate`.
  @inlinable public mutating func fmov(_ size: FloatSize, _ dst: AArch64VectorRegister, encoded immediate: UInt8) {
    emit(0x1E20_1000 | size.ftype | UInt32(immediate) << 13 | dst.bits)
  }

  // MARK: Arithmetic

  /// `op dst, a, b`.
  @inlinable public mutating func float(
    _ op: AArch64FloatOp, _ size: FloatSize, _ dst: AArch64VectorRegister, _ a: AArch64VectorRegister,
    _ b: AArch64VectorRegister
  ) { emitFloat(0x1E20_0800 | size.ftype | UInt32(op.rawValue) << 12, dst.bits, a.bits, b.bits) }

  /// `op dst, a`.
  @inlinable public mutating func float(
    _ op: AArch64FloatUnaryOp, _ size: FloatSize, _ dst: AArch64VectorRegister, _ a: AArch64VectorRegister
  ) { emitFloat(0x1E20_4000 | size.ftype | UInt32(op.rawValue) << 15, dst.bits, a.bits) }

  /// `fcmp a, b`: quiet NaNs raise nothing.
  @inlinable public mutating func fcmp(_ size: FloatSize, _ a: AArch64VectorRegister, _ b: AArch64VectorRegister) {
    emitFloat(0x1E20_2000 | size.ftype, 0, a.bits, b.bits)
  }

  /// `fcmp a, #0.0`.
  @inlinable public mutating func fcmpZero(_ size: FloatSize, _ a: AArch64VectorRegister) {
    emitFloat(0x1E20_2008 | size.ftype, 0, a.bits)
  }

  /// `fcsel dst, a, b, condition`.
  @inlinable public mutating func fcsel(
    _ size: FloatSize, _ dst: AArch64VectorRegister, _ a: AArch64VectorRegister, _ b: AArch64VectorRegister,
    _ condition: AArch64Condition
  ) { emitFloat(0x1E20_0C00 | size.ftype | condition.bits << 12, dst.bits, a.bits, b.bits) }

  // MARK: Conversions

  /// `fcvt d, s`.
  @inlinable public mutating func fcvtToDouble(_ dst: AArch64VectorRegister, _ src: AArch64VectorRegister) {
    emitFloat(0x1E22_C000, dst.bits, src.bits)
  }

  /// `fcvt s, d`.
  @inlinable public mutating func fcvtToSingle(_ dst: AArch64VectorRegister, _ src: AArch64VectorRegister) {
    emitFloat(0x1E62_4000, dst.bits, src.bits)
  }

  /// `scvtf`/`ucvtf dst, src`; `from` is 32 or 64 bits.
  @inlinable public mutating func convert(
    _ to: FloatSize, _ dst: AArch64VectorRegister, _ from: OperandSize, _ src: AArch64Register, signed: Bool
  ) { emitFloat((signed ? 0x1E22_0000 : 0x1E23_0000) | to.ftype | from.sf, dst.bits, src.bits) }

  /// `fcvtzs`/`fcvtzu dst, src`: towards zero; `to` is 32 or 64 bits. Saturates, and makes a NaN 0.
  @inlinable public mutating func truncate(
    _ to: OperandSize, _ dst: AArch64Register, _ from: FloatSize, _ src: AArch64VectorRegister, signed: Bool
  ) { emitFloat((signed ? 0x1E38_0000 : 0x1E39_0000) | from.ftype | to.sf, dst.bits, src.bits) }

  // MARK: Vectors

  /// `op dst.16b, a.16b, b.16b`.
  @inlinable public mutating func vectorLogical(
    _ op: AArch64VectorLogicalOp, _ dst: AArch64VectorRegister, _ a: AArch64VectorRegister,
    _ b: AArch64VectorRegister
  ) {
    let bits = UInt32(op.rawValue)
    emitFloat(0x4E20_1C00 | (bits >> 2) << 29 | (bits & 3) << 22, dst.bits, a.bits, b.bits)
  }

  /// `mvn dst.16b, a.16b`.
  @inlinable public mutating func vectorNot(_ dst: AArch64VectorRegister, _ a: AArch64VectorRegister) {
    emitFloat(0x6E20_5800, dst.bits, a.bits)
  }

  /// `movi dst.2d, #0`.
  @inlinable public mutating func vectorZero(_ dst: AArch64VectorRegister) { emit(0x6F00_E400 | dst.bits) }

  /// `movi dst.2s, #immediate, lsl #shift`; shift is 0, 8, 16 or 24.
  @inlinable public mutating func movi(_ dst: AArch64VectorRegister, _ immediate: UInt8, shift: UInt8) {
    let bits = UInt32(immediate)
    emit(0x0F00_0400 | (bits >> 5) << 16 | UInt32(shift >> 3) << 13 | (bits & 31) << 5 | dst.bits)
  }

  /// `fneg dst.2d, a.2d`: flips both signs.
  @inlinable public mutating func vectorNegate(_ dst: AArch64VectorRegister, _ a: AArch64VectorRegister) {
    emitFloat(0x6EE0_F800, dst.bits, a.bits)
  }

  /// `cnt dst.8b, a.8b`: bits set in each of eight bytes.
  @inlinable public mutating func cnt(_ dst: AArch64VectorRegister, _ a: AArch64VectorRegister) {
    emitFloat(0x0E20_5800, dst.bits, a.bits)
  }

  /// `addv b, a.8b`: the sum of eight bytes.
  @inlinable public mutating func addv(_ dst: AArch64VectorRegister, _ a: AArch64VectorRegister) {
    emitFloat(0x0E31_B800, dst.bits, a.bits)
  }
}
