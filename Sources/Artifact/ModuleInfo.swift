// The module as the runtime sees it: `.wasmtime.info`, read in place.
//
// Opening checks the header and that every table lies in the section; after that each row is
// checked as it is read. Nothing is cached and nothing is decoded ahead, so a `ModuleInfo` costs the
// same for ten functions and for two hundred thousand. Indices may come from the file itself (the
// type index of a function, say), so an index past the end of its table is an error like any other.

public import PrecastWasm

/// A function that the module defines.
public struct FunctionInfo: Sendable, Equatable {
  /// Offset of its code in `.text`, in bytes.
  public var textOffset: UInt32
  /// Size of its code in bytes.
  public var size: UInt32
  /// Its type.
  public var typeIndex: UInt32
  /// Wasm offset of its body (local declarations and code).
  public var wasmOffset: UInt32
}

/// An import.
public struct ImportInfo: Sendable, Equatable {
  /// Module part of the name.
  public var module: String
  /// Name part.
  public var name: String
  /// Kind and type.
  public var descriptor: ImportDescriptor
  /// Index in the index space of its kind.
  public var index: UInt32
}

/// The adapter of an imported function that is bound to a symbol of the platform: code of the module that is called by the wasm
/// convention, and calls the symbol by that of C.
public struct ImportAdapter: Sendable, Equatable {
  /// Index of the imported function.
  public var importedFunction: Int
  /// Where its code is.
  public var code: CodeRange
  /// The symbol that it calls.
  public var symbol: String

  /// Creates a description.
  public init(importedFunction: Int, code: CodeRange, symbol: String) {
    self.importedFunction = importedFunction
    self.code = code
    self.symbol = symbol
  }
}

/// An export.
public struct ExportInfo: Sendable, Equatable {
  /// Name.
  public var name: String
  /// Kind.
  public var kind: ExternalKind
  /// Index in the index space of its kind.
  public var index: UInt32
}

/// A part of a memory's initial contents that is mapped from the artifact.
public struct ImageExtent: Sendable, Equatable {
  /// Where it goes in the memory, in bytes; whole pages of the target.
  public var memoryOffset: UInt64
  /// Where it is in `.rodata.wasm`, in bytes; whole pages of the target.
  public var imageOffset: UInt64
  /// Size in bytes; whole pages of the target. May reach past the memory's end by less than a page
  /// only where pages of wasm are smaller than the target's, which they are not.
  public var size: UInt64
}

/// A part of a table's initial contents.
public struct TableImageRow: Sendable, Equatable {
  /// First element of the table.
  public var element: UInt32
  /// Number of elements.
  public var count: UInt32
  /// Position of the first function index in the pool; see `ModuleInfo.elementFunction(_:)`.
  public var firstFunction: UInt32
}

/// A global.
public struct GlobalInfo: Sendable, Equatable {
  /// Its type.
  public var type: GlobalType
  /// Its initial value, as a range of constant instructions; empty for an imported one.
  public var initializer: Range<Int>
}

/// An element segment.
public struct ElementSegmentInfo: Sendable, Equatable {
  /// What the items are.
  public enum Items: Sendable, Equatable {
    /// Function indices: positions in the pool of `ModuleInfo.elementFunction(_:)`.
    case functions(Range<Int>)
    /// Expressions: positions in the pool of `ModuleInfo.elementExpression(_:)`.
    case expressions(Range<Int>)

    /// Number of items.
    public var count: Int {
      switch self {
      case .functions(let range), .expressions(let range): range.count
      }
    }
  }

  /// How it gets into its table.
  public var mode: SegmentMode
  /// The table, of an active segment.
  public var table: UInt32
  /// The offset in the table, as a range of constant instructions, of an active segment.
  public var offset: Range<Int>
  /// Type of the elements.
  public var type: ValueType
  /// The elements.
  public var items: Items
}

