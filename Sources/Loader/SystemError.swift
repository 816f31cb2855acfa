// System call errors in words: what failed, why, and which limit to raise.

import CPrecastHost
import Glibc

extension LoadError {
  /// An error for a failed system call. `action` completes "could not ...".
  static func system(_ number: Int32, _ action: String, path: String? = nil) -> LoadError {
    let reason = errorText(number)
    switch number {
    case EMFILE:
      return LoadError(
        kind: .outOfResources(errno: number), path: path,
        message: "could not \(action): this process has too many open files; "
          + "raise RLIMIT_NOFILE (ulimit -n) or drop modules")
    case ENFILE:
      return LoadError(
        kind: .outOfResources(errno: number), path: path,
        message: "could not \(action): the system has too many open files; raise fs.file-max")
    case ENOMEM:
      return LoadError(
        kind: .outOfResources(errno: number), path: path,
        message: "could not \(action): out of memory, address space (ulimit -v) or mappings "
          + "(vm.max_map_count)")
    case ESPIPE:
      return LoadError(
        kind: .cannotRead(errno: number), path: path,
        message: "could not \(action): it is a pipe, socket or device; an artifact is mapped from a regular file")
    case ENODEV:
      return LoadError(
        kind: .cannotRead(errno: number), path: path,
        message: "could not \(action): its file system does not support mapping; copy the file elsewhere")
    case EBADF:
      return LoadError(
        kind: .cannotRead(errno: number), path: path,
        message: "could not \(action): the descriptor is not open for reading")
    default:
      return LoadError(
        kind: .cannotRead(errno: number), path: path, message: "could not \(action): \(reason)")
    }
  }

  /// The C library's words for an error number.
  static func errorText(_ number: Int32) -> String {
    // `strerror_r` writes into our buffer; `strerror` would share one among threads.
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      guard let start = buffer.baseAddress else { return "error \(number)" }
      guard unsafe strerror_r(number, start, buffer.count) == 0 else { return "error \(number)" }
      return unsafe String(cString: start)
    }
  }
}
