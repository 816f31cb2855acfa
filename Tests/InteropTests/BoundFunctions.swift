// The C functions that imports are bound to (`C/bound*.c`), what they are called with, and what is right.
//
// What is right is written down here, in Swift, for a native library cannot be called through every type. The module
// has four ways to each function: a wasm function that passes its parameters on, the import itself as an export, a
// table, and another module that imports that export.

import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastEmulatedRuntime
import PrecastEmulator
import PrecastMachineCode
import PrecastWasm
import TestSupport
import Testing

/// A call of a bound function.
struct BoundCall: Sendable, CustomStringConvertible {
  /// Bits and type of a value; `Value` may hold references, which are not `Sendable`.
  enum Number: Sendable, Equatable {
    case i32(UInt32)
    case i64(UInt64)
    case f32(Float)
    case f64(Double)

    var value: Value {
      switch self {
      case .i32(let value): .i32(value)
      case .i64(let value): .i64(value)
      case .f32(let value): .fromFloat32(value)
      case .f64(let value): .fromFloat64(value)
      }
    }
  }
  var function: String
  var arguments: [Number]
  var result: Number?
  var description: String { "\(function)(\(arguments.map { "\($0)" }.joined(separator: ", ")))" }

  init(_ function: String, _ arguments: Number..., result: Number?) {
    self.function = function
    self.arguments = arguments
    self.result = result
  }
}

enum BoundFunctions {
  /// The types, in the text format.
  static let signatures: [(name: String, parameters: String, result: String)] = [
    ("subtract", "i32 i32", "i32"), ("shift", "i32 i32", "i32"), ("signed_sum", "i32 i32", "i64"),
    ("low_half", "i64", "i32"), ("product", "i64 i64", "i64"), ("half", "f32", "f32"), ("third", "f64", "f64"),
    ("mixed", "i32 f32 i64 f64", "f64"),
    (
      "many",
      "i32 f64 i64 f32 i32 f64 i64 f32 i32 f64 i64 f32 i32 f64 i64 f32 i32 f64 i64 f32 i32 f64", "i64"
    ),
    ("last_float", "f32 f32 f32 f32 f32 f32 f32 f32 f32 f32 f32", "f32"), ("keep", "i64", ""),
    ("kept_value", "", "i64"), ("tick", "", "i64"), ("in_zeros", "i32 i64", "i64"), ("even", "i32", "i32"),
    ("ackermann", "i64 i64", "i64"), ("choose", "i32 i64", "i64"), ("prime", "i32", "i32"), ("length", "i32", "i32"),
    ("mix", "i64 i64", "i64"),
  ]

  static let bindings = signatures.map { ImportBinding(path: "c.\($0.name)", symbol: $0.name) }

  /// A line of the text format for each function.
  private static func lines(
    _ line: (_ index: Int, _ name: String, _ type: String, _ arguments: String) -> String
  ) -> String {
    signatures.enumerated().map { index, signature in
      let parameters = signature.parameters.isEmpty ? "" : "(param \(signature.parameters)) "
      let type = parameters + (signature.result.isEmpty ? "" : "(result \(signature.result))")
      let arguments = signature.parameters.split(separator: " ").indices.map { "local.get \($0)" }
      return line(index, signature.name, type, arguments.joined(separator: " "))
    }.joined(separator: "\n")
  }

  /// The module whose imports are bound.
  static let module = """
    (module $bound
    \(lines { _, name, type, _ in "(import \"c\" \"\(name)\" (func $\(name) \(type)))" })
    (table (export "table") \(signatures.count) funcref)
    (elem (i32.const 0) \(lines { _, name, _, _ in "$\(name)" }))
    \(lines { _, name, _, _ in "(export \"import_\(name)\" (func $\(name)))" })
    \(lines { _, name, type, arguments in
      "(func (export \"call_\(name)\") \(type) \(arguments) call $\(name))"
    })
    \(lines { index, name, type, arguments in
      "(func (export \"table_\(name)\") \(type) \(arguments) i32.const \(index) call_indirect \(type))"
    })
    (func (export "reference") (result funcref) ref.func $subtract)
    (func (export "wrong_type") (result f64) f64.const 1 i32.const 0 call_indirect (param f64) (result f64))
    )
    """

  /// A module that has the functions from another module.
  static let user = """
    (module $user
    \(lines { _, name, type, _ in "(import \"bound\" \"import_\(name)\" (func $\(name) \(type)))" })
    \(lines { _, name, type, arguments in
      "(func (export \"user_\(name)\") \(type) \(arguments) call $\(name))"
    })
    )
    """