/// A data segment.
public struct DataSegmentInfo: Sendable, Equatable {
  /// How it gets into its memory.
  public var mode: SegmentMode
  /// The memory, of an active segment.
  public var memory: UInt32
  /// The offset in the memory, as a range of constant instructions, of an active segment.
  public var offset: Range<Int>
  /// Where the bytes are in `.rodata.wasm`. Of a segment in the image the bytes may have been
  /// overwritten by later segments; they are never read as a segment's.
  public var bytes: Range<UInt64>
}

/// A piece of the text.
public struct CodeRange: Sendable, Equatable {
  /// Offset in `.text`, in bytes.
  public var textOffset: UInt32
  /// Size in bytes.
  public var size: UInt32

  /// Creates a range.
  public init(textOffset: UInt32, size: UInt32) {
    self.textOffset = textOffset
    self.size = size
  }
}

/// `.wasmtime.info`, read in place.
public struct ModuleInfo: Sendable {
  let region: ByteRegion
  /// Number of function types.
  public let typeCount: Int
  /// Number of imported functions.
  public let importedFunctionCount: Int
  /// Number of functions that the module defines.
  public let definedFunctionCount: Int
  /// Number of imports.
  public let importCount: Int
  /// Number of exports.
  public let exportCount: Int
  /// Number of tables, imported ones included.
  public let tableCount: Int
  /// Number of imported tables.
  public let importedTableCount: Int
  /// Number of memories, imported ones included.
  public let memoryCount: Int
  /// Number of imported memories.
  public let importedMemoryCount: Int
  /// Number of globals, imported ones included.
  public let globalCount: Int
  /// Number of imported globals.
  public let importedGlobalCount: Int
  /// Number of element segments.
  public let elementSegmentCount: Int
  /// Number of data segments.
  public let dataSegmentCount: Int
  /// Number of element segments to apply at instantiation.
  public let activeElementCount: Int
  /// Number of data segments to apply at instantiation.
  public let activeDataCount: Int
  /// Index of the start function.
  public let start: UInt32?

  /// Number of functions, imported ones included.
  public var functionCount: Int { importedFunctionCount + definedFunctionCount }

  /// Opens the section: checks its header and that all tables lie in it.
  public init(_ region: ByteRegion) throws(ArtifactError) {
    self.region = region
    guard try region.u32(0) == InfoTable.magic else { throw region.damaged(0, "wrong magic number") }
    guard try region.u32(4) == InfoTable.allCases.count else { throw region.damaged(4, "wrong number of tables") }
    let start = try region.u32(8)
    self.start = start == InfoTable.absent ? nil : start
    for table in InfoTable.allCases {
      let row = InfoTable.directoryOffset + table.rawValue * 8
      let offset = Int(try region.u32(row))
      let count = Int(try region.u32(row + 4))
      // Two 32-bit values: cannot overflow.
      guard offset + count * table.rowSize <= region.count else {
        throw region.damaged(row, "table \(table) lies outside the section")
      }
    }
    func count(_ table: InfoTable) throws(ArtifactError) -> Int {
      Int(try region.u32(InfoTable.directoryOffset + table.rawValue * 8 + 4))
    }
    typeCount = try count(.types)
    importedFunctionCount = Int(try region.u32(12))
    importedTableCount = Int(try region.u32(16))
    importedMemoryCount = Int(try region.u32(20))
    importedGlobalCount = Int(try region.u32(24))
    definedFunctionCount = try count(.functions)
    importCount = try count(.imports)
    exportCount = try count(.exports)
    tableCount = try count(.tables)
    memoryCount = try count(.memories)
    globalCount = try count(.globals)
    elementSegmentCount = try count(.elements)
    dataSegmentCount = try count(.dataSegments)
    activeElementCount = try count(.activeElements)
    activeDataCount = try count(.activeData)
    guard try count(.importedFunctions) == importedFunctionCount, importedTableCount <= tableCount,
      importedMemoryCount <= memoryCount, importedGlobalCount <= globalCount
    else { throw region.damaged(12, "more imports than there is room for") }
  }

