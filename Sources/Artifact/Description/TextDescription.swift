// `.text` in readable form: who owns which bytes. The code itself is what `--disassemble` is for.
//
// Between functions stand fillers (`int3`, `brk #0`) and, in large texts, islands of veneers. A gap that is all filler
// is told from one that holds code by its bytes.

import PrecastMachineCode

extension Artifact {
  func describeText(_ bytes: ByteRegion, _ report: Report) {
    let columns: [Column] = [.number("text offset"), .number("size", 10), .text("what", 22), .text("name")]
    report.attempt { () throws(ArtifactError) in
      let pieces = try CodePieces(self)
      let order = pieces.positionsInText()
      var filler: UInt64 = 0
      var code: UInt64 = 0
      report.begin("code", columns, rows: nil)
      var end: UInt64 = 0
      func gap(to next: UInt64) {
        guard next > end else { return }
        // Filler at either end, and what is between.
        let (first, last) = trimmingFiller(bytes, end..<next)
        for (start, stop, what) in [(end, first, "filler"), (first, last, "other code"), (last, next, "filler")]
        where stop > start {
          if what == "filler" { filler += stop - start }
          report.write([.offset(start), .number(stop - start), .text(what), .none], columns)
        }
      }
      for (position, range) in order {
        if report.isDone { break }
        gap(to: min(UInt64(range.textOffset), UInt64(bytes.count)))
        let last = UInt64(range.textOffset) + UInt64(range.size)
        do throws(ArtifactError) {
          let piece = try pieces.piece(position)
          guard last <= UInt64(bytes.count) else {
            throw bytes.damaged(Int(range.textOffset), "\(piece.label) does not lie in the text")
          }
          if UInt64(range.textOffset) < end {
            throw bytes.damaged(Int(range.textOffset), "\(piece.label) overlaps what is before it")
          }
          report.write(
            [
              .offset(piece.code.textOffset), .number(piece.code.size), .text(piece.label),
              report.format == .json ? .optional(piece.name) : .text(piece.name ?? ""),
            ], columns)
          code += UInt64(range.size)
        } catch {
          report.damaged(error)
        }
        end = max(end, last)
      }
      gap(to: UInt64(bytes.count))
      report.endTable()
      report.line("totals")
      report.field("code bytes", .number(code))
      report.field("filler bytes", .number(filler))
    }
  }

  /// The part of a range that begins and ends with something else than filler; empty, at the end, for filler alone.
  private func trimmingFiller(_ bytes: ByteRegion, _ range: Range<UInt64>) -> (UInt64, UInt64) {
    let isWide = header.record.settings.architecture == .aarch64
    func isFiller(_ offset: UInt64) -> Bool {
      guard isWide else { return (try? bytes.u8(Int(offset))) == 0xCC }
      return (try? bytes.u32(Int(offset))) == 0xD420_0000
    }
    let step: UInt64 = isWide ? 4 : 1
    // Instructions of four bytes stand at multiples of four.
    var first = range.lowerBound
    var last = range.upperBound
    if isWide && first % 4 == 0 || !isWide {
      while first + step <= last, isFiller(first) { first += step }
    }
    if isWide && last % 4 == 0 || !isWide {
      while last >= first + step, isFiller(last - step) { last -= step }
    }
    return first == last ? (range.upperBound, range.upperBound) : (first, last)
  }
}
