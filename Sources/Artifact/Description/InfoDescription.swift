// `.wasmtime.info` in readable form: every table, every row, with the names of what rows refer to.
//
// A row may refer to a range of another table. In a broken file, a million rows may refer to the same million; so what
// a row refers to is shown up to a limit, and in full only in its own table.

import PrecastWasm

extension Artifact {
  func describeInfo(_ report: Report) {
    report.attempt { () throws(ArtifactError) in
      let description = InfoDescription(info: try moduleInfo(), pieces: try CodePieces(self), report: report)
      description.writeFields()
      for table in InfoTable.allCases { report.attempt { () throws(ArtifactError) in try description.write(table) } }
    }
  }
}

extension ConstantInstruction {
  /// The instruction as in the text format (Core 6.5).
  var text: String {
    switch self {
    case .i32Const(let value): "i32.const \(value)"
    case .i64Const(let value): "i64.const \(value)"
    case .f32Const(let bits): "f32.const \(Float(bitPattern: bits)) (bits \(hexadecimal(UInt64(bits))))"
    case .f64Const(let bits): "f64.const \(Double(bitPattern: bits)) (bits \(hexadecimal(bits)))"
    case .refNull(let type): "ref.null \(type)"
    case .refFunction(let index): "ref.func \(index)"
    case .globalGet(let index): "global.get \(index)"
    case .i32Add: "i32.add"
    case .i32Sub: "i32.sub"
    case .i32Mul: "i32.mul"
    case .i64Add: "i64.add"
    case .i64Sub: "i64.sub"
    case .i64Mul: "i64.mul"
    }
  }
}

private struct InfoDescription {
  let info: ModuleInfo
  let pieces: CodePieces
  let report: Report

  /// Rows of another table that are shown in a row.
  static let mostReferences = 32

  func writeFields() {
    report.field("imported functions", .number(info.importedFunctionCount))
    report.field("imported tables", .number(info.importedTableCount))
    report.field("imported memories", .number(info.importedMemoryCount))
    report.field("imported globals", .number(info.importedGlobalCount))
    report.field("start function", info.start.map(Cell.number) ?? .none)
  }

  // MARK: Parts of rows

  private func name(_ function: Int) -> Cell {
    report.format == .json ? .optional(pieces.name(function: function)) : .text(pieces.name(function: function) ?? "")
  }

  private func name(_ kind: ExternalKind, _ index: UInt32) -> Cell {
    kind == .function ? name(Int(index)) : report.format == .json ? .none : .text("")
  }

  private func code(_ range: CodeRange?) -> [Cell] {
    guard let range else { return [.none, .none] }
    return [.offset(range.textOffset), .number(range.size)]
  }

  private func word(_ value: Bool) -> Cell { .text(value ? "yes" : "no") }

  private func maximum(_ limits: Limits) -> Cell { limits.maximum.map(Cell.number) ?? .none }

  /// Constant instructions, as in the text format.
  private func expression(_ range: Range<Int>) throws(ArtifactError) -> Cell {
    var parts: [String] = []
    for index in range.prefix(Self.mostReferences) { parts.append(try info.constant(index).text) }
    if range.count > parts.count { parts.append("(\(range.count - parts.count) more)") }
    return .text(parts.joined(separator: "; "))
  }

  /// A signature, `[i32 i32] -> [i64]`.
  private func signature(_ row: Int) throws(ArtifactError) -> String {
    let at = try info.row(.types, row)
    let start = Int(try info.region.u32(at))
    let parameters = Int(try info.region.u32(at + 4))
    let results = Int(try info.region.u32(at + 8))
    func list(_ first: Int, _ count: Int) throws(ArtifactError) -> String {
      var parts: [String] = []
      for position in first..<first + min(count, Self.mostReferences) {
        parts.append("\(try info.valueType(info.row(.valueTypes, position)))")
      }
      if count > parts.count { parts.append("(\(count - parts.count) more)") }
      return "[" + parts.joined(separator: " ") + "]"
    }
    return try list(start, parameters) + " -> " + list(start + parameters, results)
  }

  private static func word(_ mode: SegmentMode) -> String {
    switch mode {
    case .passive: "passive"
    case .active: "active"
    case .declarative: "declarative"
    case .inImage: "in image"
    }
  }

