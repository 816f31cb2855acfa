// What becomes of each section of each object.
//
// A linker script says which section goes where by name; here the flags of the section header say it, as the gABI
// defines them, and names matter only where a section is more than its bytes: unwind tables, the tables of a wasm
// module, lists of constructors. What is not loaded (`SHF_ALLOC`) and what only linkers and debuggers read is left
// out. What would be wrong to leave out, and cannot be done, is refused by name.

import PrecastArtifact
import PrecastMachineCode

/// What is made of a section.
enum SectionRole: UInt8, BitwiseCopyable {
  /// Nothing: not loaded, or of no use to what is.
  case ignored
  /// Nothing: it belongs to a COMDAT group that an earlier object has too.
  case discarded
  /// Code.
  case text
  /// Constants.
  case readOnly
  /// Initialised data.
  case writable
  /// Zeros.
  case zero
  /// Unwind tables.
  case unwind
  /// A table of a wasm module, for the loader.
  case module

  var isLinked: Bool {
    switch self {
    case .text, .readOnly, .writable, .zero, .unwind: true
    default: false
    }
  }
}

/// A section of an object, as the link sees it.
struct InputSection: BitwiseCopyable {
  var role: SectionRole = .ignored
  var alignmentShift: UInt8 = 0
  /// The object, and the section's index in it.
  var object: UInt32
  var index: UInt32
  /// Code: its pieces.
  var firstPiece: UInt32 = 0
  var pieceCount: UInt32 = 0
  /// Its contents, in the file; none for zeros.
  var fileOffset = 0
  /// Size in bytes.
  var size = 0
  /// The section with its relocations, and their number.
  var relocationSection: UInt32 = 0
  var relocationCount = 0
  /// How many of them are left when the text is laid out.
  var remainingRelocations = 0
  /// Where it stands in its part, in bytes; of code, see its pieces.
  var offset = 0

  var alignment: Int { 1 << Int(alignmentShift) }
}

extension ObjectFile {
  /// Decides what is made of a section by its header.
  func role(_ index: Int, _ section: ElfSection) throws(LinkError) -> SectionRole {
    func refuse(_ what: String) -> LinkError {
      LinkError(.unsupported, "\(name): section \(sectionName(index)): \(what)")
    }
    if section.flags & ELF.flagAlloc == 0 || section.flags & ELFObject.flagExclude != 0 { return .ignored }
    if section.type == ELF.sectionNote || section.type == 0 { return .ignored }
    if self.section(section, isNamed: ".wasmtime.") || self.section(section, isNamed: ".rodata.wasm", whole: true)
      || self.section(section, isNamed: ".name.wasm", whole: true)
    {
      guard section.type != ELF.sectionNoBits else { throw refuse("a table of a wasm module without contents") }
      return .module
    }
    if section.flags & ELFObject.flagTLS != 0 { throw refuse("thread-local storage is not supported") }
    if section.flags & ELFObject.flagCompressed != 0 { throw refuse("compressed sections are not supported") }
    let isList =
      (ELFObject.sectionInitializers...ELFObject.sectionPreinitializers).contains(section.type)
      || self.section(section, isNamed: ".ctors") || self.section(section, isNamed: ".dtors")
      || self.section(section, isNamed: ".init", whole: true) || self.section(section, isNamed: ".fini", whole: true)
    if isList {
      if section.size == 0 { return .ignored }
      throw refuse("constructors and destructors are not supported: nothing would call them")
    }
    if self.section(section, isNamed: ".eh_frame", whole: true) {
      guard section.type != ELF.sectionNoBits else { throw refuse("unwind tables without contents") }
      return .unwind
    }
    // Where functions have room for patches (-fpatchable-function-entry): for whoever patches them, and nobody does.
    if self.section(section, isNamed: "__patchable_function_entries", whole: true) { return .ignored }
    // Another format of unwind tables, of which nothing here knows how to take entries out.
    if self.section(section, isNamed: ".sframe", whole: true) { return .ignored }
    guard section.type == ELF.sectionProgramBits || section.type == ELF.sectionNoBits else {
      throw refuse("type \(hexadecimal(section.type)) is not supported")
    }
    let isZero = section.type == ELF.sectionNoBits
    if section.flags & ELF.flagExecute != 0 {
      if section.flags & ELF.flagWrite != 0 { throw refuse("it is both writable and executable") }
      if isZero && section.size != 0 { throw refuse("code without contents") }
      return .text
    }
    if isZero { return .zero }
    // Constants once their relocations are applied, and they are before anything is loaded.
    if self.section(section, isNamed: ".data.rel.ro") { return .readOnly }
    return section.flags & ELF.flagWrite != 0 ? .writable : .readOnly
  }
}

