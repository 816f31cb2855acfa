// Relocations of x86-64 (System V psABI, "Relocation Types", table 4.9).
//
//     S  the symbol   A  the addend   P  the place of the field   Z  the symbol's size
//     G  the symbol's entry in the global offset table, from the table's start   GOT  that start
//
// Code that was compiled to be position independent reaches what may be elsewhere through the table. Where it is not
// elsewhere, `R_X86_64_GOTPCRELX` allows to rewrite the instruction (psABI, B.2), and an entry is not needed:
//
//     mov   symbol@GOTPCREL(%rip), %reg     8b  ->  lea symbol(%rip), %reg      8d
//     call  *symbol@GOTPCREL(%rip)          ff 15  ->  addr32 call symbol       67 e8
//     jmp   *symbol@GOTPCREL(%rip)          ff 25  ->  jmp symbol; nop          e9 … 90
//
// What compares or adds with the entry keeps it: the immediate operand would have to be the address itself.

import PrecastMachineCode

enum X86_64Relocations {
  /// `R_X86_64_PC64`.
  static let distance64: UInt32 = 24

  /// Whether a type is that of a field at the end of an instruction, which counts from there: `PC32`, `PLT32`.
  static func isDisplacement(_ type: UInt32) -> Bool { type == 2 || type == 4 }

  /// Whether a type is that of an address of less than 64 bits in code: `32`, `32S`.
  static func isShortAddress(_ type: UInt32) -> Bool { type == 10 || type == 11 }

  /// Whether a type wants a symbol's size: `SIZE32`, `SIZE64`.
  static func isSize(_ type: UInt32) -> Bool { type == 32 || type == 33 }

  static func use(_ type: UInt32, _ field: RelocationField?) -> RelocationUse {
    switch type {
    case 0: .none
    case 4: .branch(.x86_64PLT32)
    case 2: isBranch(field) ? .branch(.x86_64PC32) : .value
    case 1, 10, 11, 12, 13, 14, 15, 24, 32, 33: .value
    case 9, 27, 28, 30, 3: .slot
    case 41, 42: field.map(canRelax) ?? false ? .relaxableSlot : .slot
    case 25, 26, 29, 31: .offsetTable
    default: .unsupported
    }
  }

  // Whether the field is that of a `call`, `jmp` or `jcc`. No other instruction with a pc-relative operand has these
  // bytes there: before such an operand stands a ModRM byte of the form 00 xxx 101.
  private static func isBranch(_ field: RelocationField?) -> Bool {
    guard let field, field.has(-1, 4) else { return false }
    let opcode = field.load(UInt8.self, at: -1)
    if opcode == 0xE8 || opcode == 0xE9 { return true }
    return opcode & 0xF0 == 0x80 && field.has(-2, 4) && field.load(UInt8.self, at: -2) == 0x0F
  }

  private static func canRelax(_ field: RelocationField) -> Bool {
    guard field.has(-2, 4) else { return false }
    let opcode = field.load(UInt8.self, at: -2)
    let modRM = field.load(UInt8.self, at: -1)
    return opcode == 0x8B || opcode == 0xFF && (modRM == 0x15 || modRM == 0x25)
  }

  static func apply(
    _ relocation: ElfRelocation, _ target: RelocationTarget, _ field: RelocationField,
    _ context: inout RelocationContext
  ) -> RelocationOutcome {
    let addend = Int(relocation.addend)
    let place = field.place
    let size =
      switch relocation.type {
      case 0: 0
      case 14, 15: 1
      case 12, 13: 2
      case 1, 24, 25, 27, 28, 29, 30, 31, 33: 8
      default: 4
      }
    guard field.has(0, size) else { return .outside }
    switch relocation.type {
    case 0: return .done
    case 1:  // R_X86_64_64: S + A
      return context.store(addressOf: target, addend, in: field)
    case 10:  // R_X86_64_32
      return context.store(addressOf: target, addend, in: field, as: UInt32.self, 0, 1 << 32)
    case 11:  // R_X86_64_32S
      return context.store(addressOf: target, addend, in: field, as: UInt32.self, -1 << 31, 1 << 31)
    case 12:  // R_X86_64_16
      return context.store(addressOf: target, addend, in: field, as: UInt16.self, -1 << 15, 1 << 16)
    case 14:  // R_X86_64_8
      return context.store(addressOf: target, addend, in: field, as: UInt8.self, -1 << 7, 1 << 8)
    case 2, 4:  // R_X86_64_PC32, PLT32: S + A - P
      if target.isUndefinedWeak, context.base == nil, case .branch = use(relocation.type, field) {
        return trapInsteadOfBranch(field)
      }
      return context.store(distanceOf: target, addend, in: field, as: UInt32.self, -1 << 31, 1 << 31)
    case 13:  // R_X86_64_PC16
      return context.store(distanceOf: target, addend, in: field, as: UInt16.self, -1 << 15, 1 << 15)
    case 15:  // R_X86_64_PC8
      return context.store(distanceOf: target, addend, in: field, as: UInt8.self, -1 << 7, 1 << 7)
    case 24:  // R_X86_64_PC64
      return context.store(distanceOf: target, addend, in: field)
    case 9, 41, 42:  // R_X86_64_GOTPCREL, GOTPCRELX, REX_GOTPCRELX: G + GOT + A - P
      if relocation.type != 9 && target.isNear && addend == -4 && canRelax(field) {
        return relax(target, field, &context)
      }
      guard let slot = target.slot else { return .absoluteSlot }
      return field.store(context.offsetTable &+ slot &+ addend &- place, as: UInt32.self, -1 << 31, 1 << 31)
    case 3:  // R_X86_64_GOT32: G + A
      guard let slot = target.slot else { return .absoluteSlot }
      return field.store(slot &+ addend, as: UInt32.self, -1 << 31, 1 << 31)
    case 27, 30:  // R_X86_64_GOT64, GOTPLT64: G + A
      guard let slot = target.slot else { return .absoluteSlot }
      field.store(slot &+ addend)
    case 28:  // R_X86_64_GOTPCREL64: G + GOT - P + A
      guard let slot = target.slot else { return .absoluteSlot }
      field.store(context.offsetTable &+ slot &+ addend &- place)
    case 25, 31:  // R_X86_64_GOTOFF64, PLTOFF64: S + A - GOT
      guard let value = context.distance(target) else { return .absolute }
      field.store(value &+ addend &- context.offsetTable)
    case 26:  // R_X86_64_GOTPC32: GOT + A - P
      return field.store(context.offsetTable &+ addend &- place, as: UInt32.self, -1 << 31, 1 << 31)
    case 29:  // R_X86_64_GOTPC64
      field.store(context.offsetTable &+ addend &- place)
    case 32:  // R_X86_64_SIZE32: Z + A
      return field.store(target.size &+ addend, as: UInt32.self, 0, 1 << 32)
    case 33:  // R_X86_64_SIZE64
      field.store(target.size &+ addend)
    default: return .unsupported
    }
    return .done
  }

