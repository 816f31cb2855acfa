// Functions compiled for AArch64: what the encoding of instructions makes a matter of its own there (frames of any size, jump
// tables, offsets, branches of short reach, landing pads, the place of a trap), by running the code in the emulated processor.
// That it computes what WebAssembly says is tested with whole modules, elsewhere.

import PrecastArtifact
import PrecastEmulator
import PrecastMachineCode
import PrecastWasm
import Testing

@testable import PrecastCompiler

/// The functions of a module, compiled without anything around them, in a processor.
private final class CodeBench {
  private let processor: AArch64Processor
  private let code: HostPages
  private let entry: HostPages
  private let data: HostPages
  private let memory: HostPages
  private let offsets: [Int]
  private let sizes: [Int]
  private let environment: ModuleEnvironment
  /// Trap codes by offset of the instruction in the code.
  let traps: [Int: TrapCode]
  /// Whether all branches had labels within reach.
  let isComplete: Bool

  static let pageSize = 65536

  init(_ builder: WasmBuilder, hasLandingPads: Bool = false, isChecked: Bool = false, reach: Int? = nil) throws {
    let binary = builder.binary
    let module = try WasmModule(decoding: binary)
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    if hasLandingPads { settings.cpuFeatures = .bti }
    if isChecked { settings.memoryStrategy = .checked }
    environment = ModuleEnvironment(module: module, binary: binary, settings: settings)
    var compiler = FunctionCompiler<AArch64Assembler>(environment: environment)
    if let reach { compiler.asm = AArch64Assembler(reach19: reach, reach14: reach) }
    var validator = FunctionValidator(module: module, binary: binary)
    compiler.beginChunk()
    var offsets: [Int] = []
    var sizes: [Int] = []
    var traps: [Int: TrapCode] = [:]
    var isComplete = true
    for body in module.bodies.indices {
      try validator.validate(bodyIndex: body, into: &compiler.ops)
      let first = compiler.traps.bytes.count
      guard let record = compiler.compile() else {
        isComplete = false
        break
      }
      offsets.append(Int(record.start))
      sizes.append(Int(record.size))
      for (offset, code) in Self.sites(compiler.traps.bytes, from: first) { traps[Int(record.start) + offset] = code }
    }
    let chunk = compiler.asm.takeChunk()
    for index in 0..<chunk.relocations.count {
      let relocation = chunk.relocations[index]
      let distance = offsets[Int(relocation.symbol)] - Int(relocation.offset)
      chunk.code.patch32(
        at: Int(relocation.offset), 0x9400_0000 | UInt32(truncatingIfNeeded: distance >> 2) & 0x3FF_FFFF)
    }
    self.offsets = offsets
    self.sizes = sizes
    self.traps = traps
    self.isComplete = isComplete

    processor = try AArch64Processor()
    code = try HostPages(count: max(1, chunk.code.count))
    let pages = code
    chunk.code.withUnsafeBytes { pages.bytes.copyMemory(from: $0) }
    try processor.map(code, .readExecute)
    entry = try HostPages(count: 4096)
    try processor.map(entry, .readExecute)
    data = try HostPages(count: 1 << 16)
    try processor.map(data, .readWrite)
    // One page of memory, and nothing else for as far as an access reaches.
    memory = try HostPages(count: 7 << 30, isReserved: true)
    memory.protect(0..<Self.pageSize, writable: true)
    try processor.map(memory.address, Self.pageSize, .readWrite)
    // The context, a store's after it, then slots.
    data.write(memory.address, at: ContextLayout.memory0Base)
    data.write(data.address + 4096, at: ContextLayout.store)
    data.write(processor.stackRange.lowerBound + 4096, at: 4096 + StoreContextLayout.stackLimit)
    if builder.hasMemory {
      let pair = environment.layout.memory(0).offset
      data.write(memory.address, at: pair)
      data.write(UInt64(Self.pageSize), at: pair + 8)
    }
    if hasLandingPads { processor.guardCode(code.address, code.count) }
  }

