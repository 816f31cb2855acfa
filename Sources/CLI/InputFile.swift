// What kind of file the user named, and its bytes.
//
// The content decides, never the name: a name is what whoever sent the file chose. The one thing that a name can do is
// to raise suspicion, and `run` refuses an artifact that calls itself `.wasm` (see RunCommand).

import Glibc
import PrecastWasm

/// What a file is, by its first four bytes.
enum FileKind: Equatable {
  case wasm
  case elf
  /// Of objects (`ar`).
  case archive
  /// LLVM's, in place of an object.
  case bitcode
  case other

  /// Tells from the first bytes, of which four are enough.
  init(magic: [UInt8]) {
    switch magic.prefix(4) {
    case [0x00, 0x61, 0x73, 0x6D]: self = .wasm
    case [0x7F, 0x45, 0x4C, 0x46]: self = .elf
    // `!<arch>` and `!<thin>`.
    case [0x21, 0x3C, 0x61, 0x72], [0x21, 0x3C, 0x74, 0x68]: self = .archive
    // As it is, and in its wrapper.
    case [0x42, 0x43, 0xC0, 0xDE], [0xDE, 0xC0, 0x17, 0x0B]: self = .bitcode
    default: self = .other
    }
  }

  /// Tells from a file that has been read.
  init(_ contents: WasmBinary) { self.init(magic: contents.bytes(0..<min(4, contents.count))) }

  /// What a file is that is none of what was wanted, and what to do, where there is something to do.
  var hint: String? {
    switch self {
    case .archive:
      "this is an archive of objects; take those that are needed out of it (ar x), and give them to precast link"
    case .bitcode: "this is LLVM bitcode, no machine code; compile it without -flto"
    case .wasm, .elf, .other: nil
    }
  }
}

/// A file that is open for reading; closed when it goes.
struct InputFile: ~Copyable {
  /// The file, as the user named it.
  let path: String
  /// Its descriptor.
  let descriptor: Int32
  /// Its size in bytes; 0 for what has none, such as a pipe.
  let size: Int
  /// Whether it has a size and a place to read from, unlike a pipe.
  let isRegular: Bool
  private let isPipe: Bool

