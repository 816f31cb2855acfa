// Objects into an artifact.
//
// A link gives code and data; an artifact has a first page, tables, symbols and sums around them. Both ways that
// objects take, into a file that works anywhere and into memory at addresses that are reserved, end in the same
// bytes at the same places, made here: so what loads, verifies and describes artifacts works on either. In this order:
//
//      linker     sizes of code and data, symbols' names, the wasm module's tables
//      layout     the place of every section, and so the distances that references span
//      link       code and data, straight into the memory of the whole
//      tables     copied behind them, with the text offsets in them moved to where the code has gone
//      frame      symbols, ELF headers, and the sums over all of it
//
// Objects without a wasm module make an image without the module's tables. It can be loaded for its symbols, and is
// never written to a file, since nobody could run it.

import PrecastArtifact
import PrecastLinker
import PrecastMachineCode

/// An artifact in memory, made of objects.
struct LinkedArtifact: ~Copyable {
  /// The artifact, but for its sums.
  let bytes: NewImage
  /// Whether the code works only at the address that it was linked for.
  let isBoundToAddress: Bool
  /// Places of the symbols that all objects see, in bytes from the start of the text; absolute ones as they are. Empty
  /// where a module is needed, which nobody asks for its symbols.
  let symbols: [String: LinkedSymbol]

  /// Sections of a wasm module's object that an artifact has too.
  private static let moduleSections: [SectionKind] = [
    .info, .addressMap, .traps, .stackMap, .exceptions, .dataImage, .names, .dwarf,
  ]

  /// Links the objects.
  ///
  /// - Throws: `LoadError` of kind `cannotLink`, or `outOfResources`.
  init(_ objects: [LinkableObject], options: LinkOptions, needsModule: Bool) throws(LoadError) {
    // What the linker reads in place stays until here.
    defer { withExtendedLifetime(objects) {} }
    let inputs = objects.map(\.input)
    var options = options
    options.zerosAlignment = Int(SectionKind.bss.alignment(pageSize: 0))
    let linker: Linker
    do throws(LinkError) { linker = try Linker(inputs, options: options) } catch { throw LoadError(error) }
    let module = linker.module
    let moduleName = module.map { inputs[$0.input].name } ?? ""
    if module == nil && needsModule {
      throw LoadError(
        LinkError(
          .undefinedSymbol,
          (inputs.count == 1 ? "\(inputs[0].name) holds no wasm module" : "none of the objects holds a wasm module")
            + "; precast compile --emit object makes one that does"
        ))
    }
    let record = try Self.record(of: module, moduleName, architecture: linker.architecture)

    // Sizes.
    let parts = linker.sizes
    let symbolTable = LinkedSymbolTable(linker)
    var sizes = ArtifactLayout.Sizes()
    sizes[.text] = max(record.settings.pageSize, UInt64(parts.text))
    sizes[.ehFrame] = UInt64(parts.ehFrame)
    for kind in Self.moduleSections { sizes[kind] = UInt64(module?.section(kind.name)?.count ?? 0) }
    // Its presence tells that there is code of others (Docs/Format.md), which may have no constants.
    let leastReadOnly = linker.hasOtherCode ? 8 : 0
    sizes[.readOnlyData] = UInt64(max(parts.readOnly, leastReadOnly))
    // Zeros go into the file up to where `.bss` may start.
    let alignment = Int(SectionKind.bss.alignment(pageSize: record.settings.pageSize))
    let data =
      parts.writableInMemory == 0 ? 0 : max(alignment, (parts.writable + alignment - 1) / alignment * alignment)
    sizes[.data] = UInt64(data)
    sizes[.bss] = UInt64(max(0, parts.writableInMemory - data))
    guard symbolTable.strings.count <= UInt32.max else {
      throw LoadError(LinkError(.cannotLayOut, "the symbols' names would have more than 4 GiB"))
    }
    sizes[.symbols] = UInt64(symbolTable.count) * ELF.symbolSize
    sizes[.strings] = UInt64(symbolTable.strings.count)
    let layout = ArtifactLayout(record: record, sizes: sizes)
    let engine = layout.engine
    let text = engine[.text].offset
    guard sizes[.text] <= UInt64(UInt32.max), sizes[.bss] <= UInt64(UInt32.max),
      engine[.engine].end <= UInt64(ArtifactHeader.size)
    else {
      throw LoadError(LinkError(.cannotLayOut, "the text, or what starts as zeros, would have more than 4 GiB"))
    }

    // Contents.
    let memory = try NewImage(engine)
    let image: LinkedImage
    do throws(LinkError) {
      // Where a part is empty its place does not matter, but has to be a possible one.
      let end = Int(engine.readOnlyEnd - text)
      let page = Int(record.settings.pageSize)
      let placement = LinkPlacement(
        readOnly: parts.readOnly > 0
          ? Int(engine[.readOnlyData].offset - text) : (parts.text + parts.ehFrame + page - 1) / page * page,
        writable: data > 0 ? Int(engine[.data].offset - text) : (end + page - 1) / page * page)
      image = try unsafe linker.link(
        placement,
        into: LinkDestination(
          text: memory[.text], ehFrame: memory[.ehFrame], readOnly: memory[.readOnlyData], writable: memory[.data]))
    } catch {
      throw LoadError(error)
    }
    var moves = CodeMoves()
    for piece in module?.code ?? [] {
      moves.append(nominalOffset: piece.nominalOffset, size: piece.size, textOffset: piece.textOffset)
    }
    for kind in Self.moduleSections {
      guard let source = module?.section(kind.name), sizes[kind] > 0 else { continue }
      do throws(ArtifactError) {
        let target = unsafe memory[kind]
        try unsafe source.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
        try unsafe moves.apply(to: kind, target)
      } catch {
        throw LoadError(LinkError(.damaged, "\(moduleName): \(error)"))
      }
    }
    unsafe symbolTable.write(image, layout, symbols: memory[.symbols], strings: memory[.strings])
    unsafe layout.writeFrame(to: memory.bytes, localSymbols: symbolTable.count)
    try unsafe Self.check(memory.bytes, module: module == nil ? nil : moduleName)
    options.stepEnded?(.tables)

    isBoundToAddress = image.holdsAbsoluteAddresses
    var symbols: [String: LinkedSymbol] = [:]
    for index in 0..<(needsModule ? 0 : image.symbolCount) where image.symbol(index).isGlobal {
      let name = image.symbolName(index)
      if let text = try? name.string(0, name.count) { symbols[text] = image.symbol(index) }
    }
    self.symbols = symbols
    bytes = memory
  }

