// What an engineer wants to see of an artifact at a glance: the model of `inspect`, and its two forms.

/// A summary of an artifact.
public struct ArtifactSummary: Sendable {
  /// A section of the file.
  public struct Section: Sendable {
    /// Its name.
    public var name: String
    /// Offset in the file, in bytes.
    public var offset: UInt64
    /// Size in bytes.
    public var size: UInt64
  }

  /// A function of the module.
  public struct Function: Sendable {
    /// Index, imported functions counted first.
    public var index: Int
    /// Name, if the module gives one.
    public var name: String?
    /// Size of its code in bytes.
    public var size: UInt32
    /// Offset in `.text`, in bytes.
    public var textOffset: UInt32
    /// Wasm offset of its body.
    public var wasmOffset: UInt32
  }

  /// Size of the file in bytes.
  public var fileSize: UInt64
  /// The build-id, in hexadecimal.
  public var buildID: String
  /// Who compiled, for which format, with which settings.
  public var record: CompatibilityRecord
  /// The module's name.
  public var moduleName: String?
  /// All sections, in the order of the file.
  public var sections: [Section] = []
  /// Numbers of things, with what they count.
  public var counts: [(name: String, count: UInt64)] = []
  /// The largest functions, largest first.
  public var largestFunctions: [Function] = []
  /// What is wrong with pages of the file that differ from their checksums.
  public var damagedPages: [ArtifactError]

  /// Summarises an artifact; takes time in proportion to its number of functions.
  ///
  /// - Parameters:
  ///   - artifact: a reader over a whole file, or over the part behind its text.
  ///   - functions: how many of the largest functions to list.
  ///   - damagedPages: what `Artifact.damagedPages` has found.
  public init(
    _ artifact: Artifact, largestFunctions limit: Int = 10, damagedPages: [ArtifactError] = []
  ) throws(ArtifactError) {
    self.damagedPages = damagedPages
    let header = artifact.header
    fileSize = header.fileSize
    buildID = header.buildID.hexadecimalDigits
    record = header.record
    for kind in SectionKind.allCases where header.extent(of: kind).size > 0 {
      let extent = header.extent(of: kind)
      sections.append(Section(name: kind.name, offset: extent.offset, size: extent.size))
    }
    sections.sort { $0.offset < $1.offset }
    let info = try artifact.moduleInfo()
    let names = try artifact.names()
    moduleName = try names?.moduleName()
    func count(_ name: String, _ count: Int) { counts.append((name, UInt64(count))) }
    let bound = try info.boundImportCount
    count("types", info.typeCount)
    count("imports", info.importCount - bound)
    if bound > 0 { count("bound imports", bound) }
    count("exports", info.exportCount)
    count("imported functions", info.importedFunctionCount - bound)
    count("functions", info.definedFunctionCount)
    count("tables", info.tableCount)
    count("memories", info.memoryCount)
    count("globals", info.globalCount)
    count("element segments", info.elementSegmentCount)
    count("data segments", info.dataSegmentCount)
    var trampolines = 0
    for index in 0..<info.typeCount {
      if try info.entryTrampoline(type: index) != nil { trampolines += 1 }
      if try info.exitTrampoline(type: index) != nil { trampolines += 1 }
    }
    count("trampolines", trampolines)
    var imageSize: UInt64 = 0
    // Extents belong to one memory each, so the sum is that of the table.
    for extent in 0..<(try info.rows(.extents)) { imageSize &+= try info.imageExtent(extent).size }
    counts.append(("memory image bytes", imageSize))
    if let map = try artifact.addressMap() { counts.append(("address map entries", map.entryCount)) }
    counts.append(("trap sites", try artifact.trapTable().entryCount))

    // Keeps the largest few while going through all; equal sizes in the order of their indices.
    var largest: [(size: UInt32, index: Int)] = []
    for index in 0..<info.definedFunctionCount {
      let size = try info.definedFunction(index).size
      if largest.count == limit, let last = largest.last, size <= last.size { continue }
      let place = largest.firstIndex { $0.size < size } ?? largest.count
      largest.insert((size, index), at: place)
      if largest.count > limit { largest.removeLast() }
    }
    for (_, index) in largest {
      let function = try info.definedFunction(index)
      largestFunctions.append(
        Function(
          index: info.importedFunctionCount + index, name: try names?.function(info.importedFunctionCount + index),
          size: function.size, textOffset: function.textOffset, wasmOffset: function.wasmOffset))
    }
  }

  /// The summary for people: offsets in hexadecimal, as in backtraces, sizes in decimal.
  public var text: String {
    var lines: [String] = []
    func field(_ name: String, _ value: String) { lines.append("  " + Self.pad(name, 22) + value) }
    lines.append("artifact")
    field("size", "\(fileSize)")
    field("build-id", buildID)
    field("format version", "\(record.formatVersion)")
    field("compiler", "\(record.compilerName) \(record.compilerVersion)".printable)
    if let moduleName { field("module", moduleName.printable) }
    if !damagedPages.isEmpty {
      lines.append("damaged pages")
      for error in damagedPages { lines.append("  ! \(error.description.printable)") }
    }
    lines.append("settings")
    for (name, value) in record.settings.rendered { field(name, value) }
    lines.append("sections" + String(repeating: " ", count: 20) + "offset        size")
    for section in sections {
      lines.append(
        "  " + Self.pad(section.name, 22) + Self.padLeft(hexadecimal(section.offset), 10) + "  "
          + Self.padLeft("\(section.size)", 10))
    }
    lines.append("counts")
    for (name, count) in counts { field(name, "\(count)") }
    if !largestFunctions.isEmpty {
      lines.append("largest functions         size  text offset  wasm offset  name")
      for function in largestFunctions {
        lines.append(
          "  " + Self.pad("\(function.index)", 18) + Self.padLeft("\(function.size)", 10)
            + Self.padLeft(hexadecimal(UInt64(function.textOffset)), 13)
            + Self.padLeft(hexadecimal(UInt64(function.wasmOffset)), 13)
            + (function.name.map { "  " + $0.printable } ?? ""))
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// The summary for scripts.
  public var json: String {
    var json = JSONWriter()
    json.object { json in
      json.value("size", fileSize)
      json.value("build_id", buildID)
      json.value("format_version", record.formatVersion)
      json.object("compiler") { json in
        json.value("name", record.compilerName)
        json.value("version", record.compilerVersion)
      }
      json.value("module", moduleName)
      if !damagedPages.isEmpty {
        json.array("damaged_pages") { json in for error in damagedPages { json.value(nil, error.description) } }
      }
      json.object("settings") { json in
        for (name, value) in record.settings.rendered { json.value(name, value) }
      }
      json.array("sections") { json in
        for section in sections {
          json.object { json in
            json.value("name", section.name)
            json.value("offset", section.offset)
            json.value("size", section.size)
          }
        }
      }
      json.object("counts") { json in
        for (name, count) in counts { json.value(String(name.map { $0 == " " ? "_" : $0 }), count) }
      }
      json.array("largest_functions") { json in
        for function in largestFunctions {
          json.object { json in
            json.value("index", function.index)
            json.value("name", function.name)
            json.value("size", function.size)
            json.value("text_offset", function.textOffset)
            json.value("wasm_offset", function.wasmOffset)
          }
        }
      }
    }
    return json.text + "\n"
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }

  private static func padLeft(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
