// Calls on AArch64.
//
// Within one operator x16, x17 and x30 are free: a table element is in x30 until it is called, and the arguments may be placed
// meanwhile. Code to be called is in x17, because a context may be so large that loads from it need x16 for the address.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == AArch64Assembler {
  static var ctx: Register { .x28 }
  static var memoryBase: Register { .x26 }
  static var callerCtx: Register { .x27 }
  /// Where a table element is: a reference with bit 0 set, or 0 while it has not been resolved.
  static var element: Register { .x30 }

  /// The outgoing area is part of the frame.
  mutating func beginOutgoing(_ bytes: UInt32) { outgoing = max(outgoing, bytes) }

  /// Restores the registers that a call out of the instance has changed.
  private mutating func restoreContext() {
    asm.load(.b64, dst: Self.ctx, from: Address(base: .x29, displacement: -8))
    if environment.hasMemory {
      asm.load(
        .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
    }
  }

  mutating func callImport(offset: Int32) {
    asm.mov(.b64, dst: Self.callerCtx, src: Self.ctx)
    if offset <= 504 {
      asm.loadPair(.b64, .x17, Self.ctx, from: Address(base: Self.ctx, displacement: offset))
    } else {
      asm.load(.b64, dst: .x17, from: Address(base: Self.ctx, displacement: offset))
      asm.load(.b64, dst: Self.ctx, from: Address(base: Self.ctx, displacement: offset + 8))
    }
    asm.load(
      .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
    asm.blr(.x17)
    restoreContext()
  }

  mutating func callIndirect(_ op: Operator) {
    let target = environment.signatures.signatures[Int(op.a)]
    noteIndirectCall(op.a)
    beginOutgoing(target.outgoingBytes)
    let indexValue = pop()
    let index = read(indexValue)
    prepareCall(arguments: Int(target.parameterCount))
    loadElement(op.b, index, .undefinedElement, isLazy: true)
    release(index)
    // Signature.
    asm.load(.b64, dst: .x17, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.signatureIDs)))
    asm.load(.b32, dst: .x17, from: Address(base: .x17, displacement: Int32(op.a) * 4))
    trapSite(.uninitializedElement)
    asm.load(
      .b32, dst: .x16,
      from: Address(base: Self.element, displacement: Int32(FunctionReferenceLayout.signatureID) - 1))
    asm.cmp(.b32, .x16, .x17)
    asm.b(.ne, trapLabel(.indirectCallTypeMismatch))

    placeArguments(target, pinned: 0)
    asm.mov(.b64, dst: Self.callerCtx, src: Self.ctx)
    asm.load(
      .b64, dst: Self.ctx, from: Address(base: Self.element, displacement: Int32(FunctionReferenceLayout.context) - 1))
    asm.load(
      .b64, dst: .x17, from: Address(base: Self.element, displacement: Int32(FunctionReferenceLayout.code) - 1))
    asm.load(
      .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
    asm.blr(.x17)
    restoreContext()
    pushResults(target)
  }

  /// Loads the element of a table at the index in a register, which stays, into `element`; x16 and x17 are changed. Where
  /// elements are filled lazily, one that is not filled yet is resolved out of line.
  private mutating func loadElement(_ table: UInt32, _ index: Register, _ outOfBounds: TrapCode, isLazy: Bool) {
    let place = tableAddress(table, scratch: .x17)
    asm.load(.b32, dst: .x16, from: place.length)
    asm.cmp(.b32, index, .x16)
    asm.b(.hs, trapLabel(outOfBounds))
    asm.load(.b64, dst: .x17, from: place.elements)
    asm.load(.b64, dst: Self.element, from: Address(base: .x17, index: index, .uxtw, isScaled: true))
    guard isLazy else { return }
    let resume = asm.makeLabel()
    let slow = asm.makeLabel()
    asm.cbz(.b64, Self.element, slow)
    asm.bind(resume)
    outOfLine.append(
      OutOfLine(
        kind: .resolveElement, trap: .hostError, register: index.rawValue, label: slow, resume: resume,
        wasmOffset: wasmOffset, first: table, count: 0))
  }

  // MARK: Built-ins

  mutating func callBuiltin(_ builtin: Builtin, constants: (UInt32?, UInt32?)) {
    asm.mov(.b64, dst: .x0, src: Self.ctx)
    if let constant = constants.0 { asm.mov(.b32, dst: .x1, immediate: UInt64(constant)) }
    if let constant = constants.1 { asm.mov(.b32, dst: .x2, immediate: UInt64(constant)) }
    asm.load(.b64, dst: .x16, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.builtinTable)))
    asm.load(.b64, dst: .x16, from: Address(base: .x16, displacement: Int32(builtin.rawValue) * 8))
    asm.blr(.x16)
  }

  /// Traps if the built-in reported failure.
  mutating func checkStatus(_ code: TrapCode) {
    asm.cbnz(.b32, .x0, trapLabel(code))
    release(Register.x0)
  }

  // MARK: Tables

  mutating func tableGet(_ op: Operator) {
    let index = read(pop())
    loadElement(op.a, index, .tableOutOfBounds, isLazy: op.type == .funcref)
    release(index)
    let register = destination ?? allocate()
    if op.type == .funcref {
      // Without bit 0: all ones but the lowest, 64 bits of it.
      asm.logical(.and, .b64, register, Self.element, encoded: 0x1FFE)
    } else {
      asm.mov(.b64, dst: register, src: Self.element)
    }
    push(register, op.type)
  }

  mutating func tableSet(_ op: Operator) {
    let value = read(pop())
    let index = read(pop())
    let place = tableAddress(op.a, scratch: .x17)
    asm.load(.b32, dst: .x16, from: place.length)
    asm.cmp(.b32, index, .x16)
    asm.b(.hs, trapLabel(.tableOutOfBounds))
    asm.load(.b64, dst: .x17, from: place.elements)
    var source = value
    if op.type == .funcref {
      asm.logical(.orr, .b64, .x16, value, encoded: 0x1000)
      source = .x16
    }
    asm.store(.b64, to: Address(base: .x17, index: index, .uxtw, isScaled: true), src: source)
    release(index)
    release(value)
  }
}
