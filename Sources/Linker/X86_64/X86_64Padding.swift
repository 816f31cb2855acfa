// What compilers, assemblers and linkers put between functions of x86-64.

import PrecastMachineCode

enum X86_64Padding {
  /// The size of what the bytes start with, if it does nothing or is never reached: a zero byte, `int3`, or one of the
  /// forms of `nop` (Intel SDM, volume 2, NOP: `90`, `0F 1F /0`), with prefixes `66` and `2E` before it. 0 for all else.
  @unsafe
  static func size(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard let first = unsafe bytes.first else { return 0 }
    if first == 0 || first == 0xCC { return 1 }
    var at = 0
    while unsafe at < bytes.count && (bytes[at] == 0x66 || bytes[at] == 0x2E) { at += 1 }
    if unsafe at < bytes.count && bytes[at] == 0x90 { return at + 1 }
    guard unsafe at + 3 <= bytes.count && bytes[at] == 0x0F && bytes[at + 1] == 0x1F else { return 0 }
    let modRM = unsafe bytes[at + 2]
    guard modRM & 0x38 == 0 else { return 0 }
    at += 3
    let (mod, rm) = (modRM >> 6, modRM & 7)
    if mod != 3 && rm == 4 {
      guard at < bytes.count else { return 0 }
      // A base of 5 without a displacement is a displacement without a base.
      if unsafe mod == 0 && bytes[at] & 7 == 5 { at += 4 }
      at += 1
    }
    if mod == 2 || mod == 0 && rm == 5 { at += 4 } else if mod == 1 { at += 1 }
    return at <= bytes.count ? at : 0
  }
}
