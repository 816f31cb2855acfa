/// SSE instructions of the x86-64 assembler: scalar floating point, and what little of the vector
/// side scalar code needs.
///
/// The baseline is x86-64-v2, so SSE4.1 is taken for granted. Scalar operations on single precision
/// have the mandatory prefix F3, on double precision F2; packed ones none and 66. The mandatory
/// prefix stands before REX.

extension FloatSize {
  // Mandatory prefix of scalar instructions.
  @inlinable @inline(__always) internal var scalarPrefix: UInt64 { self == .f32 ? 0xF3 : 0xF2 }
  // Mandatory prefix of packed instructions, or 0.
  @inlinable @inline(__always) internal var packedPrefix: UInt64 { self == .f32 ? 0 : 0x66 }
}

extension X86_64Assembler {
  @inlinable @inline(__always)
  internal mutating func emitSSE(
    _ prefix: UInt64, _ opcode: UInt64, length: UInt64 = 2, _ dst: XMMRegister, _ src: XMMRegister
  ) {
    emitRR(
      prefix: prefix, opcode: opcode << 8 | 0x0F, length: length, reg: UInt64(dst.rawValue), rm: UInt64(src.rawValue))
  }

  @inlinable @inline(__always)
  internal mutating func emitSSE(_ prefix: UInt64, _ opcode: UInt64, _ dst: XMMRegister, _ address: Address) {
    emitRM(prefix: prefix, opcode: opcode << 8 | 0x0F, length: 2, reg: UInt64(dst.rawValue), address)
  }

  // MARK: Moves

  /// `movss`/`movsd dst, [address]`; the rest of the register becomes zero.
  @inlinable public mutating func load(_ size: FloatSize, dst: XMMRegister, from address: Address) {
    emitSSE(size.scalarPrefix, 0x10, dst, address)
  }

  /// `movss`/`movsd [address], src`.
  @inlinable public mutating func store(_ size: FloatSize, to address: Address, src: XMMRegister) {
    emitSSE(size.scalarPrefix, 0x11, src, address)
  }

