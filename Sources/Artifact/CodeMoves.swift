// Moving code, and what the tables say of it.
//
// The tables of an unlinked object speak of pieces of code by nominal text offsets: those of a layout one behind
// the other. A linker places them as it likes, with islands between, or code of other objects before them. All tables about
// code are relative to functions, so what changes is few: the starts of functions, trampolines and adapters in
// `.wasmtime.info`, and the first words of the rows of the indices in `.wasmtime.addrmap` and `.wasmtime.traps`. That
// is done here, in the bytes as they will be mapped.
//
// Pieces keep their order, and so do the rows that are searched by text offset. The bytes come from an object, so
// nothing in them is taken for granted.

/// Where pieces of code have gone: from nominal text offsets to those of the result.
public struct CodeMoves: Sendable {
  private struct Move {
    var nominalOffset: UInt64
    var size: UInt64
    var textOffset: UInt64
  }

  private var moves: [Move] = []

  /// Nothing has moved anywhere.
  public init() {}

  /// Adds a stretch of code that was moved as one; by ascending nominal offset.
  public mutating func append(nominalOffset: UInt64, size: UInt64, textOffset: UInt64) {
    moves.append(Move(nominalOffset: nominalOffset, size: size, textOffset: textOffset))
  }

  /// Where code of a size went that started at `nominalOffset`, if it stayed together; `hint` is where to look first, and
  /// then where it was found: rows that ascend are found at once.
  private func target(_ nominalOffset: UInt32, size: UInt32, _ hint: inout Int) -> UInt32? {
    let offset = UInt64(nominalOffset)
    let size = UInt64(size)
    if hint >= moves.count || !contains(hint, offset, size) {
      if hint + 1 < moves.count && contains(hint + 1, offset, size) {
        hint += 1
      } else {
        var low = 0
        var high = moves.count
        while low < high {
          let middle = (low + high) / 2
          if moves[middle].nominalOffset <= offset { low = middle + 1 } else { high = middle }
        }
        hint = max(0, low - 1)
        guard hint < moves.count, contains(hint, offset, size) else { return nil }
      }
    }
    return UInt32(exactly: moves[hint].textOffset &+ (offset - moves[hint].nominalOffset))
  }

  private func contains(_ index: Int, _ offset: UInt64, _ size: UInt64) -> Bool {
    guard offset >= moves[index].nominalOffset else { return false }
    let distance = offset - moves[index].nominalOffset
    return distance < moves[index].size && size <= moves[index].size - distance
  }

  /// Rewrites the text offsets in a section, in place; sections that have none stay as they are.
  ///
  /// - Parameters:
  ///   - kind: which section it is.
  ///   - bytes: its contents.
  /// - Throws: `ArtifactError` for tables that cannot be read, or that speak of code that was not moved.
  @unsafe
  public func apply(to kind: SectionKind, _ bytes: UnsafeMutableRawBufferPointer) throws(ArtifactError) {
    guard let base = bytes.baseAddress else { return }
    let region = unsafe ByteRegion(base: base, count: bytes.count, section: kind)
    var hint = 0
    // A text offset, with the size of the code behind it if there is one.
    func move(_ offset: Int, hasSize: Bool = true, orNone: Bool = false) throws(ArtifactError) {
      let nominal = try region.u32(offset)
      if orNone && nominal == UInt32.max { return }
      let size = hasSize ? try region.u32(offset + 4) : 0
      guard let target = target(nominal, size: size, &hint) else {
        let what = hasSize ? "no code of \(size) bytes" : "no code"
        throw region.damaged(offset, "\(what) at nominal text offset \(hexadecimal(UInt64(nominal)))")
      }
      // In bounds: the four bytes have been read.
      unsafe bytes.storeBytes(of: target.littleEndian, toByteOffset: offset, as: UInt32.self)
    }
    switch kind {
    case .info:
      let info = try ModuleInfo(region)
      for index in 0..<info.definedFunctionCount { try move(info.row(.functions, index)) }
      for index in 0..<info.typeCount {
        let row = try info.row(.types, index)
        try move(row + 16, orNone: true)
        try move(row + 24, orNone: true)
      }
      // Rows without room for an adapter have none.
      if InfoTable.importedFunctions.rowSize > 4 {
        for index in 0..<info.importedFunctionCount { try move(info.row(.importedFunctions, index) + 4, orNone: true) }
      }
    case .addressMap, .traps:
      let table = try RunTable(region, kind: kind == .traps ? .traps : .addressMap)
      let index = Int(try region.u32(24))
      for row in 0..<table.runCount { try move(index + row * RunTableLayout.indexRow, hasSize: false) }
    default: break
    }
  }
}
