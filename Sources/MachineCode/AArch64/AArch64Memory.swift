/// Loads and stores of the AArch64 assembler.
///
/// One encoding serves all sizes and both register files: size, file and direction are fields that stand
/// beside the addressing mode. A displacement has 12 bits, unsigned, counted in elements; or 9 bits,
/// signed, counted in bytes. The few that fit neither (a frame of more than 32 KiB) go through x16, which
/// no other instruction here uses unasked.

extension AArch64Assembler {
  // The load or store `word` (size, file, direction) of an element of `1 << scale` bytes.
  @inlinable @inline(__always)
  internal mutating func emitMemory(_ word: UInt32, scale: UInt32, _ address: AArch64Address) {
    let base = address.base.bits << 5
    if address.index == nil && address.update == .none {
      let displacement = UInt32(bitPattern: address.displacement)
      let scaled = displacement &>> scale
      if scaled < 4096 && scaled &<< scale == displacement {
        emit(word | 1 << 24 | scaled << 10 | base)
        return
      }
    }
    emitFarMemory(word, scale: scale, address)
  }

  // The other addressing modes.
  @usableFromInline
  internal mutating func emitFarMemory(_ word: UInt32, scale: UInt32, _ address: AArch64Address) {
    let base = address.base.bits << 5
    if let index = address.index {
      emit(
        word | 1 << 21 | index.bits << 16 | UInt32(address.extend.rawValue) << 13
          | (address.isScaled ? 1 << 12 : 0) | 2 << 10 | base)
      return
    }
    let displacement = address.displacement
    let field = (UInt32(bitPattern: displacement) & 0x1FF) << 12
    if displacement >= -256 && displacement <= 255 {
      switch address.update {
      case .none: emit(word | field | base)
      case .after: emit(word | field | 1 << 10 | base)
      case .before: emit(word | field | 3 << 10 | base)
      }
      return
    }
    assert(address.update == .none, "an update has nine bits")
    let low = UInt32(bitPattern: displacement) & 0xFFF
    if displacement >= 0 && displacement < 1 << 24 && low & ((1 << scale) - 1) == 0 {
      arithmetic(.add, .b64, .x16, address.base, immediate: UInt64(displacement) & 0xFFF000)
      emit(word | 1 << 24 | (low >> scale) << 10 | AArch64Register.x16.bits << 5)
    } else {
      mov(.b64, dst: .x16, immediate: UInt64(bitPattern: Int64(displacement)))
      emit(
        word | 1 << 21 | AArch64Register.x16.bits << 16 | UInt32(AArch64ExtendOp.uxtx.rawValue) << 13 | 2 << 10 | base)
    }
  }

  // MARK: Integers

  /// `ldrb`, `ldrh`, `ldr w` or `ldr x`: the whole register is defined.
  @inlinable public mutating func load(_ size: OperandSize, dst: AArch64Register, from address: AArch64Address) {
    emitMemory(
      0x3840_0000 | UInt32(size.rawValue) << 30 | dst.bits, scale: UInt32(size.rawValue), address)
  }

  /// The same, under the name that it has where loads of narrow integers exist that do not extend.
  @inlinable public mutating func loadZeroExtended(
    _ from: OperandSize, dst: AArch64Register, from address: AArch64Address
  ) { load(from, dst: dst, from: address) }

  /// `ldrsb`, `ldrsh`, `ldrsw`; `from` narrower than `to`. Equal widths make a plain load.
  @inlinable public mutating func loadSignExtended(
    from: OperandSize, to: OperandSize, dst: AArch64Register, from address: AArch64Address
  ) {
    if from.rawValue >= to.rawValue {
      load(to, dst: dst, from: address)
    } else {
      let word: UInt32 = to == .b64 ? 0x3880_0000 : 0x38C0_0000
      emitMemory(word | UInt32(from.rawValue) << 30 | dst.bits, scale: UInt32(from.rawValue), address)
    }
  }

  /// `strb`, `strh`, `str w` or `str x`.
  @inlinable public mutating func store(_ size: OperandSize, to address: AArch64Address, src: AArch64Register) {
    emitMemory(
      0x3800_0000 | UInt32(size.rawValue) << 30 | src.bits, scale: UInt32(size.rawValue), address)
  }

