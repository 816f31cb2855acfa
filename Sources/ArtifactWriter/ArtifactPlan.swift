// The sections of one artifact: their bytes and their places.
//
// File offset and virtual address are the same everywhere, so a plan is one list of ranges. It
// starts with the fixed first page, then the text on a page of its own, and everything else behind
// it in the order below. Section headers end the file.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// A section's bytes, where they are not the text.
final class SectionContents {
  let kind: SectionKind
  let buffer: CodeBuffer
  /// What follows the buffer: ranges of the wasm binary, which are written from where they lie.
  var tail: [Range<Int>] = []

  init(_ kind: SectionKind, _ buffer: consuming CodeBuffer) {
    self.kind = kind
    self.buffer = buffer
  }

  convenience init(_ kind: SectionKind, _ bytes: [UInt8]) {
    var buffer = CodeBuffer(capacity: bytes.count)
    unsafe bytes.withUnsafeBytes { unsafe buffer.put(contentsOf: $0.bytes) }
    self.init(kind, buffer)
  }

  /// Size in bytes.
  var count: Int { tail.reduce(buffer.count) { $0 + $1.count } }
}

/// What goes where in the file.
struct ArtifactPlan {
  let input: ArtifactInput
  /// All sections but the text, in the order of the file.
  private(set) var sections: [SectionContents] = []
  /// Directory, with the sizes and places of all sections.
  private(set) var engine: EngineSection
  /// Offset in `.shstrtab` of each section's name.
  private(set) var nameOffsets: [SectionKind: UInt32] = [:]
  /// First symbol that is not local: their number, since all are local.
  private(set) var symbolCount: Int
  /// Offset of the section headers.
  private(set) var sectionHeadersOffset: UInt64 = 0
  /// `sh_link` of the symbol table and the like: headers count from 1, in the order of the file.
  private(set) var headerOrder: [SectionKind] = []

  init(_ input: ArtifactInput) throws(ArtifactWriterError) {
    func invalid(_ message: String) -> ArtifactWriterError {
      ArtifactWriterError(operation: "lay out", path: "", message: message)
    }
    self.input = input
    let settings = input.record.settings
    let pageSize = settings.pageSize
    engine = EngineSection(record: input.record)
    let textSize = ArtifactInput.paddedTextSize(input.textSize, settings: settings)
    guard textSize <= UInt64(UInt32.max) else { throw invalid("the text has \(input.textSize) bytes, more than 4 GiB") }
    try Self.check(input)

    let image = DataImagePlan(module: input.module, pageSize: pageSize)
    let symbols = SymbolTable.encoded(input, textOffset: pageSize, textHeader: 3)
    symbolCount = symbols.count
    guard symbols.strings.buffer.count <= Int(UInt32.max) else { throw invalid("the symbols' names pass 4 GiB") }
    let info = input.encodedInfo(image: image)
    guard info.count <= Int(UInt32.max) else { throw invalid(".wasmtime.info would pass 4 GiB") }
    sections.append(SectionContents(.buildID, Self.note))
    sections.append(SectionContents(.engine, engine.encoded()))
    if !input.ehFrame.isEmpty { sections.append(SectionContents(.ehFrame, input.ehFrame)) }
    // Its contents depend on where all the others are.
    let checksums = sections.count
    sections.append(SectionContents(.checksums, []))
    sections.append(SectionContents(.info, info))
    if settings.addressMap {
      guard let map = AddressMap.encoded(input.addressMap) else { throw invalid("the address map would pass 2 GiB") }
      sections.append(SectionContents(.addressMap, map))
    }
    guard let traps = TrapTable.encoded(input.traps) else { throw invalid("the trap table would pass 2 GiB") }
    sections.append(SectionContents(.traps, traps))
    if image.size > 0 { sections.append(SectionContents(.dataImage, image.encoded(binary: input.binary))) }
    if !input.functionNames.isEmpty || input.moduleName != nil {
      sections.append(SectionContents(.names, input.encodedNames()))
    }
    if settings.debugInfo, let (head, ranges) = GuestDebugInfo.encoded(module: input.module) {
      let dwarf = SectionContents(.dwarf, head)
      dwarf.tail = ranges
      sections.append(dwarf)
    }
    sections.append(symbols.symbols)
    sections.append(symbols.strings)
    headerOrder = sections.map(\.kind)
    headerOrder.insert(.text, at: 2)
    headerOrder.append(.sectionNames)
    var names: [UInt8] = [0]
    for kind in headerOrder {
      nameOffsets[kind] = UInt32(names.count)
      names += kind.name.utf8
      names.append(0)
    }
    sections.append(SectionContents(.sectionNames, names))

    engine[.text] = SectionExtent(offset: pageSize, size: textSize)
    // More pages need a larger table of checksums, and a larger table may need another page of the file. Each round
    // starts with the size that the round before called for; sizes only grow, by a thousandth of what made them grow.
    var layout: PageChecksums
    repeat {
      layout = PageChecksums(engine)
      place(checksumSize: layout.encodedSize)
    } while PageChecksums(engine).count != layout.count
    sections[checksums] = SectionContents(.checksums, layout.encoded())
    guard engine[.engine].end <= UInt64(ArtifactHeader.size) else {
      throw invalid("the compatibility record does not fit into the first page")
    }
    sections[1] = SectionContents(.engine, engine.encoded())
  }

