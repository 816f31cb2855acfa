// Builds `.wasmtime.info` (InfoLayout.swift) out of a decoded module.
//
// Tables are written one after another straight into the section. Only names need a second place,
// since they come last: they are gathered on the side as their rows are written.

public import PrecastMachineCode
public import PrecastWasm

/// Builds `.wasmtime.info`.
public struct ModuleInfoBuilder: ~Copyable {
  private let module: WasmModule
  private let image: DataImagePlan
  private var section: CodeBuffer
  private var strings: CodeBuffer

  /// The section of a module.
  ///
  /// - Parameters:
  ///   - module: the module.
  ///   - functions: where each defined function stands in the text, in index order.
  ///   - trampolines: entry and exit trampoline by type index; may be shorter than the number of types.
  ///   - adapters: of imported functions that are bound to symbols, ascending by index.
  ///   - image: where its data goes.
  public static func encoded(
    module: WasmModule, functions: [CodeRange], trampolines: [(entry: CodeRange?, exit: CodeRange?)],
    adapters: [ImportAdapter] = [], image: DataImagePlan
  ) -> CodeBuffer {
    var builder = ModuleInfoBuilder(module: module, image: image)
    return builder.build(functions: functions, trampolines: trampolines, adapters: adapters)
  }

  private init(module: WasmModule, image: DataImagePlan) {
    self.module = module
    self.image = image
    section = CodeBuffer(capacity: InfoTable.headerSize + module.bodies.count * 16 + 64 * 1024)
    strings = CodeBuffer(capacity: 4096)
  }

  // Starts a table, whose rows follow.
  private mutating func begin(_ table: InfoTable, count: Int) {
    align()
    let offset = UInt32(truncatingIfNeeded: section.count)
    section.patch32(at: InfoTable.directoryOffset + table.rawValue * 8, offset)
    section.patch32(at: InfoTable.directoryOffset + table.rawValue * 8 + 4, UInt32(truncatingIfNeeded: count))
  }

  private mutating func align() {
    let padding = -section.count & 7
    section.put(repeating: 0, count: padding)
  }

  private mutating func put(_ name: String) {
    section.put32(UInt32(truncatingIfNeeded: strings.count))
    let start = strings.count
    for byte in name.utf8 { strings.put8(byte) }
    section.put32(UInt32(truncatingIfNeeded: strings.count - start))
  }

  private mutating func put(_ range: CodeRange?) {
    section.put32(range?.textOffset ?? InfoTable.absent)
    section.put32(range?.size ?? 0)
  }

  private mutating func put(_ expression: ConstantExpression?) {
    section.put32(expression?.start ?? 0)
    section.put32(expression?.count ?? 0)
  }

  private mutating func build(
    functions: [CodeRange], trampolines: [(entry: CodeRange?, exit: CodeRange?)], adapters: [ImportAdapter]
  ) -> CodeBuffer {
    section.put(repeating: 0, count: InfoTable.headerSize)
    for (field, value) in [
      InfoTable.magic, UInt32(InfoTable.allCases.count), module.start ?? InfoTable.absent,
      UInt32(module.importedFunctionCount), UInt32(module.importedTableCount), UInt32(module.importedMemoryCount),
      UInt32(module.importedGlobalCount),
    ].enumerated() {
      section.patch32(at: field * 4, value)
    }
    buildTypes(trampolines)
    buildImportedFunctions(adapters)
    buildFunctions(functions)
    buildImports()
    buildExports()
    buildTables()
    buildMemories()
    buildGlobals()
    buildElements()
    buildData()
    buildActive(.activeElements, image.elements)
    buildActive(.activeData, image.segments.map(\.mode))
    let names = strings.extract()
    begin(.strings, count: names.count)
    names.withBytes { section.put(contentsOf: $0) }
    align()
    return section.extract()
  }

