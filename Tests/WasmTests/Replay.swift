// A second opinion on operator buffers: what the compiler relies on, checked the way it will use it.
//
// Operand types of numeric instructions are derived here from their names, not from the validator's table, so that the
// two can disagree.

import PrecastWasm

/// Operand and result types of an instruction that is all said by its name; `nil` for others.
func typesByName(_ opcode: Opcode) -> (operands: [ValueType], results: [ValueType])? {
  let types: [Substring: ValueType] = ["i32": .i32, "i64": .i64, "f32": .f32, "f64": .f64]
  let parts = opcode.description.split(separator: ".")
  guard parts.count == 2, let type = types[parts[0]] else { return nil }
  let words = parts[1].split(separator: "_")
  switch words[0] {
  case "const": return ([], [type])
  case "eqz": return ([type], [.i32])
  case "eq", "ne", "lt", "gt", "le", "ge": return ([type, type], [.i32])
  case "clz", "ctz", "popcnt", "abs", "neg", "ceil", "floor", "nearest", "sqrt", "extend8", "extend16", "extend32":
    return ([type], [type])
  case "trunc" where words.count == 1: return ([type], [type])
  case "wrap", "trunc", "extend", "convert", "demote", "promote", "reinterpret":
    return (words.compactMap { types[$0] }, [type])
  case let word where word.hasPrefix("load"): return ([.i32], [type])
  case let word where word.hasPrefix("store"): return ([.i32, type], [])
  default: return ([type, type], [type])
  }
}

/// A disagreement between an operator buffer and what it should be.
struct Disagreement: Error, CustomStringConvertible {
  var description: String
}

/// Runs the types of a buffer's operators, and throws where they do not add up.
func replay(_ module: WasmModule, _ buffer: borrowing OperatorBuffer) throws {
  struct Frame {
    var opcode: Opcode
    var parameters: [ValueType]
    var results: [ValueType]
    var below: [ValueType]
    var label: [ValueType] { opcode == .loop ? parameters : results }
  }
  func types(_ start: UInt32, _ count: UInt32) -> [ValueType] {
    (start..<start + count).map { module.typePool[Int($0)] }
  }
  let type = module.types[Int(buffer.typeIndex)]
  var frames = [Frame(opcode: .block, parameters: [], results: type.results, below: [])]
  var stack: [ValueType] = []
  var highest = 0
  var isDead = false
  var lastOffset: UInt32 = 0
  var calls = false

  for index in 0..<buffer.count {
    let op = buffer[index]
    func check(_ condition: Bool, _ what: String) throws {
      if !condition { throw Disagreement(description: "\(op.opcode) at \(op.offset): \(what); stack \(stack)") }
    }
    func pop(_ wanted: [ValueType]) throws {
      try check(Array(stack.suffix(wanted.count)) == wanted, "expects \(wanted)")
      try check(stack.count - wanted.count >= frames.last?.below.count ?? 0, "pops below its block")
      stack.removeLast(wanted.count)
    }
    func label(_ depth: UInt32) throws -> [ValueType] {
      try check(Int(depth) < frames.count, "label \(depth)")
      return frames[frames.count - 1 - Int(depth)].label
    }
    try check(index == 0 || op.offset > lastOffset, "offsets go down")
    lastOffset = op.offset
    try check(!frames.isEmpty, "comes after the last end")
    if isDead { try check(op.opcode == .else || op.opcode == .end, "dead code") }
    try check(op.flags.contains(.unreachableBefore) == isDead, "flag unreachableBefore")

    switch op.opcode {
    case .nop, .selectTyped: try check(false, "does not belong in a buffer")
    case .unreachable: isDead = true
    case .block, .loop, .if:
      if op.opcode == .if { try pop([.i32]) }
      let signature = op.blockSignature
      let parameters = types(signature.parameterStart, signature.parameterCount)
      try pop(parameters)
      let results = types(signature.resultStart, signature.resultCount)
      frames.append(Frame(opcode: op.opcode, parameters: parameters, results: results, below: stack))
      stack += parameters
    case .else, .end:
      let frame = frames[frames.count - 1]
      if !isDead { try check(stack == frame.below + frame.results, "block leaves something else") }
      isDead = false
      if op.opcode == .else {
        try check(frame.opcode == .if, "no if")
        frames[frames.count - 1].opcode = .else
        stack = frame.below + frame.parameters
      } else {
        if frame.opcode == .if { try check(frame.parameters == frame.results, "no else") }
        frames.removeLast()
        stack = frame.below + frame.results
      }
    case .br:
      try pop(label(op.a))
      isDead = true
    case .brIf:
      try pop([.i32])
      let types = try label(op.a)
      try pop(types)
      stack += types
    case .brTable:
      try pop([.i32])
      try check(op.b > 0 && Int(op.a) + Int(op.b) <= buffer.branchTargetCount, "targets")
      for index in op.a..<op.a + op.b {
        let types = try label(buffer.branchTarget(index))
        try check(Array(stack.suffix(types.count)) == types, "target \(index)")
      }
      isDead = true
    case .return:
      try pop(frames[0].results)
      isDead = true
    case .call, .callIndirect:
      calls = true
      if op.opcode == .callIndirect { try pop([.i32]) }
      if op.opcode == .call { try check(module.functions[Int(op.a)] == op.b, "type index") }
      let signature = module.types[Int(op.opcode == .call ? op.b : op.a)]
      try pop(signature.parameters)
      stack += signature.results
    case .drop: try pop([op.type])
    case .select:
      try pop([op.type, op.type, .i32])
      stack.append(op.type)
    case .localGet, .localSet, .localTee:
      try check(Int(op.a) < buffer.usedLocalCount && buffer.localType(op.a) == op.type, "local")
      try check(buffer.localWeight(op.a) > 0, "weight")
      if op.opcode != .localGet { try pop([op.type]) }
      if op.opcode != .localSet { stack.append(op.type) }
    case .globalGet, .globalSet:
      try check(module.globals[Int(op.a)].value == op.type, "global")
      if op.opcode == .globalSet { try pop([op.type]) } else { stack.append(op.type) }
    case .tableGet:
      try pop([.i32])
      stack.append(op.type)
    case .tableSet: try pop([.i32, op.type])
    case .tableSize, .memorySize: stack.append(.i32)
    case .memoryGrow:
      calls = true
      try pop([.i32])
      stack.append(.i32)
    case .tableGrow:
      calls = true
      try pop([op.type, .i32])
      stack.append(.i32)
    case .tableFill:
      calls = true
      try pop([.i32, op.type, .i32])
    case .memoryInit, .memoryCopy, .memoryFill, .tableInit, .tableCopy:
      calls = true
      try pop([.i32, .i32, .i32])
    case .dataDrop, .elemDrop: calls = true
    case .refNull, .refFunc: stack.append(op.type)
    case .refIsNull:
      try check(op.type.isReference, "type")
      try pop([op.type])
      stack.append(.i32)
    default:
      guard let (operands, results) = typesByName(op.opcode) else {
        throw Disagreement(description: "\(op.opcode) unknown to this test")
      }
      try pop(operands)
      stack += results
      try check(op.type == results.first ?? operands[1], "type")
    }
    if !frames.isEmpty { highest = max(highest, stack.count) }
  }
  if !frames.isEmpty || stack != type.results { throw Disagreement(description: "not closed") }
  if highest != buffer.maximumStackHeight {
    throw Disagreement(description: "height \(highest), not \(buffer.maximumStackHeight)")
  }
  if calls != buffer.hasCalls { throw Disagreement(description: "calls \(calls), not \(buffer.hasCalls)") }
}