  /// `movaps dst, src`: the whole register.
  @inlinable public mutating func movaps(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0, 0x28, dst, src) }

  /// `movaps dst, [address]`; the address must be a multiple of 16.
  @inlinable public mutating func movaps(_ dst: XMMRegister, from address: Address) { emitSSE(0, 0x28, dst, address) }

  /// `movaps [address], src`; the address must be a multiple of 16.
  @inlinable public mutating func movaps(to address: Address, _ src: XMMRegister) { emitSSE(0, 0x29, src, address) }

  /// `movups dst, [address]`.
  @inlinable public mutating func movups(_ dst: XMMRegister, from address: Address) { emitSSE(0, 0x10, dst, address) }

  /// `movups [address], src`.
  @inlinable public mutating func movups(to address: Address, _ src: XMMRegister) { emitSSE(0, 0x11, src, address) }

  /// `movdqu dst, [address]`.
  @inlinable public mutating func movdqu(_ dst: XMMRegister, from address: Address) {
    emitSSE(0xF3, 0x6F, dst, address)
  }

  /// `movdqu [address], src`.
  @inlinable public mutating func movdqu(to address: Address, _ src: XMMRegister) {
    emitSSE(0xF3, 0x7F, src, address)
  }

  /// `movd xmm, r32`.
  @inlinable public mutating func movd(_ dst: XMMRegister, _ src: Register) {
    emitRR(prefix: 0x66, opcode: 0x6E0F, length: 2, reg: UInt64(dst.rawValue), rm: UInt64(src.rawValue))
  }

  /// `movd r32, xmm`.
  @inlinable public mutating func movd(_ dst: Register, _ src: XMMRegister) {
    emitRR(prefix: 0x66, opcode: 0x7E0F, length: 2, reg: UInt64(src.rawValue), rm: UInt64(dst.rawValue))
  }

  /// `movq xmm, r64`.
  @inlinable public mutating func movq(_ dst: XMMRegister, _ src: Register) {
    emitRR(prefix: 0x66, opcode: 0x6E0F, length: 2, w: true, reg: UInt64(dst.rawValue), rm: UInt64(src.rawValue))
  }

  /// `movq r64, xmm`.
  @inlinable public mutating func movq(_ dst: Register, _ src: XMMRegister) {
    emitRR(prefix: 0x66, opcode: 0x7E0F, length: 2, w: true, reg: UInt64(src.rawValue), rm: UInt64(dst.rawValue))
  }

  // MARK: Scalar arithmetic

  /// `addss`, `sqrtsd` and their like: `op dst, src`.
  @inlinable public mutating func sse(_ op: SSEOp, _ size: FloatSize, _ dst: XMMRegister, _ src: XMMRegister) {
    emitSSE(size.scalarPrefix, UInt64(op.rawValue), dst, src)
  }

  /// The same with a memory operand.
  @inlinable public mutating func sse(_ op: SSEOp, _ size: FloatSize, _ dst: XMMRegister, from address: Address) {
    emitSSE(size.scalarPrefix, UInt64(op.rawValue), dst, address)
  }

  /// `ucomiss`/`ucomisd a, b`: flags as of an unsigned comparison; parity when unordered.
  @inlinable public mutating func ucomis(_ size: FloatSize, _ a: XMMRegister, _ b: XMMRegister) {
    emitSSE(size.packedPrefix, 0x2E, a, b)
  }

  /// The same with a memory operand.
  @inlinable public mutating func ucomis(_ size: FloatSize, _ a: XMMRegister, _ b: Address) {
    emitSSE(size.packedPrefix, 0x2E, a, b)
  }

  /// `cmpss`/`cmpsd dst, src, predicate`: all ones or zeros. Predicates: 0 eq, 1 lt, 2 le, 3 unord, 4 neq,
  /// 5 nlt, 6 nle, 7 ord.
  @inlinable public mutating func cmps(
    _ size: FloatSize, _ dst: XMMRegister, _ src: XMMRegister, predicate: UInt8
  ) {
    emitSSE(size.scalarPrefix, 0xC2, dst, src)
    code.emit(UInt32(predicate), 1)
  }

  /// `roundss`/`roundsd dst, src, mode` (SSE4.1).
  @inlinable public mutating func round(
    _ size: FloatSize, _ dst: XMMRegister, _ src: XMMRegister, _ mode: RoundingMode
  ) {
    emitSSE(0x66, size == .f32 ? 0x0A3A : 0x0B3A, length: 3, dst, src)
    code.emit(UInt32(mode.rawValue), 1)
  }

  // MARK: Conversions

  /// `cvtsi2ss`/`cvtsi2sd dst, src`; `from` is 32 or 64 bits. Only the low element of `dst` changes:
  /// clear it before (`xorps`) to avoid waiting for its last writer.
  @inlinable public mutating func cvtsi2s(
    _ to: FloatSize, _ dst: XMMRegister, _ from: OperandSize, _ src: Register
  ) {
    emitRR(
      prefix: to.scalarPrefix, opcode: 0x2A0F, length: 2, w: from.w, reg: UInt64(dst.rawValue),
      rm: UInt64(src.rawValue))
  }

  /// The same with a memory operand.
  @inlinable public mutating func cvtsi2s(
    _ to: FloatSize, _ dst: XMMRegister, _ from: OperandSize, from address: Address
  ) {
    emitRM(prefix: to.scalarPrefix, opcode: 0x2A0F, length: 2, w: from.w, reg: UInt64(dst.rawValue), address)
  }

  /// `cvttss2si`/`cvttsd2si dst, src`: towards zero; `to` is 32 or 64 bits; out of range gives the
  /// smallest integer.
  @inlinable public mutating func cvtts2si(
    _ to: OperandSize, _ dst: Register, _ from: FloatSize, _ src: XMMRegister
  ) {
    emitRR(
      prefix: from.scalarPrefix, opcode: 0x2C0F, length: 2, w: to.w, reg: UInt64(dst.rawValue),
      rm: UInt64(src.rawValue))
  }

  /// `cvtss2sd dst, src`.
  @inlinable public mutating func cvtss2sd(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0xF3, 0x5A, dst, src) }

  /// `cvtss2sd dst, [address]`.
  @inlinable public mutating func cvtss2sd(_ dst: XMMRegister, from address: Address) {
    emitSSE(0xF3, 0x5A, dst, address)
  }

  /// `cvtsd2ss dst, src`.
  @inlinable public mutating func cvtsd2ss(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0xF2, 0x5A, dst, src) }

  /// `cvtsd2ss dst, [address]`.
  @inlinable public mutating func cvtsd2ss(_ dst: XMMRegister, from address: Address) {
    emitSSE(0xF2, 0x5A, dst, address)
  }

  // MARK: Whole registers

  /// `andps dst, src`; bits do not care about precision, and this is the shortest.
  @inlinable public mutating func andps(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0, 0x54, dst, src) }

  /// `andps dst, [address]`; the address must be a multiple of 16.
  @inlinable public mutating func andps(_ dst: XMMRegister, from address: Address) { emitSSE(0, 0x54, dst, address) }

  /// `andnps dst, src`: dst = ~dst & src.
  @inlinable public mutating func andnps(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0, 0x55, dst, src) }

  /// `andnps dst, [address]`; the address must be a multiple of 16.
  @inlinable public mutating func andnps(_ dst: XMMRegister, from address: Address) { emitSSE(0, 0x55, dst, address) }

  /// `orps dst, src`.
  @inlinable public mutating func orps(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0, 0x56, dst, src) }

  /// `orps dst, [address]`; the address must be a multiple of 16.
  @inlinable public mutating func orps(_ dst: XMMRegister, from address: Address) { emitSSE(0, 0x56, dst, address) }

  /// `xorps dst, src`.
  @inlinable public mutating func xorps(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0, 0x57, dst, src) }

  /// `xorps dst, [address]`; the address must be a multiple of 16.
  @inlinable public mutating func xorps(_ dst: XMMRegister, from address: Address) { emitSSE(0, 0x57, dst, address) }

  /// `pxor dst, src`.
  @inlinable public mutating func pxor(_ dst: XMMRegister, _ src: XMMRegister) { emitSSE(0x66, 0xEF, dst, src) }

  /// `pcmpeqb`, `pcmpeqw`, `pcmpeqd` (`size` 8, 16, 32) or `pcmpeqq` (64) `dst, src`. With itself: all ones.
  @inlinable public mutating func pcmpeq(_ size: OperandSize, _ dst: XMMRegister, _ src: XMMRegister) {
    if size == .b64 {
      emitSSE(0x66, 0x2938, length: 3, dst, src)
    } else {
      emitSSE(0x66, 0x74 &+ UInt64(size.rawValue), dst, src)
    }
  }

  /// `psllw`, `pslld` or `psllq dst, immediate`; `size` is 16, 32 or 64 bits.
  @inlinable public mutating func psll(_ size: OperandSize, _ dst: XMMRegister, immediate: UInt8) {
    emitRR(
      prefix: 0x66, opcode: 0x700F | UInt64(size.rawValue) << 8, length: 2, reg: 6, rm: UInt64(dst.rawValue))
    code.emit(UInt32(immediate), 1)
  }

  /// `psrlw`, `psrld` or `psrlq dst, immediate`; `size` is 16, 32 or 64 bits.
  @inlinable public mutating func psrl(_ size: OperandSize, _ dst: XMMRegister, immediate: UInt8) {
    emitRR(
      prefix: 0x66, opcode: 0x700F | UInt64(size.rawValue) << 8, length: 2, reg: 2, rm: UInt64(dst.rawValue))
    code.emit(UInt32(immediate), 1)
  }

  /// `movmskps`/`movmskpd dst, src`: the sign bits of the elements.
  @inlinable public mutating func movmsk(_ size: FloatSize, _ dst: Register, _ src: XMMRegister) {
    emitRR(
      prefix: size.packedPrefix, opcode: 0x500F, length: 2, reg: UInt64(dst.rawValue), rm: UInt64(src.rawValue))
  }

  // MARK: Constants that stand in the text

  /// `movss`/`movsd dst, [rip + label]`.
  @inlinable public mutating func load(_ size: FloatSize, dst: XMMRegister, from label: Label) {
    emitRIP(size.scalarPrefix, 0x100F, dst, label)
  }

  /// `movups dst, [rip + label]`.
  @inlinable public mutating func movups(_ dst: XMMRegister, from label: Label) {
    emitRIP(0, 0x100F, dst, label)
  }

  @inlinable @inline(__always)
  internal mutating func emitRIP(_ prefix: UInt64, _ opcode: UInt64, _ dst: XMMRegister, _ label: Label) {
    code.ensure(16)
    var word = prefix
    var bits: UInt64 = prefix != 0 ? 8 : 0
    if dst.high != 0 {
      word |= 0x44 &<< bits
      bits &+= 8
    }
    word |= (opcode | (dst.low << 3 | 5) << 16) &<< bits
    bits &+= 24
    code.emit(word, Int(truncatingIfNeeded: bits >> 3))
    emitDisplacement(label)
  }
}
