// `inspect --functions`: what the code consists of, the largest first.

extension Artifact {
  /// Describes all functions and trampolines by size, the largest first; equal sizes in the order of the text.
  ///
  /// - Throws: `ArtifactError` for the first row that cannot be read, when the others have been written.
  public func describeFunctions(_ format: DescriptionFormat, to output: TextOutput) throws(ArtifactError) {
    try CodePieces(self).describe(format, to: output, fileSize: header.fileSize, textSize: header.text.size)
  }
}

extension CodePieces {
  func describe(
    _ format: DescriptionFormat, to output: TextOutput, fileSize: UInt64, textSize: UInt64
  ) throws(ArtifactError) {
    let pieces = self
    let report = Report(output, format, size: fileSize)
    var order: [(size: UInt32, textOffset: UInt32, position: Int)] = []
    order.reserveCapacity(pieces.count)
    for (position, code) in pieces.positionsInText() { order.append((code.size, code.textOffset, position)) }
    order.sort { ($1.size, $0.textOffset, $0.position) < ($0.size, $1.textOffset, $1.position) }
    var total: UInt64 = 0
    for entry in order { total &+= UInt64(entry.size) }
    switch format {
    case .text:
      let columns: [Column] = [
        .number("size", 10), .number("text offset"), .number("wasm offset"), .text("function", 22), .text("name"),
      ]
      report.table("functions and trampolines", columns, rows: order.count) { row throws(ArtifactError) in
        let piece = try pieces.piece(order[row].position)
        return [
          .number(piece.code.size), .offset(piece.code.textOffset), piece.wasmOffset.map(Cell.offset) ?? .none,
          .text(piece.kind == .function ? "\(piece.index)" : piece.label), .text(piece.name ?? ""),
        ]
      }
      report.line("\(total) bytes of code in \(textSize) bytes of text")
    case .json:
      report.field("text size", .number(textSize))
      report.field("code size", .number(total))
      let columns: [Column] = [
        .text("kind"), .number("index"), .number("size"), .number("text offset"), .number("wasm offset"), .text("name"),
      ]
      report.table("functions", columns, rows: order.count) { row throws(ArtifactError) in
        let piece = try pieces.piece(order[row].position)
        return [
          .text(piece.kindName), .number(piece.index), .number(piece.code.size), .offset(piece.code.textOffset),
          piece.wasmOffset.map(Cell.offset) ?? .none, .optional(piece.name),
        ]
      }
    }
    try report.end()
  }
}
