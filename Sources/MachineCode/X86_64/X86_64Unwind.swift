// What unwind tables have to know of x86-64: the registers' numbers (System V psABI, x86-64, figure 3.36) and the frame.
//
//      0  push rbp           the call has left the return address on top: CFA = rsp + 8
//      1  mov rbp, rsp       CFA = rsp + 16
//      4  ...                CFA = rbp + 16
//         leave
//         ret                CFA = rsp + 8

extension Register {
  /// The register's number in DWARF (System V psABI, x86-64, figure 3.36).
  public var dwarfNumber: UInt8 {
    switch self {
    case .rax: 0
    case .rdx: 1
    case .rcx: 2
    case .rbx: 3
    case .rsi: 4
    case .rdi: 5
    case .rbp: 6
    case .rsp: 7
    default: rawValue
    }
  }
}

extension UnwindConvention {
  static let x86 = UnwindConvention(
    codeAlignment: 1, stackPointer: 7, framePointer: 6, returnAddress: 16, entryOffset: 8,
    callStoresReturnAddress: true, recordOffset: 1, framePointerOffset: 4, releaseLength: 0, landingPadLength: 0)
}
