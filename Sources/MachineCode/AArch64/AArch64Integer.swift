/// Integer instructions of the AArch64 assembler.
///
/// Nearly all have a form for 32 and one for 64 bits, by bit 31; the 32-bit form clears the high half of
/// its result. `size` is `.b32` or `.b64` throughout; narrower operands exist in memory only. Where an
/// operand has 31, it is the zero register, except in additions and subtractions with an immediate or an
/// extended register, where destination (unless flags are set) and first operand are the stack pointer.

extension AArch64Assembler {
  // MARK: Constants

  /// The encoding (N, immr, imms: 13 bits) of a constant as immediate of a logical operation: a run of
  /// ones, rotated, in an element of 2 to 64 bits that is repeated. Nil for all other constants.
  public static func logicalImmediate(_ value: UInt64, _ size: OperandSize) -> UInt32? {
    var bits = value
    if size == .b32 {
      bits &= 0xFFFF_FFFF
      bits |= bits << 32
    }
    guard bits != 0, bits != .max else { return nil }
    // The smallest element that is repeated.
    var element: UInt64 = 64
    while element > 2 {
      let half = element / 2
      guard (bits ^ bits >> half) & (UInt64.max >> (64 - half)) == 0 else { break }
      element = half
    }
    let mask = UInt64.max >> (64 - element)
    bits &= mask
    let rotation: UInt64
    let ones: UInt64
    let low = UInt64(bits.trailingZeroBitCount)
    let run = bits >> low
    if run & (run &+ 1) == 0 {
      // The ones in one piece.
      rotation = (element - low) & (element - 1)
      ones = UInt64(run.nonzeroBitCount)
    } else {
      // Around the end: then the zeros are in one piece.
      let zeros = ~bits & mask
      let start = UInt64(zeros.trailingZeroBitCount)
      let zeroRun = zeros >> start
      guard zeroRun & (zeroRun &+ 1) == 0 else { return nil }
      let count = UInt64(zeroRun.nonzeroBitCount)
      rotation = element - start - count
      ones = element - count
    }
    // imms: ones up to the bit that says the element's size, then the number of ones less one.
    let imms = (~(element &* 2 &- 1) & 0x3F) | (ones - 1)
    let n: UInt64 = element == 64 ? 1 : 0
    return UInt32(n << 12 | rotation << 6 | imms)
  }

  /// Whether a constant is an immediate of additions and subtractions: 12 bits, or 12 bits times 4096.
  @inlinable @inline(__always)
  public static func isArithmeticImmediate(_ value: UInt64) -> Bool {
    value & ~0xFFF == 0 || value & ~0xFFF000 == 0
  }

  /// Loads a constant into a register (not sp), of which the low `size` count; flags are left alone. One
  /// instruction if there is one for it, else up to four.
  public mutating func mov(_ size: OperandSize, dst: AArch64Register, immediate: UInt64) {
    let value = size == .b32 ? immediate & 0xFFFF_FFFF : immediate
    if value <= 0xFFFF {
      movz(.b32, dst, UInt16(value))
      return
    }
    // What fits in 32 bits is done in 32 bits.
    let size: OperandSize = value <= 0xFFFF_FFFF ? .b32 : .b64
    let parts = size == .b32 ? 2 : 4
    var zeros = 0
    var ones = 0
    for i in 0..<parts {
      let part = UInt16(truncatingIfNeeded: value >> (16 * UInt64(i)))
      if part == 0 { zeros += 1 }
      if part == 0xFFFF { ones += 1 }
    }
    if max(zeros, ones) < parts - 1, let bits = Self.logicalImmediate(value, size) {
      emit(0x3200_03E0 | size.sf | bits << 10 | dst.bits)
      return
    }
    let inverted = ones > zeros
    let background: UInt16 = inverted ? 0xFFFF : 0
    var isFirst = true
    for i in 0..<parts {
      let part = UInt16(truncatingIfNeeded: value >> (16 * UInt64(i)))
      if part == background { continue }
      if !isFirst {
        movk(size, dst, part, shift: UInt8(16 * i))
      } else if inverted {
        movn(size, dst, ~part, shift: UInt8(16 * i))
      } else {
        movz(size, dst, part, shift: UInt8(16 * i))
      }
      isFirst = false
    }
    // All ones.
    if isFirst { movn(size, dst, 0) }
  }

