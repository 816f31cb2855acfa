// Values on x86-64: constants, copies from memory to memory, and operands that an instruction takes from memory.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == X86_64Assembler {
  /// Memory to memory through a register that is free, or saved around it in a vector register.
  mutating func copyMemory(from source: Address, to destination: Address, _ type: ValueType) {
    if source == destination { return }
    if free != 0, type != .v128 {
      // Eight bytes, whatever the type: the slots have them.
      let register = Register(number: UInt8(truncatingIfNeeded: free.trailingZeroBitCount))
      asm.load(.b64, dst: register, from: source)
      asm.store(.b64, to: destination, src: register)
    } else if freeVectors != 0 {
      let register = XMMRegister(number: UInt8(truncatingIfNeeded: freeVectors.trailingZeroBitCount))
      asm.movups(register, from: source)
      if type == .v128 {
        asm.movups(to: destination, register)
      } else {
        asm.store(.f64, to: destination, src: register)
      }
    } else {
      // push and pop touch no register; neither address is relative to rsp.
      asm.pushMemory(source)
      asm.popMemory(destination)
    }
  }

  /// Stores a constant, flags unchanged.
  mutating func storeConstant(_ bits: UInt64, _ type: ValueType, _ address: Address) {
    switch type {
    case .i32, .f32:
      asm.store(.b32, to: address, immediate: Int32(truncatingIfNeeded: Int64(bitPattern: bits)))
    default:
      if let small = Int32(exactly: Int64(bitPattern: bits)) {
        asm.store(.b64, to: address, immediate: small)
      } else {
        // Two halves: no register needed.
        asm.store(.b32, to: address, immediate: Int32(truncatingIfNeeded: Int64(bitPattern: bits)))
        var high = address
        high.displacement += 4
        asm.store(.b32, to: high, immediate: Int32(truncatingIfNeeded: Int64(bitPattern: bits >> 32)))
      }
    }
  }

  /// Puts a constant into a vector register, flags unchanged.
  mutating func moveConstant(_ value: StackValue, to register: XMMRegister) {
    if value.bits == 0 {
      asm.xorps(register, register)
    } else if free != 0 {
      let scratch = Register(number: UInt8(truncatingIfNeeded: free.trailingZeroBitCount))
      asm.mov(.b64, dst: scratch, immediate: value.bits)
      if value.type == .f32 { asm.movd(register, scratch) } else { asm.movq(register, scratch) }
    } else {
      let scratch = slot(stack.count + 1)
      storeConstant(value.bits, value.type, scratch)
      loadVector(register, value.type, scratch)
    }
  }

  /// The memory that holds the value, where an instruction can take it from there.
  @inline(__always) mutating func memoryOperand(_ value: StackValue) -> Address? {
    switch value.kind {
    case .slot: return slot(Int(value.index))
    case .local:
      let home = locals[Int(value.index)]
      // A local with a register is better loaded into it: it will be used again.
      guard home.bit == noBit, home.type == value.type else { return nil }
      return Address(base: .rbp, displacement: home.slot)
    default: return nil
    }
  }
}
