// An artifact in memory, ready to run.
//
// Loading is a handful of system calls at any size: open, fstat, one read of the first page, a
// mapping of everything from the text on, and the text's protection. The first page is
// decided upon before anything is mapped and is not mapped itself; no other page is touched. Then
// the text is entered in the process's map from pc to code and its unwind tables are registered,
// neither of which looks at them.
//
//      file     | first page | .text | .eh_frame, .wasmtime.*, .rodata.wasm, symbols, ... | .data |
//      memory                | r-x   | r--                                                | rw-   | .bss rw- |
//
// Writable data is in artifacts that have code of other compilers linked in; it takes another call or two.
//
// A loaded artifact keeps a descriptor of its file. Memories' images are mapped later from it, copy-on-write; it gives
// the artifact's bytes, first page included, to whoever wants to store them; and the signal handler asks it whether the
// file is still as long as it was. (A mapping cannot be duplicated privately, and reopening by name finds another
// file after a rename.) It costs no call at load, which leaves the file open instead of closing it. Ten thousand
// descriptors need RLIMIT_NOFILE to allow them: the soft limit is raised to the hard one when it is reached.
//
// A loaded artifact may be found through the map of code by any thread, while its last owner drops
// it. So the map does not point to it, but to a small box with a weak reference, which lives until
// no reader can be looking at it.

import CPrecastHost
import Glibc
public import PrecastArtifact
package import Synchronization

/// A loaded artifact: its text mapped for execution, everything else for reading, known to the
/// unwinder and to the process's map of code. All of it goes when the last reference does, so the
/// owner must keep one while the code may run or its addresses are in use.
@safe
public final class LoadedArtifact: Sendable {
  /// The reader over the mapped sections (all but those of the first page, and the text).
  public let artifact: Artifact
  /// Address of the start of `.text`.
  public let textBase: UInt
  /// Size of `.text` in bytes, whole pages.
  public let textSize: Int
  /// A descriptor of the file (or sealed memory) that the artifact is mapped from, open as long as
  /// this object lives.
  public let fileDescriptor: Int32

  // The mapping, given back behind `deinit`.
  private let space: CodeSpace

  /// Whether the code was linked for this very place in memory, and holds addresses.
  public let isBoundToAddress: Bool

  // Checks the pages behind the text when they are first read.
  let pages: PageGuard
  // Handles of the C side: written once in `init`, used once in `deinit`.
  nonisolated(unsafe) let code: UnsafeMutablePointer<precast_code>
  private nonisolated(unsafe) let frames: OpaquePointer?
  private let cachedInfo = Mutex<ModuleInfo?>(nil)
  /// What a layer above keeps with the artifact; empty unless it was asked for something.
  package let companion = AtomicLazyReference<ArtifactCompanion>()

  /// Loads the artifact at `path`.
  ///
  /// - Parameters:
  ///   - host: what the artifact may ask for; anything else is an `incompatible` error that names each
  ///     differing setting.
  ///   - verification: how much of the file is checked now rather than when it is read.
  ///   - unwinding: how the code is made known to the process's unwinder.
  public convenience init(
    path: String, host: CompilerSettings = HostSettings.current, verification: Verification = .none,
    unwinding: UnwindRegistration = .perModule
  ) throws(LoadError) {
    try self.init(
      FileDescriptor.open(path: path), path: path, host: host, verification: verification, unwinding: unwinding)
  }

  /// Loads from an open descriptor of a regular file, which the caller keeps (and may close).
  /// The file's position is neither used nor changed.
  public convenience init(
    fileDescriptor: Int32, host: CompilerSettings = HostSettings.current, verification: Verification = .none,
    unwinding: UnwindRegistration = .perModule
  ) throws(LoadError) {
    try self.init(
      FileDescriptor.duplicate(fileDescriptor), path: nil, host: host, verification: verification, unwinding: unwinding)
  }

