// Calls on x86-64.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == X86_64Assembler {
  static var ctx: Register { .r14 }
  static var memoryBase: Register { .rbx }
  static var callerCtx: Register { .r13 }

  /// The outgoing area is part of the frame.
  mutating func beginOutgoing(_ bytes: UInt32) { outgoing = max(outgoing, bytes) }

  /// Restores the registers that a call out of the instance has changed.
  private mutating func restoreContext() {
    asm.load(.b64, dst: Self.ctx, from: Address(base: .rbp, displacement: -8))
    if environment.hasMemory {
      asm.load(
        .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
    }
  }

  mutating func callImport(offset: Int32) {
    asm.mov(.b64, dst: Self.callerCtx, src: Self.ctx)
    asm.load(.b64, dst: .rax, from: Address(base: Self.ctx, displacement: offset))
    asm.load(.b64, dst: Self.ctx, from: Address(base: Self.ctx, displacement: offset + 8))
    asm.load(
      .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
    asm.call(.rax)
    restoreContext()
  }

  mutating func callIndirect(_ op: Operator) {
    let target = environment.signatures.signatures[Int(op.a)]
    noteIndirectCall(op.a)
    beginOutgoing(target.outgoingBytes)
    // The element, into rax, while all else is where it was.
    let index = pop()
    prepareCall(arguments: Int(target.parameterCount))
    claim(Register.rax)
    move(index, to: Register.rax)
    if !isRegister(index, .rax) { release(index) }
    free &= ~1
    let scratch = allocate(excluding: 1)
    let table = tableAddress(op.b, scratch: scratch)
    asm.alu(.cmp, .b32, dst: .rax, from: table.length)
    asm.jcc(.aboveOrEqual, trapLabel(.undefinedElement))
    // The index survives in the scratch register for the slow path.
    let resume = asm.makeLabel()
    let slow = asm.makeLabel()
    let elements = allocate(excluding: 1)
    asm.load(.b64, dst: elements, from: table.elements)
    asm.mov(.b32, dst: scratch, src: .rax)
    asm.load(.b64, dst: .rax, from: Address(base: elements, index: .rax, scale: 8))
    asm.test(.b64, .rax, .rax)
    asm.jcc(.equal, slow)
    asm.bind(resume)
    outOfLine.append(
      OutOfLine(
        kind: .resolveElement, trap: .hostError, register: scratch.rawValue, label: slow, resume: resume,
        wasmOffset: wasmOffset, first: op.b, count: 0))
    // Signature.
    asm.load(
      .b64, dst: elements, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.signatureIDs)))
    asm.load(.b32, dst: elements, from: Address(base: elements, displacement: Int32(op.a) * 4))
    trapSite(.uninitializedElement)
    asm.alu(
      .cmp, .b32, dst: elements,
      from: Address(base: .rax, displacement: Int32(FunctionReferenceLayout.signatureID) - 1))
    asm.jcc(.notEqual, trapLabel(.indirectCallTypeMismatch))
    release(scratch)
    release(elements)

    placeArguments(target, pinned: 1)
    asm.mov(.b64, dst: Self.callerCtx, src: Self.ctx)
    asm.load(.b64, dst: Self.ctx, from: Address(base: .rax, displacement: Int32(FunctionReferenceLayout.context) - 1))
    asm.load(
      .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
    asm.call(Address(base: .rax, displacement: Int32(FunctionReferenceLayout.code) - 1))
    restoreContext()
    pushResults(target)
  }

  // MARK: Built-ins

  mutating func callBuiltin(_ builtin: Builtin, constants: (UInt32?, UInt32?)) {
    asm.mov(.b64, dst: .rdi, src: Self.ctx)
    if let constant = constants.0 { asm.mov(.b32, dst: .rsi, immediate: UInt64(constant)) }
    if let constant = constants.1 { asm.mov(.b32, dst: .rdx, immediate: UInt64(constant)) }
    asm.load(.b64, dst: .rax, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.builtinTable)))
    asm.call(Address(base: .rax, displacement: Int32(builtin.rawValue) * 8))
  }

  /// Traps if the built-in reported failure.
  mutating func checkStatus(_ code: TrapCode) {
    asm.test(.b32, .rax, .rax)
    asm.jcc(.notEqual, trapLabel(code))
    release(Register.rax)
  }

  // MARK: Tables

  mutating func tableGet(_ op: Operator) {
    let index = pop()
    claim(Register.rax)
    move(index, to: Register.rax)
    if !isRegister(index, .rax) { release(index) }
    free &= ~1
    let scratch = allocate(excluding: 1)
    let elements = allocate(excluding: 1)
    let table = tableAddress(op.a, scratch: scratch)
    asm.alu(.cmp, .b32, dst: .rax, from: table.length)
    asm.jcc(.aboveOrEqual, trapLabel(.tableOutOfBounds))
    asm.load(.b64, dst: elements, from: table.elements)
    if op.type == .funcref {
      asm.mov(.b32, dst: scratch, src: .rax)
      asm.load(.b64, dst: .rax, from: Address(base: elements, index: .rax, scale: 8))
      let resume = asm.makeLabel()
      let slow = asm.makeLabel()
      asm.test(.b64, .rax, .rax)
      asm.jcc(.equal, slow)
      asm.bind(resume)
      outOfLine.append(
        OutOfLine(
          kind: .resolveElement, trap: .hostError, register: scratch.rawValue, label: slow, resume: resume,
          wasmOffset: wasmOffset, first: op.a, count: 0))
      asm.alu(.and, .b64, dst: .rax, immediate: -2)
    } else {
      asm.load(.b64, dst: .rax, from: Address(base: elements, index: .rax, scale: 8))
    }
    release(scratch)
    release(elements)
    push(Register.rax, op.type)
  }

  mutating func tableSet(_ op: Operator) {
    let value = write(pop())
    let indexValue = pop()
    let index = read(indexValue)
    let scratch = allocate()
    let table = tableAddress(op.a, scratch: scratch)
    asm.alu(.cmp, .b32, dst: index, from: table.length)
    asm.jcc(.aboveOrEqual, trapLabel(.tableOutOfBounds))
    asm.load(.b64, dst: scratch, from: table.elements)
    if op.type == .funcref { asm.alu(.or, .b64, dst: value, immediate: 1) }
    asm.store(.b64, to: Address(base: scratch, index: index, scale: 8), src: value)
    release(scratch)
    release(index)
    release(value)
  }
}
