// Trampolines, adapters and the stub for table elements on AArch64, in the emulated processor: between C's calling
// convention, which the processor's own calls keep to and check, and ours, which code written here keeps to.

import Foundation
import PrecastArtifact
import PrecastEmulator
import PrecastMachineCode
import PrecastWasm
import TestSupport
import Testing

@testable import PrecastCompiler

/// A processor with the structures that stubs refer to, as the runtime makes them.
private final class StubBench {
  let processor: AArch64Processor
  let data: HostPages
  private var code: [HostPages] = []
  let table: SignatureTable
  let signature: Signature
  let parameters: [ValueType]
  let results: [ValueType]
  private let settings: CompilerSettings

  // Offsets in `data`.
  private static let storeOffset = 0
  private static let activationOffset = 256
  private static let contextOffset = 512
  private static let builtinsOffset = 1024
  private static let slotsOffset = 8192

  var store: UInt64 { data.address + UInt64(Self.storeOffset) }
  var activation: UInt64 { data.address + UInt64(Self.activationOffset) }
  var context: UInt64 { data.address + UInt64(Self.contextOffset) }
  var slots: UInt64 { data.address + UInt64(Self.slotsOffset) }
  static let memoryBase: UInt64 = 0x1234_5678_9ABC_0000

  init(_ parameters: [ValueType], _ results: [ValueType], hasLandingPads: Bool = true) throws {
    self.parameters = parameters
    self.results = results
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    if hasLandingPads { settings.cpuFeatures = .bti }
    self.settings = settings
    func bytes(_ types: [ValueType]) -> [UInt8] {
      types.map { [.i32: WasmBuilder.i32, .i64: WasmBuilder.i64, .f32: WasmBuilder.f32, .f64: WasmBuilder.f64][$0]! }
    }
    var builder = WasmBuilder()
    builder.functions.append(.init(parameters: bytes(parameters), results: bytes(results), code: [0]))
    let module = try WasmModule(decoding: builder.binary)
    table = SignatureTable(module.types, .aarch64)
    signature = table.signatures[0]

    processor = try AArch64Processor()
    data = try HostPages(count: 1 << 16)
    try processor.map(data, .readWrite)
    data.write(processor.stackRange.lowerBound, at: Self.storeOffset + StoreContextLayout.stackLimit)
    data.write(activation, at: Self.storeOffset + StoreContextLayout.activation)
    data.write(store, at: Self.contextOffset + ContextLayout.store)
    data.write(Self.memoryBase, at: Self.contextOffset + ContextLayout.memory0Base)
    data.write(data.address + UInt64(Self.builtinsOffset), at: Self.contextOffset + ContextLayout.builtinTable)
  }

  /// Maps code, and lets indirect branches into it be checked if it has landing pads; its address.
  func load(_ chunk: CodeChunk) throws -> UInt64 {
    let pages = try HostPages(count: chunk.code.count)
    chunk.code.withUnsafeBytes { bytes in pages.bytes.copyMemory(from: bytes) }
    pages.protect()
    try processor.map(pages, .readExecute)
    code.append(pages)
    return pages.address
  }

  /// Maps one stub.
  func stub(_ make: (inout AArch64StubAssembler, Signature, SignatureTable) -> StubRecord) throws -> UInt64 {
    var assembler = AArch64StubAssembler(settings: settings)
    let record = make(&assembler, signature, table)
    let address = try load(assembler.takeChunk()) + UInt64(record.start)
    // One range is checked at a time: the last stub's. Tests load the one that is jumped into last.
    if settings.hasLandingPads { processor.guardCode(address, Int(record.size)) }
    return address
  }

