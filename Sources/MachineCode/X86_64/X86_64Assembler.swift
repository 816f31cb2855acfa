/// The x86-64 assembler: how an instruction gets its bytes, labels, branches, calls.
///
/// An instruction is: legacy prefix, REX, opcode (with its 0F escapes), ModRM, SIB, displacement,
/// immediate; 15 bytes at most (Intel SDM volume 2, 2.1). The part up to SIB never has more than
/// seven bytes, so it is put together in a register and stored once, as eight bytes of which the
/// surplus is overwritten by what follows. Room for a whole instruction is ensured once. Encoders
/// check nothing else; what they are given must be encodable (`rsp` is no index register). Methods
/// take operands in Intel order, destination first, and always choose the shortest encoding.
///
/// Labels cost no allocation. A label is an index into a flat table that is emptied from function
/// to function. While it is unbound its entry is the head of a list of the places that refer to it,
/// and the list is threaded through those places themselves: each empty 32-bit displacement holds
/// the offset of the one before. Binding walks the list. Only two rare kinds are kept aside: 8-bit
/// displacements (no room for a link; at most 64 can be pending, since their labels come within
/// 127 bytes) and jump table entries (relative to another label; resolved by `finishFunction()`).
///
/// One assembler writes any number of functions, one after the other, into its buffer (a *chunk*).
/// All offsets here, of labels and of relocations, count from the start of the chunk.

/// Assembles x86-64 code into a `CodeBuffer`.
public struct X86_64Assembler: ~Copyable {
  /// The code. Any number of functions, one after the other; offsets count from its start.
  public var code: CodeBuffer
  /// Relocations in order of their offset, which counts from the start of `code`.
  public var relocations: FlatBuffer<Relocation>

  // Bound: offset | boundFlag. Unbound: offset of the last displacement that refers to it, plus 1;
  // 0 where nothing does.
  @usableFromInline internal var labels: FlatBuffer<UInt32>
  @usableFromInline internal var shortFixups: FlatBuffer<ShortFixup>
  @usableFromInline internal var tableFixups: FlatBuffer<TableFixup>

  @inlinable internal static var boundFlag: UInt32 { 0x8000_0000 }

  // An 8-bit displacement at `offset` that waits for `label`.
  @usableFromInline internal struct ShortFixup: BitwiseCopyable {
    @usableFromInline var offset: UInt32
    @usableFromInline var label: UInt32
    @inlinable init(offset: UInt32, label: UInt32) {
      self.offset = offset
      self.label = label
    }
  }

  // A 32-bit jump table entry at `offset`: distance from `base` to `label`.
  @usableFromInline internal struct TableFixup: BitwiseCopyable {
    @usableFromInline var offset: UInt32
    @usableFromInline var label: UInt32
    @usableFromInline var base: UInt32
    @inlinable init(offset: UInt32, label: UInt32, base: UInt32) {
      self.offset = offset
      self.label = label
      self.base = base
    }
  }

  /// An assembler with an empty chunk, for at least `capacity` bytes of code before it must grow.
  public init(capacity: Int = 1 << 16) {
    code = CodeBuffer(capacity: capacity)
    relocations = FlatBuffer(capacity: 256)
    labels = FlatBuffer(capacity: 256)
    shortFixups = FlatBuffer(capacity: 64)
    tableFixups = FlatBuffer(capacity: 64)
  }

  /// Offset of the next instruction, in bytes from the start of the chunk.
  @inlinable public var offset: UInt32 { UInt32(truncatingIfNeeded: code.count) }

  // MARK: Functions and chunks