  private mutating func buildTypes(_ trampolines: [(entry: CodeRange?, exit: CodeRange?)]) {
    let equal = module.types.firstEqual
    var starts: [UInt32] = []
    starts.reserveCapacity(equal.count)
    var pool: [ValueType] = []
    for (index, first) in equal.enumerated() {
      if first == UInt32(index) {
        starts.append(UInt32(pool.count))
        let signature = module.types.signature(first)
        for k in 0..<signature.parameterCount { pool.append(module.types.pool[Int(signature.parameterStart + k)]) }
        for k in 0..<signature.resultCount { pool.append(module.types.pool[Int(signature.resultStart + k)]) }
      } else {
        starts.append(starts[Int(first)])
      }
    }
    begin(.valueTypes, count: pool.count)
    for type in pool { section.put8(type.rawValue) }
    begin(.types, count: starts.count)
    for index in starts.indices {
      let signature = module.types.signature(UInt32(index))
      section.put32(starts[index])
      section.put32(signature.parameterCount)
      section.put32(signature.resultCount)
      section.put32(equal[index])
      let pair = index < trampolines.count ? trampolines[index] : (nil, nil)
      put(pair.0)
      put(pair.1)
    }
  }

  private mutating func buildImportedFunctions(_ adapters: [ImportAdapter]) {
    begin(.importedFunctions, count: module.importedFunctionCount)
    var next = adapters[...]
    for index in 0..<module.importedFunctionCount {
      section.put32(module.functions[index])
      if let adapter = next.first, adapter.importedFunction == index {
        next.removeFirst()
        put(adapter.code)
        put(adapter.symbol)
      } else {
        put(nil as CodeRange?)
        section.put64(0)
      }
    }
  }

  private mutating func buildFunctions(_ functions: [CodeRange]) {
    let count = min(functions.count, module.bodies.count)
    begin(.functions, count: count)
    for index in 0..<count {
      section.put32(functions[index].textOffset)
      section.put32(functions[index].size)
      section.put32(module.functions[module.importedFunctionCount + index])
      section.put32(UInt32(truncatingIfNeeded: module.bodies[index].body.lowerBound))
    }
  }

  private mutating func buildImports() {
    begin(.imports, count: module.imports.count)
    var next: [UInt32] = [0, 0, 0, 0]
    for entry in module.imports {
      let kind: ExternalKind
      switch entry.descriptor {
      case .function: kind = .function
      case .table: kind = .table
      case .memory: kind = .memory
      case .global: kind = .global
      }
      section.put32(UInt32(kind.rawValue))
      section.put32(next[Int(kind.rawValue)])
      next[Int(kind.rawValue)] += 1
      put(entry.module)
      put(entry.name)
    }
  }

  private mutating func buildExports() {
    begin(.exports, count: module.exports.count)
    let order = module.exports.indices.sorted {
      ExactName(module.exports[$0].name) < ExactName(module.exports[$1].name)
    }
    for position in order {
      let export = module.exports[position]
      put(export.name)
      section.put32(export.index)
      section.put32(UInt32(position))
      section.put32(UInt32(export.kind.rawValue))
    }
  }

  private mutating func buildTables() {
    struct Row {
      var table: UInt32
      var element: UInt32
      var count: UInt32
      var first: UInt32
    }
    // The pool of functions is filled in the order of segments; see `buildElements`.
    var rows: [Row] = []
    var pool: UInt32 = 0
    for (index, segment) in module.elements.enumerated() {
      guard case .functions(let functions) = segment.items else { continue }
      if case .active(let table, let offset) = segment.mode, image.elements[index] == .inImage, !functions.isEmpty,
        let start = DataImagePlan.constantOffset(offset, module)
      {
        rows.append(
          Row(table: table, element: UInt32(truncatingIfNeeded: start), count: UInt32(functions.count), first: pool))
      }
      pool += UInt32(functions.count)
    }
    rows.sort { $0.table != $1.table ? $0.table < $1.table : $0.element < $1.element }
    begin(.tables, count: module.tables.count)
    var row = 0
    for (index, table) in module.tables.enumerated() {
      let first = row
      while row < rows.count && rows[row].table == index { row += 1 }
      section.put32(UInt32(table.element.rawValue) | (table.limits.maximum == nil ? 0 : 1 << 8))
      section.put32(UInt32(first))
      section.put32(UInt32(row - first))
      section.put32(0)
      section.put64(table.limits.minimum)
      section.put64(table.limits.maximum ?? 0)
    }
    begin(.tableImages, count: rows.count)
    for row in rows {
      section.put32(row.table)
      section.put32(row.element)
      section.put32(row.count)
      section.put32(row.first)
    }
  }