  /// Loads from bytes, by way of sealed memory; the bytes are not needed afterwards.
  public convenience init(
    bytes: RawSpan, host: CompilerSettings = HostSettings.current, verification: Verification = .none,
    unwinding: UnwindRegistration = .perModule
  ) throws(LoadError) {
    try Self.checkHeader(bytes)
    try self.init(
      FileDescriptor.sealed(bytes), path: nil, host: host, verification: verification, unwinding: unwinding)
  }

  /// Spares a copy of what is no artifact.
  private static func checkHeader(_ bytes: RawSpan) throws(LoadError) {
    let result: Result<Void, LoadError> = unsafe bytes.withUnsafeBytes { buffer in
      guard let start = buffer.baseAddress else {
        return .failure(LoadError(kind: .notAnArtifact, message: "not a precast artifact: there are no bytes"))
      }
      do throws(ArtifactError) {
        _ = try unsafe ArtifactHeader(
          ByteRegion(base: start, count: min(buffer.count, ArtifactHeader.size)), fileSize: UInt64(buffer.count))
        return .success(())
      } catch {
        return .failure(LoadError(error, path: nil))
      }
    }
    try result.get()
  }

  /// Maps and enters an artifact; at `reservation`, if its code was linked for those addresses.
  init(
    _ file: consuming FileDescriptor, path: String?, at reservation: consuming AddressReservation? = nil,
    isBoundToAddress: Bool = false, host: CompilerSettings, verification: Verification,
    unwinding: UnwindRegistration = .perModule
  ) throws(LoadError) {
    let header = try file.readHeader(path: path)
    do throws(ArtifactError) { try header.record.check(host: host) } catch { throw LoadError(error, path: path) }
    guard HostSettings.hasBaseline else {
      throw LoadError(
        kind: .incompatible, path: path,
        message: "this processor lacks part of x86-64-v2 (SSE4.2, POPCNT, CMPXCHG16B), which every artifact uses")
    }
    let text = header.text
    // The header has checked: whole pages, inside the file, and the file is as long as it says.
    guard let size = Int(exactly: header.fileSize - text.offset), let textSize = Int(exactly: text.size),
      text.offset % UInt64(precast_page_size()) == 0
    else {
      throw LoadError(
        kind: .incompatible, path: path,
        message: "the text is at \(text.offset), which is not on a page of this system's \(precast_page_size()) bytes")
    }

    let mapping = try CodeSpace(mapping: file, header: header, at: reservation, path: path, unwinding: unwinding)
    let restStart = unsafe UnsafeRawPointer(bitPattern: mapping.address + UInt(textSize))!
    let pages = unsafe PageGuard(header.engine, rest: restStart)
    let rest = unsafe ByteRegion(base: restStart, count: size - textSize, pages: pages.pointer)
    let artifact: Artifact
    let traps: ByteRegion?
    do throws(ArtifactError) {
      artifact = try Artifact(header: header, rest: rest)
      traps = try artifact.section(.traps)
    } catch {
      throw LoadError(error, path: path)
    }

    // The C structure points at the mapped table, which stays until `deinit` has taken it back.
    let box = WeakBox()
    var description = unsafe precast_code(
      text_start: UInt64(mapping.address), text_end: UInt64(mapping.address) + text.size,
      mapping_end: UInt64(mapping.address) + UInt64(size),
      data_start: header.engine.writable.map { UInt64(mapping.address) + ($0.offset - text.offset) } ?? 0,
      traps: traps?.baseAddress.assumingMemoryBound(to: UInt8.self), traps_size: UInt64(traps?.count ?? 0),
      pages: pages.pointer, file: file.number, file_size: header.fileSize, damaged: 0,
      owner: Unmanaged.passRetained(box).toOpaque())
    var registered: UnsafeMutablePointer<precast_code>?
    let result = unsafe precast_code_register(&description, releaseWeakBox, &registered)
    guard result == 0, let code = unsafe registered else {
      unsafe releaseWeakBox(description.owner)
      throw .system(-result, "enter the text in the map of code", path: path)
    }
    if verification == .full {
      // Entered first, so that a file that shrinks meanwhile is known for what it is; not yet told to the unwinder.
      do throws(LoadError) {
        try unsafe Self.verify(
          file, header: header, mapping: UnsafeRawBufferPointer(start: restStart - textSize, count: size), pages: pages,
          path: path)
      } catch {
        unsafe precast_code_unregister(code)
        throw error
      }
    }
    let ehFrame = header.extent(of: .ehFrame)

    self.artifact = artifact
    self.isBoundToAddress = isBoundToAddress
    self.pages = pages
    self.textSize = textSize
    unsafe self.code = code
    unsafe self.frames =
      unwinding != .none && mapping.arena == nil && ehFrame.size != 0
      ? precast_register_frames(
        UnsafeRawPointer(bitPattern: mapping.address + UInt(ehFrame.offset - text.offset)), Int(ehFrame.size))
      : nil
    self.fileDescriptor = file.take()
    self.textBase = mapping.address
    self.space = mapping
    // Nobody can know an address in this text yet, so nobody looks at the box before this.
    box.artifact = self
  }

