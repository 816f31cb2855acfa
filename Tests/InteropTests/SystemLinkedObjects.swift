// AArch64 objects linked by the system's linker and mapped into an emulated processor: shows what the emulator and the
// compilers make of the corpus without any of Precast's own linking, so that a difference elsewhere is the linker's.

import Foundation
import PrecastEmulator
import TestSupport
import Testing

final class SystemLinkedObjects {
  let processor: AArch64Processor
  private let pages: HostPages
  private let table: HostPages
  private let symbols: [String: UInt64]

  init(_ objects: [(name: String, bytes: [UInt8])]) throws {
    processor = try AArch64Processor()
    // Code that is not position-independent reaches 4 GiB, and what it calls is where the processor has it.
    let externals = Corpus.hostFunctions(processor)
    let neighbor = externals.values.first
    table = try HostPages(count: 32, near: neighbor)
    for (index, word) in Corpus.table.enumerated() { table.write(word, at: 8 * index) }
    try processor.map(table, .read)
    pages = try HostPages(count: 1 << 21, near: neighbor)
    let base = (pages.address + 65535) & ~65535

    let folder = try TemporaryDirectory()
    for object in objects { try Data(object.bytes).write(to: URL(fileURLWithPath: folder.file(object.name))) }
    let addresses = externals.merging(["host_table": table.address]) { $1 }
    try run(
      "aarch64-linux-gnu-ld",
      ["-o", "image", "-Ttext-segment=0x\(String(base, radix: 16))", "-e", "0", "-z", "max-page-size=65536"]
        + addresses.sorted { $0.key < $1.key }.map { "--defsym=\($0.key)=0x\(String($0.value, radix: 16))" }
        + objects.map { $0.name }, in: folder.path)
    let image = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("image"))))
    func word(_ offset: Int, _ size: Int) -> UInt64 {
      (0..<size).reduce(0) { $0 | UInt64(image[offset + $1]) << UInt64(8 * $1) }
    }
    // Program headers (gABI, chapter 5): e_phoff at 32, e_phnum at 56.
    for index in 0..<Int(word(56, 2)) {
      let header = Int(word(32, 8)) + 56 * index
      guard word(header, 4) == 1 else { continue }
      let (offset, address) = (Int(word(header + 8, 8)), word(header + 16, 8))
      let (fileSize, memorySize) = (Int(word(header + 32, 8)), word(header + 40, 8))
      for byte in 0..<fileSize { pages.write(image[offset + byte], at: Int(address - pages.address) + byte) }
      let start = address & ~4095
      let end = (address + memorySize + 4095) & ~4095
      try processor.map(start, Int(end - start), word(header + 4, 4) & 1 == 1 ? .readExecute : .readWrite)
    }
    var symbols: [String: UInt64] = [:]
    for line in try run("aarch64-linux-gnu-nm", ["image"], in: folder.path).split(separator: "\n") {
      let fields = line.split(separator: " ")
      if fields.count == 3 { symbols[String(fields[2])] = UInt64(fields[0], radix: 16) }
    }
    self.symbols = symbols
  }

  /// Calls a function; the result's bits.
  func perform(_ call: CorpusCall) throws -> UInt64 {
    let address = try #require(symbols[call.function], "no symbol \(call.function)")
    return call.bits(of: try processor.call(address, call.arguments))
  }
}
