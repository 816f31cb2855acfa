// Trampolines and the stub for table elements on AArch64.
//
// Code of C keeps x19 to x28 and the low halves of v8 to v15 (AAPCS64, 6.1). Compiled code leaves x19 to x25 alone, so an entry
// trampoline saves the rest. Here x16 and x17 are free between any two instructions, but a displacement that does not fit
// an instruction goes through x16, and so does a veneer: what has to outlive a memory access or a call of a symbol is in
// neither, or in x17.
//
// An entry trampoline begins with a landing pad whether the text has any or not (`AArch64EntryFrameLayout` says why); the others
// where landing pads are asked for.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// Assembles the stubs of a module for AArch64.
struct AArch64StubAssembler: StubAssembler, ~Copyable {
  typealias Register = AArch64Register
  typealias Address = AArch64Address

  var asm = AArch64Assembler(capacity: 1 << 14)
  private var notes = StubNotes()
  private let hasLandingPads: Bool
  /// Offset in the chunk of the stub being assembled.
  var start: UInt32 { notes.start }
  private var codeOffset: UInt32 { asm.offset - start }

  init(settings: CompilerSettings) { hasLandingPads = settings.hasLandingPads }

  mutating func takeChunk() -> CodeChunk { asm.takeChunk() }

  mutating func begin(withLandingPad: Bool = false) {
    asm.alignFunction(16)
    notes = StubNotes(start: asm.offset, firstRelocation: asm.relocations.count)
    notes.hasOwnLandingPad = withLandingPad && !hasLandingPads
    if withLandingPad || hasLandingPads { asm.bti(.call) }
    asm.storePair(.b64, .x29, .x30, to: Address(base: .sp, displacement: -16, update: .before))
    asm.mov(.b64, dst: .x29, src: .sp)
  }

  mutating func finish() -> StubRecord {
    let record = notes.record(end: asm.offset, relocationEnd: asm.relocations.count)
    let isComplete = asm.finishFunction()
    precondition(isComplete)
    return record
  }

  mutating func leaveAndReturn() {
    asm.mov(.b64, dst: .sp, src: .x29)
    asm.loadPair(.b64, .x29, .x30, from: Address(base: .sp, displacement: 16, update: .after))
    notes.returns.append(codeOffset)
    asm.ret()
  }

  /// `dst = src ± bytes`, which are less than 2^24; neither is zr.
  mutating func offset(_ op: AArch64ArithmeticOp, _ dst: Register, _ src: Register, _ bytes: Int) {
    let low = UInt64(bytes) & 0xFFF
    let high = UInt64(bytes) & 0xFFF000
    if high != 0 { asm.arithmetic(op, .b64, dst, src, immediate: high) }
    if low != 0 || high == 0 { asm.arithmetic(op, .b64, dst, high != 0 ? dst : src, immediate: low) }
  }

  /// Makes room below the frame; the stack pointer stays a multiple of 16.
  mutating func lowerStack(_ bytes: Int) {
    if bytes > 0 { offset(.sub, .sp, .sp, (bytes + 15) & ~15) }
  }

  private static func slot(_ base: Register, _ index: Int) -> Address {
    Address(base: base, displacement: Int32(index) * 16)
  }

  static func frame(_ offset: Int) -> Address { Address(base: .x29, displacement: Int32(offset)) }

  private mutating func loadGeneral(_ register: Register, _ type: ValueType, _ address: Address) {
    asm.load(type == .i32 ? .b32 : .b64, dst: register, from: address)
  }

  private mutating func loadVector(_ register: AArch64VectorRegister, _ type: ValueType, _ address: Address) {
    switch type {
    case .f32: asm.load(FloatSize.f32, dst: register, from: address)
    case .f64: asm.load(FloatSize.f64, dst: register, from: address)
    default: asm.loadVector(dst: register, from: address)
    }
  }