  // The run of a function, as `TrapTableEncoder` writes it.
  private static func sites(_ bytes: borrowing CodeBuffer, from first: Int) -> [(Int, TrapCode)] {
    bytes.withUnsafeBytes { bytes in
      var sites: [(Int, TrapCode)] = []
      var at = first
      var offset = -1
      while at < bytes.count {
        let isLong = bytes[at] == 0
        func word(_ at: Int) -> Int { Int(bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)) }
        offset += isLong ? word(at + 1) : Int(bytes[at])
        sites.append((offset, TrapCode(rawValue: UInt8(isLong ? word(at + 5) : Int(bytes[at + 1])))!))
        at += isLong ? 9 : 2
      }
      return sites
    }
  }

  /// The instructions of a function.
  func instructions(_ function: Int) -> [UInt32] {
    stride(from: offsets[function], to: offsets[function] + sizes[function], by: 4).map { code.read(at: $0) }
  }

  enum Outcome: Equatable {
    /// The first result, as x0 and d0 have it.
    case returned(UInt64, Double)
    case trapped(TrapCode)

    /// x0, if it returned.
    var integer: UInt64? { if case .returned(let value, _) = self { value } else { nil } }
  }

  /// Calls a function whose arguments are 64-bit patterns in registers.
  func call(_ function: Int, _ arguments: UInt64...) throws -> Outcome {
    let signature = environment.signatures.signatures[Int(environment.module.functions[function])]
    var assembler = AArch64Assembler()
    let vectors: [(UInt8, Int32)] = [(8, -64), (10, -80), (12, -96), (14, -112)]
    assembler.storePair(.b64, .x29, .x30, to: .init(base: .sp, displacement: -16, update: .before))
    assembler.mov(.b64, dst: .x29, src: .sp)
    assembler.arithmetic(.sub, .b64, .sp, .sp, immediate: 112)
    assembler.storePair(.b64, .x25, .x26, to: .init(base: .x29, displacement: -16))
    assembler.storePair(.b64, .x27, .x28, to: .init(base: .x29, displacement: -32))
    for (register, offset) in vectors {
      assembler.storePair(
        .init(number: register), .init(number: register + 1), to: .init(base: .x29, displacement: offset))
    }
    assembler.mov(.b64, dst: .x28, immediate: data.address)
    assembler.load(.b64, dst: .x26, from: .init(base: .x28))
    assembler.mov(.b64, dst: .x16, src: .x0)
    assembler.mov(.b64, dst: .x17, src: .x1)
    for (index, argument) in arguments.enumerated() {
      data.write(argument, at: 8192 + 8 * index)
      let place = environment.signatures.parameter(signature, index)
      let address = AArch64Address(base: .x16, displacement: Int32(8 * index))
      switch place.kind {
      case .general: assembler.load(.b64, dst: .init(number: place.register), from: address)
      case .vector: assembler.load(FloatSize.f64, dst: .init(number: place.register), from: address)
      case .stack: preconditionFailure("arguments in registers only")
      }
    }
    assembler.blr(.x17)
    for (register, offset) in vectors {
      assembler.loadPair(
        .init(number: register), .init(number: register + 1), from: .init(base: .x29, displacement: offset))
    }
    assembler.loadPair(.b64, .x25, .x26, from: .init(base: .x29, displacement: -16))
    assembler.loadPair(.b64, .x27, .x28, from: .init(base: .x29, displacement: -32))
    assembler.mov(.b64, dst: .sp, src: .x29)
    assembler.loadPair(.b64, .x29, .x30, from: .init(base: .sp, displacement: 16, update: .after))
    assembler.ret()
    let pages = entry
    assembler.code.withUnsafeBytes { pages.bytes.copyMemory(from: $0) }
    processor.invalidateCode(entry.address, entry.count)
    do {
      let result = try processor.call(
        entry.address, .integer64(data.address + 8192), .integer64(code.address + UInt64(offsets[function])))
      return .returned(result.integer, result.double)
    } catch {
      guard error.pc >= code.address, let trap = traps[Int(error.pc - code.address)] else { throw error }
      return .trapped(trap)
    }
  }
}

