// Random C programs of several objects that refer to each other in every way that C has.
//
// What breaks in a linker is rarely a kind of relocation by itself: it is an addend, an alignment, a symbol that is
// local here and global there, a section that comes second. So programs are made of small functions and data with as
// many references among them as possible: direct calls, calls through pointers in data, static functions of equal
// names, pointers into the middle of arrays, strings, switches, zero data, weak definitions. Each object is compiled
// by a compiler and with options of its own, as objects in real life are.
//
// A program ends, because functions call only functions of higher numbers, and those no more often than a global
// counter allows. It has no undefined behaviour: arithmetic is unsigned, indices are masked, and floating point stays
// where it is exact or at least the same on both machines (no fused operations, no NaN).

import Foundation
import PrecastMachineCode
import TestSupport

/// A program: one source file for each object.
struct RandomProgram: Sendable {
  private(set) var sources: [(name: String, text: String)] = []
  /// Functions to call, each `u64 (u64)`.
  static let entries = ["entry0", "entry1", "entry2"]

  /// Whatever does not vary: one call of each entry, twice, since data changes.
  static let calls: [CorpusCall] = (entries + entries).enumerated().map { index, entry in
    CorpusCall(function: entry, arguments: [.integer64(UInt64(index) &* 0x1234_5677)], result: .integer64)
  }

  private enum ParameterType: String, CaseIterable {
    case u64, u32, i32, u8, short, double, float
  }

  private struct Function {
    var name: String
    var object: Int
    var parameters: [ParameterType]
    var isStatic: Bool
    var attributes: String
    var declaration: String {
      let list = parameters.enumerated().map { "\($1) p\($0)" }.joined(separator: ", ")
      return "u64 \(name)(\(list.isEmpty ? "void" : list))"
    }
  }

  private struct Datum {
    var name: String
    var object: Int
    var isStatic: Bool
    /// Elements, a power of two.
    var count: Int
    var type: String
    var isConstant: Bool
    var definition: String
    var declaration: String { "\(isConstant ? "const " : "")\(type) \(name)[\(count)]" }
  }

  private var random: Random
  private var functions: [Function] = []
  private var data: [Datum] = []

  init(seed: UInt64) {
    random = Random(seed: seed)
    let objectCount = 2 + random.below(4)
    for object in 0..<objectCount {
      for number in 0..<2 + random.below(5) { addDatum(object: object, number: number) }
    }
    let functionCount = 6 + random.below(20)
    for number in 0..<functionCount {
      let isEntry = number < Self.entries.count
      let isStatic = !isEntry && random.chance(25)
      let object = random.below(objectCount)
      let parameters =
        isEntry
        ? [ParameterType.u64]
        : (0..<random.below(random.chance(15) ? 14 : 5)).map { _ in ParameterType.allCases[random.below(7)] }
      let attributes =
        isStatic
        ? ["", "__attribute__((noinline)) "][random.below(2)]
        : [
          "", "", "__attribute__((noinline)) ", "__attribute__((visibility(\"hidden\"))) ",
          "__attribute__((aligned(64))) ",
        ][
          isEntry ? 0 : random.below(5)]
      // Static functions of different objects share names, so that a mistaken one is called if locals are confused.
      functions.append(
        Function(
          name: isEntry
            ? Self.entries[number]
            : isStatic ? "local\(functions.count { $0.isStatic && $0.object == object })" : "function\(number)",
          object: object, parameters: parameters, isStatic: isStatic, attributes: attributes))
    }
    for object in 0..<objectCount { sources.append(("object\(object).c", text(ofObject: object, objectCount))) }
  }

  private mutating func addDatum(object: Int, number: Int) {
    let isStatic = random.chance(40)
    let name = isStatic ? "datum\(number)" : "datum\(number)_\(object)"
    let count = 1 << (1 + random.below(6))
    let types = ["u64", "u32", "u8", "short", "double"]
    let type = types[random.below(types.count)]
    let isZero = random.chance(30)
    let isConstant = !isZero && random.chance(40)
    var attributes = ""
    if random.chance(20) { attributes += " __attribute__((aligned(\(32 << random.below(4)))))" }
    let storage = (isStatic ? "static " : "") + (isConstant ? "const " : "")
    let elements = (0..<count).map { _ in type == "double" ? "\(random.below(1000)).25" : "\(random.below(128))" }
    data.append(
      Datum(
        name: name, object: object, isStatic: isStatic, count: count, type: type, isConstant: isConstant,
        definition: "\(storage)\(type) \(name)[\(count)]\(attributes)"
          + (isZero ? ";" : " = {\(elements.joined(separator: ", "))};")))
  }

