// Reading a relocatable object, in place and without trust.
//
// Whoever links an object is going to run it, so it is trusted in what it does; but not in being well-formed. It may
// come from a build that was interrupted, or from a disk. So every offset and count is checked before it is used, in
// arithmetic that cannot overflow; nothing is allocated by a count that the file's own size does not vouch for; and
// what is wrong is said with the section's name. Headers and tables are read where they lie: an object of a hundred
// megabytes costs no more to open than one of a hundred bytes. (gABI, chapters 4 and 5)

import Glibc
import PrecastArtifact
import PrecastMachineCode

/// A relocatable object.
@safe
struct ObjectFile: @unchecked Sendable {
  let name: String
  let architecture: Architecture
  let bytes: ByteRegion
  // Read only within `bytes.count`.
  private let base: UnsafeRawPointer
  private let sections: ElfTable<ElfSection>
  private var sectionNames = 0..<0
  /// The symbol table, null symbol included; empty if there is none.
  private(set) var symbols: ElfTable<ElfSymbol> = .empty
  /// Index of the first symbol that is not local: `sh_info`.
  private(set) var firstGlobal = 0
  /// The section of the symbol table.
  private(set) var symbolSection = 0
  private var symbolNames = 0..<0
  private var symbolSections: ElfTable<UInt32> = .empty

  /// Reads the headers of an object.
  init(_ input: LinkInput) throws(LinkError) {
    name = input.name
    bytes = input.bytes
    unsafe base = bytes.baseAddress
    func no(_ why: String) -> LinkError { LinkError(.notAnObject, "\(input.name): not a relocatable object: \(why)") }
    let count = bytes.count
    if let why = Self.otherFormat(bytes) { throw no(why) }
    guard count >= Int(ELF.headerSize) else { throw no("it has \(count) bytes") }
    let base = unsafe base
    func half(_ offset: Int) -> UInt16 { unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt16.self) }
    func byte(_ offset: Int) -> UInt8 { unsafe base.load(fromByteOffset: offset, as: UInt8.self) }
    guard unsafe base.loadUnaligned(as: UInt32.self) == ELF.magic else { throw no("it is no ELF file") }
    guard byte(4) == ELF.class64 else { throw no("it is no 64-bit ELF file") }
    guard byte(5) == ELF.littleEndian else { throw no("it is not little-endian") }
    guard half(16) == ELF.typeRelocatable else {
      let type = half(16)
      let words = type == 2 ? "a program" : type == 3 ? "a shared object or an artifact" : "of type \(type)"
      throw no("it is \(words)")
    }
    guard let machine = UInt8(exactly: half(18)).flatMap(Architecture.init(rawValue:)) else {
      throw LinkError(
        .wrongMachine, "\(input.name): machine \(half(18)) is not supported, only x86-64 (62) and AArch64 (183)")
    }
    architecture = machine

