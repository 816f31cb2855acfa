/// The AArch64 veneer: a jump within ±4 GiB, or to an address.
///
///      0  adrp x16, page of target             0  movz x16, #address[15:0]
///      4  add  x16, x16, #offset in page       4  movk x16, #address[31:16], lsl #16
///      8  br   x16                             8  movk x16, #address[47:32], lsl #32
///                                             12  movk x16, #address[63:48], lsl #48
///                                             16  br   x16
///
/// `x16` is the platform's own register for this (AAPCS64, 6.1.1: IP0), and of compiled wasm: dead
/// at every function's entry, and where a branch leaves its section. `adrp` counts pages of the
/// address, so text offsets serve only because the text starts on a page. Neither form reads the
/// text as data.
///
/// With branch target identification on, a `br` through x16 or x17 is the one indirect jump that may
/// land on `bti c`, as on a function's first instruction; other registers would fault. A function
/// that is only ever called directly need not begin with a landing pad, though. A veneer for such
/// a one ends in `ret x16`, which is not checked. It costs a wrong guess of the processor's return
/// predictor, and is used for nothing else.
internal enum AArch64Veneer {
  static let size = 12
  static let absoluteSize = 20
  static let alignment = 4

  /// How the veneer ends.
  enum Jump: UInt32 {
    /// `br x16`.
    case branch = 0xD61F_0200
    /// `ret x16`.
    case `return` = 0xD65F_0200
  }

  /// Whether an instruction may be jumped to by `br x16` with branch target identification on: one
  /// of `bti c`, `bti j`, `bti jc`, `paciasp`, `pacibsp` (Arm ARM, D8.4.7).
  static func isLandingPad(_ instruction: UInt32) -> Bool {
    switch instruction {
    case 0xD503_245F, 0xD503_249F, 0xD503_24DF, 0xD503_233F, 0xD503_237F: true
    default: false
    }
  }

  /// Whether a veneer at `offset` can lead to `target` without its address.
  static func reaches(_ target: Int, from offset: Int) -> Bool {
    let pages = (target >> 12) - (offset >> 12)
    return pages >= -(1 << 20) && pages < 1 << 20
  }

  /// Returns whether the target is near enough.
  static func emit(into code: inout CodeBuffer, from offset: Int, to target: Int, jump: Jump) -> Bool {
    guard reaches(target, from: offset) else { return false }
    let bits = UInt32(truncatingIfNeeded: (target >> 12) - (offset >> 12))
    code.put32(0x9000_0010 | (bits & 3) << 29 | (bits >> 2 & 0x7_FFFF) << 5)
    code.put32(0x9100_0210 | UInt32(target & 0xFFF) << 10)
    code.put32(jump.rawValue)
    return true
  }

  static func emitAbsolute(into code: inout CodeBuffer, to address: UInt64, jump: Jump) {
    for half in 0..<4 as Range<UInt32> {
      let bits = UInt32(truncatingIfNeeded: address >> UInt64(16 * half)) & 0xFFFF
      code.put32((half == 0 ? 0xD280_0010 : 0xF280_0010) | half << 21 | bits << 5)
    }
    code.put32(jump.rawValue)
  }
}
