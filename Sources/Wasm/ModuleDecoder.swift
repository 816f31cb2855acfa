// The sections of a module, one after the other, decoded and validated in the same pass.
//
// The specification decodes a whole module before it validates any of it, so a module that is both invalid and, further
// on, malformed is malformed. To say the same, a rule of validation that is broken does not stop the decoder: it is
// noted (the first one only), and thrown when the last section turns out well-formed. Code that follows such a note
// must therefore bear indices that are out of range. Function bodies come later and on their own; they do not take
// part in this.

extension WasmModule {
  /// Decodes and validates a module, all but its function bodies, which ``FunctionValidator`` does.
  ///
  /// Spec: Core 5.5.16, "Modules" (binary format), and 3.4.11, "Modules" (validation).
  ///
  /// - Throws: the first thing that makes the binary malformed; failing that, the first that makes it invalid.
  public init(decoding binary: WasmBinary) throws(WasmError) {
    self = try withExtendedLifetime(binary) { () throws(WasmError) -> WasmModule in
      var decoder = try ModuleDecoder(binary)
      return try decoder.decode()
    }
  }
}

/// The state of decoding one module.
struct ModuleDecoder {
  let binary: WasmBinary
  var module = WasmModule()
  /// The first error that decoding goes on after.
  var deferred: WasmError?
  /// The type index of each function that the function section announced and the code section has not yet defined.
  var definedFunctionCount = 0
  /// Operand types of a constant expression, kept for its storage.
  var operands: [ValueType] = []

  init(_ binary: WasmBinary) throws(WasmError) {
    self.binary = binary
    guard binary.count <= Implementation.maximumModuleSize else {
      throw WasmError(.limit, at: 0, "a binary of \(binary.count) bytes, at most \(Implementation.maximumModuleSize)")
    }
  }

  /// Notes that the module breaks a rule of validation.
  mutating func reject(_ offset: Int, _ message: String) {
    if deferred == nil { deferred = WasmError(.invalid, at: offset, message) }
  }

  mutating func decode() throws(WasmError) -> WasmModule {
    try header()
    var reader = BinaryReader(binary, 8..<binary.count)
    var lastOrder = 0
    while !reader.isAtEnd {
      let start = reader.offset
      let id = try reader.byte()
      let sizeOffset = reader.offset
      let size = try reader.u32()
      guard var contents = reader.split(size) else {
        throw WasmError(
          .malformed, at: sizeOffset, "length out of bounds: a section of \(size) bytes, \(reader.remaining) left")
      }
      guard let section = Section(rawValue: id) else {
        throw id == 13
          ? WasmError(.unsupported(.exceptionHandling), at: start, "tag section")
          : WasmError(.malformed, at: start, "malformed section id \(id)")
      }
      if section == .custom {
        try customSection(&contents)
        continue
      }
      guard section.order > lastOrder else {
        throw WasmError(
          .malformed, at: start, "unexpected content after last section: \(section) section repeated or out of order")
      }
      lastOrder = section.order
      try decode(section, &contents)
      guard contents.isAtEnd else {
        throw WasmError(
          .malformed, at: contents.offset,
          "section size mismatch: \(contents.remaining) bytes left in \(section) section")
      }
    }
    try finish()
    return module
  }

  private func header() throws(WasmError) {
    guard binary.count >= 4 else { throw WasmError(.malformed, at: binary.count, "unexpected end of the magic header") }
    guard binary.bytes(0..<4) == [0x00, 0x61, 0x73, 0x6D] else {
      throw WasmError(.malformed, at: 0, "magic header not detected")
    }
    guard binary.count >= 8 else { throw WasmError(.malformed, at: binary.count, "unexpected end of the version") }
    let version = binary.bytes(4..<8)
    guard version == [1, 0, 0, 0] else {
      // The second half of a component's version is its layer, 1.
      if version[2...] == [1, 0] { throw WasmError(.unsupported(.componentModel), at: 4, "a component, not a module") }
      throw WasmError(.malformed, at: 4, "unknown binary version")
    }
  }

  private mutating func customSection(_ reader: inout BinaryReader) throws(WasmError) {
    let name = try reader.name()
    module.customSections.append(CustomSection(name: name, range: reader.offset..<reader.endOffset))
  }

  private mutating func decode(_ section: Section, _ reader: inout BinaryReader) throws(WasmError) {
    switch section {
    case .custom: break
    case .type: try typeSection(&reader)
    case .import: try importSection(&reader)
    case .function: try functionSection(&reader)
    case .table: try tableSection(&reader)
    case .memory: try memorySection(&reader)
    case .global: try globalSection(&reader)
    case .export: try exportSection(&reader)
    case .start: try startSection(&reader)
    case .element: try elementSection(&reader)
    case .code: try codeSection(&reader)
    case .data: try dataSection(&reader)
    case .dataCount: module.dataCount = try reader.u32()
    }
  }

