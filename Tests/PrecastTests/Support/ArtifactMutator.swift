// Broken artifacts that still look right from outside.
//
// A flipped bit is found by a checksum and gets no further. What a reader does with a row that points outside its table shows only
// when everything in front of it agrees: the checksums of the pages and of the first page, the program headers and section headers
// with the directory. So each mutation changes something that means something (a field, a row, a section's place), and then
// repairs what stands in the way.
//
// The checksum here is written down once more, bit by bit: a mistake in the project's own would otherwise not be seen.

import PrecastArtifact

/// Makes broken copies of an artifact. The same seed makes the same ones.
struct ArtifactMutator {
  /// The sound artifact.
  let original: [UInt8]
  private let engine: EngineSection
  private var state: UInt64

  /// - Throws: what reading the sound artifact throws.
  init(_ artifact: [UInt8], seed: UInt64) throws {
    original = artifact
    state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    engine = try artifact.withUnsafeBytes { bytes in
      let region = ByteRegion(base: bytes.baseAddress!, count: bytes.count)
      return try ArtifactHeader(
        region.slice(0, min(bytes.count, ArtifactHeader.size)), fileSize: UInt64(bytes.count)
      ).engine
    }
  }

  private mutating func random(_ bound: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(truncatingIfNeeded: (state &* 0x2545_F491_4F6C_DD1D) >> 33) % max(1, bound)
  }

  /// A broken artifact: one to four mutations, then everything repaired that would give them away.
  mutating func next() -> [UInt8] {
    var bytes = original
    var engine = engine
    for _ in 0...random(4) {
      switch random(12) {
      case 0: moveSection(&engine)
      case 1: changeHead(&bytes)
      case 2, 3: copyRows(&bytes)
      case 4: flipBit(&bytes)
      default: changeField(&bytes)
      }
    }
    repair(&bytes, engine)
    return bytes
  }

  // MARK: Mutations

  /// Tables: all that is neither text nor image nor first page.
  private mutating func metadata() -> Range<Int> {
    let kinds = SectionKind.allCases.filter { kind in
      !kind.isInFirstPage && ![.text, .dataImage, .checksums].contains(kind) && engine[kind].size > 0
    }
    // The small ones as often as the large ones.
    let extent = engine[kinds[random(kinds.count)]]
    return Int(extent.offset)..<Int(extent.end)
  }

  private mutating func place(_ size: Int) -> Int? {
    let range = metadata()
    guard range.count >= size else { return nil }
    // Half of the time near the start, where counts and offsets stand.
    let span = random(2) == 0 ? min(range.count - size, 512) : range.count - size
    return range.lowerBound + random(span + 1)
  }

  private mutating func changeField(_ bytes: inout [UInt8]) {
    let size = [1, 2, 4, 4, 4, 8][random(6)]
    guard var at = place(8) else { return }
    at = at & ~(size - 1)
    let old = load(bytes, at, size)
    let value: UInt64 =
      switch random(10) {
      case 0: 0
      case 1: .max
      case 2: old &+ 1
      case 3: old &- 1
      case 4: 1 << UInt64(random(size * 8))
      case 5: old ^ 1 << UInt64(random(size * 8))
      case 6: UInt64(bytes.count)
      case 7: UInt64(random(bytes.count))
      case 8: old &* 2
      default: UInt64(random(16))
      }
    store(&bytes, at, size, value)
  }

  private mutating func copyRows(_ bytes: inout [UInt8]) {
    let size = [4, 8, 12, 16, 20, 24, 32, 64][random(8)] * (1 + random(4))
    guard let from = place(size), let to = place(size) else { return }
    let rows = Array(bytes[from..<from + size])
    bytes.replaceSubrange(to..<to + size, with: rows)
  }

  private mutating func flipBit(_ bytes: inout [UInt8]) {
    guard let at = place(1) else { return }
    bytes[at] ^= 1 << UInt8(random(8))
  }

  /// The ELF header, the program headers and the head of the compatibility record.
  private mutating func changeHead(_ bytes: inout [UInt8]) {
    let at = random(Int(engine[.engine].end))
    if random(2) == 0 { bytes[at] ^= 1 << UInt8(random(8)) } else { store(&bytes, at & ~3, 4, UInt64(random(1 << 16))) }
  }

