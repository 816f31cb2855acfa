// One forward pass over a decoded function body, emitting code for a machine.
//
// The state of the pass is a virtual stack whose entries say where a value is (a constant, a local not
// yet read, a register, a frame slot, the flags), and for each local that lives in a register whether
// the register and the frame slot hold its current value. Most instructions of wasm only change that
// state. What code there is comes from the operation that finally needs the values.
//
// The frame, from the frame pointer (rbp, x29) down:
//
//     [fp+16...]  stack arguments, then further results: the caller's outgoing area
//     [fp+8]      return address
//     [fp]        caller's frame pointer
//     [fp-8]      the instance's context, where calls leave the instance
//     [fp-16...]  a slot for each local that may need one
//     ...         a slot for each position of the operand stack
//     [sp...]     our outgoing area
//
// This file: state, the loop over operators, locals. Values.swift: the virtual stack and registers. Locals.swift,
// ControlFlow.swift, Calls.swift: operators that are the same for all machines. X86_64/, AArch64/: the others, and the frame.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// Where a local lives.
struct LocalHome: BitwiseCopyable {
  var type: ValueType
  /// Its bit in a `RegisterSet`, or `noBit`.
  var bit: UInt8
  /// Its slot, relative to the frame pointer; 0 if it has none.
  var slot: Int32
  /// How many entries of the virtual stack refer to it.
  var references: UInt32
}

/// An entry of the virtual stack.
struct StackValue: BitwiseCopyable {
  enum Kind: UInt8 {
    case constant
    /// A local, not yet read.
    case local
    /// A general register.
    case register
    /// A vector register.
    case vector
    /// The frame slot of the entry's position.
    case slot
    /// The processor's flags, as a condition; only between a comparison and the next operator.
    case flags
  }
  var kind: Kind
  var type: ValueType
  /// Register, or condition.
  var number: UInt8
  /// Local, or position of the slot.
  var index: UInt32
  /// Constant.
  var bits: UInt64

  @inline(__always)
  init(_ kind: Kind, _ type: ValueType, number: UInt8 = 0, index: UInt32 = 0, bits: UInt64 = 0) {
    self.kind = kind
    self.type = type
    self.number = number
    self.index = index
    self.bits = bits
  }
}

/// A label with everything that has been promised at it.
struct ControlFrame: BitwiseCopyable {
  enum Kind: UInt8 { case function, block, loop, `if`, `else` }
  var kind: Kind
  /// Whether any branch targets the label.
  var isTarget: Bool
  /// Whether `inRegisters` and `inSlots` have been set by a branch.
  var hasState: Bool
  var label: Label
  var elseLabel: Label
  /// Height of the operand stack below the parameters.
  var height: UInt32
  var signature: BlockSignature
  /// Locals live at the label.
  var live: RegisterSet
  /// State of the locals at the label.
  var inRegisters: RegisterSet
  var inSlots: RegisterSet
  /// State of the locals where the `else` begins.
  var elseInRegisters: RegisterSet
  var elseInSlots: RegisterSet
}

/// The piece of code by which branches of a table that carry several values reach a label.
struct BranchEdge: BitwiseCopyable {
  /// Number of the table that it belongs to.
  var table: UInt32
  var label: Label
}

/// Code out of line, at the end of the function.
struct OutOfLine: BitwiseCopyable {
  enum Kind: UInt8 { case trap, resolveElement, jumpTable }
  var kind: Kind
  var trap: TrapCode
  /// Register with the table index (`resolveElement`).
  var register: UInt8
  var label: Label
  var resume: Label
  var wasmOffset: UInt32
  /// Table (`resolveElement`), or the first of the labels of a jump table.
  var first: UInt32
  var count: UInt32
}

/// A compiled function, as ranges of the chunk's buffers.
struct FunctionRecord: BitwiseCopyable {
  var start: UInt32
  var size: UInt32
  var firstRelocation: UInt32
  var relocationEnd: UInt32
  var mapBytes: UInt32
  var trapBytes: UInt32
  var firstReturn: UInt32
  var returnEnd: UInt32
}

