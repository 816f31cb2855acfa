// The steps of loading objects, for whoever wants to know what takes the time.
//
// Each is told when it has ended. Those up to `relocations` are the linker's, the others the loader's, which makes an
// artifact of the result.

/// What has been done of a link.
package enum LinkStep: Int, Sendable, CaseIterable {
  /// Headers of objects and sections, pieces of code, symbols.
  case symbols
  /// The places of all code and data, and what takes room besides.
  case layout
  /// Code and data copied, references in them resolved, unwind entries.
  case relocations
  /// The wasm module's tables, the symbol table, headers.
  case tables
  /// Checksums and build-id, and the bytes in sealed memory.
  case sums
  /// Mapped, protected, entered in the map of code, known to the unwinder.
  case mapping
}
