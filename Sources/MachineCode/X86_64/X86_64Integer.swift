/// Integer instructions of the x86-64 assembler.
///
/// Most have a form for bytes (even opcode) and one for the other widths (the opcode plus 1), where
/// 66 makes it 16 bits and REX.W 64. A byte operand in `rsp`, `rbp`, `rsi` or `rdi` needs a REX
/// prefix, even an empty one, or it would mean `ah` to `bh`.

extension OperandSize {
  // The operand size prefix, or 0.
  @inlinable @inline(__always) internal var prefix: UInt64 { self == .b16 ? 0x66 : 0 }
  // REX.W.
  @inlinable @inline(__always) internal var w: Bool { self == .b64 }
  // 1 for all but bytes: what the opcode's low bit says.
  @inlinable @inline(__always) internal var wide: UInt64 { self == .b8 ? 0 : 1 }

  // Whether `register` as an operand of this size needs a REX prefix.
  @inlinable @inline(__always) internal func needsREX(_ register: Register) -> Bool {
    self == .b8 && register.rawValue &- 4 < 4
  }
}

extension X86_64Assembler {
  // Opcode with its low bit by size; register and register.
  @inlinable @inline(__always)
  internal mutating func emitSized(_ size: OperandSize, _ opcode: UInt64, reg: Register, rm: Register) {
    emitRR(
      prefix: size.prefix, opcode: opcode | size.wide, w: size.w, force: size.needsREX(reg) || size.needsREX(rm),
      reg: UInt64(reg.rawValue), rm: UInt64(rm.rawValue))
  }

  // Opcode with its low bit by size; register and memory.
  @inlinable @inline(__always)
  internal mutating func emitSized(_ size: OperandSize, _ opcode: UInt64, reg: Register, _ address: Address) {
    emitRM(
      prefix: size.prefix, opcode: opcode | size.wide, w: size.w, force: size.needsREX(reg),
      reg: UInt64(reg.rawValue), address)
  }

  // Opcode with its low bit by size; digit and register.
  @inlinable @inline(__always)
  internal mutating func emitSized(_ size: OperandSize, _ opcode: UInt64, digit: UInt64, rm: Register) {
    emitRR(
      prefix: size.prefix, opcode: opcode | size.wide, w: size.w, force: size.needsREX(rm), reg: digit,
      rm: UInt64(rm.rawValue))
  }

  // Opcode of two bytes, register and register, no byte operands.
  @inlinable @inline(__always)
  internal mutating func emit0F(
    _ size: OperandSize, prefix: UInt64 = 0, _ opcode: UInt64, _ reg: UInt64, _ rm: Register, force: Bool = false
  ) {
    emitRR(
      prefix: prefix != 0 ? prefix : size.prefix, opcode: 0x0F | opcode << 8, length: 2, w: size.w, force: force,
      reg: reg, rm: UInt64(rm.rawValue))
  }

  // An immediate as wide as the operand, but never more than four bytes. Room has been made.
  @inlinable @inline(__always)
  internal mutating func emitImmediate(_ size: OperandSize, _ immediate: Int32) {
    code.emit(UInt32(bitPattern: immediate), min(size.bytes, 4))
  }

  // MARK: Moves

  /// `mov dst, src`.
  @inlinable public mutating func mov(_ size: OperandSize, dst: Register, src: Register) {
    emitSized(size, 0x88, reg: src, rm: dst)
  }

