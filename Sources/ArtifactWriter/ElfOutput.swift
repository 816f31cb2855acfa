// Hands a plan to libelf.
//
// libelf is told to leave the layout alone (`ELF_F_LAYOUT`), because the layout is the format. The
// text is given to it piece by piece where it lies, with padding between, so that it is copied once:
// into the mapped output file.

import CLibELF
import Glibc
import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// Writes a plan through libelf.
enum ElfOutput {
  // `elf_version` sets a variable of the library's; once is enough, and the answer tells whether
  // library and header fit.
  static let isUsable: Bool = elf_version(UInt32(EV_CURRENT)) != UInt32(EV_NONE)

  static func failure() -> ArtifactWriterError {
    // Errors are per thread; the string is a constant of the library.
    let message = unsafe elf_errmsg(-1).map { unsafe String(cString: $0) } ?? "unknown error"
    return ArtifactWriterError(operation: "write", path: "", message: message)
  }

  static func check<T>(_ value: T?) throws(ArtifactWriterError) -> T {
    guard let value else { throw failure() }
    return value
  }

  /// Writes the file; checksums and the digest in the build-id stay zero.
  static func write(_ plan: ArtifactPlan, to file: borrowing OutputFile) throws(ArtifactWriterError) {
    guard isUsable else { throw failure() }
    try file.reserve(Int(plan.engine.fileSize))
    let elf = try unsafe check(elf_begin(file.descriptor, ELF_C_WRITE_MMAP, nil))
    // All pointers below belong to `elf`, and are used before it ends.
    defer { unsafe _ = elf_end(elf) }
    _ = unsafe elf_flagelf(elf, ELF_C_SET, UInt32(ELF_F_LAYOUT))
    let settings = plan.input.record.settings
    let header = try unsafe check(elf64_newehdr(elf))
    unsafe header.pointee.e_ident.5 = ELF.littleEndian
    unsafe header.pointee.e_type = ELF.typeDynamic
    unsafe header.pointee.e_machine = UInt16(settings.architecture.rawValue)
    unsafe header.pointee.e_version = ELF.versionCurrent
    unsafe header.pointee.e_phoff = ELF.headerSize
    unsafe header.pointee.e_shoff = plan.layout.sectionHeadersOffset
    unsafe header.pointee.e_shstrndx = UInt16(plan.layout.headerIndex(of: .sectionNames))
    let programHeaders = ArtifactHeader.programHeaders(plan.engine)
    let segments = try unsafe check(elf64_newphdr(elf, programHeaders.count))
    for segment in programHeaders {
      unsafe segments[segment.index] = Elf64_Phdr(
        p_type: segment.type, p_flags: segment.flags, p_offset: segment.offset, p_vaddr: segment.offset,
        p_paddr: segment.offset, p_filesz: segment.fileSize, p_memsz: segment.memorySize, p_align: segment.alignment)
    }
    let padding = Padding(settings.architecture, size: Int(settings.pageSize))

    var position = 0
    for (index, kind) in plan.layout.sections.enumerated() {
      let section = try unsafe check(elf_newscn(elf))
      let extent = plan.engine[kind]
      let sectionHeader = try unsafe check(elf64_getshdr(section))
      unsafe sectionHeader.pointee = Elf64_Shdr(
        sh_name: plan.layout.nameOffset(of: kind), sh_type: kind.elfType, sh_flags: kind.elfFlags,
        sh_addr: kind.elfFlags & ELF.flagAlloc != 0 ? extent.offset : 0, sh_offset: extent.offset,
        sh_size: extent.size, sh_link: kind == .symbols ? UInt32(index + 2) : 0,
        sh_info: kind == .symbols ? UInt32(plan.symbolCount) : 0,
        sh_addralign: kind.alignment(pageSize: settings.pageSize), sh_entsize: kind.elfEntrySize)
      if kind == .text {
        try unsafe addText(plan, to: section, padding)
      } else {
        let contents = plan.sections[position]
        position += 1
        try unsafe add(
          contents.buffer.startAddress, contents.buffer.count, at: 0, to: section,
          type: kind == .symbols ? ELF_T_SYM : ELF_T_BYTE)
        if !contents.tail.isEmpty { try unsafe addTail(contents, of: plan.input.binary, to: section) }
      }
    }
    guard unsafe elf_update(elf, ELF_C_WRITE_MMAP) == Int64(plan.engine.fileSize) else { throw failure() }
    withExtendedLifetime(padding) {}
  }

