// What unlinked objects have that artifacts have not. (Docs/Format.md, "The unlinked object")
//
//     .wasmtime.functions: a row for each piece of code, by ascending nominal text offset
//      0  distance of the piece from this field (Int64, relocated)
//      8  nominal text offset (UInt32)
//     12  size in bytes (UInt32)

/// Names and numbers of unlinked objects.
public enum ObjectFormat {
  /// The section that lists the pieces of code.
  public static let piecesName = ".wasmtime.functions"
  /// Size of a row of it in bytes.
  public static let pieceRow = 16
  /// Alignment of pieces in the nominal text, in bytes.
  public static let pieceAlignment = 16
}
