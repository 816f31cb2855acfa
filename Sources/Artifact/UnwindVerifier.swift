// Checking `.eh_frame`, which only other people's programs read.
//
// The host's unwinder is handed this section for the whole process and believes it: a length that
// leads out of the section, or a missing terminator, takes it into whatever is mapped behind. Load
// cannot look (it touches no page), so this is part of verification. What is checked is the skeleton
// that such a program walks (LSB, "Exception Frames"): the chain of lengths, each description's
// distance to its common part, and that the code it describes is in the text. What the instructions
// for the unwinder say is not, nor where tables for exceptions are.
//
// Our own entries have the augmentation "zR". Code that was linked in may have others: 'P' and 'L' of
// languages with exceptions, 'S' of signal frames, 'B' of signed return addresses.

/// A common entry: where it stands, and the width of the pointers of those that refer to it.
private struct CommonUnwindEntry {
  var at: Int
  var pointerSize: Int
}

extension Artifact {
  /// Checks the chain of entries in `.eh_frame`, and that each describes code of the text.
  func checkUnwindTables() throws(ArtifactError) {
    guard let section = try section(.ehFrame) else { return }
    let start = header.extent(of: .ehFrame).offset
    // By ascending place. An artifact has few: one, or one or two for each object that it was linked from.
    var commons: [CommonUnwindEntry] = []
    var at = 0
    while true {
      let length = Int(try section.u32(at))
      if length == 0 {
        guard at + 4 == section.count else { throw section.damaged(at, "the terminator is not at the end") }
        return
      }
      // 2^32-1 would announce a length of 64 bits, which no table of ours has.
      guard length >= 4, length % 4 == 0, length <= section.count - at - 4 else {
        throw section.damaged(at, "an entry of \(length) bytes")
      }
      let entry = try section.slice(at + 4, length)
      let distance = Int(try entry.u32(0))
      if distance == 0 {
        commons.append(CommonUnwindEntry(at: at, pointerSize: try Self.pointerSize(entry)))
      } else {
        guard let common = Self.common(at: at + 4 - distance, commons) else {
          throw section.damaged(at + 4, "no common entry \(distance) bytes before this")
        }
        try checkDescription(entry, pointerSize: common.pointerSize, address: start + UInt64(at) + 8)
      }
      at += 4 + length
    }
  }

  /// The common entry that starts at `place`; nearly always the last.
  private static func common(at place: Int, _ commons: [CommonUnwindEntry]) -> CommonUnwindEntry? {
    if let last = commons.last, last.at == place { return last }
    var low = 0
    var high = commons.count
    while low < high {
      let middle = (low + high) / 2
      if commons[middle].at < place { low = middle + 1 } else { high = middle }
    }
    return low < commons.count && commons[low].at == place ? commons[low] : nil
  }

  /// Skips a LEB128 number.
  private static func skipLEB128(_ entry: ByteRegion, _ at: inout Int) throws(ArtifactError) {
    while try entry.u8(at) >= 0x80 { at += 1 }
    at += 1
  }

  /// The size of the pointers that a common entry announces.
  private static func pointerSize(_ entry: ByteRegion) throws(ArtifactError) -> Int {
    // Version; the augmentation; alignments and return column; the size of the augmentation's data, and the data.
    let version = try entry.u8(4)
    guard version == 1 || version == 3, try entry.u8(5) == UInt8(ascii: "z") else {
      throw entry.damaged(4, "a common entry of another kind")
    }
    var at = 6
    while try entry.u8(at) != 0 { at += 1 }
    let letters = 6..<at
    at += 1
    try skipLEB128(entry, &at)
    try skipLEB128(entry, &at)
    if version == 1 { at += 1 } else { try skipLEB128(entry, &at) }
    try skipLEB128(entry, &at)
    for letter in letters {
      switch try entry.u8(letter) {
      case UInt8(ascii: "R"):
        // DW_EH_PE_pcrel with DW_EH_PE_sdata4 or DW_EH_PE_sdata8.
        switch try entry.u8(at) {
        case 0x1B: return 4
        case 0x1C: return 8
        case let encoding: throw entry.damaged(at, "pointers of encoding \(encoding)")
        }
      case UInt8(ascii: "L"): at += 1
      case UInt8(ascii: "P"):
        // A pointer, of a size that its encoding says.
        switch try entry.u8(at) & 15 {
        case 0x02, 0x0A: at += 3
        case 0x03, 0x0B: at += 5
        case 0x00, 0x04, 0x0C: at += 9
        case let encoding: throw entry.damaged(at, "a pointer of encoding \(encoding)")
        }
      case UInt8(ascii: "S"), UInt8(ascii: "B"): break
      case let letter: throw entry.damaged(5, "augmentation \(letter)")
      }
    }
    throw entry.damaged(4, "a common entry of another kind")
  }

  /// Checks a description, whose pointer to its code stands at `address` in the file.
  private func checkDescription(
    _ entry: ByteRegion, pointerSize: Int, address: UInt64
  ) throws(ArtifactError) {
    let isWide = pointerSize == 8
    let delta = isWide ? Int64(bitPattern: try entry.u64(4)) : Int64(Int32(bitPattern: try entry.u32(4)))
    let size = isWide ? try entry.u64(12) : UInt64(try entry.u32(8))
    // Modulo 2^64, as the unwinder computes it: what comes out has to be in the text. A function of code that was linked
    // in may be empty, where a compiler knows that it is never called; such an artifact has a `.rodata`.
    let code = address &+ UInt64(bitPattern: delta)
    let text = header.text
    let mayBeEmpty = header.extent(of: .readOnlyData).size > 0
    guard code >= text.offset, code < text.end, size > 0 || mayBeEmpty, size <= text.end - code else {
      throw entry.damaged(4, "it describes \(size) bytes of code at \(code), outside the text")
    }
    let at = 4 + 2 * pointerSize
    let augmentation = Int(try entry.u8(at))
    guard augmentation < 0x80, augmentation < entry.count - at else {
      throw entry.damaged(at, "\(augmentation) bytes of augmentation data")
    }
  }
}