  // The offset of row `index` of `table`, which is in the table.
  func row(_ table: InfoTable, _ index: Int) throws(ArtifactError) -> Int {
    let directory = InfoTable.directoryOffset + table.rawValue * 8
    let count = Int(try region.u32(directory + 4))
    guard index >= 0 && index < count else {
      throw region.damaged(directory, "row \(index) of \(count) in table \(table)")
    }
    return Int(try region.u32(directory)) + index * table.rowSize
  }

  func rows(_ table: InfoTable) throws(ArtifactError) -> Int {
    Int(try region.u32(InfoTable.directoryOffset + table.rawValue * 8 + 4))
  }

  // A start and a count at `offset`, as a range in `table`.
  func range(_ offset: Int, in table: InfoTable) throws(ArtifactError) -> Range<Int> {
    let start = Int(try region.u32(offset))
    let count = Int(try region.u32(offset + 4))
    guard start + count <= (try rows(table)) else {
      throw region.damaged(offset, "\(count) rows at \(start) in table \(table)")
    }
    return start..<start + count
  }

  func valueType(_ offset: Int) throws(ArtifactError) -> ValueType {
    let byte = try region.u8(offset)
    guard let type = ValueType(rawValue: byte) else { throw region.damaged(offset, "value type \(byte)") }
    return type
  }

  func string(_ offset: Int) throws(ArtifactError) -> String {
    let range = try range(offset, in: .strings)
    // No module has a longer one, and a file of many rows with one long name shall not fill the memory.
    guard range.count <= Implementation.maximumNameSize else {
      throw region.damaged(offset, "a name of \(range.count) bytes")
    }
    return range.isEmpty ? "" : try region.string(row(.strings, range.lowerBound), range.count)
  }

  /// Where globals, memories, tables and imported functions stand in an instance's context.
  public var contextLayout: ContextLayout {
    ContextLayout(
      importedFunctions: importedFunctionCount, importedTables: importedTableCount,
      importedMemories: importedMemoryCount, importedGlobals: importedGlobalCount,
      definedTables: tableCount - importedTableCount, definedMemories: memoryCount - importedMemoryCount,
      definedGlobals: globalCount - importedGlobalCount)
  }

  // MARK: Types

  /// A function type.
  public func type(_ index: Int) throws(ArtifactError) -> FunctionType {
    let row = try row(.types, index)
    let start = Int(try region.u32(row))
    let parameters = Int(try region.u32(row + 4))
    let results = Int(try region.u32(row + 8))
    guard start + parameters + results <= (try rows(.valueTypes)) else {
      throw region.damaged(row, "signature outside its table")
    }
    func list(_ first: Int, _ count: Int) throws(ArtifactError) -> [ValueType] {
      if count == 0 { return [] }
      var types: [ValueType] = []
      types.reserveCapacity(count)
      let base = try self.row(.valueTypes, first)
      for position in 0..<count { types.append(try valueType(base + position)) }
      return types
    }
    return FunctionType(parameters: try list(start, parameters), results: try list(start + parameters, results))
  }

  /// Index of the first type that is equal to type `index`; itself if there is none before.
  public func firstEqualType(_ index: Int) throws(ArtifactError) -> Int {
    let row = try row(.types, index)
    let first = Int(try region.u32(row + 12))
    guard first <= index else { throw region.damaged(row + 12, "equal type \(first) of type \(index)") }
    return first
  }

  private func code(_ row: Int) throws(ArtifactError) -> CodeRange? {
    let offset = try region.u32(row)
    return offset == InfoTable.absent ? nil : CodeRange(textOffset: offset, size: try region.u32(row + 4))
  }

  /// The trampoline from the host into functions of type `index`, if the module has one.
  public func entryTrampoline(type index: Int) throws(ArtifactError) -> CodeRange? { try code(row(.types, index) + 16) }

