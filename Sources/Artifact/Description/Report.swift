// One description, two forms.
//
// A section is described once, as fields and tables; whether that becomes columns for people or JSON for scripts is
// decided here. Rows are asked for one at a time and written at once. A row that cannot be read (the file is damaged
// there) is shown as such, and the next one is asked for: the tool to look with is needed most where something is
// broken. What was wrong first is kept, for the exit code.
//
// A file can be made so that its rows refer to the same long name again and again; the description would be longer than
// anybody could wait for. A sound section's is at most some sixty times as long as the section, so there is a limit far
// above that.
//
// In columns, offsets are hexadecimal (as in backtraces and in other people's tools), sizes and numbers of things are
// decimal; in JSON all numbers are decimal. Names come last, so that the columns before them stand whatever their
// length; they are shown, never obeyed (`String.printable`), and cut where nobody reads on.

import PrecastWasm

/// The form of a description.
public enum DescriptionFormat: Sendable {
  /// Columns, for people.
  case text
  /// For scripts.
  case json
}

/// A value of a description.
enum Cell {
  /// A size, an index, a number of things.
  case number(UInt64)
  /// An offset.
  case offset(UInt64)
  /// Text, which may come from the file.
  case text(String)
  /// Some numbers or texts.
  case list([Cell])
  /// There is none.
  case none

  static func number(_ value: Int) -> Cell { .number(UInt64(max(0, value))) }
  static func number(_ value: UInt32) -> Cell { .number(UInt64(value)) }
  static func offset(_ value: Int) -> Cell { .offset(UInt64(max(0, value))) }
  static func offset(_ value: UInt32) -> Cell { .offset(UInt64(value)) }
  static func optional(_ value: String?) -> Cell { value.map(Cell.text) ?? .none }

  /// The value for people.
  var rendered: String {
    switch self {
    case .number(let value): "\(value)"
    case .offset(let value): hexadecimal(value)
    case .text(let text): Report.shown(text)
    case .list(let cells): cells.map(\.rendered).joined(separator: " ")
    case .none: "-"
    }
  }

  func write(_ key: String?, to json: inout JSONWriter) {
    switch self {
    case .number(let value), .offset(let value): json.value(key, value)
    case .text(let text): json.value(key, text)
    case .list(let cells):
      json.begin("[", key, inline: true)
      for cell in cells { cell.write(nil, to: &json) }
      json.end("]")
    case .none: json.value(key, String?.none)
    }
  }
}

/// A column of a table.
struct Column {
  var name: String
  /// Width in characters; of the last column it does not matter.
  var width: Int
  var isText: Bool

  /// A column of numbers, right-aligned.
  static func number(_ name: String, _ width: Int = 0) -> Column {
    Column(name: name, width: max(width, name.utf8.count), isText: false)
  }

  /// A column of text, left-aligned.
  static func text(_ name: String, _ width: Int = 0) -> Column {
    Column(name: name, width: max(width, name.utf8.count), isText: true)
  }
}

/// Writes fields and tables, in either form.
final class Report {
  let output: TextOutput
  let format: DescriptionFormat
  private(set) var json: JSONWriter
  /// What was wrong first.
  private(set) var problem: ArtifactError?
  // What `attempt` met, for the end of the JSON.
  private var errors: [String] = []

  // The length at which something is wrong with the file.
  private let limit: UInt64

  /// Rows that cannot be read, after which a table is given up.
  private static let mostDamagedRows = 16
  /// Characters of a text that are shown.
  private static let mostCharacters = 1024

  /// - Parameter size: size of what is described, in bytes.
  init(_ output: TextOutput, _ format: DescriptionFormat, size: UInt64) {
    self.output = output
    limit = output.count &+ 16 << 20 &+ min(size, 1 << 40) &* 256
    self.format = format
    json = JSONWriter(output)
    if format == .json { json.begin("{") }
  }