private let i32 = WasmBuilder.i32
private let i64 = WasmBuilder.i64
private let f64 = WasmBuilder.f64

private func constant(_ value: Int) -> [UInt8] { [0x41] + WasmBuilder.signed(value) }

private func module(_ functions: WasmBuilder.Function..., hasMemory: Bool = false) -> WasmBuilder {
  var builder = WasmBuilder()
  builder.functions = functions
  builder.hasMemory = hasMemory
  return builder
}

@Suite("Code for AArch64", .enabled(if: AArch64Processor.unavailableReason == nil, "no emulated processor"))
struct AArch64CodeTests {
  // MARK: Frames

  /// A function that adds up `locals` locals, all set to its parameter.
  private func sum(_ locals: Int) -> WasmBuilder {
    var code: [UInt8] = []
    for local in 1...locals { code += [0x20, 0, 0x21] + WasmBuilder.unsigned(local) }
    code += [0x42, 0]
    for local in 1...locals { code += [0x20] + WasmBuilder.unsigned(local) + [0x7C] }
    return module(.init(parameters: [i64], results: [i64], locals: [(locals, i64)], code: code))
  }

  @Test(
    "lowers the stack pointer by the frame's size in one instruction, in whole 4 KiB from there on",
    arguments: [
      1, 20, 40, 400, 508, 510, 511, 520, 4000, 20_000,
    ])
  func frames(locals: Int) throws {
    let bench = try CodeBench(sum(locals))
    #expect(try bench.call(0, 1 << 40).integer == UInt64(locals) << 40)
    let words = bench.instructions(0)
    #expect(words[0...1] == [0xA9BF_7BFD, 0x9100_03FD])
    // The context's word, and one for each local, the parameter among them.
    let needed = (8 + 8 * (locals + 1) + 15) / 16 * 16
    // sub sp, sp, #size, or the same times 4096
    let pages = words[2] >> 22 & 1
    #expect(words[2] & 0xFF80_03FF == 0xD100_03FF)
    let size = Int(words[2] >> 10 & 0xFFF) << Int(12 * pages)
    #expect(size >= needed && size < needed + (pages == 1 ? 8192 : 64))
    #expect(size % 16 == 0)
  }

  @Test("traps when the stack is exhausted")
  func stackOverflow() throws {
    // f(n) = f(n + 1) + 1, in frames of a few bytes and of 160 KiB.
    for locals in [0, 20_000] {
      var code: [UInt8] = [0x20, 0] + constant(1) + [0x6A, 0x10, 0] + constant(1) + [0x6A]
      if locals > 0 { for local in 1...locals { code += [0x20] + WasmBuilder.unsigned(local) + [0x6A] } }
      let bench = try CodeBench(module(.init(parameters: [i32], results: [i32], locals: [(locals, i32)], code: code)))
      #expect(try bench.call(0, 0) == .trapped(.stackOverflow))
    }
  }

  @Test("computes where all registers are taken and slots are out of reach", arguments: [0x7C, 0x7D] as [UInt8])
  func spills(operation: UInt8) throws {
    // The ten locals that are used most have registers, six differences have the temporaries. What is made of local 10, which
    // is in its slot, and a product then has to make room first.
    let last = 45
    var code: [UInt8] = []
    for local in 2...last { code += [0x20, 0, 0x21, UInt8(local)] }
    for local in 2...9 {
      for _ in 0..<2 { code += [0x20, UInt8(local), 0x20, 1, 0x85, 0x21, UInt8(local)] }
    }
    for local in 2...7 { code += [0x20, UInt8(local), 0x20, 1, 0x7D] }
    code += [0x20, 10, 0x20, 0, 0x20, 1, 0x7E, operation]
    for _ in 0..<6 { code += [0x7C] }
    for local in 2...last { code += [0x20, UInt8(local), 0x7C] }
    let bench = try CodeBench(
      module(.init(parameters: [i64, i64], results: [i64], locals: [(last - 1, i64)], code: code)))
    let x: UInt64 = 0x1234_5678_9ABC_DEF0
    let y: UInt64 = 0x0FED_CBA9_8765_4321
    let product: UInt64 = x &* y
    let combined: UInt64 = operation == 0x7C ? x &+ product : x &- product
    let others: UInt64 = 6 &* (x &- y) &+ UInt64(last - 1) &* x
    #expect(try bench.call(0, x, y).integer == combined &+ others)
  }