  /// Ends a function: fills in its jump tables and forgets its labels, whose numbers are used again.
  /// Returns whether every label that anything refers to has been bound; otherwise the function's
  /// code is unusable.
  @discardableResult
  public mutating func finishFunction() -> Bool {
    var complete = shortFixups.isEmpty
    for i in 0..<tableFixups.count {
      let fixup = tableFixups[i]
      let target = labels[Int(fixup.label)]
      let base = labels[Int(fixup.base)]
      if target & base & Self.boundFlag == 0 {
        complete = false
      } else {
        code.patch32(at: Int(fixup.offset), target &- base)
      }
    }
    for i in 0..<labels.count {
      let state = labels[i]
      if state != 0 && state & Self.boundFlag == 0 { complete = false }
    }
    resetLabels()
    return complete
  }

  /// Forgets all labels and what waits for them, as after an error in the middle of a function.
  public mutating func resetLabels() {
    labels.removeAll()
    shortFixups.removeAll()
    tableFixups.removeAll()
  }

  /// Starts an empty chunk; memory is kept.
  public mutating func reset() {
    resetLabels()
    code.removeAll()
    relocations.removeAll()
  }

  // MARK: Labels

  /// A new, unbound label.
  @inlinable public mutating func makeLabel() -> Label {
    let label = Label(id: UInt32(truncatingIfNeeded: labels.count))
    labels.append(0)
    return label
  }

  /// Whether `label` has been bound.
  @inlinable public func isBound(_ label: Label) -> Bool {
    labels[Int(label.id)] & Self.boundFlag != 0
  }

  /// Offset in the chunk of a bound label; nil while it is unbound.
  @inlinable public func offset(of label: Label) -> UInt32? {
    let state = labels[Int(label.id)]
    return state & Self.boundFlag != 0 ? state & ~Self.boundFlag : nil
  }

  /// Whether something refers to `label`, which must be unbound.
  @inlinable public func isReferenced(_ label: Label) -> Bool {
    if labels[Int(label.id)] != 0 { return true }
    for i in 0..<shortFixups.count where shortFixups[i].label == label.id { return true }
    for i in 0..<tableFixups.count where tableFixups[i].label == label.id { return true }
    return false
  }

  /// Makes `label` stand for the next instruction. A label is bound once.
  @inlinable public mutating func bind(_ label: Label) {
    let target = offset
    var link = labels[Int(label.id)]
    assert(link & Self.boundFlag == 0, "label bound twice")
    labels[Int(label.id)] = target | Self.boundFlag
    while link != 0 {
      let place = Int(link &- 1)
      link = code.read32(at: place)
      code.patch32(at: place, target &- UInt32(truncatingIfNeeded: place) &- 4)
    }
    if !shortFixups.isEmpty { bindShort(label.id, target) }
  }

  @usableFromInline @inline(never)
  internal mutating func bindShort(_ label: UInt32, _ target: UInt32) {
    var kept = 0
    for i in 0..<shortFixups.count {
      let fixup = shortFixups[i]
      if fixup.label == label {
        let distance = target &- fixup.offset &- 1
        precondition(distance <= 127, "short branch out of reach")
        code.patch8(at: Int(fixup.offset), UInt8(truncatingIfNeeded: distance))
      } else {
        shortFixups[kept] = fixup
        kept += 1
      }
    }
    shortFixups.truncate(to: kept)
  }

  // Emits the 32-bit displacement to `label` that ends an instruction. Room has been made.
  @inlinable @inline(__always)
  internal mutating func emitDisplacement(_ label: Label) {
    let state = labels[Int(label.id)]
    let place = offset
    if state & Self.boundFlag != 0 {
      code.emit((state & ~Self.boundFlag) &- place &- 4, 4)
    } else {
      labels[Int(label.id)] = place &+ 1
      code.emit(state, 4)
    }
  }

  // MARK: Branches

  /// `jmp label`: 2 bytes backwards where it reaches, otherwise 5, or 2 when the caller says so.
  @inlinable public mutating func jmp(_ label: Label, _ reach: BranchReach = .near) {
    code.ensure(16)
    if emitShortBranch(0xEB, label, reach) { return }
    code.emit(0xE9 as UInt32, 1)
    emitDisplacement(label)
  }

