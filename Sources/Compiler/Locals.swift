// Locals: which of their two places hold their value, and the instructions that read and set them.
//
// A local in a register is stored before calls and loaded after them only where that is needed, so each has two
// bits of state; see LocalAnalysis.swift for which locals, and ControlFlow.swift for what labels make of the state.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine: ~Copyable {
  // MARK: Registers and slots

  /// Makes the register of a local hold its value.
  @inline(__always) mutating func load(_ home: LocalHome) {
    let bit: RegisterSet = 1 << UInt32(home.bit)
    if inRegisters & bit == 0 {
      let address = Machine.frame(home.slot)
      if home.bit < 16 {
        asm.load(Self.size(home.type), dst: Register(number: home.bit), from: address)
      } else {
        loadVector(VectorRegister(number: home.bit &- 16), home.type, address)
      }
      inRegisters |= bit
    }
  }

  /// Makes the slots of these locals hold their values.
  mutating func save(_ set: RegisterSet) {
    var rest = set & inRegisters & ~inSlots
    while rest != 0 {
      let bit = UInt8(rest.trailingZeroBitCount)
      rest &= rest &- 1
      let home = locals[Int(localOfBit[Int(bit)])]
      let address = Machine.frame(home.slot)
      if bit < 16 {
        asm.store(Self.size(home.type), to: address, src: Register(number: bit))
      } else {
        storeVector(VectorRegister(number: bit - 16), home.type, address)
      }
      inSlots |= 1 << UInt32(bit)
    }
  }

  /// Makes the registers of these locals hold their values.
  mutating func load(_ set: RegisterSet) {
    var rest = set & ~inRegisters & inSlots
    while rest != 0 {
      let bit = rest.trailingZeroBitCount
      rest &= rest &- 1
      load(locals[Int(localOfBit[bit])])
    }
  }

  // MARK: Local instructions

  @inline(__always) mutating func localGet(_ op: Operator) {
    // References are searched for when the local is set, so they are kept near the top.
    if stack.count &- flushedHeight < 128 {
      reference(op.a)
      stack.append(StackValue(.local, op.type, index: op.a))
      return
    }
    let value = StackValue(.local, op.type, index: op.a)
    if op.type.isFloatOrVector {
      let register = allocateVector()
      move(value, to: register)
      push(register, op.type)
    } else {
      let register = allocate()
      move(value, to: register)
      push(register, op.type)
    }
  }

  /// Gives entries that still refer to the local a copy of its present value.
  mutating func detach(_ local: UInt32) {
    var i = flushedHeight
    while locals[Int(local)].references > 0, i < stack.count {
      if stack[i].kind == .local, stack[i].index == local {
        let value = stack[i]
        // A register if one is free, else the slot.
        if value.type.isFloatOrVector ? freeVectors != 0 : free != 0 {
          if value.type.isFloatOrVector {
            let register = allocateVector()
            move(value, to: register)
            stack[i] = StackValue(.vector, value.type, number: register.rawValue)
            vectorOwners[Int(register.rawValue)] = UInt32(i)
          } else {
            let register = allocate()
            move(value, to: register)
            stack[i] = StackValue(.register, value.type, number: register.rawValue)
            generalOwners[Int(register.rawValue)] = UInt32(i)
          }
          if spilledHeight > i { spilledHeight = i }
        } else {
          copy(value, to: slot(i))
          stack[i] = StackValue(.slot, value.type, index: UInt32(i))
        }
        dereference(local)
      }
      i &+= 1
    }
  }

  mutating func localSet(_ op: Operator, isTee: Bool) {
    let value = pop()
    if locals[Int(op.a)].references > 0 { detach(op.a) }
    let home = locals[Int(op.a)]
    if home.bit != noBit {
      let bit: RegisterSet = 1 << UInt32(home.bit)
      if value.kind == .local, value.index == op.a {
        // Set to itself.
      } else {
        if home.bit < 16 {
          move(value, to: Register(number: home.bit))
        } else {
          move(value, to: VectorRegister(number: home.bit - 16))
        }
        release(value)
        inRegisters |= bit
        inSlots &= ~bit
      }
      if isTee {
        reference(op.a)
        stack.append(StackValue(.local, op.type, index: op.a))
      }
      return
    }
    if home.slot != 0 {
      switch value.kind {
      case .constant: Machine.storeConstant(&self, value.bits, value.type, Machine.frame(home.slot))
      case .local where value.index == op.a: break
      default:
        if value.type.isFloatOrVector {
          let register = readVector(value)
          storeVector(register, value.type, Machine.frame(home.slot))
          if isTee {
            pushCopy(of: value, in: register)
            return
          }
          release(register)
        } else {
          let register = read(value)
          asm.store(Self.size(home.type), to: Machine.frame(home.slot), src: register)
          if isTee {
            pushCopy(of: value, in: register)
            return
          }
          release(register)
        }
      }
    }
    if isTee {
      if value.kind == .local { reference(value.index) }
      stack.append(value)
    } else {
      release(value)
    }
  }

  /// After `local.tee`: the value again, from the register that holds it if that is its own.
  private mutating func pushCopy(of value: StackValue, in register: Register) {
    if isTemporary(register) {
      push(register, value.type)
    } else {
      // The register of another local.
      reference(value.index)
      stack.append(value)
    }
  }

  private mutating func pushCopy(of value: StackValue, in register: VectorRegister) {
    if isTemporary(register) {
      push(register, value.type)
    } else {
      reference(value.index)
      stack.append(value)
    }
  }
}
