// Comparisons and selection.
//
// A comparison leaves a condition of the flags; if a branch, an `if` or a `select` follows, it takes the condition
// from there, through any number of `i32.eqz`. Otherwise the condition becomes 0 or 1 at once, since the next
// instruction may change the flags.

import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine: ~Copyable {
  /// Whether the next operator takes a condition from the flags, after any number of `i32.eqz`, which are consumed.
  mutating func fusedCondition(_ condition: UInt8) -> UInt8? {
    var next = position &+ 1
    var result = condition
    while ops[next].opcode == .i32Eqz {
      result = BranchCondition.inverted(result)
      next &+= 1
    }
    switch ops[next].opcode {
    case .brIf, .if, .select, .selectTyped:
      position = next &- 1
      return result
    default: return nil
    }
  }
}
