// Blocks, branches, and what every path to a label must agree on.
//
// Two things are agreed on at a label. The values that a branch carries: one is in register 0 of its class, several
// are in the slots of their positions. And for each local with a register, where its value is: what the
// first branch finds becomes the label's state, and every later one narrows it to what both have; only
// where nothing would be left of a live local, code is emitted, a load or a store. Such code only adds
// places that hold a value, so it may stand before a conditional branch, whose other path it does not
// disturb; and it leaves the flags alone. The label of a loop is met before its branches are, so its
// state is chosen at the header, by what the loop does (`LoopSummary`), and branches must provide it.

import PrecastMachineCode
import PrecastWasm

/// A condition of the processor, by a number whose lowest bit inverts it.
enum BranchCondition {
  static func inverted(_ condition: UInt8) -> UInt8 { condition ^ 1 }
}

extension FunctionCompiler where Machine: ~Copyable {
  // MARK: State at labels

  /// Makes the present state fit the label, and the label's state fit the present one.
  mutating func merge(into index: Int) {
    var frame = control[index]
    frame.isTarget = true
    if !frame.hasState {
      frame.hasState = true
      frame.inRegisters = inRegisters
      frame.inSlots = inSlots
    } else if frame.kind == .loop {
      // Fixed at the header.
      load(frame.inRegisters & frame.live)
      save(frame.inSlots & frame.live)
    } else {
      let common = (frame.inRegisters & inRegisters) | (frame.inSlots & inSlots)
      let lost = frame.live & ~common
      if lost != 0 {
        load(lost & frame.inRegisters)
        save(lost & frame.inSlots)
      }
      frame.inRegisters &= inRegisters
      frame.inSlots &= inSlots
    }
    control[index] = frame
  }

  private mutating func adoptState(of frame: ControlFrame) {
    inRegisters = frame.inRegisters
    inSlots = frame.inSlots
  }

  // MARK: Values at labels

  /// Number and types of the values that a branch to the frame carries.
  @inline(__always) func arity(_ frame: ControlFrame) -> (count: Int, first: UInt32) {
    frame.kind == .loop
      ? (Int(frame.signature.parameterCount), frame.signature.parameterStart)
      : (Int(frame.signature.resultCount), frame.signature.resultStart)
  }

  /// Puts the value on top where a label with one value wants it, flags unchanged; it stays on the stack.
  mutating func placeSingle() {
    let top = stack[stack.count - 1]
    if top.type.isFloatOrVector {
      if top.kind == .vector, top.number == 0 { return }
      let value = pop()
      claim(VectorRegister(number: 0))
      move(value, to: VectorRegister(number: 0))
      release(value)
      freeVectors &= ~1
      push(VectorRegister(number: 0), value.type)
    } else {
      if top.kind == .register, top.number == 0 { return }
      let value = pop()
      claim(Register(number: 0))
      move(value, to: Register(number: 0))
      release(value)
      free &= ~1
      push(Register(number: 0), value.type)
    }
  }

  /// Copies the `count` values on top to the slots from position `height` on; the stack stays as it is.
  mutating func copySeveral(_ count: Int, to height: Int) {
    let first = stack.count - count
    // Ascending, so a slot is read before the value of a later position is written to it.
    for i in 0..<count where !(stack[first + i].kind == .slot && first == height) {
      copy(stack[first + i], to: slot(height + i))
    }
  }

  /// Pushes the values of a label, as they stand after any branch to it.
  mutating func pushLabelValues(_ count: Int, _ first: UInt32) {
    if count == 1 {
      let type = environment.module.types.pool[Int(first)]
      if type.isFloatOrVector {
        freeVectors &= ~1
        push(VectorRegister(number: 0), type)
      } else {
        free &= ~1
        push(Register(number: 0), type)
      }
      return
    }
    for i in 0..<count {
      let position = stack.count
      _ = slot(position)
      stack.append(
        StackValue(.slot, environment.module.types.pool[Int(first) + i], index: UInt32(position)))
    }
  }

  /// Puts the values on top where the frame's label wants them, for a path that ends here.
  mutating func placeValues(_ frame: ControlFrame, _ count: Int) {
    if count == 1 {
      placeSingle()
    } else if count > 1 {
      copySeveral(count, to: Int(frame.height))
    }
  }

  // MARK: Blocks

  mutating func block(_ op: Operator) {
    let signature = op.blockSignature
    let parameters = Int(signature.parameterCount)
    let height = stack.count - parameters
    let isTarget = op.flags.contains(.branchedTo)
    if isTarget { flush(below: height) }
    control.append(frame(.block, op, signature, height))
  }

