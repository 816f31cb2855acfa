// JSON, written directly.
//
// `inspect --json` is the only JSON there is, and an encoder would bring Foundation into every host.

/// Writes indented JSON.
struct JSONWriter {
  private(set) var text = ""
  private var indentation = ""
  private var needsComma = false

  private mutating func next(_ key: String?) {
    if needsComma { text += "," }
    if !indentation.isEmpty { text += "\n" + indentation }
    needsComma = true
    if let key {
      text += Self.quote(key)
      text += ": "
    }
  }

  private mutating func nest(_ key: String?, _ open: String, _ close: String, _ body: (inout JSONWriter) -> Void) {
    next(key)
    text += open
    indentation += "  "
    needsComma = false
    body(&self)
    indentation.removeLast(2)
    if needsComma { text += "\n" + indentation }
    text += close
    needsComma = true
  }

  mutating func object(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) { nest(key, "{", "}", body) }

  mutating func array(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) { nest(key, "[", "]", body) }

  mutating func value(_ key: String? = nil, _ value: String?) {
    next(key)
    text += value.map(Self.quote) ?? "null"
  }

  mutating func value(_ key: String? = nil, _ value: some BinaryInteger) {
    next(key)
    text += "\(value)"
  }

  static func quote(_ string: String) -> String {
    var quoted = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case _ where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value):
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
