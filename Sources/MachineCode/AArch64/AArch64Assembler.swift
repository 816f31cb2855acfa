/// The AArch64 assembler: labels, branches, calls, functions and chunks.
///
/// Every instruction is a word, so encoding is arithmetic on one register and a store. Methods take
/// operands in Arm's order, destination first. Encoders check nothing that the types do not say: an
/// immediate must be one that the instruction can hold, and what asks whether it is stands beside it.
///
/// Branches are where a machine of fixed-width instructions is hard. `b` reaches ±128 MiB, more than
/// a function may have; `b.cond`, `cbz` and loads relative to pc reach ±1 MiB, `tbz` ±32 KiB. Backward
/// the distance is known: what is out of reach becomes the opposite branch over a `b`. Forward it is
/// not, and nobody wants to pay for the worst case, so a branch is emitted in its short form and waits
/// for its label together with the last place that it can reach; if that comes first, the branch is
/// led to a veneer, a `b` to the label in an island of them (`AArch64Islands.swift`).
///
/// So an island may come before any instruction; `reserve(_:)` gives a run of instructions, or one
/// whose address matters beforehand, a place without one.
///
/// Labels cost no allocation. A label is an index into a flat table that is emptied from function to
/// function. While it is unbound its entry is the head of a list of fixups. They are kept in a pool of
/// their own: unlike x86-64's, the fields that wait are too narrow for links.
///
/// One assembler writes any number of functions, one after the other, into its buffer (a *chunk*).
/// All offsets here, of labels and of relocations, count from the start of the chunk.

/// Assembles AArch64 code into a `CodeBuffer`.
public struct AArch64Assembler: ~Copyable {
  /// The code. Any number of functions, one after the other; offsets count from its start.
  public var code: CodeBuffer
  /// Relocations in order of their offset, which counts from the start of `code`.
  public var relocations: FlatBuffer<Relocation>

  @usableFromInline internal var labels: FlatBuffer<LabelState>
  @usableFromInline internal var fixups: FlatBuffer<Fixup>
  // First unused entry of the pool, plus 1; 0 when there is none.
  @usableFromInline internal var freeFixup: UInt32 = 0
  // Fixups of `b.cond` and `cbz`, and of `tbz`, that wait: in order of emission, so of deadline.
  @usableFromInline internal var waiting19: DeadlineQueue
  @usableFromInline internal var waiting14: DeadlineQueue
  // An instruction may be emitted while it ends here or before: up to the end of the buffer, or the
  // last place where an island comes in time.
  @usableFromInline internal var limit: Int
  // Whether a branch of the function could not be encoded.
  @usableFromInline internal var isOutOfReach = false
  /// Whether the function that was finished last had a branch that no instruction can hold, because the
  /// function is larger than 128 MiB, or an `adr` to a label more than 1 MiB away.
  public private(set) var finishedOutOfReach = false

  /// What a label's table entry holds.
  @usableFromInline internal struct LabelState: BitwiseCopyable {
    // Bound: offset | boundFlag. Unbound: number of the last fixup that waits for it, plus 1; or 0.
    @usableFromInline var state: UInt32 = 0
    // A veneer that leads to it, in the island that is being emitted; 0 for none.
    @usableFromInline var veneer: UInt32 = 0
    @inlinable init() {}
  }

  // What the field that waits for a label is like.
  @usableFromInline internal enum FixupKind: UInt8, BitwiseCopyable {
    case branch26, branch19, branch14, adr21
    // Nothing waits any more: the branch goes to a veneer that it shares.
    case none
  }

  // An instruction that waits for its label.
  @usableFromInline internal struct Fixup: BitwiseCopyable {
    @usableFromInline var offset: UInt32
    // The one before for the same label, plus 1; or, when it waits no more, the next unused one.
    @usableFromInline var next: UInt32
    @usableFromInline var label: UInt32
    // Where it stands in its queue.
    @usableFromInline var entry: UInt32 = 0
    @usableFromInline var kind: FixupKind
    @inlinable init(offset: UInt32, next: UInt32, label: UInt32, kind: FixupKind) {
      self.offset = offset
      self.next = next
      self.label = label
      self.kind = kind
    }
  }

  @inlinable internal static var boundFlag: UInt32 { 0x8000_0000 }

