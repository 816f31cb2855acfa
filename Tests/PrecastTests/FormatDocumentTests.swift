// The worked examples of Docs/Format.md, held against a golden artifact.
//
// A description of bytes is worth something only as long as it is true. So the document shows each section as it is in one
// artifact, `TestData/Golden/worked.cwasm`, and this compares every byte that it shows. An example is a fenced block
//
//     ```hex .wasmtime.info
//     0000  49 4e 46 4f              magic "INFO"
//     ```
//
// with the section's name, then lines of offset in the section, bytes, and at least two spaces before what they mean. What is
// skipped is simply not there. `make golden` puts the artifact's bytes into the lines (their number, offsets and meanings stay
// as they are), so that a change of the format shows as a difference of the document, to be read and put into words.

import Foundation
import Testing

@Suite struct FormatDocumentTests {
  static let document = Repository.root.appending(path: "Docs/Format.md")
  static let golden = Repository.testData.appending(path: "Golden/worked.cwasm")

  @Test("Every byte in the document's examples is the golden artifact's")
  func examples() throws {
    let artifact = try ElfSections(Data(contentsOf: Self.golden))
    var lines = try String(contentsOf: Self.document, encoding: .utf8).split(
      separator: "\n", omittingEmptySubsequences: false
    ).map(String.init)
    var shown: [String: Int] = [:]
    var section: String?
    for (number, line) in lines.enumerated() {
      if line.hasPrefix("```") {
        section = line.hasPrefix("```hex ") ? String(line.dropFirst("```hex ".count)) : nil
        continue
      }
      guard let name = section else { continue }
      let row = try #require(HexRow(line), "line \(number + 1) of an example is no row: \(line)")
      let bytes = try #require(artifact.sections[name], "line \(number + 1): there is no section \(name)")
      guard row.offset + row.bytes.count <= bytes.count else {
        Issue.record("line \(number + 1): past the end of \(name), which has \(bytes.count) bytes")
        continue
      }
      let actual = [UInt8](bytes.dropFirst(row.offset).prefix(row.bytes.count))
      shown[name, default: 0] += actual.count
      if GoldenTests.isUpdating {
        lines[number] = row.line(with: actual)
      } else {
        #expect(row.bytes == actual, "line \(number + 1) of Docs/Format.md, offset \(row.offset) of \(name)")
      }
    }
    if GoldenTests.isUpdating {
      try lines.joined(separator: "\n").write(to: Self.document, atomically: true, encoding: .utf8)
    }
    for name in artifact.sections.keys.sorted() {
      #expect(shown[name, default: 0] > 0, "Docs/Format.md shows nothing of \(name)")
    }
  }
}

/// A line of an example.
private struct HexRow {
  var offset: Int
  var bytes: [UInt8]
  private var head: String
  private var meaning: String
  /// Where the meaning starts in the line.
  private var column: Int

  init?(_ line: String) {
    let fields = line.split(separator: " ", omittingEmptySubsequences: false)
    guard let first = fields.first, first.count >= 4, let offset = Int(first, radix: 16) else { return nil }
    self.offset = offset
    head = String(first)
    bytes = []
    var at = first.endIndex
    var spaces = 0
    // Pairs of digits, one or two spaces apart, up to what is no pair.
    while at < line.endIndex {
      if line[at] == " " {
        spaces += 1
        at = line.index(after: at)
        continue
      }
      let word = line[at...].prefix { $0 != " " }
      guard spaces <= 2 || bytes.isEmpty, word.count == 2, let byte = UInt8(word, radix: 16) else { break }
      bytes.append(byte)
      spaces = 0
      at = word.endIndex
    }
    guard !bytes.isEmpty else { return nil }
    meaning = String(line[at...])
    column = line.distance(from: line.startIndex, to: at)
  }

  /// The line with other bytes, the meaning in its column.
  func line(with bytes: [UInt8]) -> String {
    let hex = bytes.map { byte in String(byte >> 4, radix: 16) + String(byte & 15, radix: 16) }.joined(separator: " ")
    let text = "\(head)  \(hex)"
    return meaning.isEmpty ? text : text + String(repeating: " ", count: max(3, column - text.count)) + meaning
  }
}

/// The sections of an ELF file, by name (gABI, "Sections"); with "ELF header", "program headers" and "section headers", which
/// are none. Reads what the tests' own compiler wrote, so a wrong offset may well end the test.
private struct ElfSections {
  var sections: [String: Data] = [:]

  init(_ file: Data) throws {
    func number(_ offset: Int, _ size: Int) -> Int {
      (0..<size).reduce(0) { $0 | Int(file[offset + $1]) << (8 * $1) }
    }
    let headers = number(40, 8)
    let count = number(60, 2)
    func extent(_ index: Int) -> Range<Int> {
      let start = number(headers + index * 64 + 24, 8)
      return start..<start + number(headers + index * 64 + 32, 8)
    }
    let names = file[extent(number(62, 2))]
    for index in 1..<count {
      let name = names.dropFirst(number(headers + index * 64, 4)).prefix { $0 != 0 }
      sections[String(decoding: name, as: UTF8.self)] = file[extent(index)]
    }
    sections["ELF header"] = file[0..<64]
    sections["program headers"] = file[64..<64 + number(56, 2) * 56]
    sections["section headers"] = file[headers..<headers + count * 64]
    try #require(sections.count == count + 2)
  }
}
