// Names that a terminal does not obey.
//
// A name in a module is any text, and messages carry such names to terminals and logs. There, an escape sequence would
// be carried out, a line break would forge a line of a backtrace, and a change of the writing direction would show a text
// in another order than it has. So whoever puts a name into a message puts in its printable form.

extension String {
  /// The text with `\u{...}` in place of control characters (C0, DEL, C1), line and paragraph separators, and the
  /// characters that embed, override or isolate writing directions.
  package var printable: String {
    // Plain ASCII, which nearly all names are, stays as it is.
    if utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return self }
    var text = ""
    for scalar in unicodeScalars {
      switch scalar.value {
      case 0..<0x20, 0x7F...0x9F, 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069:
        text += "\\u{\(String(scalar.value, radix: 16))}"
      default:
        text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}
