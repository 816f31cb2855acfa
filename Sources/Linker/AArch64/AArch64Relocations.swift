// Relocations of AArch64 (AAELF64, "Relocation types").
//
//     S  the symbol   A  the addend   P  the place of the field   G(S)  the symbol's entry in the global offset table
//     GOT  the start of that table    Page(X)  X without its low 12 bits
//
// An image starts on a page, so low 12 bits and differences of pages do not depend on where it is. Instructions take
// parts of a value: 21 bits of a difference of pages in `adrp`, 12 low bits in `add` and, scaled by the size, in
// loads and stores, 16 bits in `movz` and `movk`.
//
// Position-independent code loads an address from the global offset table in two steps. Where the symbol is near,
// both are rewritten, and no entry is needed:
//
//     adrp  x0, :got:symbol                 ->  adrp  x0, symbol
//     ldr   x0, [x0, #:got_lo12:symbol]     ->  add   x0, x0, #:lo12:symbol
//
// The two need not stand together, and several loads may share an `adrp`; it is enough that all of them are rewritten.

import PrecastMachineCode

enum AArch64Relocations {
  /// `R_AARCH64_PREL64`.
  static let distance64: UInt32 = 260

  static func use(_ type: UInt32, _ field: RelocationField?) -> RelocationUse {
    switch type {
    case 0, 256: .none
    case 283: .branch(.aarch64Call26)
    case 282: .branch(.aarch64Jump26)
    case 280: .branch(.aarch64CondBr19)
    case 279: .branch(.aarch64TstBr14)
    case 257...278, 284...293, 299, 314: .value
    case 309, 310, 313, 315: .slot
    case 311, 312: .relaxableSlot
    case 307, 308: .offsetTable
    default: .unsupported
    }
  }

  static func apply(
    _ relocation: ElfRelocation, _ target: RelocationTarget, _ field: RelocationField,
    _ context: inout RelocationContext
  ) -> RelocationOutcome {
    let addend = Int(relocation.addend)
    let place = field.place
    let type = relocation.type
    let size =
      switch type {
      case 0, 256: 0
      case 259, 262: 2
      case 257, 260, 307: 8
      default: 4
      }
    guard field.has(0, size) else { return .outside }
    switch type {
    case 0, 256: return .done
    case 257:  // R_AARCH64_ABS64: S + A
      return context.store(addressOf: target, addend, in: field)
    case 258:  // R_AARCH64_ABS32
      return context.store(addressOf: target, addend, in: field, as: UInt32.self, -1 << 31, 1 << 32)
    case 259:  // R_AARCH64_ABS16
      return context.store(addressOf: target, addend, in: field, as: UInt16.self, -1 << 15, 1 << 16)
    case 260:  // R_AARCH64_PREL64: S + A - P
      return context.store(distanceOf: target, addend, in: field)
    case 261:  // R_AARCH64_PREL32
      return context.store(distanceOf: target, addend, in: field, as: UInt32.self, -1 << 31, 1 << 32)
    case 314:  // R_AARCH64_PLT32
      return context.store(distanceOf: target, addend, in: field, as: UInt32.self, -1 << 31, 1 << 31)
    case 262:  // R_AARCH64_PREL16
      return context.store(distanceOf: target, addend, in: field, as: UInt16.self, -1 << 15, 1 << 16)
    case 263...272:
      guard let address = context.address(target) else { return .absolute }
      return move(type, address &+ addend, field)
    case 287...293:
      guard let value = context.distance(target) else { return .absolute }
      return move(type, value &+ addend &- place, field)
    case 273:  // R_AARCH64_LD_PREL_LO19
      guard let value = context.distance(target) else { return .absolute }
      return word(value &+ addend &- place, field, bits: 19, shift: 5)
    case 274:  // R_AARCH64_ADR_PREL_LO21
      guard let value = context.distance(target) else { return .absolute }
      let distance = value &+ addend &- place
      guard distance >= -1 << 20 && distance < 1 << 20 else {
        return .outOfRange(distance, low: -1 << 20, high: 1 << 20)
      }
      return splitImmediate(distance, field)
    case 275, 276:  // R_AARCH64_ADR_PREL_PG_HI21, _NC: Page(S + A) - Page(P)
      guard let value = context.distance(target) else { return .absolute }
      return page(value &+ addend, field, isChecked: type == 275)
    case 277:  // R_AARCH64_ADD_ABS_LO12_NC
      insert(UInt32(truncatingIfNeeded: target.value &+ addend) & 0xFFF, field, shift: 10, mask: 0x3F_FC00)
    case 278: return scaled(target.value &+ addend, field, 0)  // R_AARCH64_LDST8_ABS_LO12_NC
    case 284: return scaled(target.value &+ addend, field, 1)  // R_AARCH64_LDST16_ABS_LO12_NC
    case 285: return scaled(target.value &+ addend, field, 2)  // R_AARCH64_LDST32_ABS_LO12_NC
    case 286: return scaled(target.value &+ addend, field, 3)  // R_AARCH64_LDST64_ABS_LO12_NC
    case 299: return scaled(target.value &+ addend, field, 4)  // R_AARCH64_LDST128_ABS_LO12_NC
    case 279, 280, 282, 283:  // TSTBR14, CONDBR19, JUMP26, CALL26: S + A - P
      let bits = type == 279 ? 14 : type == 280 ? 19 : 26
      // A branch to nothing is one to the next instruction (AAELF64, "Weak references").
      if target.isUndefinedWeak { return word(4, field, bits: bits, shift: bits == 26 ? 0 : 5) }
      guard let value = context.distance(target) else { return .absolute }
      return word(value &+ addend &- place, field, bits: bits, shift: bits == 26 ? 0 : 5)
    case 307:  // R_AARCH64_GOTREL64: S + A - GOT
      guard let value = context.distance(target) else { return .absolute }
      field.store(value &+ addend &- context.offsetTable)
    case 308:  // R_AARCH64_GOTREL32
      guard let value = context.distance(target) else { return .absolute }
      return field.store(value &+ addend &- context.offsetTable, as: UInt32.self, -1 << 31, 1 << 31)
    case 309...313, 315:
      guard addend == 0 else { return .addend }
      return offsetTable(type, target, field, &context)
    default: return .unsupported
    }
    return .done
  }