  /// What can be checked only when all sections are there.
  private mutating func finish() throws(WasmError) {
    guard module.bodies.count == definedFunctionCount else {
      throw WasmError(
        .malformed, at: binary.count,
        "function and code section have inconsistent lengths: \(definedFunctionCount) and \(module.bodies.count)")
    }
    if let count = module.dataCount, Int(count) != module.data.count {
      throw WasmError(
        .malformed, at: binary.count,
        "data count and data section have inconsistent lengths: \(count) and \(module.data.count)")
    }
    if let deferred { throw deferred }
    module.validationTables = ValidationTables(module)
  }

  // MARK: Types and index spaces

  private mutating func typeSection(_ reader: inout BinaryReader) throws(WasmError) {
    let count = try reader.count(of: "types", entrySize: 2, limit: Implementation.maximumTypes)
    var pool = FunctionTypes.singles
    var signatures: [BlockSignature] = []
    signatures.reserveCapacity(count)
    for _ in 0..<count {
      let start = reader.offset
      let form = try reader.byte()
      guard form == 0x60 else {
        throw [0x4E, 0x4F, 0x50, 0x5E, 0x5F].contains(form)
          ? WasmError(.unsupported(.gc), at: start, "type 0x\(String(form, radix: 16))")
          : form == 0x5D
            ? WasmError(.unsupported(.stackSwitching), at: start, "continuation type")
            : WasmError(.malformed, at: start, "malformed function type 0x\(String(form, radix: 16))")
      }
      var signature = BlockSignature()
      signature.parameterStart = UInt32(pool.count)
      let parameters = try reader.count(of: "parameters", limit: Implementation.maximumParameters)
      signature.parameterCount = UInt32(parameters)
      for _ in 0..<parameters { pool.append(try reader.valueType()) }
      signature.resultStart = UInt32(pool.count)
      let results = try reader.count(of: "results", limit: Implementation.maximumResults)
      signature.resultCount = UInt32(results)
      for _ in 0..<results { pool.append(try reader.valueType()) }
      signatures.append(signature)
    }
    module.types = FunctionTypes(pool: pool, signatures: signatures)
  }

  private mutating func importSection(_ reader: inout BinaryReader) throws(WasmError) {
    let count = try reader.count(of: "imports", entrySize: 4, limit: Implementation.maximumImports)
    for _ in 0..<count {
      let moduleName = try reader.name()
      let name = try reader.name()
      let start = reader.offset
      let descriptor: ImportDescriptor
      switch try reader.byte() {
      case 0: descriptor = .function(typeIndex: try functionTypeIndex(&reader))
      case 1:
        let type = try reader.tableType()
        check(type, at: start)
        module.tables.append(type)
        descriptor = .table(type)
      case 2:
        let type = MemoryType(limits: try reader.limits(of: "memory"))
        addMemory(type, at: start)
        descriptor = .memory(type)
      case 3:
        let type = try reader.globalType()
        module.globals.append(type)
        descriptor = .global(type)
      case 4: throw WasmError(.unsupported(.exceptionHandling), at: start, "import of a tag")
      case let kind: throw WasmError(.malformed, at: start, "malformed import kind \(kind)")
      }
      module.imports.append(Import(module: moduleName, name: name, descriptor: descriptor))
    }
    module.importedFunctionCount = module.functions.count
    module.importedTableCount = module.tables.count
    module.importedMemoryCount = module.memories.count
    module.importedGlobalCount = module.globals.count
  }

  /// Reads the type index of a function, and adds the function.
  @discardableResult
  private mutating func functionTypeIndex(_ reader: inout BinaryReader) throws(WasmError) -> UInt32 {
    let start = reader.offset
    let index = try reader.u32()
    if Int(index) >= module.types.count { reject(start, "unknown type \(index)") }
    module.functions.append(index)
    return index
  }

  private mutating func functionSection(_ reader: inout BinaryReader) throws(WasmError) {
    let limit = Implementation.maximumFunctions - min(module.functions.count, Implementation.maximumFunctions)
    definedFunctionCount = try reader.count(of: "functions", limit: limit)
    for _ in 0..<definedFunctionCount { try functionTypeIndex(&reader) }
  }

  private mutating func tableSection(_ reader: inout BinaryReader) throws(WasmError) {
    let limit = Implementation.maximumTables - min(module.tables.count, Implementation.maximumTables)
    for _ in 0..<(try reader.count(of: "tables", entrySize: 3, limit: limit)) {
      let start = reader.offset
      let type = try reader.tableType()
      check(type, at: start)
      module.tables.append(type)
    }
  }

  private mutating func memorySection(_ reader: inout BinaryReader) throws(WasmError) {
    for _ in 0..<(try reader.count(of: "memories", entrySize: 2, limit: .max)) {
      let start = reader.offset
      addMemory(MemoryType(limits: try reader.limits(of: "memory")), at: start)
    }
  }

