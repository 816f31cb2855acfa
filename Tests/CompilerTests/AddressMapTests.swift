// The address map is exact, and costs nothing when it is not wanted.
//
// What the compiler wrote is held against sources that it had no hand in: the operators as the
// validator decodes them, and what the machine code itself says about them. A call's target and the
// displacement of an access to memory are in the instruction's bytes, and tell which operator it
// belongs to.

import Foundation
import PrecastArtifact
import PrecastMachineCode
import PrecastWasm
import Testing

@testable import PrecastCompiler

/// A compiled module beside its operators.
private struct Compiled {
  let bytes: [UInt8]
  let module: WasmModule
  /// The live operators of each function.
  var operators: [[Operator]] = []

  init(_ binary: WasmBinary) throws {
    bytes = try Compiler().compile(binary)
    module = try WasmModule(decoding: binary)
    var validator = FunctionValidator(module: module, binary: binary)
    var buffer = OperatorBuffer()
    for index in module.bodies.indices {
      try validator.validate(bodyIndex: index, into: &buffer)
      operators.append((0..<buffer.count).map { buffer[$0] })
    }
  }

  /// A function of the text, with what the tables say of it.
  struct Function {
    let info: FunctionInfo
    let code: ArraySlice<UInt8>
    let map: [RunEntry]
    let traps: [RunEntry]
    /// The live operators by their offset.
    let operators: [UInt32: Operator]
  }

  func forEachFunction(_ body: (Function, _ wasmOffset: (UInt32) throws -> UInt32?) throws -> Void) throws {
    try bytes.withUnsafeBytes { buffer in
      let artifact = try unsafe Artifact(ByteRegion(base: buffer.baseAddress!, count: buffer.count))
      let info = try artifact.moduleInfo()
      let map = try #require(try artifact.addressMap())
      let traps = try artifact.trapTable()
      for index in module.bodies.indices {
        let function = try info.definedFunction(index)
        let start = Int(artifact.header.text.offset) + Int(function.textOffset)
        try body(
          Function(
            info: function, code: bytes[start..<start + Int(function.size)],
            map: map.entries(functionTextOffset: function.textOffset),
            traps: traps.entries(functionTextOffset: function.textOffset),
            operators: Dictionary(operators[index].map { ($0.offset, $0) }) { first, _ in first })
        ) { try map.wasmOffset(functionTextOffset: function.textOffset, codeOffset: $0) }
      }
    }
  }
}

/// Whether the operator can end in the trap.
private func canTrap(_ opcode: Opcode, _ code: TrapCode) -> Bool {
  let opcode = opcode.rawValue
  return switch code {
  case .unreachable: opcode == 0
  case .memoryOutOfBounds: (0x28...0x3E).contains(opcode) || [0xFC08, 0xFC0A, 0xFC0B].contains(opcode)
  case .tableOutOfBounds: [0x25, 0x26, 0xFC0C, 0xFC0E, 0xFC11].contains(opcode)
  case .undefinedElement, .uninitializedElement, .indirectCallTypeMismatch: opcode == 0x11
  case .integerDivideByZero: (0x6D...0x70).contains(opcode) || (0x7F...0x82).contains(opcode)
  case .integerOverflow: [0x6D, 0x7F].contains(opcode) || (0xA8...0xB1).contains(opcode)
  case .invalidConversionToInteger: (0xA8...0xB1).contains(opcode)
  default: false
  }
}

private func file(_ name: String) throws -> WasmBinary {
  let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  return WasmBinary([UInt8](try Data(contentsOf: root.appending(path: "TestData/\(name)"))))
}

@Suite("The address map")
struct AddressMapTests {
  static let programs = ["demo/tracer.wasm", "Command/guest.wasm", "Golden/fib.wasm", "Golden/linked.wasm"]

  @Test("names operators only, and ascends", arguments: programs)
  func entries(_ name: String) throws {
    try Compiled(try file(name)).forEachFunction { function, _ in
      #expect(function.map.first?.codeOffset == 0)
      for (entry, next) in zip(function.map, function.map.dropFirst()) {
        #expect(entry.codeOffset < next.codeOffset)
      }
      // An `end` that emits nothing may stand where the code ends, and covers no byte of it.
      #expect(function.map.dropLast().allSatisfy { $0.codeOffset < function.info.size })
      #expect(function.map.last.map { $0.codeOffset <= function.info.size } ?? true)
      #expect(function.map.allSatisfy { function.operators[$0.value] != nil })
      // In the order of the module up to the code out of line, which starts with a step back.
      let stepsBack = zip(function.map, function.map.dropFirst()).filter { $0.value > $1.value }
      let firstBack = stepsBack.first?.1.codeOffset ?? .max
      let inline = function.map.filter { $0.codeOffset < firstBack }
      #expect(Set(inline.map(\.value)).count >= inline.count - 1, "the prologue belongs to the first operator")
    }
  }

  @Test("gives for every trap site an operator that can trap so, and has all that must", arguments: programs)
  func trapSites(_ name: String) throws {
    var sites = 0
    try Compiled(try file(name)).forEachFunction { function, wasmOffset in
      var found: Set<UInt32> = []
      for site in function.traps {
        let code = try #require(TrapCode(rawValue: UInt8(site.value)))
        let offset = try #require(try wasmOffset(site.codeOffset))
        let op = try #require(function.operators[offset])
        if code == .stackOverflow {
          #expect(offset == function.operators.keys.min())
        } else {
          #expect(canTrap(op.opcode, code), "\(op.opcode) at \(offset): \(code)")
        }
        found.insert(offset)
        sites += 1
      }
      // Accesses and `unreachable` have a site wherever they are alive; divisions may be by a constant.
      for (offset, op) in function.operators
      where op.opcode == .unreachable || (0x28...0x3E).contains(op.opcode.rawValue) {
        #expect(found.contains(offset), "\(op.opcode) at \(offset)")
      }
    }
    #expect(sites > 0 || name.hasPrefix("Golden"))
  }

