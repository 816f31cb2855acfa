// The sections of one artifact: their bytes and their places.
//
// What is made from the module is made here, then laid out (`ArtifactLayout`).

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
  /// Places of all sections.
  let layout: ArtifactLayout
  /// First symbol that is not local: their number, since all are local.
  let symbolCount: Int

  /// Directory, with the sizes and places of all sections.
  var engine: EngineSection { layout.engine }

  init(_ input: ArtifactInput) throws(ArtifactWriterError) {
    func invalid(_ message: String) -> ArtifactWriterError {
      ArtifactWriterError(operation: "lay out", path: "", message: message)
    }
    self.input = input
    let settings = input.record.settings
    let pageSize = settings.pageSize
    let textSize = ArtifactInput.paddedTextSize(input.textSize, settings: settings)
    guard textSize <= UInt64(UInt32.max) else { throw invalid("the text has \(input.textSize) bytes, more than 4 GiB") }
    try Self.check(input)

    let image = DataImagePlan(module: input.module, pageSize: pageSize)
    let symbols = SymbolTable.encoded(input, textOffset: pageSize, textHeader: 3)
    symbolCount = symbols.count
    guard symbols.strings.buffer.count <= Int(UInt32.max) else { throw invalid("the symbols' names pass 4 GiB") }
    let info = input.encodedInfo(image: image)
    guard info.count <= Int(UInt32.max) else { throw invalid(".wasmtime.info would pass 4 GiB") }
    sections.append(SectionContents(.buildID, ArtifactHeader.emptyNote))
    sections.append(SectionContents(.engine, EngineSection(record: input.record).encoded()))
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
    var sizes = ArtifactLayout.Sizes()
    sizes[.text] = textSize
    for section in sections { sizes[section.kind] = UInt64(section.count) }
    layout = ArtifactLayout(record: input.record, sizes: sizes)
    guard layout.engine[.engine].end <= UInt64(ArtifactHeader.size) else {
      throw invalid("the compatibility record does not fit into the first page")
    }
    sections.append(SectionContents(.sectionNames, layout.sectionNames))
    sections[checksums] = SectionContents(.checksums, layout.checksums.encoded())
    sections[1] = SectionContents(.engine, layout.engine.encoded())
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

}
