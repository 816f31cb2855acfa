// What the code for AArch64 computes, in the emulated processor, against what Swift computes.
//
// Each operator is compiled in many small functions, in which its operands come from where a single-pass compiler can have
// them (locals in registers and not, temporaries, slots, constants), its result goes where it can go, and other values take
// the registers. The functions need nothing of a runtime but a context that says how deep the stack may grow.

import PrecastArtifact
import PrecastEmulator
import PrecastMachineCode
import PrecastWasm
import TestSupport
import Testing

@testable import PrecastCompiler

@Suite(.enabled(if: AArch64Processor.unavailableReason == nil, "needs libunicorn")) struct AArch64OperatorTests {
  @Test(
    "An operator computes what the specification says, wherever its operands are",
    arguments: ["i32.", "i64.", "f32.", "f64.", "select "])
  func operators(prefix: String) throws {
    try check(NumericOperator.all().filter { $0.name.hasPrefix(prefix) }, withConstants: true)
  }

  @Test("Two operators in one instruction compute what they do one by one", arguments: ["i32.", "i64."])
  func sequences(prefix: String) throws {
    try check(NumericOperator.sequences().filter { $0.name.hasPrefix(prefix) }, withConstants: false)
  }

  private func check(_ operators: [NumericOperator], withConstants: Bool) throws {
    try #require(!operators.isEmpty)
    let bench = try OperatorBench()
    var random = Random(seed: 1)
    for op in operators {
      var uses = OperatorUses(op)
      uses.add(withConstants: withConstants)
      let starts = try bench.load(uses.list.map(\.function))
      var failures = 0
      for (use, start) in zip(uses.list, starts) {
        for k in 0..<use.count {
          var values = zip(op.parameters.indices, op.parameters).map {
            $1.value(k, &random, isZeroOften: $0 == 2 && op.code == [0x1B])
          }
          for (index, constant) in use.constants { values[index] = constant }
          let expected = op.evaluate(values)
          let outcome = bench.call(start, use.function, values)
          let isRight =
            switch (expected, outcome) {
            case (.value(let a), .success(.value(let b))):
              use.map.map { $0(a) == b } ?? op.allows(b, expected: a, of: values)
            case (.trap(let a), .success(.trap(let b))): a == b
            default: false
            }
          if isRight { continue }
          failures += 1
          if failures <= 3 {
            let expected =
              if case .value(let bits) = expected, let map = use.map { NumericOutcome.value(map(bits)) } else {
                expected
              }
            let arguments = values.map { "0x" + String($0, radix: 16) }.joined(separator: ", ")
            Issue.record("\(op.name) of \(arguments), \(use.name): \(outcome), expected \(expected)")
          }
        }
      }
    }
  }
}

extension NumericType {
  /// An edge, or a random value of any magnitude.
  fileprivate func value(_ k: Int, _ random: inout Random, isZeroOften: Bool) -> UInt64 {
    if isZeroOften, k % 2 == 0 { return 0 }
    if k % 3 != 2 { return edges.randomElement(using: &random)! }
    let bits = random.next()
    let word = bits >> UInt64(random.below(64))
    return switch self {
    case .i32: word & 0xFFFF_FFFF
    case .i64: word
    case .f32: k % 2 == 0 ? Float(Int64(bitPattern: word)).bits : bits & 0xFFFF_FFFF
    case .f64: k % 2 == 0 ? Double(Int64(bitPattern: word)).bits : bits
    }
  }
}

// MARK: Uses of an operator

/// The functions that an operator is tried in.
private struct OperatorUses {
  struct Use {
    var name: String
    var function: WasmBuilder.Function
    /// Operands that are no parameters, by position.
    var constants: [Int: UInt64]
    /// What the function makes of the operator's result, if anything.
    var map: ((UInt64) -> UInt64)?
    /// How often it is called.
    var count: Int
  }