  /// The trampoline from wasm out to host functions of type `index`, if the module has one.
  public func exitTrampoline(type index: Int) throws(ArtifactError) -> CodeRange? { try code(row(.types, index) + 24) }

  // MARK: Functions

  /// Type index of function `index`, imported ones first.
  public func typeIndex(function index: Int) throws(ArtifactError) -> Int {
    index < importedFunctionCount
      ? Int(try region.u32(row(.importedFunctions, index)))
      : Int(try region.u32(row(.functions, index - importedFunctionCount) + 8))
  }

  /// The adapter of imported function `index`; nil for one that is not bound to a symbol.
  public func adapter(importedFunction index: Int) throws(ArtifactError) -> ImportAdapter? {
    let row = try row(.importedFunctions, index)
    return try code(row + 4).map { (code) throws(ArtifactError) in
      ImportAdapter(importedFunction: index, code: code, symbol: try string(row + 12))
    }
  }

  /// How many imported functions are bound to symbols; takes time in proportion to the imported functions.
  public var boundImportCount: Int {
    get throws(ArtifactError) {
      var count = 0
      for index in 0..<importedFunctionCount where try code(row(.importedFunctions, index) + 4) != nil { count += 1 }
      // Each is an import; a damaged table could say otherwise.
      return min(count, importCount)
    }
  }

  /// The function that the module defines as number `index`, counted without the imported ones.
  public func definedFunction(_ index: Int) throws(ArtifactError) -> FunctionInfo {
    let row = try row(.functions, index)
    return FunctionInfo(
      textOffset: try region.u32(row), size: try region.u32(row + 4), typeIndex: try region.u32(row + 8),
      wasmOffset: try region.u32(row + 12))
  }

  /// Number (without the imported ones) of the defined function whose code covers `textOffset`.
  public func definedFunction(containing textOffset: UInt32) throws(ArtifactError) -> Int? {
    var low = 0
    var high = definedFunctionCount
    while low < high {
      let middle = (low + high) / 2
      if try region.u32(row(.functions, middle)) <= textOffset { low = middle + 1 } else { high = middle }
    }
    if low == 0 { return nil }
    let function = try definedFunction(low - 1)
    return textOffset - function.textOffset < function.size ? low - 1 : nil
  }

  // MARK: Imports and exports

  /// An import.
  public func importEntry(_ index: Int) throws(ArtifactError) -> ImportInfo {
    let row = try row(.imports, index)
    let kind = try region.u8(row)
    let target = try region.u32(row + 4)
    let descriptor: ImportDescriptor
    switch ExternalKind(rawValue: kind) {
    case .function: descriptor = .function(typeIndex: UInt32(truncatingIfNeeded: try typeIndex(function: Int(target))))
    case .table: descriptor = .table(try table(Int(target)))
    case .memory: descriptor = .memory(try memory(Int(target)))
    case .global: descriptor = .global(try global(Int(target)).type)
    default: throw region.damaged(row, "import of kind \(kind)")
    }
    return ImportInfo(module: try string(row + 8), name: try string(row + 16), descriptor: descriptor, index: target)
  }

  private func export(row: Int) throws(ArtifactError) -> (kind: ExternalKind, index: UInt32) {
    let kind = try region.u8(row + 16)
    guard let external = ExternalKind(rawValue: kind) else { throw region.damaged(row + 16, "export of kind \(kind)") }
    return (external, try region.u32(row + 8))
  }

  /// An export; they are in the order of their names' bytes.
  public func export(_ index: Int) throws(ArtifactError) -> ExportInfo {
    let row = try row(.exports, index)
    let (kind, target) = try export(row: row)
    return ExportInfo(name: try string(row), kind: kind, index: target)
  }

