// Small modules, written as bytes.

import PrecastWasm

/// A module of functions over numeric types.
struct WasmBuilder {
  struct Function {
    var parameters: [UInt8]
    var results: [UInt8]
    /// Runs of locals, as (count, type).
    var locals: [(Int, UInt8)] = []
    /// The body, without the final `end`.
    var code: [UInt8]
  }

  static let i32: UInt8 = 0x7F
  static let i64: UInt8 = 0x7E
  static let f32: UInt8 = 0x7D
  static let f64: UInt8 = 0x7C

  var functions: [Function] = []
  /// Whether there is a memory of one page.
  var hasMemory = false

  static func unsigned(_ value: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = value
    repeat {
      let byte = UInt8(rest & 0x7F)
      rest >>= 7
      bytes.append(rest == 0 ? byte : byte | 0x80)
    } while rest != 0
    return bytes
  }

  static func signed(_ value: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = value
    while true {
      let byte = UInt8(truncatingIfNeeded: rest & 0x7F)
      rest >>= 7
      if (rest == 0 && byte & 0x40 == 0) || (rest == -1 && byte & 0x40 != 0) {
        bytes.append(byte)
        return bytes
      }
      bytes.append(byte | 0x80)
    }
  }

  private static func section(_ id: UInt8, _ items: [[UInt8]]) -> [UInt8] {
    let body = unsigned(items.count) + items.flatMap { $0 }
    return [id] + unsigned(body.count) + body
  }

  /// The module; function `n` is exported as `fn`.
  var bytes: [UInt8] {
    var module: [UInt8] = [0, 0x61, 0x73, 0x6D, 1, 0, 0, 0]
    module += Self.section(
      1,
      functions.map {
        [0x60] + Self.unsigned($0.parameters.count) + $0.parameters + Self.unsigned($0.results.count) + $0.results
      })
    module += Self.section(3, functions.indices.map { Self.unsigned($0) })
    if hasMemory { module += Self.section(5, [[0, 1]]) }
    module += Self.section(
      7,
      functions.indices.map {
        let name = Array("f\($0)".utf8)
        return Self.unsigned(name.count) + name + [0] + Self.unsigned($0)
      })
    module += Self.section(
      10,
      functions.map { function in
        let locals = Self.unsigned(function.locals.count) + function.locals.flatMap { Self.unsigned($0.0) + [$0.1] }
        let body = locals + function.code + [0x0B]
        return Self.unsigned(body.count) + body
      })
    return module
  }

  var binary: WasmBinary { WasmBinary(bytes) }
}
