// The pieces of a loaded text, with names: what debuggers and profilers are told.
//
// Functions and trampolines stand in the module's tables, which know the names that the module gives. Everything else that can
// be executed has a symbol and nothing more: adapters of bound imports, stubs, islands of veneers, and the functions of C
// that were linked with the module.

import PrecastArtifact
import PrecastLoader

/// A function, trampoline, stub or anything else in a loaded text.
struct CodePiece {
  var textOffset: UInt32
  var size: UInt32
  /// What it is called: by the name section, or as in the artifact's symbol table.
  var name: String
  /// Wasm offset of a function's body.
  var wasmOffset: UInt32?
}

extension LoadedArtifact {
  /// All code, no two pieces from the same place, in no particular order. What cannot be read is left out.
  func codePieces() -> [CodePiece] {
    var pieces: [CodePiece] = []
    var known: Set<UInt32> = []
    func add(_ piece: CodePiece) {
      guard piece.size > 0, Int(piece.textOffset) + Int(piece.size) <= textSize else { return }
      if known.insert(piece.textOffset).inserted { pieces.append(piece) }
    }
    // Not there for objects without a wasm module.
    if let info = try? moduleInfo() {
      pieces.reserveCapacity(info.definedFunctionCount)
      known.reserveCapacity(info.definedFunctionCount)
      let names = try? artifact.names()
      for row in 0..<info.definedFunctionCount {
        guard let function = try? info.definedFunction(row) else { continue }
        let index = info.importedFunctionCount + row
        let name = (try? names?.function(index)) ?? nil
        add(
          CodePiece(
            textOffset: function.textOffset, size: function.size,
            name: name.map { Self.symbol($0) } ?? "wasm[0]::function[\(index)]", wasmOffset: function.wasmOffset))
      }
      for type in 0..<info.typeCount {
        for (range, side) in [
          (try? info.entryTrampoline(type: type), "enter"), (try? info.exitTrampoline(type: type), "exit"),
        ] {
          guard let range = range ?? nil else { continue }
          add(CodePiece(textOffset: range.textOffset, size: range.size, name: "wasm[0]::trampoline[\(type)]::\(side)"))
        }
      }
    }
    try? forEachCodeSymbol(add)
    return pieces
  }

  /// Calls `body` with each symbol of a function in the text (gABI, "Symbol Table").
  private func forEachCodeSymbol(_ body: (CodePiece) -> Void) throws(ArtifactError) {
    guard let symbols = try artifact.section(.symbols), let strings = try artifact.section(.strings) else { return }
    let text = header.text
    for at in stride(from: 0, to: symbols.count - Int(ELF.symbolSize) + 1, by: Int(ELF.symbolSize)) {
      // STT_FUNC, and with a place.
      guard try symbols.u8(at + 4) & 0xF == 2, (1..<0xFF00).contains(try symbols.u16(at + 6)) else { continue }
      let value = try symbols.u64(at + 8)
      guard value >= text.offset, value < text.end, let offset = UInt32(exactly: value - text.offset),
        let size = UInt32(exactly: try symbols.u64(at + 16)), size > 0
      else { continue }
      let name = try Self.name(at: Int(symbols.u32(at)), in: strings)
      if !name.isEmpty { body(CodePiece(textOffset: offset, size: size, name: Self.symbol(name), wasmOffset: nil)) }
    }
  }

  /// A string of a string table, or the beginning of a very long one: many symbols may share it.
  private static func name(at offset: Int, in strings: ByteRegion) throws(ArtifactError) -> String {
    var count = 0
    while count < 1 << 14, offset + count < strings.count, try strings.u8(offset + count) != 0 { count += 1 }
    return try strings.string(offset, count)
  }

  /// A name that can stand in a symbol table and on a line of its own.
  private static func symbol(_ name: String) -> String {
    var text = ""
    for scalar in name.unicodeScalars {
      let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
      text.unicodeScalars.append(isControl ? "?" : scalar)
    }
    return text
  }
}
