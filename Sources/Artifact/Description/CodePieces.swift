// What stands in the text: functions, trampolines, and what lies between them.
//
// `.wasmtime.info` lists functions in the order of the text, and trampolines by type. `--functions`, the description of
// `.text`, the disassembly, and everything that names code by its offset want one list of both.

/// A piece of the text that has a name.
public struct CodePiece: Sendable, Equatable {
  /// What the piece is.
  public enum Kind: Sendable, Equatable {
    /// A function of the module.
    case function
    /// The trampoline from the host into functions of a type.
    case entryTrampoline
    /// The trampoline out to host functions of a type.
    case exitTrampoline
    /// The adapter of an imported function that is bound to a symbol.
    case adapter
  }

  /// What it is.
  public var kind: Kind
  /// Index of the function (imported ones counted first), or of the type.
  public var index: Int
  /// Where its code is.
  public var code: CodeRange
  /// Wasm offset of the function's body; nil for a trampoline.
  public var wasmOffset: UInt32?
  /// The function's name, if the module gives one; of an adapter, the symbol that it calls.
  public var name: String?

  /// `function[3]`, `trampoline[2]::enter`, `trampoline[2]::exit`, `adapter[1]`: the index as in symbols.
  public var label: String {
    switch kind {
    case .function: "function[\(index)]"
    case .entryTrampoline: "trampoline[\(index)]::enter"
    case .exitTrampoline: "trampoline[\(index)]::exit"
    case .adapter: "adapter[\(index)]"
    }
  }

  /// The kind in a word, for scripts.
  var kindName: String {
    switch kind {
    case .function: "function"
    case .entryTrampoline: "entry_trampoline"
    case .exitTrampoline: "exit_trampoline"
    case .adapter: "adapter"
    }
  }
}

/// Functions, trampolines and adapters of an artifact, found by index or by text offset.
public struct CodePieces: Sendable {
  let info: ModuleInfo
  private let names: NameTable?
  // Text offset, size and what it is, by text offset. Functions only by number: their rows are read in place.
  private let trampolines: [(kind: CodePiece.Kind, type: Int, code: CodeRange)]

  /// Opens the tables; takes time in proportion to the number of types.
  ///
  /// A table of names that cannot be read counts as absent.
  public init(_ artifact: Artifact) throws(ArtifactError) {
    self.init(try artifact.moduleInfo(), names: try? artifact.names())
  }

  init(_ info: ModuleInfo, names: NameTable?) {
    self.info = info
    self.names = names
    var trampolines: [(kind: CodePiece.Kind, type: Int, code: CodeRange)] = []
    for type in 0..<info.typeCount {
      // Equal types share their trampolines.
      if let first = try? info.firstEqualType(type), first != type { continue }
      if let code = try? info.entryTrampoline(type: type) { trampolines.append((.entryTrampoline, type, code)) }
      if let code = try? info.exitTrampoline(type: type) { trampolines.append((.exitTrampoline, type, code)) }
    }
    for function in 0..<info.importedFunctionCount {
      if let adapter = try? info.adapter(importedFunction: function) {
        trampolines.append((.adapter, function, adapter.code))
      }
    }
    trampolines.sort { ($0.code.textOffset, $0.type) < ($1.code.textOffset, $1.type) }
    self.trampolines = trampolines
  }

  /// Number of pieces: functions, then trampolines.
  public var count: Int { info.definedFunctionCount + trampolines.count }

  /// A piece by its position: functions in index order, then trampolines in the order of the text.
  public func piece(_ position: Int) throws(ArtifactError) -> CodePiece {
    if position < info.definedFunctionCount {
      let function = try info.definedFunction(position)
      let index = info.importedFunctionCount + position
      return CodePiece(
        kind: .function, index: index, code: CodeRange(textOffset: function.textOffset, size: function.size),
        wasmOffset: function.wasmOffset, name: name(function: index))
    }
    guard position - info.definedFunctionCount < trampolines.count else {
      throw .damaged(.info, 0, "no function or trampoline \(position)")
    }
    let trampoline = trampolines[position - info.definedFunctionCount]
    let symbol = trampoline.kind == .adapter ? try info.adapter(importedFunction: trampoline.type)?.symbol : nil
    return CodePiece(
      kind: trampoline.kind, index: trampoline.type, code: trampoline.code, wasmOffset: nil, name: symbol)
  }

