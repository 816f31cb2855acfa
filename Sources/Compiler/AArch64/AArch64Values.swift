// Values on AArch64: constants, and copies from memory to memory. All of it goes through x17 or v31, which are never in use, so
// no register has to be found; x16 is the assembler's for addresses out of an instruction's reach.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == AArch64Assembler {
  /// Memory to memory.
  mutating func copyMemory(from source: Address, to destination: Address, _ type: ValueType) {
    if source == destination { return }
    if type == .v128 {
      asm.loadVector(dst: .v31, from: source)
      asm.storeVector(to: destination, src: .v31)
    } else {
      // Eight bytes, whatever the type: the slots have them.
      asm.load(.b64, dst: .x17, from: source)
      asm.store(.b64, to: destination, src: .x17)
    }
  }

  /// Stores a constant, flags unchanged.
  mutating func storeConstant(_ bits: UInt64, _ type: ValueType, _ address: Address) {
    let size: OperandSize = type == .i32 || type == .f32 ? .b32 : .b64
    asm.store(size, to: address, src: constantRegister(bits, size))
  }

  /// A register that holds the constant until the next instruction that needs x17: the zero register, or x17.
  mutating func constantRegister(_ bits: UInt64, _ size: OperandSize) -> Register {
    let value = size == .b64 ? bits : bits & 0xFFFF_FFFF
    if value == 0 { return .zr }
    asm.mov(size == .b64 ? .b64 : .b32, dst: .x17, immediate: value)
    return .x17
  }

  /// Puts a constant into a vector register, flags unchanged.
  mutating func moveConstant(_ value: StackValue, to register: VectorRegister) {
    let size: FloatSize = value.type == .f32 ? .f32 : .f64
    if value.bits == 0 {
      asm.vectorZero(register)
    } else if value.type != .v128, let encoded = AArch64Assembler.floatImmediate(value.bits, size) {
      asm.fmov(size, register, encoded: encoded)
    } else {
      asm.fmov(size, register, constantRegister(value.bits, size == .f32 ? .b32 : .b64))
    }
  }
}
