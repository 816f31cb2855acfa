// `.wasmtime.checksums` in readable form, and a list of all pages that differ from theirs.

import CPrecastHost

extension Artifact {
  /// What is wrong with each page whose checksum differs, in the order of the file; at most so many. Needs a reader
  /// over the whole file.
  public func damagedPages(limit: Int = 64) -> [ArtifactError] {
    var found: [ArtifactError] = []
    // Nearly always there are none, so large pieces are looked at first.
    let pieceSize: UInt64 = 1 << 20
    let end = header.rest.size
    for piece in stride(from: 0, to: end, by: Int(pieceSize)) {
      let pieceEnd = min(piece + pieceSize, end)
      if (try? checkPages(from: piece, to: pieceEnd)) != nil { continue }
      for page in stride(from: piece, to: pieceEnd, by: Int(PageChecksums.pageSize)) {
        if found.count == limit { return found }
        do throws(ArtifactError) {
          try checkPages(from: page, to: min(page + PageChecksums.pageSize, end))
        } catch {
          let offset = header.rest.offset + page
          guard error.message == PageChecksums.message(fileOffset: offset) else {
            // A table that cannot be used is the same for each page.
            return [error]
          }
          // The page as a whole is all that a checksum can tell.
          let sections = sections(onPageAt: offset)
          var error = error
          if sections.count > 1 { error.message += "; it holds " + sections.map(\.name).joined(separator: ", ") }
          found.append(error)
        }
      }
    }
    return found
  }

  private func sections(onPageAt offset: UInt64) -> [SectionKind] {
    sections.filter {
      let extent = header.extent(of: $0)
      return extent.offset < offset + PageChecksums.pageSize && extent.end > offset
    }
  }

  func describeChecksums(_ bytes: ByteRegion, _ report: Report) {
    let layout = PageChecksums(header.engine)
    report.attempt { () throws(ArtifactError) in
      report.field("page size", .number(try bytes.u32(4)))
      report.field("pages before the image", .number(try bytes.u32(8)))
      report.field("pages behind the image", .number(try bytes.u32(12)))
      let rest = try self.bytes(at: header.rest.offset, count: header.rest.size, for: .checksums)
      // The guard is for this call, in which the bytes stay where they are.
      let pages = unsafe PageGuard(header.engine, rest: rest.baseAddress)
      defer { withExtendedLifetime(pages) {} }
      let columns: [Column] = [
        .number("page", 8), .number("file offset", 12), .number("checksum", 10), .text("found", 10), .text("sections"),
      ]
      let before =
        (layout.beforeImage.upperBound - layout.beforeImage.lowerBound + PageChecksums.pageSize - 1)
        / PageChecksums.pageSize
      report.table("checksums", columns, rows: Int(clamping: layout.count)) { row throws(ArtifactError) in
        let page = UInt64(row)
        let offset =
          page < before
          ? layout.beforeImage.lowerBound + page * PageChecksums.pageSize
          : layout.behindImage.lowerBound + (page - before) * PageChecksums.pageSize
        let stored = try bytes.u32(PageChecksums.headerSize + row * 4)
        // In bounds: the header has been found to fit the file, and the page lies behind the text.
        let computed = unsafe precast_checked_pages_compute(pages.pointer, offset - header.rest.offset)
        return [
          .number(row), .offset(offset), .offset(stored),
          .text(stored == computed ? "the same" : hexadecimal(UInt64(computed))),
          .text(sections(onPageAt: offset).map(\.name).joined(separator: " ")),
        ]
      }
    }
  }
}
