// Branches on x86-64.

import PrecastMachineCode
import PrecastWasm

/// Two conditions that need the parity flag as well.
extension BranchCondition {
  /// Equal and not unordered.
  static let floatEqual: UInt8 = 16
  /// Not equal or unordered.
  static let floatNotEqual: UInt8 = 17
}

extension FunctionCompiler where Machine == X86_64Assembler {
  /// A branch on a condition, parity included.
  mutating func branch(_ condition: UInt8, _ label: Label) {
    switch condition {
    case BranchCondition.floatEqual:
      let skip = asm.makeLabel()
      asm.jcc(.parity, skip, .short)
      asm.jcc(.equal, label)
      asm.bind(skip)
    case BranchCondition.floatNotEqual:
      asm.jcc(.notEqual, label)
      asm.jcc(.parity, label)
    default: asm.jcc(Self.condition(condition), label)
    }
  }

  @inline(__always) static func condition(_ number: UInt8) -> Condition {
    Condition(rawValue: number & 15) ?? .equal
  }

  /// Pops an i32 and sets the flags; the condition that it is not zero.
  mutating func popCondition() -> UInt8 {
    let value = pop()
    if value.kind == .flags { return value.number }
    if let memory = memoryOperand(value) {
      asm.alu(.cmp, .b32, to: memory, immediate: 0)
    } else {
      let register = read(value)
      asm.test(.b32, register, register)
      release(register)
    }
    return Condition.notEqual.rawValue
  }

  /// Branches to one of the labels from `first` on in `tableLabels`, the last one for all other indices.
  mutating func dispatch(_ index: Register, first: Int, entries: Int) {
    let defaultLabel = tableLabels[first + entries]
    if entries <= 3 {
      for k in 0..<entries {
        if k == 0 {
          asm.test(.b32, index, index)
        } else {
          asm.alu(.cmp, .b32, dst: index, immediate: Int32(k))
        }
        asm.jcc(.equal, tableLabels[first + k])
      }
      asm.jmp(defaultLabel)
    } else {
      // Before the branch: a spill must happen on both paths.
      let base = allocate(excluding: 1)
      asm.alu(.cmp, .b32, dst: index, immediate: Int32(entries))
      asm.jcc(.aboveOrEqual, defaultLabel)
      let table = asm.makeLabel()
      asm.leaLabel(base, table)
      asm.loadSignExtended(from: .b32, to: .b64, dst: index, from: Address(base: base, index: index, scale: 4))
      asm.alu(.add, .b64, dst: index, src: base)
      asm.jmp(index)
      release(base)
      outOfLine.append(
        OutOfLine(
          kind: .jumpTable, trap: .unreachable, register: 0, label: table, resume: table, wasmOffset: wasmOffset,
          first: UInt32(first), count: UInt32(entries)))
    }
    release(index)
  }
}
