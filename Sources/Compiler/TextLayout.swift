// Where everything stands in the text, and what follows from it.

import PrecastArtifact
import PrecastArtifactWriter
import PrecastMachineCode
import PrecastWasm

/// The text of a module with its tables. Keeps alive all that an `ArtifactInput` filled from it points to.
final class TextLayout {
  private var builder: TextSectionBuilder
  private let chunks: [CompiledChunk]
  private let stubs: CodeChunk
  private var functions: [CodeRange] = []
  private var trampolines: [TypeTrampolines] = []
  private var otherCode: [TextStub] = []
  private var addressMap: [CodeRun] = []
  private var traps: [CodeRun] = []
  private var ehFrame: [UInt8] = []
  private(set) var textSize = 0

  init(environment: ModuleEnvironment, chunks: [CompiledChunk]) throws(CompilerError) {
    self.chunks = chunks
    let module = environment.module
    let firstFunction = module.importedFunctionCount

    // Trampolines, one pair for each different function type that functions have or indirect calls name. A type that
    // only blocks use never meets the host.
    var assembler = TrampolineAssembler()
    var records: [(symbol: UInt32, record: StubRecord)] = []
    let typeCount = module.types.count
    var symbol = environment.resolveSymbol
    records.append((symbol, assembler.resolveElement()))
    var entrySymbols: [(type: Int, entry: UInt32, exit: UInt32)] = []
    let representatives = Self.representatives(module, chunks)
    for type in 0..<typeCount where representatives[type] == UInt32(type) {
      let signature = environment.signatures.signatures[type]
      records.append((symbol + 1, assembler.entry(signature, environment.signatures)))
      records.append((symbol + 2, assembler.exit(signature, environment.signatures)))
      entrySymbols.append((type, symbol + 1, symbol + 2))
      symbol += 2
    }
    stubs = assembler.asm.takeChunk()

    builder = TextSectionBuilder(architecture: .x86_64, symbolCount: Int(symbol) + 1)
    var index = UInt32(firstFunction)
    for chunk in chunks {
      for k in 0..<chunk.functions.count {
        let function = chunk.functions[k]
        builder.add(
          symbol: index, chunk: chunk.code, offset: Int(function.start), size: Int(function.size),
          relocations: Int(function.firstRelocation)..<Int(function.relocationEnd))
        index += 1
      }
    }
    for (symbol, record) in records {
      builder.add(
        symbol: symbol, chunk: stubs, offset: Int(record.start), size: Int(record.size),
        relocations: record.firstRelocation..<record.relocationEnd)
    }
    do {
      try builder.finish()
    } catch {
      throw .textTooLarge("\(error)")
    }
    guard builder.size <= Int(UInt32.max) - (1 << 20) else {
      throw .textTooLarge("\(builder.size) bytes of code, and 4 GiB is the most")
    }
    textSize = builder.size

    // Tables.
    let padded = ArtifactInput.paddedTextSize(UInt64(textSize), settings: environment.settings)
    var unwind = UnwindBuilder(textSize: Int(padded))
    functions.reserveCapacity(module.bodies.count)
    traps.reserveCapacity(module.bodies.count)
    var position = 0
    for chunk in chunks {
      var mapOffset = 0
      var trapOffset = 0
      for k in 0..<chunk.functions.count {
        let function = chunk.functions[k]
        let offset = builder.functionOffset(position)
        position += 1
        functions.append(CodeRange(textOffset: UInt32(offset), size: function.size))
        chunk.returns.withSpan { span in
          unwind.add(
            textOffset: offset, size: function.size,
            returns: span.extracting(Int(function.firstReturn)..<Int(function.returnEnd)), base: function.start)
        }
        // The chunk keeps the bytes, and this object the chunk.
        unsafe chunk.map.withUnsafeBytes { bytes in
          if function.mapBytes > 0, let base = bytes.baseAddress {
            unsafe addressMap.append(
              CodeRun(textOffset: UInt32(offset), base: base + mapOffset, count: Int(function.mapBytes)))
          }
        }
        unsafe chunk.traps.withUnsafeBytes { bytes in
          if function.trapBytes > 0, let base = bytes.baseAddress {
            unsafe traps.append(
              CodeRun(textOffset: UInt32(offset), base: base + trapOffset, count: Int(function.trapBytes)))
          }
        }
        mapOffset += Int(function.mapBytes)
        trapOffset += Int(function.trapBytes)
      }
    }
    var places: [UInt32: CodeRange] = [:]
    for (symbol, record) in records {
      let offset = builder.functionOffset(position)
      position += 1
      unwind.addTrampoline(
        textOffset: offset, size: record.size, returns: record.returns, savedRegisters: record.saved,
        stackPointerRanges: record.stackPointerRanges)
      places[symbol] = CodeRange(textOffset: UInt32(offset), size: record.size)
    }
    if let resolver = places[environment.resolveSymbol] {
      otherCode.append(TextStub(name: "resolve_element", code: resolver))
    }
    for k in 0..<builder.islandCount {
      let island = builder.island(k)
      unwind.addFrameless(textOffset: island.textOffset, size: UInt32(island.size))
      otherCode.append(
        TextStub(
          name: "veneers", code: CodeRange(textOffset: UInt32(island.textOffset), size: UInt32(island.size))))
    }
    trampolines = [TypeTrampolines](repeating: TypeTrampolines(), count: typeCount)
    for (type, entry, exit) in entrySymbols {
      trampolines[type] = TypeTrampolines(entry: places[entry], exit: places[exit])
    }
    for type in 0..<typeCount where representatives[type] != .max {
      trampolines[type] = trampolines[Int(representatives[type])]
    }
    ehFrame = unwind.finish().array
  }

  /// For each type that functions have or indirect calls name, the first such type that is equal; else `UInt32.max`.
  private static func representatives(_ module: WasmModule, _ chunks: [CompiledChunk]) -> [UInt32] {
    var isUsed = [Bool](repeating: false, count: module.types.count)
    for type in module.functions { isUsed[Int(type)] = true }
    for chunk in chunks { for type in chunk.indirectTypes { isUsed[Int(type)] = true } }
    var result = [UInt32](repeating: .max, count: module.types.count)
    // By the first of all equal types, the first of those that are used.
    var representative = result
    let equal = module.types.firstEqual
    for type in isUsed.indices where isUsed[type] {
      let first = Int(equal[type])
      if representative[first] == .max { representative[first] = UInt32(type) }
      result[type] = representative[first]
    }
    return result
  }

  /// Hands everything over; this object must outlive the use of `input`.
  func fill(_ input: inout ArtifactInput) {
    input.text.reserveCapacity(builder.pieceCount)
    for k in 0..<builder.pieceCount {
      let piece = builder.piece(k)
      let bytes = unsafe piece.bytes
      guard let base = bytes.baseAddress else { continue }
      unsafe input.text.append(
        TextPiece(textOffset: UInt64(piece.textOffset), base: base, count: bytes.count))
    }
    input.textSize = UInt64(textSize)
    input.functions = functions
    input.trampolines = trampolines
    input.stubs = otherCode
    input.ehFrame = ehFrame
    input.addressMap = addressMap
    input.traps = traps
  }
}