  // Relocations that find a symbol by way of the global offset table.
  private static func offsetTable(
    _ type: UInt32, _ target: RelocationTarget, _ field: RelocationField, _ context: inout RelocationContext
  ) -> RelocationOutcome {
    if target.isNear && type == 311 {
      guard let value = context.distance(target) else { return .absolute }
      return page(value, field, isChecked: true)
    }
    if target.isNear && type == 312 {
      // ldr xt, [xn, #imm]  ->  add xt, xn, #imm
      let word = field.load(UInt32.self)
      guard word & 0xFFC0_0000 == 0xF940_0000 else { return .unsupported }
      let low = UInt32(truncatingIfNeeded: target.value) & 0xFFF
      field.store(0x9100_0000 | low << 10 | word & 0x3FF)
      return .done
    }
    guard let slot = target.slot else { return .absoluteSlot }
    let entry = context.offsetTable &+ slot
    switch type {
    case 309: return word(entry &- field.place, field, bits: 19, shift: 5)  // R_AARCH64_GOT_LD_PREL19: G(S) - P
    case 310: return fromTable(slot, field)  // R_AARCH64_LD64_GOTOFF_LO15: G(S) - GOT
    case 311: return page(entry, field, isChecked: true)  // R_AARCH64_ADR_GOT_PAGE: Page(G(S)) - Page(P)
    case 312: return scaled(entry, field, 3)  // R_AARCH64_LD64_GOT_LO12_NC
    case 313: return fromTable(entry &- (context.offsetTable & ~0xFFF), field)  // LD64_GOTPAGE_LO15: G(S) - Page(GOT)
    default:  // R_AARCH64_GOTPCREL32: G(S) - P
      return field.store(entry &- field.place, as: UInt32.self, -1 << 31, 1 << 31)
    }
  }

  // MARK: Fields

  private static func insert(_ bits: UInt32, _ field: RelocationField, shift: UInt32, mask: UInt32) {
    field.store(field.load(UInt32.self) & ~mask | bits << shift & mask)
  }

  // A distance in words.
  private static func word(_ distance: Int, _ field: RelocationField, bits: Int, shift: UInt32) -> RelocationOutcome {
    guard distance & 3 == 0 else { return .misaligned(distance, 4) }
    let limit = 1 << (bits + 1)
    guard distance >= -limit && distance < limit else { return .outOfRange(distance, low: -limit, high: limit) }
    insert(UInt32(truncatingIfNeeded: distance >> 2), field, shift: shift, mask: (1 << UInt32(bits) - 1) << shift)
    return .done
  }

  // `adr` and `adrp`: two low bits apart from the others.
  private static func splitImmediate(_ value: Int, _ field: RelocationField) -> RelocationOutcome {
    let bits = UInt32(truncatingIfNeeded: value)
    field.store(field.load(UInt32.self) & 0x9F00_001F | (bits & 3) << 29 | (bits >> 2 & 0x7_FFFF) << 5)
    return .done
  }

  private static func page(_ value: Int, _ field: RelocationField, isChecked: Bool) -> RelocationOutcome {
    let distance = (value & ~0xFFF) &- (field.place & ~0xFFF)
    guard !isChecked || distance >= -1 << 32 && distance < 1 << 32 else {
      return .outOfRange(distance, low: -1 << 32, high: 1 << 32)
    }
    return splitImmediate(distance >> 12, field)
  }

  // The 12 low bits of an address, in units of 2^scale bytes.
  private static func scaled(_ address: Int, _ field: RelocationField, _ scale: UInt32) -> RelocationOutcome {
    let low = UInt32(truncatingIfNeeded: address) & 0xFFF
    guard low & (1 << scale - 1) == 0 else { return .misaligned(address, 1 << Int(scale)) }
    insert(low >> scale, field, shift: 10, mask: 0x3F_FC00)
    return .done
  }

