// Checking `.eh_frame`, which only other people's programs read.
//
// The host's unwinder is handed this section for the whole process and believes it: a length that
// leads out of the section, or a missing terminator, takes it into whatever is mapped behind. Load
// cannot look (it touches no page), so this is part of verification. What is checked is the skeleton
// that such a program walks (LSB, "Exception Frames"): the chain of lengths, each description's
// distance to its common part, and that the code it describes is in the text. What the instructions
// for the unwinder say is not.

extension Artifact {
  /// Checks the chain of entries in `.eh_frame`, and that each describes code of the text.
  func checkUnwindTables() throws(ArtifactError) {
    guard let section = try section(.ehFrame) else { return }
    let start = header.extent(of: .ehFrame).offset
    // Where the common entry stands that the following ones refer to, and the width of their pointers.
    var common: (at: Int, pointerSize: Int)?
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
        common = (at, try Self.pointerSize(entry))
      } else {
        guard let common, at + 4 - distance == common.at else {
          throw section.damaged(at + 4, "no common entry \(distance) bytes before this")
        }
        try checkDescription(entry, pointerSize: common.pointerSize, address: start + UInt64(at) + 8)
      }
      at += 4 + length
    }
  }

  /// The size of the pointers that a common entry announces.
  private static func pointerSize(_ entry: ByteRegion) throws(ArtifactError) -> Int {
    // Version 1; "zR", of which R is the encoding of pointers; alignments and return column, a byte each; one byte of
    // augmentation data: DW_EH_PE_pcrel with DW_EH_PE_sdata4 or DW_EH_PE_sdata8.
    guard try entry.u8(4) == 1, try entry.u8(5) == UInt8(ascii: "z"), try entry.u16(6) == UInt16(UInt8(ascii: "R")),
      try entry.u8(11) == 1
    else { throw entry.damaged(4, "a common entry of another kind") }
    switch try entry.u8(12) {
    case 0x1B: return 4
    case 0x1C: return 8
    case let encoding: throw entry.damaged(12, "pointers of encoding \(encoding)")
    }
  }

  /// Checks a description, whose pointer to its code stands at `address` in the file.
  private func checkDescription(
    _ entry: ByteRegion, pointerSize: Int, address: UInt64
  ) throws(ArtifactError) {
    let isWide = pointerSize == 8
    let delta = isWide ? Int64(bitPattern: try entry.u64(4)) : Int64(Int32(bitPattern: try entry.u32(4)))
    let size = isWide ? try entry.u64(12) : UInt64(try entry.u32(8))
    // Modulo 2^64, as the unwinder computes it: what comes out has to be in the text.
    let code = address &+ UInt64(bitPattern: delta)
    let text = header.text
    guard code >= text.offset, code < text.end, size > 0, size <= text.end - code else {
      throw entry.damaged(4, "it describes \(size) bytes of code at \(code), outside the text")
    }
    guard try entry.u8(4 + 2 * pointerSize) == 0 else {
      throw entry.damaged(4 + 2 * pointerSize, "augmentation data")
    }
  }
}