  /// `jcc label`: 2 bytes backwards where it reaches, otherwise 6, or 2 when the caller says so.
  @inlinable public mutating func jcc(_ condition: Condition, _ label: Label, _ reach: BranchReach = .near) {
    code.ensure(16)
    let cc = UInt32(condition.rawValue)
    if emitShortBranch(0x70 | cc, label, reach) { return }
    code.emit(0x800F | cc << 8, 2)
    emitDisplacement(label)
  }

  // Emits the two-byte form if the label is bound and near, or the caller vouches for it.
  @inlinable @inline(__always)
  internal mutating func emitShortBranch(_ opcode: UInt32, _ label: Label, _ reach: BranchReach) -> Bool {
    let state = labels[Int(label.id)]
    if state & Self.boundFlag != 0 {
      let distance = Int(state & ~Self.boundFlag) &- code.count &- 2
      guard distance >= -128 else { return false }
      code.emit(opcode | UInt32(truncatingIfNeeded: distance & 0xFF) << 8, 2)
      return true
    }
    guard reach == .short else { return false }
    code.emit(opcode, 2)
    shortFixups.append(ShortFixup(offset: offset &- 1, label: label.id))
    return true
  }

  /// `jmp r64`.
  @inlinable public mutating func jmp(_ target: Register) { emitRR(opcode: 0xFF, reg: 4, rm: UInt64(target.rawValue)) }

  /// `jmp qword ptr [address]`.
  @inlinable public mutating func jmp(_ target: Address) { emitRM(opcode: 0xFF, reg: 4, target) }

  /// `call label`: to a place in the same function.
  @inlinable public mutating func call(_ label: Label) {
    code.ensure(16)
    code.emit(0xE8 as UInt32, 1)
    emitDisplacement(label)
  }

  /// `call r64`.
  @inlinable public mutating func call(_ target: Register) { emitRR(opcode: 0xFF, reg: 2, rm: UInt64(target.rawValue)) }

  /// `call qword ptr [address]`.
  @inlinable public mutating func call(_ target: Address) { emitRM(opcode: 0xFF, reg: 2, target) }

  /// `call rel32` to a symbol, with a relocation.
  @inlinable public mutating func callRelocated(_ symbol: UInt32) {
    code.ensure(16)
    code.emit(0xE8 as UInt64, 5)
    relocations.append(Relocation(offset: offset &- 4, kind: .x86_64PLT32, symbol: symbol, addend: -4))
  }

  /// `jmp rel32` to a symbol, with a relocation.
  @inlinable public mutating func jmpRelocated(_ symbol: UInt32) {
    code.ensure(16)
    code.emit(0xE9 as UInt64, 5)
    relocations.append(Relocation(offset: offset &- 4, kind: .x86_64PLT32, symbol: symbol, addend: -4))
  }

  /// `lea r64, [rip + label]`.
  @inlinable public mutating func leaLabel(_ dst: Register, _ label: Label) {
    code.ensure(16)
    code.emit(0x05_8D48 | dst.high << 2 | dst.low << 19, 3)
    emitDisplacement(label)
  }

  /// A jump table entry: four bytes, the signed distance from `base` to `label`.
  @inlinable public mutating func emitTableEntry32(_ label: Label, relativeTo base: Label) {
    let target = labels[Int(label.id)]
    let start = labels[Int(base.id)]
    if target & start & Self.boundFlag != 0 {
      code.put32(target &- start)
    } else {
      tableFixups.append(TableFixup(offset: offset, label: label.id, base: base.id))
      code.put32(0)
    }
  }

  // MARK: Instruction formats

