// Sections: what is accepted, and what is said of what is not.

import PrecastWasm
import Testing

@Suite struct ModuleDecoderTests {
  // MARK: The whole

  @Test("eight bytes are a module")
  func empty() throws {
    let module = try WasmModule(decoding: WasmBinary(header))
    #expect(module.functions.isEmpty && module.bodies.isEmpty && module.exports.isEmpty && module.start == nil)
  }

  @Test("every proper prefix of a module is refused as malformed, or is a module itself")
  func prefixes() {
    let bytes = Self.rich.bytes
    #expect(failure(bytes) == nil)
    for count in 0..<bytes.count {
      let error = failure(Array(bytes[..<count]))
      if let error { #expect(error.kind == .malformed && error.offset <= count, "\(count) bytes: \(error)") }
    }
  }

  @Test(
    "what is wrong with the frame of a module is malformed, at its offset",
    arguments: [
      Refusal([], at: 0, "unexpected end"),
      Refusal([0x00, 0x61, 0x73], at: 3, "unexpected end"),
      Refusal([0x00, 0x61, 0x73, 0x6E, 1, 0, 0, 0], at: 0, "magic header not detected"),
      Refusal([0x00, 0x61, 0x73, 0x6D, 1, 0], at: 6, "unexpected end"),
      Refusal([0x00, 0x61, 0x73, 0x6D, 2, 0, 0, 0], at: 4, "unknown binary version"),
      Refusal(header + [14, 0], at: 8, "malformed section id"),
      Refusal(header + [1], at: 9, "unexpected end"),
      Refusal(header + [1, 5, 0], at: 9, "length out of bounds"),
      Refusal(header + [1, 2, 0, 0], at: 11, "section size mismatch"),
      Refusal(header + [3, 1, 0, 1, 1, 0], at: 11, "unexpected content after last section"),
      Refusal(header + [1, 1, 0, 1, 1, 0], at: 11, "unexpected content after last section"),
      Refusal(header + [0, 1, 5], at: 10, "length out of bounds"),
      Refusal(header + [0, 3, 2, 0xC3, 0x28], at: 11, "malformed UTF-8 encoding"),
      Refusal(header + [0, 4, 3, 0xED, 0xA0, 0x80], at: 11, "malformed UTF-8 encoding"),
      Refusal(header + [1, 6, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00], at: 10, "integer representation too long"),
      Refusal(header + [1, 5, 0x81, 0x80, 0x80, 0x80, 0x10], at: 10, "integer too large"),
      Refusal(header + section(1, [1, 0x61, 0, 0]), at: 11, "malformed function type"),
      Refusal(header + section(1, [1, 0x60, 1, 0x40, 0]), at: 13, "malformed value type"),
      Refusal(header + section(4, [1, 0x7F, 0, 0]), at: 11, "malformed reference type"),
      Refusal(header + section(5, [1, 0x10, 0]), at: 11, "malformed limits flags"),
      Refusal(header + section(6, [1, 0x7F, 4, 0x41, 0, 0x0B]), at: 12, "malformed mutability"),
      Refusal(header + section(2, [1, 0, 0, 9, 0]), at: 13, "malformed import kind"),
      Refusal(header + section(7, [1, 0, 9, 0]), at: 12, "malformed export kind"),
      Refusal(header + section(9, [1, 8, 0, 0]), at: 11, "malformed elements segment kind"),
      Refusal(header + section(11, [1, 3, 0]), at: 11, "malformed data segment kind"),
    ])
  func malformed(refusal: Refusal) throws {
    try refusal.check(.malformed)
  }

  @Test("a count that the bytes cannot hold is malformed, and nothing is allocated for it")
  func counts() {
    for id: UInt8 in [1, 2, 3, 4, 5, 6, 7, 9, 10, 11] {
      let error = failure(header + section(id, [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0, 0, 0]))
      #expect(error?.kind == .malformed, "section \(id): \(error.map { "\($0)" } ?? "accepted")")
    }
    #expect(failure(header + section(1, [1, 0x60, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]))?.kind == .malformed)
    #expect(failure(header + section(9, [1, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]))?.kind == .malformed)
  }

  @Test("functions and bodies, and data count and data segments, must agree in number")
  func consistency() {
    let types = section(1, [1, 0x60, 0, 0])
    for bytes in [
      header + types + section(3, [1, 0]),
      header + types + section(10, [1, 2, 0, 0x0B]),
      header + types + section(3, [2, 0, 0]) + section(10, [1, 2, 0, 0x0B]),
      header + section(12, [1]),
      header + section(12, [0]) + section(11, [1, 1, 0]),
    ] {
      let error = failure(bytes)
      #expect(error?.kind == .malformed && error?.message.contains("inconsistent lengths") == true, "\(bytes)")
    }
    #expect(failure(header + section(12, [1]) + section(11, [1, 1, 0])) == nil)
  }

  @Test("a module that is invalid and, further on, malformed is malformed")
  func malformedComesFirst() {
    var builder = Builder()
    builder.exports = [name("f") + [0, 7]]
    #expect(failure(builder.bytes)?.kind == .invalid)
    #expect(failure(builder.bytes + [99, 0])?.kind == .malformed)
  }

  // MARK: Index spaces

  /// A module with some of everything.
  static var rich: Builder {
    var builder = Builder()
    builder.types = [([i32, i64], [f32]), ([], []), ([i32], [i32, i32])]
    builder.imports = [
      name("env") + name("f") + [0, 1],
      name("env") + name("t") + [1, funcref, 1, 2, 9],
      name("env") + name("m") + [2, 1, 1, 4],
      name("env") + name("g") + [3, i32, 0],
    ]
    builder.functions = [
      (0, [[2, i64], [1, f64]], [0x20, 0, 0x04, 0x40, 0x10, 0, 0x0B, 0x43, 0, 0, 0x80, 0x3F]),
      (1, [], [0x41, 0, 0x41, 0, 0x41, 1, 0xFC, 8, 1, 0, 0xD2, 1, 0x1A]),
    ]
    builder.tables = [[externref, 0, 5]]
    builder.globals = [
      [i32, 1, 0x23, 0, 0x41, 3, 0x6A, 0x0B],
      [i64, 0, 0x42, 0x7F, 0x42, 2, 0x7E, 0x0B],
      [funcref, 0, 0xD2, 2, 0x0B],
    ]
    builder.exports = [
      name("run") + [0, 1], name("memory") + [2, 0], name("table") + [1, 1], name("global") + [3, 2],
    ]
    builder.start = 2
    builder.elements = [[0, 0x41, 0, 0x0B, 2, 0, 1], [5, funcref, 2, 0xD0, funcref, 0x0B, 0xD2, 2, 0x0B]]
    builder.dataCount = 2
    builder.data = [[0, 0x23, 0, 0x0B, 3, 1, 2, 3], [1, 2, 4, 5]]
    builder.custom = section(0, name("extra") + [1, 2, 3])
    return builder
  }

  @Test("imports come first in every index space")
  func indexSpaces() throws {
    let binary = WasmBinary(Self.rich.bytes)
    let module = try WasmModule(decoding: binary)
    #expect(module.imports.map(\.name) == ["f", "t", "m", "g"])
    #expect(
      module.imports[1].descriptor == .table(TableType(element: .funcref, limits: Limits(minimum: 2, maximum: 9))))
    #expect(module.functions == [1, 0, 1] && module.importedFunctionCount == 1 && module.bodies.count == 2)
    #expect(module.tables.map(\.element) == [.funcref, .externref] && module.importedTableCount == 1)
    #expect(module.memories.map(\.limits) == [Limits(minimum: 1, maximum: 4)] && module.importedMemoryCount == 1)
    #expect(module.globals.map(\.value) == [.i32, .i32, .i64, .funcref] && module.importedGlobalCount == 1)
    #expect(module.globals.map(\.isMutable) == [false, true, false, false])
    #expect(module.exports.map(\.kind) == [.function, .memory, .table, .global])
    #expect(module.start == 2)
    #expect(module.type(ofFunction: 1) == FunctionType(parameters: [.i32, .i64], results: [.f32]))
    #expect(module.types.map(\.description) == ["[i32 i64] -> [f32]", "[] -> []", "[i32] -> [i32 i32]"])
    #expect(module.customSections.map(\.name) == ["extra"])
    #expect(binary.bytes(module.customSections[0].range) == [1, 2, 3])
    #expect(binary.bytes(module.data[0].bytes) == [1, 2, 3] && binary.bytes(module.data[1].bytes) == [4, 5])
    #expect(binary.bytes(module.bodies[1].body).first == 0 && binary[module.bodies[1].body.upperBound - 1] == 0x0B)
  }

