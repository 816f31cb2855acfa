// Floating point on x86-64: arithmetic, comparisons, and the conversions that the machine does differently.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == X86_64Assembler {
  // MARK: Arithmetic

  mutating func arithmetic(_ operation: FloatOp, _ size: FloatSize) {
    let isCommutative = operation == .add || operation == .multiply
    let op: SSEOp =
      switch operation {
      case .add: .add
      case .subtract: .sub
      case .multiply: .mul
      default: .div
      }
    var right = pop()
    var left = pop()
    var target = vectorDestination
    if let register = target, isRegister(right, register), !isRegister(left, register) {
      if isCommutative { swap(&left, &right) } else { target = nil }
    } else if isCommutative, target == nil, right.kind == .vector, left.kind != .vector {
      swap(&left, &right)
    }
    if let memory = memoryOperand(right) {
      let register = writeVector(left, into: target)
      asm.sse(op, size, register, from: memory)
      push(register, Self.type(size))
      return
    }
    let source = readVector(right)
    let register = writeVector(left, into: target)
    asm.sse(op, size, register, source)
    release(source)
    push(register, Self.type(size))
  }

  mutating func squareRoot(_ size: FloatSize) {
    let source = readVector(pop())
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.sse(.sqrt, size, register, source)
    push(register, Self.type(size))
  }

  mutating func round(_ size: FloatSize, _ rounding: Rounding) {
    let mode: RoundingMode =
      switch rounding {
      case .nearest: .nearest
      case .floor: .floor
      case .ceil: .ceil
      case .truncate: .truncate
      }
    let source = readVector(pop())
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.round(size, register, source, mode)
    push(register, Self.type(size))
  }

  /// `min` and `max`: a NaN if either is one, and -0 below +0; `minss` knows neither.
  mutating func extremum(_ operation: FloatOp, _ size: FloatSize) {
    let op: SSEOp = operation == .minimum ? .min : .max
    let right = pop()
    let left = pop()
    let source = readVector(right)
    let register = writeVector(left)
    let unordered = asm.makeLabel()
    let different = asm.makeLabel()
    let done = asm.makeLabel()
    asm.ucomis(size, register, source)
    asm.jcc(.parity, unordered, .short)
    asm.jcc(.notEqual, different, .short)
    if op == .min { asm.orps(register, source) } else { asm.andps(register, source) }
    asm.jmp(done, .short)
    asm.bind(unordered)
    asm.sse(.add, size, register, source)
    asm.jmp(done, .short)
    asm.bind(different)
    asm.sse(op, size, register, source)
    asm.bind(done)
    release(source)
    push(register, Self.type(size))
  }

  /// A register with the sign bit set, or all but the sign bit.
  private mutating func signMask(_ size: FloatSize, inverted: Bool) -> XMMRegister {
    let mask = allocateVector()
    asm.pcmpeq(.b32, mask, mask)
    let element: OperandSize = size == .f32 ? .b32 : .b64
    if inverted {
      asm.psrl(element, mask, immediate: 1)
    } else {
      asm.psll(element, mask, immediate: size == .f32 ? 31 : 63)
    }
    return mask
  }

  mutating func absolute(_ size: FloatSize) {
    let value = pop()
    let mask = signMask(size, inverted: true)
    let register = writeVector(value, into: vectorDestination)
    asm.andps(register, mask)
    release(mask)
    push(register, Self.type(size))
  }

  mutating func negate(_ size: FloatSize) {
    let value = pop()
    let mask = signMask(size, inverted: false)
    let register = writeVector(value, into: vectorDestination)
    asm.xorps(register, mask)
    release(mask)
    push(register, Self.type(size))
  }

  mutating func copySign(_ size: FloatSize) {
    let right = pop()
    let left = pop()
    let mask = signMask(size, inverted: false)
    let sign = writeVector(right)
    asm.andps(sign, mask)
    let source = readVector(left)
    asm.andnps(mask, source)
    asm.orps(mask, sign)
    release(source)
    release(sign)
    push(mask, Self.type(size))
  }

  // MARK: Comparisons

  mutating func compare(_ size: FloatSize, _ opcode: Opcode) {
    var right = pop()
    var left = pop()
    let condition: UInt8
    switch opcode {
    case .f32Eq, .f64Eq: condition = BranchCondition.floatEqual
    case .f32Ne, .f64Ne: condition = BranchCondition.floatNotEqual
    // "Above" is false for unordered operands, so less-than compares the other way round.
    case .f32Lt, .f64Lt:
      swap(&left, &right)
      condition = Condition.above.rawValue
    case .f32Le, .f64Le:
      swap(&left, &right)
      condition = Condition.aboveOrEqual.rawValue
    case .f32Gt, .f64Gt: condition = Condition.above.rawValue
    default: condition = Condition.aboveOrEqual.rawValue
    }
    let a = readVector(left)
    if let memory = memoryOperand(right) {
      asm.ucomis(size, a, memory)
    } else {
      let b = readVector(right)
      asm.ucomis(size, a, b)
      release(b)
    }
    release(a)
    pushFlags(condition)
  }

  // MARK: Conversions between floats, and of bits

  mutating func promote() {
    let source = readVector(pop())
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.cvtss2sd(register, source)
    push(register, .f64)
  }

  mutating func demote() {
    let source = readVector(pop())
    release(source)
    let register = vectorDestination ?? allocateVector()
    asm.cvtsd2ss(register, source)
    push(register, .f32)
  }

  // MARK: Integers to floats

  mutating func convert(_ size: FloatSize, from integer: OperandSize, signed: Bool) {
    let value = pop()
    if !signed, integer == .b64 {
      convertUnsigned64(size, value)
      return
    }
    let source = read(value)
    release(source)
    let register = vectorDestination ?? allocateVector()
    // Cuts the dependency on what was in the register.
    asm.xorps(register, register)
    // An unsigned 32-bit integer is a signed one of 64 bits.
    asm.cvtsi2s(size, register, signed ? integer : .b64, source)
    push(register, Self.type(size))
  }

  private mutating func convertUnsigned64(_ size: FloatSize, _ value: StackValue) {
    let source = write(value)
    let half = allocate()
    let register = allocateVector()
    let large = asm.makeLabel()
    let done = asm.makeLabel()
    asm.xorps(register, register)
    asm.test(.b64, source, source)
    asm.jcc(.sign, large, .short)
    asm.cvtsi2s(size, register, .b64, source)
    asm.jmp(done, .short)
    asm.bind(large)
    // Half of it, with the bit shifted out kept for rounding, then doubled.
    asm.mov(.b64, dst: half, src: source)
    asm.shift(.shr, .b64, half, immediate: 1)
    asm.alu(.and, .b32, dst: source, immediate: 1)
    asm.alu(.or, .b64, dst: half, src: source)
    asm.cvtsi2s(size, register, .b64, half)
    asm.sse(.add, size, register, register)
    asm.bind(done)
    release(half)
    release(source)
    push(register, Self.type(size))
  }

  // MARK: Floats to integers

  private mutating func load(_ value: Double, _ size: FloatSize, into register: XMMRegister, scratch: Register) {
    if size == .f32 {
      asm.mov(.b32, dst: scratch, immediate: UInt64(Float(value).bitPattern))
      asm.movd(register, scratch)
    } else {
      asm.mov(.b64, dst: scratch, immediate: value.bitPattern)
      asm.movq(register, scratch)
    }
  }

  /// `trunc` that traps. What the machine cannot represent comes out as the smallest integer (of 64 bits for
  /// unsigned 32), which is looked at again to tell the one good value, overflow and NaN apart.
  mutating func truncate(to integer: OperandSize, signed: Bool, from size: FloatSize) {
    let source = writeVector(pop())
    let register = allocate()
    let scratch = allocate()
    // All registers before the first branch: a spill must happen on every path.
    let bound = allocateVector()
    let done = asm.makeLabel()
    if signed {
      asm.cvtts2si(integer, register, size, source)
      asm.alu(.cmp, integer, dst: register, immediate: 1)
      asm.jcc(.noOverflow, done)
      asm.ucomis(size, source, source)
      asm.jcc(.parity, trapLabel(.invalidConversionToInteger))
      // The greatest value below the range, exclusive bound for f64 to i32; else the bound itself is the good value.
      let isWide = size == .f64 && integer == .b32
      load(isWide ? -2_147_483_649.0 : integer == .b32 ? -0x1p31 : -0x1p63, size, into: bound, scratch: scratch)
      asm.ucomis(size, source, bound)
      asm.jcc(isWide ? .belowOrEqual : .below, trapLabel(.integerOverflow))
      asm.xorps(bound, bound)
      asm.ucomis(size, source, bound)
      asm.jcc(.aboveOrEqual, trapLabel(.integerOverflow))
    } else if integer == .b32 {
      asm.cvtts2si(.b64, register, size, source)
      asm.mov(.b64, dst: scratch, src: register)
      asm.shift(.shr, .b64, scratch, immediate: 32)
      asm.jcc(.equal, done)
      asm.ucomis(size, source, source)
      asm.jcc(.parity, trapLabel(.invalidConversionToInteger))
      asm.jmp(trapLabel(.integerOverflow))
    } else {
      load(0x1p63, size, into: bound, scratch: scratch)
      let large = asm.makeLabel()
      let failed = asm.makeLabel()
      asm.ucomis(size, source, bound)
      asm.jcc(.aboveOrEqual, large)
      asm.cvtts2si(.b64, register, size, source)
      asm.test(.b64, register, register)
      asm.jcc(.noSign, done)
      asm.bind(failed)
      asm.ucomis(size, source, source)
      asm.jcc(.parity, trapLabel(.invalidConversionToInteger))
      asm.jmp(trapLabel(.integerOverflow))
      asm.bind(large)
      asm.sse(.sub, size, source, bound)
      asm.cvtts2si(.b64, register, size, source)
      asm.test(.b64, register, register)
      asm.jcc(.sign, failed)
      asm.mov(.b64, dst: scratch, immediate: 1 << 63)
      asm.alu(.xor, .b64, dst: register, src: scratch)
    }
    asm.bind(done)
    release(bound)
    release(scratch)
    release(source)
    push(register, Self.type(integer))
  }

  /// `trunc_sat`: the nearest value of the range, 0 for a NaN.
  mutating func truncateSaturating(to integer: OperandSize, signed: Bool, from size: FloatSize) {
    let source = writeVector(pop())
    let register = allocate()
    let scratch = allocate()
    // Zero, or a bound. All registers before the first branch: a spill must happen on every path.
    let zero = allocateVector()
    let done = asm.makeLabel()
    let high = asm.makeLabel()
    if signed {
      asm.cvtts2si(integer, register, size, source)
      asm.alu(.cmp, integer, dst: register, immediate: 1)
      asm.jcc(.noOverflow, done)
      // The smallest integer, which is right for what lies below.
      asm.xorps(zero, zero)
      asm.ucomis(size, source, zero)
      asm.jcc(.parity, high)
      asm.jcc(.below, done)
      asm.mov(.b64, dst: register, immediate: integer == .b32 ? 0x7FFF_FFFF : 0x7FFF_FFFF_FFFF_FFFF)
      asm.jmp(done)
      asm.bind(high)
      asm.mov(.b32, dst: register, immediate: 0)
    } else if integer == .b32 {
      asm.cvtts2si(.b64, register, size, source)
      asm.mov(.b64, dst: scratch, src: register)
      asm.shift(.shr, .b64, scratch, immediate: 32)
      asm.jcc(.equal, done)
      asm.mov(.b32, dst: register, immediate: 0)
      asm.xorps(zero, zero)
      asm.ucomis(size, source, zero)
      // Unordered sets the carry: NaN and what lies below are 0.
      asm.jcc(.below, done)
      asm.mov(.b32, dst: register, immediate: 0xFFFF_FFFF)
    } else {
      load(0x1p63, size, into: zero, scratch: scratch)
      asm.ucomis(size, source, zero)
      asm.jcc(.aboveOrEqual, high)
      asm.cvtts2si(.b64, register, size, source)
      asm.test(.b64, register, register)
      asm.jcc(.noSign, done)
      asm.mov(.b32, dst: register, immediate: 0)
      asm.jmp(done)
      asm.bind(high)
      asm.sse(.sub, size, source, zero)
      asm.cvtts2si(.b64, register, size, source)
      asm.mov(.b64, dst: scratch, immediate: 1 << 63)
      asm.alu(.xor, .b64, dst: register, src: scratch)
      // A difference out of range came out as the sign bit, and is 0 now.
      asm.mov(.b64, dst: scratch, immediate: .max)
      asm.test(.b64, register, register)
      asm.cmov(.noSign, .b64, register, scratch)
    }
    asm.bind(done)
    release(zero)
    release(scratch)
    release(source)
    push(register, Self.type(integer))
  }
}
