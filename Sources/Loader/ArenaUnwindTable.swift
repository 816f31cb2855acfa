// One unwind entry for all code in an arena.
//
// Every function that compiled wasm consists of keeps a frame pointer: CFA = rbp + 16, the caller's rbp at CFA - 16, the
// return address at CFA - 8, at every call. One description over the whole arena can say that. What it cannot say by
// constant rules is where an entry trampoline keeps the host's callee-saved registers, which an unwinder must restore
// before anything of the host can go on: other functions do not touch the stack where the trampoline keeps them, and do
// not have them at all.
//
// DWARF's rules may be expressions (DWARF 5, 2.5 and 6.4.2.3), evaluated for the frame at hand with the CFA on the
// expression's stack and the frame's own pc in the return address column, a form that the linker's description of a PLT
// relies on as well. So the code says itself what it is: after the call in an entry trampoline stands a `nop` of a form that
// is found nowhere else (`EntryFrameLayout.marker`), and the rule for rbx, for one, is
//
//      if the 4 bytes at pc are the marker: what is saved at CFA - 24
//      else:                                what is in rbx
//
// Nothing needs a second mapping, a second entry, or work at load; and the module's own tables are never looked at.
//
// On AArch64 the frame is the same record (CFA = x29 + 16), more registers are kept, d8 to d15 among them, and the marker is a
// `movz xzr`. But the return address is in a register like any other, x30. For a frame that has called something the
// unwinder has put there where it will go on, as above. For one that a signal has interrupted, x30 is what the
// code has in it, maybe no address at all. So the rule asks first whether it lies in the arena. (A number in x30 that leads
// to an inaccessible part of it is possible; who unwinds from signal handlers wants each module's own tables.)
//
// LLVM's libunwind is different: when it goes to a caller it leaves x30 alone, but has a column for the pc, 32. And of a
// floating-point register it takes no value from an expression (it aborts), so there d8 to d15 are not restored.

import CPrecastHost
import PrecastArtifact
import PrecastMachineCode

/// `.eh_frame` for an arena, at any address.
struct ArenaUnwindTable {
  /// Whose rules they are: those of the code.
  var architecture: Architecture
  /// The unwinder that is going to read them.
  var unwinder: precast_unwinder

  /// For the unwinder of this process, and code for this machine.
  static var native: ArenaUnwindTable {
    #if arch(arm64)
      ArenaUnwindTable(architecture: .aarch64, unwinder: precast_find_unwinder())
    #else
      ArenaUnwindTable(architecture: .x86_64, unwinder: precast_find_unwinder())
    #endif
  }

  /// A register that the host expects to find again.
  private struct Saved {
    /// DWARF's number.
    var register: UInt8
    /// Its place from the frame pointer.
    var offset: Int
  }

  private static let savedOnX86 = [
    (Register.rbx, EntryFrameLayout.rbx), (.r12, EntryFrameLayout.r12), (.r13, EntryFrameLayout.r13),
    (.r14, EntryFrameLayout.r14), (.r15, EntryFrameLayout.r15),
  ].map { Saved(register: $0.0.dwarfNumber, offset: $0.1) }

  private static let savedOnAArch64 =
    [
      (26, AArch64EntryFrameLayout.x26), (27, AArch64EntryFrameLayout.x27), (28, AArch64EntryFrameLayout.x28),
    ].map { Saved(register: AArch64DwarfRegister.general($0.0), offset: $0.1) }

  private static let savedVectorsOnAArch64 = (8..<16).map {
    Saved(register: AArch64DwarfRegister.vector($0), offset: AArch64EntryFrameLayout.vector(Int($0)))
  }

