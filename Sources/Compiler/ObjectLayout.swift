// The code of an object: pieces, and where each would stand if nobody moved it.
//
// No call is resolved here and no veneer planted: the linker does both, for it alone knows where pieces come to stand. What the
// tables need are offsets that name the pieces, and those are taken one behind the other (Docs/Format.md, "The unlinked
// object").

import PrecastArtifact
import PrecastArtifactWriter
import PrecastMachineCode
import PrecastWasm

/// The pieces of a module with their tables. Keeps alive all that an `ObjectInput` filled from it points to.
final class ObjectLayout {
  private let chunks: [CompiledChunk]
  private let stubs: StubAssembly
  private let tables: CodeTables
  private let firstFunction: Int
  private let offsets: [Int]
  let textSize: Int

  init(
    environment: ModuleEnvironment, chunks: [CompiledChunk], isUnwindWide: Bool?
  ) throws(CompilerError) {
    self.chunks = chunks
    let stubs = StubAssembly(environment: environment, chunks: chunks)
    self.stubs = stubs
    firstFunction = environment.module.importedFunctionCount
    var offsets: [Int] = []
    offsets.reserveCapacity(environment.module.bodies.count + stubs.stubs.count)
    var end = 0
    func place(_ size: UInt32) {
      let alignment = ObjectFormat.pieceAlignment
      let offset = (end + alignment - 1) / alignment * alignment
      offsets.append(offset)
      end = offset + Int(size)
    }
    for chunk in chunks { for k in 0..<chunk.functions.count { place(chunk.functions[k].size) } }
    for stub in stubs.stubs { place(stub.record.size) }
    guard end <= TextLayout.maximumTextSize else {
      throw .textTooLarge("\(end) bytes of code, and 4 GiB is the most")
    }
    textSize = end
    self.offsets = offsets
    tables = CodeTables(
      environment: environment, chunks: chunks, stubs: stubs, offsets: offsets, textSize: end,
      isUnwindWide: isUnwindWide)
  }

  /// Hands everything over; this object must outlive the use of `input`.
  func fill(_ input: inout ObjectInput) {
    tables.fill(&input.contents)
    input.externals = stubs.externals
    var pieces: [ObjectPiece] = []
    pieces.reserveCapacity(offsets.count)
    func add(
      _ name: PieceName, _ symbol: Int, _ chunk: CodeChunk, start: UInt32, size: UInt32, relocations: Range<Int>,
      isAdjacent: Bool
    ) {
      // The chunk has the code and the relocations, and this object the chunk.
      unsafe pieces.append(
        ObjectPiece(
          name: name, symbol: UInt32(symbol), textOffset: UInt32(offsets[pieces.count]),
          base: chunk.code.startAddress + Int(start), size: size,
          relocations: UnsafeBufferPointer(rebasing: chunk.relocations.unsafeElements[relocations]),
          relocationBase: start, isAdjacent: isAdjacent))
    }
    var index = firstFunction
    for chunk in chunks {
      for k in 0..<chunk.functions.count {
        let function = chunk.functions[k]
        add(
          .function(index: index), index, chunk.code, start: function.start, size: function.size,
          relocations: Int(function.firstRelocation)..<Int(function.relocationEnd), isAdjacent: k > 0)
        index += 1
      }
    }
    for (k, stub) in stubs.stubs.enumerated() {
      add(
        stub.name, Int(stub.symbol), stubs.code, start: stub.record.start, size: stub.record.size,
        relocations: stub.record.firstRelocation..<stub.record.relocationEnd, isAdjacent: k > 0)
    }
    input.pieces = pieces
  }
}