  private static func text(_ limits: Limits) -> String {
    "\(limits.minimum)" + (limits.maximum.map { "...\($0)" } ?? "...")
  }

  private static func title(_ table: InfoTable) -> String {
    // `importedFunctions`: "imported functions".
    var text = ""
    for character in "\(table)" { text += character.isUppercase ? " " + character.lowercased() : String(character) }
    return text
  }

  // MARK: Tables

  private func table(
    _ table: InfoTable, _ columns: [Column], _ row: (Int) throws(ArtifactError) -> [Cell]
  ) throws(ArtifactError) {
    report.table(Self.title(table), columns, rows: try info.rows(table), row)
  }

  func write(_ table: InfoTable) throws(ArtifactError) {
    switch table {
    case .valueTypes, .types, .importedFunctions, .functions, .imports, .exports: try writeFunctions(table)
    case .tables, .tableImages, .memories, .extents, .globals, .constants: try writeEntities(table)
    case .elements, .elementFunctions, .elementExpressions, .dataSegments, .activeElements, .activeData, .strings:
      try writeSegments(table)
    }
  }

  private func writeFunctions(_ kind: InfoTable) throws(ArtifactError) {
    switch kind {
    case .valueTypes:
      try table(kind, [.number("row", 8), .text("type")]) { row throws(ArtifactError) in
        [.number(row), .text("\(try info.valueType(info.row(.valueTypes, row)))")]
      }
    case .types:
      let columns: [Column] = [
        .number("index", 8), .number("first equal"), .number("enter at"), .number("enter size"), .number("exit at", 8),
        .number("exit size"), .text("type"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        [.number(row), .number(try info.firstEqualType(row))] + code(try info.entryTrampoline(type: row))
          + code(try info.exitTrampoline(type: row)) + [.text(try signature(row))]
      }
    case .importedFunctions:
      let columns: [Column] = [
        .number("index", 8), .number("type", 6), .number("adapter at"), .number("adapter size"), .text("symbol", 16),
        .text("name"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let adapter = try info.adapter(importedFunction: row)
        return [.number(row), .number(try info.typeIndex(function: row))] + code(adapter?.code)
          + [.optional(adapter?.symbol), name(row)]
      }
    case .functions:
      let columns: [Column] = [
        .number("index", 8), .number("text offset"), .number("size", 8), .number("type", 6), .number("wasm offset"),
        .text("name"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let function = try info.definedFunction(row)
        let index = info.importedFunctionCount + row
        return [
          .number(index), .offset(function.textOffset), .number(function.size), .number(function.typeIndex),
          .offset(function.wasmOffset), name(index),
        ]
      }
    case .imports:
      let columns: [Column] = [
        .number("row", 8), .text("kind", 8), .number("index", 6), .text("type", 24), .text("module", 24), .text("name"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let entry = try info.importEntry(row)
        let (kind, type): (String, String) =
          switch entry.descriptor {
          case .function(let index): ("function", "type \(index)")
          case .table(let type): ("table", "\(Self.text(type.limits)) \(type.element)")
          case .memory(let type): ("memory", "\(Self.text(type.limits)) pages")
          case .global(let type): ("global", type.isMutable ? "(mut \(type.value))" : "\(type.value)")
          }
        return [
          .number(row), .text(kind), .number(entry.index), .text(type), .text(entry.module), .text(entry.name),
        ]
      }
    default:
      let columns: [Column] = [
        .number("row", 8), .text("kind", 8), .number("index", 6), .number("position"), .text("name", 24),
        .text("function"),
      ]
      try table(.exports, columns) { row throws(ArtifactError) in
        let entry = try info.export(row)
        return [
          .number(row), .text("\(entry.kind)"), .number(entry.index),
          .number(try info.region.u32(info.row(.exports, row) + 12)), .text(entry.name), name(entry.kind, entry.index),
        ]
      }
    }
  }

  private func writeEntities(_ kind: InfoTable) throws(ArtifactError) {
    switch kind {
    case .tables:
      let columns: [Column] = [
        .number("index", 8), .text("imported"), .text("element", 9), .number("minimum", 10), .number("maximum", 10),
        .number("first image row"), .number("rows"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let type = try info.table(row)
        let image = try info.tableImage(row)
        return [
          .number(row), word(row < info.importedTableCount), .text("\(type.element)"), .number(type.limits.minimum),
          maximum(type.limits), .number(image.lowerBound), .number(image.count),
        ]
      }
    case .tableImages:
      let columns: [Column] = [
        .number("row", 8), .number("table", 6), .number("element", 10), .number("count", 10), .number("first function"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let image = try info.tableImageRow(row)
        return [
          .number(row), .number(try info.region.u32(info.row(.tableImages, row))), .number(image.element),
          .number(image.count), .number(image.firstFunction),
        ]
      }
    case .memories:
      let columns: [Column] = [
        .number("index", 8), .text("imported"), .text("64-bit"), .text("shared"), .number("minimum pages"),
        .number("maximum pages"), .number("first extent"), .number("extents"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let type = try info.memory(row)
        let image = try info.memoryImage(row)
        return [
          .number(row), word(row < info.importedMemoryCount), word(type.isMemory64), word(type.isShared),
          .number(type.limits.minimum), maximum(type.limits), .number(image.lowerBound), .number(image.count),
        ]
      }
    case .extents:
      let columns: [Column] = [
        .number("row", 8), .number("memory offset"), .number("image offset"), .number("size", 10),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let extent = try info.imageExtent(row)
        return [.number(row), .offset(extent.memoryOffset), .offset(extent.imageOffset), .number(extent.size)]
      }
    case .globals:
      let columns: [Column] = [
        .number("index", 8), .text("imported"), .text("type", 9), .text("mutable"), .text("initial value"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let global = try info.global(row)
        return [
          .number(row), word(row < info.importedGlobalCount), .text("\(global.type.value)"),
          word(global.type.isMutable), try expression(global.initializer),
        ]
      }
    default:
      try table(.constants, [.number("row", 8), .text("instruction")]) { row throws(ArtifactError) in
        [.number(row), .text(try info.constant(row).text)]
      }
    }
  }

  private func writeSegments(_ kind: InfoTable) throws(ArtifactError) {
    switch kind {
    case .elements:
      let columns: [Column] = [
        .number("index", 8), .text("mode", 11), .text("type", 9), .number("table", 6), .text("items", 11),
        .number("first item"), .number("count", 8), .text("offset"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let segment = try info.elementSegment(row)
        let (items, range): (String, Range<Int>) =
          switch segment.items {
          case .functions(let range): ("functions", range)
          case .expressions(let range): ("expressions", range)
          }
        return [
          .number(row), .text(Self.word(segment.mode)), .text("\(segment.type)"), .number(segment.table), .text(items),
          .number(range.lowerBound), .number(range.count), try expression(segment.offset),
        ]
      }
    case .elementFunctions:
      try table(kind, [.number("row", 8), .number("function", 8), .text("name")]) { row throws(ArtifactError) in
        let function = try info.elementFunction(row)
        return [.number(row), .number(function), name(Int(function))]
      }
    case .elementExpressions:
      try table(kind, [.number("row", 8), .text("expression")]) { row throws(ArtifactError) in
        [.number(row), try expression(info.elementExpression(row))]
      }
    case .dataSegments:
      let columns: [Column] = [
        .number("index", 8), .text("mode", 8), .number("memory", 6), .number("image offset"), .number("size", 10),
        .text("offset"),
      ]
      try table(kind, columns) { row throws(ArtifactError) in
        let segment = try info.dataSegment(row)
        return [
          .number(row), .text(Self.word(segment.mode)), .number(segment.memory), .offset(segment.bytes.lowerBound),
          .number(segment.bytes.upperBound - segment.bytes.lowerBound), try expression(segment.offset),
        ]
      }
    case .activeElements, .activeData:
      try table(kind, [.number("row", 8), .number("segment", 8)]) { row throws(ArtifactError) in
        [.number(row), .number(try info.region.u32(info.row(kind, row)))]
      }
    default:
      // Not a list of strings: rows that refer here say where each begins and ends.
      guard report.format == .text else { return }
      let count = try info.rows(.strings)
      report.line("strings (\(count) bytes)")
      if count > 0 { report.hexDump(try info.region.slice(try info.row(.strings, 0), count)) }
    }
  }
}
