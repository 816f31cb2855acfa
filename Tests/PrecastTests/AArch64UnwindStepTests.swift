// Stepping through compiled AArch64 code, and unwinding at every instruction with nothing but `.eh_frame`.
//
// What UnwindStepTests does on this machine with a tracer, done in the emulated processor, which shows each instruction
// before it executes it. The unwinder is binutils' readelf, which interprets the tables into rows (`FrameReader` in UnwindTableTests.swift);
// a row and the registers give the CFA and the caller's registers, and so up to the host.
//
// What is true is known from watching, by a shadow stack: at the first instruction of a function that was called, the return
// address is in x30, the CFA is the stack pointer, and all registers are the caller's. A frame goes with its `ret`, or when
// an entry trampoline resumes below it.

import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastEmulatedRuntime
import PrecastEmulator
import PrecastLoader
import PrecastRuntime
import PrecastWasm
import TestSupport
import Testing

/// Registers at an instruction, or of a caller.
private struct Registers {
  /// x0 to x30, sp, the pc, and d8 to d15, by these numbers.
  var values: [UInt64]

  static let framePointer = 29
  static let link = 30
  static let stackPointer = 31
  static let pc = 32
  static func vector(_ number: Int) -> Int { 33 + number - 8 }
  /// What a C function that called wasm wants back.
  static let preserved = Array(19...29) + (8...15).map(vector)

  init(_ processor: AArch64Processor, pc: UInt64) {
    values = (0..<31).map { processor[.x($0)] } + [processor[.sp], pc] + (8..<16).map { processor[vector: $0].low }
  }

  subscript(_ number: Int) -> UInt64 {
    get { values[number] }
    set { values[number] = newValue }
  }
}

/// A row of a table, ready for use.
private struct UnwindRule {
  var offset: Int
  var base: Int
  var distance: Int
  var saved: [(register: Int, distance: Int)]

  init(_ row: FrameRow) throws {
    func register(_ name: some StringProtocol) throws -> Int {
      switch name {
      case "sp": return Registers.stackPointer
      case "ra": return Registers.link
      default:
        guard let number = Int(name.dropFirst()) else { throw ToolFailure(description: "no register \(name)") }
        return name.hasPrefix("v") ? Registers.vector(number) : number
      }
    }
    func number(_ text: some StringProtocol) throws -> Int {
      guard let number = Int(text) else { throw ToolFailure(description: "no number \(text)") }
      return number
    }
    offset = row.offset
    let parts = row.cfa.split(separator: "+")
    guard parts.count == 2 else { throw ToolFailure(description: "a CFA of \(row.cfa)") }
    base = try register(parts[0])
    distance = try number(parts[1])
    saved = try row.saved.map { (try register($0.key), try number($0.value.dropFirst())) }
  }
}

/// Watches a processor. Used by one thread, the one that calls.
private final class Stepper: @unchecked Sendable {
  struct Function {
    var start: Int
    var end: Int
    var name: String
    var rules: [UnwindRule]
    var isEntry: Bool { name.contains("trampoline[") && name.hasSuffix("::enter") }
  }

  struct Frame {
    /// By its number among the functions.
    var function: Int
    var cfa: UInt64
    var returnAddress: UInt64
    var caller: Registers
  }

  private let functions: [Function]
  private var loadBias: UInt64?
  private var text: Range<UInt64> = 0..<0
  private var stack: [Frame] = []
  private var previous: (pc: UInt64, instruction: UInt32)?
  /// Addresses in the file that were stepped through.
  private(set) var seen: Set<Int> = []
  private(set) var steps = 0
  private(set) var framesChecked = 0
  /// How often an exit trampoline had given its frame up already.
  private(set) var abandoned = 0
  private(set) var complaints: [String] = []

  init(_ artifact: URL) throws {
    let table = try FrameReader.binutils(artifact)
    var functions: [Function] = []
    for (address, size, name) in try Self.symbols(of: artifact) {
      // What adds nothing to the common description, which readelf then does not repeat, has its CFA at the stack pointer.
      let common = [FrameRow(offset: 0, cfa: "sp+0", saved: [:])]
      let rules = try (table[address].map { $0.isEmpty ? common : $0 } ?? []).map(UnwindRule.init)
      functions.append(Function(start: address, end: address + size, name: name, rules: rules))
    }
    self.functions = functions.sorted { $0.start < $1.start }
  }

