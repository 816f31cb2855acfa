// Imports that are bound to C functions: what the adapters pass, and what comes back.
//
// The object is linked with C functions by the system's linker, loaded as a shared library, and entered through its own
// trampolines with a context made by hand, so that nothing but generated code stands between the test and C. The C
// functions write down what they are given.

import Foundation
import PrecastCompiler
import PrecastWasm
import TestSupport
import Testing

/// A module that imports `env.f0`, `env.f1`, … and exports for each a function that passes its parameters on.
private struct ForwardingModule {
  /// Value types of parameters and results, as in the binary format.
  var types: [(parameters: [UInt8], results: [UInt8])]
  /// Types by type index of functions that call import 0 and add i64.extend_i32_u, as a check of upper halves.
  var extendsFirst = false

  static func leb(_ value: Int) -> [UInt8] {
    value < 128 ? [UInt8(value)] : [UInt8(value & 127) | 128] + leb(value >> 7)
  }

  private static func section(_ id: UInt8, _ items: [[UInt8]]) -> [UInt8] {
    let body = leb(items.count) + items.flatMap { $0 }
    return [id] + leb(body.count) + body
  }

  private static func name(_ text: String) -> [UInt8] { leb(text.utf8.count) + text.utf8 }

  var binary: WasmBinary {
    var bytes: [UInt8] = [0, 0x61, 0x73, 0x6D, 1, 0, 0, 0]
    var types = types
    if extendsFirst { types.append(([], [0x7E])) }
    bytes += Self.section(
      1, types.map { [0x60] + Self.leb($0.parameters.count) + $0.parameters + Self.leb($0.results.count) + $0.results })
    bytes += Self.section(
      2, self.types.indices.map { Self.name("env") + Self.name("f\($0)") + [0] + Self.leb($0) })
    bytes += Self.section(3, types.indices.map { Self.leb($0) })
    bytes += Self.section(
      7, types.indices.map { Self.name("g\($0)") + [0] + Self.leb(self.types.count + $0) })
    bytes += Self.section(
      10,
      types.indices.map { index in
        var body: [UInt8] = [0]
        if index < self.types.count {
          for parameter in types[index].parameters.indices { body += [0x20] + Self.leb(parameter) }
          body += [0x10] + Self.leb(index)
        } else {
          // i64.extend_i32_u (call 0)
          body += [0x10, 0, 0xAD]
        }
        body.append(0x0B)
        return Self.leb(body.count) + body
      })
    return WasmBinary(bytes)
  }
}

/// An object linked into a shared library and loaded, with a context for its code.
private final class LoadedObject {
  let file: ObjectFile
  private let directory: TemporaryDirectory
  private let library: UnsafeMutableRawPointer
  /// What was added to the addresses in the file.
  private let bias: Int
  /// Words: base of memory 0, store; then the store's: stack limit, activation; then the activation's four.
  private let context = UnsafeMutablePointer<Int>.allocate(capacity: 16)