  @Test("constant expressions are instructions in a pool")
  func constantExpressions() throws {
    let module = try WasmModule(decoding: WasmBinary(Self.rich.bytes))
    let values = module.globalInitializers.map { Array(module.instructions(of: $0)) }
    #expect(
      values == [
        [.globalGet(0), .i32Const(3), .i32Add], [.i64Const(-1), .i64Const(2), .i64Mul], [.refFunction(2)],
      ])
    guard case .active(let memory, let offset) = module.data[0].mode else { return #expect(Bool(false)) }
    #expect(memory == 0 && Array(module.instructions(of: offset)) == [.globalGet(0)])
    #expect(module.data[1].mode == .passive)
  }

  @Test("functions named in exports, elements and globals may be referred to; others may not")
  func references() throws {
    let module = try WasmModule(decoding: WasmBinary(Self.rich.bytes))
    #expect((0..<4).map { module.isReferenced(function: $0) } == [true, true, true, false])
    var builder = Self.rich
    builder.exports = []
    builder.elements = []
    builder.globals.removeLast()
    let error = failure(builder.bytes)
    #expect(error?.kind == .invalid && error?.message.hasPrefix("undeclared function reference") == true)
  }

  @Test("integers in constants have their full range")
  func integers() throws {
    var builder = Builder()
    builder.globals = [
      [i32, 0, 0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x0B],
      [i32, 0, 0x41, 0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0x0B],
      [i32, 0, 0x41, 0xFF, 0xFF, 0x7F, 0x0B],
      [i64, 0, 0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7F, 0x0B],
      [i64, 0, 0x42, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x0B],
      [i32, 0, 0x41, 0x40, 0x0B], [i32, 0, 0x41, 0x3F, 0x0B],
      [f32, 0, 0x43, 1, 2, 3, 4, 0x0B], [f64, 0, 0x44, 1, 2, 3, 4, 5, 6, 7, 8, 0x0B],
    ]
    let module = try WasmModule(decoding: WasmBinary(builder.bytes))
    #expect(
      module.constantInstructions == [
        .i32Const(.min), .i32Const(.max), .i32Const(-1), .i64Const(.min), .i64Const(.max), .i32Const(-64),
        .i32Const(63), .f32Const(bits: 0x0403_0201), .f64Const(bits: 0x0807_0605_0403_0201),
      ])
  }

  @Test("element segments have eight forms")
  func elementForms() throws {
    var builder = Builder()
    builder.types = [([], [])]
    builder.functions = [(0, [], [])]
    builder.tables = [[funcref, 0, 1], [externref, 0, 1], [funcref, 0, 1]]
    let zero: [UInt8] = [0x41, 0, 0x0B]
    let function: [UInt8] = [0xD2, 0, 0x0B]
    builder.elements = [
      [0] + zero + [1, 0],
      [1, 0, 1, 0],
      [2, 2] + zero + [0, 1, 0],
      [3, 0, 1, 0],
      [4] + zero + [1] + function,
      [5, externref, 1, 0xD0, externref, 0x0B],
      [6, 1] + zero + [externref, 0],
      [7, funcref, 1] + function,
    ]
    let module = try WasmModule(decoding: WasmBinary(builder.bytes))
    let types: [ValueType] = [.funcref, .funcref, .funcref, .funcref, .funcref, .externref, .externref, .funcref]
    #expect(module.elements.map(\.type) == types)
    #expect(module.elements.map(\.items.count) == [1, 1, 1, 1, 1, 1, 0, 1])
    let modes = module.elements.map { segment in
      switch segment.mode {
      case .active(let table, _): "active \(table)"
      case .passive: "passive"
      case .declarative: "declarative"
      }
    }
    #expect(
      modes == ["active 0", "passive", "active 2", "declarative", "active 0", "passive", "active 1", "declarative"])
    #expect(module.elements[0].items == .functions([0]))
  }

  // MARK: Validation

  static func changed(_ change: (inout Builder) -> Void) -> [UInt8] {
    var builder = rich
    change(&builder)
    return builder.bytes
  }

  @Test(
    "a module that breaks a rule is invalid, in the words of the specification's tests",
    arguments: [
      Refusal(changed { $0.exports.append(name("run") + [2, 0]) }, "duplicate export name"),
      Refusal(changed { $0.exports.append(name("f") + [0, 3]) }, "unknown function 3"),
      Refusal(changed { $0.exports.append(name("f") + [1, 2]) }, "unknown table 2"),
      Refusal(changed { $0.exports.append(name("f") + [2, 1]) }, "unknown memory 1"),
      Refusal(changed { $0.exports.append(name("f") + [3, 4]) }, "unknown global 4"),
      Refusal(changed { $0.start = 1 }, "start function"),
      Refusal(changed { $0.start = 9 }, "unknown function 9"),
      Refusal(changed { $0.functions[0].type = 3 }, "unknown type 3"),
      Refusal(changed { $0.tables = [[funcref, 1, 5, 4]] }, "size minimum must not be greater than maximum"),
      Refusal(
        changed { $0.imports[2] = name("env") + name("m") + [2, 0, 0x81, 0x80, 4] }, "memory size must be at most 65536"
      ),
      Refusal(changed { $0.globals[0] = [i32, 0, 0x23, 1, 0x0B] }, "unknown global 1"),
      Refusal(changed { $0.globals.append([i32, 0, 0x23, 1, 0x0B]) }, "constant expression required"),
      Refusal(changed { $0.globals.append([i32, 0, 0x41, 0, 0x45, 0x0B]) }, "constant expression required"),
      Refusal(changed { $0.globals.append([i32, 0, 0x42, 0, 0x0B]) }, "type mismatch"),
      Refusal(changed { $0.globals.append([i32, 0, 0x0B]) }, "type mismatch"),
      Refusal(changed { $0.globals.append([i32, 0, 0x41, 0, 0x41, 0, 0x0B]) }, "type mismatch"),
      Refusal(changed { $0.globals.append([i32, 0, 0x41, 0, 0x42, 0, 0x6A, 0x0B]) }, "type mismatch"),
      Refusal(changed { $0.globals.append([funcref, 0, 0xD2, 3, 0x0B]) }, "unknown function 3"),
      Refusal(changed { $0.elements.append([0, 0x41, 0, 0x0B, 1, 3]) }, "unknown function 3"),
      Refusal(changed { $0.elements.append([2, 7, 0x41, 0, 0x0B, 0, 0]) }, "unknown table 7"),
      Refusal(changed { $0.elements.append([2, 1, 0x41, 0, 0x0B, 0, 0]) }, "type mismatch"),
      Refusal(changed { $0.elements.append([5, externref, 1, 0xD2, 0, 0x0B]) }, "type mismatch"),
      Refusal(changed { $0.data[0] = [2, 1, 0x41, 0, 0x0B, 0] }, "unknown memory 1"),
      Refusal(changed { $0.data[0] = [0, 0x42, 0, 0x0B, 0] }, "type mismatch"),
    ])
  func invalid(refusal: Refusal) throws {
    try refusal.check(.invalid)
  }

  @Test("names that are canonically equivalent but not the same are two names")
  func exactNames() throws {
    let bytes = Self.changed { $0.exports = [name("\u{C5}") + [0, 1], name("A\u{30A}") + [0, 1]] }
    #expect(failure(bytes) == nil)
    #expect("\u{C5}" == "A\u{30A}" && ExactName("\u{C5}") != ExactName("A\u{30A}"))
    #expect(Set([ExactName("a"), ExactName("a"), ExactName("b")]).count == 2)
  }

  @Test(
    "what belongs to a later proposal is unsupported, by the proposal's name and its place",
    arguments: [
      Refusal([0x00, 0x61, 0x73, 0x6D, 0x0D, 0, 1, 0], at: 4, .componentModel),
      Refusal(header + section(1, [1, 0x60, 1, 0x7B, 0]), at: 13, .simd),
      Refusal(header + section(1, [1, 0x5F, 0]), at: 11, .gc),
      Refusal(header + section(1, [1, 0x4E, 0]), at: 11, .gc),
      Refusal(header + section(1, [1, 0x60, 1, 0x64, 0x70, 0]), at: 13, .functionReferences),
      Refusal(header + section(1, [1, 0x60, 1, 0x6E, 0]), at: 13, .gc),
      Refusal(header + section(1, [1, 0x60, 1, 0x69, 0]), at: 13, .exceptionHandling),
      Refusal(header + section(4, [1, 0x40, 0, 0x70, 0, 0]), at: 11, .functionReferences),
      Refusal(header + section(5, [1, 4, 0]), at: 11, .memory64),
      Refusal(header + section(5, [1, 3, 0, 1]), at: 11, .threads),
      Refusal(header + section(5, [1, 8, 0, 0]), at: 11, .customPageSizes),
      Refusal(header + section(5, [2, 0, 0, 0, 0]), at: 13, .multiMemory),
      Refusal(header + section(13, [0]), at: 8, .exceptionHandling),
      Refusal(header + section(2, [1, 0, 0, 4, 0, 0]), at: 13, .exceptionHandling),
      Refusal(header + section(6, [1, 0x7F, 0, 0xFD, 0x0C]), at: 13, .simd),
    ])
  func unsupported(refusal: Refusal) throws {
    let error = try refusal.check()
    #expect(error.description.contains(refusal.proposal?.rawValue ?? "no proposal"))
  }

  // MARK: Names

  @Test("the name section gives names by function index, and its damage costs only what follows")
  func nameSection() throws {
    let names = vector([[0] + name("imported"), [2] + name("last")])
    var builder = Self.rich
    builder.custom = section(0, name("name") + section(0, name("rich")) + section(1, names) + [1, 0x7F])
    let binary = WasmBinary(builder.bytes)
    let module = try WasmModule(decoding: binary)
    let section = NameSection(module: module, binary: binary)
    #expect((0..<4).map { section.functionName($0) } == ["imported", nil, "last", nil])
    #expect(section.moduleName.map { binary.bytes($0) } == Array("rich".utf8))
    let none = NameSection(module: try WasmModule(decoding: WasmBinary(Self.rich.bytes)), binary: binary)
    #expect(none.functionNames.isEmpty && none.functionName(0) == nil)
  }
}
