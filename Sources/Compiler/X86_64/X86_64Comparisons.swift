// Comparisons and selection on x86-64.

import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == X86_64Assembler {
  // MARK: Comparisons

  /// Pushes a condition of the flags: as it is if the next operator takes it so, else as 0 or 1.
  mutating func pushFlags(_ condition: UInt8) {
    if let fused = fusedCondition(condition) {
      stack.append(StackValue(.flags, .i32, number: fused))
      return
    }
    let register = destination ?? allocate()
    switch condition {
    case BranchCondition.floatEqual, BranchCondition.floatNotEqual:
      let isEqual = condition == BranchCondition.floatEqual
      let parity = allocate()
      asm.setcc(isEqual ? .equal : .notEqual, register)
      asm.setcc(isEqual ? .noParity : .parity, parity)
      asm.alu(isEqual ? .and : .or, .b32, dst: register, src: parity)
      release(parity)
    default: asm.setcc(Self.condition(condition), register)
    }
    asm.moveZeroExtended(.b8, dst: register, src: register)
    push(register, .i32)
  }

  private static func condition(_ comparison: Comparison) -> Condition {
    switch comparison {
    case .equal: .equal
    case .notEqual: .notEqual
    case .lessSigned: .less
    case .lessUnsigned: .below
    case .greaterSigned: .greater
    case .greaterUnsigned: .above
    case .lessOrEqualSigned: .lessOrEqual
    case .lessOrEqualUnsigned: .belowOrEqual
    case .greaterOrEqualSigned: .greaterOrEqual
    case .greaterOrEqualUnsigned: .aboveOrEqual
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
    if let immediate = Self.immediate(right, size) {
      if let memory = memoryOperand(left) {
        asm.alu(.cmp, size, to: memory, immediate: immediate)
      } else {
        let register = read(left)
        if immediate == 0 {
          asm.test(size, register, register)
        } else {
          asm.alu(.cmp, size, dst: register, immediate: immediate)
        }
        release(register)
      }
    } else if let memory = memoryOperand(right) {
      let register = read(left)
      asm.alu(.cmp, size, dst: register, from: memory)
      release(register)
    } else {
      let a = read(left)
      let b = read(right)
      asm.alu(.cmp, size, dst: a, src: b)
      release(a)
      release(b)
    }
    pushFlags(condition.rawValue)
  }

  mutating func equalsZero(_ size: OperandSize) {
    let value = pop()
    if let memory = memoryOperand(value) {
      asm.alu(.cmp, size, to: memory, immediate: 0)
    } else {
      let register = read(value)
      asm.test(size, register, register)
      release(register)
    }
    pushFlags(Condition.equal.rawValue)
  }

  // MARK: Selection

  mutating func select(_ op: Operator) {
    let conditionValue = pop()
    let right = pop()
    let left = pop()
    if op.type.isFloatOrVector {
      selectVector(conditionValue, left, right, op.type)
      return
    }
    // Everything in registers first; nothing of it touches the flags.
    var condition = conditionValue.number
    let tested: Register? = conditionValue.kind == .flags ? nil : read(conditionValue)
    let size = Self.size(op.type)
    var target = destination
    if let register = target, isRegister(right, register) || tested == register { target = nil }
    let other = read(right)
    let register = write(left, into: target)
    if let tested {
      asm.test(.b32, tested, tested)
      condition = Condition.notEqual.rawValue
      release(tested)
    }
    switch condition {
    case BranchCondition.floatEqual:
      asm.cmov(.notEqual, size, register, other)
      asm.cmov(.parity, size, register, other)
    case BranchCondition.floatNotEqual:
      // Left if not equal or unordered: swap the roles through a copy.
      let result = allocate()
      asm.mov(size, dst: result, src: other)
      asm.cmov(.notEqual, size, result, register)
      asm.cmov(.parity, size, result, register)
      release(register)
      release(other)
      push(result, op.type)
      return
    default: asm.cmov(Self.condition(condition).inverted, size, register, other)
    }
    release(other)
    push(register, op.type)
  }

  private mutating func selectVector(
    _ conditionValue: StackValue, _ left: StackValue, _ right: StackValue, _ type: ValueType
  ) {
    var condition = conditionValue.number
    let tested: Register? = conditionValue.kind == .flags ? nil : read(conditionValue)
    let other = readVector(right)
    let register = writeVector(left)
    if let tested {
      asm.test(.b32, tested, tested)
      condition = Condition.notEqual.rawValue
      release(tested)
    }
    let done = asm.makeLabel()
    branch(condition, done)
    asm.movaps(register, other)
    asm.bind(done)
    release(other)
    push(register, type)
  }
}
