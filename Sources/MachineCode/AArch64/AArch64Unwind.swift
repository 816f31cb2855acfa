// What unwind tables have to know of AArch64: the registers' numbers (AADWARF64, 4.1: x0 to x30 are 0 to 30, sp is 31, v0 to
// v31 are 64 to 95) and the frame (AAPCS64, 6.4.6, "The Frame Pointer").
//
//      0  bti c                      only with landing pads
//         stp x29, x30, [sp, #-16]!  the return address is in x30, where it was when the function was called: CFA = sp
//         mov x29, sp                CFA = sp + 16, x29 at CFA - 16, x30 at CFA - 8
//         ...                        CFA = x29 + 16
//         mov sp, x29                what else a trampoline has saved is below sp from here on, and restored
//         ldp x29, x30, [sp], #16
//         ret                        CFA = sp, both registers back
//
// Instructions have 4 bytes, which is the unit of advances. The return address has no column of its own: it is x30's, and a
// frame that has not saved it yet says nothing about it, which means that it is unchanged.

/// Numbers of AArch64 registers in DWARF (AADWARF64, 4.1).
public enum AArch64DwarfRegister {
  /// x0 to x30, by its number.
  public static func general(_ number: UInt8) -> UInt8 { number & 31 }
  /// sp.
  public static let stackPointer: UInt8 = 31
  /// v0 to v31, of which a callee saves the low 64 bits of v8 to v15 (AAPCS64, 6.1.2).
  public static func vector(_ number: UInt8) -> UInt8 { 64 + (number & 31) }
}

extension UnwindConvention {
  static func aarch64(hasLandingPads: Bool) -> UnwindConvention {
    let start: UInt32 = hasLandingPads ? 4 : 0
    return UnwindConvention(
      codeAlignment: 4, stackPointer: 31, framePointer: 29, returnAddress: 30, entryOffset: 0,
      callStoresReturnAddress: false, recordOffset: start + 4, framePointerOffset: start + 8, releaseLength: 4,
      landingPadLength: 4)
  }
}