/// All sections of all objects, in order.
struct InputSections: ~Copyable {
  private(set) var rows = FlatBuffer<InputSection>(capacity: 64)
  /// Number of an object's first section.
  private(set) var base: [Int] = []

  /// The largest size of anything that is laid out: small enough that sums of all of them cannot overflow.
  static let sizeLimit = 1 << 40
  /// The largest size of what starts as zeros, as an artifact says it.
  static let zeroLimit = UInt64(UInt32.max)

  /// Reads an object's section headers.
  mutating func add(_ object: ObjectFile, _ number: Int, pageSize: Int) throws(LinkError) {
    let base = rows.count
    self.base.append(base)
    rows.reserve(base + object.sectionCount)
    // Sections do not overlap, so what they hold together is no more than the file: nor is what is made of them.
    var budget = object.bytes.count
    for index in 0..<object.sectionCount {
      var row = InputSection(object: UInt32(number), index: UInt32(index))
      if index > 0 {
        let section = object.section(index)
        row.role = try object.role(index, section)
        if row.role != .ignored {
          let name = { "\(object.name): section \(object.sectionName(index))" }
          guard section.size < Self.sizeLimit else {
            throw LinkError(.cannotLayOut, "\(name()) has \(section.size) bytes")
          }
          guard row.role != .zero || section.size <= Self.zeroLimit else {
            throw LinkError(
              .cannotLayOut, "\(name()) has \(section.size) bytes that start as zeros, more than 4 GiB")
          }
          let contents = try object.contents(index)
          try Self.spend(contents.count, &budget, object)
          row.fileOffset = contents.lowerBound
          row.size = Int(section.size)
          // Nothing has no place to be aligned.
          let alignment = section.size == 0 ? 1 : max(section.alignment, 1)
          guard alignment & (alignment - 1) == 0 else {
            throw LinkError(.damaged, "\(name()) has alignment \(alignment), which is not a power of two")
          }
          guard row.role == .module || alignment <= pageSize else {
            throw LinkError(.cannotLayOut, "\(name()) has alignment \(alignment), more than a page (\(pageSize))")
          }
          // The tables of a module are not laid out here; what they ask for counts for how much there is at most.
          row.alignmentShift = UInt8(truncatingIfNeeded: min(alignment, UInt64(pageSize)).trailingZeroBitCount)
        }
      }
      rows.append(row)
    }
    try addRelocations(object, base, &budget)
  }

  static func spend(_ count: Int, _ budget: inout Int, _ object: ObjectFile) throws(LinkError) {
    budget -= count
    if budget < 0 { throw LinkError(.damaged, "\(object.name): sections overlap") }
  }

  // Finds the relocations of each section that is linked.
  private mutating func addRelocations(
    _ object: ObjectFile, _ base: Int, _ budget: inout Int
  ) throws(LinkError) {
    for index in 1..<max(object.sectionCount, 1) {
      let section = object.section(index)
      guard section.type == ELFObject.sectionRelocationsAddend || section.type == ELFObject.sectionRelocations else {
        continue
      }
      guard section.info < object.sectionCount else {
        throw LinkError(
          .damaged, "\(object.name): \(object.sectionName(index)) is for section \(section.info), which does not exist")
      }
      let target = base + Int(section.info)
      guard rows[target].role.isLinked || rows[target].role == .module else { continue }
      guard section.type == ELFObject.sectionRelocationsAddend else {
        throw LinkError(
          .unsupported, "\(object.name): \(object.sectionName(index)): relocations without addends are not supported")
      }
      let table = try object.table(index, ElfRelocation.self)
      try Self.spend(table.count * MemoryLayout<ElfRelocation>.size, &budget, object)
      guard Int(section.link) == object.symbolSection || table.count == 0 else {
        throw LinkError(
          .damaged, "\(object.name): \(object.sectionName(index)) refers to section \(section.link) for its symbols")
      }
      guard rows[target].relocationSection == 0 else {
        throw LinkError(.damaged, "\(object.name): \(object.sectionName(Int(section.info))) has relocations twice")
      }
      guard rows[target].role != .zero || table.count == 0 else {
        throw LinkError(
          .damaged, "\(object.name): \(object.sectionName(Int(section.info))) has relocations, but no contents")
      }
      rows[target].relocationSection = UInt32(index)
      rows[target].relocationCount = table.count
    }
  }

  @inline(__always)
  var count: Int { rows.count }

  @inline(__always)
  subscript(index: Int) -> InputSection {
    get { rows[index] }
    set { rows[index] = newValue }
  }

  /// Number of the section `index` of object `object`; nil if it has none such.
  @inline(__always)
  func number(_ index: Int, ofObject object: Int) -> Int? {
    let first = base[object]
    let end = object + 1 < base.count ? base[object + 1] : rows.count
    return index < end - first ? first + index : nil
  }
}
