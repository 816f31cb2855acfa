// From unwind tables that are final to unwind tables that a linker completes.
//
// `UnwindBuilder` writes distances to a text that stands right before the section. In an object the linker computes them,
// so each distance becomes zero and a place for a relocation, and the terminator goes, for the linker puts one behind the
// tables of all objects. What the distance was is compared with where the code is: a table with another order would put each
// frame's rules on some other function, and nobody would notice before an unwinder does.

/// `.eh_frame` without distances, and where they were.
struct UnwindRelocation {
  /// A pointer to the start of a function.
  struct Place {
    /// Its offset in the section.
    var offset: Int
    /// What it pointed to, as a text offset.
    var textOffset: Int64
  }

  /// The section without its terminator.
  private(set) var bytes: [UInt8]
  /// The FDEs' pointers, in their order.
  private(set) var places: [Place] = []
  /// Whether pointers have 64 bits (`DW_EH_PE_sdata8`).
  private(set) var isWide = false

  /// Takes apart a section that starts `distance` bytes behind the start of the text; nil for one that is not as
  /// `UnwindBuilder` writes them.
  init?(_ section: [UInt8], distance: UInt64) {
    bytes = section
    func word(_ at: Int) -> UInt32? {
      guard at >= 0, at <= section.count - 4 else { return nil }
      return (0..<4).reduce(0) { $0 | UInt32(section[at + $1]) << (8 * UInt32($1)) }
    }
    func store(_ at: Int, _ count: Int) { for k in 0..<count { bytes[at + k] = 0 } }
    var at = 0
    while true {
      guard let length = word(at), length != .max else { return nil }
      if length == 0 {
        // The terminator, which ends the section.
        guard at + 4 == section.count else { return nil }
        bytes.removeLast(4)
        return
      }
      guard length >= 12, Int(length) <= section.count - at - 4, let identity = word(at + 4) else { return nil }
      if identity == 0 {
        guard at == 0, let encoding = Self.encoding(section[8..<4 + Int(length)]) else { return nil }
        isWide = encoding & 0x0F == 0x0C
        // DW_EH_PE_pcrel | sdata4 or sdata8.
        guard encoding & 0xF0 == 0x10, isWide || encoding & 0x0F == 0x0B else { return nil }
      } else {
        guard at > 0, let low = word(at + 8), let high = isWide ? word(at + 12) : 0 else { return nil }
        let value = isWide ? Int64(bitPattern: UInt64(high) << 32 | UInt64(low)) : Int64(Int32(bitPattern: low))
        places.append(Place(offset: at + 8, textOffset: value &+ Int64(at + 8) &+ Int64(distance)))
        store(at + 8, isWide ? 8 : 4)
      }
      at += 4 + Int(length)
    }
  }

  // The pointer encoding of a CIE with the augmentation "zR", from its version on (LSB Core, "Exception Frames").
  private static func encoding(_ cie: ArraySlice<UInt8>) -> UInt8? {
    guard cie.starts(with: [1, 0x7A, 0x52, 0]) else { return nil }
    var rest = cie.dropFirst(4)
    // Code and data alignment, return address column, size of the augmentation data: LEB128 numbers.
    for _ in 0..<4 {
      rest = rest.drop { $0 >= 0x80 }
      guard !rest.isEmpty else { return nil }
      rest = rest.dropFirst()
    }
    return rest.first
  }
}