/// Compiles functions, one after the other, into a chunk. One for each thread.
struct FunctionCompiler<Machine: TargetMachine & ~Copyable>: ~Copyable {
  typealias Register = Machine.Register
  typealias VectorRegister = Machine.VectorRegister
  typealias Address = Machine.Address

  let environment: ModuleEnvironment
  var asm: Machine
  var ops = OperatorBuffer()
  var map = AddressMapEncoder()
  var traps = TrapTableEncoder()
  var returns = FlatBuffer<UInt32>(capacity: 1024)
  var analysis = LocalAnalysis()
  /// The types of indirect calls in the chunk, each once.
  var indirectTypes = FlatBuffer<UInt32>(capacity: 16)
  /// For each type the last chunk that listed it, plus 1.
  private var indirectMarks = FlatBuffer<UInt32>(capacity: 16)
  private var chunkNumber: UInt32 = 0

  var stack = FlatBuffer<StackValue>(capacity: 256)
  var locals = FlatBuffer<LocalHome>(capacity: 256)
  var control = FlatBuffer<ControlFrame>(capacity: 64)
  var outOfLine = FlatBuffer<OutOfLine>(capacity: 64)
  var tableLabels = FlatBuffer<Label>(capacity: 64)
  /// By position in `control`; stale where the number is not the table's.
  var edges = FlatBuffer<BranchEdge>(capacity: 16)
  /// The positions in `control` that the present table branches to, each once.
  var edgeTargets = FlatBuffer<UInt32>(capacity: 16)
  /// Tables so far that carry several values.
  var tableNumber: UInt32 = 0
  var moves = FlatBuffer<RegisterMove>(capacity: 32)
  /// The local of each bit.
  var localOfBit = FlatBuffer<UInt32>(capacity: 32)

  // General registers for temporaries, all of them and those not in use.
  var temporaries: UInt32 = 0
  var free: UInt32 = 0
  // The same of vector registers.
  var vectorTemporaries: UInt32 = 0
  var freeVectors: UInt32 = 0
  /// For each register in use, the position of the entry that has it, unless an operator does.
  var generalOwners = FlatBuffer<UInt32>(capacity: 16)
  var vectorOwners = FlatBuffer<UInt32>(capacity: 16)
  // Locals whose register, and whose slot, holds their value.
  var inRegisters: RegisterSet = 0
  var inSlots: RegisterSet = 0
  // Locals in registers that entries of the virtual stack refer to.
  var referenced: RegisterSet = 0

  // Entries below are constants or slots.
  var flushedHeight = 0
  // Entries below are in no register of their own.
  var spilledHeight = 0

  /// Bytes of code that a chunk may have.
  static var maximumChunkSize: Int { Machine.maximumChunkSize }
  /// Whether the last function would have made the chunk larger than that.
  var isTooLarge = false

  // Index of the operator being compiled.
  var position = 0
  var wasmOffset: UInt32 = 0
  var isReachable = true
  var functionStart = 0
  var signature = Signature(first: 0, parameterCount: 0, resultCount: 0, argumentBytes: 0, outgoingBytes: 0)
  // The slot of stack position p is at stackSlots - 8 * (p + 1).
  var stackSlots: Int32 = 0
  var highestSlot = 0
  var outgoing: UInt32 = 0
  var loopNumber = 0

  /// Whether BMI2 may be used.
  let hasBMI2: Bool
  let hasBMI1: Bool
  let hasLZCNT: Bool
  /// Whether indirect branches need a landing pad.
  let hasLandingPads: Bool
  let hasMap: Bool
  /// Offsets below are covered by the guard.
  let guardLimit: UInt64
  let isChecked: Bool