  @inlinable @inline(__always)
  internal mutating func emitWide(
    _ opcode: UInt32, _ size: OperandSize, _ dst: AArch64Register, _ immediate: UInt16, _ shift: UInt8
  ) {
    emit(opcode | size.sf | UInt32(shift >> 4) << 21 | UInt32(immediate) << 5 | dst.bits)
  }

  /// `movz dst, #immediate, lsl #shift`; shift is 0, 16, 32 or 48.
  @inlinable public mutating func movz(
    _ size: OperandSize, _ dst: AArch64Register, _ immediate: UInt16, shift: UInt8 = 0
  ) {
    emitWide(0x5280_0000, size, dst, immediate, shift)
  }

  /// `movn dst, #immediate, lsl #shift`: all but these bits are ones, and these inverted.
  @inlinable public mutating func movn(
    _ size: OperandSize, _ dst: AArch64Register, _ immediate: UInt16, shift: UInt8 = 0
  ) {
    emitWide(0x1280_0000, size, dst, immediate, shift)
  }

  /// `movk dst, #immediate, lsl #shift`: the other bits stay.
  @inlinable public mutating func movk(
    _ size: OperandSize, _ dst: AArch64Register, _ immediate: UInt16, shift: UInt8 = 0
  ) {
    emitWide(0x7280_0000, size, dst, immediate, shift)
  }

  // MARK: Moves and extensions

  /// `mov dst, src`: `orr` with the zero register, or `add` of 0 where one of them is sp.
  @inlinable public mutating func mov(_ size: OperandSize, dst: AArch64Register, src: AArch64Register) {
    if dst == .sp || src == .sp {
      emit(0x1100_0000 | size.sf | src.bits << 5 | dst.bits)
    } else {
      emit(0x2A00_03E0 | size.sf | src.bits << 16 | dst.bits)
    }
  }

  /// `uxtb`, `uxth`, or `mov` of 32 or 64 bits: the whole register is defined.
  @inlinable public mutating func moveZeroExtended(
    _ from: OperandSize, dst: AArch64Register, src: AArch64Register
  ) {
    switch from {
    case .b8: ubfm(.b32, dst, src, rotate: 0, last: 7)
    case .b16: ubfm(.b32, dst, src, rotate: 0, last: 15)
    case .b32, .b64: mov(from, dst: dst, src: src)
    }
  }

  /// `sxtb`, `sxth`, `sxtw`; `from` narrower than `to`. Equal widths make a plain move.
  @inlinable public mutating func moveSignExtended(
    from: OperandSize, to: OperandSize, dst: AArch64Register, src: AArch64Register
  ) {
    if from.rawValue >= to.rawValue {
      mov(to, dst: dst, src: src)
    } else {
      sbfm(to, dst, src, rotate: 0, last: UInt8(truncatingIfNeeded: from.bytes &* 8 &- 1))
    }
  }

  // MARK: Addition and subtraction

  /// `op dst, a, b {, shift #amount}`; not `ror`.
  @inlinable public mutating func arithmetic(
    _ op: AArch64ArithmeticOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register,
    _ b: AArch64Register, _ shift: AArch64ShiftOp = .lsl, _ amount: UInt8 = 0
  ) {
    emit(
      0x0B00_0000 | size.sf | UInt32(op.rawValue) << 29 | UInt32(shift.rawValue) << 22 | b.bits << 16
        | UInt32(amount) << 10 | a.bits << 5 | dst.bits)
  }

  /// `op dst, a, b, extend {#amount}`: `a`, and `dst` unless flags are set, may be sp, but not zr; shifted
  /// left by 0...4 after the extension. With `uxtx` (in 64 bits) and `uxtw` (in 32) b is taken as it is.
  @inlinable public mutating func arithmetic(
    _ op: AArch64ArithmeticOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register,
    _ b: AArch64Register, extend: AArch64ExtendOp, _ amount: UInt8 = 0
  ) {
    emit(
      0x0B20_0000 | size.sf | UInt32(op.rawValue) << 29 | b.bits << 16 | UInt32(extend.rawValue) << 13
        | UInt32(amount) << 10 | a.bits << 5 | dst.bits)
  }

