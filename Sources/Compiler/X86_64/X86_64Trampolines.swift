// Trampolines and the stub for table elements on x86-64.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// Assembles the stubs of a module for x86-64.
struct X86_64StubAssembler: StubAssembler, ~Copyable {
  var asm = X86_64Assembler(capacity: 1 << 14)
  private var notes = StubNotes()
  /// Offset in the chunk of the stub being assembled.
  var start: UInt32 { notes.start }

  init(settings: CompilerSettings) {}

  mutating func takeChunk() -> CodeChunk { asm.takeChunk() }

  mutating func begin() {
    asm.alignFunction(16)
    notes = StubNotes(start: asm.offset, firstRelocation: asm.relocations.count)
    asm.push(.rbp)
    asm.mov(.b64, dst: .rbp, src: .rsp)
  }

  mutating func finish() -> StubRecord {
    let record = notes.record(end: asm.offset, relocationEnd: asm.relocations.count)
    let isComplete = asm.finishFunction()
    precondition(isComplete)
    return record
  }

  mutating func leaveAndReturn() {
    asm.leave()
    notes.returns.append(asm.offset - start)
    asm.ret()
  }

  private mutating func pushSaved(_ register: Register, _ cfaOffset: Int32) {
    asm.push(register)
    notes.saved.append(
      SavedRegister(codeOffset: asm.offset - start, dwarfRegister: register.dwarfNumber, cfaOffset: cfaOffset))
  }

  /// The host's registers in an entry trampoline's frame, in the order of the pushes, from the CFA: `EntryFrameLayout`.
  private static let entrySaved: [(Register, Int32)] = [
    (.rbx, -24), (.r12, -32), (.r13, -40), (.r14, -48), (.r15, -56),
  ]

  private static func slot(_ base: Register, _ index: Int) -> Address {
    Address(base: base, displacement: Int32(index) * 16)
  }

  mutating func loadGeneral(_ register: Register, _ type: ValueType, _ address: Address) {
    asm.load(type == .i32 ? .b32 : .b64, dst: register, from: address)
  }

  mutating func loadVector(_ register: XMMRegister, _ type: ValueType, _ address: Address) {
    switch type {
    case .f32: asm.load(FloatSize.f32, dst: register, from: address)
    case .f64: asm.load(FloatSize.f64, dst: register, from: address)
    default: asm.movups(register, from: address)
    }
  }

  private mutating func storeVector(_ register: XMMRegister, _ type: ValueType, _ address: Address) {
    switch type {
    case .f32: asm.store(FloatSize.f32, to: address, src: register)
    case .f64: asm.store(FloatSize.f64, to: address, src: register)
    default: asm.movups(to: address, register)
    }
  }