  private mutating func storeVector(_ register: AArch64VectorRegister, _ type: ValueType, _ address: Address) {
    switch type {
    case .f32: asm.store(FloatSize.f32, to: address, src: register)
    case .f64: asm.store(FloatSize.f64, to: address, src: register)
    default: asm.storeVector(to: address, src: register)
    }
  }

  /// Copies a value between memories through `scratch`, high half included where there is one.
  mutating func copy(_ type: ValueType, from source: Address, to destination: Address, scratch: Register) {
    let size: OperandSize = type == .i32 || type == .f32 ? .b32 : .b64
    asm.load(size, dst: scratch, from: source)
    asm.store(.b64, to: destination, src: scratch)
    if type == .v128 {
      var high = source
      high.displacement += 8
      asm.load(.b64, dst: scratch, from: high)
      var highDestination = destination
      highDestination.displacement += 8
      asm.store(.b64, to: highDestination, src: scratch)
    }
  }

  /// The store's activation, into `register`, for code with a context in x28.
  mutating func loadActivation(_ register: Register) {
    asm.load(.b64, dst: register, from: Address(base: .x28, displacement: Int32(ContextLayout.store)))
    asm.load(.b64, dst: register, from: Address(base: register, displacement: Int32(StoreContextLayout.activation)))
  }

  // MARK: Entering

  /// The host's registers in an entry trampoline's frame: `AArch64EntryFrameLayout`.
  private static var savedVectors: [(UInt8, UInt8)] { [(8, 9), (10, 11), (12, 13), (14, 15)] }

  /// Notes that the host's registers are in the frame of an entry trampoline, from here on.
  private mutating func noteSaved(general: Bool = true, x26: Bool = true, vectors: Bool = true) {
    func note(_ register: UInt8, _ offset: Int) {
      // The CFA is 16 above the frame pointer.
      notes.saved.append(
        SavedRegister(codeOffset: codeOffset, dwarfRegister: register, cfaOffset: Int32(offset - 16)))
    }
    if general {
      note(AArch64DwarfRegister.general(28), AArch64EntryFrameLayout.x28)
      note(AArch64DwarfRegister.general(27), AArch64EntryFrameLayout.x27)
    }
    if x26 { note(AArch64DwarfRegister.general(26), AArch64EntryFrameLayout.x26) }
    if vectors {
      for number in 8..<16 {
        note(AArch64DwarfRegister.vector(UInt8(number)), AArch64EntryFrameLayout.vector(number))
      }
    }
  }