  /// `mov dst, immediate`, of which the low `size` count. Leaves the flags alone. For 64 bits the
  /// shortest of `mov r32, imm32`, `mov r64, simm32` and `movabs`.
  @inlinable public mutating func mov(_ size: OperandSize, dst: Register, immediate: UInt64) {
    code.ensure(16)
    switch size {
    case .b64 where immediate > 0xFFFF_FFFF:
      if immediate >= 0xFFFF_FFFF_8000_0000 {
        code.emit(0xC0_C748 | dst.high | dst.low << 16, 3)
        code.emit(UInt32(truncatingIfNeeded: immediate), 4)
      } else {
        code.emit(0xB848 | dst.high | dst.low << 8, 2)
        code.emit(immediate, 8)
      }
    case .b32, .b64:
      let opcode = (0xB8 | dst.low) | (immediate & 0xFFFF_FFFF) << 8
      if dst.high != 0 {
        code.emit(0x41 | opcode << 8, 6)
      } else {
        code.emit(opcode, 5)
      }
    case .b16:
      if dst.high != 0 {
        code.emit(0xB8_4166 | dst.low << 16 | (immediate & 0xFFFF) << 24, 5)
      } else {
        code.emit(0xB866 | dst.low << 8 | (immediate & 0xFFFF) << 16, 4)
      }
    case .b8:
      if dst.rawValue >= 4 {
        code.emit(0xB040 | dst.high | dst.low << 8 | (immediate & 0xFF) << 16, 3)
      } else {
        code.emit(0xB0 | dst.low | (immediate & 0xFF) << 8, 2)
      }
    }
  }

  /// `mov dst, [address]`. Narrow loads leave the rest of the register as it was; see
  /// `loadZeroExtended`.
  @inlinable public mutating func load(_ size: OperandSize, dst: Register, from address: Address) {
    emitSized(size, 0x8A, reg: dst, address)
  }

  /// `mov [address], src`.
  @inlinable public mutating func store(_ size: OperandSize, to address: Address, src: Register) {
    emitSized(size, 0x88, reg: src, address)
  }

  /// `mov [address], immediate`, sign-extended for 64 bits.
  @inlinable public mutating func store(_ size: OperandSize, to address: Address, immediate: Int32) {
    emitRM(prefix: size.prefix, opcode: 0xC6 | size.wide, w: size.w, reg: 0, address)
    emitImmediate(size, immediate)
  }

  /// `movzx r32, [address]` from 8 or 16 bits, `mov r32, [address]` from 32, `mov` from 64: the whole
  /// register is defined.
  @inlinable public mutating func loadZeroExtended(_ from: OperandSize, dst: Register, from address: Address) {
    if from.rawValue >= OperandSize.b32.rawValue {
      load(from, dst: dst, from: address)
    } else {
      emitRM(opcode: 0xB60F | from.wide << 8, length: 2, reg: UInt64(dst.rawValue), address)
    }
  }

  /// `movsx`/`movsxd dst, [address]`; `from` narrower than `to`. Equal widths make a plain load.
  @inlinable public mutating func loadSignExtended(
    from: OperandSize, to: OperandSize, dst: Register, from address: Address
  ) {
    if from.rawValue >= to.rawValue {
      load(to, dst: dst, from: address)
    } else if from == .b32 {
      emitRM(opcode: 0x63, w: to.w, reg: UInt64(dst.rawValue), address)
    } else {
      emitRM(prefix: to.prefix, opcode: 0xBE0F | from.wide << 8, length: 2, w: to.w, reg: UInt64(dst.rawValue), address)
    }
  }

  /// `movzx dst, src` from 8 or 16 bits, `mov r32, r32` from 32: the whole register is defined.
  @inlinable public mutating func moveZeroExtended(_ from: OperandSize, dst: Register, src: Register) {
    if from.rawValue >= OperandSize.b32.rawValue {
      mov(from, dst: dst, src: src)
    } else {
      emit0F(.b32, 0xB6 | from.wide, UInt64(dst.rawValue), src, force: from.needsREX(src))
    }
  }

  /// `movsx`/`movsxd dst, src`; `from` narrower than `to`. Equal widths make a plain move.
  @inlinable public mutating func moveSignExtended(
    from: OperandSize, to: OperandSize, dst: Register, src: Register
  ) {
    if from.rawValue >= to.rawValue {
      mov(to, dst: dst, src: src)
    } else if from == .b32 {
      emitRR(opcode: 0x63, w: to.w, reg: UInt64(dst.rawValue), rm: UInt64(src.rawValue))
    } else {
      emit0F(to, 0xBE | from.wide, UInt64(dst.rawValue), src, force: from.needsREX(src))
    }
  }

  /// `lea dst, [address]`, 32 or 64 bits.
  @inlinable public mutating func lea(_ size: OperandSize, _ dst: Register, _ address: Address) {
    emitRM(prefix: size.prefix, opcode: 0x8D, w: size.w, reg: UInt64(dst.rawValue), address)
  }