  init(environment: ModuleEnvironment) {
    self.environment = environment
    asm = Machine.makeAssembler(environment.testing)
    let features = environment.settings.cpuFeatures
    hasBMI2 = features.contains(.bmi2)
    hasBMI1 = features.contains(.bmi1)
    hasLZCNT = features.contains(.lzcnt)
    hasLandingPads = environment.settings.hasLandingPads
    hasMap = environment.settings.addressMap
    isChecked = environment.settings.memoryStrategy == .checked
    // The displacement of an address is signed, and 16 bytes are the largest access.
    let covered = min(environment.settings.memoryGuardSize, 1 << 31)
    guardLimit = covered > 16 ? covered - 16 : 0
    generalOwners.fill(with: .max, to: 16)
    vectorOwners.fill(with: .max, to: 16)
  }

  @inline(__always) var codeOffset: UInt32 { asm.offset &- UInt32(truncatingIfNeeded: functionStart) }

  /// Notes that the next instruction may trap.
  @inline(__always) mutating func trapSite(_ code: TrapCode) {
    asm.reserve(16)
    traps.add(codeOffset: codeOffset, code: code)
  }

  /// Notes that the next instruction belongs to a wasm offset.
  @inline(__always) mutating func mapSite(_ wasmOffset: UInt32) {
    asm.reserve(4)
    map.add(codeOffset: codeOffset, wasmOffset: wasmOffset)
  }

  /// A label at which the current operator traps, out of line.
  mutating func trapLabel(_ code: TrapCode) -> Label {
    let label = asm.makeLabel()
    outOfLine.append(
      OutOfLine(
        kind: .trap, trap: code, register: 0, label: label, resume: label, wasmOffset: wasmOffset, first: 0, count: 0))
    return label
  }

  /// Starts a chunk.
  mutating func beginChunk() {
    asm.reset()
    map.bytes.removeAll()
    traps.bytes.removeAll()
    returns.removeAll()
    indirectTypes.removeAll()
    chunkNumber &+= 1
    indirectMarks.fill(with: 0, to: environment.module.types.count)
  }

  /// Notes that functions of a type may be called that the module does not know.
  mutating func noteIndirectCall(_ type: UInt32) {
    guard indirectMarks[Int(type)] != chunkNumber else { return }
    indirectMarks[Int(type)] = chunkNumber
    indirectTypes.append(type)
  }

  // MARK: A function

  /// Compiles the function in `ops`; returns where it stands in the chunk, or nil when a label was never bound
  /// (a defect of this compiler), or when the code is too large.
  mutating func compile() -> FunctionRecord? {
    asm.alignFunction(16)
    functionStart = Int(asm.offset)
    let firstRelocation = asm.relocationCount
    let firstReturn = returns.count
    if hasMap { map.begin() }
    traps.begin()

    stack.removeAll()
    control.removeAll()
    outOfLine.removeAll()
    tableLabels.removeAll()
    flushedHeight = 0
    spilledHeight = 0
    referenced = 0
    highestSlot = 0
    outgoing = 0
    loopNumber = 0
    isReachable = true
    signature = environment.signatures.signatures[Int(ops.typeIndex)]

    allocateLocals()
    analysis.run(ops, importedFunctions: environment.module.importedFunctionCount, bits: locals)
    wasmOffset = ops.count > 0 ? ops[0].offset : 0
    if hasMap { map.add(codeOffset: 0, wasmOffset: wasmOffset) }
    let patch = Machine.prologue(&self)

    let type = environment.module.types.signature(ops.typeIndex)
    control.append(
      ControlFrame(
        kind: .function, isTarget: false, hasState: true, label: asm.makeLabel(),
        elseLabel: asm.makeLabel(), height: 0,
        signature: BlockSignature(resultStart: type.resultStart, resultCount: type.resultCount), live: 0,
        inRegisters: 0, inSlots: 0, elseInRegisters: 0, elseInSlots: 0))

    position = 0
    while position < ops.count {
      let op = ops[position]
      wasmOffset = op.offset
      if hasMap { mapSite(op.offset) }
      emit(op)
      position &+= 1
      // A branch or call of two bytes can move two thousand values.
      if Int(asm.offset) > Self.maximumChunkSize {
        isTooLarge = true
        return nil
      }
    }
    emitOutOfLine()
    Machine.patchFrame(&self, patch)
    guard asm.finishFunction() else {
      isTooLarge = asm.finishedOutOfReach
      return nil
    }
    return FunctionRecord(
      start: UInt32(functionStart), size: codeOffset, firstRelocation: UInt32(firstRelocation),
      relocationEnd: UInt32(asm.relocationCount), mapBytes: hasMap ? UInt32(map.finish()) : 0,
      trapBytes: UInt32(traps.finish()), firstReturn: UInt32(firstReturn), returnEnd: UInt32(returns.count))
  }

