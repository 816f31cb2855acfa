// Calls: within the instance, out of it, and to built-ins.
//
// Why calls out of the instance are safe at this length. A function reference and an import are pairs of
// code and context made by the runtime, and the code of a pair expects that context, so loading both
// from one place keeps them together. The caller's own context is in its frame, and memory 0 of an
// instance keeps its base for life, so both registers are restored by two loads. For a table, the index
// is compared with the length, and the element's signature number with the one of the type; a null
// element is the address 1, so reading its signature number faults at a recorded trap site in the page
// that no process maps.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// A move between registers that happens with others, as if all at once.
struct RegisterMove: BitwiseCopyable {
  var destination: UInt8
  var source: UInt8
}

extension FunctionCompiler {
  /// Saves what must outlive a call: the `arguments` entries on top are about to be consumed.
  mutating func prepareCall(arguments: Int) {
    spillRegisters(below: stack.count - arguments)
    // Locals that only the arguments refer to need no saving.
    for i in stack.count - arguments..<stack.count where stack[i].kind == .local { dereference(stack[i].index) }
    save(analysis.info[position] | referenced)
    for i in stack.count - arguments..<stack.count where stack[i].kind == .local { reference(stack[i].index) }
  }

  /// Performs those of `moves` whose destination no other needs, in turn; whether there were any.
  private mutating func performUnblockedMoves(_ emit: (inout X86_64Assembler, RegisterMove) -> Void) -> Bool {
    var progressed = false
    var i = 0
    while i < moves.count {
      let move = moves[i]
      var isBlocked = false
      for j in 0..<moves.count where j != i && moves[j].source == move.destination {
        isBlocked = true
        break
      }
      if isBlocked {
        i += 1
        continue
      }
      emit(&asm, move)
      moves[i] = moves[moves.count - 1]
      moves.removeLast()
      progressed = true
    }
    return progressed
  }

  /// Performs `moves` at once among general registers.
  private mutating func performMoves() {
    while !moves.isEmpty {
      let progressed = performUnblockedMoves { asm, move in
        asm.mov(.b64, dst: Register(number: move.destination), src: Register(number: move.source))
      }
      if progressed || moves.isEmpty { continue }
      // Only cycles are left.
      let move = moves[moves.count - 1]
      moves.removeLast()
      asm.xchg(.b64, Register(number: move.destination), Register(number: move.source))
      for j in 0..<moves.count where moves[j].source == move.destination { moves[j].source = move.source }
      var j = 0
      while j < moves.count {
        if moves[j].source == moves[j].destination {
          moves[j] = moves[moves.count - 1]
          moves.removeLast()
        } else {
          j += 1
        }
      }
    }
  }

  /// The same among vector registers; xmm0 is never an argument, and is free to break cycles once no source is in it.
  private mutating func performVectorMoves() {
    while !moves.isEmpty {
      let progressed = performUnblockedMoves { asm, move in
        asm.movaps(XMMRegister(number: move.destination), XMMRegister(number: move.source))
      }
      if progressed || moves.isEmpty { continue }
      let scratch = moves[moves.count - 1].destination
      asm.movaps(.xmm0, XMMRegister(number: scratch))
      for j in 0..<moves.count where moves[j].source == scratch { moves[j].source = 0 }
    }
  }

  /// The register of a value, when it is in one now.
  private func generalSource(_ value: StackValue) -> UInt8? {
    switch value.kind {
    case .register: return value.number
    case .local:
      let home = locals[Int(value.index)]
      guard home.bit < 16, inRegisters & (1 << UInt32(home.bit)) != 0 else { return nil }
      return home.bit
    default: return nil
    }
  }

  private func vectorSource(_ value: StackValue) -> UInt8? {
    switch value.kind {
    case .vector: return value.number
    case .local:
      let home = locals[Int(value.index)]
      guard home.bit != noBit, home.bit >= 16, inRegisters & (1 << UInt32(home.bit)) != 0 else { return nil }
      return home.bit - 16
    default: return nil
    }
  }

  /// Moves the arguments on top of the stack to where `target` wants them, and pops them. General registers in
  /// `pinned` are not touched.
  private mutating func placeArguments(_ target: Signature, pinned: UInt32) {
    let count = Int(target.parameterCount)
    let first = stack.count - count
    if target.argumentBytes > 0 {
      for i in 0..<count {
        let place = environment.signatures.parameter(target, i)
        guard place.kind == .stack else { continue }
        copy(stack[first + i], to: Address(base: .rsp, displacement: Int32(place.offset)))
      }
    }
    moves.removeAll()
    for i in 0..<count {
      let place = environment.signatures.parameter(target, i)
      guard place.kind == .vector, let source = vectorSource(stack[first + i]), source != place.register else {
        continue
      }
      moves.append(RegisterMove(destination: place.register, source: source))
    }
    performVectorMoves()
    for i in 0..<count {
      let place = environment.signatures.parameter(target, i)
      guard place.kind == .general, let source = generalSource(stack[first + i]), source != place.register else {
        continue
      }
      moves.append(RegisterMove(destination: place.register, source: source))
    }
    performMoves()
    // What is in memory or constant, last: by now every register that is no argument may be overwritten, and
    // `move` must not find any that it believes free. rax is, or is pinned.
    free = 0
    var constantScratch = false
    for i in 0..<count {
      let place = environment.signatures.parameter(target, i)
      let value = stack[first + i]
      switch place.kind {
      case .general where generalSource(value) == nil: move(value, to: Register(number: place.register))
      case .vector where vectorSource(value) == nil:
        if value.kind == .constant, value.bits != 0 {
          constantScratch = true
        } else {
          move(value, to: XMMRegister(number: place.register))
        }
      default: break
      }
    }
    if constantScratch {
      // r15 is no argument, and pinned registers are rax to rdx.
      free = 1 << 15
      for i in 0..<count {
        let place = environment.signatures.parameter(target, i)
        let value = stack[first + i]
        if place.kind == .vector, value.kind == .constant, value.bits != 0 {
          move(value, to: XMMRegister(number: place.register))
        }
      }
    }
    for _ in 0..<count { _ = pop() }
    free = temporaries & ~pinned
    freeVectors = vectorTemporaries
  }