  /// `xchg a, b`.
  @inlinable public mutating func xchg(_ size: OperandSize, _ a: Register, _ b: Register) {
    // 90+r exchanges with rax; but 90 itself is nop, which would not clear the high half.
    if size != .b8, a == .rax || b == .rax, size != .b32 || a != b {
      let other = a == .rax ? b : a
      code.ensure(16)
      var word: UInt64 = 0x90 | other.low
      var length = 1
      let rex = (size.w && a != b ? 8 : 0) | other.high
      if rex != 0 {
        word = word << 8 | 0x40 | rex
        length += 1
      }
      if size == .b16 {
        word = word << 8 | 0x66
        length += 1
      }
      code.emit(word, length)
    } else {
      emitSized(size, 0x86, reg: b, rm: a)
    }
  }

  /// `xchg [address], src`; atomic.
  @inlinable public mutating func xchg(_ size: OperandSize, to address: Address, src: Register) {
    emitSized(size, 0x86, reg: src, address)
  }

  // MARK: Two-operand arithmetic

  /// `op dst, src`.
  @inlinable public mutating func alu(_ op: AluOp, _ size: OperandSize, dst: Register, src: Register) {
    emitSized(size, UInt64(op.rawValue) << 3, reg: src, rm: dst)
  }

  /// `op dst, immediate`, sign-extended for 64 bits. `and` with a non-negative immediate is done in 32
  /// bits: same result, same flags, shorter.
  @inlinable public mutating func alu(_ op: AluOp, _ size: OperandSize, dst: Register, immediate: Int32) {
    let size = op == .and && size == .b64 && immediate >= 0 ? .b32 : size
    let digit = UInt64(op.rawValue)
    if size != .b8 && immediate == Int32(Int8(truncatingIfNeeded: immediate)) {
      emitRR(prefix: size.prefix, opcode: 0x83, w: size.w, reg: digit, rm: UInt64(dst.rawValue))
      code.emit(UInt32(bitPattern: immediate), 1)
    } else {
      if dst == .rax {
        emitAccumulator(size, digit << 3 | 4)
      } else {
        emitSized(size, 0x80, digit: digit, rm: dst)
      }
      emitImmediate(size, immediate)
    }
  }

  // The short form of an operation on al, ax, eax or rax with an immediate, which follows.
  @inlinable @inline(__always)
  internal mutating func emitAccumulator(_ size: OperandSize, _ opcode: UInt64) {
    code.ensure(16)
    switch size {
    case .b64: code.emit(0x48 | (opcode | 1) << 8, 2)
    case .b16: code.emit(0x66 | (opcode | 1) << 8, 2)
    case .b32: code.emit(opcode | 1, 1)
    case .b8: code.emit(opcode, 1)
    }
  }

  /// `op dst, [address]`.
  @inlinable public mutating func alu(_ op: AluOp, _ size: OperandSize, dst: Register, from address: Address) {
    emitSized(size, UInt64(op.rawValue) << 3 | 2, reg: dst, address)
  }

  /// `op [address], src`.
  @inlinable public mutating func alu(_ op: AluOp, _ size: OperandSize, to address: Address, src: Register) {
    emitSized(size, UInt64(op.rawValue) << 3, reg: src, address)
  }

  /// `op [address], immediate`, sign-extended for 64 bits.
  @inlinable public mutating func alu(_ op: AluOp, _ size: OperandSize, to address: Address, immediate: Int32) {
    let short = size != .b8 && immediate == Int32(Int8(truncatingIfNeeded: immediate))
    emitRM(
      prefix: size.prefix, opcode: short ? 0x83 : 0x80 | size.wide, w: size.w, reg: UInt64(op.rawValue), address)
    emitImmediate(short ? .b8 : size, immediate)
  }

  /// `test a, b`.
  @inlinable public mutating func test(_ size: OperandSize, _ a: Register, _ b: Register) {
    emitSized(size, 0x84, reg: b, rm: a)
  }