  /// An assembler with an empty chunk, for at least `capacity` bytes of code before it must grow.
  ///
  /// `reach19` and `reach14` narrow the forward reach of branches for tests, so that islands are met
  /// in small functions: at most and by default 1 MiB - 4 and 32 KiB - 4, at least 64.
  public init(capacity: Int = 1 << 16, reach19: Int = 0xF_FFFC, reach14: Int = 0x7FFC) {
    code = CodeBuffer(capacity: capacity)
    relocations = FlatBuffer(capacity: 256)
    labels = FlatBuffer(capacity: 256)
    fixups = FlatBuffer(capacity: 256)
    waiting19 = DeadlineQueue(reach: min(max(reach19, 64), 0xF_FFFC))
    waiting14 = DeadlineQueue(reach: min(max(reach14, 64), 0x7FFC))
    limit = code.capacity
  }

  /// Offset of the next instruction, in bytes from the start of the chunk. An island may still come
  /// between; see `reserve(_:)`.
  @inlinable public var offset: UInt32 { UInt32(truncatingIfNeeded: code.count) }

  // MARK: Instructions

  /// Sees to it that the next `n` bytes of code come out in one piece: `offset` is the address of the
  /// next instruction, and no island comes in between unless there is a conditional branch among them.
  @inlinable @inline(__always)
  public mutating func reserve(_ n: Int) {
    if limit &- code.count < n { makeRoom(n) }
  }

  // Appends an instruction.
  @inlinable @inline(__always)
  internal mutating func emit(_ word: UInt32) {
    reserve(4)
    code.emit(word, 4)
  }

  // MARK: Functions and chunks

  /// Ends a function and forgets its labels, whose numbers are used again. Returns whether every label
  /// that anything refers to has been bound and was in reach; otherwise the function's code is unusable.
  @discardableResult
  public mutating func finishFunction() -> Bool {
    var complete = !isOutOfReach
    finishedOutOfReach = isOutOfReach
    for i in 0..<labels.count {
      let state = labels[i].state
      if state != 0 && state & Self.boundFlag == 0 { complete = false }
    }
    resetLabels()
    return complete
  }

  /// Forgets all labels and what waits for them, as after an error in the middle of a function.
  public mutating func resetLabels() {
    labels.removeAll()
    fixups.removeAll()
    freeFixup = 0
    waiting19.removeAll()
    waiting14.removeAll()
    isOutOfReach = false
    updateLimit()
  }

  /// Starts an empty chunk; memory is kept.
  public mutating func reset() {
    resetLabels()
    code.removeAll()
    relocations.removeAll()
  }

  /// Gives away what has been assembled, and starts an empty chunk.
  public mutating func takeChunk() -> CodeChunk {
    resetLabels()
    return CodeChunk(code: code.extract(), relocations: relocations.extract())
  }

  // MARK: Labels

  /// A new, unbound label.
  @inlinable public mutating func makeLabel() -> Label {
    let label = Label(id: UInt32(truncatingIfNeeded: labels.count))
    labels.append(LabelState())
    return label
  }

  /// Whether `label` has been bound.
  @inlinable public func isBound(_ label: Label) -> Bool {
    labels[Int(label.id)].state & Self.boundFlag != 0
  }

  /// Offset in the chunk of a bound label; nil while it is unbound.
  @inlinable public func offset(of label: Label) -> UInt32? {
    let state = labels[Int(label.id)].state
    return state & Self.boundFlag != 0 ? state & ~Self.boundFlag : nil
  }

  /// Whether something refers to `label`, which must be unbound.
  @inlinable public func isReferenced(_ label: Label) -> Bool { labels[Int(label.id)].state != 0 }

  /// Makes `label` stand for the next instruction. A label is bound once.
  @inlinable public mutating func bind(_ label: Label) {
    let state = labels[Int(label.id)].state
    assert(state & Self.boundFlag == 0, "label bound twice")
    labels[Int(label.id)].state = offset | Self.boundFlag
    if state != 0 { resolve(state, offset) }
  }

  // Lets the fixups of a list refer to `target`, and takes them back into the pool.
  @usableFromInline @inline(never)
  internal mutating func resolve(_ head: UInt32, _ target: UInt32) {
    var link = head
    while link != 0 {
      let index = Int(link &- 1)
      let fixup = fixups[index]
      switch fixup.kind {
      case .branch19: waiting19.cancel(fixup.entry)
      case .branch14: waiting14.cancel(fixup.entry)
      case .branch26, .adr21, .none: break
      }
      if fixup.kind != .none { patch(fixup, target) }
      link = fixup.next
      fixups[index].next = freeFixup
      freeFixup = UInt32(truncatingIfNeeded: index) &+ 1
    }
    updateLimit()
  }

  // Puts the distance to `target` into the field that waits for it.
  @usableFromInline
  internal mutating func patch(_ fixup: Fixup, _ target: UInt32) {
    let place = Int(fixup.offset)
    let distance = Int(target) &- place
    let word = code.read32(at: place)
    guard let field = Self.field(fixup.kind, distance) else {
      isOutOfReach = true
      return
    }
    code.patch32(at: place, word | field)
  }

