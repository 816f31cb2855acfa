// Writable data, for code that was not compiled from wasm.
//
// Compiled wasm has no state of its own: all of it is in memories, tables, globals and the context. Code that a C
// compiler made has variables. They must be writable where everything else of an artifact is not, at a distance from
// the text that was fixed when the file was written. Hence they stand on pages of their own, and last: behind all that
// is read in place, section headers included, so that `.bss`, which has no bytes in the file, can follow in memory without a
// hole in the file or two places for one address.
//
//      file     | first page | .text | tables, symbols, section headers | zeros | .data |
//      memory                | r-x   | r--                                      | rw-   | .bss  rw- |
//
// Where there is `.bss`, there is `.data`, if only of a few zeros: tools that check program headers want a writable segment
// to have a writable section in the file.
//
// The pages of `.data` are mapped copy-on-write. They have no checksums, because they change; the digest in the build-id
// covers them as they are in the file. The variables belong to the loaded artifact, not to an instance: as in
// a shared library, there is one of each for all who use it.

/// Where an artifact's writable data is.
public struct WritableExtent: Sendable, Equatable {
  /// Where it starts, on a page: offset in the file, and address.
  public var offset: UInt64
  /// Bytes that the file has of it, up to its end.
  public var fileSize: UInt64
  /// Bytes in memory: what follows the file's bytes starts as zeros.
  public var memorySize: UInt64
}

extension EngineSection {
  /// The writable data; nil where there is none.
  public var writable: WritableExtent? {
    let data = self[.data]
    if data.size == 0 { return nil }
    return WritableExtent(offset: data.offset, fileSize: data.size, memorySize: data.size &+ self[.bss].size)
  }

  /// The end of what is only read: of the file, where nothing is writable.
  public var readOnlyEnd: UInt64 { self[.data].size > 0 ? self[.data].offset : fileSize }

  /// Checks that writable data stands at the end of the file, on pages of its own, with nothing behind it.
  ///
  /// - Parameter end: the end of all that is not writable, section headers included.
  func checkWritable(behind end: UInt64) throws(ArtifactError) {
    let pageSize = record.settings.pageSize
    let data = self[.data]
    let bss = self[.bss]
    guard data.size > 0 else {
      guard end == fileSize else { throw .damaged(.engine, 0, "the file does not end with its section headers") }
      guard bss.size == 0 else {
        throw .damaged(.engine, 0, "\(SectionKind.bss.name) without \(SectionKind.data.name)")
      }
      return
    }
    guard data.offset == (end + pageSize - 1) / pageSize * pageSize, data.end == fileSize else {
      throw .damaged(.engine, 0, "\(SectionKind.data.name) is not at the end of the file, on pages of its own")
    }
    guard
      bss.size == 0
        || (bss.offset == fileSize && bss.offset % SectionKind.bss.alignment(pageSize: pageSize) == 0)
    else { throw .damaged(.engine, 0, "\(SectionKind.bss.name) does not follow the end of the file") }
  }
}
