// Hands an object's plan to libelf.
//
// As for artifacts, libelf leaves the layout alone and copies the code from where the compiler put it. It does the one thing
// here that is easily done wrong: numbers of sections that do not fit into the ELF header.

import CLibELF
import Glibc
import PrecastArtifact
import PrecastMachineCode

extension ElfOutput {
  /// Writes the file.
  static func write(_ plan: borrowing ObjectPlan, to file: borrowing OutputFile) throws(ArtifactWriterError) {
    guard isUsable else { throw failure() }
    let settings = plan.input.contents.record.settings
    try file.reserve(Int(plan.fileSize))
    let elf = try unsafe check(elf_begin(file.descriptor, ELF_C_WRITE_MMAP, nil))
    // All pointers below belong to `elf`, and are used before it ends.
    defer { unsafe _ = elf_end(elf) }
    _ = unsafe elf_flagelf(elf, ELF_C_SET, UInt32(ELF_F_LAYOUT))
    let header = try unsafe check(elf64_newehdr(elf))
    unsafe header.pointee.e_ident.5 = ELF.littleEndian
    unsafe header.pointee.e_type = UInt16(ET_REL)
    unsafe header.pointee.e_machine = UInt16(settings.architecture.rawValue)
    unsafe header.pointee.e_version = ELF.versionCurrent
    unsafe header.pointee.e_shoff = plan.sectionHeadersOffset
    let padding = Padding(settings.architecture, size: Int(settings.pageSize))
    for section in plan.sections {
      let target = try unsafe check(elf_newscn(elf))
      let sectionHeader = try unsafe check(elf64_getshdr(target))
      unsafe sectionHeader.pointee = section.header
      switch section.source {
      case .pieces(let first, let count):
        try unsafe addPieces(plan.input.pieces[first..<first + count], to: target, padding)
      case .buffer(let buffer, let offset):
        // The plan outlives `elf`.
        try unsafe add(plan.bytes(buffer, at: offset), Int(section.header.sh_size), at: 0, to: target)
      case .whole(let buffer):
        let contents = plan.buffers[buffer]
        try unsafe add(contents.buffer.startAddress, contents.buffer.count, at: 0, to: target)
        try unsafe addTail(contents, of: plan.input.contents.binary, to: target)
      }
    }
    // The number of sections is libelf's business, this index is not (gABI, "ELF Header", e_shstrndx).
    if plan.stringsIndex < Int(SHN_LORESERVE) {
      unsafe header.pointee.e_shstrndx = UInt16(plan.stringsIndex)
    } else {
      unsafe header.pointee.e_shstrndx = UInt16(SHN_XINDEX)
      let null = try unsafe check(elf64_getshdr(check(elf_getscn(elf, 0))))
      unsafe null.pointee.sh_link = UInt32(plan.stringsIndex)
    }
    guard unsafe elf_update(elf, ELF_C_WRITE_MMAP) == Int64(plan.fileSize) else { throw failure() }
    withExtendedLifetime(padding) {}
  }

  /// Adds pieces as they lie in memory, with what lies between those of one buffer; fills other gaps.
  @unsafe
  private static func addPieces(
    _ pieces: ArraySlice<ObjectPiece>, to section: OpaquePointer, _ padding: borrowing Padding
  ) throws(ArtifactWriterError) {
    guard let first = pieces.first else { return }
    let start = UInt64(first.textOffset)
    // What is open, since the next piece may continue it in memory.
    var base = unsafe first.base
    var opened: UInt64 = 0
    var end = UInt64(first.size)
    for piece in pieces.dropFirst() {
      let offset = UInt64(piece.textOffset) - start
      if piece.isAdjacent, unsafe base + Int(offset - opened) == piece.base {
        end = offset + UInt64(piece.size)
        continue
      }
      try unsafe add(base, Int(end - opened), at: opened, to: section)
      try unsafe add(padding, from: end, to: offset, in: section)
      unsafe base = piece.base
      opened = offset
      end = offset + UInt64(piece.size)
    }
    try unsafe add(base, Int(end - opened), at: opened, to: section)
  }
}

/// Writes unlinked objects, `ET_REL`.
public enum ObjectWriter {
  /// Writes an object to `path`, atomically: either the old file is there, or the new one.
  ///
  /// A path that names something other than a regular file (a pipe, a device) is written to as it is.
  ///
  /// - Parameters:
  ///   - input: what goes into the object.
  ///   - path: where to put it.
  ///   - durable: whether the contents are forced to disk before the file gets its name.
  /// - Throws: `ArtifactWriterError`.
  public static func write(
    _ input: ObjectInput, toFile path: String, durable: Bool = true
  ) throws(ArtifactWriterError) {
    let plan = try ObjectPlan(input)
    try OutputFile.write(path: path, durable: durable) { (file) throws(ArtifactWriterError) in
      try ElfOutput.write(plan, to: file)
    }
  }

  /// The bytes of an object.
  ///
  /// - Throws: `ArtifactWriterError`.
  public static func bytes(_ input: ObjectInput) throws(ArtifactWriterError) -> [UInt8] {
    let plan = try ObjectPlan(input)
    let file = try OutputFile.memory()
    try ElfOutput.write(plan, to: file)
    return try unsafe file.withMapping(size: Int(plan.fileSize)) { (bytes) throws(ArtifactWriterError) in
      unsafe [UInt8](bytes)
    }
  }
}
