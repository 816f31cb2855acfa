// The numbers of the ELF specification that only objects use (`ELF` has those of artifacts), and the rows of its tables
// as they lie in a file.
//
// Rows are read in place, at any alignment: their fields stand here in the order and with the sizes of the gABI
// (chapter 4, "Section Header", "Symbol Table", "Relocation"), which is also how Swift lays out plain integers in that
// order. Files and hosts are little-endian.

/// Section types, flags and reserved indexes that artifacts have not (gABI, "Sections"), and those of the processor
/// supplements.
enum ELFObject {
  static let sectionRelocationsAddend: UInt32 = 4
  static let sectionRelocations: UInt32 = 9
  static let sectionInitializers: UInt32 = 14
  static let sectionPreinitializers: UInt32 = 16
  static let sectionGroup: UInt32 = 17
  static let sectionSymbolSections: UInt32 = 18

  static let flagTLS: UInt64 = 0x400
  static let flagCompressed: UInt64 = 0x800
  static let flagExclude: UInt64 = 0x8000_0000

  static let groupCOMDAT: UInt32 = 1

  static let indexReserved: UInt16 = 0xFF00
  static let indexCommon: UInt16 = 0xFFF2
  static let indexLargeCommon: UInt16 = 0xFF02
  static let indexExtended: UInt16 = 0xFFFF
}

/// `Elf64_Shdr`.
struct ElfSection: BitwiseCopyable {
  var name: UInt32
  var type: UInt32
  var flags: UInt64
  var address: UInt64
  var offset: UInt64
  var size: UInt64
  var link: UInt32
  var info: UInt32
  var alignment: UInt64
  var entrySize: UInt64
}

/// `Elf64_Sym`.
struct ElfSymbol: BitwiseCopyable {
  /// Binding of a symbol (gABI, "Symbol Binding").
  enum Binding: UInt8 {
    case local = 0
    case global = 1
    case weak = 2
    /// `STB_GNU_UNIQUE`: as global, in a COMDAT group.
    case unique = 10
  }

  static let typeObject: UInt8 = 1
  static let typeFunction: UInt8 = 2
  static let typeSection: UInt8 = 3
  static let typeFile: UInt8 = 4
  static let typeIndirectFunction: UInt8 = 10

  var name: UInt32
  var info: UInt8
  var other: UInt8
  var section: UInt16
  var value: UInt64
  var size: UInt64

  var type: UInt8 { info & 15 }
  var binding: UInt8 { info >> 4 }
  /// `STV_INTERNAL` and `STV_HIDDEN`: not for anybody outside.
  var isHidden: Bool { other & 3 == 1 || other & 3 == 2 }
}

/// `Elf64_Rela`.
struct ElfRelocation: BitwiseCopyable {
  var offset: UInt64
  /// The low half of `r_info`.
  var type: UInt32
  /// The high half.
  var symbol: UInt32
  var addend: Int64
}

/// Rows of a table in a file.
@safe
struct ElfTable<Row: BitwiseCopyable>: BitwiseCopyable, @unchecked Sendable {
  // `count` rows of `MemoryLayout<Row>.size` bytes, within the file: checked by `ObjectFile.table`.
  private let base: UnsafeRawPointer
  let count: Int

  @unsafe
  init(base: UnsafeRawPointer, count: Int) {
    unsafe self.base = base
    self.count = count
  }

  static var empty: ElfTable { unsafe ElfTable(base: UnsafeRawPointer(bitPattern: 8)!, count: 0) }

  @inline(__always)
  subscript(index: Int) -> Row {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
    return unsafe base.loadUnaligned(fromByteOffset: index &* MemoryLayout<Row>.size, as: Row.self)
  }
}