  /// Where an operand comes from.
  enum Form: CustomStringConvertible {
    case local, temporary, slot
    case constant(UInt64)

    var description: String {
      switch self {
      case .local: "local"
      case .temporary: "temporary"
      case .slot: "slot"
      case .constant(let bits): "0x" + String(bits, radix: 16)
      }
    }
  }

  let op: NumericOperator
  var list: [Use] = []
  private var count: Int { op.parameters.count }

  init(_ op: NumericOperator) { self.op = op }

  private mutating func add(
    _ forms: [Form], _ use: String, _ code: [UInt8], count: Int, result: NumericType? = nil,
    locals: [(Int, NumericType)] = [], map: ((UInt64) -> UInt64)? = nil
  ) {
    var constants: [Int: UInt64] = [:]
    for (index, form) in forms.enumerated() {
      if case .constant(let bits) = form { constants[index] = bits }
    }
    list.append(
      Use(
        name: "\(forms) \(use)",
        function: .init(
          parameters: op.parameters.map(\.rawValue), results: [(result ?? op.result).rawValue],
          locals: locals.map { ($0.0, $0.1.rawValue) }, code: code), constants: constants, map: map, count: count))
  }

  /// The operator with its operands.
  private func code(_ forms: [Form]) -> [UInt8] {
    var code: [UInt8] = []
    for (index, form) in forms.enumerated() {
      let get: [UInt8] = [0x20, UInt8(index)]
      switch form {
      case .local: code += get
      case .temporary: code += get + op.parameters[index].copy
      // Where a label is branched to, all that is below it is in slots.
      case .slot: code += get + op.parameters[index].copy + [0x02, 0x40, 0x41, 1, 0x0D, 0, 0x0B]
      case .constant(let bits): code += op.parameters[index].constant(bits)
      }
    }
    return code + op.code
  }

  mutating func add(withConstants: Bool) {
    var all: [[Form]] = [[]]
    for _ in 0..<count { all = all.flatMap { forms in [.local, .temporary, .slot].map { forms + [$0] } } }
    for (index, forms) in all.enumerated() {
      add(forms, "to the stack", code(forms), count: index > 0 ? 8 : withConstants ? 300 : 60)
      for local in 0..<count where op.parameters[local] == op.result {
        add(forms, "to local \(local)", code(forms) + [0x21, UInt8(local), 0x20, UInt8(local)], count: 4)
      }
      addToNewLocal(forms)
      addWithoutRegisters(forms)
      addUnderPressure(forms)
    }
    if op.result == .i32 {
      for forms in [all[0], all[all.count / 2], all[all.count - 1]] {
        addConditions(forms, inversions: 0..<3, count: 8)
      }
    }
    if withConstants { addConstants() }
  }

  private mutating func addToNewLocal(_ forms: [Form]) {
    add(
      forms, "to another local", code(forms) + [0x22, UInt8(count), 0x1A, 0x20, UInt8(count)], count: 4,
      locals: [(1, op.result)])
  }

  /// Hotter locals take the registers from the parameters.
  private mutating func addWithoutRegisters(_ forms: [Form]) {
    let hot: [UInt8] = (0..<30).flatMap { local in (0..<4).flatMap { _ in [0x20, UInt8(count + local), 0x1A] } }
    add(forms, "without registers", hot + code(forms), count: 4, locals: [(15, .i64), (15, .f64)])
  }

  /// Other values are in all temporaries, and must be what they were afterwards.
  private mutating func addUnderPressure(_ forms: [Form]) {
    let value: UInt64 = 0x1111_2222_3333_4444
    let (source, result, sum) = (UInt8(count), UInt8(count + 1), UInt8(count + 2))
    var body = NumericType.i64.constant(value) + [0x21, source]
    for _ in 0..<9 { body += [0x20, source, 0xBF, 0xBD, 0x20, source, 0xBF] }
    body += code(forms) + [0x21, result]
    for _ in 0..<9 { body += [0xBD, 0x7C, 0x20, sum, 0x7C, 0x21, sum] }
    body += [0x20, sum] + NumericType.i64.constant(value &* 18) + [0x51, 0x04, 0x40, 0x20, result, 0x0F, 0x0B, 0x00]
    add(forms, "under pressure", body, count: 4, locals: [(1, .i64), (1, op.result), (1, .i64)])
  }

