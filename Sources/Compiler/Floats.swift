// What floating point is the same on all machines: values that change their type and not their bits.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine: ~Copyable {
  @inline(__always) static func type(_ size: FloatSize) -> ValueType { size == .f32 ? .f32 : .f64 }

  mutating func reinterpretToFloat(_ size: FloatSize) {
    let value = pop()
    if value.kind == .constant {
      pushConstant(value.bits, Self.type(size))
      return
    }
    let source = read(value)
    release(source)
    let register = vectorDestination ?? allocateVector()
    Machine.moveBits(&self, size, register, source)
    push(register, Self.type(size))
  }

  mutating func reinterpretToInteger(_ size: FloatSize) {
    let value = pop()
    if value.kind == .constant {
      pushConstant(value.bits, size == .f32 ? .i32 : .i64)
      return
    }
    let source = readVector(value)
    release(source)
    let register = destination ?? allocate()
    Machine.moveBits(&self, size, register, source)
    push(register, size == .f32 ? .i32 : .i64)
  }
}
