// What follows from where everything stands in the text: the tables about code, and `.eh_frame`.
//
// The same for a text that is laid out and for the nominal one of an object.

import PrecastArtifact
import PrecastArtifactWriter
import PrecastMachineCode

/// The tables about a text. Keeps alive all that an `ArtifactInput` filled from it points to, but for the text.
final class CodeTables {
  private let chunks: [CompiledChunk]
  private let stubs: StubAssembly
  private let textSize: Int
  private var functions: [CodeRange] = []
  private var stubPlaces: [CodeRange] = []
  private var addressMap: [CodeRun] = []
  private var traps: [CodeRun] = []
  private var ehFrame: [UInt8] = []

  /// Tables for a text of `textSize` bytes.
  ///
  /// - Parameters:
  ///   - offsets: text offsets of all functions in index order, then of all stubs.
  ///   - islands: where veneers are.
  init(
    environment: ModuleEnvironment, chunks: [CompiledChunk], stubs: StubAssembly, offsets: [Int], textSize: Int,
    islands: [CodeRange] = [], isUnwindWide: Bool? = nil
  ) {
    self.chunks = chunks
    self.stubs = stubs
    self.textSize = textSize
    let padded = ArtifactInput.paddedTextSize(UInt64(textSize), settings: environment.settings)
    var unwind = UnwindBuilder(
      architecture: environment.settings.architecture, textSize: Int(padded), isWide: isUnwindWide,
      hasLandingPads: environment.settings.hasLandingPads)
    let count = environment.module.bodies.count
    functions.reserveCapacity(count)
    traps.reserveCapacity(count)
    var position = 0
    for chunk in chunks {
      var mapOffset = 0
      var trapOffset = 0
      for k in 0..<chunk.functions.count {
        let function = chunk.functions[k]
        let offset = offsets[position]
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
    for stub in stubs.stubs {
      let offset = offsets[position]
      position += 1
      unwind.addTrampoline(
        textOffset: offset, size: stub.record.size, returns: stub.record.returns, savedRegisters: stub.record.saved,
        stackPointerRanges: stub.record.stackPointerRanges, hasOwnLandingPad: stub.record.hasOwnLandingPad)
      stubPlaces.append(CodeRange(textOffset: UInt32(offset), size: stub.record.size))
    }
    traps += stubs.trapRuns(places: stubPlaces)
    for island in islands { unwind.addFrameless(textOffset: Int(island.textOffset), size: island.size) }
    ehFrame = unwind.finish().array
  }

  /// Hands everything but the text over; this object must outlive the use of `input`.
  func fill(_ input: inout ArtifactInput) {
    input.textSize = UInt64(textSize)
    input.functions = functions
    stubs.fill(&input, places: stubPlaces)
    input.ehFrame = ehFrame
    input.addressMap = addressMap
    input.traps = traps
  }
}