  /// The contents of a section (one CIE, one FDE with absolute addresses, a terminator) that describes all code from `start`
  /// on, `size` bytes, a power of two.
  func section(start: UInt, size: Int) -> [UInt8] {
    var section = CodeBuffer(capacity: 1024)
    section.put32(0)  // length, below
    section.put32(0)  // a CIE
    section.put8(1)  // version
    section.put8(UInt8(ascii: "z"))
    section.put8(UInt8(ascii: "R"))
    section.put8(0)
    let isX86 = architecture == .x86_64
    section.put8(isX86 ? 1 : 4)  // code alignment
    section.put8(0x78)  // data alignment: -8
    let framePointer: UInt8 = isX86 ? 6 : AArch64DwarfRegister.general(29)
    let returnAddress: UInt8 = isX86 ? 16 : AArch64DwarfRegister.general(30)
    section.put8(returnAddress)
    section.put8(1)  // size of the augmentation data
    section.put8(0)  // DW_EH_PE_absptr
    section.put8(0x0C)  // DW_CFA_def_cfa: rbp or x29, + 16
    section.put8(framePointer)
    section.put8(16)
    section.put8(0x80 | framePointer)  // DW_CFA_offset: the frame pointer at cfa-16
    section.put8(2)
    section.put8(0x80 | returnAddress)  // DW_CFA_offset: the return address at cfa-8
    section.put8(1)
    if isX86 {
      for saved in Self.savedOnX86 { Self.putRule(&section, saved) }
    } else {
      for saved in Self.savedOnAArch64 { putRule(&section, saved, start: start, size: size) }
      if unwinder != PRECAST_UNWINDER_LLVM {
        for saved in Self.savedVectorsOnAArch64 { putRule(&section, saved, start: start, size: size) }
      }
    }
    Self.close(&section, from: 0)

    let entry = section.count
    section.put32(0)
    section.put32(UInt32(section.count))  // the CIE stands at 0
    section.put64(UInt64(start))
    section.put64(UInt64(size))
    section.put8(0)  // no augmentation data
    Self.close(&section, from: entry)
    section.put32(0)
    return section.array
  }

  /// On x86-64: the value of a register of the caller (`DW_CFA_val_expression`); the CFA is pushed before the expression begins.
  private static func putRule(_ section: inout CodeBuffer, _ saved: Saved) {
    section.put8(0x16)  // DW_CFA_val_expression
    section.put8(saved.register)
    section.put8(23)  // length of the expression
    section.put8(0x70 + 16)  // DW_OP_breg16 + 0: the frame's pc
    section.put8(0)
    section.put8(0x94)  // DW_OP_deref_size 4
    section.put8(4)
    section.put8(0x0C)  // DW_OP_const4u marker
    section.put32(EntryFrameLayout.marker)
    section.put8(0x29)  // DW_OP_eq
    section.put8(0x28)  // DW_OP_bra +6: to the rule for the trampoline
    section.put16(6)
    section.put8(0x13)  // DW_OP_drop
    section.put8(0x70 + saved.register)  // DW_OP_bregN + 0: it is where it was
    section.put8(0)
    section.put8(0x2F)  // DW_OP_skip +4: to the end
    section.put16(4)
    section.put8(0x08)  // DW_OP_const1u: the CFA is 16 above the frame pointer
    section.put8(UInt8(16 - saved.offset))
    section.put8(0x1C)  // DW_OP_minus
    section.put8(0x06)  // DW_OP_deref
  }

  /// On AArch64 the same, for a pc in the arena. What is left below the result on the expression's stack does not matter.
  private func putRule(_ section: inout CodeBuffer, _ saved: Saved, start: UInt, size: Int) {
    section.put8(0x16)  // DW_CFA_val_expression
    section.put8(saved.register)
    section.put8(41)  // length of the expression
    section.put8(0x92)  // DW_OP_bregx x30, or pc, + 0
    section.put8(unwinder == PRECAST_UNWINDER_LLVM ? 32 : 30)
    section.put8(0)
    section.put8(0x12)  // DW_OP_dup
    section.put8(0x0E)  // DW_OP_const8u start
    section.put64(UInt64(start))
    section.put8(0x1C)  // DW_OP_minus
    section.put8(0x08)  // DW_OP_const1u: the size's logarithm
    section.put8(UInt8(size.trailingZeroBitCount))
    section.put8(0x25)  // DW_OP_shr: 0 for what is in the arena
    section.put8(0x28)  // DW_OP_bra +18: elsewhere
    section.put16(18)
    section.put8(0x94)  // DW_OP_deref_size 4
    section.put8(4)
    section.put8(0x0C)  // DW_OP_const4u marker
    section.put32(AArch64EntryFrameLayout.marker)
    section.put8(0x2E)  // DW_OP_ne
    section.put8(0x28)  // DW_OP_bra +7: to the rule for all other code
    section.put16(7)
    section.put8(0x08)  // DW_OP_const1u: the CFA is 16 above the frame pointer
    section.put8(UInt8(16 - saved.offset))
    section.put8(0x1C)  // DW_OP_minus
    section.put8(0x06)  // DW_OP_deref
    section.put8(0x2F)  // DW_OP_skip +3: to the end
    section.put16(3)
    section.put8(0x92)  // DW_OP_bregx + 0: it is where it was
    section.put8(saved.register)
    section.put8(0)
  }

  // Fills up with DW_CFA_nop and sets the length.
  private static func close(_ section: inout CodeBuffer, from start: Int) {
    section.put(repeating: 0, count: -section.count & 7)
    section.patch32(at: start, UInt32(section.count - start - 4))
  }
}