  /// `op dst, a, #immediate`, which `isArithmeticImmediate`: `a`, and `dst` unless flags are set, may be
  /// sp, but not zr.
  @inlinable public mutating func arithmetic(
    _ op: AArch64ArithmeticOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register,
    immediate: UInt64
  ) {
    assert(Self.isArithmeticImmediate(immediate))
    let value = UInt32(truncatingIfNeeded: immediate)
    let field = value <= 0xFFF ? value << 10 : 1 << 22 | (value >> 12 & 0xFFF) << 10
    emit(0x1100_0000 | size.sf | UInt32(op.rawValue) << 29 | field | a.bits << 5 | dst.bits)
  }

  /// `add dst, a, b`.
  @inlinable public mutating func add(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register
  ) { arithmetic(.add, size, dst, a, b) }

  /// `sub dst, a, b`.
  @inlinable public mutating func sub(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register
  ) { arithmetic(.sub, size, dst, a, b) }

  /// `cmp a, b`.
  @inlinable public mutating func cmp(_ size: OperandSize, _ a: AArch64Register, _ b: AArch64Register) {
    arithmetic(.subs, size, .zr, a, b)
  }

  /// `cmp a, #immediate`, which `isArithmeticImmediate`; `a` may be sp.
  @inlinable public mutating func cmp(_ size: OperandSize, _ a: AArch64Register, immediate: UInt64) {
    arithmetic(.subs, size, .zr, a, immediate: immediate)
  }

  /// `cmn a, b`.
  @inlinable public mutating func cmn(_ size: OperandSize, _ a: AArch64Register, _ b: AArch64Register) {
    arithmetic(.adds, size, .zr, a, b)
  }

  /// `cmn a, #immediate`, which `isArithmeticImmediate`; `a` may be sp.
  @inlinable public mutating func cmn(_ size: OperandSize, _ a: AArch64Register, immediate: UInt64) {
    arithmetic(.adds, size, .zr, a, immediate: immediate)
  }

  /// `neg dst, a`.
  @inlinable public mutating func neg(_ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register) {
    arithmetic(.sub, size, dst, .zr, a)
  }

  // MARK: Logic

  /// `op dst, a, b {, shift #amount}`.
  @inlinable public mutating func logical(
    _ op: AArch64LogicalOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register,
    _ b: AArch64Register, _ shift: AArch64ShiftOp = .lsl, _ amount: UInt8 = 0
  ) {
    emit(
      0x0A00_0000 | size.sf | UInt32(op.rawValue >> 1) << 29 | UInt32(shift.rawValue) << 22
        | UInt32(op.rawValue & 1) << 21 | b.bits << 16 | UInt32(amount) << 10 | a.bits << 5 | dst.bits)
  }

  /// `op dst, a, #immediate` for `and`, `orr`, `eor` and `ands`, by the encoding of `logicalImmediate`.
  /// `dst` may be sp except for `ands`, but not zr.
  @inlinable public mutating func logical(
    _ op: AArch64LogicalOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register,
    encoded immediate: UInt32
  ) {
    emit(
      0x1200_0000 | size.sf | UInt32(op.rawValue >> 1) << 29 | immediate << 10 | a.bits << 5 | dst.bits)
  }

  /// `mvn dst, a`.
  @inlinable public mutating func mvn(_ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register) {
    logical(.orn, size, dst, .zr, a)
  }

  /// `tst a, b`.
  @inlinable public mutating func tst(_ size: OperandSize, _ a: AArch64Register, _ b: AArch64Register) {
    logical(.ands, size, .zr, a, b)
  }

  // MARK: Multiplication and division

  // Three operands.
  @inlinable @inline(__always)
  internal mutating func emitThree(
    _ opcode: UInt32, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register
  ) {
    emit(opcode | b.bits << 16 | a.bits << 5 | dst.bits)
  }

  /// `madd dst, a, b, c`: dst = c + a × b.
  @inlinable public mutating func madd(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register, _ c: AArch64Register
  ) { emitThree(0x1B00_0000 | size.sf | c.bits << 10, dst, a, b) }

