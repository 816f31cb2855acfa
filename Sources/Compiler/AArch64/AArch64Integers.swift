// Integer arithmetic on AArch64: constants fold or become immediates, results go where the next operator wants them.
//
// Every instruction has three operands, so a result never needs a copy of its left operand, and its register may be that of
// either operand. Operands that are in no register (constants, slots) go through x17 and x30, the result of a first step of
// two through x16; none of them is held while another operator's code may run.
//
// Some instructions do what takes wasm two operators: addition and logic shift their second operand first, multiplication adds
// or subtracts the product, a field of bits is shifted down and masked, and a conjunction sets the flags. What comes first looks
// whether what follows is the other half; the code is that of the first then.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == AArch64Assembler {
  // MARK: Operands

  /// A register with the value, to read only: the one that it is in, `zr`, or `scratch`, flags unchanged. Release it when done.
  @inline(__always) mutating func operand(_ value: StackValue, _ scratch: Register) -> Register {
    switch value.kind {
    case .register: return Register(number: value.number)
    case .local:
      let home = locals[Int(value.index)]
      if home.bit != noBit {
        load(home)
        return Register(number: home.bit)
      }
    case .constant where value.bits == 0: return .zr
    default: break
    }
    move(value, to: scratch)
    return scratch
  }

  /// The register for a result, once the operands have been released.
  @inline(__always) mutating func resultRegister() -> Register { destination ?? allocate() }

  // MARK: Two operators in one instruction

  /// An operator that combines the result at work with another value.
  private enum Combination { case add, subtract, and, or, xor }

  private static func combination(_ opcode: Opcode, _ size: OperandSize) -> Combination? {
    switch opcode {
    case .i32Add where size == .b32, .i64Add where size == .b64: .add
    case .i32Sub where size == .b32, .i64Sub where size == .b64: .subtract
    case .i32And where size == .b32, .i64And where size == .b64: .and
    case .i32Or where size == .b32, .i64Or where size == .b64: .or
    case .i32Xor where size == .b32, .i64Xor where size == .b64: .xor
    default: nil
    }
  }

  /// Takes the operator that follows, if it combines a value with the result at work by a sum (or difference) or by logic, as
  /// allowed: the value is the left operand, from the stack, or the right one, a local, of a commutative operation.
  private mutating func takeCombination(_ size: OperandSize, sums: Bool, logic: Bool) -> (
    operation: Combination, other: StackValue
  )? {
    let next = ops[position &+ 1]
    let isLocal = next.opcode == .localGet
    guard let operation = Self.combination(isLocal ? ops[position &+ 2].opcode : next.opcode, size) else { return nil }
    guard operation == .add || operation == .subtract ? sums : logic else { return nil }
    if isLocal {
      guard operation != .subtract else { return nil }
      localGet(next)
      position &+= 2
    } else {
      // Constants have better places.
      guard stack[stack.count &- 1].kind != .constant else { return nil }
      position &+= 1
    }
    return (operation, pop())
  }

  /// other op (source shifted by amount).
  private mutating func combine(
    _ operation: Combination, _ other: StackValue, _ source: StackValue, _ shift: AArch64ShiftOp, _ amount: UInt8,
    _ size: OperandSize
  ) {
    let a = operand(other, .x17)
    let b = operand(source, .x30)
    release(a)
    release(b)
    let register = resultRegister()
    switch operation {
    case .add: asm.arithmetic(.add, size, register, a, b, shift, amount)
    case .subtract: asm.arithmetic(.sub, size, register, a, b, shift, amount)
    case .and: asm.logical(.and, size, register, a, b, shift, amount)
    case .or: asm.logical(.orr, size, register, a, b, shift, amount)
    case .xor: asm.logical(.eor, size, register, a, b, shift, amount)
    }
    push(register, Self.type(size))
  }

  /// Takes a mask of low bits that follows, if it does: their number.
  private mutating func takeMask(_ size: OperandSize) -> UInt8? {
    let next = ops[position &+ 1]
    guard next.opcode == (size == .b32 ? .i32Const : .i64Const),
      ops[position &+ 2].opcode == (size == .b32 ? .i32And : .i64And)
    else { return nil }
    let mask = Self.truncated(next.immediate, size)
    guard mask != 0, mask & (mask &+ 1) == 0 else { return nil }
    position &+= 2
    return UInt8(mask.nonzeroBitCount)
  }

  // MARK: Addition, subtraction, logic

  mutating func add(_ size: OperandSize) {
    var right = pop()
    var left = pop()
    if left.kind == .constant { swap(&left, &right) }
    if right.kind == .constant {
      if left.kind == .constant {
        pushConstant(Self.truncated(left.bits &+ right.bits, size), Self.type(size))
      } else {
        addConstant(left, right.bits, size)
      }
      return
    }
    let a = operand(left, .x17)
    let b = operand(right, .x30)
    release(a)
    release(b)
    let register = resultRegister()
    asm.add(size, register, a, b)
    push(register, Self.type(size))
  }

  /// left + constant.
  private mutating func addConstant(_ left: StackValue, _ constant: UInt64, _ size: OperandSize) {
    let value = Self.truncated(constant, size)
    if value == 0 {
      repush(left, Self.type(size))
      return
    }
    let negated = Self.truncated(0 &- constant, size)
    let source = operand(left, .x17)
    release(source)
    let register = resultRegister()
    if AArch64Assembler.isArithmeticImmediate(value) {
      asm.arithmetic(.add, size, register, source, immediate: value)
    } else if AArch64Assembler.isArithmeticImmediate(negated) {
      asm.arithmetic(.sub, size, register, source, immediate: negated)
    } else {
      asm.mov(size, dst: .x16, immediate: value)
      asm.add(size, register, source, .x16)
    }
    push(register, Self.type(size))
  }

  mutating func subtract(_ size: OperandSize) {
    let right = pop()
    let left = pop()
    if right.kind == .constant {
      if left.kind == .constant {
        pushConstant(Self.truncated(left.bits &- right.bits, size), Self.type(size))
      } else {
        addConstant(left, 0 &- right.bits, size)
      }
      return
    }
    let a = operand(left, .x17)
    let b = operand(right, .x30)
    release(a)
    release(b)
    let register = resultRegister()
    asm.sub(size, register, a, b)
    push(register, Self.type(size))
  }

  private static func operation(_ op: LogicOp) -> AArch64LogicalOp {
    switch op {
    case .and: .and
    case .or: .orr
    case .xor: .eor
    }
  }

  mutating func logic(_ op: LogicOp, _ size: OperandSize) {
    var right = pop()
    var left = pop()
    if left.kind == .constant { swap(&left, &right) }
    if op == .and, left.kind != .constant, let condition = takeTest(size) {
      test(left, right, size)
      pushFlags(condition)
      return
    }
    if right.kind == .constant {
      logicConstant(op, left, Self.truncated(right.bits, size), size)
      return
    }
    let a = operand(left, .x17)
    let b = operand(right, .x30)
    release(a)
    release(b)
    let register = resultRegister()
    asm.logical(Self.operation(op), size, register, a, b)
    push(register, Self.type(size))
  }

  /// The condition on which what follows goes on after a conjunction, if only the flags are needed: a comparison with zero is
  /// taken; a branch or selection is left to take the condition.
  private mutating func takeTest(_ size: OperandSize) -> AArch64Condition? {
    switch (ops[position &+ 1].opcode, size) {
    case (.i32Eqz, .b32), (.i64Eqz, .b64):
      position &+= 1
      return .eq
    case (.brIf, .b32), (.if, .b32), (.select, .b32), (.selectTyped, .b32): return .ne
    default: return nil
    }
  }

  /// Sets the flags by left & right.
  private mutating func test(_ left: StackValue, _ right: StackValue, _ size: OperandSize) {
    let a = operand(left, .x17)
    if right.kind == .constant,
      let immediate = AArch64Assembler.logicalImmediate(Self.truncated(right.bits, size), size)
    {
      asm.logical(.ands, size, .zr, a, encoded: immediate)
    } else {
      let b = operand(right, .x30)
      asm.tst(size, a, b)
      release(b)
    }
    release(a)
  }

  /// left op constant. Neither zeros nor ones alone are an immediate, and neither needs one.
  private mutating func logicConstant(_ op: LogicOp, _ left: StackValue, _ constant: UInt64, _ size: OperandSize) {
    let type = Self.type(size)
    if left.kind == .constant {
      let bits: UInt64 =
        switch op {
        case .and: left.bits & constant
        case .or: left.bits | constant
        case .xor: left.bits ^ constant
        }
      pushConstant(Self.truncated(bits, size), type)
      return
    }
    let ones = Self.truncated(.max, size)
    switch (op, constant) {
    case (.and, ones), (.or, 0), (.xor, 0):
      repush(left, type)
      return
    case (.and, 0), (.or, ones):
      release(left)
      pushConstant(constant, type)
      return
    default: break
    }
    let source = operand(left, .x17)
    release(source)
    let register = resultRegister()
    if op == .xor, constant == ones {
      asm.mvn(size, register, source)
    } else if let immediate = AArch64Assembler.logicalImmediate(constant, size) {
      asm.logical(Self.operation(op), size, register, source, encoded: immediate)
    } else {
      asm.mov(size, dst: .x16, immediate: constant)
      asm.logical(Self.operation(op), size, register, source, .x16)
    }
    push(register, type)
  }

  // MARK: Multiplication and division

  mutating func multiply(_ size: OperandSize) {
    var right = pop()
    var left = pop()
    if left.kind == .constant { swap(&left, &right) }
    if right.kind == .constant {
      multiplyByConstant(left, Self.truncated(right.bits, size), size)
      return
    }
    let sum = takeCombination(size, sums: true, logic: false)
    let a = operand(left, .x17)
    let b = operand(right, .x30)
    release(a)
    release(b)
    if let sum { release(sum.other) }
    let register = resultRegister()
    // Last, because the way to another operand may be through x16, and so may that to the slot of a value that makes room
    // for the result.
    let c = sum.map { operand($0.other, .x16) } ?? .zr
    if sum?.operation == .subtract {
      asm.msub(size, register, a, b, c)
    } else {
      asm.madd(size, register, a, b, c)
    }
    push(register, Self.type(size))
  }

  private mutating func multiplyByConstant(_ left: StackValue, _ constant: UInt64, _ size: OperandSize) {
    let type = Self.type(size)
    if left.kind == .constant {
      pushConstant(Self.truncated(left.bits &* constant, size), type)
      return
    }
    if constant == 0 {
      release(left)
      pushConstant(0, type)
      return
    }
    if constant == 1 {
      repush(left, type)
      return
    }
    let source = operand(left, .x17)
    release(source)
    let register = resultRegister()
    if constant & (constant - 1) == 0 {
      asm.shift(.lsl, size, register, source, immediate: UInt8(constant.trailingZeroBitCount))
    } else if (constant - 1) & (constant - 2) == 0 {
      asm.arithmetic(.add, size, register, source, source, .lsl, UInt8((constant - 1).trailingZeroBitCount))
    } else {
      asm.mov(size, dst: .x16, immediate: constant)
      asm.mul(size, register, source, .x16)
    }
    push(register, type)
  }

  /// The machine's division traps never: by zero it gives zero, and the smallest integer by -1 itself, whose remainder is 0 then.
  mutating func divide(_ size: OperandSize, signed: Bool, remainder: Bool) {
    let right = pop()
    let left = pop()
    if right.kind == .constant {
      let divisor = Self.truncated(right.bits, size)
      if divideByConstant(left, divisor, size, signed: signed, remainder: remainder) { return }
    }
    let a = operand(left, .x17)
    let b = operand(right, .x30)
    // All registers before the first branch: a spill must happen on every path.
    release(a)
    release(b)
    let register = resultRegister()
    if right.kind != .constant || Self.truncated(right.bits, size) == 0 {
      asm.cbz(size, b, trapLabel(.integerDivideByZero))
    }
    if signed, !remainder, right.kind != .constant, mayBeSmallest(left, size) {
      // Overflow is what subtracting 1 from the dividend gives, if the divisor is -1.
      asm.cmn(size, b, immediate: 1)
      asm.ccmp(size, a, immediate: 1, flags: 0, .eq)
      asm.b(.vs, trapLabel(.integerOverflow))
    }
    let quotient: Register = remainder ? .x16 : register
    if signed {
      asm.sdiv(size, quotient, a, b)
    } else {
      asm.udiv(size, quotient, a, b)
    }
    if remainder { asm.msub(size, register, quotient, b, a) }
    push(register, Self.type(size))
  }

  /// Whether the value is not known to be different from the smallest signed integer.
  private func mayBeSmallest(_ value: StackValue, _ size: OperandSize) -> Bool {
    value.kind != .constant || Self.truncated(value.bits, size) == (size == .b32 ? 1 << 31 : 1 << 63)
  }

  /// Divisions that are no division: by -1, signed, and by a power of two, unsigned.
  private mutating func divideByConstant(
    _ left: StackValue, _ divisor: UInt64, _ size: OperandSize, signed: Bool, remainder: Bool
  ) -> Bool {
    let type = Self.type(size)
    if signed {
      guard divisor == Self.truncated(.max, size) else { return false }
      if remainder {
        release(left)
        pushConstant(0, type)
        return true
      }
      let source = operand(left, .x17)
      release(source)
      let register = resultRegister()
      asm.arithmetic(.subs, size, register, .zr, source)
      asm.b(.vs, trapLabel(.integerOverflow))
      push(register, type)
      return true
    }
    guard divisor != 0, divisor & (divisor - 1) == 0 else { return false }
    if remainder {
      logicConstant(.and, left, divisor - 1, size)
      return true
    }
    if divisor == 1 {
      repush(left, type)
      return true
    }
    let source = operand(left, .x17)
    release(source)
    let register = resultRegister()
    asm.shift(.lsr, size, register, source, immediate: UInt8(divisor.trailingZeroBitCount))
    push(register, type)
    return true
  }

  // MARK: Shifts, counts, extensions

  private static func operation(_ shift: Shift) -> AArch64ShiftOp {
    switch shift {
    case .left: .lsl
    case .rightSigned: .asr
    case .rightUnsigned: .lsr
    case .rotateLeft, .rotateRight: .ror
    }
  }

  mutating func shift(_ shift: Shift, _ size: OperandSize) {
    let op = Self.operation(shift)
    let count = pop()
    let left = pop()
    let type = Self.type(size)
    if count.kind == .constant {
      let width: UInt64 = size == .b32 ? 32 : 64
      let amount = count.bits & (width - 1)
      if left.kind == .constant {
        pushConstant(Self.fold(shift, left.bits, amount, size), type)
        return
      }
      if amount == 0 {
        repush(left, type)
        return
      }
      // There is one direction of rotation.
      shiftByConstant(left, op, UInt8(shift == .rotateLeft ? width - amount : amount), size)
      return
    }
    let source = operand(left, .x17)
    var amount = operand(count, .x30)
    release(source)
    release(amount)
    let register = resultRegister()
    if shift == .rotateLeft {
      asm.neg(size, .x16, amount)
      amount = .x16
    }
    asm.shift(op, size, register, source, by: amount)
    push(register, type)
  }

  private mutating func shiftByConstant(
    _ left: StackValue, _ op: AArch64ShiftOp, _ amount: UInt8, _ size: OperandSize
  ) {
    // A rotation is no operand of a sum.
    if let next = takeCombination(size, sums: op != .ror, logic: true) {
      combine(next.operation, next.other, left, op, amount, size)
      return
    }
    let bits = op == .lsr ? takeMask(size) : nil
    let source = operand(left, .x17)
    release(source)
    let register = resultRegister()
    if let bits {
      asm.ubfm(size, register, source, rotate: amount, last: min(amount &+ bits, size == .b32 ? 32 : 64) &- 1)
    } else {
      asm.shift(op, size, register, source, immediate: amount)
    }
    push(register, Self.type(size))
  }

  mutating func countLeadingZeros(_ size: OperandSize) {
    let source = operand(pop(), .x17)
    release(source)
    let register = resultRegister()
    asm.clz(size, register, source)
    push(register, Self.type(size))
  }

  mutating func countTrailingZeros(_ size: OperandSize) {
    let source = operand(pop(), .x17)
    release(source)
    let register = resultRegister()
    asm.rbit(size, register, source)
    asm.clz(size, register, register)
    push(register, Self.type(size))
  }

  /// Only the vector side counts bits: of each byte, and then adds them up.
  mutating func populationCount(_ size: OperandSize) {
    let source = operand(pop(), .x17)
    release(source)
    let register = resultRegister()
    // The form of 32 bits makes the upper half zero.
    asm.fmov(size == .b32 ? .f32 : .f64, .v31, source)
    asm.cnt(.v31, .v31)
    asm.addv(.v31, .v31)
    asm.fmov(.f32, register, .v31)
    push(register, Self.type(size))
  }

  mutating func signExtend(_ from: OperandSize, to size: OperandSize) {
    let source = operand(pop(), .x17)
    release(source)
    let register = resultRegister()
    asm.moveSignExtended(from: from, to: size, dst: register, src: source)
    push(register, Self.type(size))
  }
}