  // MARK: Branches

  /// `br_table` of `count` targets and a default, all of which return their number plus 1; they carry a value or not.
  private func table(_ count: Int, carries: Bool) -> WasmBuilder {
    // Few different labels, so that large tables stay small modules: entry k goes to label k % 7.
    let labels = 8
    var code: [UInt8] = Array(repeating: [0x02, carries ? i32 : 0x40], count: labels).flatMap { $0 }
    if carries { code += constant(100) }
    code += [0x20, 0, 0x0E] + WasmBuilder.unsigned(count)
    code += (0..<count).map { UInt8($0 % 7) } + [7]
    for label in 0..<labels {
      code += [0x0B]
      if carries { code += constant(label) + [0x6A, 0x0F] } else { code += constant(label + 100) + [0x0F] }
    }
    code += [0x00]
    return module(.init(parameters: [i32], results: [i32], code: code))
  }

  @Test("jumps by tables of any size", arguments: [0, 1, 3, 4, 5, 100, 4095, 4096, 5000], [false, true])
  func tables(count: Int, hasLandingPads: Bool) throws {
    for carries in [false, true] {
      let bench = try CodeBench(table(count, carries: carries), hasLandingPads: hasLandingPads)
      for index in Set([0, 1, 2, 3, 4, count - 1, count, count + 1, 0x7FFF_FFFF, 0xFFFF_FFFF]) where index >= 0 {
        let expected = index < count ? index % 7 : 7
        #expect(try bench.call(0, UInt64(index)).integer == UInt64(100 + expected), "index \(index) of \(count)")
      }
    }
  }

  @Test("branches on a value that is in the register that the branch's own value goes to")
  func conditionInResultRegister() throws {
    // (block (result i32) (i32.const 11) (call 0 (x)) (br_if 0) (drop) (i32.const 22)), and the same of i64 by eqz.
    let identity = WasmBuilder.Function(parameters: [i32], results: [i32], code: [0x20, 0])
    let branch = WasmBuilder.Function(
      parameters: [i32], results: [i32],
      code: [0x02, i32] + constant(11) + [0x20, 0, 0x10, 0, 0x0D, 0, 0x1A] + constant(22) + [0x0B])
    let inverse = WasmBuilder.Function(
      parameters: [i32], results: [i32],
      code: [0x02, i32] + constant(11) + [0x20, 0, 0x10, 0, 0x45, 0x0D, 0, 0x1A] + constant(22) + [0x0B])
    let conditional = WasmBuilder.Function(
      parameters: [i32], results: [i32],
      code: [0x20, 0, 0x10, 0, 0xAC, 0x50, 0x04, i32] + constant(22) + [0x05] + constant(11) + [0x0B])
    let bench = try CodeBench(module(identity, branch, inverse, conditional))
    for value: UInt64 in [0, 1, 0x8000_0000] {
      #expect(try bench.call(1, value).integer == (value != 0 ? 11 : 22))
      #expect(try bench.call(2, value).integer == (value == 0 ? 11 : 22))
      #expect(try bench.call(3, value).integer == (value != 0 ? 11 : 22))
    }
  }

