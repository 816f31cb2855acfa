// Linear memory on x86-64.
//
// Where address space is reserved for all that a 32-bit index and an offset below the guard's size can
// reach, an access is one instruction, and its fault is the bounds check. An offset beyond the guard, and
// every access where nothing is reserved, compares against the memory's length first.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == X86_64Assembler {
  /// An operand in memory, and the registers to release after its use.
  struct MemoryAccess {
    var address: Address
    var index: Register?
    var base: Register?
  }

  mutating func release(_ access: MemoryAccess) {
    if let index = access.index { release(index) }
    if let base = access.base { release(base) }
  }

  /// The operand at `value` + the operator's offset, for `size` bytes.
  @inline(__always) mutating func memoryAccess(_ value: StackValue, _ op: Operator, size: UInt64) -> MemoryAccess {
    if op.immediate < guardLimit, !isChecked, op.a == 0 {
      if value.kind == .constant {
        let sum = (value.bits & 0xFFFF_FFFF) &+ op.immediate
        if sum < 0x7FFF_FFF0 {
          return MemoryAccess(
            address: Address(base: Self.memoryBase, displacement: Int32(truncatingIfNeeded: sum)))
        }
      }
      let index = read(value)
      return MemoryAccess(
        address: Address(
          base: Self.memoryBase, index: index, scale: 1, displacement: Int32(truncatingIfNeeded: op.immediate)),
        index: index)
    }
    return checkedAccess(value, op, size: size)
  }

  /// The same with an explicit comparison against the length.
  private mutating func checkedAccess(_ value: StackValue, _ op: Operator, size: UInt64) -> MemoryAccess {
    let end = write(value)
    // Neither sum overflows 64 bits: the index and the offset have 32 each.
    let base = allocate()
    asm.mov(.b64, dst: base, immediate: op.immediate + size)
    asm.alu(.add, .b64, dst: end, src: base)
    let place = environment.memories[Int(op.a)]
    let pair: Address
    if place.isIndirect {
      asm.load(.b64, dst: base, from: Address(base: Self.ctx, displacement: place.offset))
      pair = Address(base: base, displacement: 0)
    } else {
      pair = Address(base: Self.ctx, displacement: place.offset)
    }
    asm.alu(.cmp, .b64, dst: end, from: Address(base: pair.base ?? Self.ctx, displacement: pair.displacement + 8))
    asm.jcc(.above, trapLabel(.memoryOutOfBounds))
    asm.load(.b64, dst: base, from: pair)
    return MemoryAccess(
      address: Address(base: base, index: end, scale: 1, displacement: -Int32(truncatingIfNeeded: size)), index: end,
      base: base)
  }

  // MARK: Loads and stores

  mutating func load(_ op: Operator, _ type: ValueType, from size: OperandSize, signed: Bool) {
    let bytes: UInt64 = 1 << UInt64(size.rawValue)
    // A whole value that the next operator only adds to another goes into that instruction.
    if size == Self.size(type), foldLoad(op, type, bytes) { return }
    let access = memoryAccess(pop(), op, size: bytes)
    release(access)
    let register = destination ?? allocate()
    trapSite(.memoryOutOfBounds)
    if size == Self.size(type) {
      asm.load(size, dst: register, from: access.address)
    } else if signed {
      asm.loadSignExtended(from: size, to: Self.size(type), dst: register, from: access.address)
    } else if size == .b32 {
      asm.load(.b32, dst: register, from: access.address)
    } else {
      asm.loadZeroExtended(size, dst: register, from: access.address)
    }
    push(register, type)
  }

  /// `load` followed by an operation that takes its right operand from memory.
  private mutating func foldLoad(_ op: Operator, _ type: ValueType, _ bytes: UInt64) -> Bool {
    let operation: AluOp
    switch (ops[position &+ 1].opcode, type) {
    case (.i32Add, .i32), (.i64Add, .i64): operation = .add
    case (.i32Sub, .i32), (.i64Sub, .i64): operation = .sub
    case (.i32And, .i32), (.i64And, .i64): operation = .and
    case (.i32Or, .i32), (.i64Or, .i64): operation = .or
    case (.i32Xor, .i32), (.i64Xor, .i64): operation = .xor
    default: return false
    }
    let left = stack[stack.count - 2]
    // Constants are better on the right.
    guard left.kind == .register || left.kind == .local || left.kind == .slot else { return false }
    let access = memoryAccess(pop(), op, size: bytes)
    let value = pop()
    // The operation is the next operator.
    position &+= 1
    var target = destination
    if let register = target, access.address.index == register, !isRegister(value, register) { target = nil }
    let register = write(value, into: target)
    trapSite(.memoryOutOfBounds)
    asm.alu(operation, Self.size(type), dst: register, from: access.address)
    release(access)
    push(register, type)
    return true
  }

  mutating func loadFloat(_ op: Operator, _ type: ValueType) {
    let access = memoryAccess(pop(), op, size: type == .f32 ? 4 : 8)
    release(access)
    let register = vectorDestination ?? allocateVector()
    trapSite(.memoryOutOfBounds)
    asm.load(Self.floatSize(type), dst: register, from: access.address)
    push(register, type)
  }

  mutating func store(_ op: Operator, _ size: OperandSize) {
    let value = pop()
    let addressValue = pop()
    let bytes: UInt64 = 1 << UInt64(size.rawValue)
    if value.kind == .constant {
      let signed = Int64(bitPattern: value.bits)
      if size != .b64 || Int32(exactly: signed) != nil {
        let access = memoryAccess(addressValue, op, size: bytes)
        trapSite(.memoryOutOfBounds)
        let immediate: Int32 =
          switch size {
          case .b8: Int32(Int8(truncatingIfNeeded: signed))
          case .b16: Int32(Int16(truncatingIfNeeded: signed))
          default: Int32(truncatingIfNeeded: signed)
          }
        asm.store(size, to: access.address, immediate: immediate)
        release(access)
        return
      }
    }
    let register = read(value)
    let access = memoryAccess(addressValue, op, size: bytes)
    trapSite(.memoryOutOfBounds)
    asm.store(size, to: access.address, src: register)
    release(access)
    release(register)
  }

  mutating func storeFloat(_ op: Operator, _ type: ValueType) {
    let value = pop()
    let addressValue = pop()
    let register = readVector(value)
    let access = memoryAccess(addressValue, op, size: type == .f32 ? 4 : 8)
    trapSite(.memoryOutOfBounds)
    asm.store(Self.floatSize(type), to: access.address, src: register)
    release(access)
    release(register)
  }

  mutating func memorySize(_ op: Operator) {
    let register = allocate()
    let place = environment.memories[Int(op.a)]
    if place.isIndirect {
      asm.load(.b64, dst: register, from: Address(base: Self.ctx, displacement: place.offset))
      asm.load(.b64, dst: register, from: Address(base: register, displacement: 8))
    } else {
      asm.load(.b64, dst: register, from: Address(base: Self.ctx, displacement: place.offset + 8))
    }
    asm.shift(.shr, .b64, register, immediate: 16)
    push(register, .i32)
  }
}
