// Floating point on AArch64: arithmetic, comparisons, conversions.
//
// The machine does what wasm asks for nearly everywhere: minimum and maximum know NaNs and the signs of zeros, rounding has its
// instructions, and conversions to integers saturate. NaNs are propagated, quieted, or made as the canonical one; wasm allows
// any of that. An operand that is in no register goes through v31.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == AArch64Assembler {
  // MARK: Operands

  /// Whether a float has a register, or a local's is loaded with it.
  @inline(__always) private func hasRegister(_ value: StackValue) -> Bool {
    switch value.kind {
    case .vector: true
    case .local: locals[Int(value.index)].bit != noBit
    default: false
    }
  }

  /// A register with the float, to read only: the one that it is in, or v31. Release it when done.
  @inline(__always) mutating func vectorOperand(_ value: StackValue) -> VectorRegister {
    if hasRegister(value) { return readVector(value) }
    move(value, to: .v31)
    return .v31
  }

  /// Registers with two floats, at most one of which is v31.
  @inline(__always) mutating func vectorOperands(_ left: StackValue, _ right: StackValue) -> (
    VectorRegister, VectorRegister
  ) {
    let a = hasRegister(right) ? vectorOperand(left) : readVector(left)
    return (a, vectorOperand(right))
  }

  // MARK: Arithmetic

  mutating func arithmetic(_ op: FloatOp, _ size: FloatSize) {
    let operation: AArch64FloatOp =
      switch op {
      case .add: .fadd
      case .subtract: .fsub
      case .multiply: .fmul
      case .divide: .fdiv
      case .minimum: .fmin
      case .maximum: .fmax
      }
    let right = pop()
    let left = pop()
    let (a, b) = vectorOperands(left, right)
    release(a)
    release(b)
    let register = vectorDestination ?? allocateVector()
    asm.float(operation, size, register, a, b)
    push(register, Self.type(size))
  }

  mutating func extremum(_ op: FloatOp, _ size: FloatSize) { arithmetic(op, size) }

  private mutating func unary(_ op: AArch64FloatUnaryOp, _ size: FloatSize) {
    let source = vectorOperand(pop())
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.float(op, size, register, source)
    push(register, Self.type(size))
  }

  mutating func squareRoot(_ size: FloatSize) { unary(.fsqrt, size) }

  mutating func round(_ size: FloatSize, _ rounding: Rounding) {
    switch rounding {
    case .nearest: unary(.frintn, size)
    case .floor: unary(.frintm, size)
    case .ceil: unary(.frintp, size)
    case .truncate: unary(.frintz, size)
    }
  }

  mutating func absolute(_ size: FloatSize) { unary(.fabs, size) }

  mutating func negate(_ size: FloatSize) { unary(.fneg, size) }

  mutating func copySign(_ size: FloatSize) {
    let right = pop()
    let left = pop()
    let sign = readVector(right)
    let magnitude = readVector(left)
    release(sign)
    release(magnitude)
    let register = vectorDestination ?? allocateVector()
    if size == .f32 {
      asm.movi(.v31, 0x80, shift: 24)
    } else {
      asm.vectorZero(.v31)
      asm.vectorNegate(.v31, .v31)
    }
    asm.vectorLogical(.bsl, .v31, sign, magnitude)
    asm.fmov(size, register, .v31)
    push(register, Self.type(size))
  }

  // MARK: Comparisons

  mutating func compare(_ size: FloatSize, _ opcode: Opcode) {
    let right = pop()
    let left = pop()
    let condition: AArch64Condition =
      switch opcode {
      case .f32Eq, .f64Eq: .eq
      case .f32Ne, .f64Ne: .ne
      case .f32Lt, .f64Lt: .mi
      case .f32Le, .f64Le: .ls
      case .f32Gt, .f64Gt: .gt
      default: .ge
      }
    if right.kind == .constant, right.bits == 0 {
      let a = vectorOperand(left)
      asm.fcmpZero(size, a)
      release(a)
    } else {
      let (a, b) = vectorOperands(left, right)
      asm.fcmp(size, a, b)
      release(a)
      release(b)
    }
    pushFlags(condition)
  }

  // MARK: Conversions between floats

  mutating func promote() {
    let source = vectorOperand(pop())
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.fcvtToDouble(register, source)
    push(register, .f64)
  }

  mutating func demote() {
    let source = vectorOperand(pop())
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.fcvtToSingle(register, source)
    push(register, .f32)
  }

  // MARK: Integers to floats

  mutating func convert(_ size: FloatSize, from integer: OperandSize, signed: Bool) {
    let source = operand(pop(), .x17)
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.convert(size, register, integer, source, signed: signed)
    push(register, Self.type(size))
  }

  // MARK: Floats to integers

  /// `trunc` that traps: the machine saturates, and makes a NaN 0, so what it gives is looked at.
  mutating func truncate(to integer: OperandSize, signed: Bool, from size: FloatSize) {
    let value = pop()
    let source = vectorOperand(value)
    // All registers before the first branch: a spill must happen on every path.
    let register = resultRegister()
    if integer == .b32 {
      // In 64 bits, which hold more than the range, and what lies beyond them saturates outside of it.
      asm.fcmp(size, source, source)
      asm.b(.vs, trapLabel(.invalidConversionToInteger))
      asm.truncate(.b64, register, size, source, signed: true)
      asm.arithmetic(.subs, .b64, .zr, register, register, extend: signed ? .sxtw : .uxtw)
      asm.b(.ne, trapLabel(.integerOverflow))
      if signed { asm.mov(.b32, dst: register, src: register) }
    } else {
      // The greatest integer is no float's, so it is what lies above the range. The smallest is some float's: below the range
      // is told by a comparison, with -2^63, which belongs to the range, or -1, which does not.
      let bound: VectorRegister
      if source == .v31 {
        bound = allocateVector()
      } else {
        bound = .v31
      }
      if signed {
        let bits: UInt64 = size == .f32 ? UInt64(Float(-0x1p63).bitPattern) : Double(-0x1p63).bitPattern
        asm.mov(.b64, dst: .x16, immediate: bits)
        asm.fmov(size, bound, .x16)
      } else {
        // -1.0 as an immediate of `fmov`.
        asm.fmov(size, bound, encoded: 0xF0)
      }
      asm.fcmp(size, source, bound)
      asm.b(.vs, trapLabel(.invalidConversionToInteger))
      asm.truncate(.b64, register, size, source, signed: signed)
      if signed {
        // Above: adding 1 overflows. Below: as if it did.
        asm.ccmn(.b64, register, immediate: 1, flags: 0b0001, .ge)
        asm.b(.vs, trapLabel(.integerOverflow))
      } else {
        // The same with the carry.
        asm.ccmn(.b64, register, immediate: 1, flags: 0b0010, .gt)
        asm.b(.hs, trapLabel(.integerOverflow))
      }
      release(bound)
    }
    release(source)
    push(register, Self.type(integer))
  }

  /// `trunc_sat`: the nearest value of the range, 0 for a NaN.
  mutating func truncateSaturating(to integer: OperandSize, signed: Bool, from size: FloatSize) {
    let source = vectorOperand(pop())
    release(source)
    let register = resultRegister()
    asm.truncate(integer, register, size, source, signed: signed)
    push(register, Self.type(integer))
  }
}
