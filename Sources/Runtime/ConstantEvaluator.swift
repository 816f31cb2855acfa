// Constant expressions: values of globals, offsets of segments, items of element segments.
//
// Nearly all are one instruction, so these are answered without a stack. The expression was validated when the module was
// compiled; one that does not work out now is a damaged artifact.

import PrecastArtifact
import PrecastWasm

enum ConstantEvaluator {
  /// The bits of a number or reference.
  ///
  /// Spec: Core 3.3.10, "Constant Expressions".
  ///
  /// - Parameter resolve: the bits for a `global.get` or `ref.func`; nil where it cannot be had, which is an error.
  @inline(__always)
  static func evaluate(
    _ expression: Range<Int>, _ info: ModuleInfo,
    _ resolve: (ConstantInstruction) throws(RuntimeError) -> UInt64?
  ) throws(RuntimeError) -> UInt64 {
    if expression.count == 1 {
      let instruction = try reading { () throws(ArtifactError) in try info.constant(expression.lowerBound) }
      guard let bits = try leaf(instruction, resolve) else { throw damaged() }
      return bits
    }
    var stack: [UInt64] = []
    for index in expression {
      let instruction = try reading { () throws(ArtifactError) in try info.constant(index) }
      if let bits = try leaf(instruction, resolve) {
        stack.append(bits)
      } else {
        guard let right = stack.popLast(), let left = stack.popLast(), let bits = combine(instruction, left, right)
        else { throw damaged() }
        stack.append(bits)
      }
    }
    guard stack.count == 1 else { throw damaged() }
    return stack[0]
  }

  private static func damaged() -> RuntimeError {
    RuntimeError(.damagedArtifact, "a constant expression cannot be evaluated")
  }

  /// What an instruction without operands pushes; nil for one that has some.
  @inline(__always)
  private static func leaf(
    _ instruction: ConstantInstruction, _ resolve: (ConstantInstruction) throws(RuntimeError) -> UInt64?
  ) throws(RuntimeError) -> UInt64? {
    switch instruction {
    case .i32Const(let value): return UInt64(UInt32(bitPattern: value))
    case .i64Const(let value): return UInt64(bitPattern: value)
    case .f32Const(let bits): return UInt64(bits)
    case .f64Const(let bits): return bits
    case .refNull: return 0
    case .refFunction, .globalGet:
      guard let bits = try resolve(instruction) else { throw damaged() }
      return bits
    default: return nil
    }
  }

  private static func combine(_ instruction: ConstantInstruction, _ left: UInt64, _ right: UInt64) -> UInt64? {
    func word(_ value: UInt64) -> UInt64 { value & 0xFFFF_FFFF }
    switch instruction {
    case .i32Add: return word(left &+ right)
    case .i32Sub: return word(left &- right)
    case .i32Mul: return word(left &* right)
    case .i64Add: return left &+ right
    case .i64Sub: return left &- right
    case .i64Mul: return left &* right
    default: return nil
    }
  }
}