  /// Gives every section its place, with so many bytes for the checksums.
  private mutating func place(checksumSize: UInt64) {
    let pageSize = input.record.settings.pageSize
    var offset = engine[.text].end
    for section in sections {
      let size = section.kind == .checksums ? checksumSize : UInt64(section.count)
      switch section.kind {
      case .buildID: engine[.buildID] = SectionExtent(offset: UInt64(ArtifactHeader.noteOffset), size: size)
      case .engine: engine[.engine] = SectionExtent(offset: UInt64(ArtifactHeader.engineOffset), size: size)
      default:
        let alignment = section.kind.alignment(pageSize: pageSize)
        offset = (offset + alignment - 1) / alignment * alignment
        engine[section.kind] = SectionExtent(offset: offset, size: size)
        offset += size
      }
    }
    sectionHeadersOffset = (offset + 7) & ~7
    engine.fileSize = sectionHeadersOffset + UInt64(headerOrder.count + 1) * ELF.sectionHeaderSize
  }

  static func check(_ input: ArtifactInput) throws(ArtifactWriterError) {
    func invalid(_ message: String) -> ArtifactWriterError {
      ArtifactWriterError(operation: "lay out", path: "", message: message)
    }
    guard input.functions.count == input.module.bodies.count else {
      throw invalid("\(input.functions.count) functions for \(input.module.bodies.count) bodies")
    }
    guard input.trampolines.count <= input.module.types.count else {
      throw invalid("trampolines for \(input.trampolines.count) types, of which there are \(input.module.types.count)")
    }
    var end: UInt64 = 0
    for (index, function) in input.functions.enumerated() {
      guard UInt64(function.textOffset) >= end else { throw invalid("function \(index) is out of order") }
      end = UInt64(function.textOffset) + UInt64(function.size)
    }
    for pair in input.trampolines {
      for range in [pair.entry, pair.exit] {
        if let range { end = max(end, UInt64(range.textOffset) + UInt64(range.size)) }
      }
    }
    guard end <= input.textSize else { throw invalid("code ends at \(end), behind the text's \(input.textSize) bytes") }
    end = 0
    for piece in input.text {
      guard piece.textOffset >= end else { throw invalid("text pieces overlap at \(piece.textOffset)") }
      end = piece.textOffset + UInt64(piece.count)
    }
    guard end <= input.textSize else {
      throw invalid("pieces end at \(end), behind the text's \(input.textSize) bytes")
    }
    for runs in [input.addressMap, input.traps] {
      var last: Int64 = -1
      for run in runs {
        guard Int64(run.textOffset) > last else { throw invalid("runs are out of order at \(run.textOffset)") }
        last = Int64(run.textOffset)
      }
    }
  }

  /// The build-id note without its digest (gABI, "Note Section").
  static var note: [UInt8] {
    [4, 0, 0, 0, 32, 0, 0, 0, 3, 0, 0, 0, 0x47, 0x4E, 0x55, 0] + Array(repeating: 0, count: 32)
  }
}
