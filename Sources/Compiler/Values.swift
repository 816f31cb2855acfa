// The virtual stack and the registers behind it.
//
// Invariants, relied on by every operator:
// - A temporary register is in use by exactly one entry of the stack, or by the operator at work, or free.
// - A value of type i32 in a register is zero-extended to 64 bits; in a slot its low four bytes count.
// - Nothing in this file changes the flags, so a comparison survives everything up to the branch.
// - A local with a register has its value in the register, in its slot, in both, or (dead) in neither.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine: ~Copyable {
  /// Size of a general value of a type.
  @inline(__always) static func size(_ type: ValueType) -> OperandSize { type == .i32 ? .b32 : .b64 }

  @inline(__always) static func floatSize(_ type: ValueType) -> FloatSize { type == .f32 ? .f32 : .f64 }

  // MARK: Pushing and popping

  @inline(__always) mutating func push(_ register: Register, _ type: ValueType) {
    generalOwners[Int(register.rawValue)] = UInt32(truncatingIfNeeded: stack.count)
    stack.append(StackValue(.register, type, number: register.rawValue))
  }

  @inline(__always) mutating func push(_ register: VectorRegister, _ type: ValueType) {
    vectorOwners[Int(register.rawValue)] = UInt32(truncatingIfNeeded: stack.count)
    stack.append(StackValue(.vector, type, number: register.rawValue))
  }

  @inline(__always) mutating func pushConstant(_ bits: UInt64, _ type: ValueType) {
    stack.append(StackValue(.constant, type, bits: bits))
  }

  @inline(__always) mutating func reference(_ local: UInt32) {
    let home = locals[Int(local)]
    locals[Int(local)].references = home.references &+ 1
    if home.bit != noBit { referenced |= 1 << UInt32(home.bit) }
  }

  @inline(__always) mutating func dereference(_ local: UInt32) {
    let home = locals[Int(local)]
    locals[Int(local)].references = home.references &- 1
    if home.references == 1, home.bit != noBit { referenced &= ~(1 << UInt32(home.bit)) }
  }

  @inline(__always) mutating func pop() -> StackValue {
    let top = stack.count &- 1
    let value = stack[top]
    stack.removeLast()
    if value.kind == .local { dereference(value.index) }
    if flushedHeight > top { flushedHeight = top }
    if spilledHeight > top { spilledHeight = top }
    return value
  }

  /// Gives back the register of a popped value, if it has one of its own.
  @inline(__always) mutating func release(_ value: StackValue) {
    if value.kind == .register {
      release(Register(number: value.number))
    } else if value.kind == .vector {
      release(VectorRegister(number: value.number))
    }
  }

  @inline(__always) mutating func release(_ register: Register) {
    free |= temporaries & (1 << UInt32(register.rawValue))
  }

  @inline(__always) mutating func release(_ register: VectorRegister) {
    freeVectors |= vectorTemporaries & (1 << UInt32(register.rawValue))
  }

  @inline(__always) func isTemporary(_ register: Register) -> Bool {
    temporaries & (1 << UInt32(register.rawValue)) != 0
  }

  @inline(__always) func isTemporary(_ register: VectorRegister) -> Bool {
    vectorTemporaries & (1 << UInt32(register.rawValue)) != 0
  }

  /// Drops all entries above `height`.
  mutating func truncateStack(to height: Int) {
    while stack.count > height { release(pop()) }
  }

  // MARK: Registers

  /// A free general register, not one of `excluding`.
  @inline(__always) mutating func allocate(excluding: UInt32 = 0) -> Register {
    var candidates = free & ~excluding
    if candidates == 0 {
      spillGeneral(excluding: excluding)
      candidates = free & ~excluding
    }
    let number = candidates.trailingZeroBitCount
    free &= ~(1 << UInt32(number))
    return Register(number: UInt8(truncatingIfNeeded: number))
  }

  @inline(__always) mutating func allocateVector() -> VectorRegister {
    if freeVectors == 0 { spillVector() }
    let number = freeVectors.trailingZeroBitCount
    freeVectors &= ~(1 << UInt32(number))
    return VectorRegister(number: UInt8(truncatingIfNeeded: number))
  }

  /// Moves the lowest entry in a general register to its slot.
  mutating func spillGeneral(excluding: UInt32) {
    var lowest = Int.max
    var used = temporaries & ~free & ~excluding
    while used != 0 {
      let number = used.trailingZeroBitCount
      used &= used &- 1
      let i = Int(generalOwners[number])
      if i < lowest, i < stack.count, stack[i].kind == .register, stack[i].number == number { lowest = i }
    }
    // Operators hold at most three temporaries beside those that the stack has, and there are four at least.
    precondition(lowest != .max, "no register to spill")
    spill(lowest)
  }

  mutating func spillVector() {
    var lowest = Int.max
    var used = vectorTemporaries & ~freeVectors
    while used != 0 {
      let number = used.trailingZeroBitCount
      used &= used &- 1
      let i = Int(vectorOwners[number])
      if i < lowest, i < stack.count, stack[i].kind == .vector, stack[i].number == number { lowest = i }
    }
    precondition(lowest != .max, "no vector register to spill")
    spill(lowest)
  }

  /// Makes a particular temporary free, moving the entry that is in it. A register that the operator at work
  /// holds is left alone.
  mutating func claim(_ register: Register) {
    let bit: UInt32 = 1 << UInt32(register.rawValue)
    if free & bit == 0 {
      let i = Int(generalOwners[Int(register.rawValue)])
      if i < stack.count, stack[i].kind == .register, stack[i].number == register.rawValue { spill(i) }
    }
    free &= ~bit
  }

  mutating func claim(_ register: VectorRegister) {
    let bit: UInt32 = 1 << UInt32(register.rawValue)
    if freeVectors & bit == 0 {
      let i = Int(vectorOwners[Int(register.rawValue)])
      if i < stack.count, stack[i].kind == .vector, stack[i].number == register.rawValue { spill(i) }
    }
    freeVectors &= ~bit
  }

  // MARK: Slots

  /// The slot of a position of the operand stack.
  @inline(__always) mutating func slot(_ position: Int) -> Address {
    if position >= highestSlot { highestSlot = position &+ 1 }
    return Machine.frame(stackSlots &- 8 &* Int32(truncatingIfNeeded: position &+ 1))
  }

  @inline(__always) func slot(of local: UInt32) -> Address {
    Machine.frame(locals[Int(local)].slot)
  }

  /// Moves the entry at index `i` from its register to its slot.
  mutating func spill(_ i: Int) {
    let value = stack[i]
    if value.kind == .register {
      asm.store(Self.size(value.type), to: slot(i), src: Register(number: value.number))
    } else {
      storeVector(VectorRegister(number: value.number), value.type, slot(i))
    }
    release(value)
    stack[i] = StackValue(.slot, value.type, index: UInt32(i))
  }

  mutating func storeVector(_ register: VectorRegister, _ type: ValueType, _ address: Address) {
    if type == .v128 {
      asm.storeVector(to: address, register)
    } else {
      asm.store(Self.floatSize(type), to: address, src: register)
    }
  }

  mutating func loadVector(_ register: VectorRegister, _ type: ValueType, _ address: Address) {
    if type == .v128 {
      asm.loadVector(register, from: address)
    } else {
      asm.load(Self.floatSize(type), dst: register, from: address)
    }
  }

  /// Moves all entries below `height` out of registers; references to locals stay.
  mutating func spillRegisters(below height: Int) {
    var i = spilledHeight
    while i < height {
      let kind = stack[i].kind
      if kind == .register || kind == .vector { spill(i) }
      i &+= 1
    }
    if spilledHeight < height { spilledHeight = height }
  }

  /// Makes all entries below `height` constants or slots, as every path through a block must find them.
  mutating func flush(below height: Int) {
    var i = flushedHeight
    while i < height {
      materializeToSlot(i)
      i &+= 1
    }
    if flushedHeight < height { flushedHeight = height }
    if spilledHeight < height { spilledHeight = height }
  }

  /// Makes an entry a constant or a slot.
  mutating func materializeToSlot(_ i: Int) {
    let value = stack[i]
    switch value.kind {
    case .constant, .slot: return
    case .register, .vector: spill(i)
    case .flags: preconditionFailure("flags outlive their operator")
    case .local:
      copy(value, to: slot(i))
      dereference(value.index)
      stack[i] = StackValue(.slot, value.type, index: UInt32(i))
    }
  }

  /// Stores a value to memory, changing neither the flags nor the state of the pass.
  mutating func copy(_ value: StackValue, to address: Address) {
    switch value.kind {
    case .register: asm.store(Self.size(value.type), to: address, src: Register(number: value.number))
    case .vector: storeVector(VectorRegister(number: value.number), value.type, address)
    case .constant: Machine.storeConstant(&self, value.bits, value.type, address)
    case .local:
      let home = locals[Int(value.index)]
      if home.bit != noBit, inRegisters & (1 << UInt32(home.bit)) != 0 {
        if home.bit < 16 {
          asm.store(Self.size(value.type), to: address, src: Register(number: home.bit))
        } else {
          storeVector(VectorRegister(number: home.bit - 16), value.type, address)
        }
      } else {
        Machine.copyMemory(&self, from: Machine.frame(home.slot), to: address, home.type)
      }
    case .slot: Machine.copyMemory(&self, from: slot(Int(value.index)), to: address, value.type)
    case .flags: preconditionFailure("flags outlive their operator")
    }
  }

  // MARK: Operands

  /// A general register with the value, to read only. Release it when done.
  @inline(__always) mutating func read(_ value: StackValue) -> Register {
    switch value.kind {
    case .register: return Register(number: value.number)
    case .local:
      let home = locals[Int(value.index)]
      if home.bit != noBit {
        load(home)
        return Register(number: home.bit)
      }
    default: break
    }
    let register = allocate()
    move(value, to: register)
    return register
  }

  /// Puts the value into a register, flags unchanged. The value's own register is not released.
  @inline(__always) mutating func move(_ value: StackValue, to register: Register) {
    switch value.kind {
    case .register:
      if value.number != register.rawValue {
        asm.mov(Self.size(value.type), dst: register, src: Register(number: value.number))
      }
    case .constant:
      asm.mov(.b64, dst: register, immediate: value.type == .i32 ? value.bits & 0xFFFF_FFFF : value.bits)
    case .local:
      let home = locals[Int(value.index)]
      if home.bit != noBit, inRegisters & (1 << UInt32(home.bit)) != 0 {
        if home.bit != register.rawValue {
          asm.mov(Self.size(value.type), dst: register, src: Register(number: home.bit))
        }
      } else {
        // By the local's own type: a 64-bit view of an i32 is its zero extension.
        asm.load(Self.size(home.type), dst: register, from: Machine.frame(home.slot))
      }
    case .slot: asm.load(Self.size(value.type), dst: register, from: slot(Int(value.index)))
    case .vector, .flags: preconditionFailure("not a general value")
    }
  }

  /// A register with the value that may be changed: `destination`, or the value's own, or a new one.
  @inline(__always) mutating func write(_ value: StackValue, into destination: Register? = nil) -> Register {
    if let destination {
      move(value, to: destination)
      release(value)
      return destination
    }
    if value.kind == .register, isTemporary(Register(number: value.number)) { return Register(number: value.number) }
    let register = allocate()
    move(value, to: register)
    return register
  }

  /// A vector register with the value, to read only.
  @inline(__always) mutating func readVector(_ value: StackValue) -> VectorRegister {
    switch value.kind {
    case .vector: return VectorRegister(number: value.number)
    case .local:
      let home = locals[Int(value.index)]
      if home.bit != noBit {
        load(home)
        return VectorRegister(number: home.bit &- 16)
      }
    default: break
    }
    let register = allocateVector()
    move(value, to: register)
    return register
  }

  mutating func move(_ value: StackValue, to register: VectorRegister) {
    switch value.kind {
    case .vector:
      if value.number != register.rawValue { asm.moveVector(register, VectorRegister(number: value.number)) }
    case .constant:
      Machine.moveConstant(&self, value, to: register)
    case .local:
      let home = locals[Int(value.index)]
      if home.bit != noBit, inRegisters & (1 << UInt32(home.bit)) != 0 {
        if home.bit - 16 != register.rawValue { asm.moveVector(register, VectorRegister(number: home.bit - 16)) }
      } else {
        loadVector(register, home.type, Machine.frame(home.slot))
      }
    case .slot: loadVector(register, value.type, slot(Int(value.index)))
    case .register, .flags: preconditionFailure("not a vector value")
    }
  }

  @inline(__always) mutating func writeVector(_ value: StackValue, into destination: VectorRegister? = nil)
    -> VectorRegister
  {
    if let destination {
      move(value, to: destination)
      release(value)
      return destination
    }
    if value.kind == .vector, isTemporary(VectorRegister(number: value.number)) {
      return VectorRegister(number: value.number)
    }
    let register = allocateVector()
    move(value, to: register)
    return register
  }

  /// Whether the value is in the register of this local, unread.
  @inline(__always) func isRegister(_ value: StackValue, _ register: Register) -> Bool {
    switch value.kind {
    case .register: return value.number == register.rawValue
    case .local: return locals[Int(value.index)].bit == register.rawValue
    default: return false
    }
  }

  @inline(__always) func isRegister(_ value: StackValue, _ register: VectorRegister) -> Bool {
    switch value.kind {
    case .vector: return value.number == register.rawValue
    case .local: return locals[Int(value.index)].bit == register.rawValue &+ 16
    default: return false
    }
  }

  /// The register that the result should be computed in, because the next operator puts it into a local that
  /// lives there. Asked after the operands have been popped.
  @inline(__always) var destination: Register? {
    let next = ops[position &+ 1]
    guard next.opcode == .localSet || next.opcode == .localTee else { return nil }
    let home = locals[Int(next.a)]
    guard home.bit < 16, home.references == 0 else { return nil }
    return Register(number: home.bit)
  }

  @inline(__always) var vectorDestination: VectorRegister? {
    let next = ops[position &+ 1]
    guard next.opcode == .localSet || next.opcode == .localTee else { return nil }
    let home = locals[Int(next.a)]
    guard home.bit != noBit, home.bit >= 16, home.references == 0 else { return nil }
    return VectorRegister(number: home.bit &- 16)
  }
}
