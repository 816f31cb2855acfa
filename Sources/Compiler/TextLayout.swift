// Where everything stands in the text of an artifact, and what follows from it.

import PrecastArtifact
import PrecastArtifactWriter
import PrecastMachineCode
import PrecastWasm

/// The text of a module with its tables. Keeps alive all that an `ArtifactInput` filled from it points to.
final class TextLayout {
  private var builder: TextSectionBuilder
  private let tables: CodeTables
  private let islands: [CodeRange]
  let textSize: Int

  /// The most that a text may have: text offsets have 32 bits, and the last page has to fit too.
  static let maximumTextSize = Int(UInt32.max) - (1 << 20)

  init(
    environment: ModuleEnvironment, chunks: [CompiledChunk], testing: TextLayoutTesting = TextLayoutTesting()
  ) throws(CompilerError) {
    let stubs = StubAssembly(environment: environment, chunks: chunks)
    var options = TextSectionOptions()
    options.testing = testing
    options.maximumSize = Self.maximumTextSize
    options.branchTargetIdentification = environment.settings.hasLandingPads
    builder = TextSectionBuilder(
      architecture: environment.settings.architecture, symbolCount: stubs.symbolCount, options: options)
    var index = UInt32(environment.module.importedFunctionCount)
    for chunk in chunks {
      for k in 0..<chunk.functions.count {
        let function = chunk.functions[k]
        builder.add(
          symbol: index, chunk: chunk.code, offset: Int(function.start), size: Int(function.size),
          relocations: Int(function.firstRelocation)..<Int(function.relocationEnd))
        index += 1
      }
    }
    for stub in stubs.stubs {
      builder.add(
        symbol: stub.symbol, chunk: stubs.code, offset: Int(stub.record.start), size: Int(stub.record.size),
        relocations: stub.record.firstRelocation..<stub.record.relocationEnd)
    }
    do throws(TextSectionError) {
      try builder.finish()
    } catch .textTooLarge {
      throw .textTooLarge("more than 4 GiB of code")
    } catch {
      throw .textTooLarge("\(error)")
    }
    textSize = builder.size
    var islands: [CodeRange] = []
    for k in 0..<builder.islandCount {
      let island = builder.island(k)
      islands.append(CodeRange(textOffset: UInt32(island.textOffset), size: UInt32(island.size)))
    }
    self.islands = islands
    var offsets: [Int] = []
    offsets.reserveCapacity(builder.functionCount)
    for k in 0..<builder.functionCount { offsets.append(builder.functionOffset(k)) }
    tables = CodeTables(
      environment: environment, chunks: chunks, stubs: stubs,
      offsets: offsets, textSize: textSize, islands: islands)
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
    tables.fill(&input)
    for island in islands { input.stubs.append(TextStub(name: "veneers", code: island)) }
  }
}
