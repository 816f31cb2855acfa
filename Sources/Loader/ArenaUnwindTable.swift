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

import PrecastArtifact
import PrecastMachineCode

/// `.eh_frame` for an arena, at any address.
enum ArenaUnwindTable {
  /// The contents of a section (one CIE, one FDE with absolute addresses, a terminator) that describes all code from `start`
  /// on, `size` bytes.
  static func section(start: UInt, size: Int) -> [UInt8] {
    var section = CodeBuffer(capacity: 512)
    section.put32(0)  // length, below
    section.put32(0)  // a CIE
    section.put8(1)  // version
    section.put8(UInt8(ascii: "z"))
    section.put8(UInt8(ascii: "R"))
    section.put8(0)
    section.put8(1)  // code alignment
    section.put8(0x78)  // data alignment: -8
    section.put8(16)  // return address: column 16
    section.put8(1)  // size of the augmentation data
    section.put8(0)  // DW_EH_PE_absptr
    section.put8(0x0C)  // DW_CFA_def_cfa rbp + 16
    section.put8(6)
    section.put8(16)
    section.put8(0x80 | 6)  // DW_CFA_offset: rbp at cfa-16
    section.put8(2)
    section.put8(0x80 | 16)  // DW_CFA_offset: return address at cfa-8
    section.put8(1)
    for (register, offset) in saved { putRule(&section, register: register.dwarfNumber, frameOffset: offset) }
    close(&section, from: 0)

    let entry = section.count
    section.put32(0)
    section.put32(UInt32(section.count))  // the CIE stands at 0
    section.put64(UInt64(start))
    section.put64(UInt64(size))
    section.put8(0)  // no augmentation data
    close(&section, from: entry)
    section.put32(0)
    return section.array
  }

  // What the host expects to find again, with its place from the frame pointer.
  private static let saved: [(Register, Int)] = [
    (.rbx, EntryFrameLayout.rbx), (.r12, EntryFrameLayout.r12), (.r13, EntryFrameLayout.r13),
    (.r14, EntryFrameLayout.r14), (.r15, EntryFrameLayout.r15),
  ]

  /// The value of a register of the caller (`DW_CFA_val_expression`); the CFA is pushed before the expression begins.
  private static func putRule(_ section: inout CodeBuffer, register: UInt8, frameOffset: Int) {
    section.put8(0x16)  // DW_CFA_val_expression
    section.put8(register)
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
    section.put8(0x70 + register)  // DW_OP_bregN + 0: it is where it was
    section.put8(0)
    section.put8(0x2F)  // DW_OP_skip +4: to the end
    section.put16(4)
    section.put8(0x08)  // DW_OP_const1u: the CFA is 16 above the frame pointer
    section.put8(UInt8(16 - frameOffset))
    section.put8(0x1C)  // DW_OP_minus
    section.put8(0x06)  // DW_OP_deref
  }

  // Fills up with DW_CFA_nop and sets the length.
  private static func close(_ section: inout CodeBuffer, from start: Int) {
    section.put(repeating: 0, count: -section.count & 7)
    section.patch32(at: start, UInt32(section.count - start - 4))
  }
}