  /// Maps a function by our convention.
  func function(_ body: (inout AArch64Assembler) -> Void) throws -> UInt64 {
    var assembler = AArch64Assembler()
    assembler.bti(.call)
    assembler.storePair(.b64, .x29, .x30, to: AArch64Address(base: .sp, displacement: -16, update: .before))
    assembler.mov(.b64, dst: .x29, src: .sp)
    body(&assembler)
    assembler.mov(.b64, dst: .sp, src: .x29)
    assembler.loadPair(.b64, .x29, .x30, from: AArch64Address(base: .sp, displacement: 16, update: .after))
    assembler.ret()
    let isComplete = assembler.finishFunction()
    #expect(isComplete)
    return try load(assembler.takeChunk())
  }

  /// Enters `code` with values in the slots; what the trampoline returns, and what is in the slots then.
  func enter(_ entry: UInt64, _ code: UInt64, _ arguments: [UInt64] = []) throws -> (status: UInt64, slots: [UInt64]) {
    for (index, value) in arguments.enumerated() { data.write(value, at: Self.slotsOffset + 16 * index) }
    let result = try processor.call(
      entry, .integer64(context), .integer64(code), .integer64(slots), .integer64(activation))
    let values = results.indices.map { data.read(UInt64.self, at: Self.slotsOffset + 16 * $0) }
    return (result.integer, zip(values, results).map(Self.significant))
  }

  func setBuiltin(_ builtin: Builtin, _ body: @escaping HostFunction) {
    data.write(processor.addHostFunction(body), at: Self.builtinsOffset + 8 * Int(builtin.rawValue))
  }

  func setCallback(_ body: @escaping HostFunction) {
    data.write(processor.addHostFunction(body), at: Self.contextOffset + ContextLayout.hostCallback)
  }

  /// The part of a slot that a type has.
  static func significant(_ value: UInt64, _ type: ValueType) -> UInt64 {
    type == .i32 || type == .f32 ? value & 0xFFFF_FFFF : value
  }

  /// A field of the activation.
  func activation(_ offset: Int) -> UInt64 { data.read(at: Self.activationOffset + offset) }
  func setStackLimit(_ limit: UInt64) { data.write(limit, at: Self.storeOffset + StoreContextLayout.stackLimit) }
  func field(_ offset: Int) -> UInt64 { data.read(at: Self.contextOffset + offset) }

  /// Changes every register that a callee by our convention may change.
  static func scribble(_ assembler: inout AArch64Assembler) {
    for number in (0..<18).map(UInt8.init) + [27, 30] {
      assembler.mov(.b64, dst: AArch64Register(number: number), immediate: 0xBAD0_0000_0000_0000 | UInt64(number))
    }
    for number in 0..<32 as Range<UInt8> { assembler.vectorNot(.init(number: number), .init(number: number)) }
  }
}

@Suite(.enabled(if: AArch64Processor.unavailableReason == nil, "no emulated processor"))
struct AArch64StubTests {
  static let shapes: [([ValueType], [ValueType])] = [
    ([], []), ([.i32], [.i32]), ([.f32], [.f64]), ([.i64, .f64], [.f32, .i32]),
    (Array(repeating: .i32, count: 9), Array(repeating: .i64, count: 3)),
    (Array(repeating: .f32, count: 11), [.i64, .f32, .f64, .i32]),
    ((0..<40).map { [.i32, .f32, .i64, .f64, .f64][$0 % 5] }, (0..<31).map { [.f64, .i32, .f32, .i64][$0 % 4] }),
    (Array(repeating: .f64, count: 700), Array(repeating: .i32, count: 600)),
  ]