  /// The ways to a function: what its export is called.
  static let ways = ["call_", "import_", "table_", "user_"]

  /// The calls, in order, from fresh variables: those of functions that keep none, and of those that do.
  static let pure: [BoundCall] = {
    let minimum = UInt32(bitPattern: Int32.min)
    var calls = [
      BoundCall("subtract", .i32(3), .i32(5), result: .i32(UInt32(bitPattern: -2))),
      BoundCall("subtract", .i32(minimum), .i32(1), result: .i32(0x7FFF_FFFF)),
      BoundCall("shift", .i32(0x8000_0000), .i32(31), result: .i32(1)),
      BoundCall("shift", .i32(.max), .i32(33), result: .i32(0x7FFF_FFFF)),
      BoundCall("signed_sum", .i32(.max), .i32(.max), result: .i64(0xFFFF_FFFE)),
      BoundCall("signed_sum", .i32(minimum), .i32(0), result: .i64(UInt64(bitPattern: Int64(Int32.min)))),
      BoundCall("low_half", .i64(0xFFFF_FFFF_8000_0001), result: .i32(0x8000_0001)),
      BoundCall("product", .i64(.max), .i64(0x1_0000_0001), result: .i64(0 &- 0x1_0000_0001)),
      BoundCall("half", .f32(-3.25), result: .f32(-1.625)), BoundCall("third", .f64(7.5), result: .f64(2.5)),
      BoundCall("mixed", .i32(.max), .f32(0.25), .i64(1 << 40), .f64(0.125), result: .f64(1_099_511_627_775.375)),
      BoundCall(
        "last_float", .f32(1), .f32(2), .f32(3), .f32(4), .f32(5), .f32(6), .f32(7), .f32(8), .f32(9), .f32(10),
        .f32(0.5), result: .f32(54.5)),
      BoundCall("even", .i32(1001), result: .i32(0)), BoundCall("even", .i32(1000), result: .i32(1)),
      BoundCall("ackermann", .i64(2), .i64(12), result: .i64(27)), BoundCall("prime", .i32(15), result: .i32(53)),
    ]
    let integers: [Int64] = [-1, 2, -3, 4, -5, 6, -7, 8, -9, 10, 11]
    let floats = integers.map { Double($0) * 0.5 + 100 }
    // `many`: a c e g i k m o q s u, and b d f h j l n p r t v, which alternate; e, m and u are unsigned.
    let factors: [Int64] = [1, 3, 5, 7, 11, 13, 17, 19, 23, 29, 1]
    var sum: Int64 = 0
    for (index, factor) in factors.enumerated() {
      let isUnsigned = [2, 6, 10].contains(index)
      sum += factor * (isUnsigned ? Int64(UInt32(truncatingIfNeeded: integers[index])) : integers[index])
    }
    let floatSum = floats.enumerated().reduce(0) { $0 + Double($1.offset + 1) * $1.element }
    var many = BoundCall("many", result: .i64(UInt64(bitPattern: sum * 1000 + Int64(floatSum))))
    for index in 0..<11 {
      let integer = integers[index]
      many.arguments.append(
        index % 2 == 0 ? .i32(UInt32(truncatingIfNeeded: integer)) : .i64(UInt64(bitPattern: integer)))
      many.arguments.append(index % 2 == 0 ? .f64(floats[index]) : .f32(Float(floats[index])))
    }
    calls.append(many)
    let x: Int64 = -1_000_001
    for (which, result) in [x + 7, x * 3, -x, x ^ 0x5555, x >> 3, -1_500_001, x & 0xFF00].enumerated() {
      calls.append(
        BoundCall(
          "choose", .i32(UInt32(which)), .i64(UInt64(bitPattern: x)), result: .i64(UInt64(bitPattern: result))))
    }
    calls.append(BoundCall("choose", .i32(.max), .i64(1), result: .i64(4711)))
    for (number, word) in ["precast", "wasm", "elf"].enumerated() {
      let hash = word.utf8.reduce(UInt32(0)) { $0 &* 31 &+ UInt32($1) }
      calls.append(BoundCall("length", .i32(UInt32(number)), result: .i32(hash)))
    }
    for (a, b) in [(1, 2), (UInt64.max, 0x1234_5678_9ABC)] as [(UInt64, UInt64)] {
      calls.append(BoundCall("mix", .i64(a), .i64(b), result: .i64(Corpus.mix(a, b) &+ 1)))
    }
    return calls
  }()

