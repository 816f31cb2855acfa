// On which lines the keys of a TOML text are.
//
// The text has been parsed by TOMLKit, so it is TOML; all that has to be understood here is which lines set keys. Those in the
// middle of a string or an array do not. Keys inside of inline tables and arrays of tables are not looked for: they get the
// line of the key that they are the value of.

import TOMLKit

/// Lines of keys, by their path of names.
struct KeyLines {
  private var lines: [[String]: Int] = [:]

  /// The line of a key, from 1: where it is set, or else where the table is that it is in.
  subscript(path: [String]) -> Int {
    var path = path
    while !path.isEmpty {
      if let line = lines[path] { return line }
      path.removeLast()
    }
    return 1
  }

  /// Looks through a text that is TOML.
  init(_ text: String) {
    var bytes = Array(text.utf8)[...]
    var line = 1
    var table: [String] = []
    // Each turn of the loop is at the beginning of an expression: a header, a pair, a comment or an empty line.
    while let byte = bytes.first {
      switch byte {
      case UInt8(ascii: "\n"):
        line += 1
        bytes.removeFirst()
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): bytes.removeFirst()
      case UInt8(ascii: "#"): bytes = bytes.drop { $0 != UInt8(ascii: "\n") }
      case UInt8(ascii: "["):
        bytes = bytes.drop { $0 == UInt8(ascii: "[") }
        table = Self.key(&bytes)
        record(table, line)
        bytes = bytes.drop { $0 != UInt8(ascii: "\n") }
      default:
        let key = Self.key(&bytes)
        record(table + key, line)
        Self.skipValue(&bytes, &line)
      }
    }
  }

  private mutating func record(_ path: [String], _ line: Int) {
    // What a dotted key goes through has its line from it as well.
    for count in 1...max(1, path.count) where lines[Array(path.prefix(count))] == nil {
      lines[Array(path.prefix(count))] = line
    }
  }

  /// The names of a key, up to its `=` or `]`.
  private static func key(_ bytes: inout ArraySlice<UInt8>) -> [String] {
    var names: [String] = []
    var name: [UInt8] = []
    while let byte = bytes.popFirst() {
      switch byte {
      case UInt8(ascii: "="), UInt8(ascii: "]"), UInt8(ascii: "\n"):
        return names + [String(decoding: name, as: UTF8.self)]
      case UInt8(ascii: "."):
        names.append(String(decoding: name, as: UTF8.self))
        name = []
      case UInt8(ascii: "\""), UInt8(ascii: "'"):
        while let inner = bytes.popFirst(), inner != byte {
          name.append(inner)
          // Escapes stay as they are: no key of ours has one, and the next quote is not the end.
          if inner == UInt8(ascii: "\\") && byte == UInt8(ascii: "\""), let escaped = bytes.popFirst() {
            name.append(escaped)
          }
        }
      case UInt8(ascii: " "), UInt8(ascii: "\t"): break
      default: name.append(byte)
      }
    }
    return names + [String(decoding: name, as: UTF8.self)]
  }

  /// Goes behind a value: to the end of the line on which it ends.
  private static func skipValue(_ bytes: inout ArraySlice<UInt8>, _ line: inout Int) {
    var depth = 0
    while let byte = bytes.first {
      switch byte {
      case UInt8(ascii: "\n"):
        if depth <= 0 { return }
        line += 1
        bytes.removeFirst()
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        depth += 1
        bytes.removeFirst()
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        depth -= 1
        bytes.removeFirst()
      case UInt8(ascii: "#"): bytes = bytes.drop { $0 != UInt8(ascii: "\n") }
      case UInt8(ascii: "\""), UInt8(ascii: "'"):
        let isMultiline = bytes.prefix(3).count == 3 && bytes.prefix(3).allSatisfy { $0 == byte }
        skipString(&bytes, &line, quote: byte, count: isMultiline ? 3 : 1)
      default: bytes.removeFirst()
      }
    }
  }

  private static func skipString(_ bytes: inout ArraySlice<UInt8>, _ line: inout Int, quote: UInt8, count: Int) {
    bytes.removeFirst(count)
    while let byte = bytes.popFirst() {
      if byte == UInt8(ascii: "\n") { line += 1 }
      if byte == UInt8(ascii: "\\") && quote == UInt8(ascii: "\"") {
        if bytes.popFirst() == UInt8(ascii: "\n") { line += 1 }
      } else if byte == quote && bytes.prefix(count - 1).allSatisfy({ $0 == quote }) && bytes.count >= count - 1 {
        bytes.removeFirst(count - 1)
        // Up to two more quotes may belong to the string's end.
        while count == 3 && bytes.first == quote { bytes.removeFirst() }
        return
      }
    }
  }
}

extension SettingValue {
  /// What TOMLKit has parsed.
  init?(_ value: any TOMLValueConvertible) {
    switch value.type {
    case .string:
      guard let text = value.string else { return nil }
      self = .text(text)
    case .int:
      guard let number = value.int else { return nil }
      self = .integer(number)
    default: self = .other(value.type.description)
    }
  }
}
