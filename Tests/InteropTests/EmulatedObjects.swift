// AArch64 objects, linked at an address and mapped into an emulated processor.

import PrecastArtifact
import PrecastEmulator
import PrecastLinker
import PrecastMachineCode
import Testing

/// A linked image in an emulated processor: text that can be executed, constants that cannot be written, data.
final class EmulatedObjects {
  let processor: AArch64Processor
  let image: LinkedImage
  let base: UInt64
  private let pages: HostPages
  private let table: HostPages
  private let inputs: [HostPages]

  /// Links objects and maps the result, if it is to be guarded with branch target identification on. Undefined symbols
  /// are the host functions that the corpus knows, and `symbols`.
  init(
    _ objects: [(name: String, bytes: [UInt8])], symbols: [String: UInt64] = [:], testing: TextLayoutTesting = .init(),
    isGuarded: Bool = false
  ) throws {
    processor = try AArch64Processor()
    table = try HostPages(count: 32)
    for (index, word) in Corpus.table.enumerated() { table.write(word, at: 8 * index) }
    try processor.map(table, .read)
    var external = symbols
    for (name, address) in Corpus.hostFunctions(processor) { external[name] = address }
    external["host_table"] = table.address

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
    let page = 65536
    var options = LinkOptions(externalSymbols: external)
    options.pageSize = page
    options.text.testing = testing
    options.text.branchTargetIdentification = isGuarded
    let bound = try Linker.extentBound(linkInputs, options: options)
    let pages = try HostPages(count: bound + page)
    self.pages = pages
    let base = (pages.address + UInt64(page) - 1) & ~UInt64(page - 1)
    self.base = base
    options.baseAddress = base
    let linker = try Linker(linkInputs, options: options)
    let sizes = linker.sizes
    let placement = LinkPlacement(sizes, pageSize: page)
    let offset = Int(base - pages.address)
    try #require(placement.writable + sizes.writableInMemory <= pages.count - offset, "the bound is no bound")
    func part(_ start: Int, _ count: Int) -> UnsafeMutableRawBufferPointer {
      unsafe UnsafeMutableRawBufferPointer(rebasing: pages.bytes[offset + start..<offset + start + count])
    }
    image = try linker.link(
      placement,
      into: unsafe LinkDestination(
        text: part(0, sizes.text), ehFrame: part(sizes.text, sizes.ehFrame),
        readOnly: part(placement.readOnly, sizes.readOnly), writable: part(placement.writable, sizes.writable)))
    // The host may no longer write what nobody may write, so that a mistake shows.
    pages.protect(offset..<offset + placement.writable)
    try processor.map(base, sizes.text, .readExecute)
    if isGuarded { processor.guardCode(base, sizes.text) }
    if placement.writable > sizes.text {
      try processor.map(base + UInt64(sizes.text), placement.writable - sizes.text, .read)
    }
    let data = (sizes.writableInMemory + page - 1) & ~(page - 1)
    if data > 0 { try processor.map(base + UInt64(placement.writable), data, .readWrite) }
  }

  /// The address of a symbol.
  func address(_ name: String) throws -> UInt64 {
    let symbol = try #require(image.symbol(named: name), "no symbol \(name)")
    return symbol.part == .absolute ? UInt64(symbol.offset) : base + UInt64(symbol.offset)
  }

  /// Calls a function; the result's bits.
  func perform(_ call: CorpusCall) throws -> UInt64 {
    call.bits(of: try processor.call(try address(call.function), call.arguments))
  }
}
