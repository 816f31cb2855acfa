// How descriptions are written: columns that stand, rows that cannot be read, output that has an end.

import Foundation
import Testing

@testable import PrecastArtifact

@Suite struct ReportTests {
  private static let columns: [Column] = [.number("index", 6), .text("kind", 8), .text("name")]

  private func text(_ format: DescriptionFormat = .text, _ body: (Report) -> Void) throws -> String {
    let output = TextOutput()
    let report = Report(output, format, size: 1000)
    body(report)
    try report.end()
    return output.text
  }

  @Test func columnsStandWhateverIsInThem() throws {
    let names = ["a", String(repeating: "n", count: 3000), "tab\there\nand \u{1B}[31mthere\u{202E}", "ü功", ""]
    let lines = try text { report in
      report.table("things", Self.columns, rows: names.count) { row throws(ArtifactError) in
        [.number(row * 1000), .text("kind"), .text(names[row])]
      }
    }.split(separator: "\n").map(String.init)
    #expect(lines.count == 2 + names.count)
    #expect(lines[0] == "things (5)" && lines[1] == "   index  kind      name")
    #expect(lines[2] == "       0  kind      a")
    #expect(lines[3].hasSuffix("nnn... (3000 bytes)") && lines[3].count < 1100)
    #expect(lines[4] == "    2000  kind      tab\\u{9}here\\u{a}and \\u{1b}[31mthere\\u{202e}")
    #expect(lines[5] == "    3000  kind      ü功")
    #expect(lines[6] == "    4000  kind")
  }

  @Test func aRowThatCannotBeReadDoesNotHideTheOthers() throws {
    for format in [DescriptionFormat.text, .json] {
      let output = TextOutput()
      let report = Report(output, format, size: 1000)
      report.table("things", [.number("index")], rows: 4) { row throws(ArtifactError) in
        if row % 2 == 1 { throw .damaged(.info, row, "row \(row)") }
        return [.number(row)]
      }
      report.field("last", .text("is here"))
      let error = #expect(throws: ArtifactError.self) { try report.end() }
      #expect(error?.message == "row 1")
      for word in ["row 1", "row 3", "is here"] { #expect(output.text.contains(word)) }
      guard format == .json else { continue }
      let object = try JSONSerialization.jsonObject(with: Data(output.text.utf8)) as? [String: Any]
      #expect((object?["things"] as? [Any])?.count == 4)
    }
  }

  @Test func aTableThatCannotBeReadAtAllIsGivenUp() throws {
    let output = TextOutput()
    let report = Report(output, .text, size: 1000)
    var asked = 0
    report.table("things", [.number("index")], rows: 1_000_000) { row throws(ArtifactError) in
      asked += 1
      throw .damaged(.info, row, "no")
    }
    #expect(throws: ArtifactError.self) { try report.end() }
    #expect(asked < 100 && output.text.contains("the rest of the table is not shown"))
  }

  @Test(arguments: [DescriptionFormat.text, .json])
  func aFileThatRepeatsItselfComesToAnEnd(format: DescriptionFormat) throws {
    var written = 0
    let output = TextOutput {
      written += $0.byteCount
      return true
    }
    let report = Report(output, format, size: 1000)
    let name = String(repeating: "n", count: 1000)
    report.table("things", [.number("index"), .text("name")], rows: 10_000_000) { row throws(ArtifactError) in
      [.number(row), .text(name)]
    }
    #expect(throws: ArtifactError.self) { try report.end() }
    output.flush()
    #expect(written > 16 << 20 && written < 18 << 20)
  }

  @Test func bytesAreShownWithTheirOffsets() throws {
    let bytes = Array("0123456789abcdef".utf8) + Array(repeating: 0, count: 64) + [0x7F, 0x41]
    let shown = try bytes.withUnsafeBytes { buffer in
      try text { $0.hexDump(ByteRegion(base: buffer.baseAddress!, count: buffer.count), at: 0x1000) }
    }
    #expect(
      shown == """
          00001000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|
          00001010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
          *
          00001050  7f 41                                             |.A|

        """)
  }

  @Test func numbersAreDecimalInJSON() throws {
    let json = try text(.json) { report in
      report.field("an offset", .offset(UInt64(255)))
      report.field("a list", .list([.number(1), .text("b\"c"), .none]))
    }
    #expect(json == "{\n  \"an_offset\": 255,\n  \"a_list\": [1, \"b\\\"c\", null]\n}\n")
  }
}
