// x86-64 objects, linked and loaded into this process.

import Precast
import PrecastEmulator
import PrecastLoader
import PrecastMachineCode
import Testing

private let hostMix: @convention(c) (UInt64, UInt64) -> UInt64 = { Corpus.mix($0, $1) }
private let hostScale: @convention(c) (Double, Int32) -> Double = { $0 * Double($1) }
private let hostCallBack: @convention(c) (UInt, UInt64) -> UInt64 = { function, argument in
  // The C code passes a pointer to a function of this type.
  unsafe unsafeBitCast(function, to: (@convention(c) (UInt64) -> UInt64).self)(argument &+ 1) &+ 1
}

/// Loaded objects, whose undefined symbols are the host functions that the corpus knows.
final class NativeObjects {
  let objects: LoadedObjects
  private let table: HostPages

  /// Links and loads objects.
  init(_ objects: [(name: String, bytes: [UInt8])], testing: TextLayoutTesting = .init()) throws {
    table = try HostPages(count: 32)
    for (index, word) in Corpus.table.enumerated() { table.write(word, at: 8 * index) }
    var text = TextSectionOptions()
    text.testing = testing
    self.objects = try LoadedObjects(
      objects.map { LinkableObject($0.bytes, name: $0.name) },
      symbols: [
        "host_mix": unsafe unsafeBitCast(hostMix, to: UInt.self),
        "host_scale": unsafe unsafeBitCast(hostScale, to: UInt.self),
        "host_call_back": unsafe unsafeBitCast(hostCallBack, to: UInt.self),
        "host_table": UInt(table.address),
      ],
      layout: LinkLayout(text: text))
  }

  /// Calls a function; the result's bits.
  func perform(_ call: CorpusCall) throws -> UInt64 {
    let address = try #require(objects.address(ofSymbol: call.function), "no symbol \(call.function)")
    return NativeCall.perform(call, at: UInt64(address))
  }
}
