// The pieces of a loaded text, with names: what debuggers and profilers are told.

import PrecastArtifact
import PrecastLoader

/// A function, trampoline or stub in a loaded text.
struct CodePiece {
  var textOffset: UInt32
  var size: UInt32
  /// What it is called: by the name section, or as in the artifact's symbol table.
  var name: String
  /// Wasm offset of a function's body.
  var wasmOffset: UInt32?
}

extension LoadedArtifact {
  /// All code, in no particular order. What cannot be read is left out.
  func codePieces() -> [CodePiece] {
    guard let info = try? moduleInfo() else { return [] }
    var pieces: [CodePiece] = []
    pieces.reserveCapacity(info.definedFunctionCount)
    let names = try? artifact.names()
    for row in 0..<info.definedFunctionCount {
      guard let function = try? info.definedFunction(row) else { continue }
      let index = info.importedFunctionCount + row
      let name = (try? names?.function(index)) ?? nil
      pieces.append(
        CodePiece(
          textOffset: function.textOffset, size: function.size,
          name: name.map { Self.symbol($0) } ?? "wasm[0]::function[\(index)]", wasmOffset: function.wasmOffset))
    }
    for type in 0..<info.typeCount {
      for (range, side) in [
        (try? info.entryTrampoline(type: type), "enter"), (try? info.exitTrampoline(type: type), "exit"),
      ] {
        guard let range = range ?? nil, range.size > 0 else { continue }
        pieces.append(
          CodePiece(textOffset: range.textOffset, size: range.size, name: "wasm[0]::trampoline[\(type)]::\(side)"))
      }
    }
    return pieces.filter { $0.size > 0 && Int($0.textOffset) + Int($0.size) <= textSize }
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
