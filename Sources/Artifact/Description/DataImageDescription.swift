// `.rodata.wasm` in readable form: what of it goes where, and its bytes under the offsets that the program knows them
// by.

import PrecastWasm

extension Artifact {
  func describeDataImage(_ bytes: ByteRegion, _ report: Report) {
    report.attempt { () throws(ArtifactError) in
      let info = try moduleInfo()
      let extentColumns: [Column] = [
        .number("row", 8), .number("memory", 6), .number("memory offset"), .number("image offset"), .number("size", 10),
      ]
      let extents = extents(info)
      report.table("extents", extentColumns, rows: extents.count) { row throws(ArtifactError) in
        let extent = try info.imageExtent(extents[row].row)
        _ = try fileOffset(of: extent)
        return [
          .number(extents[row].row), .number(extents[row].memory), .offset(extent.memoryOffset),
          .offset(extent.imageOffset), .number(extent.size),
        ]
      }
      let segmentColumns: [Column] = [
        .number("index", 8), .text("mode", 8), .number("memory", 6), .number("image offset"), .number("size", 10),
      ]
      report.table("segments", segmentColumns, rows: info.dataSegmentCount) { row throws(ArtifactError) in
        let segment = try info.dataSegment(row)
        _ = try self.bytes(of: segment)
        let mode =
          switch segment.mode {
          case .inImage: "in image"
          case .active: "active"
          case .passive, .declarative: "passive"
          }
        return [
          .number(row), .text(mode), segment.mode == .passive ? .none : .number(segment.memory),
          .offset(segment.bytes.lowerBound), .number(segment.bytes.upperBound - segment.bytes.lowerBound),
        ]
      }
      guard report.format == .text else { return }
      // Each byte is shown once, whatever the tables say.
      var shown: UInt64 = 0
      for (row, memory) in extents {
        guard let extent = try? info.imageExtent(row), extent.imageOffset >= shown,
          let size = Int(exactly: extent.size),
          let start = Int(exactly: extent.imageOffset), let part = try? bytes.slice(start, size)
        else { continue }
        report.line("memory \(memory), from offset \(hexadecimal(extent.memoryOffset))")
        report.hexDump(part, at: extent.memoryOffset)
        shown = extent.imageOffset + extent.size
      }
      for index in 0..<info.dataSegmentCount {
        guard let segment = try? info.dataSegment(index), segment.mode != .inImage,
          !segment.bytes.isEmpty, segment.bytes.lowerBound >= shown, let part = try? self.bytes(of: segment)
        else { continue }
        report.line("segment \(index), \(segment.mode == .passive ? "passive" : "active")")
        report.hexDump(part)
        shown = segment.bytes.upperBound
      }
      if shown < UInt64(bytes.count) { report.line("\(UInt64(bytes.count) - shown) bytes of filler") }
    }
  }

  /// Rows of the table of extents, each with its memory.
  private func extents(_ info: ModuleInfo) -> [(row: Int, memory: Int)] {
    var extents: [(row: Int, memory: Int)] = []
    for memory in 0..<info.memoryCount {
      guard let range = try? info.memoryImage(memory) else { continue }
      // Ranges of a sound artifact follow one another.
      for row in range where row >= (extents.last.map { $0.row + 1 } ?? 0) { extents.append((row, memory)) }
    }
    return extents
  }
}
