// Traps and backtraces in the terms of the guest's source, for each kind of trap, and each way in which code can be loaded.

import Foundation
import Glibc
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastDebugInfo
import PrecastEmulatedRuntime
import PrecastEmulator
import PrecastLoader
import PrecastMachineCode
import PrecastWasm
import TestSupport
import Testing

/// A way from a wasm binary to a module, and the engine that runs it.
struct Loading: Sendable, CustomTestStringConvertible {
  var name: String
  /// What the code is made for.
  var settings = CompilerSettings()
  var engine: @Sendable () throws -> Engine = { Engine() }
  var load: @Sendable (Engine, _ wasm: [UInt8], CompilerSettings) throws -> Module

  var testDescription: String { name }

  /// For AArch64, run by an emulated processor.
  private var onAArch64: Loading {
    var loading = self
    loading.name += ", for AArch64"
    loading.settings.architecture = .aarch64
    loading.engine = { Engine(processor: EmulatedAArch64(instructionLimit: 1_000_000_000)) }
    return loading
  }

  /// An unlinked object, which the loader links.
  private static func object(_ name: String, _ text: TextSectionOptions = TextSectionOptions()) -> Loading {
    Loading(name: name) { engine, wasm, settings in
      let object = try Compiler(settings: settings).compileObject(WasmBinary(wasm))
      return try Module(
        engine: engine, linking: [LinkableObject(object, name: "guest.o")], layout: LinkLayout(text: text))
    }
  }

  private static let veneers: TextSectionOptions = {
    var options = TextSectionOptions()
    options.testing.forceVeneers = true
    options.testing.padding = 4096
    return options
  }()

  /// Every way there is, on this machine and, where one can be emulated, on AArch64.
  static let all = AArch64Processor.unavailableReason == nil ? native + native.map(\.onAArch64) : native

  private static let native = [
    Loading(name: "a file") { engine, wasm, settings in
      let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).cwasm").path
      defer { try? FileManager.default.removeItem(atPath: path) }
      try Compiler(settings: settings).compile(WasmBinary(wasm), toFile: path)
      return try Module(engine: engine, deserializeFile: path)
    },
    Loading(name: "memory") { engine, wasm, settings in
      try Module(engine: engine, deserialize: try Compiler(settings: settings).compile(WasmBinary(wasm)))
    },
    object("an unlinked object"), object("an unlinked object, functions apart and called through veneers", veneers),
  ]
}

/// A guest of TestData/Debug, with its source.
struct DebugGuest {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("TestData/Debug")
  var wasm: [UInt8]
  var source: [String]
  var sourceName: String

  init(_ name: String, source: String) throws {
    wasm = [UInt8](try Data(contentsOf: Self.folder.appendingPathComponent(name)))
    self.source = try String(contentsOf: Self.folder.appendingPathComponent(source), encoding: .utf8).split(
      separator: "\n", omittingEmptySubsequences: false
    ).map(String.init)
    sourceName = "/guest/" + source
  }

  /// The line that a text occurs in.
  func line(of text: String) throws -> Int {
    try #require(source.firstIndex { $0.contains(text) }.map { $0 + 1 }, "no line has \(text)")
  }
}

/// Whether lines can be had at all here.
let hasLibDW = dlopen("libdw.so.1", RTLD_LAZY) != nil