  private mutating func moveSection(_ engine: inout EngineSection) {
    guard let kind = SectionKind(rawValue: UInt8(random(SectionKind.count))) else { return }
    let delta = UInt64(bitPattern: Int64([1, 4, 8, 16, 4096, 65536][random(6)] * (random(2) == 0 ? 1 : -1)))
    switch random(5) {
    case 0: engine[kind].offset &+= delta
    case 1, 2: engine[kind].size &+= delta
    case 3: engine[kind] = SectionExtent()
    default: engine[kind] = engine[SectionKind(rawValue: UInt8(random(SectionKind.count))) ?? .info]
    }
  }

  // MARK: Repairs

  /// Makes headers and checksums agree with what the mutations left.
  private func repair(_ bytes: inout [UInt8], _ moved: EngineSection) {
    if moved.directory != engine.directory {
      let section = moved.encoded()
      bytes.replaceSubrange(ArtifactHeader.engineOffset..<ArtifactHeader.engineOffset + section.count, with: section)
      for header in ArtifactHeader.programHeaders(moved) {
        let at = Int(ELF.headerSize) + header.index * Int(ELF.programHeaderSize)
        for offset in [8, 16, 24] { store(&bytes, at + offset, 8, header.offset) }
        store(&bytes, at + 32, 8, header.fileSize)
        store(&bytes, at + 40, 8, header.memorySize)
      }
      repairSectionHeaders(&bytes, moved)
    }
    repairChecksums(&bytes, moved)
  }

  private func repairSectionHeaders(_ bytes: inout [UInt8], _ moved: EngineSection) {
    let table = Int(load(original, 40, 8))
    let count = Int(load(original, 60, 2))
    for index in 1..<count {
      let at = table + index * Int(ELF.sectionHeaderSize)
      let old = SectionExtent(offset: load(original, at + 24, 8), size: load(original, at + 32, 8))
      guard let kind = SectionKind.allCases.first(where: { engine[$0] == old }) else { continue }
      if load(original, at + 16, 8) != 0 { store(&bytes, at + 16, 8, moved[kind].offset) }
      store(&bytes, at + 24, 8, moved[kind].offset)
      store(&bytes, at + 32, 8, moved[kind].size)
    }
  }

  /// Docs/Format.md, "Checksums".
  private func repairChecksums(_ bytes: inout [UInt8], _ moved: EngineSection) {
    let table = moved[.checksums]
    let image = moved[.dataImage]
    let end = UInt64(bytes.count)
    let text = moved[.text]
    for extent in [table, image, text] where extent.offset > end || extent.size > end - extent.offset { return }
    guard table.size >= 16 else { return }
    let own = Int(table.offset)..<Int(table.end)
    var at = own.lowerBound + 16
    let ranges =
      image.size == 0
      ? [text.end..<end] : [text.end..<max(text.end, image.offset), image.end..<end]
    for range in ranges {
      for page in stride(from: Int(range.lowerBound), to: Int(range.upperBound), by: 4096) {
        guard at + 4 <= own.upperBound else { break }
        let pageEnd = min(page + 4096, Int(range.upperBound))
        var sum = Checksum()
        for index in page..<pageEnd { sum.add(own.contains(index) ? 0 : bytes[index]) }
        store(&bytes, at, 4, UInt64(sum.value))
        at += 4
      }
    }
    let field = ArtifactHeader.engineOffset + 56
    store(&bytes, field, 4, 0)
    var sum = Checksum()
    for byte in bytes.prefix(4096) { sum.add(byte) }
    store(&bytes, field, 4, UInt64(sum.value))
  }

  private func load(_ bytes: [UInt8], _ at: Int, _ size: Int) -> UInt64 {
    (0..<size).reduce(0) { $0 | UInt64(bytes[at + $1]) << UInt64(8 * $1) }
  }

  private func store(_ bytes: inout [UInt8], _ at: Int, _ size: Int, _ value: UInt64) {
    for index in 0..<size where at + index < bytes.count {
      bytes[at + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
    }
  }
}

/// CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, all ones before and after.
private struct Checksum {
  private var register: UInt32 = .max
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 0 ? value >> 1 : value >> 1 ^ 0x82F6_3B78 }
  }
  var value: UInt32 { ~register }

  mutating func add(_ byte: UInt8) {
    register = register >> 8 ^ Self.table[Int(UInt8(truncatingIfNeeded: register) ^ byte)]
  }
}
