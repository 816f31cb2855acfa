// Where every section of an artifact stands.
//
// File offset and virtual address are the same everywhere, so a layout is one list of ranges. It starts with the fixed
// first page, then the text on a page of its own, and everything else behind it in the order below; then the section
// headers; then writable data, which ends the file (WritableData.swift says why). Two need it: the writer, which
// gives its sections to libelf, and whoever links an image straight into memory (ArtifactFrame.swift), where the
// distances between sections have to be known before the code that spans them is written.

extension SectionKind {
  /// All kinds in the order that they have in a file.
  public static let fileOrder: [SectionKind] = [
    .buildID, .engine, .text, .ehFrame, .checksums, .info, .addressMap, .traps, .stackMap, .exceptions, .readOnlyData,
    .dataImage, .names, .dwarf, .symbols, .strings, .sectionNames, .data, .bss,
  ]
}

/// The places of all sections of an artifact, and of its section headers.
public struct ArtifactLayout: Sendable {
  /// Sizes of sections, in bytes; 0 for one that is absent.
  public struct Sizes: Sendable {
    private var sizes = [UInt64](repeating: 0, count: SectionKind.count)

    /// All absent.
    public init() {}

    /// The size of a section. Those of the first page, `.shstrtab` and `.wasmtime.checksums` follow from the others and are
    /// not used.
    public subscript(kind: SectionKind) -> UInt64 {
      get { sizes[Int(kind.rawValue)] }
      set { sizes[Int(kind.rawValue)] = newValue }
    }
  }

  /// The record with the directory.
  public private(set) var engine: EngineSection
  /// The sections that are there, in the order of the file and of the section headers, which count from 1.
  public let sections: [SectionKind]
  /// The contents of `.shstrtab`.
  public let sectionNames: [UInt8]
  /// File offset of the section headers.
  public private(set) var sectionHeadersOffset: UInt64 = 0
  /// The contents of `.wasmtime.checksums` with all sums zero.
  public var checksums: PageChecksums { PageChecksums(engine) }
  private var nameOffsets = [UInt32](repeating: 0, count: SectionKind.count)

  /// Lays sections of these sizes out.
  ///
  /// The text has whole pages, at least one. Where there is `.bss`, there is `.data` too, as long as the alignment of `.bss`
  /// asks for.
  public init(record: CompatibilityRecord, sizes: Sizes) {
    engine = EngineSection(record: record)
    var sizes = sizes
    sizes[.buildID] = UInt64(ArtifactHeader.noteSize)
    sizes[.engine] = UInt64(engine.encodedSize)
    // Always there; how long they are is found out below.
    sizes[.checksums] = 1
    sizes[.sectionNames] = 1
    let present = SectionKind.fileOrder.filter { sizes[$0] > 0 }
    var names: [UInt8] = [0]
    for kind in present {
      nameOffsets[Int(kind.rawValue)] = UInt32(names.count)
      names += kind.name.utf8
      names.append(0)
    }
    sections = present
    sectionNames = names
    sizes[.sectionNames] = UInt64(names.count)
    engine[.text] = SectionExtent(offset: record.settings.pageSize, size: sizes[.text])
    // More pages need a larger table of checksums, and a larger table may need another page of the file. Each round
    // starts with the size that the round before called for; sizes only grow, by a thousandth of what made them grow.
    var layout: PageChecksums
    repeat {
      layout = PageChecksums(engine)
      sizes[.checksums] = layout.encodedSize
      place(sizes)
    } while PageChecksums(engine).count != layout.count
  }

  private mutating func place(_ sizes: Sizes) {
    let pageSize = engine.record.settings.pageSize
    func aligned(_ offset: UInt64, _ alignment: UInt64) -> UInt64 { (offset + alignment - 1) / alignment * alignment }
    engine[.buildID] = SectionExtent(offset: UInt64(ArtifactHeader.noteOffset), size: sizes[.buildID])
    engine[.engine] = SectionExtent(offset: UInt64(ArtifactHeader.engineOffset), size: sizes[.engine])
    var offset = engine[.text].end
    for kind in sections where !kind.isInFirstPage && kind != .text && !kind.isWritable {
      offset = aligned(offset, kind.alignment(pageSize: pageSize))
      engine[kind] = SectionExtent(offset: offset, size: sizes[kind])
      offset += sizes[kind]
    }
    sectionHeadersOffset = aligned(offset, 8)
    offset = sectionHeadersOffset + UInt64(sections.count + 1) * ELF.sectionHeaderSize
    if sizes[.data] > 0 {
      offset = aligned(offset, pageSize)
      engine[.data] = SectionExtent(offset: offset, size: sizes[.data])
      offset += sizes[.data]
    }
    engine.fileSize = offset
    if sizes[.bss] > 0 { engine[.bss] = SectionExtent(offset: offset, size: sizes[.bss]) }
  }

  /// The number of a section's header; 0 where the section is absent.
  public func headerIndex(of kind: SectionKind) -> Int { (sections.firstIndex(of: kind) ?? -1) + 1 }

  /// Offset in `.shstrtab` of a section's name.
  public func nameOffset(of kind: SectionKind) -> UInt32 { nameOffsets[Int(kind.rawValue)] }
}
