// A decoded module: every section but the function bodies, which are ranges of the binary.
//
// Index spaces are flat arrays with imports first, as the specification numbers them, since everything else in the
// format refers to things by those numbers. Whatever a hostile binary can have a million of is stored as plain data in
// arrays of its own size's order.

/// An import.
public struct Import: Sendable, Hashable {
  /// The first of the two names.
  public var module: String
  /// The second of the two names.
  public var name: String
  /// What is imported, and of which type.
  public var descriptor: ImportDescriptor
}

/// What an import imports.
public enum ImportDescriptor: Sendable, Hashable {
  /// A function of the type with this index.
  case function(typeIndex: UInt32)
  /// A table.
  case table(TableType)
  /// A memory.
  case memory(MemoryType)
  /// A global.
  case global(GlobalType)
}

/// An export. Names are unique in a module.
public struct Export: Sendable, Hashable {
  /// The name.
  public var name: String
  /// The kind of thing exported.
  public var kind: ExternalKind
  /// Its index in the index space of its kind.
  public var index: UInt32
}

/// One step of a constant expression, which runs on a stack of values.
///
/// Spec: Core 3.3.10, "Constant Expressions", with the extended-const proposal.
public enum ConstantInstruction: Sendable, Hashable, BitwiseCopyable {
  /// Push an `i32`.
  case i32Const(Int32)
  /// Push an `i64`.
  case i64Const(Int64)
  /// Push an `f32` of these bits.
  case f32Const(bits: UInt32)
  /// Push an `f64` of these bits.
  case f64Const(bits: UInt64)
  /// Push a null of this reference type.
  case refNull(ValueType)
  /// Push a reference to the function with this index.
  case refFunction(UInt32)
  /// Push the value of the global with this index: an immutable one that is imported or defined before.
  case globalGet(UInt32)
  /// Pop two `i32`, push their sum.
  case i32Add
  /// Pop two `i32`, push their difference.
  case i32Sub
  /// Pop two `i32`, push their product.
  case i32Mul
  /// Pop two `i64`, push their sum.
  case i64Add
  /// Pop two `i64`, push their difference.
  case i64Sub
  /// Pop two `i64`, push their product.
  case i64Mul
}

/// A validated constant expression: a range of ``WasmModule/constantInstructions``, without the closing `end`.
public struct ConstantExpression: Sendable, Hashable, BitwiseCopyable {
  /// Index of the first instruction.
  public var start: UInt32
  /// Number of instructions; at least one.
  public var count: UInt32

  /// The instructions' indices in ``WasmModule/constantInstructions``.
  public var range: Range<Int> { Int(start)..<Int(start) + Int(count) }
}

/// A global that the module defines, with its initial value.
public struct GlobalDefinition: Sendable, Hashable {
  /// The type.
  public var type: GlobalType
  /// The initial value.
  public var initializer: ConstantExpression
}

/// An element segment: references for tables.
public struct ElementSegment: Sendable, Hashable {
  /// What happens to a segment when the module is instantiated.
  public enum Mode: Sendable, Hashable {
    /// It is copied into a table, then dropped.
    case active(table: UInt32, offset: ConstantExpression)
    /// It waits for `table.init`.
    case passive
    /// It only declares that its functions are referred to.
    case declarative
  }
  /// The elements: function indices, or one constant expression each.
  public enum Items: Sendable, Hashable {
    /// Indices of functions.
    case functions([UInt32])
    /// Expressions that give references.
    case expressions([ConstantExpression])

    /// The number of elements.
    public var count: Int {
      switch self {
      case .functions(let indices): indices.count
      case .expressions(let expressions): expressions.count
      }
    }
  }
  /// What happens to it.
  public var mode: Mode
  /// The type of the elements.
  public var type: ValueType
  /// The elements.
  public var items: Items
}

