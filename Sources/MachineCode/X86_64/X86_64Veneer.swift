/// The x86-64 veneer: a jump to anywhere, without a relocation.
///
/// Where the text may be mapped anywhere:               Where its address is known:
///
///      0  lea  scratch, [rip + cell]                        0  jmp  [rip + cell]
///      7  add  scratch, [scratch]                           6  int3, int3
///     10  jmp  scratch                                      8  cell: address of target
///     13  int3 …
///     16  cell: target - cell, 64 bits
///
/// An absolute address would need a relocation in a file, and 64-bit distances have no immediate
/// form that gets by with one register; hence the cell. It is read from the text, which is mapped
/// readable. The scratch register is one that carries nothing at a function's entry: `rax` in
/// compiled wasm, `r11` in the platform's convention (psABI, 3.2.3), where `rax` counts a variadic
/// function's vector arguments. Flags carry nothing there either.
///
/// The second form touches neither registers nor flags, so it also serves jumps that are no calls,
/// such as those of a function of C to a part of it that its compiler moved to another section.
internal enum X86_64Veneer {
  static let size = 24
  static let absoluteSize = 16
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
    code.put64(UInt64(bitPattern: Int64(target &- (offset &+ 16))))
  }

  static func emitAbsolute(into code: inout CodeBuffer, to address: UInt64) {
    for byte in [0xFF, 0x25, 2, 0, 0, 0, 0xCC, 0xCC] as [UInt8] { code.put8(byte) }
    code.put64(address)
  }
}
