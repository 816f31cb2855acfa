/// The x86-64 veneer: a jump to anywhere, without a relocation and through one register.
///
///      0  lea  scratch, [rip + cell]
///      7  add  scratch, [scratch]
///     10  jmp  scratch
///     13  int3 …
///     16  cell: target - cell, 64 bits
///
/// An absolute address would need a relocation, and 64-bit distances have no immediate form that
/// gets by with one register; hence the cell. It is read from the text, which is mapped readable.
/// The scratch register is one that carries nothing at a function's entry.
internal enum X86_64Veneer {
  static let size = 24
  static let alignment = 8

  static func emit(into code: inout CodeBuffer, from offset: Int, to target: Int, scratch: Register) {
    let start = code.count
    let rex = UInt8(scratch.high)
    let low = UInt8(scratch.low)
    for byte in [
      0x48 | rex << 2, 0x8D, 0x05 | low << 3, 9, 0, 0, 0,
      // rsp, rbp, r12 and r13 would need another form; none of them is ever scratch.
      0x48 | rex << 2 | rex, 0x03, low << 3 | low,
    ] {
      code.put8(byte)
    }
    if rex != 0 { code.put8(0x41) }
    code.put8(0xFF)
    code.put8(0xE0 | low)
    code.put(repeating: 0xCC, count: start + 16 - code.count)
    code.put64(UInt64(bitPattern: Int64(target - (offset + 16))))
  }
}