  @Test("Arguments and results pass an entry and an exit trampoline", arguments: shapes.indices, [false, true])
  func passing(shape: Int, hasLandingPads: Bool) throws {
    let (parameters, results) = Self.shapes[shape]
    let bench = try StubBench(parameters, results, hasLandingPads: hasLandingPads)
    let entry = try bench.stub { $0.entry($1, $2) }
    let exit = try bench.stub { $0.exit($1, $2) }
    let arguments = parameters.indices.map { 0x9E37_79B9_7F4A_7C15 &* UInt64($0 + 1) }
    let answers = results.indices.map { 0xD1B5_4A32_D192_ED03 &* UInt64($0 + 1) }
    var calls = 0
    bench.setCallback { call in
      calls += 1
      #expect(call.integer(0) == bench.context)
      #expect(call.integer(1) == 0, "no instance is the caller")
      // The frame of the exit trampoline, whose caller is the entry trampoline.
      let exitFrame = bench.activation(ActivationLayout.exitFramePointer)
      let caller = UnsafePointer<UInt64>(bitPattern: UInt(exitFrame))!.pointee
      #expect(caller == bench.activation(ActivationLayout.entryFramePointer))
      let slots = UnsafeMutablePointer<UInt64>(bitPattern: UInt(call.integer(2)))!
      for (index, type) in parameters.enumerated() {
        #expect(
          StubBench.significant(slots[2 * index], type) == StubBench.significant(arguments[index], type), "\(index)")
        // What belongs to an i32 is all of the 8 bytes.
        if type == .i32 { #expect(slots[2 * index] >> 32 == 0) }
      }
      for (index, value) in answers.enumerated() { slots[2 * index] = value }
      call.return(UInt64(0))
    }
    let outcome = try bench.enter(entry, exit, arguments)
    #expect(outcome.status == 0 && calls == 1)
    #expect(outcome.slots == zip(answers, results).map(StubBench.significant))
  }

  @Test("A callee finds the context, the memory's base and no caller, and may change what is not C's")
  func registers() throws {
    let bench = try StubBench([.i64], [.i64])
    let entry = try bench.stub { $0.entry($1, $2) }
    let code = try bench.function { asm in
      asm.store(.b64, to: AArch64Address(base: .x28, displacement: Int32(ContextLayout.opaque0)), src: .x26)
      asm.store(.b64, to: AArch64Address(base: .x28, displacement: Int32(ContextLayout.opaque1)), src: .x27)
      asm.arithmetic(.add, .b64, .x26, .x0, immediate: 1)
      StubBench.scribble(&asm)
      asm.mov(.b64, dst: .x0, src: .x26)
    }
    // The processor checks that registers and stack are the C caller's afterwards.
    let outcome = try bench.enter(entry, code, [41])
    #expect(outcome.status == 0 && outcome.slots == [42])
    #expect(bench.field(ContextLayout.opaque0) == StubBench.memoryBase)
    #expect(bench.field(ContextLayout.opaque1) == 0)
  }

  @Test("At the return address of the call stands the marker, which changes nothing")
  func marker() throws {
    let bench = try StubBench([], [])
    let entry = try bench.stub { $0.entry($1, $2) }
    let code = try bench.function { asm in
      asm.load(.b64, dst: .x16, from: AArch64Address(base: .x29, displacement: 8))
      asm.load(.b32, dst: .x17, from: AArch64Address(base: .x16))
      asm.store(.b64, to: AArch64Address(base: .x28, displacement: Int32(ContextLayout.opaque0)), src: .x17)
    }
    #expect(try bench.enter(entry, code).status == 0)
    #expect(bench.field(ContextLayout.opaque0) == UInt64(AArch64EntryFrameLayout.marker))
    #expect(AArch64EntryFrameLayout.marker == 0xD28A_EA1F)
  }

  @Test("A trap goes on in the trampoline, which returns 1 with everything restored", arguments: [false, true])
  func trap(hasLandingPads: Bool) throws {
    let bench = try StubBench(Array(repeating: .i64, count: 300), [.i64], hasLandingPads: hasLandingPads)
    let entry = try bench.stub { $0.entry($1, $2) }
    let code = try bench.function { asm in
      asm.arithmetic(.sub, .b64, .sp, .sp, immediate: 4096)
      StubBench.scribble(&asm)
      asm.mov(.b64, dst: .x26, immediate: 0xBAD)
      asm.mov(.b64, dst: .x28, immediate: 0xBAD)
      asm.mov(.b64, dst: .x29, immediate: 0xBAD)
      asm.udf(3)
    }
    var stops = 0
    bench.processor.onTrap = { stop in
      stops += 1
      #expect(stop.reason == .undefined(3))
      return .init(
        pc: bench.activation(ActivationLayout.resumeProgramCounter),
        stackPointer: bench.activation(ActivationLayout.resumeStackPointer))
    }
    #expect(try bench.enter(entry, code).status == 1)
    #expect(stops == 1)
  }

