// Comparisons and selection on AArch64.
//
// After a comparison of floats the flags are such that every comparison of wasm, and its opposite, is one condition: unordered
// operands set C and V only, so `mi` (less), `ls` (less or equal), `gt`, `ge` and `eq` are false, and what inverts them is true.

import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == AArch64Assembler {
  // MARK: Comparisons

  /// Pushes a condition of the flags: as it is if the next operator takes it so, else as 0 or 1.
  mutating func pushFlags(_ condition: AArch64Condition) {
    if let fused = fusedCondition(condition.rawValue) {
      stack.append(StackValue(.flags, .i32, number: fused))
      return
    }
    let register = resultRegister()
    asm.cset(.b32, register, condition)
    push(register, .i32)
  }

  private static func condition(_ comparison: Comparison) -> AArch64Condition {
    switch comparison {
    case .equal: .eq
    case .notEqual: .ne
    case .lessSigned: .lt
    case .lessUnsigned: .lo
    case .greaterSigned: .gt
    case .greaterUnsigned: .hi
    case .lessOrEqualSigned: .le
    case .lessOrEqualUnsigned: .ls
    case .greaterOrEqualSigned: .ge
    case .greaterOrEqualUnsigned: .hs
    }
  }

  mutating func compare(_ size: OperandSize, _ comparison: Comparison) {
    var right = pop()
    var left = pop()
    var condition = Self.condition(comparison)
    if left.kind == .constant, right.kind != .constant {
      swap(&left, &right)
      condition = condition.swapped
    }
    if right.kind == .constant, Self.truncated(right.bits, size) == 0, condition == .eq || condition == .ne {
      compareWithZero(left, size, condition)
      return
    }
    let a = operand(left, .x17)
    let constant = Self.truncated(right.bits, size)
    let negated = Self.truncated(0 &- right.bits, size)
    let isImmediate = right.kind == .constant && a != .zr
    if isImmediate, AArch64Assembler.isArithmeticImmediate(constant) {
      asm.cmp(size, a, immediate: constant)
    } else if isImmediate, AArch64Assembler.isArithmeticImmediate(negated) {
      // The same flags: the constant is neither zero nor the smallest integer.
      asm.cmn(size, a, immediate: negated)
    } else {
      let b = operand(right, .x30)
      asm.cmp(size, a, b)
      release(b)
    }
    release(a)
    pushFlags(condition)
  }

  mutating func equalsZero(_ size: OperandSize) {
    let value = pop()
    compareWithZero(value, size, .eq)
  }

  /// Whether a value is (`eq`) or is not (`ne`) zero, which a branch can tell by itself.
  private mutating func compareWithZero(_ value: StackValue, _ size: OperandSize, _ condition: AArch64Condition) {
    var condition = condition
    if let fused = fusedCondition(condition.rawValue) {
      condition = fused == AArch64Condition.eq.rawValue ? .eq : .ne
      let next = ops[position &+ 1].opcode
      if next == .brIf || next == .if {
        let register = read(value)
        release(register)
        let number =
          condition == .eq ? BranchCondition.isZero(size, register) : BranchCondition.isNotZero(size, register)
        stack.append(StackValue(.flags, .i32, number: number))
        return
      }
    }
    let register = operand(value, .x17)
    asm.cmp(size, register, .zr)
    release(register)
    pushFlags(condition)
  }

  // MARK: Selection

  /// The condition on which a popped value is not zero; it may be a condition already.
  private mutating func condition(of value: StackValue) -> AArch64Condition {
    if value.kind == .flags { return AArch64Condition(rawValue: value.number) ?? .ne }
    let register = operand(value, .x17)
    asm.cmp(.b32, register, .zr)
    release(register)
    return .ne
  }

  mutating func select(_ op: Operator) {
    let conditionValue = pop()
    let right = pop()
    let left = pop()
    // Nothing after this touches the flags.
    let condition = condition(of: conditionValue)
    if op.type == .v128 {
      selectVector(condition, left, right)
      return
    }
    if op.type.isFloatOrVector {
      let (a, b) = vectorOperands(left, right)
      release(a)
      release(b)
      let register = vectorDestination ?? allocateVector()
      asm.fcsel(Self.floatSize(op.type), register, a, b, condition)
      push(register, op.type)
      return
    }
    let size = Self.size(op.type)
    // 1 and -1 are what an increment and an inversion make of zero.
    if right.kind == .constant, let special = Self.madeOfZero(right.bits, size) {
      let a = operand(left, .x17)
      release(a)
      let register = resultRegister()
      asm.select(special, size, register, a, .zr, condition)
      push(register, op.type)
      return
    }
    if left.kind == .constant, let special = Self.madeOfZero(left.bits, size) {
      let b = operand(right, .x17)
      release(b)
      let register = resultRegister()
      asm.select(special, size, register, b, .zr, condition.inverted)
      push(register, op.type)
      return
    }
    let a = operand(left, .x17)
    let b = operand(right, .x30)
    release(a)
    release(b)
    let register = resultRegister()
    asm.csel(size, register, a, b, condition)
    push(register, op.type)
  }

  private static func madeOfZero(_ constant: UInt64, _ size: OperandSize) -> AArch64SelectOp? {
    switch truncated(constant, size) {
    case 1: .csinc
    case truncated(.max, size): .csinv
    default: nil
    }
  }

  /// No instruction selects among whole vectors by the flags.
  private mutating func selectVector(_ condition: AArch64Condition, _ left: StackValue, _ right: StackValue) {
    let other = readVector(right)
    let register = writeVector(left)
    let done = asm.makeLabel()
    asm.b(condition, done)
    asm.moveVector(register, other)
    asm.bind(done)
    release(other)
    push(register, .v128)
  }
}