  // A 15-bit distance from the table, in words of 8 bytes.
  private static func fromTable(_ distance: Int, _ field: RelocationField) -> RelocationOutcome {
    guard distance & 7 == 0 else { return .misaligned(distance, 8) }
    guard distance >= 0 && distance < 1 << 15 else { return .outOfRange(distance, low: 0, high: 1 << 15) }
    insert(UInt32(truncatingIfNeeded: distance >> 3), field, shift: 10, mask: 0x3F_FC00)
    return .done
  }

  // `movz`, `movn` and `movk`.
  private static func move(_ type: UInt32, _ value: Int, _ field: RelocationField) -> RelocationOutcome {
    let (group, isSigned, isChecked): (Int, Bool, Bool) =
      switch type {
      case 263...269: (Int(type - 263) / 2, false, type % 2 == 1)  // UABS_G0, G0_NC, G1, …
      case 270...272: (Int(type - 270), true, true)  // SABS_G0, G1, G2
      default: (Int(type - 287) / 2, type % 2 == 1, type % 2 == 1)  // PREL_G0, G0_NC, G1, …
      }
    let bits = 16 * (group + 1)
    if isChecked && bits < 64 {
      let (low, high) = isSigned ? (-1 << bits, 1 << bits) : (0, 1 << bits)
      guard value >= low && value < high else { return .outOfRange(value, low: low, high: high) }
    }
    var word = field.load(UInt32.self)
    var part = value
    if isSigned {
      // movn where the value is negative, movz where it is not (they differ in bit 30).
      word = value < 0 ? word & ~(1 << 30) : word | 1 << 30
      if value < 0 { part = ~value }
    }
    field.store(word & ~0x1F_FFE0 | (UInt32(truncatingIfNeeded: part >> (16 * group)) & 0xFFFF) << 5)
    return .done
  }

  /// The name of a relocation type.
  static func name(_ type: UInt32) -> String? {
    let first = [
      "NONE", "ABS64", "ABS32", "ABS16", "PREL64", "PREL32", "PREL16", "MOVW_UABS_G0", "MOVW_UABS_G0_NC",
      "MOVW_UABS_G1", "MOVW_UABS_G1_NC", "MOVW_UABS_G2", "MOVW_UABS_G2_NC", "MOVW_UABS_G3", "MOVW_SABS_G0",
      "MOVW_SABS_G1", "MOVW_SABS_G2", "LD_PREL_LO19", "ADR_PREL_LO21", "ADR_PREL_PG_HI21", "ADR_PREL_PG_HI21_NC",
      "ADD_ABS_LO12_NC", "LDST8_ABS_LO12_NC", "TSTBR14", "CONDBR19", nil, "JUMP26", "CALL26", "LDST16_ABS_LO12_NC",
      "LDST32_ABS_LO12_NC", "LDST64_ABS_LO12_NC", "MOVW_PREL_G0", "MOVW_PREL_G0_NC", "MOVW_PREL_G1",
      "MOVW_PREL_G1_NC", "MOVW_PREL_G2", "MOVW_PREL_G2_NC", "MOVW_PREL_G3", nil, nil, nil, nil, nil,
      "LDST128_ABS_LO12_NC", "MOVW_GOTOFF_G0", "MOVW_GOTOFF_G0_NC", "MOVW_GOTOFF_G1", "MOVW_GOTOFF_G1_NC",
      "MOVW_GOTOFF_G2", "MOVW_GOTOFF_G2_NC", "MOVW_GOTOFF_G3", "GOTREL64", "GOTREL32", "GOT_LD_PREL19",
      "LD64_GOTOFF_LO15", "ADR_GOT_PAGE", "LD64_GOT_LO12_NC", "LD64_GOTPAGE_LO15", "PLT32", "GOTPCREL32",
    ]
    if type == 0 { return "R_AARCH64_NONE" }
    if type >= 256, Int(type) - 256 < first.count { return first[Int(type) - 256].map { "R_AARCH64_" + $0 } }
    switch type {
    case 512: return "R_AARCH64_TLSGD_ADR_PREL21"
    case 513: return "R_AARCH64_TLSGD_ADR_PAGE21"
    case 514: return "R_AARCH64_TLSGD_ADD_LO12_NC"
    case 541: return "R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21"
    case 542: return "R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC"
    case 549: return "R_AARCH64_TLSLE_ADD_TPREL_HI12"
    case 551: return "R_AARCH64_TLSLE_ADD_TPREL_LO12_NC"
    case 562: return "R_AARCH64_TLSDESC_ADR_PAGE21"
    case 563: return "R_AARCH64_TLSDESC_LD64_LO12"
    case 564: return "R_AARCH64_TLSDESC_ADD_LO12"
    case 569: return "R_AARCH64_TLSDESC_CALL"
    default: return nil
    }
  }

  /// Why a type is not linked, where there is more to say than that it is not.
  static func reason(_ type: UInt32) -> String? {
    switch type {
    case 512...573: "thread-local storage is not supported"
    case 1024...1032: "it is for dynamic linkers"
    default: nil
    }
  }
}
