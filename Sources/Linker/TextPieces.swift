// Dividing code into what may be moved as a whole.
//
// The section is what a linker moves: within one, an assembler has resolved branches already and will have no
// relocation to tell of them. So a section of code is one piece. Compiled wasm is different: each of its functions
// keeps to itself, whatever section it is in, and `.wasmtime.functions` lists them (Docs/Format.md, "The unlinked
// object"). There each function is a piece, so that islands can be planted between them, however large the module.
//
// The list is relocated against the functions' symbols, hence right in what `ld -r` makes of the object and others,
// too. What stands between its rows then, in the same section, is code of those others. It may begin anywhere, right
// behind a function, and hold what is aligned where it stands. So it keeps its place modulo the alignment of the
// section: the piece starts with as many bytes of filling (`lead`) as that takes.
//
//      in the section   …function][code of others …            offset of the code: 0x2B, alignment 16
//      in the text      …function]::::[filling: 11][code …      the piece at a multiple of 16

import PrecastArtifact
import PrecastMachineCode

/// Code that stays together.
struct TextPiece: BitwiseCopyable {
  /// Number of the section it is from.
  var section: UInt32
  var alignmentShift: UInt8
  var isWasm: Bool
  /// Where it is in its section, in bytes; the filling counted, so it may be where the piece before it still is.
  var offset: Int
  /// In bytes, with the filling.
  var size: Int
  /// Bytes of filling before the code.
  var lead = 0
  /// Where it is in the text, in bytes.
  var textOffset = 0

  /// Where its code starts in its section.
  var start: Int { offset + lead }
}

/// A row of `.wasmtime.functions`.
struct ModuleRow: BitwiseCopyable {
  var section: UInt32
  /// In the section, in bytes.
  var offset: Int
  /// As the other tables have it.
  var nominalOffset: UInt32
  var size: UInt32
  var piece: UInt32 = 0
}

extension LinkState {
  /// Finds the wasm module, and the list of its code.
  func findModule() throws(LinkError) {
    var list: Int?
    for number in 0..<sections.count where sections[number].role == .module {
      let section = sections[number]
      let object = objects[Int(section.object)]
      let name = object.sectionName(Int(section.index))
      let isRecord = name == SectionKind.engine.name
      let isList = name == ObjectFormat.piecesName
      if isRecord || isList {
        if let other = moduleObject, other != Int(section.object) {
          throw LinkError(
            .severalModules,
            "\(objects[other].name) and \(object.name) each hold a wasm module; an image can hold one")
        }
        moduleObject = Int(section.object)
      }
      if isRecord {
        let start = section.fileOffset
        // Two records one behind the other are two modules in one object; see the record's own size.
        let bytes = unsafe object.address(start..<start + section.size)
        guard section.size >= EngineSection.sizeOffset + 4 else {
          throw LinkError(.damaged, "\(object.name): .wasmtime.engine has \(section.size) bytes")
        }
        let size = unsafe Int(bytes.loadUnaligned(fromByteOffset: EngineSection.sizeOffset, as: UInt32.self))
        if size < section.size {
          throw LinkError(.severalModules, "\(object.name) holds several wasm modules; an image can hold one")
        }
      }
      if isList { list = number }
    }
    guard let list else { return }
    try readList(sections[list], objects[Int(sections[list].object)])
  }

  private func readList(_ section: InputSection, _ object: ObjectFile) throws(LinkError) {
    func damaged(_ why: String) -> LinkError {
      LinkError(.damaged, "\(object.name): \(ObjectFormat.piecesName) \(why)")
    }
    let rowSize = ObjectFormat.pieceRow
    guard section.size % rowSize == 0 else { throw damaged("has \(section.size) bytes") }
    let count = section.size / rowSize
    let relocations = try relocations(of: section)
    guard relocations.count == count else { throw damaged("has \(count) rows and \(relocations.count) relocations") }
    let bytes = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
    let kind = architecture == .x86_64 ? X86_64Relocations.distance64 : AArch64Relocations.distance64
    moduleRows.reserve(count)
    for index in 0..<count {
      let relocation = relocations[index]
      guard relocation.offset == UInt64(index * rowSize), relocation.type == kind,
        Int(relocation.symbol) < object.symbols.count
      else { throw damaged("has no relocation for row \(index)") }
      let symbol = object.symbols[Int(relocation.symbol)]
      guard let home = object.section(of: symbol, Int(relocation.symbol)),
        let number = sections.number(home, ofObject: Int(section.object)), sections[number].role == .text
      else { throw damaged("has a row \(index) for what is not code") }
      let start = index * rowSize
      let nominal = unsafe bytes.loadUnaligned(fromByteOffset: start + 8, as: UInt32.self)
      let size = unsafe bytes.loadUnaligned(fromByteOffset: start + 12, as: UInt32.self)
      let (offset, overflow) = Int(truncatingIfNeeded: symbol.value).addingReportingOverflow(Int(relocation.addend))
      guard !overflow, offset >= 0, offset <= sections[number].size, Int(size) <= sections[number].size - offset else {
        throw damaged("has a row \(index) that lies outside its section")
      }
      // Wherever the section went, since it is aligned as well.
      guard offset % min(ObjectFormat.pieceAlignment, sections[number].alignment) == 0 else {
        throw damaged("has a row \(index) for code at \(hexadecimal(offset)) of its section, where no function starts")
      }
      moduleRows.append(
        ModuleRow(section: UInt32(number), offset: offset, nominalOffset: nominal, size: size))
    }
  }