  /// `test dst, immediate`, sign-extended for 64 bits. Done in the narrowest width that sets the same
  /// flags: bytes for 0...127, 32 bits for other non-negative immediates.
  @inlinable public mutating func test(_ size: OperandSize, _ dst: Register, immediate: Int32) {
    var size = size
    if immediate >= 0 {
      if immediate <= 127 {
        size = .b8
      } else if size == .b64 {
        size = .b32
      }
    }
    if dst == .rax {
      emitAccumulator(size, 0xA8)
    } else {
      emitSized(size, 0xF6, digit: 0, rm: dst)
    }
    emitImmediate(size, immediate)
  }

  // MARK: Multiplication and division

  /// `imul dst, src`, 16 bits and wider.
  @inlinable public mutating func imul(_ size: OperandSize, _ dst: Register, _ src: Register) {
    emit0F(size, 0xAF, UInt64(dst.rawValue), src)
  }

  /// `imul dst, [address]`, 16 bits and wider.
  @inlinable public mutating func imul(_ size: OperandSize, _ dst: Register, from address: Address) {
    emitRM(prefix: size.prefix, opcode: 0xAF0F, length: 2, w: size.w, reg: UInt64(dst.rawValue), address)
  }

  /// `imul dst, src, immediate`, 16 bits and wider; sign-extended for 64 bits.
  @inlinable public mutating func imul(
    _ size: OperandSize, _ dst: Register, _ src: Register, immediate: Int32
  ) {
    let short = immediate == Int32(Int8(truncatingIfNeeded: immediate))
    emitRR(
      prefix: size.prefix, opcode: short ? 0x6B : 0x69, w: size.w, reg: UInt64(dst.rawValue),
      rm: UInt64(src.rawValue))
    emitImmediate(short ? .b8 : size, immediate)
  }

  /// `mul r`: rdx:rax = rax × r.
  @inlinable public mutating func mul(_ size: OperandSize, _ r: Register) { emitSized(size, 0xF6, digit: 4, rm: r) }

  /// `imul r`: rdx:rax = rax × r, signed.
  @inlinable public mutating func imul(_ size: OperandSize, _ r: Register) { emitSized(size, 0xF6, digit: 5, rm: r) }

  /// `div r`: rax, rdx = rdx:rax ÷ r.
  @inlinable public mutating func div(_ size: OperandSize, _ r: Register) { emitSized(size, 0xF6, digit: 6, rm: r) }

  /// `idiv r`: rax, rdx = rdx:rax ÷ r, signed.
  @inlinable public mutating func idiv(_ size: OperandSize, _ r: Register) { emitSized(size, 0xF6, digit: 7, rm: r) }

  /// `cdq`: edx = sign of eax.
  @inlinable public mutating func cdq() { code.put8(0x99) }

  /// `cqo`: rdx = sign of rax.
  @inlinable public mutating func cqo() { code.put16(0x9948) }

  // MARK: One operand

  /// `not r`.
  @inlinable public mutating func not(_ size: OperandSize, _ r: Register) { emitSized(size, 0xF6, digit: 2, rm: r) }

  /// `neg r`.
  @inlinable public mutating func neg(_ size: OperandSize, _ r: Register) { emitSized(size, 0xF6, digit: 3, rm: r) }

  /// `shl`, `shr`, `sar`, `rol` or `ror dst, immediate`.
  @inlinable public mutating func shift(_ op: ShiftOp, _ size: OperandSize, _ dst: Register, immediate: UInt8) {
    if immediate == 1 {
      emitSized(size, 0xD0, digit: UInt64(op.rawValue), rm: dst)
    } else {
      emitSized(size, 0xC0, digit: UInt64(op.rawValue), rm: dst)
      code.emit(UInt32(immediate), 1)
    }
  }

  /// The same by `cl`.
  @inlinable public mutating func shiftCL(_ op: ShiftOp, _ size: OperandSize, _ dst: Register) {
    emitSized(size, 0xD2, digit: UInt64(op.rawValue), rm: dst)
  }

  /// `bswap r`, 32 or 64 bits.
  @inlinable public mutating func bswap(_ size: OperandSize, _ r: Register) {
    code.ensure(16)
    let rex = (size.w ? 8 : 0) | r.high
    if rex != 0 {
      code.emit(0xC8_0F40 | rex | r.low << 16, 3)
    } else {
      code.emit(0xC80F | r.low << 8, 2)
    }
  }