  /// Pushes the results of a call.
  private mutating func pushResults(_ target: Signature) {
    inRegisters = 0
    free = temporaries
    freeVectors = vectorTemporaries
    for i in 0..<Int(target.resultCount) {
      let place = environment.signatures.result(target, i)
      if i == 0 {
        if place.kind == .vector {
          freeVectors &= ~1
          push(XMMRegister.xmm0, place.type)
        } else {
          free &= ~1
          push(Register.rax, place.type)
        }
      } else {
        let position = stack.count
        copyMemory(from: Address(base: .rsp, displacement: Int32(place.offset)), to: slot(position), place.type)
        stack.append(StackValue(.slot, place.type, index: UInt32(position)))
      }
    }
  }

  /// Restores the registers that a call out of the instance has changed.
  private mutating func restoreContext() {
    asm.load(.b64, dst: Self.ctx, from: Address(base: .rbp, displacement: -8))
    if environment.hasMemory {
      asm.load(
        .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
    }
  }

  mutating func call(_ op: Operator) {
    let target = environment.signatures.signatures[Int(op.b)]
    outgoing = max(outgoing, target.outgoingBytes)
    prepareCall(arguments: Int(target.parameterCount))
    placeArguments(target, pinned: 0)
    if op.a < environment.module.importedFunctionCount, !environment.boundImports.isBound(op.a) {
      let offset = Int32(environment.layout.importedFunction(Int(op.a)))
      asm.mov(.b64, dst: Self.callerCtx, src: Self.ctx)
      asm.load(.b64, dst: .rax, from: Address(base: Self.ctx, displacement: offset))
      asm.load(.b64, dst: Self.ctx, from: Address(base: Self.ctx, displacement: offset + 8))
      asm.load(
        .b64, dst: Self.memoryBase, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.memory0Base)))
      asm.call(.rax)
      restoreContext()
    } else {
      asm.callRelocated(op.a)
    }
    pushResults(target)
  }

  mutating func callIndirect(_ op: Operator) {
    let target = environment.signatures.signatures[Int(op.a)]
    noteIndirectCall(op.a)
    outgoing = max(outgoing, target.outgoingBytes)
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

  // rdi, rsi, rdx, rcx, r8, r9: the integer arguments of the System V psABI (3.2.3).
  private static let platformArguments: [UInt8] = [7, 6, 2, 1, 8, 9]

  /// Calls a built-in with the context, `constants`, and the `count` values on top of the stack, which are popped.
  /// The result is in rax, which is not free afterwards.
  mutating func callBuiltin(_ builtin: Builtin, constants: (UInt32?, UInt32?), arguments count: Int) {
    prepareCall(arguments: count)
    let first = stack.count - count
    var next = 1
    if constants.0 != nil { next += 1 }
    if constants.1 != nil { next += 1 }
    moves.removeAll()
    for i in 0..<count {
      let register = Self.platformArguments[next + i]
      if let source = generalSource(stack[first + i]), source != register {
        moves.append(RegisterMove(destination: register, source: source))
      }
    }
    performMoves()
    for i in 0..<count where generalSource(stack[first + i]) == nil {
      move(stack[first + i], to: Register(number: Self.platformArguments[next + i]))
    }
    asm.mov(.b64, dst: .rdi, src: Self.ctx)
    if let constant = constants.0 { asm.mov(.b32, dst: .rsi, immediate: UInt64(constant)) }
    if let constant = constants.1 { asm.mov(.b32, dst: .rdx, immediate: UInt64(constant)) }
    asm.load(.b64, dst: .rax, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.builtinTable)))
    asm.call(Address(base: .rax, displacement: Int32(builtin.rawValue) * 8))
    for _ in 0..<count { _ = pop() }
    inRegisters = 0
    free = temporaries & ~1
    freeVectors = vectorTemporaries
  }

  /// Traps if the built-in reported failure.
  mutating func checkStatus(_ code: TrapCode) {
    asm.test(.b32, .rax, .rax)
    asm.jcc(.notEqual, trapLabel(code))
    release(Register.rax)
  }

  // MARK: Tables

  /// Where the length and the pointer to the elements of a table are; `scratch` may be used for it.
  mutating func tableAddress(_ index: UInt32, scratch: Register) -> (length: Address, elements: Address) {
    let place = environment.tables[Int(index)]
    if place.isIndirect {
      asm.load(.b64, dst: scratch, from: Address(base: Self.ctx, displacement: place.offset))
      return (Address(base: scratch, displacement: 8), Address(base: scratch, displacement: 0))
    }
    return (
      Address(base: Self.ctx, displacement: place.offset + 8), Address(base: Self.ctx, displacement: place.offset)
    )
  }

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

  mutating func tableSize(_ op: Operator) {
    let register = allocate()
    let table = tableAddress(op.a, scratch: register)
    asm.load(.b32, dst: register, from: table.length)
    push(register, .i32)
  }
}