  private mutating func addMemory(_ type: MemoryType, at offset: Int) {
    let limits = type.limits
    let most = MemoryType.maximumPages32
    if limits.minimum > most || limits.maximum ?? 0 > most {
      reject(offset, "memory size must be at most 65536 pages (4 GiB)")
    }
    check(limits, at: offset)
    if module.memories.count == 1, deferred == nil {
      deferred = WasmError(.unsupported(.multiMemory), at: offset, "a second memory")
    }
    // The list stays short whatever the module says, since a second one ends in an error anyway.
    if module.memories.count < 2 { module.memories.append(type) }
  }

  private mutating func check(_ type: TableType, at offset: Int) {
    if type.limits.minimum > UInt32.max || type.limits.maximum ?? 0 > UInt32.max {
      reject(offset, "table size must be at most 2^32-1 elements")
    }
    check(type.limits, at: offset)
  }

  private mutating func check(_ limits: Limits, at offset: Int) {
    if let maximum = limits.maximum, maximum < limits.minimum {
      reject(offset, "size minimum must not be greater than maximum: \(limits.minimum) and \(maximum)")
    }
  }

  private mutating func globalSection(_ reader: inout BinaryReader) throws(WasmError) {
    let limit = Implementation.maximumGlobals - min(module.globals.count, Implementation.maximumGlobals)
    for _ in 0..<(try reader.count(of: "globals", entrySize: 3, limit: limit)) {
      let type = try reader.globalType()
      let initializer = try constantExpression(&reader, of: type.value)
      // Only now is it known, so an initial value can refer to earlier globals only.
      module.globals.append(type)
      module.globalInitializers.append(initializer)
    }
  }

  // MARK: Exports and start

  private mutating func exportSection(_ reader: inout BinaryReader) throws(WasmError) {
    let count = try reader.count(of: "exports", entrySize: 3, limit: Implementation.maximumExports)
    var names: Set<ExactName> = []
    for _ in 0..<count {
      let start = reader.offset
      let name = try reader.name()
      let kindOffset = reader.offset
      let kindByte = try reader.byte()
      guard let kind = ExternalKind(rawValue: kindByte) else {
        throw kindByte == 4
          ? WasmError(.unsupported(.exceptionHandling), at: kindOffset, "export of a tag")
          : WasmError(.malformed, at: kindOffset, "malformed export kind \(kindByte)")
      }
      let index = try reader.u32()
      if !names.insert(ExactName(name)).inserted { reject(start, "duplicate export name \"\(name.printable)\"") }
      let known =
        switch kind {
        case .function: module.functions.count
        case .table: module.tables.count
        case .memory: module.memories.count
        case .global: module.globals.count
        }
      if Int(index) >= known { reject(kindOffset, "unknown \(kind) \(index) in export \"\(name.printable)\"") }
      if kind == .function { noteReference(index) }
      module.exports.append(Export(name: name, kind: kind, index: index))
    }
  }

  private mutating func startSection(_ reader: inout BinaryReader) throws(WasmError) {
    let start = reader.offset
    let index = try reader.u32()
    module.start = index
    guard Int(index) < module.functions.count else { return reject(start, "unknown function \(index)") }
    let type = Int(module.functions[Int(index)])
    guard type < module.types.count else { return }
    let signature = module.types.signature(UInt32(type))
    if signature.parameterCount != 0 || signature.resultCount != 0 {
      reject(start, "start function must have type [] -> [], has \(module.types[type])")
    }
  }

  // MARK: Code

  private mutating func codeSection(_ reader: inout BinaryReader) throws(WasmError) {
    let start = reader.offset
    let count = try reader.count(of: "function bodies", entrySize: 1, limit: Implementation.maximumFunctions)
    guard count == definedFunctionCount else {
      throw WasmError(
        .malformed, at: start,
        "function and code section have inconsistent lengths: \(definedFunctionCount) and \(count)")
    }
    module.bodies.reserveCapacity(count)
    module.codeSection = start..<reader.endOffset
    for _ in 0..<count {
      let start = reader.offset
      let size = try reader.u32()
      guard let body = reader.split(size) else {
        throw WasmError(
          .malformed, at: start,
          "\(BinaryReader.unexpectedEndMessage): a body of \(size) bytes, \(reader.remaining) left")
      }
      guard size <= Implementation.maximumBodySize else {
        throw WasmError(
          .limit, at: start, "a function body of \(size) bytes, at most \(Implementation.maximumBodySize)")
      }
      module.bodies.append(FunctionBody(body: body.offset..<body.endOffset))
    }
  }
}

/// The sections, with their identifiers as raw values.
enum Section: UInt8, CustomStringConvertible {
  case custom, type, `import`, function, table, memory, global, export, start, element, code, data, dataCount

  /// The place in a module, from 1. The data count comes before the code although its identifier came last.
  var order: Int {
    switch self {
    case .dataCount: 10
    case .code: 11
    case .data: 12
    default: Int(rawValue)
    }
  }

  var description: String {
    switch self {
    case .custom: "custom"
    case .type: "type"
    case .import: "import"
    case .function: "function"
    case .table: "table"
    case .memory: "memory"
    case .global: "global"
    case .export: "export"
    case .start: "start"
    case .element: "element"
    case .code: "code"
    case .data: "data"
    case .dataCount: "data count"
    }
  }
}
