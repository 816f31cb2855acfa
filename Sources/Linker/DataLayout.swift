// Where data stand.
//
// Constants, initialised data and zeros each stand in the order of the objects and of their sections, every section at
// the next multiple of its alignment. Sorting by alignment would save a few bytes and make the result harder to
// follow.
//
//      read-only   constants of a.o | of b.o | … | global offset table
//      writable    data of a.o | of b.o | … :: zeros of a.o | of b.o | … | common symbols
//
// What stands behind the colons takes no room in a file.

import PrecastArtifact
import PrecastMachineCode

extension LinkState {
  /// Gives every section of data, and every common symbol, a place in its part.
  func layOutData() throws(LinkError) {
    func place(_ role: SectionRole, _ cursor: inout Int, _ largest: inout Int) throws(LinkError) {
      for number in 0..<sections.count where sections[number].role == role {
        let section = sections[number]
        largest = max(largest, section.alignment)
        let offset = aligned(cursor, section.alignment)
        sections[number].offset = offset
        cursor = offset + section.size
        try checkSize(cursor)
      }
    }
    var alignments = (readOnly: 1, writable: 1)
    var cursor = 0
    try place(.readOnly, &cursor, &alignments.readOnly)
    sizes.readOnly = cursor
    sizes.readOnlyAlignment = alignments.readOnly
    cursor = 0
    try place(.writable, &cursor, &alignments.writable)
    sizes.writable = cursor
    let hasZeros =
      commons.count > 0 || (0..<sections.count).contains { sections[$0].role == .zero && sections[$0].size > 0 }
    if hasZeros, options.zerosAlignment > 1 { cursor = aligned(max(cursor, 1), options.zerosAlignment) }
    try place(.zero, &cursor, &alignments.writable)
    sizes.writableInMemory = cursor
    for index in 0..<commons.count {
      let offset = aligned(sizes.writableInMemory, commons[index].alignment)
      commons[index].offset = offset
      sizes.writableInMemory = offset + commons[index].size
      try checkSize(sizes.writableInMemory)
    }
  }

  func checkSize(_ size: Int) throws(LinkError) {
    if size >= InputSections.sizeLimit {
      throw LinkError(.cannotLayOut, "the image would have more than \(InputSections.sizeLimit >> 30) GiB")
    }
  }

  /// Adds the global offset table to the read-only part.
  func placeOffsetTable() {
    guard slots.count > 0 || usesOffsetTable else { return }
    offsetTable = aligned(sizes.readOnly, 8)
    sizes.readOnly = offsetTable + slots.count * 8
    sizes.readOnlyAlignment = max(sizes.readOnlyAlignment, 8)
  }

  /// Gives symbols that are in sections a place in their part; of code, one in its piece, until `placeCode`.
  func placeSymbols() throws(LinkError) {
    for number in 0..<symbols.count {
      switch symbols[number].kind {
      case .common:
        symbols[number].kind = .writable
        symbols[number].value = commons[symbols[number].value].offset
      case .section:
        let section = sections[Int(symbols[number].section)]
        switch section.role {
        case .readOnly:
          symbols[number].kind = .readOnly
          symbols[number].value &+= section.offset
        case .writable, .zero:
          symbols[number].kind = .writable
          symbols[number].value &+= section.offset
        case .text:
          if section.pieceCount > 1 && isSection(number) { continue }
          let piece = self.piece(of: section, symbols[number].value)
          guard isInPiece(symbols[number].value, piece, section) else { throw symbolInPadding(number, section) }
          symbols[number].kind = .text
          symbols[number].section = UInt32(piece)
          symbols[number].value -= pieces[piece].offset
        case .unwind, .ignored, .discarded, .module:
          // Entries of unwind tables move, so nothing can refer to them.
          symbols[number].kind = .nowhere
        }
      default: break
      }
    }
  }

  /// Whether a place in a section is in the code of its piece, or at the section's end: in padding, which is left out,
  /// there is nothing to refer to.
  func isInPiece(_ offset: Int, _ piece: Int, _ section: InputSection) -> Bool {
    let piece = pieces[piece]
    return offset >= piece.start && offset < piece.offset + piece.size || offset == section.size
  }

  private func symbolInPadding(_ number: Int, _ section: InputSection) -> LinkError {
    LinkError(
      .cannotLayOut,
      "\(objects[Int(section.object)].name): symbol '\(name(ofSymbol: number))' stands in the padding between functions of "
        + "the wasm module, at \(name(of: section))+\(hexadecimal(symbols[number].value)); leave the joining of objects to "
        + "precast link")
  }

  // Whether a symbol stands for its section.
  private func isSection(_ number: Int) -> Bool {
    let (object, index) = owner(ofSymbol: number)
    return object.symbols[index].type == ElfSymbol.typeSection
  }

  /// Gives symbols in code their places in the text.
  func placeCode() {
    for number in 0..<symbols.count where symbols[number].kind == .text {
      symbols[number].value += pieces[Int(symbols[number].section)].textOffset
    }
  }
}
