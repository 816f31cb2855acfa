// Everything of an artifact that is not a section's contents, straight into memory.
//
// An image that is linked into memory is an artifact like any other, so that whatever loads, checks and describes
// artifacts works on it. But a host that loads has no libelf. What an ELF file needs around its sections is little:
// a header, program headers and section headers, all of which follow from the layout. They are written here, field by field
// (gABI, chapters 4 and 5). The file writer's libelf writes the same bytes, which a test compares.

import PrecastMachineCode

extension ArtifactLayout {
  /// Writes ELF header, program headers, section headers and the sections that follow from the layout (the note without its
  /// digest, the record, section names, and checksums that are all zero) into the memory of a whole file.
  ///
  /// - Parameters:
  ///   - file: `engine.fileSize` bytes, zero where nothing has been written yet.
  ///   - localSymbols: number of local symbols, the null symbol included.
  @unsafe
  public func writeFrame(to file: UnsafeMutableRawBufferPointer, localSymbols: Int) {
    guard UInt64(file.count) == engine.fileSize else { return }
    let memory = unsafe FileMemory(bytes: file)
    let settings = engine.record.settings
    memory.put(ELF.magic, at: 0)
    memory.put([ELF.class64, ELF.littleEndian, UInt8(ELF.versionCurrent)], at: 4)
    memory.put(ELF.typeDynamic, at: 16)
    memory.put(UInt16(settings.architecture.rawValue), at: 18)
    memory.put(ELF.versionCurrent, at: 20)
    memory.put(ELF.headerSize, at: 32)
    memory.put(sectionHeadersOffset, at: 40)
    let programHeaders = ArtifactHeader.programHeaders(engine)
    let counts = [
      ELF.headerSize, ELF.programHeaderSize, UInt64(programHeaders.count), ELF.sectionHeaderSize,
      UInt64(sections.count + 1), UInt64(headerIndex(of: .sectionNames)),
    ]
    for (position, count) in counts.enumerated() {
      memory.put(UInt16(truncatingIfNeeded: count), at: 52 + 2 * position)
    }
    for header in programHeaders {
      let at = Int(ELF.headerSize) + header.index * Int(ELF.programHeaderSize)
      memory.put(header.type, at: at)
      memory.put(header.flags, at: at + 4)
      for field in [8, 16, 24] { memory.put(header.offset, at: at + field) }
      memory.put(header.fileSize, at: at + 32)
      memory.put(header.memorySize, at: at + 40)
      memory.put(header.alignment, at: at + 48)
    }
    memory.put(ArtifactHeader.emptyNote, at: ArtifactHeader.noteOffset)
    memory.put(engine.encoded(), at: ArtifactHeader.engineOffset)
    memory.put(sectionNames, at: Int(engine[.sectionNames].offset))
    memory.put(checksums.encoded().array, at: Int(engine[.checksums].offset))
    for (position, kind) in sections.enumerated() {
      let at = Int(sectionHeadersOffset) + (position + 1) * Int(ELF.sectionHeaderSize)
      let extent = engine[kind]
      memory.put(nameOffset(of: kind), at: at)
      memory.put(kind.elfType, at: at + 4)
      memory.put(kind.elfFlags, at: at + 8)
      memory.put(kind.elfFlags & ELF.flagAlloc != 0 ? extent.offset : 0, at: at + 16)
      memory.put(extent.offset, at: at + 24)
      memory.put(extent.size, at: at + 32)
      if kind == .symbols {
        memory.put(UInt32(headerIndex(of: .strings)), at: at + 40)
        memory.put(UInt32(truncatingIfNeeded: localSymbols), at: at + 44)
      }
      memory.put(kind.alignment(pageSize: settings.pageSize), at: at + 48)
      memory.put(kind.elfEntrySize, at: at + 56)
    }
  }
}

/// A file in memory, written little-endian; what would lie outside is not written.
@safe
struct FileMemory {
  // Written within its count only.
  let bytes: UnsafeMutableRawBufferPointer

  func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    guard offset >= 0, unsafe offset <= bytes.count - MemoryLayout<T>.size else { return }
    unsafe bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }

  func put(_ values: [UInt8], at offset: Int) {
    guard offset >= 0, unsafe values.count <= bytes.count, unsafe offset <= bytes.count - values.count else { return }
    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + values.count]).copyBytes(from: values)
  }
}