  // MARK: Floats and vectors

  /// `ldr s` or `ldr d`; the rest of the register becomes zero.
  @inlinable public mutating func load(
    _ size: FloatSize, dst: AArch64VectorRegister, from address: AArch64Address
  ) { emitMemory(0xBC40_0000 | UInt32(size.rawValue) << 30 | dst.bits, scale: 2 &+ UInt32(size.rawValue), address) }

  /// `str s` or `str d`.
  @inlinable public mutating func store(
    _ size: FloatSize, to address: AArch64Address, src: AArch64VectorRegister
  ) { emitMemory(0xBC00_0000 | UInt32(size.rawValue) << 30 | src.bits, scale: 2 &+ UInt32(size.rawValue), address) }

  /// `ldr q`: 16 bytes.
  @inlinable public mutating func loadVector(dst: AArch64VectorRegister, from address: AArch64Address) {
    emitMemory(0x3CC0_0000 | dst.bits, scale: 4, address)
  }

  /// `str q`: 16 bytes.
  @inlinable public mutating func storeVector(to address: AArch64Address, src: AArch64VectorRegister) {
    emitMemory(0x3C80_0000 | src.bits, scale: 4, address)
  }

  // MARK: Pairs

  // Two registers at base + displacement, a multiple of the element's size that fits in 7 bits then.
  @inlinable @inline(__always)
  internal mutating func emitPair(_ word: UInt32, scale: UInt32, _ second: UInt32, _ address: AArch64Address) {
    assert(address.index == nil, "a pair has no index")
    assert(address.displacement & ((1 << Int32(scale)) - 1) == 0, "a pair's displacement is a multiple")
    let mode: UInt32
    switch address.update {
    case .none: mode = 2
    case .before: mode = 3
    case .after: mode = 1
    }
    let field = UInt32(bitPattern: address.displacement &>> Int32(scale)) & 0x7F
    emit(word | mode << 23 | field << 15 | second << 10 | address.base.bits << 5)
  }

  /// `ldp a, b, [address]`, 32 or 64 bits each; displacement: -64...63 elements.
  @inlinable public mutating func loadPair(
    _ size: OperandSize, _ a: AArch64Register, _ b: AArch64Register, from address: AArch64Address
  ) { emitPair(0x2840_0000 | size.sf | a.bits, scale: UInt32(size.rawValue), b.bits, address) }

  /// `stp a, b, [address]`, 32 or 64 bits each; displacement: -64...63 elements.
  @inlinable public mutating func storePair(
    _ size: OperandSize, _ a: AArch64Register, _ b: AArch64Register, to address: AArch64Address
  ) { emitPair(0x2800_0000 | size.sf | a.bits, scale: UInt32(size.rawValue), b.bits, address) }

  /// `ldp d, d`; displacement: -64...63 elements.
  @inlinable public mutating func loadPair(
    _ a: AArch64VectorRegister, _ b: AArch64VectorRegister, from address: AArch64Address
  ) { emitPair(0x6C40_0000 | a.bits, scale: 3, b.bits, address) }

  /// `stp d, d`; displacement: -64...63 elements.
  @inlinable public mutating func storePair(
    _ a: AArch64VectorRegister, _ b: AArch64VectorRegister, to address: AArch64Address
  ) { emitPair(0x6C00_0000 | a.bits, scale: 3, b.bits, address) }

  /// `ldp q, q`; displacement: -64...63 elements.
  @inlinable public mutating func loadVectorPair(
    _ a: AArch64VectorRegister, _ b: AArch64VectorRegister, from address: AArch64Address
  ) { emitPair(0xAC40_0000 | a.bits, scale: 4, b.bits, address) }

  /// `stp q, q`; displacement: -64...63 elements.
  @inlinable public mutating func storeVectorPair(
    _ a: AArch64VectorRegister, _ b: AArch64VectorRegister, to address: AArch64Address
  ) { emitPair(0xAC00_0000 | a.bits, scale: 4, b.bits, address) }
}