  // Register-register (or register-digit) instruction: prefix, REX where needed, opcode of
  // `length` bytes in memory order, ModRM. `w` is REX.W; `force` asks for a REX prefix even where
  // it would be empty, for `spl`, `bpl`, `sil`, `dil`.
  @inlinable @inline(__always)
  internal mutating func emitRR(
    prefix: UInt64 = 0, opcode: UInt64, length: UInt64 = 1, w: Bool = false, force: Bool = false,
    reg: UInt64, rm: UInt64
  ) {
    code.ensure(16)
    let rex = (w ? 8 : 0) | (reg >> 3) << 2 | rm >> 3
    var word = prefix
    var bits: UInt64 = prefix != 0 ? 8 : 0
    if rex != 0 || force {
      word |= (0x40 | rex) &<< bits
      bits &+= 8
    }
    word |= (opcode | (0xC0 | (reg & 7) << 3 | rm & 7) &<< (length &* 8)) &<< bits
    bits &+= length &* 8 &+ 8
    code.emit(word, Int(truncatingIfNeeded: bits >> 3))
  }

  // The same with a memory operand.
  @inlinable
  internal mutating func emitRM(
    prefix: UInt64 = 0, opcode: UInt64, length: UInt64 = 1, w: Bool = false, force: Bool = false,
    reg: UInt64, _ address: Address
  ) {
    code.ensure(16)
    var rex = (w ? 8 : 0) | (reg >> 3) << 2
    // ModRM in the low byte, SIB in the next.
    var operand: UInt64
    var operandBytes: UInt64 = 2
    let displacementBytes: Int
    let scaledIndex: UInt64
    if let index = address.index {
      rex |= index.high << 1
      scaledIndex = UInt64(address.scale.trailingZeroBitCount) << 6 | index.low << 3
    } else {
      scaledIndex = 4 << 3
    }
    if let base = address.base {
      rex |= base.high
      let displacement = address.displacement
      // No displacement at all is not encodable for rbp and r13, where it means rip.
      if displacement == 0 && base.low != 5 {
        operand = 0
        displacementBytes = 0
      } else if displacement == Int32(Int8(truncatingIfNeeded: displacement)) {
        operand = 0x40
        displacementBytes = 1
      } else {
        operand = 0x80
        displacementBytes = 4
      }
      // rsp and r12 as base mean "SIB follows".
      if address.index != nil || base.low == 4 {
        operand |= 4 | (scaledIndex | base.low) << 8
      } else {
        operand |= base.low
        operandBytes = 1
      }
    } else {
      // No base: base 5 with mod 0 in the SIB, and a 32-bit displacement.
      operand = 4 | (scaledIndex | 5) << 8
      displacementBytes = 4
    }
    operand |= (reg & 7) << 3
    var word = prefix
    var bits: UInt64 = prefix != 0 ? 8 : 0
    if rex != 0 || force {
      word |= (0x40 | rex) &<< bits
      bits &+= 8
    }
    word |= (opcode | operand &<< (length &* 8)) &<< bits
    bits &+= (length &+ operandBytes) &* 8
    code.emit(word, Int(truncatingIfNeeded: bits >> 3))
    code.emit(UInt32(bitPattern: address.displacement), displacementBytes)
  }

  // Three-operand VEX instruction in its three-byte form: `map` 1 = 0F, 2 = 0F38, 3 = 0F3A;
  // `pp` 0 = none, 1 = 66, 2 = F3, 3 = F2.
  @inlinable @inline(__always)
  internal mutating func emitVEX(
    map: UInt64, pp: UInt64, opcode: UInt64, w: Bool, reg: UInt64, vvvv: UInt64, rm: UInt64
  ) {
    code.ensure(16)
    let second = map | (reg >> 3 ^ 1) << 7 | 0x40 | (rm >> 3 ^ 1) << 5
    let third = (w ? 0x80 : 0) | (vvvv ^ 15) << 3 | pp
    let operand = 0xC0 | (reg & 7) << 3 | rm & 7
    code.emit(0xC4 | second << 8 | third << 16 | opcode << 24 | operand << 32, 5)
  }
}
