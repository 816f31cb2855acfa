// The outline of any ELF file: header, program headers, section headers, names.
//
// `ArtifactHeader` takes a file that is exactly as this version writes it, or none. That is right for loading, and
// useless for whoever wants to know why a file is not loaded: an artifact of another version, a damaged one, another
// runtime's, a program. All of these are ELF files (more or less), and ELF says how to find one's way in them. So this
// reader takes both classes and both byte orders, believes nothing, reads in place, and gives what there is: a header
// that lies outside of the file is absent, and what is wrong with the file as a whole is said in `problems`. (gABI,
// chapters 4 and 5)

/// What the headers of an ELF file say; bounds-checked, tolerant, read in place.
public struct ElfOutline: Sendable {
  /// A section header (gABI, "Section Header").
  public struct Section: Sendable, Equatable {
    /// `sh_name`: offset in the table of section names.
    public var nameOffset: UInt32
    /// `sh_type`.
    public var type: UInt32
    /// `sh_flags`.
    public var flags: UInt64
    /// `sh_addr`.
    public var address: UInt64
    /// `sh_offset`, in bytes.
    public var offset: UInt64
    /// `sh_size`, in bytes.
    public var size: UInt64
    /// `sh_link`.
    public var link: UInt32
  }

  /// A program header (gABI, "Program Header").
  public struct Segment: Sendable, Equatable {
    /// `p_type`.
    public var type: UInt32
    /// `p_flags`: 1 execute, 2 write, 4 read.
    public var flags: UInt32
    /// `p_offset`, in bytes.
    public var offset: UInt64
    /// `p_vaddr`.
    public var address: UInt64
    /// `p_filesz`, in bytes.
    public var fileSize: UInt64
    /// `p_memsz`, in bytes.
    public var memorySize: UInt64
    /// `p_align`.
    public var alignment: UInt64
  }

  /// The file.
  let file: ByteRegion
  /// `EI_CLASS` is `ELFCLASS64`.
  public let is64Bit: Bool
  /// `EI_DATA` is `ELFDATA2LSB`.
  public let isLittleEndian: Bool
  /// `EI_OSABI`.
  public let osABI: UInt8
  /// `e_type`.
  public let type: UInt16
  /// `e_machine`.
  public let machine: UInt16
  /// Number of program headers that lie in the file.
  public private(set) var segmentCount = 0
  /// Number of section headers that lie in the file, the null one included.
  public private(set) var sectionCount = 0
  /// What is wrong with the file as a whole.
  public private(set) var problems: [String] = []

  private var segmentsOffset = 0
  private var sectionsOffset = 0
  private var segmentSize = 0
  private var sectionSize = 0
  private var names: ByteRegion

  /// Reads the header of a file in memory; nil where it is no ELF file, or not even a header of one.
  public init?(_ file: ByteRegion) {
    guard let magic = try? file.u32(0), magic == ELF.magic, let fileClass = try? file.u8(4), let data = try? file.u8(5),
      let osABI = try? file.u8(7), fileClass == 1 || fileClass == 2, data == 1 || data == 2,
      file.count >= (fileClass == 2 ? 64 : 52)
    else { return nil }
    self.file = file
    is64Bit = fileClass == 2
    isLittleEndian = data == 1
    self.osABI = osABI
    names = ByteRegion(emptyIn: .sectionNames)
    func half(_ offset: Int) -> UInt16 {
      let value = (try? file.u16(offset)) ?? 0
      return data == 1 ? value : value.byteSwapped
    }
    type = half(16)
    machine = half(18)
    let counts = fileClass == 2 ? 54 : 42
    segmentSize = Int(half(counts))
    segmentCount = Int(half(counts + 2))
    sectionSize = Int(half(counts + 4))
    sectionCount = Int(half(counts + 6))
    var namesIndex = Int(half(counts + 8))
    let segments = word(fileClass == 2 ? 32 : 28)
    let sections = word(fileClass == 2 ? 40 : 32)

    if sections == 0 {
      sectionCount = 0
    } else if let offset = place(sections, sectionSize, is64Bit ? 64 : 40, "section headers") {
      sectionsOffset = offset
      // Numbers that do not fit stand in the null section's header (gABI, "Extended Numbering").
      let null = header(at: offset)
      if sectionCount == 0 { sectionCount = Int(clamping: null.size) }
      if namesIndex == 0xFFFF { namesIndex = Int(null.link) }
      if segmentCount == 0xFFFF { segmentCount = Int(word32(offset + (is64Bit ? 44 : 28))) }
      sectionCount = fitting(sectionCount, offset, sectionSize, "section headers")
    } else {
      sectionCount = 0
    }
    if segmentCount > 0, let offset = place(segments, segmentSize, is64Bit ? 56 : 32, "program headers") {
      segmentsOffset = offset
      segmentCount = fitting(segmentCount, offset, segmentSize, "program headers")
    } else {
      segmentCount = 0
    }
    if let table = section(namesIndex), namesIndex > 0 {
      if let bytes = contents(of: table) {
        names = bytes
      } else {
        problems.append("the section names lie outside the file")
      }
    } else if sectionCount > 0 {
      problems.append("there are no section names")
    }
  }