  private mutating func text(ofObject object: Int, _ objectCount: Int) -> String {
    var text = """
      typedef unsigned char u8; typedef unsigned u32; typedef int i32; typedef unsigned long u64;
      extern i32 fuel;
      static u64 from_double(double x) {
        if (!(x > -1e6 && x < 1e6)) x = 1.5;
        return (u64)(long)(x * 16.0);
      }
      typedef u64 (*pointer)(u64);

      """
    if object == 0 { text += "i32 fuel = 400;\n" }
    for datum in data {
      if datum.object == object {
        text += datum.definition + "\n"
      } else if !datum.isStatic {
        text += "extern \(datum.declaration);\n"
      }
    }
    for function in functions where function.object == object || !function.isStatic {
      text += (function.isStatic ? "static " : "") + function.declaration + ";\n"
    }
    // Pointers to data and functions, in data.
    let visible = data.filter { $0.object == object || !$0.isStatic }
    let pointed = (0..<4).map { _ in visible[random.below(visible.count)] }
    text += "static const void *const places[4] = {"
    text += pointed.map { "(const u8 *)\($0.name) + \(random.below($0.count))" }.joined(separator: ", ") + "};\n"
    text += "static pointer entries[] = {\(Self.entries.joined(separator: ", "))};\n"
    text += "const char *const texts_\(object)[] = {\"a\", \"text \(random.below(3))\", \"longer text\", \"\"};\n"
    text += "extern const char *const texts_\((object + 1) % objectCount)[];\n"
    // Weak everywhere but in the last object, whose definition is the one that counts.
    let isStrong = object == objectCount - 1
    text += (isStrong ? "" : "__attribute__((weak)) ") + "u64 overridden(u64 x) { return x + \(object + 1); }\n"
    for (number, function) in functions.enumerated() where function.object == object {
      text += body(of: function, number, visible, objectCount)
    }
    return text
  }

  private mutating func body(
    of function: Function, _ number: Int, _ visible: [Datum], _ objectCount: Int
  ) -> String {
    var text = "\(function.isStatic ? "static " : "")\(function.attributes)\(function.declaration) {\n"
    text += "  u64 r = \(random.next() >> 40);\n"
    for (index, type) in function.parameters.enumerated() {
      text +=
        type == .double || type == .float
        ? "  r = r * 31 + from_double(p\(index));\n" : "  r = r * 31 + (u64)p\(index);\n"
    }
    // Every way out is below this line, every call above 0 of it.
    for _ in 0..<2 + random.below(6) {
      switch random.below(8) {
      case 0, 1, 2: text += "  if (fuel-- > 0) r += \(call(from: function, number));\n"
      case 3:
        let datum = visible[random.below(visible.count)]
        let element = "\(datum.name)[r & \(datum.count - 1)]"
        text += datum.type == "double" ? "  r ^= from_double(\(element));\n" : "  r ^= (u64)\(element);\n"
        if !datum.isConstant { text += "  \(element) = (\(datum.type))(r & 127);\n" }
      case 4:
        text += "  switch (r % \(7 + random.below(6))) {\n"
        for value in 0..<7 {
          text += "  case \(value): r \(["+=", "^=", "*="][random.below(3)]) \(random.below(9999))u; break;\n"
        }
        text += "  default: r = r >> 3 | r << 61;\n  }\n"
      case 5: text += "  r = r * 33 + *(const u8 *)places[r & 3];\n"
      case 6:
        let other = random.chance(50) ? function.object : (function.object + 1) % objectCount
        text += "  for (const char *s = texts_\(other)[r & 3]; *s; s++) r = (r ^ (u8)*s) * 0x100000001b3;\n"
      default:
        text +=
          "  if (fuel > 300 && (r & 7) == 3) { fuel -= 50; r ^= entries[r >> 3 & 1](r); }\n  r ^= overridden(r);\n"
      }
    }
    return text + "  return r;\n}\n"
  }

  private mutating func call(from function: Function, _ number: Int) -> String {
    let candidates = functions[(number + 1)...].filter { !$0.isStatic || $0.object == function.object }
    guard !candidates.isEmpty else { return "overridden(r)" }
    let callee = candidates[candidates.startIndex + random.below(candidates.count)]
    let arguments = callee.parameters.map { type in
      switch type {
      case .double: "(double)(r & 0xffff) * 0.5"
      case .float: "(float)(r & 0xff) * 0.25f"
      default: "(\(type))(r >> \(random.below(30)))"
      }
    }
    return "\(callee.name)(\(arguments.joined(separator: ", ")))"
  }

  /// A way to compile object number `index`, its own.
  static func variant(_ architecture: Architecture, seed: UInt64, object index: Int) -> Variant {
    var random = Random(seed: seed &* 1000 &+ UInt64(index))
    let compilers = CCompiler.allCases.filter { $0.isAvailable(for: architecture) }
    var flags = [["-O0", "-O1", "-O2", "-O3", "-Os"][random.below(5)]]
    // What is not position-independent on x86-64 must stand below 2 GiB.
    flags.append(architecture == .aarch64 && random.chance(50) ? "-fno-pic" : "-fPIC")
    if random.chance(40) { flags.append("-ffunction-sections") }
    if random.chance(40) { flags.append("-fdata-sections") }
    if random.chance(20) { flags.append("-fno-asynchronous-unwind-tables") }
    if architecture == .aarch64, random.chance(30) { flags.append("-mbranch-protection=standard") }
    if architecture == .x86_64, random.chance(30) { flags.append("-fcf-protection=full") }
    if random.chance(20) { flags.append("-g") }
    return Variant(machine: architecture, compiler: compilers[random.below(compilers.count)], flags: flags)
  }

  /// The program as objects, and what its calls return when the system's linkers make a native library of it.
  func compiled(
    for architecture: Architecture, seed: UInt64
  ) throws -> (objects: [(name: String, bytes: [UInt8])], expected: [UInt64]) {
    let folder = try TemporaryDirectory()
    for source in sources { try source.text.write(toFile: folder.file(source.name), atomically: true, encoding: .utf8) }
    let expected = try NativeLibrary(sources.map { $0.name }, in: folder.path).results(of: Self.calls)
    var objects: [(name: String, bytes: [UInt8])] = []
    for (index, source) in sources.enumerated() {
      let variant = Self.variant(architecture, seed: seed, object: index)
      objects += try CompiledObjects([source.name], in: folder.path, variant, ["-w"]).objects
    }
    return (objects, expected)
  }
}
