/// The host functions that generated code calls for what it cannot do inline.
///
/// The raw value is the index in the table of pointers that the instance's context points to
/// (`ContextLayout.builtinTable`). All are called by the platform's C convention, take and return
/// integers and pointers only, and have the instance's context as their first argument.
/// A *status* is 0 for success; anything else makes the generated code trap with the built-in's
/// one trap code (memory operations: `memoryOutOfBounds`, table operations: `tableOutOfBounds`).
/// Indices and lengths are zero-extended to 64 bits.
public enum Builtin: Int, Sendable, CaseIterable {
  /// `(context, memory, pages) -> Int64`: previous size in pages, or -1.
  case memoryGrow = 0
  /// `(context, memory, destination, value, length) -> status`
  case memoryFill = 1
  /// `(context, destinationMemory, sourceMemory, destination, source, length) -> status`
  case memoryCopy = 2
  /// `(context, memory, segment, destination, source, length) -> status`
  case memoryInit = 3
  /// `(context, segment)`
  case dataDrop = 4
  /// `(context, table, initialValue, delta) -> Int64`: previous size in elements, or -1.
  case tableGrow = 5
  /// `(context, table, start, value, length) -> status`
  case tableFill = 6
  /// `(context, destinationTable, sourceTable, destination, source, length) -> status`
  case tableCopy = 7
  /// `(context, table, segment, destination, source, length) -> status`
  case tableInit = 8
  /// `(context, segment)`
  case elementDrop = 9
  /// `(context, function) -> pointer to a function reference`
  case functionReference = 10
  /// `(context, table, index) -> tagged table element`; the index has been checked.
  case tableResolve = 11
}