  /// The functions of the symbol table.
  private static func symbols(of artifact: URL) throws -> [(address: Int, size: Int, name: String)] {
    try run("readelf", ["--symbols", "--wide", artifact.path]).split(separator: "\n").compactMap { line in
      // Num: Value Size Type Bind Vis Ndx Name
      let fields = line.split(separator: " ", maxSplits: 7, omittingEmptySubsequences: true)
      guard fields.count == 8, fields[3] == "FUNC", let address = Int(fields[1], radix: 16), let size = Int(fields[2])
      else { return nil }
      return (address, size, String(fields[7]))
    }
  }

  private func function(at address: Int) -> Int? {
    var low = 0
    var high = functions.count
    while low < high {
      let middle = (low + high) / 2
      if functions[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    return low > 0 && address < functions[low - 1].end ? low - 1 : nil
  }

  private func complain(_ pc: UInt64, _ what: String) {
    if complaints.count < 20 {
      let place = Int(pc - (loadBias ?? 0))
      let name = function(at: place).map { functions[$0].name } ?? "?"
      complaints.append("at \(String(place, radix: 16)) in \(name): \(what)")
    }
  }

  /// The next instruction is at `pc`.
  func step(_ processor: AArch64Processor, _ pc: UInt64) {
    if loadBias == nil, let artifact = LoadedArtifact.containing(pc: UInt(pc)) {
      let start = UInt64(artifact.textBase)
      text = start..<start + UInt64(artifact.textSize)
      loadBias = start - artifact.header.text.offset
    }
    guard let loadBias, text.contains(pc), let here = function(at: Int(pc - loadBias)) else {
      return complain(pc, "no function")
    }
    let registers = Registers(processor, pc: pc)
    if follow(registers, here) {
      // What a called function may change, it changes: so whoever wants these back has to look where they are saved.
      for number in 8..<16 { processor[vector: number] = .init(low: 0xDEAD_0000 + UInt64(number)) }
    }
    steps += 1
    seen.insert(Int(pc - loadBias))
    check(registers, here)
    previous = (pc, load(pc, as: UInt32.self))
  }

  /// Brings the shadow stack up to date. Whether a function was called from an entry trampoline.
  private func follow(_ registers: Registers, _ here: Int) -> Bool {
    let pc = registers[Registers.pc]
    let last = previous?.instruction ?? 0
    if last & 0xFFFF_FC1F == 0xD65F_0000 {  // ret
      guard let frame = stack.popLast() else {
        complain(pc, "a return too many")
        return false
      }
      if text.contains(frame.returnAddress), frame.returnAddress != pc || frame.cfa != registers[Registers.stackPointer]
      {
        complain(pc, "not where the function was called")
      }
    }
    let isCall = last >> 26 == 0x25 || last & 0xFFFF_FC1F == 0xD63F_0000  // bl, blr
    let back = (previous?.pc ?? 0) + 4
    let isFirst = Int(pc - (loadBias ?? 0)) == functions[here].start
    if functions[here].isEntry && isFirst || isCall && pc != back && registers[Registers.link] == back {
      let isEntered = stack.last.map { functions[$0.function].isEntry && !functions[here].isEntry } ?? false
      stack.append(
        Frame(
          function: here, cfa: registers[Registers.stackPointer], returnAddress: registers[Registers.link],
          caller: registers))
      return isEntered
    } else if functions[here].isEntry {
      // The end of a call, a trap or an error: of what was called from here nothing is left.
      while let frame = stack.last, frame.function != here { stack.removeLast() }
    }
    return false
  }

  /// The rules at an address in the file.
  private func rule(at address: Int) -> UnwindRule? {
    guard let function = function(at: address) else { return nil }
    return functions[function].rules.last { $0.offset <= address - functions[function].start }
  }

  private func unwind(_ address: Int, _ registers: Registers) -> Registers? {
    guard let rule = rule(at: address) else { return nil }
    let cfa = registers[rule.base] &+ UInt64(bitPattern: Int64(rule.distance))
    var caller = registers
    for (register, distance) in rule.saved {
      caller[register] = load(cfa &+ UInt64(bitPattern: Int64(distance)), as: UInt64.self)
    }
    caller[Registers.stackPointer] = cfa
    caller[Registers.pc] = caller[Registers.link]
    return caller
  }

  private func fits(_ frame: Frame, _ caller: Registers) -> Bool {
    guard caller[Registers.stackPointer] == frame.cfa, caller[Registers.pc] == frame.returnAddress,
      caller[Registers.framePointer] == frame.caller[Registers.framePointer]
    else { return false }
    return text.contains(frame.returnAddress)
      || Registers.preserved.allSatisfy { caller[$0] == frame.caller[$0] }
  }

  /// Unwinds up to the host.
  private func check(_ registers: Registers, _ here: Int) {
    let pc = registers[Registers.pc]
    let bias = loadBias ?? 0
    var current = registers
    var address = Int(pc - bias)
    for (level, frame) in stack.reversed().enumerated() {
      guard let caller = unwind(address, current) else { return complain(pc, "no rule for frame \(level)") }
      if !fits(frame, caller) {
        // An exit trampoline that leaves after an error has no frame any more: the entry trampoline's caller is as right.
        let entry = stack.last { !text.contains($0.returnAddress) }
        if level == 0, functions[here].name.hasSuffix("::exit"), let entry, fits(entry, caller) {
          abandoned += 1
          return
        }
        return complain(pc, "frame \(level) is not the caller's")
      }
      framesChecked += 1
      if !text.contains(frame.returnAddress) { return }
      current = caller
      address = Int(frame.returnAddress - bias) - 1
    }
    complain(pc, "more frames than there were calls")
  }

  /// Memory of the stack, or of the text, which the processor shares with this process.
  private func load<T: BitwiseCopyable>(_ address: UInt64, as type: T.Type) -> T {
    unsafe UnsafeRawPointer(bitPattern: UInt(address))!.loadUnaligned(as: type)
  }
}

@Suite(
  "Unwinding at every AArch64 instruction",
  .enabled(
    if: AArch64Processor.unavailableReason == nil && findTool("readelf") != nil
      && findTool("aarch64-linux-gnu-objdump") != nil, "needs libunicorn, readelf, and objdump for AArch64"))
struct AArch64UnwindStepTests {
  struct HostFailure: Error {}

  @Test(
    "Every instruction of every frame shape unwinds to its caller",
    // As compiled; linked from an object; linked with every call through a veneer; with functions apart. With landing pads.
    arguments: [(nil, []), (0, []), (1, []), (2, []), (nil, .bti), (1, .bti)] as [(Int?, CPUFeatures)])
  func everyInstruction(layout: Int?, features: CPUFeatures) throws {
    let path = try RealPath(machine: .aarch64)
    let wasm = Repository.testData.appending(path: "Unwind/frames.wasm")
    let folder = try TemporaryDirectory()
    var artifact = folder.appending("linked.cwasm")
    var settings = RealPath.Machine.aarch64.settings
    settings.cpuFeatures = features
    if let layout {
      let object = try Compiler(settings: settings).compileObject(WasmBinary([UInt8](try Data(contentsOf: wasm))))
      try ObjectLinking.link(
        [LinkableObject(object, name: "frames.o")], toFile: artifact.path, durable: false,
        layout: LinkedModuleTests.layouts[layout])
    } else {
      artifact = try path.compile(wasm: wasm, settings: settings)
    }
    let stepper = try Stepper(artifact)
    try callEverything(artifact, stepper)
    #expect(stepper.complaints == [])
    #expect(stepper.steps > 2500)
    #expect(stepper.framesChecked > stepper.steps)
    // Two instructions at most for each error of a host function.
    #expect(stepper.abandoned <= 4)
    let functions = try instructions(of: artifact)
    func missed(_ name: String) -> Int { functions[name, default: []].filter { !stepper.seen.contains($0) }.count }
    func isComplete(_ end: String) -> Bool { functions.keys.contains { $0.hasSuffix(end) && missed($0) == 0 } }
    let isNeverCalled = functions.keys.filter { missed($0) == functions[$0]!.count && $0.contains("function[") }
    #expect(isNeverCalled == [])
    for end in ["::leaf", "::add", "::many_parameters", "::many_results", "::resolve_element", "::enter", "::exit"] {
      #expect(isComplete(end), "\(end)")
    }
    #expect(stepper.seen.count > 1000)
  }

  @Test(
    "Every instruction of adapters, of the C functions that imports are bound to, and of veneers to both unwinds",
    .enabled(
      if: findTool("aarch64-linux-gnu-gcc") != nil && findTool("wasm-tools") != nil,
      "needs a C compiler for AArch64 and wasm-tools"),
    arguments: [0, 1, 2])
  func boundFunctions(layout: Int) throws {
    let folder = try TemporaryDirectory()
    let text = try folder.write(UnwindStepTests.boundModule, to: "module.wat")
    let source = try folder.write(UnwindStepTests.boundSource, to: "bound.c")
    try run("wasm-tools", ["parse", text, "-o", folder.file("module.wasm")])
    try run(
      "aarch64-linux-gnu-gcc",
      [
        "-c", "-O2", "-fPIC", "-fvisibility=hidden", "-fomit-frame-pointer", "-fno-stack-protector", "-o",
        folder.file("bound.o"), source,
      ])
    let names = ["none", "twice", "many", "calls", "dynamic"]
    var options = ObjectOptions()
    options.bindings = names.map { ImportBinding(path: "c.\($0)", symbol: $0) }
    let wasm = WasmBinary([UInt8](try Data(contentsOf: folder.appending("module.wasm"))))
    let object = try Compiler(settings: RealPath.Machine.aarch64.settings).compileObject(wasm, options: options)
    let artifact = folder.appending("bound.cwasm")
    try ObjectLinking.link(
      [LinkableObject(object, name: "module.o"), try LinkableObject(contentsOfFile: folder.file("bound.o"))],
      toFile: artifact.path, durable: false, layout: LinkedModuleTests.layouts[layout])

    let stepper = try Stepper(artifact)
    try callEverything(artifact, stepper)
    #expect(stepper.complaints == [])
    #expect(stepper.abandoned == 0)
    let functions = try instructions(of: artifact)
    // An adapter's check of the stack holds, so its trap is not reached.
    for index in names.indices {
      let adapter = try #require(functions.first { $0.key.hasPrefix("wasm[0]::adapter[\(index)]::") })
      #expect(adapter.value.filter { !stepper.seen.contains($0) }.count <= 1, "\(adapter.key)")
    }
    var stepped = 0
    for name in names + ["large"] {
      let function = try #require(functions.first { $0.key.hasPrefix(name) }, "\(name)")
      let seen = function.value.count { stepper.seen.contains($0) }
      #expect(seen > 1, "\(name)")
      stepped += seen
    }
    #expect(stepped > 60)
    #expect(functions.keys.contains { $0.hasSuffix("stub::veneers") } == (layout == 1))
  }

  /// Where the instructions of each function are; not what fills it up.
  private func instructions(of artifact: URL) throws -> [String: [Int]] {
    var name = ""
    var list: [String: [Int]] = [:]
    for line in try run("aarch64-linux-gnu-objdump", ["-d", "--no-show-raw-insn", artifact.path]).split(separator: "\n")
    {
      if line.hasSuffix(">:") {
        name = String(line.dropFirst(18).dropLast(2))
      } else if let colon = line.firstIndex(of: ":"), !line.hasSuffix("brk\t#0x0"),
        let address = Int(line[..<colon].trimmingCharacters(in: .whitespaces), radix: 16)
      {
        list[name, default: []].append(address)
      }
    }
    return list
  }

  /// What Tests/UnwindSubject does: calls each export, with threes; some imports fail, or call again.
  private func callEverything(_ artifact: URL, _ stepper: Stepper) throws {
    let engine = Engine(processor: EmulatedAArch64(observer: { stepper.step($0, $1) }))
    let store = Store(engine: engine)
    let module = try Module(engine: engine, deserializeFile: artifact.path)
    var imports = Imports()
    for entry in module.imports {
      guard case .function(let type) = entry.type else { continue }
      let name = entry.name
      imports.define(
        module: entry.module, name: name,
        Function(store: store, type: type) { caller, parameters in
          if name == "fail", parameters.first?.i32 == 1 { throw HostFailure() }
          if name == "again", let again = caller.export("again")?.function { _ = try again.invoke([]) }
          return type.results.map(Value.init(defaultOf:))
        })
    }
    let instance = try module.instantiate(store: store, imports: imports)
    for export in module.exports {
      guard case .function(let type) = export.type, let function = instance.exports[function: export.name] else {
        continue
      }
      _ = try? function.invoke(type.parameters.map(three))
    }
  }

  private func three(_ type: ValueType) -> Value {
    switch type {
    case .i32: .i32(3)
    case .i64: .i64(3)
    case .f32: .f32(Float(3).bitPattern)
    case .f64: .f64(3.0.bitPattern)
    case .v128: .v128(low: 3, high: 3)
    default: Value(defaultOf: type)
    }
  }
}