  private mutating func buildMemories() {
    begin(.memories, count: module.memories.count)
    var extent = 0
    for (index, memory) in module.memories.enumerated() {
      let count = image.extents[index].count
      section.put32(
        (memory.limits.maximum == nil ? 0 : 1) | (memory.isMemory64 ? 2 : 0) | (memory.isShared ? 4 : 0))
      section.put32(UInt32(extent))
      section.put32(UInt32(count))
      section.put32(0)
      section.put64(memory.limits.minimum)
      section.put64(memory.limits.maximum ?? 0)
      extent += count
    }
    begin(.extents, count: extent)
    for extents in image.extents {
      for extent in extents {
        section.put64(extent.memoryOffset)
        section.put64(extent.imageOffset)
        section.put64(extent.size)
      }
    }
  }

  private mutating func buildGlobals() {
    begin(.globals, count: module.globals.count)
    for (index, global) in module.globals.enumerated() {
      section.put32(UInt32(global.value.rawValue) | (global.isMutable ? 1 << 8 : 0))
      let defined = index - module.importedGlobalCount
      put(defined >= 0 && defined < module.globalInitializers.count ? module.globalInitializers[defined] : nil)
      section.put32(0)
    }
    begin(.constants, count: module.constantInstructions.count)
    for instruction in module.constantInstructions {
      var opcode: UInt32 = 0
      var index: UInt32 = 0
      var immediate: UInt64 = 0
      switch instruction {
      case .i32Const(let value): (opcode, immediate) = (0x41, UInt64(UInt32(bitPattern: value)))
      case .i64Const(let value): (opcode, immediate) = (0x42, UInt64(bitPattern: value))
      case .f32Const(let bits): (opcode, immediate) = (0x43, UInt64(bits))
      case .f64Const(let bits): (opcode, immediate) = (0x44, bits)
      case .refNull(let type): opcode = 0xD0 | UInt32(type.rawValue) << 8
      case .refFunction(let function): (opcode, index) = (0xD2, function)
      case .globalGet(let global): (opcode, index) = (0x23, global)
      case .i32Add: opcode = 0x6A
      case .i32Sub: opcode = 0x6B
      case .i32Mul: opcode = 0x6C
      case .i64Add: opcode = 0x7C
      case .i64Sub: opcode = 0x7D
      case .i64Mul: opcode = 0x7E
      }
      section.put32(opcode)
      section.put32(index)
      section.put64(immediate)
    }
  }

  private mutating func buildElements() {
    begin(.elements, count: module.elements.count)
    var functions = 0
    var expressions = 0
    for (index, segment) in module.elements.enumerated() {
      var table: UInt32 = 0
      var offset: ConstantExpression?
      if case .active(let target, let expression) = segment.mode { (table, offset) = (target, expression) }
      let count = segment.items.count
      let start: Int
      let kind: UInt32
      switch segment.items {
      case .functions:
        (kind, start) = (0, functions)
        functions += count
      case .expressions:
        (kind, start) = (1, expressions)
        expressions += count
      }
      section.put32(UInt32(image.elements[index].rawValue) | UInt32(segment.type.rawValue) << 8 | kind << 16)
      section.put32(table)
      put(offset)
      section.put32(UInt32(start))
      section.put32(UInt32(count))
    }
    begin(.elementFunctions, count: functions)
    for segment in module.elements {
      if case .functions(let indices) = segment.items {
        for index in indices { section.put32(index) }
      }
    }
    begin(.elementExpressions, count: expressions)
    for segment in module.elements {
      if case .expressions(let list) = segment.items {
        for expression in list { put(expression) }
      }
    }
  }

  private mutating func buildData() {
    begin(.dataSegments, count: module.data.count)
    for (index, segment) in module.data.enumerated() {
      var memory: UInt32 = 0
      var offset: ConstantExpression?
      if case .active(let target, let expression) = segment.mode { (memory, offset) = (target, expression) }
      let (mode, bytes) = image.segments[index]
      section.put32(UInt32(mode.rawValue))
      section.put32(memory)
      put(offset)
      section.put64(bytes.lowerBound)
      section.put64(bytes.upperBound - bytes.lowerBound)
    }
  }

  // The segments that instantiation has to apply itself.
  private mutating func buildActive(_ table: InfoTable, _ modes: [SegmentMode]) {
    begin(table, count: modes.reduce(0) { $1 == .active ? $0 + 1 : $0 })
    for (index, mode) in modes.enumerated() where mode == .active {
      section.put32(UInt32(truncatingIfNeeded: index))
    }
  }
}
