// `.text` in readable form: who owns which bytes. The code itself is what `--disassemble` is for.
//
// Between functions stand fillers (`int3`, `brk #0`) and, in large texts, islands of veneers. A gap that is all filler is
// told from one that holds code by its bytes.

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
        let isFiller = isFiller(bytes, end, next - end)
        if isFiller { filler += next - end }
        report.write(
          [.offset(end), .number(next - end), .text(isFiller ? "filler" : "other code"), .none], columns)
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

  private func isFiller(_ bytes: ByteRegion, _ start: UInt64, _ count: UInt64) -> Bool {
    guard let gap = try? bytes.slice(Int(start), Int(count)) else { return false }
    if header.record.settings.architecture == .aarch64 {
      guard start % 4 == 0 && count % 4 == 0 else { return false }
      for at in stride(from: 0, to: gap.count, by: 4) where (try? gap.u32(at)) != 0xD420_0000 { return false }
      return true
    }
    for at in 0..<gap.count where (try? gap.u8(at)) != 0xCC { return false }
    return true
  }
}