  /// Checks the result as `precast verify` would: an object may be damaged, or be made so that its tables, symbols and unwind
  /// entries say something else than its code. All that is left to its maker is what the code itself does.
  @unsafe
  private static func check(_ file: UnsafeMutableRawBufferPointer, module: String?) throws(LoadError) {
    guard let base = file.baseAddress else { return }
    // Of the sums, the one that the first page is read with; all of them are put in later.
    unsafe ArtifactHeader.fillChecksum(file)
    do throws(ArtifactError) {
      // The image stays while this looks at it.
      let artifact = try unsafe Artifact(ByteRegion(base: base, count: file.count))
      if module != nil {
        // Without entries nobody could unwind, and the compiler makes one for each piece of code.
        guard artifact.header.extent(of: .ehFrame).size > 0 else {
          throw ArtifactError(.damaged, section: "section headers", offset: 0, message: "there is no .eh_frame")
        }
        try artifact.checkStructure()
      } else {
        try artifact.checkLinkedCode()
      }
    } catch {
      let place = "\(error.section)+0x\(String(error.offset, radix: 16)): \(error.message)"
      let message =
        if error.message.hasPrefix("symbol '") {
          "an object's symbol is not where its code or data is: \(place)"
        } else if error.section == SectionKind.ehFrame.name {
          "the objects' unwind tables do not describe their code: \(place); compile them again, those of a C compiler "
            + "if need be with -fno-asynchronous-unwind-tables"
        } else if let module {
          "\(module): the wasm module is damaged: \(place); make the object again with precast compile --emit object"
        } else {
          "an object is damaged: \(place); compile it again"
        }
      throw LoadError(LinkError(.damaged, message))
    }
  }

  /// The record of the module's object; for objects without one, one that fits any host of that architecture.
  private static func record(
    of module: LinkedModule?, _ name: String, architecture: Architecture
  ) throws(LoadError) -> CompatibilityRecord {
    guard let module else {
      var settings = CompilerSettings()
      settings.architecture = architecture
      return CompatibilityRecord(compilerName: "linked objects", compilerVersion: "", settings: settings)
    }
    guard let region = module.section(SectionKind.engine.name), module.section(SectionKind.info.name) != nil else {
      throw LoadError(LinkError(.damaged, "\(name): a wasm module without its tables"))
    }
    do throws(ArtifactError) {
      let engine = try EngineSection(decoding: region)
      guard engine.record.settings.architecture == architecture else {
        throw ArtifactError(
          .damaged, section: SectionKind.engine.name, offset: 0,
          message: "the record is of another architecture than the object")
      }
      return engine.record
    } catch {
      throw LoadError(LinkError(.damaged, "\(name): \(error)"))
    }
  }
}
