// `.wasmtime.addrmap` and `.wasmtime.traps` in readable form: run by run, each entry a line.

extension TrapCode {
  /// The trap in words, from the name of its case: `memory out of bounds`.
  public var words: String {
    var text = ""
    for character in "\(self)" {
      if character.isUppercase { text += " " }
      text += character.lowercased()
    }
    return text
  }

  /// A value of the trap table in words.
  public static func words(_ value: UInt32) -> String {
    UInt8(exactly: value).flatMap(TrapCode.init(rawValue:))?.words ?? "trap \(value)"
  }
}

extension Artifact {
  func describeAddressMap(_ report: Report) {
    report.attempt { () throws(ArtifactError) in
      guard let map = try addressMap() else { return }
      describe(map.table, report) { entry, _ in [.offset(entry.codeOffset), .offset(entry.value)] }
    }
  }

  func describeTraps(_ report: Report) {
    report.attempt { () throws(ArtifactError) in
      let map = try? addressMap()
      describe(try trapTable().table, report) { entry, textOffset in
        // The operator that the instruction belongs to is that of the last entry at or before it.
        let wasm = try? map?.wasmOffset(functionTextOffset: textOffset, codeOffset: entry.codeOffset)
        return [.offset(entry.codeOffset), .text(TrapCode.words(entry.value)), wasm.map(Cell.offset) ?? .none]
      }
    }
  }

  private func describe(_ table: RunTable, _ report: Report, _ row: (RunEntry, UInt32) -> [Cell]) {
    report.field("entries", .number(table.entryCount))
    report.field("functions", .number(table.runCount))
    report.field("symbols", .number(table.symbolCount))
    report.field("checkpoint interval", .number(table.interval))
    let columns: [Column] =
      table.kind == .addressMap
      ? [.number("code offset", 12), .number("wasm offset", 12)]
      : [.number("code offset", 12), .text("trap", 30), .text("wasm offset")]
    let pieces = try? CodePieces(self)
    report.withJSON { if report.format == .json { $0.begin("[", "runs") } }
    var end: UInt32 = 0
    for run in 0..<table.runCount {
      if report.isDone { break }
      do throws(ArtifactError) {
        let textOffset = try table.textOffset(run)
        // Otherwise a few bytes could be shown a million times.
        guard try table.index.u32(run * RunTableLayout.indexRow + 4) == end else {
          throw .damaged(table.kind.section, 0, "run \(run) does not follow the one before")
        }
        var cursor = try table.cursor(row: run)
        end = try table.index.u32((run + 1) * RunTableLayout.indexRow + 4)
        let piece = pieces?.piece(at: textOffset)
        switch report.format {
        case .text:
          report.line(
            "text offset \(hexadecimal(UInt64(textOffset))): \(piece?.label ?? "not a function"), \(cursor.count) entries"
              + (piece?.name.map { ", " + Report.shown($0) } ?? ""))
          if run == 0 { report.write(columns.map { .text($0.name) }, columns) }
          while let entry = try cursor.next() { report.write(row(entry, textOffset), columns) }
        case .json:
          report.withJSON {
            $0.begin("{", inline: true)
            $0.value("text_offset", textOffset)
            $0.value("function", piece?.label)
            $0.value("name", piece?.name)
            $0.begin("[", "entries")
          }
          defer {
            report.withJSON {
              $0.end("]")
              $0.end("}")
            }
          }
          while let entry = try cursor.next() { Cell.list(row(entry, textOffset)).write(nil, to: report) }
        }
      } catch {
        report.damaged(error)
        break
      }
    }
    report.withJSON { if report.format == .json { $0.end("]") } }
  }
}

extension Cell {
  /// Writes the value to the JSON of a report.
  func write(_ key: String?, to report: Report) { report.withJSON { write(key, to: &$0) } }
}