  /// Divides all code into pieces, in the order of the objects and of their sections.
  func dividePieces() throws(LinkError) {
    var isSorted = true
    for index in 1..<max(moduleRows.count, 1) {
      let (a, b) = (moduleRows[index - 1], moduleRows[index])
      guard a.nominalOffset <= b.nominalOffset else {
        throw LinkError(.damaged, "\(moduleName): .wasmtime.functions has rows out of order")
      }
      if (a.section, a.offset) > (b.section, b.offset) { isSorted = false }
    }
    guard isSorted else {
      throw LinkError(
        .cannotLayOut, "\(moduleName): the functions of the wasm module are not in the order of their list any more")
    }
    pieces.reserve(moduleRows.count)
    var row = 0
    for number in 0..<sections.count where sections[number].role == .text {
      let section = sections[number]
      let first = pieces.count
      var end = 0
      while row < moduleRows.count, moduleRows[row].section < number { row += 1 }
      while row < moduleRows.count, moduleRows[row].section == number {
        let next = moduleRows[row]
        guard next.offset >= end else {
          throw LinkError(.damaged, "\(moduleName): .wasmtime.functions has functions that overlap")
        }
        try addForeign(section, number, from: end, to: next.offset)
        moduleRows[row].piece = UInt32(pieces.count)
        // Less where a section says less.
        let alignment = min(ObjectFormat.pieceAlignment, section.alignment)
        try addPiece(
          TextPiece(
            section: UInt32(number), alignmentShift: UInt8(alignment.trailingZeroBitCount), isWasm: true,
            offset: next.offset, size: Int(next.size)), section)
        end = next.offset + Int(next.size)
        row += 1
      }
      if pieces.count == first {
        try addPiece(
          TextPiece(
            section: UInt32(number), alignmentShift: section.alignmentShift, isWasm: false, offset: 0,
            size: section.size), section)
      } else {
        try addForeign(section, number, from: end, to: section.size)
      }
      sections[number].firstPiece = UInt32(first)
      sections[number].pieceCount = UInt32(pieces.count - first)
    }
  }

  private var moduleName: String { moduleObject.map { objects[$0].name } ?? "" }

  // Code between functions of the module: whatever is more than padding.
  private func addForeign(
    _ section: InputSection, _ number: Int, from end: Int, to next: Int
  ) throws(LinkError) {
    guard end < next, !isPadding(section, end..<next) else { return }
    // A section of one byte may ask for a page; so it is here with every function of a list.
    foreignPadding += 2 * section.alignment
    try checkPadding(foreignPadding)
    let lead = end & (section.alignment - 1)
    try addPiece(
      TextPiece(
        section: UInt32(number), alignmentShift: section.alignmentShift, isWasm: false, offset: end - lead,
        size: next - end + lead, lead: lead), section)
  }

  // Whether there is nothing but what compilers and linkers put between functions: zeros, `nop`, `int3`; `brk #0`.
  private func isPadding(_ section: InputSection, _ range: Range<Int>) -> Bool {
    let place = section.fileOffset + range.lowerBound
    let bytes = unsafe objects[Int(section.object)].address(place..<place + range.count)
    switch architecture {
    case .x86_64:
      var offset = 0
      while offset < bytes.count {
        let size = unsafe X86_64Padding.size(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
        if size == 0 { return false }
        offset += size
      }
      return true
    case .aarch64:
      var offset = 0
      while offset + 4 <= range.count {
        let word = unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        guard word == 0 || word == 0xD420_0000 || word == 0xD503_201F else { return false }
        offset += 4
      }
      return true
    }
  }

  private func addPiece(_ piece: TextPiece, _ section: InputSection) throws(LinkError) {
    // What a branch within it can span, and a relocation's place in it can say.
    guard piece.size <= Int(Int32.max) else {
      throw LinkError(
        .cannotLayOut, "\(name(of: section)) has \(section.size) bytes of code, more than 2 GiB in one piece")
    }
    pieces.append(piece)
  }

  /// The number of the piece of a section that holds a place; the one before it, if it is between pieces.
  func piece(of section: InputSection, _ offset: Int) -> Int {
    var low = Int(section.firstPiece)
    var high = low + Int(section.pieceCount)
    while high - low > 1 {
      let middle = (low + high) / 2
      if pieces[middle].start <= offset { low = middle } else { high = middle }
    }
    return low
  }

  /// The wasm module's code, with neighbours that stayed neighbours as one.
  func movedCode() -> [MovedCode] {
    var result: [MovedCode] = []
    for index in 0..<moduleRows.count {
      let row = moduleRows[index]
      let place = UInt64(pieces[Int(row.piece)].textOffset)
      if let last = result.last, UInt64(row.nominalOffset) &- last.nominalOffset == place &- last.textOffset {
        result[result.count - 1].size = UInt64(row.nominalOffset) + UInt64(row.size) - last.nominalOffset
      } else {
        result.append(
          MovedCode(nominalOffset: UInt64(row.nominalOffset), size: UInt64(row.size), textOffset: place))
      }
    }
    return result
  }
}