  /// Ends the description.
  ///
  /// - Throws: what was wrong first.
  func end() throws(ArtifactError) {
    if output.count > limit && problem == nil {
      line("  ! the rest is not shown")
      problem = ArtifactError(
        .damaged, section: "description", offset: 0, message: "the file refers to the same bytes again and again")
    }
    if format == .json {
      if !errors.isEmpty {
        json.begin("[", "errors")
        for error in errors { json.value(nil, error) }
        json.end("]")
      }
      json.end("}")
      output.append("\n")
    }
    if let problem { throw problem }
  }

  /// Whether nothing more is to be written.
  var isDone: Bool { output.isClosed || output.count > limit }

  /// A text from a file, for people.
  static func shown(_ text: String) -> String {
    if text.utf8.count <= mostCharacters { return text.printable }
    return String(text.prefix(mostCharacters)).printable + "... (\(text.utf8.count) bytes)"
  }

  static func key(_ name: String) -> String { String(name.map { $0 == " " || $0 == "-" ? "_" : $0 }) }

  /// A line for people, of text that is the tool's own.
  func line(_ text: String) {
    if format == .text { output.append(text + "\n") }
  }

  /// A field.
  func field(_ name: String, _ value: Cell) {
    switch format {
    case .text: output.append("  " + name.padded(21) + " " + value.rendered + "\n")
    case .json: value.write(Self.key(name), to: &json)
    }
  }

  /// Says that something cannot be read.
  func damaged(_ error: ArtifactError) {
    if problem == nil { problem = error }
    switch format {
    case .text: output.append("  ! \(error.description.printable)\n")
    case .json:
      json.begin("{", inline: true)
      json.value("error", error.description)
      json.end("}")
    }
  }

  /// Does what may fail; outside of tables.
  func attempt(_ body: () throws(ArtifactError) -> Void) {
    do throws(ArtifactError) {
      try body()
    } catch {
      if problem == nil { problem = error }
      switch format {
      case .text: output.append("  ! \(error.description.printable)\n")
      case .json: errors.append(error.description)
      }
    }
  }

  /// A table of rows that are known by their numbers.
  func table(
    _ name: String, _ columns: [Column], rows: Int, _ row: (Int) throws(ArtifactError) -> [Cell]
  ) {
    begin(name, columns, rows: rows)
    var damagedRows = 0
    for index in 0..<max(0, rows) {
      if isDone { break }
      do throws(ArtifactError) {
        write(try row(index), columns)
      } catch {
        damaged(error)
        damagedRows += 1
        if damagedRows == Self.mostDamagedRows {
          line("  ! the rest of the table is not shown")
          break
        }
      }
    }
    endTable()
  }

  /// Opens a table; rows come through `write`.
  func begin(_ name: String, _ columns: [Column], rows: Int?) {
    switch format {
    case .text:
      output.append(name + (rows.map { " (\($0))" } ?? "") + "\n")
      if rows != 0 { writeLine(columns.map { ($0.name, $0) }) }
    case .json:
      json.begin("[", Self.key(name))
    }
  }

  /// Writes a row of an open table.
  func write(_ cells: [Cell], _ columns: [Column]) {
    switch format {
    case .text: writeLine(zip(cells, columns).map { ($0.rendered, $1) })
    case .json:
      json.begin("{", inline: true)
      for (cell, column) in zip(cells, columns) { cell.write(Self.key(column.name), to: &json) }
      json.end("}")
    }
  }

  /// Ends a table.
  func endTable() {
    if format == .json { json.end("]") }
  }

  /// For what is neither a field nor a table: the writer itself.
  func withJSON(_ body: (inout JSONWriter) -> Void) { body(&json) }

  private func writeLine(_ cells: [(text: String, column: Column)]) {
    var line = ""
    for (position, (text, column)) in cells.enumerated() {
      line += "  "
      if !column.isText {
        line += text.paddedLeft(column.width)
      } else {
        line += position == cells.count - 1 ? text : text.padded(column.width)
      }
    }
    while line.utf8.last == UInt8(ascii: " ") { line.removeLast() }
    output.append(line + "\n")
  }
}
