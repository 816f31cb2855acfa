// Linear memory on AArch64.
//
// As on x86-64, the fault of an access is its bounds check where address space is reserved for all that an index and an offset
// below the guard's size can reach; else the end of the access is compared with the memory's length first. An instruction adds
// an index to a base, or a displacement, not both, so an offset costs an addition before the access, of the base and not of the
// index: it depends on nothing that the program has just computed.
//
// An address may be in x16 and x17, so nothing that allocates a register may come between it and the access.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == AArch64Assembler {
  /// Where an access of `size` bytes goes, before registers are decided about: an index in a register, or a constant.
  private struct AccessPlace {
    /// The register of the index; nil if it is `constant`.
    var index: Register?
    var constant: UInt64
  }

  /// Reads what an address is made of. Release the index when the address is no longer needed.
  private mutating func accessPlace(_ value: StackValue) -> AccessPlace {
    if value.kind == .constant { return AccessPlace(index: nil, constant: value.bits & 0xFFFF_FFFF) }
    return AccessPlace(index: read(value), constant: 0)
  }

  private mutating func release(_ place: AccessPlace) {
    if let index = place.index { release(index) }
  }

  /// The operand at the operator's offset from the place, for `size` bytes, as an address that one instruction takes. Changes
  /// x16, and where the length is compared x17 and x30.
  private mutating func address(_ place: AccessPlace, _ op: Operator, size: UInt64) -> Address {
    guard isGuarded(op) else { return checkedAddress(place, op, size: size) }
    guard let index = place.index else {
      let sum = place.constant + op.immediate
      if Self.isDisplacement(sum, size) {
        return Address(base: Self.memoryBase, displacement: Int32(truncatingIfNeeded: sum))
      }
      asm.mov(.b64, dst: .x16, immediate: sum)
      return Address(base: Self.memoryBase, index: .x16)
    }
    if op.immediate == 0 { return Address(base: Self.memoryBase, index: index, .uxtw) }
    if AArch64Assembler.isArithmeticImmediate(op.immediate) {
      asm.arithmetic(.add, .b64, .x16, Self.memoryBase, immediate: op.immediate)
    } else if Self.isDisplacement(op.immediate, size) {
      asm.arithmetic(.add, .b64, .x16, Self.memoryBase, index, extend: .uxtw)
      return Address(base: .x16, displacement: Int32(truncatingIfNeeded: op.immediate))
    } else {
      asm.mov(.b64, dst: .x16, immediate: op.immediate)
      asm.add(.b64, .x16, .x16, Self.memoryBase)
    }
    return Address(base: .x16, index: index, .uxtw)
  }

  /// Whether the fault of an access is its bounds check.
  private func isGuarded(_ op: Operator) -> Bool { op.immediate < guardLimit && !isChecked && op.a == 0 }

  /// Whether an access of `size` bytes can have a displacement: they count elements, or bytes up to 255.
  private static func isDisplacement(_ value: UInt64, _ size: UInt64) -> Bool {
    value & (size - 1) == 0 ? value / size < 4096 : value <= 255
  }

  /// The same with an explicit comparison against the length.
  private mutating func checkedAddress(_ place: AccessPlace, _ op: Operator, size: UInt64) -> Address {
    // The end of the access, in x17. No sum overflows 64 bits: the index and the offset have 32 each.
    let end = op.immediate + size
    if let index = place.index {
      if AArch64Assembler.isArithmeticImmediate(end) {
        asm.arithmetic(.add, .b64, .x17, index, immediate: end)
      } else {
        asm.mov(.b64, dst: .x17, immediate: end)
        asm.arithmetic(.add, .b64, .x17, .x17, index, extend: .uxtw)
      }
    } else {
      asm.mov(.b64, dst: .x17, immediate: place.constant + end)
    }
    let memory = environment.memories[Int(op.a)]
    var pair = Address(base: Self.ctx, displacement: memory.offset)
    if memory.isIndirect {
      asm.load(.b64, dst: .x30, from: pair)
      pair = Address(base: .x30, displacement: 0)
    }
    asm.load(.b64, dst: .x16, from: Address(base: pair.base, displacement: pair.displacement + 8))
    asm.cmp(.b64, .x17, .x16)
    asm.b(.hi, trapLabel(.memoryOutOfBounds))
    asm.load(.b64, dst: .x16, from: pair)
    asm.add(.b64, .x16, .x16, .x17)
    return Address(base: .x16, displacement: -Int32(truncatingIfNeeded: size))
  }

  // MARK: Loads and stores

  mutating func load(_ op: Operator, _ type: ValueType, from size: OperandSize, signed: Bool) {
    let place = accessPlace(pop())
    release(place)
    let register = destination ?? allocate()
    let operand = address(place, op, size: 1 << UInt64(size.rawValue))
    trapSite(.memoryOutOfBounds)
    if signed {
      asm.loadSignExtended(from: size, to: Self.size(type), dst: register, from: operand)
    } else {
      asm.load(size, dst: register, from: operand)
    }
    push(register, type)
  }

  mutating func loadFloat(_ op: Operator, _ type: ValueType) {
    let place = accessPlace(pop())
    release(place)
    let register = vectorDestination ?? allocateVector()
    let operand = address(place, op, size: type == .f32 ? 4 : 8)
    trapSite(.memoryOutOfBounds)
    asm.load(Self.floatSize(type), dst: register, from: operand)
    push(register, type)
  }

  mutating func store(_ op: Operator, _ size: OperandSize) {
    let value = pop()
    let placeValue = pop()
    let register = value.kind == .constant && Self.isZero(value.bits, size) ? .zr : read(value)
    storeRegister(register, placeValue, op, size)
    release(register)
  }

  mutating func storeFloat(_ op: Operator, _ type: ValueType) {
    let value = pop()
    let placeValue = pop()
    if value.kind == .constant {
      // The bits, by way of a general register.
      let size: OperandSize = type == .f32 ? .b32 : .b64
      var register = Register.zr
      if !Self.isZero(value.bits, size) {
        register = allocate()
        asm.mov(size, dst: register, immediate: value.bits)
      }
      storeRegister(register, placeValue, op, size)
      release(register)
      return
    }
    let register = readVector(value)
    let place = accessPlace(placeValue)
    let operand = address(place, op, size: type == .f32 ? 4 : 8)
    probe(operand, op, type == .f32 ? .b32 : .b64)
    asm.store(Self.floatSize(type), to: operand, src: register)
    release(place)
    release(register)
  }

  private mutating func storeRegister(
    _ register: Register, _ placeValue: StackValue, _ op: Operator, _ size: OperandSize
  ) {
    let place = accessPlace(placeValue)
    let operand = address(place, op, size: 1 << UInt64(size.rawValue))
    probe(operand, op, size)
    asm.store(size, to: operand, src: register)
    release(place)
  }

  /// Stands before a store whose fault is its bounds check, and makes the trap site.
  ///
  /// A store that traps must have written nothing. One that crosses into a page that faults may have written its part of the
  /// page before, if it is not aligned (Arm Architecture Reference Manual, B2.2, "Requirements for single-copy atomicity": it
  /// is as many accesses as it has bytes). A load of the same bytes faults instead, where all of them are not there; then the
  /// store cannot.
  private mutating func probe(_ operand: Address, _ op: Operator, _ size: OperandSize) {
    trapSite(.memoryOutOfBounds)
    if size != .b8 && isGuarded(op) { asm.load(size, dst: .zr, from: operand) }
  }

  private static func isZero(_ bits: UInt64, _ size: OperandSize) -> Bool {
    switch size {
    case .b8: bits & 0xFF == 0
    case .b16: bits & 0xFFFF == 0
    case .b32: bits & 0xFFFF_FFFF == 0
    case .b64: bits == 0
    }
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
    asm.shift(.lsr, .b64, register, register, immediate: 16)
    push(register, .i32)
  }
}