  // The bits of a branch's field; nil if the distance does not fit.
  @inlinable @inline(__always)
  internal static func field(_ kind: FixupKind, _ distance: Int) -> UInt32? {
    let bits = UInt32(truncatingIfNeeded: distance &>> 2)
    switch kind {
    case .branch26: return distance >= -0x800_0000 && distance < 0x800_0000 ? bits & 0x3FF_FFFF : nil
    case .branch19: return distance >= -0x10_0000 && distance < 0x10_0000 ? (bits & 0x7_FFFF) << 5 : nil
    case .branch14: return distance >= -0x8000 && distance < 0x8000 ? (bits & 0x3FFF) << 5 : nil
    case .none: return 0
    case .adr21:
      guard distance >= -0x10_0000 && distance < 0x10_0000 else { return nil }
      return (bits & 0x7_FFFF) << 5 | (UInt32(truncatingIfNeeded: distance) & 3) << 29
    }
  }

  // Emits an instruction with a field for the distance to `label`, which its encoding reaches if it is
  // bound: `reserve` has been called, and the caller has seen to that.
  @inlinable @inline(__always)
  internal mutating func emit(_ word: UInt32, _ kind: FixupKind, _ label: Label) {
    let state = labels[Int(label.id)].state
    let place = offset
    if state & Self.boundFlag != 0 {
      if let field = Self.field(kind, Int(state & ~Self.boundFlag) &- Int(place)) {
        emit(word | field)
      } else {
        isOutOfReach = true
        emit(word)
      }
      return
    }
    emit(word)
    addFixup(place, kind, label.id)
  }

  @usableFromInline
  internal mutating func addFixup(_ place: UInt32, _ kind: FixupKind, _ label: UInt32) {
    let fixup = Fixup(offset: place, next: labels[Int(label)].state, label: label, kind: kind)
    let index: UInt32
    if freeFixup != 0 {
      index = freeFixup &- 1
      freeFixup = fixups[Int(index)].next
      fixups[Int(index)] = fixup
    } else {
      index = UInt32(truncatingIfNeeded: fixups.count)
      fixups.append(fixup)
    }
    labels[Int(label)].state = index &+ 1
    switch kind {
    case .branch19: fixups[Int(index)].entry = waiting19.append(place, index)
    case .branch14: fixups[Int(index)].entry = waiting14.append(place, index)
    case .branch26, .adr21, .none: return
    }
    updateLimit()
  }

  // MARK: Branches

  /// `b label`.
  @inlinable public mutating func b(_ label: Label) {
    reserve(4)
    emit(0x1400_0000, .branch26, label)
  }

  /// `bl label`: to a place in the same function.
  @inlinable public mutating func bl(_ label: Label) {
    reserve(4)
    emit(0x9400_0000, .branch26, label)
  }

  /// `b.cond label`; where that does not reach, the opposite over a `b`.
  @inlinable public mutating func b(_ condition: AArch64Condition, _ label: Label) {
    emitShort(0x5400_0000 | condition.bits, inverting: 1, .branch19, label)
  }

  /// `cbz r, label`, 32 or 64 bits.
  @inlinable public mutating func cbz(_ size: OperandSize, _ r: AArch64Register, _ label: Label) {
    emitShort(0x3400_0000 | size.sf | r.bits, inverting: 1 << 24, .branch19, label)
  }

  /// `cbnz r, label`, 32 or 64 bits.
  @inlinable public mutating func cbnz(_ size: OperandSize, _ r: AArch64Register, _ label: Label) {
    emitShort(0x3500_0000 | size.sf | r.bits, inverting: 1 << 24, .branch19, label)
  }

  /// `tbz r, bit, label`: if the bit is 0.
  @inlinable public mutating func tbz(_ r: AArch64Register, bit: UInt8, _ label: Label) {
    let number = UInt32(bit & 63)
    emitShort(
      0x3600_0000 | (number >> 5) << 31 | (number & 31) << 19 | r.bits, inverting: 1 << 24, .branch14, label)
  }

  /// `tbnz r, bit, label`: if the bit is 1.
  @inlinable public mutating func tbnz(_ r: AArch64Register, bit: UInt8, _ label: Label) {
    let number = UInt32(bit & 63)
    emitShort(
      0x3700_0000 | (number >> 5) << 31 | (number & 31) << 19 | r.bits, inverting: 1 << 24, .branch14, label)
  }

