// What a compiler hands over for an unlinked object: an artifact's input, and the code in pieces.
//
// A piece is what a linker may move: a function, a trampoline, an adapter, a stub. All that the pieces leave open is in their
// relocations, whose symbol numbers are the compiler's own; each piece says which of them it defines, and what none
// defines is undefined in the object and has a name. Code and relocations are pointers into the compiler's memory, as the
// text of an artifact is.

public import PrecastMachineCode

/// What a piece of code is, as its symbol says it.
public enum PieceName: Sendable, BitwiseCopyable {
  /// A function of the module, by its index (imported ones counted first).
  case function(index: Int)
  /// The adapter of an imported function to the platform's calling convention; its symbol by position in
  /// `ObjectInput.externals`.
  case adapter(importedFunction: Int, external: Int)
  /// The trampoline from the host into functions of a type.
  case entryTrampoline(type: Int)
  /// The trampoline out to host functions of a type.
  case exitTrampoline(type: Int)
  /// Other code; a name in ASCII.
  case stub(StaticString)
}

/// A piece of code with its relocations.
@safe
public struct ObjectPiece: @unchecked Sendable {
  /// What it is.
  public var name: PieceName
  /// Number by which relocations refer to it.
  public var symbol: UInt32
  /// Nominal text offset (Docs/Format.md, "The unlinked object"), in bytes.
  public var textOffset: UInt32
  /// Size in bytes.
  public var size: UInt32
  /// What offsets of relocations count from, in bytes before the piece.
  public var relocationBase: UInt32
  /// Whether the bytes between the piece before and this one are filler in the same buffer.
  public var isAdjacent: Bool
  // Read by the writer only, within `size` and the count.
  let base: UnsafeRawPointer
  let relocations: UnsafeBufferPointer<Relocation>

  /// The piece of `size` bytes at `base`. Code and relocations stay there until the object is written; fields that
  /// relocations refer to are zero.
  @unsafe
  public init(
    name: PieceName, symbol: UInt32, textOffset: UInt32, base: UnsafeRawPointer, size: UInt32,
    relocations: UnsafeBufferPointer<Relocation>, relocationBase: UInt32, isAdjacent: Bool
  ) {
    self.name = name
    self.symbol = symbol
    self.textOffset = textOffset
    self.size = size
    self.relocationBase = relocationBase
    self.isAdjacent = isAdjacent
    unsafe self.base = base
    unsafe self.relocations = relocations
  }
}

/// A symbol that the object leaves undefined.
public struct ExternalSymbol: Sendable, Equatable {
  /// Its name: not empty, without zero bytes.
  public var name: String
  /// Number by which relocations refer to it.
  public var symbol: UInt32

  /// Creates a description.
  public init(name: String, symbol: UInt32) {
    self.name = name
    self.symbol = symbol
  }
}

/// Everything that goes into an unlinked object.
public struct ObjectInput: Sendable {
  /// The module and its tables, with nominal text offsets. `text` is not looked at; `ehFrame` is as for a text of
  /// `textSize`, with one FDE for each piece, in their order.
  public var contents: ArtifactInput
  /// All code, by ascending nominal offset: the functions first, in index order.
  public var pieces: [ObjectPiece] = []
  /// What the code refers to and does not define, in ascending order of the bytes of the names.
  public var externals: [ExternalSymbol] = []
  /// Whether each piece gets a section of its own, `.text.NAME`, instead of one `.text` for all.
  public var hasFunctionSections = false

  /// An object without code.
  public init(_ contents: ArtifactInput) { self.contents = contents }
}
