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

extension FunctionCompiler where Machine: ~Copyable {
  /// Saves what must outlive a call: the `arguments` entries on top are about to be consumed.
  mutating func prepareCall(arguments: Int) {
    spillRegisters(below: stack.count - arguments)
    // Locals that only the arguments refer to need no saving.
    for i in stack.count - arguments..<stack.count where stack[i].kind == .local { dereference(stack[i].index) }
    save(analysis.info[position] | referenced)
    for i in stack.count - arguments..<stack.count where stack[i].kind == .local { reference(stack[i].index) }
  }

  /// Performs those of `moves` whose destination no other needs, in turn; whether there were any.
  private mutating func performUnblockedMoves(_ emit: (inout Machine, RegisterMove) -> Void) -> Bool {
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
      asm.exchange(Register(number: move.destination), Register(number: move.source))
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

  /// The same among vector registers; one that is never an argument breaks cycles, once no source is in it.
  private mutating func performVectorMoves() {
    while !moves.isEmpty {
      let progressed = performUnblockedMoves { asm, move in
        asm.moveVector(VectorRegister(number: move.destination), VectorRegister(number: move.source))
      }
      if progressed || moves.isEmpty { continue }
      let scratch = moves[moves.count - 1].destination
      asm.moveVector(VectorRegister(number: Machine.vectorScratch), VectorRegister(number: scratch))
      for j in 0..<moves.count where moves[j].source == scratch { moves[j].source = Machine.vectorScratch }
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
  mutating func placeArguments(_ target: Signature, pinned: UInt32) {
    let count = Int(target.parameterCount)
    let first = stack.count - count
    if target.argumentBytes > 0 {
      for i in 0..<count {
        let place = environment.signatures.parameter(target, i)
        guard place.kind == .stack else { continue }
        copy(stack[first + i], to: Machine.outgoing(place.offset))
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
    // `move` must not find any that it believes free.
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
          move(value, to: VectorRegister(number: place.register))
        }
      default: break
      }
    }
    if constantScratch {
      free = Machine.constantScratch
      for i in 0..<count {
        let place = environment.signatures.parameter(target, i)
        let value = stack[first + i]
        if place.kind == .vector, value.kind == .constant, value.bits != 0 {
          move(value, to: VectorRegister(number: place.register))
        }
      }
    }
    for _ in 0..<count { _ = pop() }
    free = temporaries & ~pinned
    freeVectors = vectorTemporaries
  }

  /// Pushes the results of a call.
  mutating func pushResults(_ target: Signature) {
    inRegisters = 0
    free = temporaries
    freeVectors = vectorTemporaries
    for i in 0..<Int(target.resultCount) {
      let place = environment.signatures.result(target, i)
      if i == 0 {
        if place.kind == .vector {
          freeVectors &= ~1
          push(VectorRegister(number: 0), place.type)
        } else {
          free &= ~1
          push(Register(number: 0), place.type)
        }
      } else {
        let position = stack.count
        Machine.copyMemory(&self, from: Machine.outgoing(place.offset), to: slot(position), place.type)
        stack.append(StackValue(.slot, place.type, index: UInt32(position)))
      }
    }
  }

  mutating func call(_ op: Operator) {
    let target = environment.signatures.signatures[Int(op.b)]
    prepareCall(arguments: Int(target.parameterCount))
    Machine.beginOutgoing(&self, target.outgoingBytes)
    placeArguments(target, pinned: 0)
    if op.a < environment.module.importedFunctionCount, !environment.boundImports.isBound(op.a) {
      Machine.callImport(&self, offset: Int32(environment.layout.importedFunction(Int(op.a))))
    } else {
      asm.callRelocated(op.a)
    }
    pushResults(target)
    Machine.endOutgoing(&self, target.outgoingBytes)
  }

  // MARK: Built-ins

  /// Calls a built-in with the context, `constants`, and the `count` values on top of the stack, which are popped.
  /// The result is in register 0, which is not free afterwards.
  mutating func callBuiltin(_ builtin: Builtin, constants: (UInt32?, UInt32?), arguments count: Int) {
    prepareCall(arguments: count)
    let first = stack.count - count
    var next = 1
    if constants.0 != nil { next += 1 }
    if constants.1 != nil { next += 1 }
    moves.removeAll()
    for i in 0..<count {
      let register = Machine.platformArguments[next + i]
      if let source = generalSource(stack[first + i]), source != register {
        moves.append(RegisterMove(destination: register, source: source))
      }
    }
    performMoves()
    for i in 0..<count where generalSource(stack[first + i]) == nil {
      move(stack[first + i], to: Register(number: Machine.platformArguments[next + i]))
    }
    Machine.callBuiltin(&self, builtin, constants: constants)
    for _ in 0..<count { _ = pop() }
    inRegisters = 0
    free = temporaries & ~1
    freeVectors = vectorTemporaries
  }

  // MARK: Tables

  /// Where the length and the pointer to the elements of a table are; `scratch` may be used for it.
  mutating func tableAddress(_ index: UInt32, scratch: Register) -> (length: Address, elements: Address) {
    let place = environment.tables[Int(index)]
    if place.isIndirect {
      asm.load(.b64, dst: scratch, from: Machine.context(place.offset))
      return (Machine.field(scratch, 8), Machine.field(scratch, 0))
    }
    return (Machine.context(place.offset + 8), Machine.context(place.offset))
  }

  mutating func tableSize(_ op: Operator) {
    let register = allocate()
    let table = tableAddress(op.a, scratch: register)
    asm.load(.b32, dst: register, from: table.length)
    push(register, .i32)
  }
}