/// A data segment: bytes for memories.
public struct DataSegment: Sendable, Hashable {
  /// What happens to a segment when the module is instantiated.
  public enum Mode: Sendable, Hashable {
    /// It is copied into a memory, then dropped.
    case active(memory: UInt32, offset: ConstantExpression)
    /// It waits for `memory.init`.
    case passive
  }
  /// What happens to it.
  public var mode: Mode
  /// Wasm offsets of its bytes.
  public var bytes: Range<Int>
}

/// The body of a function that the module defines.
public struct FunctionBody: Sendable, Hashable {
  /// Wasm offsets of local declarations and code: what follows the size field.
  public var body: Range<Int>
}

/// A custom section.
public struct CustomSection: Sendable, Hashable {
  /// Its name.
  public var name: String
  /// Wasm offsets of its contents, after the name.
  public var range: Range<Int>
}

/// A module, decoded and validated except for its function bodies.
///
/// Spec: Core 2.5, "Modules", and 5.5, "Modules" (binary format).
public struct WasmModule: Sendable {
  /// The function types.
  public internal(set) var types = FunctionTypes(pool: FunctionTypes.singles, signatures: [])
  /// The imports, in order.
  public internal(set) var imports: [Import] = []
  /// The type index of every function, imported ones first.
  public internal(set) var functions: [UInt32] = []
  /// The type of every table, imported ones first.
  public internal(set) var tables: [TableType] = []
  /// The type of every memory, imported ones first.
  public internal(set) var memories: [MemoryType] = []
  /// The type of every global, imported ones first.
  public internal(set) var globals: [GlobalType] = []
  /// The initial values of the globals that the module defines: of global `importedGlobalCount + i`.
  public internal(set) var globalInitializers: [ConstantExpression] = []
  /// The exports, in order.
  public internal(set) var exports: [Export] = []
  /// The index of the start function.
  public internal(set) var start: UInt32?
  /// The element segments.
  public internal(set) var elements: [ElementSegment] = []
  /// The data segments.
  public internal(set) var data: [DataSegment] = []
  /// What the data count section says; absent without that section.
  public internal(set) var dataCount: UInt32?
  /// The bodies of the functions that the module defines: of function `importedFunctionCount + i`.
  public internal(set) var bodies: [FunctionBody] = []
  /// Wasm offsets of the code section's contents: where DWARF counts addresses from. Nil without that section.
  public internal(set) var codeSection: Range<Int>?
  /// The custom sections, in order.
  public internal(set) var customSections: [CustomSection] = []
  /// The instructions of all constant expressions.
  public internal(set) var constantInstructions: [ConstantInstruction] = []
  /// How many of ``functions`` are imported.
  public internal(set) var importedFunctionCount = 0
  /// How many of ``tables`` are imported.
  public internal(set) var importedTableCount = 0
  /// How many of ``memories`` are imported.
  public internal(set) var importedMemoryCount = 0
  /// How many of ``globals`` are imported.
  public internal(set) var importedGlobalCount = 0

  /// One bit for each function: whether it is referred to outside of bodies.
  var referenced: [UInt64] = []

  /// What validating function bodies needs of all this.
  var validationTables = ValidationTables()

  init() {}

  /// The value types that function and block types are ranges of.
  public var typePool: FixedBuffer<ValueType> { types.pool }

  /// The type of a function, by function index.
  public func type(ofFunction index: Int) -> FunctionType { types[Int(functions[index])] }

  /// The instructions of a constant expression.
  public func instructions(of expression: ConstantExpression) -> ArraySlice<ConstantInstruction> {
    constantInstructions[expression.range]
  }

  /// Whether code may take a reference to a function: whether it occurs in the module outside of function bodies and
  /// the start section. Exported functions do.
  public func isReferenced(function index: UInt32) -> Bool {
    let word = Int(index >> 6)
    return word < referenced.count && referenced[word] >> UInt64(index & 63) & 1 != 0
  }
}