  // MARK: Locals

  /// Gives the hottest locals registers, and every local that is used a slot. Locals go by their numbers from here on.
  mutating func allocateLocals() {
    locals.removeAll()
    localOfBit.removeAll()
    localOfBit.fill(with: .max, to: 32)
    let count = ops.usedLocalCount
    let parameters = ops.parameterCount
    // The best by weight, of each class: few enough for insertion into a sorted list.
    var general = HottestLocals(capacity: Machine.generalLocals.nonzeroBitCount)
    var vector = HottestLocals(capacity: Machine.vectorLocals.nonzeroBitCount)
    var slot: Int32 = -8
    for i in 0..<count {
      let type = ops.localType(UInt32(i))
      let weight = ops.localWeight(UInt32(i))
      var home = LocalHome(type: type, bit: noBit, slot: 0, references: 0)
      let index = Int(ops.localIndex(UInt32(i)))
      if index < parameters {
        let place = environment.signatures.parameter(signature, index)
        if place.kind == .stack {
          home.slot = 16 + Int32(place.offset)
        } else if weight > 0 {
          slot -= type == .v128 ? 16 : 8
          home.slot = slot
        }
      }
      locals.append(home)
      if weight > 0 {
        if type.isFloatOrVector {
          if type != .v128 { vector.insert(UInt32(i), weight) }
        } else {
          general.insert(UInt32(i), weight)
        }
      }
    }
    // The slots of all that are no parameters are adjacent, so that a loop can set them to zero.
    for i in 0..<count where ops.localIndex(UInt32(i)) >= parameters && ops.localWeight(UInt32(i)) > 0 {
      slot -= locals[i].type == .v128 ? 16 : 8
      locals[i].slot = slot
    }
    stackSlots = slot

    // Parameters keep the registers that they arrive in; the others take what is left.
    var freeGeneral = Machine.generalLocals
    var freeVector = Machine.vectorLocals
    for k in 0..<general.count {
      let local = Int(general[k])
      let index = Int(ops.localIndex(general[k]))
      if index < parameters {
        let place = environment.signatures.parameter(signature, index)
        if place.kind == .general, freeGeneral & (1 << UInt32(place.register)) != 0 {
          assign(local, place.register, &freeGeneral, 0)
        }
      }
    }
    for k in 0..<vector.count {
      let local = Int(vector[k])
      let index = Int(ops.localIndex(vector[k]))
      if index < parameters {
        let place = environment.signatures.parameter(signature, index)
        if place.kind == .vector, freeVector & (1 << UInt32(place.register)) != 0 {
          assign(local, place.register, &freeVector, 16)
        }
      }
    }
    for k in 0..<general.count where locals[Int(general[k])].bit == noBit {
      assign(Int(general[k]), UInt8(freeGeneral.trailingZeroBitCount), &freeGeneral, 0)
    }
    for k in 0..<vector.count where locals[Int(vector[k])].bit == noBit {
      assign(Int(vector[k]), UInt8(freeVector.trailingZeroBitCount), &freeVector, 16)
    }
    // What no local has, too.
    temporaries = Machine.generalTemporaries | freeGeneral
    free = temporaries
    vectorTemporaries = Machine.vectorTemporaries | freeVector
    freeVectors = vectorTemporaries
  }

  private mutating func assign(_ local: Int, _ register: UInt8, _ set: inout UInt32, _ base: UInt8) {
    set &= ~(1 << UInt32(register))
    locals[local].bit = base + register
    localOfBit[Int(base + register)] = UInt32(local)
  }

  // MARK: Prologue and epilogue

