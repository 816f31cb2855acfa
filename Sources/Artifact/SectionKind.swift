// The sections of an artifact, each described once.
//
// The writer takes the name, type, flags and alignment of a section from here, the reader checks
// section headers against the same values, and `inspect` prints the same summaries. The raw value
// is the row in the directory of `.wasmtime.engine` (see EngineSection.swift), which is how a
// loader finds a section without reading section headers, so numbers are never reused.

/// A section of an artifact.
public enum SectionKind: UInt8, Sendable, CaseIterable {
  /// `.note.gnu.build-id`: digest of the contents (SHA-256 over the SHA-256s of 1 MiB chunks).
  case buildID = 0
  /// `.wasmtime.engine`: compatibility record and directory, in the first page.
  case engine = 1
  /// `.text`: machine code, whole pages.
  case text = 2
  /// `.eh_frame`: unwind tables, right after the text.
  case ehFrame = 3
  /// `.wasmtime.info`: the module as flat tables.
  case info = 4
  /// `.wasmtime.addrmap`: code offset to wasm offset.
  case addressMap = 5
  /// `.wasmtime.traps`: code offset to trap code.
  case traps = 6
  /// `.wasmtime.stackmap`: live references at a safepoint.
  case stackMap = 7
  /// `.wasmtime.exceptions`: exception handlers by call site.
  case exceptions = 8
  /// `.name.wasm`: names of functions, by index.
  case names = 9
  /// `.wasmtime.dwarf`: the guest's DWARF.
  case dwarf = 10
  /// `.wasmtime.checksums`: CRC32C of each metadata page.
  case checksums = 11
  /// `.rodata.wasm`: the data image, then the other segments' bytes.
  case dataImage = 12
  /// `.symtab`: a symbol for every function and trampoline.
  case symbols = 13
  /// `.strtab`: the names of the symbols.
  case strings = 14
  /// `.shstrtab`: the names of the sections.
  case sectionNames = 15
  /// `.rodata`: what code that was linked in only reads.
  case readOnlyData = 16
  /// `.data`: what code that was linked in may write, on pages of its own, at the end of the file.
  case data = 17
  /// `.bss`: the same, where it starts as zeros; behind the end of the file.
  case bss = 18

  /// Rows in the directory.
  public static let count = 19

  /// The section's name in the ELF file.
  public var name: String {
    switch self {
    case .buildID: ".note.gnu.build-id"
    case .engine: ".wasmtime.engine"
    case .text: ".text"
    case .ehFrame: ".eh_frame"
    case .info: ".wasmtime.info"
    case .addressMap: ".wasmtime.addrmap"
    case .traps: ".wasmtime.traps"
    case .stackMap: ".wasmtime.stackmap"
    case .exceptions: ".wasmtime.exceptions"
    case .names: ".name.wasm"
    case .dwarf: ".wasmtime.dwarf"
    case .checksums: ".wasmtime.checksums"
    case .dataImage: ".rodata.wasm"
    case .symbols: ".symtab"
    case .strings: ".strtab"
    case .sectionNames: ".shstrtab"
    case .readOnlyData: ".rodata"
    case .data: ".data"
    case .bss: ".bss"
    }
  }

  /// `sh_type` (gABI, "Section Types").
  public var elfType: UInt32 {
    switch self {
    case .buildID: ELF.sectionNote
    case .symbols: ELF.sectionSymbolTable
    case .strings, .sectionNames: ELF.sectionStringTable
    case .bss: ELF.sectionNoBits
    default: ELF.sectionProgramBits
    }
  }

  /// `sh_flags` (gABI, "Section Attribute Flags").
  public var elfFlags: UInt64 {
    switch self {
    case .text: ELF.flagAlloc | ELF.flagExecute
    case .symbols, .strings, .sectionNames: 0
    case .data, .bss: ELF.flagAlloc | ELF.flagWrite
    default: ELF.flagAlloc
    }
  }

  /// `sh_addralign`, given the target's largest page size in bytes.
  public func alignment(pageSize: UInt64) -> UInt64 {
    switch self {
    case .text, .dataImage, .readOnlyData, .data: pageSize
    case .bss: 64
    case .buildID: 4
    case .strings, .sectionNames: 1
    default: 8
    }
  }

  /// `sh_entsize`: 24 for the symbol table, otherwise 0.
  public var elfEntrySize: UInt64 { self == .symbols ? ELF.symbolSize : 0 }

  /// Whether the section is writable in memory: at the end of the file and behind it.
  public var isWritable: Bool { self == .data || self == .bss }

  /// Whether the section stands before the text, in the first page.
  public var isInFirstPage: Bool { self == .buildID || self == .engine }
}

/// The numbers of the ELF specification (gABI, psABI) that artifacts use.
public enum ELF {
  /// `\x7fELF`, little-endian.
  public static let magic: UInt32 = 0x464C_457F
  /// `EI_CLASS`: `ELFCLASS64`.
  public static let class64: UInt8 = 2
  /// `EI_DATA`: `ELFDATA2LSB`.
  public static let littleEndian: UInt8 = 1
  /// `ET_DYN`.
  public static let typeDynamic: UInt16 = 3
  /// `ET_REL`: an unlinked object.
  public static let typeRelocatable: UInt16 = 1
  /// `EV_CURRENT`.
  public static let versionCurrent: UInt32 = 1
  /// Size of `Elf64_Ehdr` in bytes.
  public static let headerSize: UInt64 = 64
  /// Size of `Elf64_Phdr` in bytes.
  public static let programHeaderSize: UInt64 = 56
  /// Size of `Elf64_Shdr` in bytes.
  public static let sectionHeaderSize: UInt64 = 64
  /// Size of `Elf64_Sym` in bytes.
  public static let symbolSize: UInt64 = 24
  /// `SHN_ABS`: a symbol whose value is no place in a section.
  public static let absoluteIndex: UInt16 = 0xFFF1
  /// `SHT_PROGBITS`.
  public static let sectionProgramBits: UInt32 = 1
  /// `SHT_SYMTAB`.
  public static let sectionSymbolTable: UInt32 = 2
  /// `SHT_STRTAB`.
  public static let sectionStringTable: UInt32 = 3
  /// `SHT_NOTE`.
  public static let sectionNote: UInt32 = 7
  /// `SHT_NOBITS`.
  public static let sectionNoBits: UInt32 = 8
  /// `SHF_WRITE`.
  public static let flagWrite: UInt64 = 1
  /// `SHF_ALLOC`.
  public static let flagAlloc: UInt64 = 2
  /// `SHF_EXECINSTR`.
  public static let flagExecute: UInt64 = 4
  /// `PT_LOAD`.
  public static let segmentLoad: UInt32 = 1
  /// `PT_NOTE`.
  public static let segmentNote: UInt32 = 4
  /// `PT_GNU_STACK`.
  public static let segmentStack: UInt32 = 0x6474_E551
  /// `NT_GNU_BUILD_ID`.
  public static let noteBuildID: UInt32 = 3
  /// `STB_LOCAL`, `STT_FUNC` as `st_info`.
  public static let symbolLocalFunction: UInt8 = 2
}
