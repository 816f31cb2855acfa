// A loaded artifact's bytes, for whoever wants to store or send it.
//
// What is loaded is the file from its text on, and the text is mapped for running, not for reading. So the bytes come
// from the descriptor that every loaded artifact keeps: mapped whole for the time of a call (nothing is copied, and
// pages are those that are in memory anyway), read into an array, or copied from file to file by the kernel, which
// shares the blocks where the file system can. The descriptor leads to what was loaded, also when the file's name has
// come to mean another one. Loading pays nothing for this.
//
// The file may have been overwritten since. That cannot be seen in general; but other bytes of an artifact have another
// build-id, so the first page is compared, and a file that got shorter is noticed while it is read.

import CPrecastHost
import Glibc
import PrecastArtifact
import Synchronization

extension LoadedArtifact {
  /// The size of the artifact in bytes.
  public var byteCount: Int { Int(clamping: header.fileSize) }

  /// Lends the artifact's bytes for the time of a call: the whole file, mapped. The span must not escape.
  ///
  /// - Throws: `LoadError` when they cannot be had: of kind `damaged` when the file was changed while it was loaded, even
  ///   if only while `body` ran, whose result is then dropped; or what `body` throws.
  public func withSerializedBytes<R>(_ body: (RawSpan) throws -> R) throws -> R {
    try checkPlace()
    let mapping = try MappedBytes(of: self)
    return try withExtendedLifetime(mapping) {
      let result: R
      do {
        // The mapping lives until the closure returns.
        let bytes = unsafe RawSpan(_unsafeBytes: mapping.bytes)
        try checkIdentity(bytes)
        result = try body(bytes)
      } catch {
        if isDamaged { throw lostFile() }
        throw error
      }
      if isDamaged { throw lostFile() }
      return result
    }
  }

  /// A copy of the artifact's bytes.
  ///
  /// - Throws: `LoadError`; of kind `damaged` when the file was changed while it was loaded.
  public func serializedBytes() throws(LoadError) -> [UInt8] {
    try checkPlace()
    let size = byteCount
    var result: Int32 = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      guard let start = buffer.baseAddress else { return }
      result = unsafe precast_read_exactly(fileDescriptor, start, size, 0)
      count = result == 0 ? size : 0
    }
    try check(result, "read the artifact's \(size) bytes")
    // The span is of an array that is held here.
    try unsafe checkIdentity(bytes.span.bytes)
    return bytes
  }

  /// Writes the artifact's bytes to a new file at `path`, atomically: whatever happens, the path leads to the old file or
  /// to the whole new one. A symbolic link stays, and what it leads to is replaced.
  ///
  /// - Parameter durable: whether to wait until the file is on disk.
  /// - Throws: `LoadError`; of kind `damaged` when the file was changed while it was loaded.
  public func write(toFile path: String, durable: Bool = true) throws(LoadError) {
    try checkPlace()
    if isDamaged { throw lostFile() }
    let file = try NewFile(for: path)
    try check(precast_copy_file(fileDescriptor, file.descriptor, header.fileSize), "copy the artifact", path: path)
    let page = try file.firstPage()
    try unsafe checkIdentity(page.span.bytes)
    try file.publish(durable: durable)
  }

  /// Objects that were linked into memory may hold addresses there.
  private func checkPlace() throws(LoadError) {
    if isBoundToAddress {
      throw LoadError(
        kind: .boundToAddress,
        message: "this was linked from objects that hold addresses, and works only where it is; to have it as a file, "
          + "compile them with -fPIC -fvisibility=hidden and without references to symbols of the host, and link them to one"
      )
    }
  }

  /// Whether the bytes, of which the first page is enough, are still those that were loaded.
  private func checkIdentity(_ bytes: RawSpan) throws(LoadError) {
    let found = unsafe bytes.withUnsafeBytes { buffer -> ArtifactHeader? in
      guard let start = buffer.baseAddress else { return nil }
      return unsafe try? ArtifactHeader(
        ByteRegion(base: start, count: min(buffer.count, ArtifactHeader.size)), fileSize: header.fileSize)
    }
    if isDamaged { throw lostFile() }
    guard let found, found.buildID == header.buildID else {
      unsafe precast_code_set_damaged(code)
      throw LoadError(
        kind: .damaged,
        message: "\(currentPath ?? "the file") was changed while it was loaded: its first page is another one")
    }
  }

  private func check(_ result: Int32, _ action: @autoclosure () -> String, path: String? = nil) throws(LoadError) {
    if result == 0 { return }
    guard result != -ENODATA else {
      unsafe precast_code_set_damaged(code)
      throw lostFile()
    }
    throw .system(-result, action(), path: path)
  }
}

/// An artifact's whole file, mapped for reading as long as this lives. The signal handler knows of it, so a page that
/// is lost reads as zero and leaves its mark on the artifact.
@safe
private final class MappedBytes {
  let bytes: UnsafeRawBufferPointer
  private var registration: ImageRegistration?

  init(of artifact: LoadedArtifact) throws(LoadError) {
    if artifact.isDamaged { throw artifact.lostFile() }
    var address: UInt64 = 0
    let size = artifact.byteCount
    let result = unsafe precast_map_file(artifact.fileDescriptor, size, &address)
    guard result == 0 else { throw .system(-result, "map the artifact's \(size) bytes", requesting: size) }
    do throws(LoadError) {
      registration = try artifact.registerImage(UInt(address)..<UInt(address) + UInt(size))
    } catch {
      _ = precast_release(address, size)
      throw error
    }
    unsafe bytes = UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: UInt(address)), count: size)
  }

  deinit {
    // Before the addresses can be somebody else's.
    registration = nil
    unsafe _ = precast_release(UInt64(UInt(bitPattern: bytes.baseAddress)), bytes.count)
  }
}
