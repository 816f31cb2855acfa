// `inspect --section`: any section of ours in readable form.
//
// One function a section, each in the file that is named for its subject; this one knows them all. A section of a kind
// that has no decoder yet is shown as bytes.

extension SectionKind {
  /// The section of that name, with or without the leading dot.
  public init?(named name: String) {
    let wanted = name.hasPrefix(".") ? name : "." + name
    guard let kind = SectionKind.allCases.first(where: { $0.name == wanted }) else { return nil }
    self = kind
  }

  /// Whether the section's description has a form for scripts.
  public var isDescribedAsJSON: Bool {
    switch self {
    case .stackMap, .exceptions, .readOnlyData, .data: false
    default: true
    }
  }
}

extension Artifact {
  /// The sections that the artifact has, in the order of the file.
  public var sections: [SectionKind] {
    SectionKind.allCases.filter { header.extent(of: $0).size > 0 }
      .sorted { header.extent(of: $0).offset < header.extent(of: $1).offset }
  }

  /// Describes a section, piece by piece, so that memory does not grow with it. Needs a reader over the whole file.
  ///
  /// What can be read is described even where something else is damaged.
  ///
  /// - Throws: `ArtifactError` for what was damaged first, when everything else has been written.
  public func describe(
    _ kind: SectionKind, _ format: DescriptionFormat, to output: TextOutput
  ) throws(ArtifactError) {
    guard header.extent(of: kind).size > 0, let bytes = kind == .bss ? ByteRegion(emptyIn: kind) : try section(kind)
    else { throw .damaged(kind, 0, "the artifact has no such section") }
    let extent = header.extent(of: kind)
    let report = Report(output, format, size: extent.size)
    let place = kind == .bss ? "that start as zeros, behind the file, at" : "at file offset"
    report.line("\(kind.name): \(extent.size) bytes \(place) \(hexadecimal(extent.offset))")
    if format == .json {
      report.field("section", .text(kind.name))
      report.field("offset", .number(extent.offset))
      report.field("size", .number(extent.size))
    }
    switch kind {
    case .buildID: describeBuildID(report)
    case .engine: describeEngine(report)
    case .text: describeText(bytes, report)
    case .ehFrame: describeUnwindTables(bytes, report)
    case .info: describeInfo(report)
    case .addressMap: describeAddressMap(report)
    case .traps: describeTraps(report)
    case .names: describeNames(report)
    case .dataImage: describeDataImage(bytes, report)
    case .symbols: describeSymbols(bytes, report)
    case .strings, .sectionNames: report.strings(bytes)
    case .checksums: describeChecksums(bytes, report)
    case .dwarf: describeDebugInfo(bytes, report)
    case .stackMap, .exceptions, .readOnlyData, .data: report.hexDump(bytes)
    case .bss: break
    }
    try report.end()
  }
}
