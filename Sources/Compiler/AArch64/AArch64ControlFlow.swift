// Branches on AArch64.

import PrecastMachineCode
import PrecastWasm

/// Conditions that are no flags: whether a register is zero, which a branch asks by itself.
///
/// Bit 7 says that it is one, bit 6 that all 64 bits count, bits 5 to 1 are the register, and bit 0 says for which answer.
extension BranchCondition {
  /// The condition that a register is not zero.
  static func isNotZero(_ size: OperandSize, _ register: AArch64Register) -> UInt8 {
    0x80 | (size == .b64 ? 0x40 : 0) | (register.rawValue & 31) << 1
  }
  /// The condition that a register is zero.
  static func isZero(_ size: OperandSize, _ register: AArch64Register) -> UInt8 { isNotZero(size, register) | 1 }

  /// Whether the condition is about a register.
  static func isOfRegister(_ condition: UInt8) -> Bool { condition & 0x80 != 0 }
  /// The register that it is about.
  static func register(_ condition: UInt8) -> AArch64Register { AArch64Register(number: condition >> 1 & 31) }
  /// How much of it.
  static func size(_ condition: UInt8) -> OperandSize { condition & 0x40 != 0 ? .b64 : .b32 }
}

extension FunctionCompiler where Machine == AArch64Assembler {
  /// A branch on a condition.
  mutating func branch(_ condition: UInt8, _ label: Label) {
    guard BranchCondition.isOfRegister(condition) else {
      asm.b(Self.condition(condition), label)
      return
    }
    let register = BranchCondition.register(condition)
    let size = BranchCondition.size(condition)
    if condition & 1 == 0 { asm.cbnz(size, register, label) } else { asm.cbz(size, register, label) }
  }

  /// A condition of the flags.
  @inline(__always) static func condition(_ number: UInt8) -> AArch64Condition {
    AArch64Condition(rawValue: number & 15) ?? .eq
  }

  /// Pops an i32; the condition that it is not zero. What comes before the branch changes no register but those of locals that
  /// have a new value to get and, where the branch carries one value, register 0.
  mutating func popCondition() -> UInt8 {
    let value = pop()
    var condition: UInt8
    if value.kind == .flags {
      condition = value.number
    } else {
      let register = read(value)
      release(register)
      condition = BranchCondition.isNotZero(.b32, register)
    }
    if BranchCondition.isOfRegister(condition), BranchCondition.register(condition) == .x0, branchCarriesOneValue {
      asm.cmp(BranchCondition.size(condition), .x0, immediate: 0)
      condition = (condition & 1 == 0 ? AArch64Condition.ne : .eq).rawValue
    }
    return condition
  }

  /// Whether the operator at work, an `if` or `br_if`, puts a value into register 0 before it branches.
  private var branchCarriesOneValue: Bool {
    let op = ops[position]
    switch op.opcode {
    case .if: return op.blockSignature.parameterCount == 1
    case .brIf: return arity(control[control.count - 1 - Int(op.a)]).count == 1
    default: return true
    }
  }

  /// Branches to one of the labels from `first` on in `tableLabels`, the last one for all other indices.
  ///
  /// The table is one of branches, right behind the one that leads into it: it needs no data, and each entry reaches as far as
  /// a function may.
  mutating func dispatch(_ index: Register, first: Int, entries: Int) {
    let defaultLabel = tableLabels[first + entries]
    if entries <= 3 {
      for k in 0..<entries {
        if k == 0 {
          asm.cbz(.b32, index, tableLabels[first])
        } else {
          asm.cmp(.b32, index, immediate: UInt64(k))
          asm.b(.eq, tableLabels[first + k])
        }
      }
      asm.b(defaultLabel)
    } else {
      if AArch64Assembler.isArithmeticImmediate(UInt64(entries)) {
        asm.cmp(.b32, index, immediate: UInt64(entries))
      } else {
        asm.mov(.b32, dst: .x16, immediate: UInt64(entries))
        asm.cmp(.b32, index, .x16)
      }
      asm.b(.hs, defaultLabel)
      let shift: UInt8 = hasLandingPads ? 3 : 2
      asm.reserve(12 + entries << Int(shift))
      asm.adr(.x16, distance: 12)
      asm.arithmetic(.add, .b64, .x16, .x16, index, extend: .uxtw, shift)
      asm.br(.x16)
      for k in 0..<entries {
        if hasLandingPads { asm.bti(.jump) }
        asm.b(tableLabels[first + k])
      }
    }
    release(index)
  }
}