  /// Nothing of the caller's changes, but x29 and sp, before the entry frame pointer is stored: the signal handler relies on
  /// it. x9 has the slots, x17 the code.
  mutating func entry(_ signature: Signature, _ table: SignatureTable) -> StubRecord {
    begin(withLandingPad: true)
    let frameSize = AArch64EntryFrameLayout.size + (Int(signature.outgoingBytes) + 15) & ~15
    lowerStack(frameSize)
    asm.storePair(.b64, .x27, .x28, to: Self.frame(AArch64EntryFrameLayout.x27))
    noteSaved(x26: false, vectors: false)
    asm.storePair(.b64, .x2, .x26, to: Self.frame(AArch64EntryFrameLayout.slots))
    noteSaved(general: false, vectors: false)
    for (low, high) in Self.savedVectors {
      asm.storePair(
        AArch64VectorRegister(number: low), AArch64VectorRegister(number: high),
        to: Self.frame(AArch64EntryFrameLayout.vector(Int(low))))
    }
    noteSaved(general: false, x26: false)
    let resume = asm.makeLabel()
    let exit = asm.makeLabel()
    asm.mov(.b64, dst: .x16, src: .sp)
    asm.store(.b64, to: Address(base: .x3, displacement: Int32(ActivationLayout.resumeStackPointer)), src: .x16)
    asm.adr(.x16, resume)
    asm.store(.b64, to: Address(base: .x3, displacement: Int32(ActivationLayout.resumeProgramCounter)), src: .x16)
    asm.store(.b64, to: Address(base: .x3, displacement: Int32(ActivationLayout.entryFramePointer)), src: .x29)
    asm.mov(.b64, dst: .x28, src: .x0)
    asm.mov(.b64, dst: .x17, src: .x1)
    asm.mov(.b64, dst: .x9, src: .x2)
    // No wasm instance is the caller.
    asm.mov(.b64, dst: .x27, src: .zr)
    for i in 0..<Int(signature.parameterCount) {
      let place = table.parameter(signature, i)
      let source = Self.slot(.x9, i)
      switch place.kind {
      case .stack:
        copy(place.type, from: source, to: Address(base: .sp, displacement: Int32(place.offset)), scratch: .x10)
      case .general: loadGeneral(Register(number: place.register), place.type, source)
      case .vector: loadVector(AArch64VectorRegister(number: place.register), place.type, source)
      }
    }
    asm.load(.b64, dst: .x26, from: Address(base: .x28, displacement: Int32(ContextLayout.memory0Base)))
    asm.reserve(8)
    asm.blr(.x17)
    // The marker that unwinders know entry trampolines by: at the return address.
    asm.movz(.b64, .zr, AArch64EntryFrameLayout.markerImmediate)
    if signature.resultCount > 0 {
      asm.load(.b64, dst: .x9, from: Self.frame(AArch64EntryFrameLayout.slots))
      for i in 0..<Int(signature.resultCount) {
        let place = table.result(signature, i)
        let destination = Self.slot(.x9, i)
        switch place.kind {
        case .stack:
          copy(
            place.type, from: Address(base: .sp, displacement: Int32(place.offset)), to: destination, scratch: .x10)
        case .general: asm.store(place.type == .i32 ? .b32 : .b64, to: destination, src: .x0)
        case .vector: storeVector(.v0, place.type, destination)
        }
      }
    }
    asm.mov(.b32, dst: .x0, src: .zr)
    asm.bind(exit)
    for (low, high) in Self.savedVectors {
      asm.loadPair(
        AArch64VectorRegister(number: low), AArch64VectorRegister(number: high),
        from: Self.frame(AArch64EntryFrameLayout.vector(Int(low))))
    }
    asm.load(.b64, dst: .x26, from: Self.frame(AArch64EntryFrameLayout.x26))
    asm.loadPair(.b64, .x27, .x28, from: Self.frame(AArch64EntryFrameLayout.x27))
    leaveAndReturn()
    // Here with sp as it was stored, all else unknown.
    asm.bind(resume)
    let resumeStart = codeOffset
    if hasLandingPads { asm.bti(.jump) }
    offset(.add, .x29, .sp, frameSize)
    notes.ranges.append(
      StackPointerRange(start: resumeStart, end: codeOffset, cfaOffset: UInt32(frameSize) + 16))
    asm.mov(.b32, dst: .x0, immediate: 1)
    asm.b(exit)
    return finish()
  }

  // MARK: Leaving