  /// `msub dst, a, b, c`: dst = c - a × b.
  @inlinable public mutating func msub(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register, _ c: AArch64Register
  ) { emitThree(0x1B00_8000 | size.sf | c.bits << 10, dst, a, b) }

  /// `mul dst, a, b`.
  @inlinable public mutating func mul(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register
  ) { madd(size, dst, a, b, .zr) }

  /// `smull x, w, w`: the whole product, signed.
  @inlinable public mutating func smull(_ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register) {
    emitThree(0x9B20_7C00, dst, a, b)
  }

  /// `umull x, w, w`: the whole product.
  @inlinable public mutating func umull(_ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register) {
    emitThree(0x9BA0_7C00, dst, a, b)
  }

  /// `smulh x, x, x`: the high half of the product, signed.
  @inlinable public mutating func smulh(_ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register) {
    emitThree(0x9B40_7C00, dst, a, b)
  }

  /// `umulh x, x, x`: the high half of the product.
  @inlinable public mutating func umulh(_ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register) {
    emitThree(0x9BC0_7C00, dst, a, b)
  }

  /// `udiv dst, a, b`; by zero it gives zero.
  @inlinable public mutating func udiv(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register
  ) { emitThree(0x1AC0_0800 | size.sf, dst, a, b) }

  /// `sdiv dst, a, b`; by zero it gives zero, and the smallest by -1 itself.
  @inlinable public mutating func sdiv(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register
  ) { emitThree(0x1AC0_0C00 | size.sf, dst, a, b) }

  // MARK: Shifts and bit fields

  /// `lslv`, `lsrv`, `asrv`, `rorv dst, a, count`: by count modulo the width.
  @inlinable public mutating func shift(
    _ op: AArch64ShiftOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register,
    by count: AArch64Register
  ) { emitThree(0x1AC0_2000 | size.sf | UInt32(op.rawValue) << 10, dst, a, count) }

  /// The same by a constant less than the width.
  @inlinable public mutating func shift(
    _ op: AArch64ShiftOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, immediate: UInt8
  ) {
    let last: UInt8 = size == .b64 ? 63 : 31
    switch op {
    case .lsl: ubfm(size, dst, a, rotate: (0 &- immediate) & last, last: last &- immediate)
    case .lsr: ubfm(size, dst, a, rotate: immediate, last: last)
    case .asr: sbfm(size, dst, a, rotate: immediate, last: last)
    case .ror: extr(size, dst, a, a, lowest: immediate)
    }
  }

  @inlinable @inline(__always)
  internal mutating func emitBitfield(
    _ opcode: UInt32, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ rotate: UInt8,
    _ last: UInt8
  ) {
    // N is the same as bit 31.
    emit(
      opcode | size.sf | size.sf >> 9 | UInt32(rotate) << 16 | UInt32(last) << 10 | a.bits << 5 | dst.bits)
  }

  /// `ubfm dst, a, #rotate, #last`: zeros but for the field.
  @inlinable public mutating func ubfm(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, rotate: UInt8, last: UInt8
  ) { emitBitfield(0x5300_0000, size, dst, a, rotate, last) }

  /// `sbfm dst, a, #rotate, #last`: the field, sign-extended.
  @inlinable public mutating func sbfm(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, rotate: UInt8, last: UInt8
  ) { emitBitfield(0x1300_0000, size, dst, a, rotate, last) }

  /// `bfm dst, a, #rotate, #last`: the field into `dst`, whose other bits stay.
  @inlinable public mutating func bfm(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, rotate: UInt8, last: UInt8
  ) { emitBitfield(0x3300_0000, size, dst, a, rotate, last) }

  /// `extr dst, high, low, #lowest`: bits from `lowest` on of high:low.
  @inlinable public mutating func extr(
    _ size: OperandSize, _ dst: AArch64Register, _ high: AArch64Register, _ low: AArch64Register, lowest: UInt8
  ) { emitThree(0x1380_0000 | size.sf | size.sf >> 9 | UInt32(lowest) << 10, dst, high, low) }

  // MARK: Bits

  @inlinable @inline(__always)
  internal mutating func emitTwo(_ opcode: UInt32, _ dst: AArch64Register, _ a: AArch64Register) {
    emit(opcode | a.bits << 5 | dst.bits)
  }