  init(_ module: ForwardingModule, c: String, bindings: [String], compiler: String, options: [String]) throws {
    directory = try TemporaryDirectory()
    var objectOptions = ObjectOptions()
    objectOptions.bindings = try bindings.map { try #require(ImportBinding($0)) }
    let object = directory.appending("a.o")
    try Compiler().compileObject(module.binary, options: objectOptions, toFile: object.path)
    try c.write(to: directory.appending("c.c"), atomically: true, encoding: .utf8)
    let shared = directory.appending("a.so")
    let result = try run(
      try #require(findTool(compiler)),
      options + ["-shared", "-fPIC", "-o", shared.path, directory.appending("c.c").path, object.path])
    try #require(result.status == 0 && result.errorText == "", "\(result.errorText)")
    file = try ObjectFile(shared)
    library = try #require(dlopen(shared.path, RTLD_NOW | RTLD_LOCAL))
    let seen = try #require(dlsym(library, "seen"))
    bias = Int(bitPattern: seen) - (try #require(file.symbols.first { $0.name == "seen" }).value)
    context.initialize(repeating: 0, count: 16)
    context[1] = Int(bitPattern: context + 8)
    context[9] = Int(bitPattern: context + 10)
  }

  deinit {
    dlclose(library)
    context.deallocate()
  }

  /// The range of addresses of a symbol.
  func range(_ name: String) throws -> Range<Int> {
    let symbol = try #require(file.symbols.first { $0.name == name }, "no symbol \(name)")
    return symbol.value + bias..<symbol.value + bias + symbol.size
  }

  /// A variable of the C code, as words.
  func words(_ name: String) throws -> UnsafeMutablePointer<UInt64> {
    try #require(dlsym(library, name)).assumingMemoryBound(to: UInt64.self)
  }

  /// Frame pointer that the last adapter left.
  var exitFramePointer: Int { context[13] }

  /// Enters code of the module through the trampoline of a type; the first slot's words afterwards.
  func enter(_ code: String, type: Int, _ arguments: [UInt64]) throws -> UInt64 {
    typealias Entry =
      @convention(c) (UnsafeMutableRawPointer, Int, UnsafeMutableRawPointer, UnsafeMutableRawPointer)
      -> UInt64
    let trampoline = try range("wasm[0]::trampoline[\(type)]::enter").lowerBound
    let entry = unsafeBitCast(trampoline, to: Entry.self)
    var slots = [UInt64](repeating: 0, count: 2 * max(1, arguments.count))
    for (index, argument) in arguments.enumerated() { slots[2 * index] = argument }
    let status = try slots.withUnsafeMutableBytes {
      entry(context, try range(code).lowerBound, try #require($0.baseAddress), context + 10)
    }
    #expect(status == 0)
    return slots[0]
  }
}

@Suite(.enabled(if: findTool("gcc") != nil, "gcc is not installed")) struct AdapterTests {
  static let i32: UInt8 = 0x7F
  static let i64: UInt8 = 0x7E
  static let f32: UInt8 = 0x7D
  static let f64: UInt8 = 0x7C

  private static func cType(_ type: UInt8) -> String {
    switch type {
    case i32: "uint32_t"
    case i64: "uint64_t"
    case f32: "float"
    default: "double"
    }
  }

  private static func isNarrow(_ type: UInt8) -> Bool { type == i32 || type == f32 }

  private static let head = """
    #include <stdint.h>
    #include <string.h>
    #include <unwind.h>
    uint64_t seen[64], misaligned, frames[64];
    static _Unwind_Reason_Code note(struct _Unwind_Context *context, void *count) {
      int *n = count;
      if (*n < 64) frames[(*n)++] = _Unwind_GetIP(context);
      return _URC_NO_REASON;
    }
    static void begin(void *frame) {
      int count = 0;
      memset(seen, 0, sizeof seen);
      misaligned += (uintptr_t)frame % 16;
      memset(frames, 0, sizeof frames);
      _Unwind_Backtrace(note, &count);
    }

    """

  private typealias Signature = (parameters: [UInt8], results: [UInt8])

  /// What a value of a type is in the tests: bits that differ in each byte, and are no signalling NaN.
  private static func value(_ type: UInt8, _ index: Int) -> UInt64 {
    let bits = UInt64(index + 1) &* 0x0101_0107_0305_1101
    return isNarrow(type) ? bits & 0xFFFF_FFFF : bits
  }

  /// A C function that writes down its arguments and returns `value` of its result.
  private static func function(_ name: String, _ type: Signature, result: Int) -> String {
    let parameters = type.parameters.enumerated().map { "\(cType($0.element)) a\($0.offset)" }
    var text = "\(type.results.first.map(cType) ?? "void") \(name)("
    text += parameters.isEmpty ? "void" : parameters.joined(separator: ", ")
    text += ") {\n  begin(__builtin_frame_address(0));\n"
    for index in type.parameters.indices { text += "  memcpy(&seen[\(index)], &a\(index), sizeof a\(index));\n" }
    if let type = type.results.first {
      text += "  uint64_t bits = \(value(type, result))u; \(cType(type)) value; memcpy(&value, &bits, sizeof value);\n"
      text += "  return value;\n"
    }
    return text + "}\n"
  }

  /// Signatures with nothing, one of each, more of each kind than there are registers, and mixtures.
  private static var signatures: [Signature] {
    let all = [i32, i64, f32, f64]
    var list: [Signature] = [([], []), ([], [i32]), ([], [f64])]
    for type in all {
      for count in [1, 2, 4, 5, 6, 7, 8, 9, 10, 17] { list.append((Array(repeating: type, count: count), [type])) }
    }
    var random = 1
    for _ in 0..<60 {
      func next(_ bound: Int) -> Int {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (random >> 33) & 0x7FFF_FFFF % bound
      }
      let parameters = (0..<next(26)).map { _ in all[next(4)] }
      list.append((parameters, next(5) == 0 ? [] : [all[next(4)]]))
    }
    return list
  }

  @Test(
    "C functions get the arguments that wasm passes, and wasm gets their results",
    arguments: [("gcc", "-O0"), ("gcc", "-O2"), ("clang-19", "-O0"), ("clang-19", "-O2")])
  func arguments(compiler: String, optimization: String) throws {
    guard findTool(compiler) != nil else { return }
    let signatures = Self.signatures
    let code = signatures.enumerated().map { Self.function("c_\($0.offset)", $0.element, result: $0.offset) }
    let loaded = try LoadedObject(
      ForwardingModule(types: signatures), c: Self.head + code.joined(),
      bindings: signatures.indices.map { "env.f\($0)=c_\($0)" }, compiler: compiler,
      options: [optimization, "-fomit-frame-pointer", "-fasynchronous-unwind-tables"])
    for (index, signature) in signatures.enumerated() {
      let arguments = signature.parameters.enumerated().map { Self.value($0.element, $0.offset) }
      // The first of equal types has the trampolines.
      let type = try #require(
        signatures.firstIndex { $0.parameters == signature.parameters && $0.results == signature.results })
      let adapter = "wasm[0]::adapter[\(index)]::c_\(index)"
      let function = "wasm[0]::function[\(signatures.count + index)]"
      // Through a function that calls it directly, and the adapter itself, as tables and exports have it.
      for code in [function, adapter] {
        let result = try loaded.enter(code, type: type, arguments)
        let seen = try loaded.words("seen")
        #expect((0..<arguments.count).map { seen[$0] } == arguments, "\(code) \(signature)")
        if let type = signature.results.first {
          let mask: UInt64 = Self.isNarrow(type) ? 0xFFFF_FFFF : .max
          #expect(result & mask == Self.value(type, index), "\(code) \(signature)")
        }
        #expect(try loaded.words("misaligned")[0] == 0)

        // The unwinder of the system goes through all frames, with tables alone: the C code has no frame pointers.
        let frames = try loaded.words("frames")
        let stack = (0..<64).map { Int(truncatingIfNeeded: frames[$0]) }
        var wanted = [try loaded.range(adapter), try loaded.range("wasm[0]::trampoline[\(type)]::enter")]
        if code == function { wanted.insert(try loaded.range(function), at: 1) }
        let places = wanted.map { range in stack.firstIndex { range.contains($0 - 1) } ?? -1 }
        #expect(places[0] > 0 && places == (0..<places.count).map { places[0] + $0 }, "\(code)")

        // A walk by frame pointers goes on from the adapter's frame, which was on this thread's stack.
        #expect(loaded.exitFramePointer != 0 && loaded.exitFramePointer % 16 == 0)
      }
    }
  }

  @Test("Upper halves of results of 32 bits are zero, whatever C leaves in them")
  func upperHalves() throws {
    let loaded = try LoadedObject(
      ForwardingModule(types: [([], [Self.i32])], extendsFirst: true),
      c: Self.head + "uint64_t c(void) { begin(__builtin_frame_address(0)); return 0xFEDCBA9887654321u; }\n",
      bindings: ["env.f0=c"], compiler: "gcc", options: ["-O1"])
    #expect(try loaded.enter("wasm[0]::function[2]", type: 1, []) == 0x8765_4321)
  }

  @Test("An object refers to the symbols that imports are bound to, each once, in order")
  func symbols() throws {
    let module = ForwardingModule(types: [([], []), ([Self.i32], []), ([], [Self.i64]), ([], [])])
    var options = ObjectOptions()
    options.bindings = [
      ImportBinding(path: "env.f3", symbol: "zeta"), ImportBinding(path: "env.f0", symbol: "alpha"),
      ImportBinding(path: "env.f2", symbol: "zeta"),
    ]
    let object = try ObjectFile(Data(Compiler().compileObject(module.binary, options: options)))
    // STB_GLOBAL, undefined; all others are local and come before.
    #expect(object.symbols.filter { $0.section == 0 }.map(\.name) == ["", "alpha", "zeta"])
    #expect(object.symbols.suffix(2).allSatisfy { $0.info == 0x10 && $0.value == 0 && $0.size == 0 })
    #expect(object[".symtab"]?.info == object.symbols.count - 2)
    let adapters = object.symbols.filter { $0.name.contains("::adapter[") }.map(\.name)
    #expect(adapters == ["wasm[0]::adapter[0]::alpha", "wasm[0]::adapter[2]::zeta", "wasm[0]::adapter[3]::zeta"])
    // Functions call adapters, and these the symbols: f1 is called through the context.
    let names = Set(object.relocations(of: ".text").map { object.symbols[$0.symbol].name })
    #expect(names == Set(adapters + ["alpha", "zeta"]))
  }

  @Test("What cannot be bound is refused by name")
  func refusals() throws {
    func error(_ types: [(parameters: [UInt8], results: [UInt8])], _ bindings: [String]) -> String {
      var options = ObjectOptions()
      options.bindings = bindings.compactMap { ImportBinding($0) }
      do {
        _ = try Compiler().compileObject(ForwardingModule(types: types).binary, options: options)
        return ""
      } catch {
        return "\(error)"
      }
    }
    #expect(error([([], [])], ["env.f0=f"]) == "")
    #expect(error([([], [])], ["env.f=f"]).contains("no import env.f to bind; the module imports env.f0"))
    #expect(error([([], [])], ["env.f0=f", "env.f0=g"]).contains("env.f0 is bound twice"))
    #expect(error([([], [])], ["env.f0="]).contains("no name for a symbol"))
    #expect(error([([0x6F], [])], ["env.f0=f"]).contains("C has no externref"))
    #expect(error([([], [Self.i32, Self.i32])], ["env.f0=f"]).contains("it has 2 results"))
    #expect(ImportBinding("env.f") == nil)
    #expect(ImportBinding("a=b.c=d") == ImportBinding(path: "a=b.c", symbol: "d"))
  }
}
