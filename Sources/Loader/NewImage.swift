// The memory in which a whole artifact is put together.
//
// What is complete goes into a sealed `memfd` or a file, by writing. (A mapping of the `memfd` would spare the copy, but
// not pay: its pages come one by one, and cleared.) It is written while the digest is computed, chunk by chunk.

import Glibc
import PrecastArtifact
import PrecastVerification

/// The bytes of an artifact that is being made.
@safe
struct NewImage: ~Copyable {
  private let memory: FreshMemory
  private let engine: EngineSection

  /// Zeros, as many as a file with this directory has.
  init(_ engine: EngineSection) throws(LoadError) {
    guard let length = Int(exactly: engine.fileSize), length > 0 else { throw .system(ENOMEM, "make an image") }
    memory = try FreshMemory(size: length)
    self.engine = engine
  }

  /// All bytes, as long as this lives.
  @unsafe var bytes: UnsafeMutableRawBufferPointer { unsafe memory.bytes }

  /// The bytes of a section, as long as this lives; none of what does not lie in the file.
  @unsafe subscript(kind: SectionKind) -> UnsafeMutableRawBufferPointer {
    let extent = engine[kind]
    let (end, overflow) = extent.offset.addingReportingOverflow(extent.size)
    guard !overflow, unsafe end <= UInt64(bytes.count) else {
      return unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[0..<0])
    }
    return unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[Int(extent.offset)..<Int(end)])
  }

  /// Puts checksums and digest in, and makes a sealed file in memory of it.
  borrowing func sealedFile() throws(LoadError) -> FileDescriptor {
    let file = try FileDescriptor.memory()
    let result = unsafe ArtifactSeal.apply(to: bytes, engine: engine, writingTo: file.number)
    guard result == 0 else {
      throw .system(
        result, "put the artifact's \(engine.fileSize) bytes into memory", requesting: Int(clamping: engine.fileSize))
    }
    try file.seal()
    return file
  }

  /// Puts checksums and digest in, and writes the bytes to a new file at `path`, atomically.
  borrowing func write(toFile path: String, durable: Bool) throws(LoadError) {
    let file = try NewFile(for: path)
    let result = unsafe ArtifactSeal.apply(to: bytes, engine: engine, writingTo: file.descriptor)
    guard result == 0 else { throw .system(result, "write the file", path: path) }
    try file.publish(durable: durable)
  }
}