  /// Opens a file; a directory is refused. A pipe is not waited for here: who opens the other end of one that has a name
  /// may never come.
  init(path: String) throws(Failure) {
    if path.isEmpty { throw Failure("the name of a file is empty", code: Exit.usage) }
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .system(errno, path) }
    var status = stat()
    let problem = unsafe fstat(descriptor, &status) != 0 ? errno : status.st_mode & S_IFMT == S_IFDIR ? EISDIR : 0
    guard problem == 0 else {
      close(descriptor)
      throw .system(problem, path)
    }
    self.path = path
    self.descriptor = descriptor
    isPipe = status.st_mode & S_IFMT == S_IFIFO
    isRegular = status.st_mode & S_IFMT == S_IFREG
    size = isRegular ? Int(status.st_size) : 0
  }

  deinit { close(descriptor) }

  /// What the file is. A pipe's first bytes can be had only once, so for anything but a regular file this is `other`.
  func kind() throws(Failure) -> FileKind {
    guard isRegular else { return .other }
    var magic = [UInt8](repeating: 0, count: 4)
    let count = unsafe magic.withUnsafeMutableBytes { buffer in
      unsafe pread(descriptor, buffer.baseAddress, buffer.count, 0)
    }
    guard count >= 0 else { throw .system(errno, path) }
    return FileKind(magic: Array(magic.prefix(count)))
  }

  /// Whether a path leads to this very file.
  func isSame(as path: String) -> Bool {
    var mine = stat()
    var other = stat()
    guard unsafe fstat(descriptor, &mine) == 0, unsafe stat(path, &other) == 0 else { return false }
    return mine.st_dev == other.st_dev && mine.st_ino == other.st_ino
  }

  /// The first bytes of a regular file, at most `most`; none of anything else.
  func start(_ most: Int) throws(Failure) -> [UInt8] {
    guard isRegular else { return [] }
    var bytes = [UInt8](repeating: 0, count: min(most, size))
    let count = unsafe bytes.withUnsafeMutableBytes { buffer in
      unsafe pread(descriptor, buffer.baseAddress, buffer.count, 0)
    }
    guard count >= 0 else { throw .system(errno, path) }
    return Array(bytes.prefix(count))
  }

  /// All of the file's bytes, or the first four alone where they are those of none of the kinds.
  ///
  /// A file can have any size and a pipe need not end, so nothing is read that is of no use: `/dev/zero` is refused
  /// after four bytes, and no kind may have more than `mostBytes`.
  func contents(ifOneOf kinds: [FileKind]) throws(Failure) -> WasmBinary {
    var bytes = ByteStore()
    try waitForWriter(&bytes)
    try read(into: &bytes, upTo: 4)
    if !kinds.contains(FileKind(magic: bytes.prefix(4))) { return WasmBinary(bytes.prefix(4)) }
    if size > Self.mostBytes { throw tooLarge }
    if isRegular {
      let binary = try unsafe WasmBinary(capacity: size) { (buffer) throws(Failure) in
        var count = 0
        while count < buffer.count {
          let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
          let read = unsafe pread(descriptor, part.baseAddress, part.count, off_t(count))
          if read < 0 && errno == EINTR { continue }
          guard read >= 0 else { throw .system(errno, path) }
          if read == 0 { break }
          count += read
        }
        return count
      }
      guard let binary else { throw noMemory }
      return binary
    }
    try read(into: &bytes, upTo: Self.mostBytes + 1)
    if bytes.count > Self.mostBytes { throw tooLarge }
    let binary = unsafe bytes.withBytes { contents in
      unsafe WasmBinary(capacity: contents.count) { buffer in
        unsafe buffer.copyMemory(from: contents)
        return contents.count
      }
    }
    guard let binary else { throw noMemory }
    return binary
  }

  /// The size that a file may have: offsets in modules and in artifacts' code have 32 bits.
  static let mostBytes = Int(UInt32.max)

  private var tooLarge: Failure { Failure("\(path): larger than \(Self.mostBytes) bytes") }
  private var noMemory: Failure { Failure("\(path): there is not enough memory to read it") }

  /// Lets reads wait from now on; of a pipe only if there is somebody to wait for.
  private func waitForWriter(_ bytes: inout ByteStore) throws(Failure) {
    if isRegular { return }
    if isPipe {
      // The end of the file, where nobody has the other end open; nothing yet, where somebody has.
      guard bytes.reserve(4) else { throw noMemory }
      let count = unsafe bytes.withFree { space in unsafe Glibc.read(descriptor, space.baseAddress, 4) }
      if count == 0 { throw Failure("\(path): this is a pipe that nobody writes to") }
      if count > 0 { bytes.count += count }
    }
    guard fcntl(descriptor, F_SETFL, 0) == 0 else { throw .system(errno, path) }
  }

  /// Appends what comes next, until there are `limit` bytes or no more come.
  private func read(into bytes: inout ByteStore, upTo limit: Int) throws(Failure) {
    while bytes.count < limit {
      guard bytes.reserve(min(limit - bytes.count, 1 << 16)) else { throw noMemory }
      let count = unsafe bytes.withFree { space in
        let most = min(space.count, limit - bytes.count)
        // What a regular file gives is looked at again from its start.
        return unsafe isRegular
          ? pread(descriptor, space.baseAddress, most, off_t(bytes.count))
          : Glibc.read(descriptor, space.baseAddress, most)
      }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .system(errno, path) }
      if count == 0 { return }
      bytes.count += count
    }
  }
}

/// Bytes that grow, unlike an array's without ending the process when there is no more memory.
@safe
private struct ByteStore: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  /// The number of bytes that count; never above what was reserved.
  var count = 0

  init() { unsafe base = nil }

  deinit { unsafe free(base) }

  /// Makes room for more bytes; whether there is.
  mutating func reserve(_ more: Int) -> Bool {
    if capacity - count >= more { return true }
    let larger = max(capacity * 2, count + more)
    guard let moved = unsafe realloc(base, larger) else { return false }
    unsafe base = moved
    capacity = larger
    return true
  }

  /// Lends what is reserved and does not count yet.
  func withFree<R>(_ body: (UnsafeMutableRawBufferPointer) -> R) -> R {
    // In bounds: the count is never above the capacity.
    unsafe body(UnsafeMutableRawBufferPointer(start: base.map { unsafe $0 + count }, count: capacity - count))
  }

  /// Lends the bytes that count.
  func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    unsafe body(UnsafeRawBufferPointer(start: base, count: count))
  }

  /// A copy of the first bytes.
  func prefix(_ most: Int) -> [UInt8] { unsafe withBytes { bytes in unsafe Array(bytes.prefix(most)) } }
}