  // MARK: Headers

  /// A section header by its number; nil where there is none.
  public func section(_ index: Int) -> Section? {
    guard index >= 0 && index < sectionCount else { return nil }
    return header(at: sectionsOffset + index * sectionSize)
  }

  /// A program header by its number; nil where there is none.
  public func segment(_ index: Int) -> Segment? {
    guard index >= 0 && index < segmentCount else { return nil }
    let at = segmentsOffset + index * segmentSize
    if is64Bit {
      return Segment(
        type: word32(at), flags: word32(at + 4), offset: word(at + 8), address: word(at + 16), fileSize: word(at + 32),
        memorySize: word(at + 40), alignment: word(at + 48))
    }
    return Segment(
      type: word32(at), flags: word32(at + 24), offset: word(at + 4), address: word(at + 8), fileSize: word(at + 16),
      memorySize: word(at + 20), alignment: word(at + 28))
  }

  /// The name of a section; empty where it has none that can be read.
  public func name(of section: Section) -> String {
    guard Int(section.nameOffset) < names.count else { return "" }
    // Longer ones are nobody's: a thousand headers that share one of a megabyte shall not take a gigabyte.
    return (try? names.string(Int(section.nameOffset), names.length(at: Int(section.nameOffset), limit: 256))) ?? ""
  }

  /// The bytes of a section; nil where they lie outside the file. Empty for `SHT_NOBITS`.
  public func contents(of section: Section) -> ByteRegion? {
    if section.type == 8 { return ByteRegion(emptyIn: .engine) }
    guard let offset = Int(exactly: section.offset), let size = Int(exactly: section.size) else { return nil }
    return try? file.slice(offset, size)
  }

  /// The number of the first section of that name.
  public func index(ofSection name: String) -> Int? {
    for index in 0..<sectionCount {
      if let section = section(index), self.name(of: section) == name { return index }
    }
    return nil
  }

  // MARK: Reading

  private func header(at offset: Int) -> Section {
    if is64Bit {
      return Section(
        nameOffset: word32(offset), type: word32(offset + 4), flags: word(offset + 8), address: word(offset + 16),
        offset: word(offset + 24), size: word(offset + 32), link: word32(offset + 40))
    }
    return Section(
      nameOffset: word32(offset), type: word32(offset + 4), flags: word(offset + 8), address: word(offset + 12),
      offset: word(offset + 16), size: word(offset + 20), link: word32(offset + 24))
  }

  // Zero outside the file.
  private func word32(_ offset: Int) -> UInt32 {
    guard let value = try? file.u32(offset) else { return 0 }
    return isLittleEndian ? value : value.byteSwapped
  }

  // A word of the file's class; zero outside the file.
  private func word(_ offset: Int) -> UInt64 {
    guard is64Bit else { return UInt64(word32(offset)) }
    guard let value = try? file.u64(offset) else { return 0 }
    return isLittleEndian ? value : value.byteSwapped
  }

  // Where a table starts, if its first row lies in the file.
  private mutating func place(_ offset: UInt64, _ rowSize: Int, _ leastRowSize: Int, _ what: String) -> Int? {
    guard let start = Int(exactly: offset), start <= file.count, leastRowSize <= file.count - start else {
      problems.append("the \(what) lie outside the file, at \(hexadecimal(offset))")
      return nil
    }
    guard rowSize >= leastRowSize else {
      problems.append("the \(what) have \(rowSize) bytes each")
      return nil
    }
    return start
  }

  // How many rows lie in the file.
  private mutating func fitting(_ count: Int, _ offset: Int, _ rowSize: Int, _ what: String) -> Int {
    let room = (file.count - offset) / rowSize
    if count > room { problems.append("only \(room) of \(count) \(what) lie in the file") }
    return min(count, room)
  }
}
