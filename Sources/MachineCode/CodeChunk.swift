/// Finished code on its way from a compiler thread to the text section.
///
/// Each worker assembles a run of functions into its own buffer and hands the whole run over at
/// once: one object for hundreds of functions, and no byte is copied again until the section is
/// written. The layout resolves calls in place here, so whoever writes the section out writes
/// straight from these chunks.

/// A run of functions' code with its relocations, owned.
///
/// Sent from the thread that made it to the one that lays out the text: never used by two at a
/// time, which is what makes `@unchecked Sendable` right.
public final class CodeChunk: @unchecked Sendable {
  /// The code.
  public var code: CodeBuffer
  /// Its relocations in order of offset, which counts from the start of `code`.
  public var relocations: FlatBuffer<Relocation>

  /// A chunk that takes over `code` and `relocations`.
  public init(code: consuming CodeBuffer, relocations: consuming FlatBuffer<Relocation>) {
    self.code = code
    self.relocations = relocations
  }
}

extension X86_64Assembler {
  /// Gives away what has been assembled, and starts an empty chunk.
  public mutating func takeChunk() -> CodeChunk {
    resetLabels()
    return CodeChunk(code: code.extract(), relocations: relocations.extract())
  }
}
