// A guest's path, as a C string of the host.
//
// Paths in preview 1 are a pointer and a length without a terminator, so the bytes are copied, into a
// buffer that lives as long as the WASI instance: no path operation allocates. The bytes pass through
// as they are. Preview 1 says that strings are UTF-8, but file names on Linux are bytes, and a guest
// that lists a directory must be able to open what it found there.
//
// A path with a NUL inside is refused: the kernel would see a shorter path than the guest passed.

internal import Glibc

/// A reusable NUL-terminated buffer for one path.
@safe final class PathBuffer {
  /// PATH_MAX of Linux, the terminator included.
  static let capacity = 4096

  private let bytes: UnsafeMutablePointer<CChar>
  private(set) var count = 0

  init() {
    unsafe bytes = .allocate(capacity: Self.capacity)
    unsafe bytes[0] = 0
  }

  deinit { unsafe bytes.deallocate() }

  /// The path, terminated, valid until the buffer is loaded again.
  @unsafe var cString: UnsafePointer<CChar> { unsafe UnsafePointer(bytes) }

  /// Takes over the `length` bytes at `address`.
  /// Throws `nametoolong` (4096 bytes or more), `inval` (a NUL inside), `noent` (empty), `fault`.
  func load(_ memory: GuestMemory, _ address: UInt32, _ length: UInt32) throws(WASIErrno) {
    let source = try unsafe memory.region(address, UInt64(length))
    try unsafe assign(UnsafeRawBufferPointer(start: source, count: Int(length)))
  }

  /// Takes over the bytes of a host string; the same errors.
  func load(_ string: String) throws(WASIErrno) {
    var string = string
    let result: Result<Void, WASIErrno> = string.withUTF8 { utf8 in
      do throws(WASIErrno) {
        try unsafe assign(UnsafeRawBufferPointer(utf8))
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  private func assign(_ source: UnsafeRawBufferPointer) throws(WASIErrno) {
    count = 0
    unsafe bytes[0] = 0
    if source.count >= Self.capacity { throw .nametoolong }
    guard source.count > 0, let start = source.baseAddress else { throw .noent }
    if unsafe memchr(start, 0, source.count) != nil { throw .inval }
    unsafe UnsafeMutableRawPointer(bytes).copyMemory(from: start, byteCount: source.count)
    unsafe bytes[source.count] = 0
    count = source.count
  }

  /// Whether the path starts at the root. Such a path leaves every preopened directory.
  var isAbsolute: Bool { byte(0) == slash }

  /// Whether the path ends in a slash, and so must name a directory.
  var hasTrailingSlash: Bool { count > 0 && byte(count - 1) == slash }

  /// Where the last component stands, trailing slashes aside. Absolute paths are refused before, so
  /// it is not empty.
  private var lastComponent: Range<Int> {
    var end = count
    while end > 1, byte(end - 1) == slash { end -= 1 }
    var start = end
    while start > 0, byte(start - 1) != slash { start -= 1 }
    return start..<end
  }

  /// Whether the last component is "." or "..".
  var endsInDots: Bool {
    let last = lastComponent
    guard byte(last.lowerBound) == dot else { return false }
    return last.count == 1 || (last.count == 2 && byte(last.lowerBound + 1) == dot)
  }

  /// Cuts the path before its last component, and the trailing slashes off that, by writing
  /// terminators into the buffer. Returns the offset of the component; where it is not 0, `cString`
  /// is now the path of the parent.
  func splitLastComponent() -> Int {
    let last = lastComponent
    unsafe bytes[last.upperBound] = 0
    if last.lowerBound > 0 { unsafe bytes[last.lowerBound - 1] = 0 }
    return last.lowerBound
  }

  /// Whether the whole path is one component, so that there is nothing to resolve.
  var isSingleComponent: Bool { unsafe memchr(bytes, Int32(slash), count) == nil }

  /// `index` is at most `count`.
  private func byte(_ index: Int) -> CChar { unsafe bytes[index] }

  private var slash: CChar { 0x2F }
  private var dot: CChar { 0x2E }
}