  /// `clz dst, a`: leading zeros.
  @inlinable public mutating func clz(_ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register) {
    emitTwo(0x5AC0_1000 | size.sf, dst, a)
  }

  /// `cls dst, a`: leading bits equal to the sign, without it.
  @inlinable public mutating func cls(_ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register) {
    emitTwo(0x5AC0_1400 | size.sf, dst, a)
  }

  /// `rbit dst, a`: bits in opposite order.
  @inlinable public mutating func rbit(_ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register) {
    emitTwo(0x5AC0_0000 | size.sf, dst, a)
  }

  /// `rev dst, a`: bytes in opposite order.
  @inlinable public mutating func rev(_ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register) {
    emitTwo(0x5AC0_0800 | size.sf | (size == .b64 ? 1 << 10 : 0), dst, a)
  }

  /// `rev16 dst, a`: bytes in opposite order in each half-word.
  @inlinable public mutating func rev16(_ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register) {
    emitTwo(0x5AC0_0400 | size.sf, dst, a)
  }

  // MARK: Conditions

  /// `csel`, `csinc`, `csinv`, `csneg dst, a, b, condition`: a, or what the operation makes of b.
  @inlinable public mutating func select(
    _ op: AArch64SelectOp, _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register,
    _ b: AArch64Register, _ condition: AArch64Condition
  ) {
    let bits = UInt32(op.rawValue)
    emitThree(0x1A80_0000 | size.sf | (bits >> 1) << 30 | (bits & 1) << 10 | condition.bits << 12, dst, a, b)
  }

  /// `csel dst, a, b, condition`.
  @inlinable public mutating func csel(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ b: AArch64Register,
    _ condition: AArch64Condition
  ) { select(.csel, size, dst, a, b, condition) }

  /// `cset dst, condition`: 1 or 0.
  @inlinable public mutating func cset(_ size: OperandSize, _ dst: AArch64Register, _ condition: AArch64Condition) {
    select(.csinc, size, dst, .zr, .zr, condition.inverted)
  }

  /// `csetm dst, condition`: -1 or 0.
  @inlinable public mutating func csetm(_ size: OperandSize, _ dst: AArch64Register, _ condition: AArch64Condition) {
    select(.csinv, size, dst, .zr, .zr, condition.inverted)
  }

  /// `cinc dst, a, condition`: a + 1, or a.
  @inlinable public mutating func cinc(
    _ size: OperandSize, _ dst: AArch64Register, _ a: AArch64Register, _ condition: AArch64Condition
  ) { select(.csinc, size, dst, a, a, condition.inverted) }

  /// `ccmp a, b, #flags, condition`: the flags of comparing a with b, or `flags` (N, Z, C, V from bit 3 on).
  @inlinable public mutating func ccmp(
    _ size: OperandSize, _ a: AArch64Register, _ b: AArch64Register, flags: UInt8, _ condition: AArch64Condition
  ) { emit(0x7A40_0000 | size.sf | b.bits << 16 | condition.bits << 12 | a.bits << 5 | UInt32(flags & 15)) }

  /// The same with a constant of 0...31.
  @inlinable public mutating func ccmp(
    _ size: OperandSize, _ a: AArch64Register, immediate: UInt8, flags: UInt8, _ condition: AArch64Condition
  ) {
    emit(
      0x7A40_0800 | size.sf | UInt32(immediate & 31) << 16 | condition.bits << 12 | a.bits << 5
        | UInt32(flags & 15))
  }

  /// `ccmn a, b, #flags, condition`: the flags of adding a and b, or `flags`.
  @inlinable public mutating func ccmn(
    _ size: OperandSize, _ a: AArch64Register, _ b: AArch64Register, flags: UInt8, _ condition: AArch64Condition
  ) { emit(0x3A40_0000 | size.sf | b.bits << 16 | condition.bits << 12 | a.bits << 5 | UInt32(flags & 15)) }

  /// The same with a constant of 0...31.
  @inlinable public mutating func ccmn(
    _ size: OperandSize, _ a: AArch64Register, immediate: UInt8, flags: UInt8, _ condition: AArch64Condition
  ) {
    emit(
      0x3A40_0800 | size.sf | UInt32(immediate & 31) << 16 | condition.bits << 12 | a.bits << 5
        | UInt32(flags & 15))
  }
}
