// The part of a module that instructions refer to, in a form made for a million lookups a second.

/// Index spaces as bounds-checked flat buffers, made once for a module and shared by all validators.
struct ValidationTables: Sendable {
  var types = FunctionTypes(pool: FunctionTypes.singles, signatures: [])
  /// Type index by function index.
  var functions = FixedBuffer<UInt32>([])
  var globals = FixedBuffer<GlobalType>([])
  /// Element type by table index.
  var tables = FixedBuffer<ValueType>([])
  /// Element type by element segment index.
  var elements = FixedBuffer<ValueType>([])
  /// A bit for each function that code may refer to; may be shorter than there are functions.
  var referenced = FixedBuffer<UInt64>([])
  var memoryCount: UInt32 = 0
  /// `nil` without a data count section.
  var dataCount: UInt32?

  init() {}

  init(_ module: WasmModule) {
    types = module.types
    functions = FixedBuffer(module.functions)
    globals = FixedBuffer(module.globals)
    tables = FixedBuffer(module.tables.map(\.element))
    elements = FixedBuffer(module.elements.map(\.type))
    referenced = FixedBuffer(module.referenced)
    memoryCount = UInt32(module.memories.count)
    dataCount = module.dataCount
  }
}