  // MARK: BMI: three operands

  /// `shlx dst, src, count` (BMI2); flags untouched.
  @inlinable public mutating func shlx(_ size: OperandSize, _ dst: Register, _ src: Register, _ count: Register) {
    emitVEX(
      map: 2, pp: 1, opcode: 0xF7, w: size.w, reg: UInt64(dst.rawValue), vvvv: UInt64(count.rawValue),
      rm: UInt64(src.rawValue))
  }

  /// `shrx dst, src, count` (BMI2); flags untouched.
  @inlinable public mutating func shrx(_ size: OperandSize, _ dst: Register, _ src: Register, _ count: Register) {
    emitVEX(
      map: 2, pp: 3, opcode: 0xF7, w: size.w, reg: UInt64(dst.rawValue), vvvv: UInt64(count.rawValue),
      rm: UInt64(src.rawValue))
  }

  /// `sarx dst, src, count` (BMI2); flags untouched.
  @inlinable public mutating func sarx(_ size: OperandSize, _ dst: Register, _ src: Register, _ count: Register) {
    emitVEX(
      map: 2, pp: 2, opcode: 0xF7, w: size.w, reg: UInt64(dst.rawValue), vvvv: UInt64(count.rawValue),
      rm: UInt64(src.rawValue))
  }

  /// `rorx dst, src, immediate` (BMI2); flags untouched.
  @inlinable public mutating func rorx(_ size: OperandSize, _ dst: Register, _ src: Register, immediate: UInt8) {
    emitVEX(map: 3, pp: 3, opcode: 0xF0, w: size.w, reg: UInt64(dst.rawValue), vvvv: 0, rm: UInt64(src.rawValue))
    code.emit(UInt32(immediate), 1)
  }

  /// `andn dst, a, b`: dst = ~a & b (BMI1).
  @inlinable public mutating func andn(_ size: OperandSize, _ dst: Register, _ a: Register, _ b: Register) {
    emitVEX(
      map: 2, pp: 0, opcode: 0xF2, w: size.w, reg: UInt64(dst.rawValue), vvvv: UInt64(a.rawValue),
      rm: UInt64(b.rawValue))
  }

  // MARK: Bits

  /// `bsf dst, src`, 32 or 64 bits.
  @inlinable public mutating func bsf(_ size: OperandSize, _ dst: Register, _ src: Register) {
    emit0F(size, 0xBC, UInt64(dst.rawValue), src)
  }

  /// `bsr dst, src`, 32 or 64 bits.
  @inlinable public mutating func bsr(_ size: OperandSize, _ dst: Register, _ src: Register) {
    emit0F(size, 0xBD, UInt64(dst.rawValue), src)
  }

  /// `tzcnt dst, src`, 32 or 64 bits (BMI1; without it the processor runs `bsf`).
  @inlinable public mutating func tzcnt(_ size: OperandSize, _ dst: Register, _ src: Register) {
    emit0F(size, prefix: 0xF3, 0xBC, UInt64(dst.rawValue), src)
  }

  /// `lzcnt dst, src`, 32 or 64 bits (LZCNT; without it the processor runs `bsr`).
  @inlinable public mutating func lzcnt(_ size: OperandSize, _ dst: Register, _ src: Register) {
    emit0F(size, prefix: 0xF3, 0xBD, UInt64(dst.rawValue), src)
  }

  /// `popcnt dst, src`, 32 or 64 bits.
  @inlinable public mutating func popcnt(_ size: OperandSize, _ dst: Register, _ src: Register) {
    emit0F(size, prefix: 0xF3, 0xB8, UInt64(dst.rawValue), src)
  }

  /// `bt r, immediate`: the bit goes to the carry flag.
  @inlinable public mutating func bt(_ size: OperandSize, _ r: Register, immediate: UInt8) {
    emit0F(size, 0xBA, 4, r)
    code.emit(UInt32(immediate), 1)
  }

  /// `bt r, bit`: the bit with number `bit` modulo the width goes to the carry flag.
  @inlinable public mutating func bt(_ size: OperandSize, _ r: Register, _ bit: Register) {
    emit0F(size, 0xA3, UInt64(bit.rawValue), r)
  }

