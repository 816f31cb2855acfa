// JSON, written directly.
//
// There is little JSON, all of it the command's, and an encoder would bring Foundation into every host. It goes out as it
// is made (see TextOutput), for the tables of a large artifact are larger than one would like to hold.

/// Writes indented JSON.
package struct JSONWriter {
  /// Where the text goes.
  let output: TextOutput
  private var indentation = ""
  private var needsComma = false
  // How many of the open objects and arrays are on one line.
  private var inlineDepth = 0

  /// Writes to an output; gathers the text where none is given.
  package init(_ output: TextOutput = TextOutput()) { self.output = output }

  /// All text, where it was gathered.
  package var text: String { output.text }

  private mutating func next(_ key: String?) {
    if needsComma { output.append(inlineDepth > 0 ? ", " : ",") }
    if inlineDepth == 0 && !indentation.isEmpty { output.append("\n" + indentation) }
    needsComma = true
    if let key {
      output.append(Self.quote(key))
      output.append(": ")
    }
  }

  /// Opens an object or array; `inline` keeps all that is in it on one line.
  package mutating func begin(_ open: String, _ key: String? = nil, inline: Bool = false) {
    next(key)
    output.append(open)
    if inline || inlineDepth > 0 { inlineDepth += 1 } else { indentation += "  " }
    needsComma = false
  }

  /// Closes what was opened last.
  package mutating func end(_ close: String) {
    if inlineDepth > 0 {
      inlineDepth -= 1
    } else {
      indentation.removeLast(2)
      if needsComma { output.append("\n" + indentation) }
    }
    output.append(close)
    needsComma = true
  }

  package mutating func object(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) {
    begin("{", key)
    body(&self)
    end("}")
  }

  package mutating func array(_ key: String? = nil, _ body: (inout JSONWriter) -> Void) {
    begin("[", key)
    body(&self)
    end("]")
  }

  package mutating func value(_ key: String? = nil, _ value: String?) {
    next(key)
    output.append(value.map(Self.quote) ?? "null")
  }

  package mutating func value(_ key: String? = nil, _ value: some BinaryInteger) {
    next(key)
    output.append("\(value)")
  }

  package mutating func value(_ key: String? = nil, _ value: Bool) {
    next(key)
    output.append(value ? "true" : "false")
  }

  static func quote(_ string: String) -> String {
    var quoted = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      // What controls terminals, the direction of text, or lines.
      case _ where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value), "\u{2028}"..."\u{202E}",
        "\u{2066}"..."\u{2069}", "\u{200E}", "\u{200F}", "\u{61C}":
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