  /// All exports in the order in which the module declares them.
  public func exportsInDeclarationOrder() throws(ArtifactError) -> [ExportInfo] {
    var exports: [(position: UInt32, export: ExportInfo)] = []
    exports.reserveCapacity(exportCount)
    for index in 0..<exportCount {
      exports.append((try region.u32(row(.exports, index) + 12), try export(index)))
    }
    exports.sort { $0.position < $1.position }
    return exports.map(\.export)
  }

  /// The export of that name, found by binary search.
  public func export(named name: String) throws(ArtifactError) -> (kind: ExternalKind, index: UInt32)? {
    var name = name
    name.makeContiguousUTF8()
    var low = 0
    var high = exportCount
    while low < high {
      let middle = (low + high) / 2
      let row = try row(.exports, middle)
      let range = try range(row, in: .strings)
      let bytes =
        range.isEmpty ? ByteRegion(emptyIn: .info) : try region.slice(self.row(.strings, range.lowerBound), range.count)
      let order = Self.compare(bytes, name.utf8)
      if order == 0 { return try export(row: row) }
      if order < 0 { low = middle + 1 } else { high = middle }
    }
    return nil
  }

  // Lexicographically, as bytes: negative where `left` comes first.
  static func compare(_ left: ByteRegion, _ right: String.UTF8View) -> Int {
    var position = 0
    for byte in right {
      guard let other = try? left.u8(position) else { return -1 }
      if other != byte { return other < byte ? -1 : 1 }
      position += 1
    }
    return position < left.count ? 1 : 0
  }

  // MARK: Tables, memories, globals

  private func limits(_ row: Int, hasMaximum: Bool) throws(ArtifactError) -> Limits {
    Limits(minimum: try region.u64(row + 16), maximum: hasMaximum ? try region.u64(row + 24) : nil)
  }

  /// The type of a table.
  public func table(_ index: Int) throws(ArtifactError) -> TableType {
    let row = try row(.tables, index)
    return TableType(element: try valueType(row), limits: try limits(row, hasMaximum: region.u8(row + 1) & 1 != 0))
  }

  /// The rows of a table's image, for `tableImageRow(_:)`.
  public func tableImage(_ index: Int) throws(ArtifactError) -> Range<Int> {
    try range(row(.tables, index) + 4, in: .tableImages)
  }

  /// A row of a table's image.
  public func tableImageRow(_ index: Int) throws(ArtifactError) -> TableImageRow {
    let row = try row(.tableImages, index)
    let image = TableImageRow(
      element: try region.u32(row + 4), count: try region.u32(row + 8), firstFunction: try region.u32(row + 12))
    guard Int(image.firstFunction) + Int(image.count) <= (try rows(.elementFunctions)) else {
      throw region.damaged(row, "image outside the table of functions")
    }
    return image
  }

  /// The type of a memory.
  public func memory(_ index: Int) throws(ArtifactError) -> MemoryType {
    let row = try row(.memories, index)
    let flags = try region.u32(row)
    return MemoryType(
      limits: try limits(row, hasMaximum: flags & 1 != 0), isMemory64: flags & 2 != 0, isShared: flags & 4 != 0)
  }

  /// The extents of a memory's image, for `imageExtent(_:)`.
  public func memoryImage(_ index: Int) throws(ArtifactError) -> Range<Int> {
    try range(row(.memories, index) + 4, in: .extents)
  }

  /// An extent of a memory's image.
  public func imageExtent(_ index: Int) throws(ArtifactError) -> ImageExtent {
    let row = try row(.extents, index)
    return ImageExtent(
      memoryOffset: try region.u64(row), imageOffset: try region.u64(row + 8), size: try region.u64(row + 16))
  }

  /// A global.
  public func global(_ index: Int) throws(ArtifactError) -> GlobalInfo {
    let row = try row(.globals, index)
    return GlobalInfo(
      type: GlobalType(value: try valueType(row), isMutable: try region.u8(row + 1) != 0),
      initializer: try range(row + 4, in: .constants))
  }