  deinit {
    companion.load()?.artifactWillUnmap()
    // First unreachable, then unmapped: by the last reference to the address space.
    unsafe precast_code_unregister(code)
    unsafe precast_deregister_frames(frames)
    close(fileDescriptor)
  }

  /// What the first page says: sections, compatibility record, build-id.
  public var header: ArtifactHeader { artifact.header }

  /// The module's tables; opened at the first call, and kept. An error as well when the file was changed while it was
  /// loaded; see ``checkIntact()``.
  public func moduleInfo() throws(ArtifactError) -> ModuleInfo {
    try checkIntact()
    if let info = cachedInfo.withLock({ $0 }) { return info }
    let info = try believing { () throws(ArtifactError) in try artifact.moduleInfo() }
    cachedInfo.withLock { $0 = info }
    return info
  }

  /// The module's tables, also when the artifact is damaged: each page of them that is read has to fit its checksum.
  func remainingInfo() throws(ArtifactError) -> ModuleInfo {
    if let info = cachedInfo.withLock({ $0 }) { return info }
    return try artifact.moduleInfo()
  }

  /// Maps an extent of a memory's image copy-on-write into a reservation that has the memory's first
  /// byte at offset `start`.
  public func mapImage(
    _ extent: ImageExtent, into reservation: AddressSpaceReservation, at start: Int = 0
  ) throws(LoadError) {
    let fileOffset: UInt64
    do throws(ArtifactError) {
      fileOffset = try believing { () throws(ArtifactError) in try artifact.fileOffset(of: extent) }
    } catch {
      throw LoadError(error, path: nil)
    }
    guard let offset = Int(exactly: extent.memoryOffset), offset <= Int.max - start,
      let length = Int(exactly: extent.size),
      let fileOffset = Int(exactly: fileOffset)
    else { throw .system(EINVAL, "map a data image") }
    try reservation.mapImage(
      offset: start + offset, length: length, fileDescriptor: fileDescriptor, fileOffset: fileOffset)
    let address = reservation.base + UInt(start + offset)
    reservation.registeredImages.append(try registerImage(address..<address + UInt(length)))
  }
}

/// What the map of code points to.
private final class WeakBox: @unchecked Sendable {
  // Written once, before the text's address is known to anybody; read by any thread.
  weak var artifact: LoadedArtifact?
}

private let releaseWeakBox: @convention(c) (UnsafeMutableRawPointer?) -> Void = { owner in
  if let owner = unsafe owner { unsafe Unmanaged<WeakBox>.fromOpaque(owner).release() }
}

extension LoadedArtifact {
  /// The loaded artifact whose text holds `pc`. Lock-free.
  public static func containing(pc: UInt) -> LoadedArtifact? {
    // Between begin and end the box lives, whatever other threads drop meanwhile.
    let token = precast_code_read_begin()
    defer { precast_code_read_end(token) }
    guard let owner = unsafe precast_code_read_find(UInt64(pc))?.pointee.owner else { return nil }
    return unsafe Unmanaged<WeakBox>.fromOpaque(owner).takeUnretainedValue().artifact
  }
}
