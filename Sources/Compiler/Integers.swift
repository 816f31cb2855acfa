// What integer arithmetic is the same on all machines: constants, and conversions that are a move.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine: ~Copyable {
  @inline(__always) static func type(_ size: OperandSize) -> ValueType { size == .b32 ? .i32 : .i64 }

  /// The constant as a sign-extended 32-bit immediate, if it is one.
  @inline(__always) static func immediate(_ value: StackValue, _ size: OperandSize) -> Int32? {
    guard value.kind == .constant else { return nil }
    if size == .b32 { return Int32(truncatingIfNeeded: Int64(bitPattern: value.bits)) }
    return Int32(exactly: Int64(bitPattern: value.bits))
  }

  /// Pushes a popped value again.
  mutating func repush(_ value: StackValue, _ type: ValueType) {
    var value = value
    value.type = type
    if value.kind == .slot, Int(value.index) != stack.count {
      // A slot belongs to its position, and this one was another's.
      let register = allocate()
      move(value, to: register)
      push(register, type)
      return
    }
    switch value.kind {
    case .local: reference(value.index)
    case .register: generalOwners[Int(value.number)] = UInt32(truncatingIfNeeded: stack.count)
    case .vector: vectorOwners[Int(value.number)] = UInt32(truncatingIfNeeded: stack.count)
    default: break
    }
    stack.append(value)
  }

  @inline(__always) static func truncated(_ bits: UInt64, _ size: OperandSize) -> UInt64 {
    size == .b32 ? bits & 0xFFFF_FFFF : bits
  }

  /// A shift of a constant by a constant less than the width.
  static func fold(_ op: Shift, _ bits: UInt64, _ count: UInt64, _ size: OperandSize) -> UInt64 {
    if size == .b32 {
      let value = UInt32(truncatingIfNeeded: bits)
      let n = UInt32(count)
      switch op {
      case .left: return UInt64(value << n)
      case .rightUnsigned: return UInt64(value >> n)
      case .rightSigned: return UInt64(UInt32(bitPattern: Int32(bitPattern: value) >> Int32(n)))
      case .rotateLeft: return UInt64(n == 0 ? value : value << n | value >> (32 - n))
      case .rotateRight: return UInt64(n == 0 ? value : value >> n | value << (32 - n))
      }
    }
    switch op {
    case .left: return bits << count
    case .rightUnsigned: return bits >> count
    case .rightSigned: return UInt64(bitPattern: Int64(bitPattern: bits) >> Int64(count))
    case .rotateLeft: return count == 0 ? bits : bits << count | bits >> (64 - count)
    case .rotateRight: return count == 0 ? bits : bits >> count | bits << (64 - count)
    }
  }

  mutating func wrap() {
    let value = pop()
    if value.kind == .constant {
      pushConstant(value.bits & 0xFFFF_FFFF, .i32)
      return
    }
    let register: Register
    if value.kind == .slot {
      register = destination ?? allocate()
      asm.load(.b32, dst: register, from: slot(Int(value.index)))
    } else {
      let source = read(value)
      release(source)
      register = destination ?? allocate()
      asm.mov(.b32, dst: register, src: source)
    }
    push(register, .i32)
  }

  mutating func extendUnsigned() {
    let value = pop()
    switch value.kind {
    case .constant: pushConstant(value.bits & 0xFFFF_FFFF, .i64)
    case .register where destination == nil:
      push(Register(number: value.number), .i64)
    default:
      let source = read(value)
      release(source)
      let register = destination ?? allocate()
      asm.mov(.b32, dst: register, src: source)
      push(register, .i64)
    }
  }
}