  /// Calls of functions that keep something, with what they return when they have been called `turn` times before.
  static func keeping(turn: Int64) -> [BoundCall] {
    let count = turn + 1
    let start = 100 + count * (count + 1) / 2
    return [
      BoundCall("kept_value", result: .i64(UInt64(bitPattern: turn * 77))),
      BoundCall("keep", .i64(UInt64(bitPattern: (turn + 1) * 77)), result: nil),
      BoundCall("choose", .i32(7), .i64(7), result: .i64(UInt64(bitPattern: (turn + 1) * 77 - 7))),
      BoundCall("tick", result: .i64(UInt64(bitPattern: start * 1000 + 40 + 2 * count))),
      BoundCall("in_zeros", .i32(8999), .i64(5), result: .i64(UInt64(bitPattern: 5 * turn))),
    ]
  }
}

/// Objects, and the way in which they become a module.
struct BoundObjects: Sendable {
  enum Way: Sendable, CaseIterable {
    /// Linked by the loader, with a function of this process for the undefined symbol.
    case inMemory
    /// A finished artifact on disk, which needs nobody.
    case finished
  }

  static let hostMix: @convention(c) (UInt64, UInt64) -> UInt64 = { Corpus.mix($0, $1) }

  /// A module of the C objects of a variant and the wasm object.
  static func module(_ variant: Variant, _ way: Way, engine: Engine) throws -> Module {
    var sources = ["bound.c", "bound_other.c"]
    if way == .finished { sources.append("bound_host.c") }
    let symbols = way == .inMemory ? ["host_mix": unsafe unsafeBitCast(hostMix, to: UInt.self)] : [:]
    let objects = try wasmObject(for: variant.machine) + cObjects(sources, variant)
    return try load(objects, way, symbols: symbols, engine: engine)
  }

  /// A module of objects.
  static func load(
    _ objects: [LinkableObject], _ way: Way, symbols: [String: UInt] = [:], engine: Engine
  ) throws -> Module {
    switch way {
    case .inMemory: return try Module(engine: engine, linking: objects, symbols: symbols)
    case .finished:
      let folder = try TemporaryDirectory()
      try ObjectLinking.link(objects, toFile: folder.file("bound.cwasm"), durable: false)
      return try Module(engine: engine, deserializeFile: folder.file("bound.cwasm"))
    }
  }

  static func cObjects(_ sources: [String], _ variant: Variant) throws -> [LinkableObject] {
    try CompiledObjects(sources, in: Corpus.folder, variant).objects.map { LinkableObject($0.bytes, name: $0.name) }
  }

  static func wasmObject(
    _ text: String = BoundFunctions.module, _ bindings: [ImportBinding] = BoundFunctions.bindings,
    for machine: Architecture = .x86_64
  ) throws -> [LinkableObject] {
    var options = ObjectOptions()
    options.bindings = bindings
    let compiler = Compiler(settings: settings(for: machine))
    return [
      LinkableObject(try compiler.compileObject(WasmBinary(WAT.binary(text)), options: options), name: "module.o")
    ]
  }

  /// A module of the text format, for an engine that runs code of a machine.
  static func module(_ text: String, for machine: Architecture, engine: Engine) throws -> Module {
    let compiler = Compiler(settings: settings(for: machine))
    return try Module(engine: engine, deserialize: compiler.compile(WasmBinary(WAT.binary(text))))
  }

  /// An engine that runs code of a machine: this one, or an emulated one, whose code may call functions of this process.
  static func engine(
    for machine: Architecture, configuration: EngineConfiguration = EngineConfiguration(),
    hostFunctions: Set<UInt> = [unsafe unsafeBitCast(hostMix, to: UInt.self)]
  ) -> Engine {
    machine == .x86_64
      ? Engine(configuration: configuration)
      : Engine(configuration: configuration, processor: EmulatedAArch64(hostFunctions: hostFunctions))
  }

  /// Variants of code for AArch64; none where there is no emulator for it.
  static func emulatedVariants(extra: [String] = []) -> [Variant] {
    AArch64Processor.unavailableReason == nil ? Variant.all(for: .aarch64, extra: extra) : []
  }

  private static func settings(for machine: Architecture) -> CompilerSettings {
    var settings = CompilerSettings()
    settings.architecture = machine
    return settings
  }
}

/// The text format's converter.
enum WAT {
  static let isAvailable = hasTool("wasm-tools")

  static func binary(_ text: String) throws -> [UInt8] {
    let folder = try TemporaryDirectory()
    try Data(text.utf8).write(to: URL(fileURLWithPath: folder.file("module.wat")))
    try run("wasm-tools", ["parse", folder.file("module.wat"), "-o", folder.file("module.wasm")])
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("module.wasm"))))
  }
}