  /// Copies a value between memories through `scratch`, high half included where there is one.
  private mutating func copy(_ type: ValueType, from source: Address, to destination: Address, scratch: Register) {
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

  /// The order of the pushes is `EntryFrameLayout`, and nothing of the caller's changes before the entry frame pointer is
  /// stored: the signal handler relies on both.
  mutating func entry(_ signature: Signature, _ table: SignatureTable) -> StubRecord {
    begin()
    for (register, cfaOffset) in Self.entrySaved { pushSaved(register, cfaOffset) }
    asm.push(.rdx)
    let area = Int32((signature.outgoingBytes + 15) & ~15)
    if area > 0 { asm.alu(.sub, .b64, dst: .rsp, immediate: area) }
    let resume = asm.makeLabel()
    let exit = asm.makeLabel()
    asm.store(.b64, to: Address(base: .rcx, displacement: Int32(ActivationLayout.resumeStackPointer)), src: .rsp)
    asm.leaLabel(.rax, resume)
    asm.store(.b64, to: Address(base: .rcx, displacement: Int32(ActivationLayout.resumeProgramCounter)), src: .rax)
    asm.store(.b64, to: Address(base: .rcx, displacement: Int32(ActivationLayout.entryFramePointer)), src: .rbp)
    asm.mov(.b64, dst: .r14, src: .rdi)
    asm.mov(.b64, dst: .rax, src: .rsi)
    // No wasm instance is the caller.
    asm.alu(.xor, .b32, dst: .r13, src: .r13)
    for i in 0..<Int(signature.parameterCount) {
      let place = table.parameter(signature, i)
      let source = Self.slot(.rdx, i)
      switch place.kind {
      case .stack:
        copy(place.type, from: source, to: Address(base: .rsp, displacement: Int32(place.offset)), scratch: .rbx)
      case .general: loadGeneral(Register(number: place.register), place.type, source)
      case .vector: loadVector(XMMRegister(number: place.register), place.type, source)
      }
    }
    asm.load(.b64, dst: .rbx, from: Address(base: .r14, displacement: Int32(ContextLayout.memory0Base)))
    asm.call(Register.rax)
    asm.code.put32(EntryFrameLayout.marker)
    if signature.resultCount > 0 {
      asm.load(.b64, dst: .rdx, from: Address(base: .rbp, displacement: Int32(EntryFrameLayout.slots)))
      for i in 0..<Int(signature.resultCount) {
        let place = table.result(signature, i)
        let destination = Self.slot(.rdx, i)
        switch place.kind {
        case .stack:
          copy(
            place.type, from: Address(base: .rsp, displacement: Int32(place.offset)), to: destination, scratch: .rcx)
        case .general: asm.store(place.type == .i32 ? .b32 : .b64, to: destination, src: .rax)
        case .vector: storeVector(.xmm0, place.type, destination)
        }
      }
    }
    asm.alu(.xor, .b32, dst: .rax, src: .rax)
    asm.bind(exit)
    asm.load(.b64, dst: .rbx, from: Address(base: .rbp, displacement: Int32(EntryFrameLayout.rbx)))
    asm.load(.b64, dst: .r12, from: Address(base: .rbp, displacement: Int32(EntryFrameLayout.r12)))
    asm.load(.b64, dst: .r13, from: Address(base: .rbp, displacement: Int32(EntryFrameLayout.r13)))
    asm.load(.b64, dst: .r14, from: Address(base: .rbp, displacement: Int32(EntryFrameLayout.r14)))
    asm.load(.b64, dst: .r15, from: Address(base: .rbp, displacement: Int32(EntryFrameLayout.r15)))
    leaveAndReturn()
    // Here with rsp as it was stored, all else unknown.
    asm.bind(resume)
    let resumeStart = asm.offset - start
    asm.lea(.b64, .rbp, Address(base: .rsp, displacement: area + 48))
    notes.ranges.append(
      StackPointerRange(start: resumeStart, end: asm.offset - start, cfaOffset: UInt32(area) + 48 + 16))
    asm.mov(.b32, dst: .rax, immediate: 1)
    asm.jmp(exit)
    return finish()
  }

  /// The host function's context is in r14, the caller's in r13.
  mutating func exit(_ signature: Signature, _ table: SignatureTable) -> StubRecord {
    begin()
    let slots = max(1, Int(max(signature.parameterCount, signature.resultCount)))
    asm.alu(.sub, .b64, dst: .rsp, immediate: Int32(slots) * 16)
    for i in 0..<Int(signature.parameterCount) {
      let place = table.parameter(signature, i)
      let destination = Self.slot(.rsp, i)
      switch place.kind {
      case .stack:
        copy(
          place.type, from: Address(base: .rbp, displacement: 16 + Int32(place.offset)), to: destination,
          scratch: .rax)
      case .general: asm.store(.b64, to: destination, src: Register(number: place.register))
      case .vector: storeVector(XMMRegister(number: place.register), place.type, destination)
      }
    }
    let failed = asm.makeLabel()
    asm.load(.b64, dst: .rax, from: Address(base: .r14, displacement: Int32(ContextLayout.store)))
    asm.load(.b64, dst: .rax, from: Address(base: .rax, displacement: Int32(StoreContextLayout.activation)))
    asm.store(.b64, to: Address(base: .rax, displacement: Int32(ActivationLayout.exitFramePointer)), src: .rbp)
    asm.mov(.b64, dst: .rdi, src: .r14)
    asm.mov(.b64, dst: .rsi, src: .r13)
    asm.mov(.b64, dst: .rdx, src: .rsp)
    asm.call(Address(base: .r14, displacement: Int32(ContextLayout.hostCallback)))
    asm.test(.b32, .rax, .rax)
    asm.jcc(.notEqual, failed)
    for i in 0..<Int(signature.resultCount) {
      let place = table.result(signature, i)
      let source = Self.slot(.rsp, i)
      if place.kind == .stack {
        copy(
          place.type, from: source, to: Address(base: .rbp, displacement: 16 + Int32(place.offset)), scratch: .rcx)
      }
    }
    if signature.resultCount > 0 {
      let place = table.result(signature, 0)
      if place.kind == .vector {
        loadVector(.xmm0, place.type, Self.slot(.rsp, 0))
      } else {
        loadGeneral(.rax, place.type, Self.slot(.rsp, 0))
      }
    }
    leaveAndReturn()
    asm.bind(failed)
    asm.load(.b64, dst: .rax, from: Address(base: .r14, displacement: Int32(ContextLayout.store)))
    asm.load(.b64, dst: .rax, from: Address(base: .rax, displacement: Int32(StoreContextLayout.activation)))
    // From here on this frame is as good as gone, and the entry trampoline's is the one that an unwinder finds.
    asm.load(.b64, dst: .rbp, from: Address(base: .rax, displacement: Int32(ActivationLayout.entryFramePointer)))
    for (register, cfaOffset) in Self.entrySaved {
      notes.saved.append(
        SavedRegister(codeOffset: asm.offset - start, dwarfRegister: register.dwarfNumber, cfaOffset: cfaOffset))
    }
    asm.load(.b64, dst: .rsp, from: Address(base: .rax, displacement: Int32(ActivationLayout.resumeStackPointer)))
    asm.jmp(Address(base: .rax, displacement: Int32(ActivationLayout.resumeProgramCounter)))
    return finish()
  }

  /// Every register but rax, which gets the element, is preserved.
  mutating func resolveElement() -> StubRecord {
    begin()
    let general: [Register] = [.rcx, .rdx, .rsi, .rdi, .r8, .r9, .r10, .r11]
    for register in general { asm.push(register) }
    asm.alu(.and, .b64, dst: .rsp, immediate: -16)
    asm.alu(.sub, .b64, dst: .rsp, immediate: 256)
    for number in 0..<UInt8(16) {
      asm.movups(to: Address(base: .rsp, displacement: Int32(number) * 16), XMMRegister(number: number))
    }
    asm.mov(.b64, dst: .rdi, src: .r14)
    asm.load(.b32, dst: .rsi, from: Address(base: .rbp, displacement: 16))
    asm.load(.b32, dst: .rdx, from: Address(base: .rbp, displacement: 24))
    asm.load(.b64, dst: .rax, from: Address(base: .r14, displacement: Int32(ContextLayout.builtinTable)))
    asm.call(Address(base: .rax, displacement: Int32(Builtin.tableResolve.rawValue) * 8))
    for number in 0..<UInt8(16) {
      asm.movups(XMMRegister(number: number), from: Address(base: .rsp, displacement: Int32(number) * 16))
    }
    for (index, register) in general.enumerated() {
      asm.load(.b64, dst: register, from: Address(base: .rbp, displacement: -8 * Int32(index + 1)))
    }
    leaveAndReturn()
    return finish()
  }
}