  // MARK: Conditions

  /// `cmovcc dst, src`; the 32-bit form clears the high half even when the condition is false.
  @inlinable public mutating func cmov(
    _ condition: Condition, _ size: OperandSize, _ dst: Register, _ src: Register
  ) {
    emit0F(size, 0x40 | UInt64(condition.rawValue), UInt64(dst.rawValue), src)
  }

  /// `cmovcc dst, [address]`; reads memory whatever the condition.
  @inlinable public mutating func cmov(
    _ condition: Condition, _ size: OperandSize, _ dst: Register, from address: Address
  ) {
    emitRM(
      prefix: size.prefix, opcode: 0x400F | UInt64(condition.rawValue) << 8, length: 2, w: size.w,
      reg: UInt64(dst.rawValue), address)
  }

  /// `setcc dst`: the low byte only.
  @inlinable public mutating func setcc(_ condition: Condition, _ dst: Register) {
    emit0F(.b32, 0x90 | UInt64(condition.rawValue), 0, dst, force: OperandSize.b8.needsREX(dst))
  }

  // MARK: Stack and control

  /// `push r64`.
  @inlinable public mutating func push(_ r: Register) {
    code.ensure(16)
    if r.high != 0 { code.emit(0x5041 | UInt32(r.low) << 8, 2) } else { code.emit(0x50 | UInt32(r.low), 1) }
  }

  /// `pop r64`.
  @inlinable public mutating func pop(_ r: Register) {
    code.ensure(16)
    if r.high != 0 { code.emit(0x5841 | UInt32(r.low) << 8, 2) } else { code.emit(0x58 | UInt32(r.low), 1) }
  }

  /// `leave`: rsp = rbp, then `pop rbp`.
  @inlinable public mutating func leave() { code.put8(0xC9) }

  /// `ret`.
  @inlinable public mutating func ret() { code.put8(0xC3) }

  /// `ud2`: an invalid instruction, for explicit traps.
  @inlinable public mutating func ud2() { code.put16(0x0B0F) }

  /// `int3`.
  @inlinable public mutating func int3() { code.put8(0xCC) }

  /// `n` bytes that do nothing, in as few instructions as possible (Intel SDM, NOP).
  public mutating func nop(_ n: Int) {
    var rest = n
    while rest > 0 {
      code.ensure(16)
      let size = min(rest, 9)
      switch size {
      case 1: code.emit(0x90 as UInt64, 1)
      case 2: code.emit(0x9066 as UInt64, 2)
      case 3: code.emit(0x00_1F0F as UInt64, 3)
      case 4: code.emit(0x0040_1F0F as UInt64, 4)
      case 5: code.emit(0x00_0044_1F0F as UInt64, 5)
      case 6: code.emit(0x0000_441F_0F66 as UInt64, 6)
      case 7: code.emit(0x00_0000_0080_1F0F as UInt64, 7)
      case 8: code.emit(0x0000_0000_0084_1F0F as UInt64, 8)
      default:
        code.emit(0x0000_0000_841F_0F66 as UInt64, 8)
        code.emit(0 as UInt32, 1)
      }
      rest -= size
    }
  }

  /// `nop`s up to a multiple of `alignment` (a power of two), counted from the start of the chunk.
  @inlinable public mutating func align(_ alignment: Int) {
    nop(-code.count & (alignment - 1))
  }

  /// `int3`s up to a multiple of `alignment` (a power of two): the gap between functions.
  @inlinable public mutating func alignFunction(_ alignment: Int = 16) {
    code.put(repeating: 0xCC, count: -code.count & (alignment - 1))
  }
}

extension X86_64Assembler {
  /// `push qword [address]`: eight bytes to the stack through no register.
  @inlinable public mutating func pushMemory(_ address: Address) { emitRM(opcode: 0xFF, reg: 6, address) }

  /// `pop qword [address]`. An address relative to rsp counts from its value after the pop.
  @inlinable public mutating func popMemory(_ address: Address) { emitRM(opcode: 0x8F, reg: 0, address) }
}
