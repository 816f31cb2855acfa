// What several of these tests need: whole-module validation, and building small binaries by hand.

import PrecastWasm
import Testing

/// Decodes and validates a whole module, bodies included. Returns the number of live operators.
///
/// - Parameter check: called with each body's operators.
@discardableResult
func validate(
  _ binary: WasmBinary, check: (WasmModule, borrowing OperatorBuffer) -> Void = { _, _ in }
) throws(WasmError) -> Int {
  let module = try WasmModule(decoding: binary)
  var validator = FunctionValidator(module: module, binary: binary)
  var buffer = OperatorBuffer()
  var count = 0
  for index in module.bodies.indices {
    try validator.validate(bodyIndex: index, into: &buffer)
    count += buffer.count
    check(module, buffer)
  }
  return count
}

/// The error that a binary's decoding or validation ends in. Operators that do not add up are reported as an issue.
func failure(_ bytes: [UInt8], _ place: String = "") -> WasmError? {
  do {
    try validate(WasmBinary(bytes)) { module, buffer in
      do { try replay(module, buffer) } catch { Issue.record("\(place) function \(buffer.functionIndex): \(error)") }
    }
    return nil
  } catch {
    return error
  }
}

/// An unsigned LEB128 number.
func leb(_ value: Int) -> [UInt8] {
  var value = value
  var bytes: [UInt8] = []
  repeat {
    let byte = UInt8(value & 0x7F)
    value >>= 7
    bytes.append(value == 0 ? byte : byte | 0x80)
  } while value != 0
  return bytes
}

/// A vector of the binary format: its count, then its elements.
func vector(_ elements: [[UInt8]]) -> [UInt8] { leb(elements.count) + elements.flatMap { $0 } }

/// A name of the binary format.
func name(_ text: String) -> [UInt8] { leb(text.utf8.count) + Array(text.utf8) }

/// A section of the binary format.
func section(_ id: UInt8, _ contents: [UInt8]) -> [UInt8] { [id] + leb(contents.count) + contents }

/// Magic and version.
let header: [UInt8] = [0x00, 0x61, 0x73, 0x6D, 1, 0, 0, 0]

/// A small module: types, functions with their bodies, and what else there may be.
struct Builder {
  /// Parameters and results of each type, as encoded.
  var types: [(parameters: [UInt8], results: [UInt8])] = []
  /// The type index of each function, its locals (as encoded, without the count of groups), and its code, to which
  /// the last `end` is added.
  var functions: [(type: Int, locals: [[UInt8]], code: [UInt8])] = []
  var imports: [[UInt8]] = []
  var tables: [[UInt8]] = []
  var memories: [[UInt8]] = []
  var globals: [[UInt8]] = []
  var exports: [[UInt8]] = []
  var start: Int?
  var elements: [[UInt8]] = []
  var dataCount: Int?
  var data: [[UInt8]] = []
  var custom: [UInt8] = []

  var bytes: [UInt8] {
    var result = header
    func add(_ id: UInt8, _ entries: [[UInt8]]) { if !entries.isEmpty { result += section(id, vector(entries)) } }
    add(1, types.map { [0x60] + leb($0.parameters.count) + $0.parameters + leb($0.results.count) + $0.results })
    add(2, imports)
    add(3, functions.map { leb($0.type) })
    add(4, tables)
    add(5, memories)
    add(6, globals)
    add(7, exports)
    if let start { result += section(8, leb(start)) }
    add(9, elements)
    if let dataCount { result += section(12, leb(dataCount)) }
    add(
      10,
      functions.map {
        let body = vector($0.locals) + $0.code + [0x0B]
        return leb(body.count) + body
      })
    add(11, data)
    return result + custom
  }

  /// A module of one function, with a memory of a page, and a table of each reference type.
  static func function(
    _ parameters: [UInt8] = [], _ results: [UInt8] = [], locals: [[UInt8]] = [], _ code: [UInt8]
  ) -> Builder {
    var builder = Builder()
    builder.types = [(parameters, results)]
    builder.functions = [(0, locals, code)]
    builder.memories = [[0, 1]]
    builder.tables = [[0x70, 0, 1], [0x6F, 0, 1]]
    return builder
  }
}

/// Runs `body` on the operators of a module's first body.
func withOperators(_ builder: Builder, _ body: (WasmModule, borrowing OperatorBuffer) throws -> Void) throws {
  let binary = WasmBinary(builder.bytes)
  let module = try WasmModule(decoding: binary)
  var validator = FunctionValidator(module: module, binary: binary)
  var buffer = OperatorBuffer()
  try validator.validate(bodyIndex: 0, into: &buffer)
  try body(module, buffer)
}

// Encodings of the value types, for readable bytes in tests.
let i32: UInt8 = 0x7F
let i64: UInt8 = 0x7E
let f32: UInt8 = 0x7D
let f64: UInt8 = 0x7C
let funcref: UInt8 = 0x70
let externref: UInt8 = 0x6F

/// A binary and what is to be said of it.
struct Refusal: CustomTestStringConvertible, Sendable {
  var bytes: [UInt8]
  var offset: Int?
  var message = ""
  var proposal: Proposal?
  var testDescription: String { "\(proposal.map(\.rawValue) ?? message), \(bytes.count) bytes" }

  init(_ bytes: [UInt8], at offset: Int? = nil, _ message: String) {
    self.bytes = bytes
    self.offset = offset
    self.message = message
  }

  init(_ bytes: [UInt8], at offset: Int? = nil, _ proposal: Proposal) {
    self.bytes = bytes
    self.offset = offset
    self.proposal = proposal
  }

  @discardableResult
  func check(_ kind: WasmError.Kind? = nil) throws -> WasmError {
    let error = try #require(failure(bytes))
    #expect(error.kind == proposal.map { .unsupported($0) } ?? kind, "\(error)")
    #expect(error.offset == offset ?? error.offset, "\(error)")
    #expect(error.message.hasPrefix(message), "\(error)")
    return error
  }
}