  /// The host function's context is in x28, the caller's in x27.
  mutating func exit(_ signature: Signature, _ table: SignatureTable) -> StubRecord {
    begin()
    let slots = max(1, Int(max(signature.parameterCount, signature.resultCount)))
    lowerStack(slots * 16)
    for i in 0..<Int(signature.parameterCount) {
      let place = table.parameter(signature, i)
      let destination = Self.slot(.sp, i)
      switch place.kind {
      case .stack: copy(place.type, from: Self.frame(16 + Int(place.offset)), to: destination, scratch: .x17)
      case .general: asm.store(.b64, to: destination, src: Register(number: place.register))
      case .vector: storeVector(AArch64VectorRegister(number: place.register), place.type, destination)
      }
    }
    let failed = asm.makeLabel()
    loadActivation(.x16)
    asm.store(.b64, to: Address(base: .x16, displacement: Int32(ActivationLayout.exitFramePointer)), src: .x29)
    asm.mov(.b64, dst: .x0, src: .x28)
    asm.mov(.b64, dst: .x1, src: .x27)
    asm.mov(.b64, dst: .x2, src: .sp)
    asm.load(.b64, dst: .x16, from: Address(base: .x28, displacement: Int32(ContextLayout.hostCallback)))
    asm.blr(.x16)
    asm.cbnz(.b32, .x0, failed)
    for i in 0..<Int(signature.resultCount) {
      let place = table.result(signature, i)
      if place.kind == .stack {
        copy(place.type, from: Self.slot(.sp, i), to: Self.frame(16 + Int(place.offset)), scratch: .x17)
      }
    }
    if signature.resultCount > 0 {
      let place = table.result(signature, 0)
      if place.kind == .vector {
        loadVector(.v0, place.type, Self.slot(.sp, 0))
      } else {
        loadGeneral(.x0, place.type, Self.slot(.sp, 0))
      }
    }
    leaveAndReturn()
    asm.bind(failed)
    loadActivation(.x16)
    // From here on this frame is as good as gone, and the entry trampoline's is the one that an unwinder finds.
    asm.load(.b64, dst: .x29, from: Address(base: .x16, displacement: Int32(ActivationLayout.entryFramePointer)))
    noteSaved()
    asm.load(.b64, dst: .x17, from: Address(base: .x16, displacement: Int32(ActivationLayout.resumeStackPointer)))
    asm.mov(.b64, dst: .sp, src: .x17)
    asm.load(.b64, dst: .x17, from: Address(base: .x16, displacement: Int32(ActivationLayout.resumeProgramCounter)))
    asm.br(.x17)
    return finish()
  }

  // MARK: Table elements

  /// At the call, [sp] is the table's index (32 bits), [sp + 8] the element's; they are not in registers, because a veneer, the
  /// linker's too, may change x16 and x17. The element comes back in x16. x0 to x15 and v0 to v15 are preserved.
  mutating func resolveElement() -> StubRecord {
    begin()
    let vectors = 16 * 8
    lowerStack(vectors + 16 * 16)
    for k in 0..<8 as Range<UInt8> {
      asm.storePair(
        .b64, Register(number: 2 * k), Register(number: 2 * k + 1), to: Address(base: .sp, displacement: 16 * Int32(k)))
    }
    for k in 0..<8 as Range<UInt8> {
      asm.storeVectorPair(
        AArch64VectorRegister(number: 2 * k), AArch64VectorRegister(number: 2 * k + 1),
        to: Address(base: .sp, displacement: Int32(vectors) + 32 * Int32(k)))
    }
    asm.mov(.b64, dst: .x0, src: .x28)
    asm.load(.b32, dst: .x1, from: Self.frame(16))
    asm.load(.b32, dst: .x2, from: Self.frame(24))
    asm.load(.b64, dst: .x16, from: Address(base: .x28, displacement: Int32(ContextLayout.builtinTable)))
    asm.load(.b64, dst: .x16, from: Address(base: .x16, displacement: Int32(Builtin.tableResolve.rawValue) * 8))
    asm.blr(.x16)
    asm.mov(.b64, dst: .x16, src: .x0)
    for k in 0..<8 as Range<UInt8> {
      asm.loadPair(
        .b64, Register(number: 2 * k), Register(number: 2 * k + 1),
        from: Address(base: .sp, displacement: 16 * Int32(k)))
    }
    for k in 0..<8 as Range<UInt8> {
      asm.loadVectorPair(
        AArch64VectorRegister(number: 2 * k), AArch64VectorRegister(number: 2 * k + 1),
        from: Address(base: .sp, displacement: Int32(vectors) + 32 * Int32(k)))
    }
    leaveAndReturn()
    return finish()
  }
}