  // MARK: Constant expressions and segments

  /// A constant instruction.
  public func constant(_ index: Int) throws(ArtifactError) -> ConstantInstruction {
    let row = try row(.constants, index)
    let target = try region.u32(row + 4)
    let immediate = try region.u64(row + 8)
    switch try region.u8(row) {
    case 0x41: return .i32Const(Int32(truncatingIfNeeded: immediate))
    case 0x42: return .i64Const(Int64(bitPattern: immediate))
    case 0x43: return .f32Const(bits: UInt32(truncatingIfNeeded: immediate))
    case 0x44: return .f64Const(bits: immediate)
    case 0xD0: return .refNull(try valueType(row + 1))
    case 0xD2: return .refFunction(target)
    case 0x23: return .globalGet(target)
    case 0x6A: return .i32Add
    case 0x6B: return .i32Sub
    case 0x6C: return .i32Mul
    case 0x7C: return .i64Add
    case 0x7D: return .i64Sub
    case 0x7E: return .i64Mul
    case let opcode: throw region.damaged(row, "constant instruction \(opcode)")
    }
  }

  /// An element segment.
  public func elementSegment(_ index: Int) throws(ArtifactError) -> ElementSegmentInfo {
    let row = try row(.elements, index)
    guard let mode = SegmentMode(rawValue: try region.u8(row)) else { throw region.damaged(row, "segment mode") }
    let items: ElementSegmentInfo.Items
    switch try region.u8(row + 2) {
    case 0: items = .functions(try range(row + 16, in: .elementFunctions))
    case 1: items = .expressions(try range(row + 16, in: .elementExpressions))
    default: throw region.damaged(row + 2, "kind of items")
    }
    return ElementSegmentInfo(
      mode: mode, table: try region.u32(row + 4), offset: try range(row + 8, in: .constants),
      type: try valueType(row + 1), items: items)
  }

  /// A function index of the pool that element segments and table images refer to.
  public func elementFunction(_ position: Int) throws(ArtifactError) -> UInt32 {
    try region.u32(row(.elementFunctions, position))
  }

  /// An expression of the pool that element segments refer to, as a range of constant instructions.
  public func elementExpression(_ position: Int) throws(ArtifactError) -> Range<Int> {
    try range(row(.elementExpressions, position), in: .constants)
  }

  /// A data segment.
  public func dataSegment(_ index: Int) throws(ArtifactError) -> DataSegmentInfo {
    let row = try row(.dataSegments, index)
    guard let mode = SegmentMode(rawValue: try region.u8(row)), mode != .declarative else {
      throw region.damaged(row, "segment mode")
    }
    let start = try region.u64(row + 16)
    let (end, overflow) = start.addingReportingOverflow(try region.u64(row + 24))
    guard !overflow else { throw region.damaged(row + 16, "segment outside the address space") }
    return DataSegmentInfo(
      mode: mode, memory: try region.u32(row + 4), offset: try range(row + 8, in: .constants), bytes: start..<end)
  }

  // MARK: What instantiation applies

  /// The element segment to apply at instantiation as number `position`; segments are applied in this
  /// order, which is theirs.
  ///
  /// Spec: Core 4.5.4, "Instantiation", of the segments that are not part of an image.
  public func activeElement(_ position: Int) throws(ArtifactError) -> ElementSegmentInfo {
    let row = try row(.activeElements, position)
    let segment = try elementSegment(Int(region.u32(row)))
    guard segment.mode == .active else { throw region.damaged(row, "element segment is not active") }
    return segment
  }

  /// The data segment to apply at instantiation as number `position`, in order.
  public func activeData(_ position: Int) throws(ArtifactError) -> DataSegmentInfo {
    let row = try row(.activeData, position)
    let segment = try dataSegment(Int(region.u32(row)))
    guard segment.mode == .active else { throw region.damaged(row, "data segment is not active") }
    return segment
  }
}
