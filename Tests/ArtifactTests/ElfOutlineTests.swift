// The outline of any ELF file: what is there is found, and no file does harm.

import Foundation
import PrecastArtifact
import Testing

/// A small ELF file, of either class and byte order.
private struct SmallELF {
  var is64Bit = true
  var isLittleEndian = true
  /// Counts go into the null section's header.
  var isExtended = false

  var bytes: [UInt8] {
    var file: [UInt8] =
      [0x7F, 0x45, 0x4C, 0x46, is64Bit ? 2 : 1, isLittleEndian ? 1 : 2, 1, 7] + Array(repeating: 0, count: 8)
    func put(_ value: UInt64, _ size: Int) {
      let bytes = (0..<size).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
      file += isLittleEndian ? bytes : bytes.reversed()
    }
    let word = is64Bit ? 8 : 4
    let header = is64Bit ? 64 : 52
    let segment = is64Bit ? 56 : 32
    let section = is64Bit ? 64 : 40
    let names = Array("\0.names\0.code\0".utf8)
    let namesOffset = header + segment
    let sectionsOffset = namesOffset + names.count
    put(1, 2)
    put(40, 2)
    put(1, 4)
    put(0, word)
    put(UInt64(header), word)
    put(UInt64(sectionsOffset), word)
    put(0, 4)
    for value in [header, segment, 1, section, isExtended ? 0 : 3, isExtended ? 0xFFFF : 1] { put(UInt64(value), 2) }
    put(1, 4)
    if is64Bit { put(5, 4) }
    for value in [0x10, 0x2000, 0x2000, 7, 9] { put(UInt64(value), word) }
    if !is64Bit { put(5, 4) }
    put(16, word)
    file += names
    func putSection(_ name: Int, _ type: Int, _ flags: Int, _ offset: Int, _ size: Int, link: Int = 0) {
      put(UInt64(name), 4)
      put(UInt64(type), 4)
      for value in [flags, 0, offset, size] { put(UInt64(value), word) }
      put(UInt64(link), 4)
      put(0, 4)
      put(1, word)
      put(0, word)
    }
    putSection(0, 0, 0, 0, isExtended ? 3 : 0, link: isExtended ? 1 : 0)
    putSection(1, 3, 0, namesOffset, names.count)
    putSection(8, 1, 6, 4, 12)
    return file
  }
}

@Suite struct ElfOutlineTests {
  /// Looks at everything there is, in bytes that end where the file does.
  @discardableResult
  private func walk(_ bytes: [UInt8]) -> [String] {
    bytes.withUnsafeBytes { buffer -> [String] in
      guard let base = buffer.baseAddress else { return [] }
      guard let outline = ElfOutline(ByteRegion(base: base, count: buffer.count)) else { return [] }
      #expect(outline.sectionCount * 40 <= bytes.count && outline.segmentCount * 32 <= bytes.count)
      for index in -1...outline.segmentCount { _ = outline.segment(index) }
      return (0..<outline.sectionCount).compactMap { outline.section($0) }.map { section in
        if let contents = outline.contents(of: section) { #expect(contents.count <= bytes.count) }
        return outline.name(of: section)
      }
    }
  }

  @Test(arguments: [true, false], [true, false])
  func bothClassesAndByteOrdersAreRead(is64Bit: Bool, isLittleEndian: Bool) throws {
    for isExtended in [false, true] {
      let bytes = SmallELF(is64Bit: is64Bit, isLittleEndian: isLittleEndian, isExtended: isExtended).bytes
      #expect(walk(bytes) == ["", ".names", ".code"])
      try bytes.withUnsafeBytes { buffer in
        let outline = try #require(ElfOutline(ByteRegion(base: buffer.baseAddress!, count: buffer.count)))
        #expect(outline.problems == [])
        #expect(outline.type == 1 && outline.machine == 40 && outline.osABI == 7)
        let segment = try #require(outline.segment(0))
        #expect(segment.type == 1 && segment.flags == 5 && segment.offset == 0x10 && segment.address == 0x2000)
        #expect(segment.fileSize == 7 && segment.memorySize == 9 && segment.alignment == 16)
        let code = try #require(outline.index(ofSection: ".code").flatMap { outline.section($0) })
        #expect(code.type == 1 && code.flags == 6 && code.offset == 4 && code.size == 12)
        #expect(try outline.contents(of: code)?.copyBytes() == Array(bytes[4..<16]))
      }
    }
  }

  @Test func aProgramOfTheSystemIsRead() throws {
    let names = walk([UInt8](try Data(contentsOf: URL(fileURLWithPath: "/bin/true"))))
    #expect(names.contains(".text") && names.contains(".dynstr"))
  }

  @Test func whatIsNoELFFileHasNoOutline() {
    for bytes in [[], [0x7F], Array("\0asm\u{1}\0\0\0".utf8), Array(repeating: UInt8(0), count: 100)] {
      #expect(walk(bytes) == [])
    }
  }

  @Test func everyTruncationIsRead() {
    for is64Bit in [true, false] {
      let bytes = SmallELF(is64Bit: is64Bit).bytes
      for count in 0..<bytes.count { walk(Array(bytes[..<count])) }
    }
  }

  @Test func whatLiesOutsideTheFileIsSaid() throws {
    let bytes = SmallELF().bytes
    try bytes.withUnsafeBytes { buffer in
      let outline = try #require(ElfOutline(ByteRegion(base: buffer.baseAddress!, count: bytes.count - 70)))
      #expect(outline.problems.contains("only 1 of 3 section headers lie in the file"))
    }
  }

  @Test(arguments: [true, false], [true, false])
  func noWordDoesHarm(is64Bit: Bool, isExtended: Bool) {
    let bytes = SmallELF(is64Bit: is64Bit, isExtended: isExtended).bytes
    let values: [[UInt8]] = [
      [0xFF, 0xFF, 0xFF, 0xFF], [0xFF, 0xFF, 0xFF, 0x7F], [0, 0, 0, 0x80], [0, 0, 0, 0], [1, 0, 0, 0],
    ]
    for place in 4..<bytes.count - 4 {
      for value in values {
        var broken = bytes
        broken.replaceSubrange(place..<place + 4, with: value)
        walk(broken)
      }
    }
  }
}