  @Test("reaches every label from everywhere, however short branches are", arguments: [64, 256, nil])
  func reach(_ reach: Int?) throws {
    // A loop of many ifs, each of which adds a bit of the parameter to the sum, with divisions that may trap in between.
    var code: [UInt8] = [0x03, 0x40]
    for bit in 0..<31 {
      code += [0x20, 0] + constant(bit) + [0x76] + constant(1) + [0x71, 0x04, 0x40]
      code += [0x20, 1] + constant(1 << bit) + [0x20, 2, 0x6D, 0x6A, 0x21, 1, 0x0B]
    }
    code += [0x20, 3] + constant(1) + [0x6A, 0x22, 3] + constant(3) + [0x49, 0x0D, 0, 0x0B, 0x20, 1]
    let bench = try CodeBench(
      module(.init(parameters: [i32, i32, i32], results: [i32], locals: [(1, i32)], code: code)), reach: reach)
    #expect(try bench.call(0, 0x5A5A_1234, 0, 1).integer == (0x5A5A_1234 * 3) & 0xFFFF_FFFF)
    #expect(try bench.call(0, 0x5A5A_1234, 0, 0) == .trapped(.integerDivideByZero))
    #expect(try bench.call(0, 0, 5, 0).integer == 5)
  }

  // MARK: Memory

  private static let offsets = [
    0, 1, 8, 255, 256, 4095, 4096, 4097, 8 * 4095, 65528, 0xF000, 1 << 20, 0x7FFF_FF00, 0xFFFF_FFFF,
  ]

  @Test("reads and writes at any offset, and traps at the access", arguments: offsets, [false, true])
  func memory(offset: Int, isChecked: Bool) throws {
    // Stores and loads of all widths, with an index in a register, and with a constant one.
    let place = WasmBuilder.unsigned(offset)
    func store(_ opcode: UInt8, _ index: [UInt8]) -> [UInt8] { index + [0x20, 1, opcode, 0] + place }
    func load(_ opcode: UInt8, _ index: [UInt8]) -> [UInt8] { index + [opcode, 0] + place }
    var functions: [WasmBuilder.Function] = []
    let widths: [(store: UInt8, load: UInt8, bytes: Int)] = [
      (0x3C, 0x31, 1), (0x3D, 0x33, 2), (0x3E, 0x35, 4), (0x37, 0x29, 8),
    ]
    for (storing, loading, _) in widths {
      for index in [[0x20, 0], constant(40)] {
        functions.append(
          .init(parameters: [i32, i64], results: [i64], code: store(storing, index) + load(loading, index)))
      }
    }
    var builder = WasmBuilder()
    builder.functions = functions
    builder.hasMemory = true
    let bench = try CodeBench(builder, isChecked: isChecked)
    let value: UInt64 = 0x8182_8384_8586_8788
    for (position, (_, _, bytes)) in widths.enumerated() {
      let mask = UInt64.max >> UInt64(64 - 8 * bytes)
      let last = CodeBench.pageSize - bytes
      // The last bytes of memory, and one further.
      for index in [0, last - offset, last - offset + 1, 0xFFFF_FFFF] where index >= 0 {
        let isInside = index + offset <= last
        let outcome = try bench.call(2 * position, UInt64(index), value)
        #expect(outcome.integer == (isInside ? value & mask : nil), "\(bytes) bytes at \(index) + \(offset)")
        if !isInside { #expect(outcome == .trapped(.memoryOutOfBounds)) }
      }
      #expect(try bench.call(2 * position + 1, 0, value).integer == (40 + offset <= last ? value & mask : nil))
    }
  }

  // MARK: Landing pads

  @Test("begins with a landing pad where they are asked for, and nowhere else")
  func landingPads() throws {
    for hasLandingPads in [false, true] {
      let bench = try CodeBench(sum(3), hasLandingPads: hasLandingPads)
      #expect((bench.instructions(0)[0] == 0xD503_245F) == hasLandingPads)
      #expect(try bench.call(0, 5).integer == 15)
    }
  }
}