  // A branch of short reach; `inverting` is the bit that makes it its opposite.
  @inlinable @inline(__always)
  internal mutating func emitShort(_ word: UInt32, inverting bit: UInt32, _ kind: FixupKind, _ label: Label) {
    reserve(8)
    let state = labels[Int(label.id)].state
    if state & Self.boundFlag != 0,
      !isNear(Int(state & ~Self.boundFlag) &- code.count, kind)
    {
      emit((word ^ bit) | 2 << 5)
      emit(0x1400_0000, .branch26, label)
    } else {
      emit(word, kind, label)
    }
  }

  // Whether a branch backwards reaches. Its reach is narrowed for tests as well.
  @usableFromInline
  internal func isNear(_ distance: Int, _ kind: FixupKind) -> Bool {
    distance >= (kind == .branch19 ? -waiting19.reach - 4 : -waiting14.reach - 4)
  }

  /// `br r`.
  @inlinable public mutating func br(_ target: AArch64Register) { emit(0xD61F_0000 | target.bits << 5) }

  /// `blr r`.
  @inlinable public mutating func blr(_ target: AArch64Register) { emit(0xD63F_0000 | target.bits << 5) }

  /// `ret`: to x30.
  @inlinable public mutating func ret() { emit(0xD65F_03C0) }

  /// `ret r`.
  @inlinable public mutating func ret(_ target: AArch64Register) { emit(0xD65F_0000 | target.bits << 5) }

  /// `bl` to a symbol, with a relocation.
  @inlinable public mutating func callRelocated(_ symbol: UInt32) {
    reserve(4)
    relocations.append(Relocation(offset: offset, kind: .aarch64Call26, symbol: symbol, addend: 0))
    emit(0x9400_0000)
  }

  /// `b` to a symbol, with a relocation.
  @inlinable public mutating func jmpRelocated(_ symbol: UInt32) {
    reserve(4)
    relocations.append(Relocation(offset: offset, kind: .aarch64Jump26, symbol: symbol, addend: 0))
    emit(0x1400_0000)
  }

  /// `adr dst, label`: the label must come to stand within 1 MiB.
  @inlinable public mutating func adr(_ dst: AArch64Register, _ label: Label) {
    reserve(4)
    emit(0x1000_0000 | dst.bits, .adr21, label)
  }

  /// `adr dst, pc + distance`, ±1 MiB.
  @inlinable public mutating func adr(_ dst: AArch64Register, distance: Int32) {
    emit(0x1000_0000 | dst.bits | Self.splitImmediate(distance))
  }

  /// `adrp dst, page of pc + pages × 4096`, ±2^20 pages.
  @inlinable public mutating func adrp(_ dst: AArch64Register, pages: Int32) {
    emit(0x9000_0000 | dst.bits | Self.splitImmediate(pages))
  }

  // The 21 bits of `adr` and `adrp`, whose low two stand apart.
  @inlinable @inline(__always)
  internal static func splitImmediate(_ value: Int32) -> UInt32 {
    let bits = UInt32(bitPattern: value)
    return (bits & 3) << 29 | (bits >> 2 & 0x7_FFFF) << 5
  }

  // MARK: Others

  /// `udf #immediate`: permanently undefined, for explicit traps.
  @inlinable public mutating func udf(_ immediate: UInt16) { emit(UInt32(immediate)) }

  /// `brk #immediate`.
  @inlinable public mutating func brk(_ immediate: UInt16) { emit(0xD420_0000 | UInt32(immediate) << 5) }

  /// `bti`: a place where indirect branches may land (FEAT_BTI; elsewhere it does nothing).
  @inlinable public mutating func bti(_ target: AArch64BranchTarget) {
    emit(0xD503_201F | UInt32(target.rawValue) << 5)
  }

  /// `nop`.
  @inlinable public mutating func nop() { emit(0xD503_201F) }

  /// `nop`s up to a multiple of `alignment` (a power of two, at least 4), counted from the start of the
  /// chunk.
  @inlinable public mutating func align(_ alignment: Int) {
    reserve(alignment)
    while code.count & (alignment - 1) != 0 { nop() }
  }

  /// `brk #0`s up to a multiple of `alignment` (a power of two, at least 4): the gap between functions.
  @inlinable public mutating func alignFunction(_ alignment: Int = 16) {
    for _ in 0..<(-code.count & (alignment - 1)) / 4 { code.put32(0xD420_0000) }
    updateLimit()
  }
}

extension OperandSize {
  // Bit 31 of most instructions: 64 bits.
  @inlinable @inline(__always) internal var sf: UInt32 { self == .b64 ? 1 << 31 : 0 }
}