  /// The result decides, through any number of inversions.
  private mutating func addConditions(_ forms: [Form], inversions: Range<Int>, count: Int) {
    for inversions in inversions {
      let code = code(forms) + [UInt8](repeating: 0x45, count: inversions)
      let through = "through \(inversions) inversions"
      func choice(_ a: UInt64, _ b: UInt64) -> (UInt64) -> UInt64 {
        { ($0 != 0) == (inversions % 2 == 0) ? a : b }
      }
      add(
        forms, "\(through) to if", code + [0x04, 0x7F, 0x41, 7, 0x05, 0x41, 9, 0x0B], count: count, result: .i32,
        map: choice(7, 9))
      add(
        forms, "\(through) to br_if", [0x02, 0x40] + code + [0x0D, 0, 0x41, 9, 0x0F, 0x0B, 0x41, 7], count: count,
        result: .i32, map: choice(7, 9))
      add(
        forms, "\(through) to br_if with a value", [0x02, 0x7F, 0x41, 7] + code + [0x0D, 0, 0x1A, 0x41, 9, 0x0B],
        count: count, result: .i32, map: choice(7, 9))
      // Zero, one and minus one may be made in another way than other values.
      for (a, b) in [(7, 9), (1, 0), (.max, 2), (3, .max), (3, 1)] as [(UInt64, UInt64)] {
        add(
          forms, "\(through) to select", NumericType.i64.constant(a) + NumericType.i64.constant(b) + code + [0x1B],
          count: count, result: .i64, map: choice(a, b))
      }
      add(
        forms, "\(through) to select",
        NumericType.f64.constant(1.25.bits) + NumericType.f64.constant(0) + code + [0x1B], count: count, result: .f64,
        map: choice(1.25.bits, 0))
      if inversions > 0 { add(forms, through, code, count: count, result: .i32, map: choice(1, 0)) }
    }
  }

  private mutating func addConstants() {
    for position in 0..<count {
      for constant in op.parameters[position].edges {
        for other in [Form.local, .temporary] {
          var forms = [Form](repeating: other, count: count)
          forms[position] = .constant(constant)
          add(forms, "to the stack", code(forms), count: count == 1 ? 1 : 5)
        }
        if op.result == .i32, count == 2, position == 1 {
          addConditions([.local, .constant(constant)], inversions: 0..<1, count: 3)
        }
      }
    }
    guard count == 2 else { return }
    for (index, a) in op.parameters[0].edges.enumerated() {
      for b in op.parameters[1].edges.dropFirst(index % 3).enumerated().filter({ $0.offset % 3 == 0 }).map(\.element) {
        add([.constant(a), .constant(b)], "to the stack", code([.constant(a), .constant(b)]), count: 1)
      }
    }
  }
}

// MARK: The processor

/// A processor that calls functions by the convention between functions of wasm.
private final class OperatorBench {
  private let processor: AArch64Processor
  private let thunk: HostPages
  private let context: HostPages
  private var code: HostPages?

  init() throws {
    processor = try AArch64Processor()
    processor.instructionLimit = 100_000
    context = try HostPages(count: HostPages.pageSize)
    thunk = try HostPages(count: HostPages.pageSize)
    // The store's part, with a limit of 0 for the stack, stands behind the context.
    context.write(context.address + 2048, at: ContextLayout.store)
    Self.write(Self.entry(), to: thunk)
    try processor.map(context, .readWrite)
    try processor.map(thunk, .readExecute)
  }