  private mutating func frame(
    _ kind: ControlFrame.Kind, _ op: Operator, _ signature: BlockSignature, _ height: Int
  ) -> ControlFrame {
    ControlFrame(
      kind: kind, isTarget: false, hasState: false,
      label: asm.makeLabel(), elseLabel: asm.makeLabel(), height: UInt32(height), signature: signature,
      live: analysis.info[position], inRegisters: 0, inSlots: 0, elseInRegisters: 0, elseInSlots: 0)
  }

  mutating func loop(_ op: Operator) {
    let signature = op.blockSignature
    let parameters = Int(signature.parameterCount)
    let height = stack.count - parameters
    let summary = analysis.loops[loopNumber]
    loopNumber += 1
    guard op.flags.contains(.branchedTo) else {
      control.append(frame(.block, op, signature, height))
      // Nothing branches to it, so it is a block whose label is at its start.
      control[control.count - 1].kind = .loop
      return
    }
    // Parameters where branches put them, the rest out of the way.
    if parameters == 1 {
      placeSingle()
    } else if parameters > 1 {
      for i in height..<stack.count { materializeConstantToSlot(i) }
    }
    flush(below: height)
    var new = frame(.loop, op, signature, height)
    let live = new.live
    if summary.hasDirectCall {
      // Registers do not survive an iteration. What the loop does not assign is saved once, here.
      save(live)
      new.inSlots = inSlots & live
      new.inRegisters = inRegisters & ~new.inSlots & live
    } else {
      // What the loop uses is loaded once, here; a slot stays valid if the loop does not assign the local.
      load(summary.used & live)
      if summary.hasCall { save(live & ~summary.assigned) }
      let used = summary.used & inRegisters
      new.inRegisters = (used | (inRegisters & ~inSlots) | (summary.hasCall ? 0 : inRegisters)) & live
      new.inSlots = inSlots & ~(summary.assigned & new.inRegisters) & live
    }
    new.hasState = true
    control.append(new)
    adoptState(of: new)
    asm.bind(new.label)
  }

  /// Stores an entry, constants included, to its slot.
  private mutating func materializeConstantToSlot(_ i: Int) {
    let value = stack[i]
    if value.kind == .constant {
      copy(value, to: slot(i))
      stack[i] = StackValue(.slot, value.type, index: UInt32(i))
    } else {
      materializeToSlot(i)
    }
  }

  mutating func `if`(_ op: Operator) {
    let condition = Machine.popCondition(&self)
    let signature = op.blockSignature
    let parameters = Int(signature.parameterCount)
    let height = stack.count - parameters
    if parameters == 1 {
      placeSingle()
    } else if parameters > 1 {
      for i in height..<stack.count { materializeConstantToSlot(i) }
    }
    flush(below: height)
    control.append(frame(.if, op, signature, height))
    let index = control.count - 1
    if op.flags.contains(.hasElse) {
      control[index].elseInRegisters = inRegisters
      control[index].elseInSlots = inSlots
      Machine.branch(&self, BranchCondition.inverted(condition), control[index].elseLabel)
    } else {
      merge(into: index)
      Machine.branch(&self, BranchCondition.inverted(condition), control[index].label)
    }
  }

  mutating func `else`(_ op: Operator) {
    let index = control.count - 1
    if isReachable {
      let frame = control[index]
      placeValues(frame, Int(frame.signature.resultCount))
      merge(into: index)
      asm.jump(control[index].label)
    }
    let frame = control[index]
    truncateStack(to: Int(frame.height))
    control[index].kind = .else
    asm.bind(frame.elseLabel)
    inRegisters = frame.elseInRegisters
    inSlots = frame.elseInSlots
    pushLabelValues(Int(frame.signature.parameterCount), frame.signature.parameterStart)
    isReachable = true
  }

  mutating func end(_ op: Operator) {
    let index = control.count - 1
    let frame = control[index]
    if frame.kind == .function {
      endFunction(frame)
      return
    }
    let results = Int(frame.signature.resultCount)
    if frame.kind == .loop || !frame.isTarget {
      // Only falling out of it leads here.
      control.removeLast()
      if isReachable { return }
      // Nothing does. Validation takes what follows for live, and so does the buffer: it is compiled, with
      // values that do not matter, and a state that asks nothing of any label.
      truncateStack(to: Int(frame.height))
      for i in 0..<results { pushConstant(0, environment.module.types.pool[Int(frame.signature.resultStart) + i]) }
      inRegisters = .max
      inSlots = .max
      isReachable = true
      return
    }
    if isReachable {
      placeValues(frame, results)
      merge(into: index)
    }
    truncateStack(to: Int(frame.height))
    asm.bind(frame.label)
    adoptState(of: control[index])
    control.removeLast()
    pushLabelValues(results, frame.signature.resultStart)
    isReachable = true
  }