  /// What stands where no code is: the architecture's trap instruction, `int3` or `brk #0`, over and over. libelf reads it
  /// when the file is written, so it has to live as long.
  @safe
  struct Padding: ~Copyable {
    fileprivate let base: UnsafeMutableRawPointer
    fileprivate let size: Int

    init(_ architecture: Architecture, size: Int) {
      self.size = size
      unsafe base = .allocate(byteCount: size, alignment: 16)
      for offset in stride(from: 0, to: size, by: 4) {
        let word: UInt32 = architecture == .x86_64 ? 0xCCCC_CCCC : 0xD420_0000
        unsafe base.storeBytes(of: word.littleEndian, toByteOffset: offset, as: UInt32.self)
      }
    }

    deinit { unsafe base.deallocate() }
  }

  /// Adds padding between two offsets of a section.
  @unsafe
  static func add(
    _ padding: borrowing Padding, from start: UInt64, to end: UInt64, in section: OpaquePointer
  ) throws(ArtifactWriterError) {
    var offset = start
    while offset < end {
      // Padding keeps its phase, so that words stay whole.
      let phase = Int(offset & 3)
      let size = min(Int(end - offset), padding.size - phase)
      try unsafe add(padding.base + phase, size, at: offset, to: section)
      offset += UInt64(size)
    }
  }

  @unsafe
  static func add(
    _ base: UnsafeRawPointer, _ count: Int, at offset: UInt64, to section: OpaquePointer, type: Elf_Type = ELF_T_BYTE
  ) throws(ArtifactWriterError) {
    let data = try unsafe check(elf_newdata(section))
    // libelf only reads what it writes out.
    unsafe data.pointee.d_buf = UnsafeMutableRawPointer(mutating: base)
    unsafe data.pointee.d_size = count
    unsafe data.pointee.d_off = Int64(offset)
    unsafe data.pointee.d_align = 1
    unsafe data.pointee.d_type = type
    unsafe data.pointee.d_version = UInt32(EV_CURRENT)
  }

  /// What follows a section's buffer, from where it lies in the binary, which the plan holds until the file is written.
  static func addTail(
    _ contents: SectionContents, of binary: WasmBinary, to section: OpaquePointer
  ) throws(ArtifactWriterError) {
    try unsafe binary.withUnsafeBytes { bytes throws(ArtifactWriterError) in
      var offset = UInt64(contents.buffer.count)
      for range in contents.tail where !range.isEmpty {
        // Ranges of the decoder's, so they lie in the binary.
        guard let base = bytes.baseAddress, range.upperBound <= bytes.count else { continue }
        try unsafe add(base + range.lowerBound, range.count, at: offset, to: section)
        offset += UInt64(range.count)
      }
    }
  }

  @unsafe
  private static func addText(
    _ plan: ArtifactPlan, to section: OpaquePointer, _ padding: borrowing Padding
  ) throws(ArtifactWriterError) {
    var offset: UInt64 = 0
    // A piece that is still open, since its neighbour may continue it in memory.
    var base: UnsafeRawPointer?
    var count = 0
    func flush() throws(ArtifactWriterError) {
      if let start = unsafe base, count > 0 { try unsafe add(start, count, at: offset - UInt64(count), to: section) }
      count = 0
    }
    for piece in plan.input.text where piece.count > 0 {
      if piece.textOffset == offset, count > 0, let start = unsafe base, unsafe start + count == piece.base {
        count += piece.count
        offset += UInt64(piece.count)
        continue
      }
      try flush()
      try unsafe add(padding, from: offset, to: piece.textOffset, in: section)
      offset = piece.textOffset
      unsafe base = piece.base
      count = piece.count
      offset += UInt64(piece.count)
    }
    try flush()
    try unsafe add(padding, from: offset, to: plan.engine[.text].size, in: section)
  }
}
