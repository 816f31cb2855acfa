// Objects into an image, in two steps.
//
//     let linker = try Linker(inputs, options)             reads, resolves symbols, lays out
//     let placement = LinkPlacement(linker.sizes, …)       whoever makes memory or a file of it decides
//     let image = try linker.link(placement)               writes the bytes
//
// The first step decides what takes room (sections, islands of veneers, entries of the global offset table, unwind
// entries), the second fills in everything that depends on places.

public import PrecastArtifact
public import PrecastMachineCode

/// A link in progress.
public struct Linker: ~Copyable {
  let state: LinkState
  let names: SymbolList
  /// The machine that all objects are for.
  public var architecture: Architecture { state.architecture }
  /// The sizes of the parts of the image.
  public var sizes: LinkedSizes { state.sizes }
  /// The wasm module among the objects, as `LinkedImage.module`. Known before the link, since the sizes of its
  /// tables decide where the writable part stands.
  public let module: LinkedModule?
  /// Islands of veneers, as `LinkedImage.islands`; they get symbols in a file.
  public var islands: [Range<Int>] { state.text.islands }

  /// Whether there is code that is not of the wasm module, be it in its own object (`ld -r`).
  public var hasOtherCode: Bool {
    for index in 0..<state.pieces.count where !state.pieces[index].isWasm && state.pieces[index].size > 0 {
      return true
    }
    return false
  }

  /// Number of symbols, as `LinkedImage.symbolCount`: a file's symbol table stands before the writable part.
  public var symbolCount: Int { names.count }

  /// A symbol by number, before anything but the code has its place: in code it is where it will be, else `offset` counts
  /// from the start of its part.
  public func symbol(_ index: Int) -> LinkedSymbol {
    names.symbol(names[index], state, LinkPlacement(readOnly: 0, writable: 0)) ?? .none
  }

  /// Whether a symbol is of the object that holds the wasm module.
  public func isOfModule(_ index: Int) -> Bool {
    guard let input = module?.input else { return false }
    let first = state.symbolBase[input]
    return (first..<first + state.objects[input].symbols.count).contains(names[index])
  }

  /// The name of a symbol by number, as `LinkedImage.symbolName`.
  public func symbolName(_ index: Int) -> ByteRegion { names.name(index, state) }

  /// Reads the objects, resolves their symbols and lays their sections out.
  ///
  /// - Throws: `LinkError` for an object that is no object, or holds what is not linked; for symbols that are
  ///   undefined or
  ///   defined twice; for what is too large.
  public init(_ inputs: [LinkInput], options: LinkOptions = LinkOptions()) throws(LinkError) {
    let state = try LinkState(inputs, options)
    try state.discardGroups()
    try state.sumSizes()
    try state.findModule()
    try state.dividePieces()
    try state.resolveSymbols()
    options.stepEnded?(.symbols)
    try state.layOutData()
    try state.placeSymbols()
    try state.scanData()
    // The size of the unwind entries may depend on that of the text, and whether symbols in them are defined does not.
    try state.layOutText()
    try state.readUnwindTables()
    try state.throwIfUndefined()
    state.placeOffsetTable()
    let names = try SymbolList(state)
    self.state = state
    self.names = names
    module = state.linkedModule
    options.stepEnded?(.layout)
  }

  /// An upper bound of the distance from the start of the text to the end of the writable part, in bytes, placed by
  /// `LinkPlacement.init(_:pageSize:)`: how much address space to reserve before a link at an address. Depends on
  /// section headers and common symbols only; counts every section with `SHF_ALLOC`, also those that only the loader
  /// knows.
  ///
  /// - Throws: `LinkError` for an object that is no object.
  public static func extentBound(_ inputs: [LinkInput], options: LinkOptions = LinkOptions()) throws(LinkError) -> Int {
    try LinkState(inputs, options).extentBound()
  }

  /// Writes the image's bytes: code, tables and data with all references resolved.
  ///
  /// - Parameters:
  ///   - placement: where the parts stand that need not stand right behind the text.
  ///   - destination: where to write; nil for memory of the image's own.
  /// - Throws: `LinkError` for a relocation that is not known, whose value does not fit, or that would leave an
  ///   absolute
  ///   address in an image that is to work anywhere.
  public consuming func link(
    _ placement: LinkPlacement, into destination: LinkDestination? = nil
  ) throws(LinkError) -> LinkedImage {
    try state.check(placement)
    let memory = try ImageMemory(state, destination)
    var writer = ImageWriter(state, placement, memory)
    try writer.write()
    state.options.stepEnded?(.relocations)
    return LinkedImage(
      state, names, module, placement, memory, holdsAbsoluteAddresses: writer.context.holdsAbsoluteAddresses)
  }
}