  /// The name of function `index`, imported ones counted first; nil where it has none that can be read.
  public func name(function index: Int) -> String? {
    guard let name = try? names?.function(index) else { return nil }
    return name
  }

  /// The piece whose code covers `textOffset`.
  public func piece(at textOffset: UInt32) -> CodePiece? {
    if let number = try? info.definedFunction(containing: textOffset) { return try? piece(number) }
    var low = 0
    var high = trampolines.count
    while low < high {
      let middle = (low + high) / 2
      if trampolines[middle].code.textOffset <= textOffset { low = middle + 1 } else { high = middle }
    }
    guard low > 0, textOffset - trampolines[low - 1].code.textOffset < trampolines[low - 1].code.size else {
      return nil
    }
    return try? piece(info.definedFunctionCount + low - 1)
  }

  /// Positions of all pieces in the order of the text, without those that cannot be read.
  func positionsInText() -> [(position: Int, code: CodeRange)] {
    var all: [(position: Int, code: CodeRange)] = []
    all.reserveCapacity(count)
    for position in 0..<info.definedFunctionCount {
      guard let function = try? info.definedFunction(position) else { continue }
      all.append((position, CodeRange(textOffset: function.textOffset, size: function.size)))
    }
    for (number, trampoline) in trampolines.enumerated() {
      all.append((info.definedFunctionCount + number, trampoline.code))
    }
    all.sort { ($0.code.textOffset, $0.position) < ($1.code.textOffset, $1.position) }
    return all
  }

  /// The function or trampoline that a word means.
  public enum Match: Sendable {
    /// There is one.
    case one(CodePiece)
    /// There are several; the first few of them, and how many there are.
    case several([CodePiece], count: Int)
    /// The function of this index is imported, so that there is no code.
    case imported(Int)
    /// There is none.
    case none
  }

  /// Finds a function by index, by name, by the whole of its symbol, or by a part of its name that no other has.
  public func find(_ word: String) -> Match {
    if let index = Int(word), index >= 0 {
      if index < info.importedFunctionCount {
        let adapter = (0..<trampolines.count).first {
          trampolines[$0].kind == .adapter && trampolines[$0].type == index
        }
        guard let adapter, let piece = try? piece(info.definedFunctionCount + adapter) else { return .imported(index) }
        return .one(piece)
      }
      let position = index - info.importedFunctionCount
      guard position < info.definedFunctionCount, let piece = try? piece(position) else { return .none }
      return .one(piece)
    }
    let prefix = "wasm[0]::"
    let symbol = word.hasPrefix(prefix) ? String(word.dropFirst(prefix.count)) : word
    var exact: [CodePiece] = []
    var exactCount = 0
    var partial: [CodePiece] = []
    var partialCount = 0
    let mostShown = 20
    let pattern = Array(word.utf8)
    for position in 0..<count {
      guard let piece = try? piece(position) else { continue }
      let name = piece.name ?? ""
      let isLabel = piece.label == symbol || !name.isEmpty && "\(piece.label)::\(name)" == symbol
      if isLabel || !name.isEmpty && name == word {
        exactCount += 1
        if exact.count < mostShown { exact.append(piece) }
      } else if name.utf8.contains(pattern) {
        partialCount += 1
        if partial.count < mostShown { partial.append(piece) }
      }
    }
    if exactCount == 1 { return .one(exact[0]) }
    if exactCount > 1 { return .several(exact, count: exactCount) }
    if partialCount == 1 { return .one(partial[0]) }
    return partialCount == 0 ? .none : .several(partial, count: partialCount)
  }
}

extension String.UTF8View {
  /// Whether some bytes stand somewhere in the text.
  fileprivate func contains(_ pattern: [UInt8]) -> Bool {
    guard let first = pattern.first else { return false }
    var rest = self[...]
    while let start = rest.firstIndex(of: first) {
      if rest[start...].starts(with: pattern) { return true }
      rest = rest[index(after: start)...]
    }
    return false
  }
}