  @Test("gives for every return address the call before it", arguments: programs)
  func returnAddresses(_ name: String) throws {
    let compiled = try Compiled(try file(name))
    var starts: [Int: Int] = [:]
    try compiled.forEachFunction { function, _ in
      starts[Int(function.info.textOffset)] = compiled.module.importedFunctionCount + starts.count
    }
    try compiled.forEachFunction { function, wasmOffset in
      // E8 and a distance that leads to the start of a function. (By chance other bytes could look the same; in these
      // files they do not.)
      var found: [UInt32: Int] = [:]
      let code = Array(function.code)
      for at in code.indices.dropLast(4) where code[at] == 0xE8 {
        let distance = (0..<4).reduce(UInt32(0)) { $0 | UInt32(code[at + 1 + $1]) << UInt32(8 * $1) }
        let target = Int(function.info.textOffset) + at + 5 + Int(Int32(bitPattern: distance))
        guard let callee = starts[target] else { continue }
        let offset = try #require(try wasmOffset(UInt32(at + 4)))
        #expect(function.operators[offset]?.opcode == .call)
        #expect(Int(function.operators[offset]?.a ?? .max) == callee)
        found[offset] = callee
      }
      let calls = function.operators.values.filter {
        $0.opcode == .call && Int($0.a) >= compiled.module.importedFunctionCount
      }
      #expect(Set(found.keys) == Set(calls.map(\.offset)))
    }
  }

  @Test("is exact to the instruction")
  func accesses() throws {
    // Accesses with offsets of their own, among everything that the compiler folds, delays, or puts out of line.
    var builder = WasmBuilder()
    builder.hasMemory = true
    var number = 0
    func next() -> [UInt8] {
      number += 1
      return WasmBuilder.unsigned(0x1_0000 + number * 0x101)
    }
    let get: [UInt8] = [0x20, 0]
    var code: [UInt8] = []
    for round in 0..<40 {
      code += get + [0x28, 2] + next() + [0x21, 1]  // local.set 1 (i32.load (local.get 0))
      code += get + [0x20, 1] + get + [0x28, 2] + next() + [0x6A, 0x36, 2] + next()  // store of local + load
      code += get + [0x41, 3, 0x6A, 0x41, 5, 0x3A, 0] + next()  // store8 of a constant at local + 3
      code += [0x20, 1] + get + [0x48, 0x04, 0x40]  // if (local 1 < local 0)
      code += get + get + [0x29, 3] + next() + [0x37, 3] + next() + [0x0B]  // i64
      code += [0x02, 0x40] + get + [0x2D, 0] + next() + [0x45, 0x0D, 0, 0x20, 1] + get + [0x6D, 0x21, 1, 0x0B]
      code += [0x03, 0x40] + get + get + [0x2A, 2] + next() + [0x38, 2] + next() + [0x0B]  // f32, in a loop
      if round % 8 == 0 { code += get + [0x10, 1, 0x21, 1] }  // a call spills
      code += [0x20, 1, 0x04, 0x40, 0x00, 0x0B]  // if (local 1) unreachable
    }
    builder.functions.append(
      .init(parameters: [WasmBuilder.i32], results: [], locals: [(1, WasmBuilder.i32)], code: code))
    builder.functions.append(.init(parameters: [WasmBuilder.i32], results: [WasmBuilder.i32], code: get))
    let compiled = try Compiled(builder.binary)
    var checked = 0
    try compiled.forEachFunction { function, wasmOffset in
      let offsets = Dictionary(
        uniqueKeysWithValues: function.operators.values.filter { (0x28...0x3E).contains($0.opcode.rawValue) }
          .map { (UInt32($0.immediate), $0.offset) })
      let code = Array(function.code)
      for site in function.traps where site.value == UInt32(TrapCode.memoryOutOfBounds.rawValue) {
        // The displacement is somewhere in the instruction, which has at most 15 bytes; a folded constant is added to it.
        let window = Array(code[Int(site.codeOffset)...].prefix(15))
        var expected: UInt32?
        for at in 0...max(0, window.count - 4) where expected == nil {
          let value = (0..<4).reduce(UInt32(0)) { $0 | UInt32(window[at + $1]) << UInt32(8 * $1) }
          expected = offsets[value] ?? offsets[value &- 3]
        }
        let found = try wasmOffset(site.codeOffset)
        #expect(found == expected)
        checked += 1
      }
    }
    #expect(checked == number)
  }

  @Test("takes no time when it is left out: nothing is recorded")
  func leftOut() throws {
    let binary = try file("demo/tracer.wasm")
    let module = try WasmModule(decoding: binary)
    for isWanted in [true, false] {
      var settings = CompilerSettings()
      settings.addressMap = isWanted
      let environment = ModuleEnvironment(module: module, binary: binary, settings: settings)
      let chunks = try ChunkedCompilation(environment: environment).run(threads: 1, onProgress: nil)
      let bytes = chunks.reduce(0) { $0 + $1.map.count }
      #expect((bytes > 0) == isWanted)
      var functions = 0
      for chunk in chunks {
        for k in 0..<chunk.functions.count where chunk.functions[k].mapBytes > 0 { functions += 1 }
      }
      #expect(functions == (isWanted ? module.bodies.count : 0))
    }
  }
}
