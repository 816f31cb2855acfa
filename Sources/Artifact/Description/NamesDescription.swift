// What has names, in readable form: `.name.wasm`, `.symtab`, `.strtab`, `.shstrtab`.

extension Artifact {
  func describeNames(_ report: Report) {
    report.attempt { () throws(ArtifactError) in
      guard let names = try names() else { return }
      report.attempt { () throws(ArtifactError) in report.field("module", .optional(try names.moduleName())) }
      report.table("functions", [.number("index", 10), .text("name")], rows: names.functionCount) {
        row throws(ArtifactError) in
        let name = try names.function(row)
        return [.number(row), report.format == .json ? .optional(name) : .text(name ?? "")]
      }
    }
  }

  func describeSymbols(_ bytes: ByteRegion, _ report: Report) {
    let strings = try? section(.strings)
    // Section headers number the sections as the file has them, after the null one.
    let order = sections
    report.symbols(bytes, strings: strings ?? ByteRegion(emptyIn: .strings)) { index in
      index > 0 && index <= order.count ? order[index - 1].name : nil
    }
  }
}

extension Report {
  /// A table of `Elf64_Sym` (gABI, "Symbol Table").
  func symbols(_ bytes: ByteRegion, strings: ByteRegion, section: (Int) -> String?) {
    let columns: [Column] = [
      .number("number", 8), .number("value", 12), .number("size", 10), .text("type", 7), .text("binding", 7),
      .text("section", 10), .text("name"),
    ]
    let row = Int(ELF.symbolSize)
    table("symbols", columns, rows: bytes.count / row) { index throws(ArtifactError) in
      let at = index * row
      let kind = try bytes.u8(at + 4)
      let owner = Int(try bytes.u16(at + 6))
      return [
        .number(index), .offset(try bytes.u64(at + 8)), .number(try bytes.u64(at + 16)),
        .text(Self.symbolTypes[Int(kind & 15)] ?? "\(kind & 15)"),
        .text(Self.symbolBindings[Int(kind >> 4)] ?? "\(kind >> 4)"),
        .text(owner == 0 ? "undefined" : section(owner) ?? "\(owner)"),
        .text(try strings.zeroTerminated(at: Int(bytes.u32(at)))),
      ]
    }
  }

  /// A string table (gABI, "String Table"): each string with its offset.
  func strings(_ bytes: ByteRegion) {
    let columns: [Column] = [.number("offset", 10), .text("string")]
    begin("strings", columns, rows: nil)
    var offset = 0
    while offset < bytes.count && !isDone {
      guard let text = try? bytes.zeroTerminated(at: offset) else { break }
      write([.offset(offset), .text(text)], columns)
      offset += bytes.length(at: offset) + 1
    }
    endTable()
  }

  private static let symbolTypes: [Int: String] = [
    0: "NOTYPE", 1: "OBJECT", 2: "FUNC", 3: "SECTION", 4: "FILE", 5: "COMMON", 6: "TLS", 10: "IFUNC",
  ]
  private static let symbolBindings: [Int: String] = [0: "LOCAL", 1: "GLOBAL", 2: "WEAK", 10: "UNIQUE"]
}

extension ByteRegion {
  /// Number of bytes from `offset` to the next zero byte, or to the end, or `limit`.
  func length(at offset: Int, limit: Int = .max) -> Int {
    var length = 0
    while length < limit, let byte = try? u8(offset + length), byte != 0 { length += 1 }
    return length
  }

  /// The text from `offset` to the next zero byte, or to the end.
  func zeroTerminated(at offset: Int) throws(ArtifactError) -> String {
    // A file of many references into one long string shall not take its square.
    try string(offset, length(at: offset, limit: 1 << 16))
  }
}