  private mutating func endFunction(_ frame: ControlFrame) {
    let count = Int(signature.resultCount)
    if isReachable {
      if control[control.count - 1].isTarget {
        if count == 1 { placeSingle() }
        if count > 1 { emitReturnValues() }
      } else {
        emitReturnValues()
      }
    }
    let isTarget = control[control.count - 1].isTarget
    if isTarget { asm.bind(frame.label) }
    if isReachable || isTarget { Machine.epilogue(&self) }
    control.removeLast()
  }

  // MARK: Branches

  mutating func br(_ depth: UInt32) {
    let index = control.count - 1 - Int(depth)
    let frame = control[index]
    if frame.kind == .function {
      emitReturn()
      return
    }
    placeValues(frame, arity(frame).count)
    merge(into: index)
    asm.jump(frame.label)
    isReachable = false
  }

  mutating func brIf(_ op: Operator) {
    let condition = Machine.popCondition(&self)
    let index = control.count - 1 - Int(op.a)
    let frame = control[index]
    let count = arity(frame).count
    if count <= 1 {
      if count == 1 { placeSingle() }
      merge(into: index)
      Machine.branch(&self, condition, frame.label)
      return
    }
    // Several values: moved on the path that branches only.
    if frame.kind != .function { merge(into: index) }
    let skip = asm.makeLabel()
    Machine.branch(&self, BranchCondition.inverted(condition), skip)
    emitEdge(index)
    asm.bind(skip)
  }

  /// The end of a path that carries several values to a label; the state of the pass stays.
  private mutating func emitEdge(_ index: Int) {
    let frame = control[index]
    if frame.kind == .function {
      emitReturnCopies()
      Machine.epilogue(&self)
    } else {
      copySeveral(arity(frame).count, to: Int(frame.height))
      asm.jump(frame.label)
    }
  }

  mutating func brTable(_ op: Operator) {
    let value = pop()
    var index = write(value)
    let last = ops.branchTarget(op.a + op.b - 1)
    let count = arity(control[control.count - 1 - Int(last)]).count
    if count == 1, !stack[stack.count - 1].type.isFloatOrVector, index.rawValue == 0 {
      let other = allocate(excluding: 1)
      asm.mov(.b32, dst: other, src: index)
      release(Register(number: 0))
      index = other
    }
    if count == 1 { placeSingle() }
    // Branches with several values go through a piece of code each, of one for each different target.
    let firstLabel = tableLabels.count
    if count <= 1 {
      for k in 0..<op.b {
        let target = control.count - 1 - Int(ops.branchTarget(op.a + k))
        merge(into: target)
        tableLabels.append(control[target].label)
      }
    } else {
      edges.fill(with: BranchEdge(table: 0, label: control[0].label), to: control.count)
      edgeTargets.removeAll()
      tableNumber &+= 1
      for k in 0..<op.b {
        let depth = ops.branchTarget(op.a + k)
        let target = control.count - 1 - Int(depth)
        if edges[target].table != tableNumber {
          if control[target].kind != .function { merge(into: target) }
          edges[target] = BranchEdge(table: tableNumber, label: asm.makeLabel())
          edgeTargets.append(UInt32(target))
        }
        tableLabels.append(edges[target].label)
      }
    }
    Machine.dispatch(&self, index, first: firstLabel, entries: Int(op.b) - 1)
    if count > 1 {
      for k in 0..<edgeTargets.count where Int(asm.offset) <= Self.maximumChunkSize {
        let target = Int(edgeTargets[k])
        asm.bind(edges[target].label)
        emitEdge(target)
      }
    }
    isReachable = false
  }

  // MARK: Return

  /// Returns with the values on top of the stack.
  mutating func emitReturn() {
    emitReturnValues()
    Machine.epilogue(&self)
    isReachable = false
  }

  /// Puts the values on top where the caller finds them.
  private mutating func emitReturnValues() {
    let count = Int(signature.resultCount)
    guard count > 0 else { return }
    if count == 1 {
      placeSingle()
      return
    }
    emitReturnCopies()
  }

  private mutating func emitReturnCopies() {
    let count = Int(signature.resultCount)
    let first = stack.count - count
    for i in 1..<count {
      let place = environment.signatures.result(signature, i)
      copy(stack[first + i], to: Machine.frame(16 + Int32(place.offset)))
    }
    let value = stack[first]
    if value.type.isFloatOrVector {
      move(value, to: VectorRegister(number: 0))
    } else {
      move(value, to: Register(number: 0))
    }
  }
}
