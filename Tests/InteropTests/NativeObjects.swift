// x86-64 objects, linked at an address and mapped into this process.

import Glibc
import PrecastArtifact
import PrecastEmulator
import PrecastLinker
import PrecastMachineCode
import Testing

private let hostMix: @convention(c) (UInt64, UInt64) -> UInt64 = { Corpus.mix($0, $1) }
private let hostScale: @convention(c) (Double, Int32) -> Double = { $0 * Double($1) }
private let hostCallBack: @convention(c) (UInt, UInt64) -> UInt64 = { function, argument in
  // The C code passes a pointer to a function of this type.
  unsafe unsafeBitCast(function, to: (@convention(c) (UInt64) -> UInt64).self)(argument &+ 1) &+ 1
}

/// A linked image in this process: text that can be executed, constants that cannot be written, data.
final class NativeObjects {
  let image: LinkedImage
  let base: UInt64
  private let pages: HostPages
  private let table: HostPages
  private let inputs: [HostPages]

  /// Links objects and maps the result. Undefined symbols are the host functions that the corpus knows.
  init(_ objects: [(name: String, bytes: [UInt8])], testing: TextLayoutTesting = .init()) throws {
    table = try HostPages(count: 32)
    for (index, word) in Corpus.table.enumerated() { table.write(word, at: 8 * index) }
    var inputs: [HostPages] = []
    let linkInputs = try objects.map { object in
      let copy = try HostPages(count: object.bytes.count)
      unsafe copy.bytes.copyBytes(from: object.bytes)
      inputs.append(copy)
      return LinkInput(
        name: object.name,
        bytes: unsafe ByteRegion(base: UnsafeRawPointer(copy.bytes.baseAddress!), count: object.bytes.count))
    }
    self.inputs = inputs
    var options = LinkOptions(externalSymbols: [
      "host_mix": unsafe UInt64(unsafeBitCast(hostMix, to: UInt.self)),
      "host_scale": unsafe UInt64(unsafeBitCast(hostScale, to: UInt.self)),
      "host_call_back": unsafe UInt64(unsafeBitCast(hostCallBack, to: UInt.self)),
      "host_table": table.address,
    ])
    options.text.testing = testing
    let pages = try HostPages(count: try Linker.extentBound(linkInputs, options: options))
    self.pages = pages
    base = pages.address
    options.baseAddress = pages.address
    let linker = try Linker(linkInputs, options: options)
    let sizes = linker.sizes
    let placement = LinkPlacement(sizes, pageSize: HostPages.pageSize)
    try #require(placement.writable + sizes.writableInMemory <= pages.count, "the bound is no bound")
    func part(_ start: Int, _ count: Int) -> UnsafeMutableRawBufferPointer {
      unsafe UnsafeMutableRawBufferPointer(rebasing: pages.bytes[start..<start + count])
    }
    image = try linker.link(
      placement,
      into: unsafe LinkDestination(
        text: part(0, sizes.text), ehFrame: part(sizes.text, sizes.ehFrame),
        readOnly: part(placement.readOnly, sizes.readOnly), writable: part(placement.writable, sizes.writable)))
    pages.protect(0..<placement.writable)
    try #require(unsafe mprotect(pages.bytes.baseAddress, sizes.text, PROT_READ | PROT_EXEC) == 0)
  }

  /// Calls a function; the result's bits.
  func perform(_ call: CorpusCall) throws -> UInt64 {
    let symbol = try #require(image.symbol(named: call.function), "no symbol \(call.function)")
    return NativeCall.perform(call, at: base + UInt64(symbol.offset))
  }
}