  // A branch to a function that nobody defines. Whoever branches should have compared its address with 0 first; who has not
  // gets `ud2`, since to go on behind a call would leave a return address on the stack, and behind a jump is other code.
  private static func trapInsteadOfBranch(_ field: RelocationField) -> RelocationOutcome {
    guard field.has(-1, 4) else { return .outside }
    switch field.load(UInt8.self, at: -1) {
    case 0xE8, 0xE9:  // call, jmp: ud2; nop dword [rax]
      field.store(UInt16(0x0B0F), at: -1)
      field.store(UInt8(0x0F), at: 1)
      field.store(UInt16(0x001F), at: 2)
    case let opcode where opcode & 0xF0 == 0x80 && field.has(-2, 4) && field.load(UInt8.self, at: -2) == 0x0F:
      // jcc: the opposite condition, over ud2; nop; nop
      field.store(UInt16(opcode & 0x0F ^ 0x71) | 0x0400, at: -2)
      field.store(UInt32(0x9090_0B0F))
    default: field.store(UInt32(0))
    }
    return .done
  }

  // Rewrites an instruction that need not look into the global offset table; see above.
  private static func relax(
    _ target: RelocationTarget, _ field: RelocationField, _ context: inout RelocationContext
  ) -> RelocationOutcome {
    guard let value = context.distance(target) else { return .absolute }
    let distance = value &- field.place &- 4
    // The jump has its displacement one byte earlier.
    guard distance >= -1 << 31 && distance < 1 << 31 - 1 else {
      return .outOfRange(distance, low: -1 << 31, high: 1 << 31 - 1)
    }
    let displacement = Int32(truncatingIfNeeded: distance)
    switch (field.load(UInt8.self, at: -2), field.load(UInt8.self, at: -1)) {
    case (0x8B, _):
      field.store(UInt8(0x8D), at: -2)
      field.store(displacement)
    case (0xFF, 0x15):
      field.store(UInt8(0x67), at: -2)
      field.store(UInt8(0xE8), at: -1)
      field.store(displacement)
    default:
      field.store(UInt8(0xE9), at: -2)
      field.store(displacement + 1, at: -1)
      field.store(UInt8(0x90), at: 3)
    }
    return .done
  }

  /// The name of a relocation type.
  static func name(_ type: UInt32) -> String? {
    let names = [
      "NONE", "64", "PC32", "GOT32", "PLT32", "COPY", "GLOB_DAT", "JUMP_SLOT", "RELATIVE", "GOTPCREL", "32", "32S",
      "16",
      "PC16", "8", "PC8", "DTPMOD64", "DTPOFF64", "TPOFF64", "TLSGD", "TLSLD", "DTPOFF32", "GOTTPOFF", "TPOFF32",
      "PC64",
      "GOTOFF64", "GOTPC32", "GOT64", "GOTPCREL64", "GOTPC64", "GOTPLT64", "PLTOFF64", "SIZE32", "SIZE64",
      "GOTPC32_TLSDESC", "TLSDESC_CALL", "TLSDESC", "IRELATIVE", "RELATIVE64", nil, nil, "GOTPCRELX", "REX_GOTPCRELX",
      "CODE_4_GOTPCRELX", "CODE_4_GOTTPOFF", "CODE_4_GOTPC32_TLSDESC",
    ]
    return type < names.count ? names[Int(type)].map { "R_X86_64_" + $0 } : nil
  }

  /// Why a type is not linked, where there is more to say than that it is not.
  static func reason(_ type: UInt32) -> String? {
    switch type {
    case 16...23, 34...36, 44, 45: "thread-local storage is not supported"
    case 5...8, 37, 38: "it is for dynamic linkers"
    default: nil
    }
  }
}