  /// From C's convention to ours: x6 is the context, x7 the function, which preserves little.
  private static func entry() -> CodeChunk {
    var asm = AArch64Assembler(capacity: 256)
    func pair(_ k: Int) -> (AArch64VectorRegister, AArch64VectorRegister, AArch64Address) {
      (
        AArch64VectorRegister(number: UInt8(8 + 2 * k)), AArch64VectorRegister(number: UInt8(9 + 2 * k)),
        AArch64Address(base: .sp, displacement: Int32(16 + 16 * k))
      )
    }
    let saved = AArch64Address(base: .sp, displacement: 80)
    asm.storePair(.b64, .x29, .x30, to: AArch64Address(base: .sp, displacement: -96, update: .before))
    asm.mov(.b64, dst: .x29, src: .sp)
    for k in 0..<4 { asm.storePair(pair(k).0, pair(k).1, to: pair(k).2) }
    asm.store(.b64, to: saved, src: .x28)
    asm.mov(.b64, dst: .x28, src: .x6)
    asm.blr(.x7)
    asm.load(.b64, dst: .x28, from: saved)
    for k in 0..<4 { asm.loadPair(pair(k).0, pair(k).1, from: pair(k).2) }
    asm.loadPair(.b64, .x29, .x30, from: AArch64Address(base: .sp, displacement: 96, update: .after))
    asm.ret()
    return asm.takeChunk()
  }

  private static func write(_ chunk: CodeChunk, to pages: HostPages) {
    for index in 0..<chunk.code.count { pages.write(chunk.code[index], at: index) }
    pages.protect()
  }

  /// Compiles functions and maps them in place of those before; their addresses.
  func load(_ functions: [WasmBuilder.Function]) throws -> [UInt64] {
    var builder = WasmBuilder()
    builder.functions = functions
    let binary = builder.binary
    let module = try WasmModule(decoding: binary)
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    let environment = ModuleEnvironment(module: module, binary: binary, settings: settings)
    var compiler = FunctionCompiler<AArch64Assembler>(environment: environment)
    var validator = FunctionValidator(module: module, binary: binary)
    compiler.beginChunk()
    var starts: [UInt32] = []
    for index in functions.indices {
      try validator.validate(bodyIndex: index, into: &compiler.ops)
      let record = compiler.compile()
      starts.append(try #require(record).start)
    }
    let chunk = compiler.asm.takeChunk()
    if let code { try processor.unmap(code.address, code.count) }
    let pages = try HostPages(count: chunk.code.count)
    Self.write(chunk, to: pages)
    try processor.map(pages, .readExecute)
    code = pages
    return starts.map { pages.address + UInt64($0) }
  }

  func call(_ address: UInt64, _ function: WasmBuilder.Function, _ values: [UInt64]) -> Result<
    NumericOutcome, ProcessorStop
  > {
    var integers: [Argument] = []
    var floats: [Argument] = []
    for (type, value) in zip(function.parameters, values) {
      switch NumericType(rawValue: type) {
      case .f32: floats.append(.float(Float(bits: value)))
      case .f64: floats.append(.double(Double(bits: value)))
      // Our convention has an i32 zero-extended.
      default: integers.append(.integer64(value))
      }
    }
    while integers.count < 6 { integers.append(.integer64(0xDEAD_BEEF_DEAD_BEEF)) }
    integers += [.integer64(context.address), .integer64(address)]
    do {
      let result = try processor.call(thunk.address, integers + floats)
      return switch NumericType(rawValue: function.results[0]) {
      case .f32: .success(.value(result.vector.low & 0xFFFF_FFFF))
      case .f64: .success(.value(result.vector.low))
      default: .success(.value(result.integer))
      }
    } catch {
      if case .undefined(let word) = error.reason, let code = UInt16(exactly: word),
        let trap = NumericTrap(rawValue: code)
      {
        return .success(.trap(trap))
      }
      return .failure(error)
    }
  }
}
