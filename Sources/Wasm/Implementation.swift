// Limits of this implementation, where the specification sets none (Core A.2).
//
// They are those that browsers agreed on for their JavaScript API, or wider, so that a module that runs elsewhere is not
// refused here. What they buy is that no count in a binary can ask for memory or time out of proportion to its size.

/// The limits that give an error of kind ``WasmError/Kind/limit``.
public enum Implementation {
  /// Bytes of a binary: wasm offsets are 32-bit everywhere.
  public static let maximumModuleSize = Int(UInt32.max)
  /// Bytes of one function body.
  public static let maximumBodySize = 7_654_321
  /// Locals of a function, parameters included.
  public static let maximumLocals = 50_000
  /// Parameters of a function type.
  public static let maximumParameters = 1_000
  /// Results of a function type.
  public static let maximumResults = 1_000
  /// Function types of a module.
  public static let maximumTypes = 1_000_000
  /// Functions of a module, imported ones included.
  public static let maximumFunctions = 1_000_000
  /// Imports of a module.
  public static let maximumImports = 1_000_000
  /// Exports of a module.
  public static let maximumExports = 1_000_000
  /// Globals of a module, imported ones included.
  public static let maximumGlobals = 1_000_000
  /// Tables of a module, imported ones included.
  public static let maximumTables = 100_000
  /// Data segments of a module.
  public static let maximumDataSegments = 1_000_000
  /// Element segments of a module.
  public static let maximumElementSegments = 1_000_000
  /// Elements of one element segment.
  public static let maximumSegmentElements = 10_000_000
  /// Values on a function's operand stack, counted in dead code too.
  public static let maximumOperandStack = 1_000_000
  /// Bytes of a name of an import or export.
  public static let maximumNameSize = 100_000
}
