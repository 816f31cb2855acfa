// The first page in readable form: `.note.gnu.build-id` and `.wasmtime.engine`.

extension Artifact {
  func describeBuildID(_ report: Report) {
    report.field("owner", .text("GNU"))
    report.field("type", .text("NT_GNU_BUILD_ID"))
    report.field("build-id", .text(header.buildID.hexadecimalDigits))
  }

  func describeEngine(_ report: Report) {
    let record = header.record
    report.field("format version", .number(record.formatVersion))
    report.field("file size", .number(header.fileSize))
    report.field("compiler", .text(record.compilerName))
    report.field("compiler version", .text(record.compilerVersion))
    report.attempt { () throws(ArtifactError) in
      let page = try bytes(at: 0, count: UInt64(ArtifactHeader.size), for: .engine)
      report.field("first page checksum", .offset(try page.u32(ArtifactHeader.checksumOffset)))
    }
    let settings = Setting.allCases
    report.table(
      "settings", [.number("number"), .text("name", 20), .number("value", 12), .text("meaning")], rows: settings.count
    ) { row throws(ArtifactError) in
      let setting = settings[row]
      let value = record.settings[setting]
      return [
        .number(Int(setting.rawValue)), .text(setting.descriptor.name), .number(value),
        .text(setting.descriptor.render(value)),
      ]
    }
    let kinds = SectionKind.allCases
    report.table(
      "directory", [.number("row"), .number("offset", 12), .number("size", 12), .text("section")], rows: kinds.count
    ) { row throws(ArtifactError) in
      let extent = header.extent(of: kinds[row])
      return [.number(row), .offset(extent.offset), .number(extent.size), .text(kinds[row].name)]
    }
  }
}

extension [UInt8] {
  /// Two hexadecimal digits a byte.
  var hexadecimalDigits: String {
    map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