  @Test("A host function's failure ends in the entry trampoline", arguments: [false, true])
  func failure(hasLandingPads: Bool) throws {
    let bench = try StubBench([.i32], [.f64, .f64], hasLandingPads: hasLandingPads)
    let exit = try bench.stub { $0.exit($1, $2) }
    let entry = try bench.stub { $0.entry($1, $2) }
    bench.setCallback { $0.return(UInt64(1)) }
    #expect(try bench.enter(entry, exit, [7]).status == 1)
    // And from a function in between, which is not returned to.
    let between = try bench.function { asm in
      asm.arithmetic(.sub, .b64, .sp, .sp, immediate: 64)
      asm.mov(.b64, dst: .x16, immediate: exit)
      asm.blr(.x16)
      asm.brk(1)
    }
    #expect(try bench.enter(entry, between, [7]).status == 1)
  }

  @Test("Before it has stored its frame pointer, an entry trampoline has changed x29 and sp only, and keeps x30")
  func prologue() throws {
    let bench = try StubBench([.i64], [], hasLandingPads: false)
    let entry = try bench.stub { $0.entry($1, $2) }
    let code = try bench.function { _ in }
    let processor = bench.processor
    var first: [UInt64]?
    var checked = 0
    func registers() -> [UInt64] { (19..<29).map { processor[.x($0)] } + [processor[.x(30)]] }
    func vectors() -> [UInt64] { (8..<16).map { processor[vector: $0].low } }
    var stackPointer: UInt64 = 0
    var framePointer: UInt64 = 0
    processor.observeInstructions { pc in
      guard pc >= entry, bench.activation(ActivationLayout.entryFramePointer) == 0 else { return true }
      let now = registers() + vectors()
      if first == nil {
        first = now
        stackPointer = processor[.sp]
        framePointer = processor[.x(29)]
      }
      #expect(now == first)
      // What the signal handler goes by: bti c; stp; mov.
      switch pc - entry {
      case 0, 4: #expect(processor[.sp] == stackPointer && processor[.x(29)] == framePointer)
      case 8: #expect(processor[.sp] == stackPointer - 16 && processor[.x(29)] == framePointer)
      default: #expect(processor[.x(29)] == stackPointer - 16)
      }
      checked += 1
      return true
    }
    #expect(try bench.enter(entry, code, [1]).status == 0)
    #expect(checked > 10)
    // The frame is where the handler looks for it, as long as the callee runs; it is still there now.
    let frame = bench.activation(ActivationLayout.entryFramePointer)
    func word(_ offset: Int) -> UInt64 { UnsafePointer<UInt64>(bitPattern: Int(frame) + offset)!.pointee }
    #expect(frame == stackPointer - 16 && word(0) == framePointer && word(8) == first?[10])
    #expect(word(AArch64EntryFrameLayout.x26) == first?[7])
    #expect(word(AArch64EntryFrameLayout.x27) == first?[8])
    #expect(word(AArch64EntryFrameLayout.x28) == first?[9])
    for number in 8..<16 { #expect(word(AArch64EntryFrameLayout.vector(number)) == first?[3 + number]) }
    #expect(word(AArch64EntryFrameLayout.slots) == bench.slots)
  }

  @Test(
    "The stub for table elements changes x16 only, of what compiled code keeps values in", arguments: [false, true])
  func resolving(hasLandingPads: Bool) throws {
    let bench = try StubBench([], [], hasLandingPads: hasLandingPads)
    let entry = try bench.stub { $0.entry($1, $2) }
    let stub = try bench.stub { assembler, _, _ in assembler.resolveElement() }
    bench.setBuiltin(.tableResolve) { call in
      #expect(call.integer(0) == bench.context && call.integer(1) == 7 && call.integer(2) == 0xFFFF_FFF0)
      for number in 3..<18 { call.processor[.x(number)] = 0xDEAD }
      for number in 0..<32 where !(8..<16).contains(number) { call.processor[vector: number] = .init(low: 1, high: 1) }
      // C keeps the low halves of these only.
      for number in 8..<16 { call.processor[vector: number].high = 1 }
      call.return(UInt64(0x7777_8888))
    }
    let saved = try HostPages(count: 4096)
    try bench.processor.map(saved, .readWrite)
    let code = try bench.function { asm in
      for number in 0..<16 as Range<UInt8> {
        asm.mov(.b64, dst: .init(number: number), immediate: 0x0123_4567_89AB_CD00 + UInt64(number))
      }
      for number in 0..<16 as Range<UInt8> {
        // Two different halves.
        asm.fmov(.f64, .init(number: number), AArch64Register(number: number))
        asm.vectorNegate(.init(number: number), .init(number: number))
      }
      asm.mov(.b32, dst: .x16, immediate: 7)
      asm.mov(.b64, dst: .x17, immediate: 0xAAAA_AAAA_FFFF_FFF0)
      asm.storePair(.b64, .x16, .x17, to: AArch64Address(base: .sp, displacement: -16, update: .before))
      asm.mov(.b64, dst: .x16, immediate: stub)
      asm.blr(.x16)
      asm.arithmetic(.add, .b64, .sp, .sp, immediate: 16)
      asm.mov(.b64, dst: .x17, immediate: saved.address)
      for number in 0..<17 as Range<UInt8> {
        asm.store(
          .b64, to: AArch64Address(base: .x17, displacement: Int32(number) * 8), src: .init(number: number))
      }
      for number in 0..<16 as Range<UInt8> {
        asm.storeVector(
          to: AArch64Address(base: .x17, displacement: 256 + Int32(number) * 16), src: .init(number: number))
      }
    }
    #expect(try bench.enter(entry, code).status == 0)
    for number in 0..<16 {
      let pattern = 0x0123_4567_89AB_CD00 + UInt64(number)
      #expect(saved.read(UInt64.self, at: 8 * number) == pattern)
      #expect(saved.read(UInt64.self, at: 256 + 16 * number) == pattern ^ 1 << 63)
      #expect(saved.read(UInt64.self, at: 264 + 16 * number) == 1 << 63)
    }
    #expect(saved.read(UInt64.self, at: 8 * 16) == 0x7777_8888)
  }

  // MARK: Adapters

  static let hasCompiler = findTool("aarch64-linux-gnu-gcc") != nil && findTool("aarch64-linux-gnu-objcopy") != nil

  /// The code of one C function that refers to nothing.
  private static func compiled(_ source: String) throws -> [UInt8] {
    let folder = try TemporaryDirectory()
    let file = try folder.write(source, to: "f.c")
    let flags = ["-O2", "-mbranch-protection=bti", "-ffp-contract=off", "-c", file, "-o", folder.file("f.o")]
    try run("aarch64-linux-gnu-gcc", flags)
    try run(
      "aarch64-linux-gnu-objcopy", ["-O", "binary", "-j", ".text", folder.file("f.o"), folder.file("f.bin")])
    return [UInt8](try Data(contentsOf: folder.appending("f.bin")))
  }

  @Test(
    "An adapter calls a C function with arguments of every kind, in registers and on the stack",
    .enabled(if: hasCompiler, "no C compiler for AArch64"), arguments: [ValueType.i32, .i64, .f32, .f64])
  func adapters(result: ValueType) throws {
    let names: [ValueType: String] = [.i32: "int", .i64: "long", .f32: "float", .f64: "double"]
    let parameters: [ValueType] = (0..<26).map { [.i32, .f32, .i64, .f64][$0 % 4] }
    let declarations = parameters.enumerated().map { "\(names[$1]!) a\($0)" }.joined(separator: ", ")
    let sum = parameters.indices.map { "\($0 + 1) * (long)a\($0)" }.joined(separator: " + ")
    let cFunction = try Self.compiled("\(names[result]!) f(\(declarations)) { return \(sum); }")

    let bench = try StubBench(parameters, [result])
    let entry = try bench.stub { $0.entry($1, $2) }
    // The adapter and the function, laid out as in an artifact.
    let symbol: UInt32 = 1
    var traps = TrapTableEncoder(capacity: 64)
    traps.begin()
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    settings.cpuFeatures = .bti
    var assembler = AArch64StubAssembler(settings: settings)
    let record = assembler.adapter(bench.signature, bench.table, symbol: symbol, traps: &traps)
    _ = traps.finish()
    let chunk = assembler.takeChunk()
    var builder = TextSectionBuilder(architecture: .aarch64, symbolCount: 2)
    builder.add(
      symbol: 0, chunk: chunk, offset: Int(record.start), size: Int(record.size),
      relocations: record.firstRelocation..<record.relocationEnd)
    let code = UnsafeMutableRawPointer.allocate(byteCount: cFunction.count, alignment: 16)
    defer { code.deallocate() }
    code.copyMemory(from: cFunction, byteCount: cFunction.count)
    builder.add(symbol: symbol, code: code, size: cFunction.count, relocations: .init(start: nil, count: 0))
    try builder.finish()
    let pages = try HostPages(count: builder.size)
    for index in 0..<builder.pieceCount {
      let piece = builder.piece(index)
      UnsafeMutableRawBufferPointer(rebasing: pages.bytes[piece.textOffset...]).copyMemory(from: piece.bytes)
    }
    pages.protect()
    try bench.processor.map(pages, .readExecute)
    bench.processor.guardCode(pages.address, pages.count)

    var arguments: [UInt64] = []
    var expected = 0
    for (index, type) in parameters.enumerated() {
      let value = (index * 37) % 23 - 11
      switch type {
      // The upper half of a slot is nobody's.
      case .i32: arguments.append(UInt64(UInt32(bitPattern: Int32(value))) | 0xFFFF_FFFF << 32)
      case .i64: arguments.append(UInt64(bitPattern: Int64(value)))
      case .f32: arguments.append(UInt64(Float(value).bitPattern) | 0xFFFF_FFFF << 32)
      default: arguments.append(Double(value).bitPattern)
      }
      expected += (index + 1) * value
    }
    let outcome = try bench.enter(entry, pages.address, arguments)
    #expect(outcome.status == 0)
    let bits: UInt64 =
      switch result {
      case .i32: UInt64(UInt32(bitPattern: Int32(expected)))
      case .i64: UInt64(bitPattern: Int64(expected))
      case .f32: UInt64(Float(expected).bitPattern)
      default: Double(expected).bitPattern
      }
    #expect(outcome.slots == [bits])
    // Its frame is where a stack walk goes on.
    #expect(
      bench.processor.stackRange.contains(bench.activation(ActivationLayout.exitFramePointer)))

    // Without stack left it traps, at the site that the table has.
    bench.setStackLimit(bench.processor.stackRange.upperBound - 64)
    bench.processor.onTrap = { stop in
      #expect(stop.reason == .undefined(UInt32(TrapCode.stackOverflow.rawValue)))
      #expect(stop.pc == pages.address + UInt64(record.size) - 4)
      return .init(
        pc: bench.activation(ActivationLayout.resumeProgramCounter),
        stackPointer: bench.activation(ActivationLayout.resumeStackPointer))
    }
    #expect(try bench.enter(entry, pages.address, arguments).status == 1)
  }
}