    // Section headers, with what does not fit into the ELF header (gABI, "Extended Section Header").
    let offset = unsafe base.loadUnaligned(fromByteOffset: 40, as: UInt64.self)
    let size = MemoryLayout<ElfSection>.size
    guard half(58) == size, let start = Int(exactly: offset), start <= count - size, start > 0 else {
      throw LinkError(.damaged, "\(input.name): no section headers at \(hexadecimal(offset))")
    }
    let null = unsafe base.loadUnaligned(fromByteOffset: start, as: ElfSection.self)
    let number = half(60) == 0 ? null.size : UInt64(half(60))
    guard number > 0, number <= (count - start) / size else {
      throw LinkError(.damaged, "\(input.name): \(number) section headers do not fit into the file")
    }
    sections = unsafe ElfTable(base: base + start, count: Int(number))
    let names = half(62) == ELFObject.indexExtended ? Int(null.link) : Int(half(62))
    if names != 0 { sectionNames = try strings(names, "section names") }
    try findSymbols()
    try refuseIntermediateCode()
  }

  /// What a file is that a linker may take, and this one does not; nil for all others.
  private static func otherFormat(_ bytes: ByteRegion) -> String? {
    // `!<arch>\n` and `!<thin>\n`; bitcode as it is, and in its wrapper (LLVM, "Bitcode File Format").
    switch try? bytes.u32(0) {
    case 0x7261_3C21, 0x6874_3C21: "it is an archive; take the objects that are needed out of it (ar x) and name those"
    case 0xDEC0_4342, 0x0B17_C0DE: "it is LLVM bitcode; compile it without -flto"
    default: nil
    }
  }

  /// Refuses what `gcc -flto` makes: an ELF object, but for its code.
  private func refuseIntermediateCode() throws(LinkError) {
    guard (1..<max(sections.count, 1)).contains(where: { section(sections[$0], isNamed: ".gnu.lto_") }) else { return }
    // With -ffat-lto-objects there is machine code too, and no such symbol.
    for index in 0..<symbols.count where string(symbolNames, symbols[index].name, limit: 64) == "__gnu_lto_slim" {
      throw LinkError(
        .unsupported, "\(name): it holds intermediate code of gcc, and no machine code; compile it without -flto")
    }
  }

  // MARK: Sections

  var sectionCount: Int { sections.count }

  @inline(__always)
  func section(_ index: Int) -> ElfSection { sections[index] }

  /// Where the contents of a section lie in the file.
  func contents(_ index: Int) throws(LinkError) -> Range<Int> {
    let section = sections[index]
    if section.type == ELF.sectionNoBits { return 0..<0 }
    guard let start = Int(exactly: section.offset), let size = Int(exactly: section.size), start <= bytes.count,
      size <= bytes.count - start
    else {
      throw LinkError(
        .damaged,
        "\(name): section \(sectionName(index)) lies outside the file: "
          + "\(hexadecimal(section.size)) bytes at \(hexadecimal(section.offset))")
    }
    return start..<start + size
  }

  /// Rows that make up a section.
  func table<Row: BitwiseCopyable>(_ index: Int, _ row: Row.Type) throws(LinkError) -> ElfTable<Row> {
    let size = MemoryLayout<Row>.size
    let range = try contents(index)
    guard sections[index].entrySize == size || Row.self == UInt32.self, range.count % size == 0 else {
      throw LinkError(
        .damaged,
        "\(name): section \(sectionName(index)) has \(range.count) bytes and entries of \(sections[index].entrySize)")
    }
    return unsafe ElfTable(base: base + range.lowerBound, count: range.count / size)
  }

  /// The name of a section, for messages and for what needs a string; cut where it would be absurdly long.
  func sectionName(_ index: Int) -> String {
    guard index < sections.count else { return "[\(index)]" }
    let text = string(sectionNames, sections[index].name, limit: 1024)
    return text.isEmpty ? "[\(index)]" : text
  }

  /// Whether a section's name starts with `prefix`; with `whole`, whether it is just that.
  @inline(__always)
  func section(_ section: ElfSection, isNamed prefix: StaticString, whole: Bool = false) -> Bool {
    let length = prefix.utf8CodeUnitCount
    let start = sectionNames.lowerBound + Int(section.name)
    // One more byte: the end of the name, which is in the table since the table ends with one.
    guard start + length < sectionNames.upperBound else { return false }
    guard unsafe memcmp(base + start, prefix.utf8Start, length) == 0 else { return false }
    return unsafe !whole || base.load(fromByteOffset: start + length, as: UInt8.self) == 0
  }

  // MARK: Symbols

  /// The section that a symbol is in, extended numbers looked up; nil for one that is in none (`SHN_ABS` and the
  /// like, or undefined). May be past the last section.
  @inline(__always)
  func section(of symbol: ElfSymbol, _ index: Int) -> Int? {
    if symbol.section == ELFObject.indexExtended {
      return index < symbolSections.count ? Int(symbolSections[index]) : nil
    }
    return symbol.section == 0 || symbol.section >= ELFObject.indexReserved ? nil : Int(symbol.section)
  }

  /// The bytes of a symbol's name, as a range of the file.
  @inline(__always)
  func symbolNameRange(_ symbol: ElfSymbol) -> Range<Int> { stringRange(symbolNames, symbol.name) }

  /// A symbol's name for messages; of a section symbol, that of its section.
  func symbolName(_ index: Int) -> String {
    guard index < symbols.count else { return "[\(index)]" }
    let symbol = symbols[index]
    let text = string(symbolNames, symbol.name, limit: 4096)
    if text.isEmpty, let section = section(of: symbol, index) { return sectionName(section) }
    return text
  }

  /// Size of the table of symbols' names in bytes.
  var symbolNamesSize: Int { symbolNames.count }

  /// The function that holds a place, for messages: the one that starts last before it.
  func function(at offset: UInt64, inSection section: Int) -> String? {
    var best: (value: UInt64, index: Int)?
    for index in 0..<symbols.count {
      let symbol = symbols[index]
      guard symbol.type == ElfSymbol.typeFunction, self.section(of: symbol, index) == section, symbol.value <= offset,
        symbol.size == 0 || offset - symbol.value < symbol.size
      else { continue }
      if best == nil || best!.value < symbol.value { best = (symbol.value, index) }
    }
    return best.map { symbolName($0.index) }
  }

  // MARK: Reading

  private func strings(_ index: Int, _ what: String) throws(LinkError) -> Range<Int> {
    guard index < sections.count, sections[index].type == ELF.sectionStringTable else {
      throw LinkError(.damaged, "\(name): section \(index) does not hold the \(what)")
    }
    let range = try contents(index)
    // So that every name in it has an end.
    guard unsafe range.isEmpty || base.load(fromByteOffset: range.upperBound - 1, as: UInt8.self) == 0 else {
      throw LinkError(.damaged, "\(name): the \(what) do not end with a zero byte")
    }
    return range
  }

  @inline(__always)
  private func stringRange(_ table: Range<Int>, _ offset: UInt32) -> Range<Int> {
    let start = table.lowerBound + Int(offset)
    guard start < table.upperBound else { return 0..<0 }
    var end = start
    // Ends at the table's last byte at the latest.
    end += unsafe strlen(UnsafePointer((base + start).assumingMemoryBound(to: CChar.self)))
    return start..<end
  }

  private func string(_ table: Range<Int>, _ offset: UInt32, limit: Int) -> String {
    let range = stringRange(table, offset)
    let bytes = unsafe UnsafeRawBufferPointer(start: base + range.lowerBound, count: min(range.count, limit))
    return unsafe String(decoding: bytes, as: UTF8.self)
  }

  /// The address of a range that was checked to lie in the file.
  @unsafe
  @inline(__always)
  func address(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count)
  }

  private mutating func findSymbols() throws(LinkError) {
    var indexes: Int?
    for index in 1..<max(sections.count, 1) {
      switch sections[index].type {
      case ELF.sectionSymbolTable:
        guard symbolSection == 0 else {
          throw LinkError(.damaged, "\(name): two symbol tables, sections \(symbolSection) and \(index)")
        }
        symbolSection = index
      case ELFObject.sectionSymbolSections: indexes = index
      default: break
      }
    }
    guard symbolSection != 0 else { return }
    symbols = try table(symbolSection, ElfSymbol.self)
    symbolNames = try strings(Int(sections[symbolSection].link), "symbols' names")
    firstGlobal = Int(sections[symbolSection].info)
    guard firstGlobal <= symbols.count, symbols.count <= Int(UInt32.max) else {
      throw LinkError(.damaged, "\(name): \(symbols.count) symbols, the first \(firstGlobal) of them local")
    }
    if let indexes {
      symbolSections = try table(indexes, UInt32.self)
      guard symbolSections.count == symbols.count else {
        throw LinkError(
          .damaged, "\(name): \(symbolSections.count) extended section numbers for \(symbols.count) symbols")
      }
    }
  }
}

/// A number as messages write it: `0x1f`.
func hexadecimal(_ value: some BinaryInteger) -> String {
  value < 0 ? "-0x" + String(value.magnitude, radix: 16) : "0x" + String(value, radix: 16)
}
