/// The AArch64 veneer: a jump within ±4 GiB.
///
///      0  adrp x16, page of target
///      4  add  x16, x16, #offset in page
///      8  br   x16
///
/// `x16` is the platform's own register for this (AAPCS64, 6.1.1: IP0), dead at every function's
/// entry. With branch target identification on, a `br` through x16 or x17 is the one indirect jump
/// that may land on `bti c`, as on a function's first instruction; other registers would fault.
/// `adrp` counts pages of the address, so text offsets serve only because the text starts on a
/// page.
internal enum AArch64Veneer {
  static let size = 12
  static let alignment = 4

  /// Returns whether the target is near enough.
  static func emit(into code: inout CodeBuffer, from offset: Int, to target: Int) -> Bool {
    let pages = (target >> 12) - (offset >> 12)
    guard pages >= -(1 << 20) && pages < 1 << 20 else { return false }
    let bits = UInt32(truncatingIfNeeded: pages)
    code.put32(0x9000_0010 | (bits & 3) << 29 | (bits >> 2 & 0x7_FFFF) << 5)
    code.put32(0x9100_0210 | UInt32(target & 0xFFF) << 10)
    code.put32(0xD61F_0200)
    return true
  }
}