  /// Puts parameters where the pass expects them, and makes the other locals zero.
  mutating func enterLocals() {
    inRegisters = 0
    inSlots = 0
    let live = analysis.liveAtEntry
    let parameters = ops.parameterCount
    var moved: UInt8 = 0
    for i in 0..<locals.count where ops.localIndex(UInt32(i)) < parameters {
      let home = locals[i]
      let place = environment.signatures.parameter(signature, Int(ops.localIndex(UInt32(i))))
      switch place.kind {
      case .stack:
        if home.bit != noBit { inSlots |= 1 << UInt32(home.bit) }
      case .general:
        if home.bit != noBit {
          if home.bit != place.register { moved |= 1 }
          inRegisters |= 1 << UInt32(home.bit)
        } else if home.slot != 0 {
          asm.store(Self.size(home.type), to: Machine.frame(home.slot), src: Register(number: place.register))
        }
      case .vector:
        if home.bit != noBit {
          if home.bit != place.register &+ 16 { moved |= 2 }
          inRegisters |= 1 << UInt32(home.bit)
        } else if home.slot != 0 {
          storeVector(VectorRegister(number: place.register), home.type, Machine.frame(home.slot))
        }
      }
    }
    if moved != 0 { moveParameters() }
    // The other locals are zero.
    var zeroed = 0
    for i in 0..<locals.count where ops.localIndex(UInt32(i)) >= parameters {
      let home = locals[i]
      if home.bit != noBit {
        let bit: RegisterSet = 1 << UInt32(home.bit)
        guard live & bit != 0 else { continue }
        inRegisters |= bit
        if home.bit < 16 {
          Machine.zero(&self, Register(number: home.bit))
        } else {
          Machine.zero(&self, VectorRegister(number: home.bit - 16))
        }
      } else if home.slot != 0 {
        zeroed += 1
      }
    }
    if zeroed > 0 { Machine.zeroLocals(&self, count: zeroed) }
  }

  /// Moves parameters that cannot stay in the register they arrive in: at most one of each class, in register 0. No other
  /// parameter is any more where they go to.
  private mutating func moveParameters() {
    for i in 0..<locals.count where ops.localIndex(UInt32(i)) < ops.parameterCount {
      let home = locals[i]
      let place = environment.signatures.parameter(signature, Int(ops.localIndex(UInt32(i))))
      if home.bit == noBit { continue }
      if place.kind == .general, home.bit != place.register {
        asm.mov(.b64, dst: Register(number: home.bit), src: Register(number: place.register))
      } else if place.kind == .vector, home.bit != place.register &+ 16 {
        asm.moveVector(VectorRegister(number: home.bit &- 16), VectorRegister(number: place.register))
      }
    }
  }

  /// Emits what stands behind the function's last instruction.
  mutating func emitOutOfLine() {
    for k in 0..<outOfLine.count {
      let item = outOfLine[k]
      switch item.kind {
      case .trap:
        asm.bind(item.label)
        if hasMap { mapSite(item.wasmOffset) }
        trapSite(item.trap)
        asm.trap(item.trap)
      case .resolveElement:
        asm.bind(item.label)
        if hasMap { mapSite(item.wasmOffset) }
        Machine.resolveElement(&self, item)
      case .jumpTable: break
      }
    }
    Machine.emitTables(&self)
  }
}

/// The locals of greatest weight, heaviest first.
private struct HottestLocals {
  private var entries: [(local: UInt32, weight: UInt32)]
  private let capacity: Int

  init(capacity: Int) {
    self.capacity = capacity
    entries = []
    entries.reserveCapacity(capacity + 1)
  }

  var count: Int { entries.count }
  subscript(index: Int) -> UInt32 { entries[index].local }

  mutating func insert(_ local: UInt32, _ weight: UInt32) {
    if entries.count == capacity, let last = entries.last, last.weight >= weight { return }
    var at = entries.count
    while at > 0, entries[at - 1].weight < weight { at -= 1 }
    entries.insert((local, weight), at: at)
    if entries.count > capacity { entries.removeLast() }
  }
}
