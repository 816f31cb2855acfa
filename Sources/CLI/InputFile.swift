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
  case other

  /// Tells from the first bytes, of which four are enough.
  init(magic: [UInt8]) {
    switch magic.prefix(4) {
    case [0x00, 0x61, 0x73, 0x6D]: self = .wasm
    case [0x7F, 0x45, 0x4C, 0x46]: self = .elf
    default: self = .other
    }
  }

  /// Tells from a file that has been read.
  init(_ contents: WasmBinary) { self.init(magic: contents.bytes(0..<min(4, contents.count))) }
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

  /// Opens a file; a directory is refused.
  init(path: String) throws(Failure) {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(errno, path) }
    var status = stat()
    let problem = unsafe fstat(descriptor, &status) != 0 ? errno : status.st_mode & S_IFMT == S_IFDIR ? EISDIR : 0
    guard problem == 0 else {
      close(descriptor)
      throw .system(problem, path)
    }
    self.path = path
    self.descriptor = descriptor
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

  /// All of the file's bytes.
  func contents() throws(Failure) -> WasmBinary {
    if isRegular {
      return try unsafe WasmBinary(capacity: size) { (buffer) throws(Failure) in
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
    }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe piece.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .system(errno, path) }
      if count == 0 { return WasmBinary(bytes) }
      bytes += piece[..<count]
    }
  }
}