@Suite(.enabled(if: hasLibDW, "libdw is not installed")) struct SourceBacktraceTests {
  /// A trap that the guest makes: what to call, and what is to be seen.
  struct Case: Sendable, CustomTestStringConvertible {
    var export: String
    var argument: Int32
    var code: TrapCode
    /// The function that has the trap, which is inlined where the compiler optimises, and the mark on its line.
    var function: String
    var mark: String
    /// The first bytes of the operator that traps.
    var operators: [[UInt8]]
    var isInlinable = true
    /// Where the function is.
    var source = "traps"

    var testDescription: String { "\(export)(\(argument))" }
  }

  static let cases = [
    Case(
      export: "unreachable", argument: 1, code: .unreachable, function: "reach", mark: "unreachable",
      operators: [[0x00]]),
    Case(
      export: "divide_by", argument: 0, code: .integerDivideByZero, function: "divide", mark: "divide",
      operators: [[0x6D]]),
    Case(
      export: "overflow", argument: -1, code: .integerOverflow, function: "divide", mark: "divide", operators: [[0x6D]]),
    Case(
      export: "load_at", argument: -4, code: .memoryOutOfBounds, function: "load", mark: "load", operators: [[0x28]]),
    Case(
      export: "call_at", argument: 9999, code: .undefinedElement, function: "call", mark: "call", operators: [[0x11]]),
    Case(
      export: "call_at", argument: 0, code: .uninitializedElement, function: "call", mark: "call", operators: [[0x11]]),
    Case(
      export: "call_other", argument: 0, code: .indirectCallTypeMismatch, function: "call", mark: "call",
      operators: [[0x11]]),
    Case(
      export: "convert_from", argument: 0, code: .invalidConversionToInteger, function: "convert", mark: "convert",
      operators: [[0xA8]]),
    Case(
      export: "convert_from", argument: 1, code: .integerOverflow, function: "convert", mark: "convert",
      operators: [[0xA8]]),
    Case(
      export: "fill_at", argument: 1 << 30, code: .memoryOutOfBounds, function: "fill", mark: "fill",
      operators: [[0xFC, 11]]),
    Case(
      export: "recurse_from", argument: 0, code: .stackOverflow, function: "recurse", mark: "recurse",
      operators: [], isInlinable: false),
    Case(
      export: "put_at", argument: 7, code: .tableOutOfBounds, function: "put", mark: "put", operators: [[0x26]],
      source: "tables"),
  ]

  /// What two ways of loading have to agree on.
  struct Seen: Equatable {
    var function: Int?
    var name: String?
    var wasmOffset: Int?
    var positions: [SourcePosition]

    init(_ frame: Backtrace.Frame) {
      (function, name, wasmOffset) = (frame.functionIndex, frame.functionName, frame.wasmOffset)
      positions = frame.sourcePositions
    }
  }

  func instance(
    _ guest: DebugGuest, _ loading: Loading, _ call: @escaping @Sendable (borrowing Caller, Int32) throws -> Int32
  )
    throws -> Instance
  {
    let engine = try loading.engine()
    let module = try loading.load(engine, guest.wasm, loading.settings)
    let store = Store(engine: engine)
    var imports = Imports()
    imports.define(
      module: "host", name: "call",
      Function(store: store) { (caller: borrowing Caller, a: Int32) throws -> Int32 in try call(caller, a) })
    return try module.instantiate(store: store, imports: imports)
  }

  @Test(arguments: cases, [0, 2])
  func aTrapNamesFunctionOffsetAndLine(_ test: Case, _ level: Int) throws {
    let guest = try DebugGuest("\(test.source)-O\(level).wasm", source: "\(test.source).c")
    var first: [Seen]?
    for loading in Loading.all {
      let instance = try instance(guest, loading) { _, a in a }
      let found = try #require(
        trap { try instance.exports[function: test.export]?.invoke([.i32(UInt32(bitPattern: test.argument))]) })
      #expect(found.code == test.code)
      let frame = try #require(found.frames.first)
      let positions = frame.sourcePositions
      let isInlined = test.isInlinable && level == 2
      #expect(positions.first?.function == test.function)
      #expect(positions.first?.file == guest.sourceName)
      #expect(positions.first?.isInlined == isInlined)
      // A stack overflow is found where a function begins, which is no statement of its own.
      if test.code != .stackOverflow { #expect(try positions.first?.line == guest.line(of: "TRAP \(test.mark)")) }
      #expect(positions.count == (isInlined ? 2 : 1))
      #expect(frame.functionName == (isInlined ? test.export : test.function))
      #expect(positions.last?.function == frame.functionName)
      let offset = try #require(frame.wasmOffset)
      if !test.operators.isEmpty {
        #expect(test.operators.contains { guest.wasm[offset...].starts(with: $0) }, "\(guest.wasm[offset])")
      }
      // The one around it: called, or the function that it was inlined into.
      let outer = isInlined ? positions.dropFirst().first : found.frames.dropFirst().first?.sourcePositions.first
      if test.code == .stackOverflow {
        #expect(outer?.function == "recurse")
        #expect(try outer?.line == guest.line(of: "TRAP recurse"))
      } else {
        #expect(outer?.function == test.export)
        let text = try #require(outer?.line.map { guest.source[$0 - 1] })
        #expect(text.contains("\(test.function)("))
      }
      #expect(found.description.contains("\(guest.sourceName):"))
      // However the code came, the frames are the same. (Of a stack overflow, the first few: stacks are of many sizes.)
      let seen = found.frames.prefix(4).map(Seen.init)
      #expect(seen == first ?? seen, "\(loading.name)")
      first = first ?? seen
    }
  }

  @Test(arguments: [0, 2])
  func aBacktraceOnDemandGoesThroughNestedCalls(level: Int) throws {
    let guest = try DebugGuest("traps-O\(level).wasm", source: "traps.c")
    for loading in Loading.all {
      let captured = Captured()
      let instance = try instance(guest, loading) { caller, a in
        captured.backtraces.append(caller.captureBacktrace())
        if a > 0 {
          return try caller.instance?.exports[function: "ask_host"]?.invoke([.i32(UInt32(a - 1))]).count == 1 ? 7 : 0
        }
        return 5
      }
      #expect(try instance.exports[function: "ask_host"]?.invoke([.i32(2)]) == [.i32(8)])
      #expect(captured.backtraces.count == 3)
      for (depth, backtrace) in captured.backtraces.enumerated() {
        let functions = backtrace.frames.flatMap { frame in
          frame.sourcePositions.map { "\($0.function ?? "") \(frame.depth)" }
        }
        #expect(functions == (0...depth).flatMap { ["ask \($0)", "ask_host \($0)"] })
        #expect(try backtrace.frames.first?.sourcePositions.first?.line == guest.line(of: "TRAP ask"))
        #expect(!backtrace.isTruncated)
      }
    }
    #expect(Backtrace.capture() == Backtrace())
  }

  @Test func anErrorOfTheHostComesOutUnchangedAndATrapKeepsTheOuterFrames() throws {
    struct Refused: Error {}
    let guest = try DebugGuest("traps-O2.wasm", source: "traps.c")
    for loading in Loading.all {
      let refusing = try instance(guest, loading) { _, _ in throw Refused() }
      #expect(throws: Refused.self) { try refusing.exports[function: "ask_host"]?.invoke([.i32(1)]) }
      let trapping = try instance(guest, loading) { caller, a in
        try caller.instance?.exports[function: "divide_by"]?.invoke([.i32(0)])
        return a
      }
      let found = try #require(trap { try trapping.exports[function: "ask_host"]?.invoke([.i32(1)]) })
      let functions = found.frames.flatMap { frame in
        frame.sourcePositions.map { "\($0.function ?? "") \(frame.depth)" }
      }
      #expect(functions == ["divide 0", "divide_by 0", "ask 1", "ask_host 1"])
    }
  }

  @Test func mangledNamesAreTakenApart() throws {
    let guest = try DebugGuest("shop.wasm", source: "shop.cpp")
    for loading in Loading.all {
      for hasDebugInfo in [true, false] {
        let engine = try loading.engine()
        var settings = loading.settings
        settings.debugInfo = hasDebugInfo
        let module = try loading.load(engine, guest.wasm, settings)
        let instance = try module.instantiate(store: Store(engine: engine))
        let found = try #require(trap { try instance.exports[function: "pay"]?.invoke([.i32(1), .i32(0)]) })
        let frame = try #require(found.frames.first)
        #expect(frame.demangledName == "shop::Till::pay(int, int) const")
        #expect(frame.description.hasSuffix("!shop::Till::pay(int, int) const"))
        let positions = frame.sourcePositions
        if hasDebugInfo {
          #expect(positions.map(\.function) == ["shop::Till::pay(int, int) const"])
          #expect(try positions.map(\.line) == [guest.line(of: "TRAP pay")])
        } else {
          #expect(positions.isEmpty)
          #expect(module.artifact.header.extent(of: .dwarf).size == 0)
        }
      }
    }
  }

  @Test func otherLanguagesNamesAreTakenApartByTheirLibraries() {
    #expect(named("_ZN4core9panicking5panic17h0123456789abcdefE") == "core::panicking::panic")
    #expect(named("$s4main3addyS2i_SitF") == "main.add(Swift.Int, Swift.Int) -> Swift.Int")
    for plain in ["printf", "_Zonk", "", "$s", "a\0b", String(repeating: "_ZN", count: 9000)] {
      #expect(named(plain) == plain)
    }
  }

  private func named(_ name: String) -> String? {
    Backtrace.Frame(functionIndex: 0, functionName: name, moduleName: nil, wasmOffset: nil, textOffset: 0, depth: 0)
      .demangledName
  }

  @Test func aTrapAsksForTheSourceAfterItsModuleIsGone() throws {
    let guest = try DebugGuest("traps-O0.wasm", source: "traps.c")
    let found = try #require(
      trap {
        let instance = try instance(guest, Loading.all[0]) { _, a in a }
        try instance.exports[function: "divide_by"]?.invoke([.i32(0)])
      })
    #expect(found.frames.first?.sourcePositions.first?.function == "divide")
  }

  @Test func threadsAskAtOnce() async throws {
    let guest = try DebugGuest("traps-O2.wasm", source: "traps.c")
    let line = try guest.line(of: "TRAP divide")
    try await withThrowingTaskGroup(of: Int?.self) { group in
      for _ in 0..<16 {
        group.addTask {
          let instance = try instance(guest, Loading.all[1]) { _, a in a }
          return trap { try instance.exports[function: "divide_by"]?.invoke([.i32(0)]) }?.frames.first?.sourcePositions
            .first?.line
        }
      }
      for try await found in group { #expect(found == line) }
    }
  }

  @Test func brokenDWARFGivesNoLinesAndNothingElse() throws {
    let guest = try DebugGuest("traps-O2.wasm", source: "traps.c")
    let module = try WasmModule(decoding: WasmBinary(guest.wasm))
    var generator = Random(seed: 267)
    for round in 0..<60 {
      var wasm = guest.wasm
      for section in module.customSections where section.name.hasPrefix(".debug_") && !section.range.isEmpty {
        for _ in 0..<(1 + round / 6) {
          wasm[Int.random(in: section.range, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
        }
      }
      let broken = DebugGuest(wasm: wasm, source: guest.source, sourceName: guest.sourceName)
      let instance = try instance(broken, Loading.all[1]) { _, a in a }
      for test in Self.cases.prefix(4) {
        let found = trap {
          try instance.exports[function: test.export]?.invoke([.i32(UInt32(bitPattern: test.argument))])
        }
        #expect(found?.code == test.code)
        #expect(found?.description.isEmpty == false)
      }
    }
  }
}

extension DebugGuest {
  init(wasm: [UInt8], source: [String], sourceName: String) {
    self.wasm = wasm
    self.source = source
    self.sourceName = sourceName
  }
}

/// What host functions of a test have seen; one thread uses it.
private final class Captured: @unchecked Sendable {
  var backtraces: [Backtrace] = []
}
