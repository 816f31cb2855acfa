// Integer arithmetic on x86-64: constants fold, results go where the next operator wants them, and what the machine does in fixed
// registers (division, shifts by a variable) claims them.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == X86_64Assembler {
  // MARK: Addition, subtraction, logic

  mutating func add(_ size: OperandSize) {
    var right = pop()
    var left = pop()
    if left.kind == .constant { swap(&left, &right) }
    let type = Self.type(size)
    if left.kind == .constant, right.kind == .constant {
      pushConstant(Self.truncated(left.bits &+ right.bits, size), type)
      return
    }
    let target = destination
    if let immediate = Self.immediate(right, size) {
      if immediate == 0, target == nil {
        repush(left, type)
        return
      }
      addImmediate(left, immediate, size, target)
      return
    }
    // Three operands where the left one must survive.
    if memoryOperand(left) == nil, memoryOperand(right) == nil, right.kind != .constant {
      let a = read(left)
      let b = read(right)
      let register: Register
      if let target {
        register = target
      } else if isTemporary(a) {
        register = a
      } else if isTemporary(b) {
        register = b
      } else {
        register = allocate()
      }
      if register == a {
        asm.alu(.add, size, dst: a, src: b)
      } else if register == b {
        asm.alu(.add, size, dst: b, src: a)
      } else {
        asm.lea(size, register, Address(base: a, index: b, scale: 1, displacement: 0))
      }
      if a != register { release(a) }
      if b != register { release(b) }
      push(register, type)
      return
    }
    combine(.add, left, right, size, isCommutative: true)
  }

  private mutating func addImmediate(_ left: StackValue, _ immediate: Int32, _ size: OperandSize, _ target: Register?) {
    let source = read(left)
    let register: Register
    if let target {
      register = target
    } else if isTemporary(source) {
      register = source
    } else {
      register = allocate()
    }
    if register == source {
      asm.alu(.add, size, dst: register, immediate: immediate)
    } else {
      asm.lea(size, register, Address(base: source, displacement: immediate))
      release(source)
    }
    push(register, Self.type(size))
  }

  mutating func subtract(_ size: OperandSize) {
    let right = pop()
    let left = pop()
    if let immediate = Self.immediate(right, size), immediate != Int32.min {
      if left.kind == .constant {
        pushConstant(Self.truncated(left.bits &- right.bits, size), Self.type(size))
      } else {
        addImmediate(left, -immediate, size, destination)
      }
      return
    }
    combine(.sub, left, right, size, isCommutative: false)
  }

  mutating func logic(_ operation: LogicOp, _ size: OperandSize) {
    let op: AluOp = operation == .and ? .and : operation == .or ? .or : .xor
    var right = pop()
    var left = pop()
    if left.kind == .constant { swap(&left, &right) }
    if left.kind == .constant, right.kind == .constant {
      let bits: UInt64 =
        switch op {
        case .and: left.bits & right.bits
        case .or: left.bits | right.bits
        default: left.bits ^ right.bits
        }
      pushConstant(Self.truncated(bits, size), Self.type(size))
      return
    }
    if op == .and, right.kind == .constant {
      // Zero extension is shorter than a mask that needs four bytes, and takes another register.
      let mask = Self.truncated(right.bits, size)
      if mask == 0xFF || mask == 0xFFFF {
        let source = read(left)
        let register = destination ?? (isTemporary(source) ? source : allocate())
        asm.moveZeroExtended(mask == 0xFF ? .b8 : .b16, dst: register, src: source)
        if source != register { release(source) }
        push(register, Self.type(size))
        return
      }
    }
    combine(op, left, right, size, isCommutative: true)
  }

  /// left op right, the general way.
  mutating func combine(
    _ op: AluOp, _ left: StackValue, _ right: StackValue, _ size: OperandSize, isCommutative: Bool
  ) {
    var left = left
    var right = right
    var target = destination
    if let register = target, isRegister(right, register), !isRegister(left, register) {
      if isCommutative { swap(&left, &right) } else { target = nil }
    } else if isCommutative, target == nil, right.kind == .register, left.kind != .register {
      swap(&left, &right)
    }
    if let immediate = Self.immediate(right, size) {
      let register = write(left, into: target)
      asm.alu(op, size, dst: register, immediate: immediate)
      push(register, Self.type(size))
      return
    }
    if let memory = memoryOperand(right) {
      let register = write(left, into: target)
      asm.alu(op, size, dst: register, from: memory)
      push(register, Self.type(size))
      return
    }
    let source = read(right)
    let register = write(left, into: target)
    asm.alu(op, size, dst: register, src: source)
    release(source)
    push(register, Self.type(size))
  }

  // MARK: Multiplication and division

  mutating func multiply(_ size: OperandSize) {
    var right = pop()
    var left = pop()
    if left.kind == .constant { swap(&left, &right) }
    if left.kind == .constant {
      pushConstant(Self.truncated(left.bits &* right.bits, size), Self.type(size))
      return
    }
    let target = destination
    if let immediate = Self.immediate(right, size) {
      if immediate > 0, immediate & (immediate - 1) == 0 {
        let register = write(left, into: target)
        let count = UInt8(immediate.trailingZeroBitCount)
        if count > 0 { asm.shift(.shl, size, register, immediate: count) }
        push(register, Self.type(size))
        return
      }
      let source = read(left)
      let register = target ?? (isTemporary(source) ? source : allocate())
      asm.imul(size, register, source, immediate: immediate)
      if source != register { release(source) }
      push(register, Self.type(size))
      return
    }
    if let register = target, isRegister(right, register), !isRegister(left, register) {
      swap(&left, &right)
    } else if target == nil, right.kind == .register, left.kind != .register {
      swap(&left, &right)
    }
    if let memory = memoryOperand(right) {
      let register = write(left, into: target)
      asm.imul(size, register, from: memory)
      push(register, Self.type(size))
      return
    }
    let source = read(right)
    let register = write(left, into: target)
    asm.imul(size, register, source)
    release(source)
    push(register, Self.type(size))
  }

  mutating func divide(_ size: OperandSize, signed: Bool, remainder: Bool) {
    let right = pop()
    let left = pop()
    if !signed, right.kind == .constant {
      let divisor = Self.truncated(right.bits, size)
      if divisor != 0, divisor & (divisor - 1) == 0, !remainder || divisor <= 0x4000_0000 {
        let register = write(left, into: destination)
        if remainder {
          asm.alu(.and, size, dst: register, immediate: Int32(divisor - 1))
        } else if divisor > 1 {
          asm.shift(.shr, size, register, immediate: UInt8(divisor.trailingZeroBitCount))
        }
        push(register, Self.type(size))
        return
      }
    }
    // rdx:rax / divisor. The divisor in any other register; both free for us.
    var divisor: Register
    if right.kind == .constant || right.kind == .slot {
      divisor = allocate(excluding: 0b101)
      move(right, to: divisor)
    } else {
      divisor = read(right)
    }
    if divisor == .rax || divisor == .rdx {
      let other = allocate(excluding: 0b101)
      asm.mov(.b64, dst: other, src: divisor)
      if !isRegister(left, divisor) { release(divisor) }
      divisor = other
    }
    claim(Register.rax)
    move(left, to: .rax)
    if !isRegister(left, .rax) { release(left) }
    free &= ~1
    claim(Register.rdx)
    free &= ~0b101
    if signed {
      let constant = right.kind == .constant ? Int64(bitPattern: right.bits) : -1
      let mayBeMinusOne =
        right.kind != .constant || Self.truncated(UInt64(bitPattern: constant), size) == Self.truncated(.max, size)
      let done = asm.makeLabel()
      if mayBeMinusOne {
        let divide = asm.makeLabel()
        asm.alu(.cmp, size, dst: divisor, immediate: -1)
        asm.jcc(.notEqual, divide, .short)
        if remainder {
          asm.alu(.xor, .b32, dst: .rdx, src: .rdx)
        } else {
          asm.neg(size, .rax)
          asm.jcc(.overflow, trapLabel(.integerOverflow))
        }
        asm.jmp(done, .short)
        asm.bind(divide)
      }
      if size == .b32 { asm.cdq() } else { asm.cqo() }
      trapSite(.integerDivideByZero)
      asm.idiv(size, divisor)
      asm.bind(done)
    } else {
      asm.alu(.xor, .b32, dst: .rdx, src: .rdx)
      trapSite(.integerDivideByZero)
      asm.div(size, divisor)
    }
    release(divisor)
    if remainder {
      release(Register.rax)
      push(Register.rdx, Self.type(size))
    } else {
      release(Register.rdx)
      push(Register.rax, Self.type(size))
    }
  }

  // MARK: Shifts, counts, extensions

  private static func operation(_ shift: Shift) -> ShiftOp {
    switch shift {
    case .left: .shl
    case .rightSigned: .sar
    case .rightUnsigned: .shr
    case .rotateLeft: .rol
    case .rotateRight: .ror
    }
  }

  mutating func shift(_ shift: Shift, _ size: OperandSize) {
    let op = Self.operation(shift)
    let count = pop()
    let left = pop()
    let type = Self.type(size)
    if count.kind == .constant {
      let amount = UInt8(count.bits & (size == .b32 ? 31 : 63))
      if left.kind == .constant {
        pushConstant(Self.fold(shift, left.bits, UInt64(amount), size), type)
        return
      }
      if amount == 0 {
        repush(left, type)
        return
      }
      let register = write(left, into: destination)
      asm.shift(op, size, register, immediate: amount)
      push(register, type)
      return
    }
    if hasBMI2, op == .shl || op == .shr || op == .sar {
      let amount = read(count)
      let source = read(left)
      release(amount)
      release(source)
      let register = destination ?? allocate()
      switch op {
      case .shl: asm.shlx(size, register, source, amount)
      case .shr: asm.shrx(size, register, source, amount)
      default: asm.sarx(size, register, source, amount)
      }
      push(register, type)
      return
    }
    // The count in cl.
    var value = left
    if isRegister(left, .rcx) {
      let other = allocate(excluding: 0b10)
      asm.mov(.b64, dst: other, src: .rcx)
      value = StackValue(.register, left.type, number: other.rawValue)
      // rcx stays ours.
    } else {
      claim(Register.rcx)
    }
    move(count, to: .rcx)
    if !isRegister(count, .rcx) { release(count) }
    free &= ~0b10
    let register = write(value, into: destination)
    asm.shiftCL(op, size, register)
    release(Register.rcx)
    push(register, type)
  }

  mutating func countLeadingZeros(_ size: OperandSize) {
    let source = read(pop())
    if hasLZCNT {
      release(source)
      let register = destination ?? allocate()
      asm.lzcnt(size, register, source)
      push(register, Self.type(size))
      return
    }
    let register = allocate()
    let zero = allocate()
    asm.bsr(size, register, source)
    asm.mov(.b32, dst: zero, immediate: size == .b32 ? 63 : 127)
    asm.cmov(.equal, size, register, zero)
    asm.alu(.xor, .b32, dst: register, immediate: size == .b32 ? 31 : 63)
    release(zero)
    release(source)
    push(register, Self.type(size))
  }

  mutating func countTrailingZeros(_ size: OperandSize) {
    let source = read(pop())
    if hasBMI1 {
      release(source)
      let register = destination ?? allocate()
      asm.tzcnt(size, register, source)
      push(register, Self.type(size))
      return
    }
    let register = allocate()
    let zero = allocate()
    asm.bsf(size, register, source)
    asm.mov(.b32, dst: zero, immediate: size == .b32 ? 32 : 64)
    asm.cmov(.equal, size, register, zero)
    release(zero)
    release(source)
    push(register, Self.type(size))
  }

  mutating func populationCount(_ size: OperandSize) {
    let source = read(pop())
    release(source)
    let register = destination ?? allocate()
    asm.popcnt(size, register, source)
    push(register, Self.type(size))
  }

  mutating func signExtend(_ from: OperandSize, to size: OperandSize) {
    let source = read(pop())
    release(source)
    let register = destination ?? allocate()
    asm.moveSignExtended(from: from, to: size, dst: register, src: source)
    push(register, Self.type(size))
  }
}
