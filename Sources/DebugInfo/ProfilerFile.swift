// Files that profilers look for under names that anybody can guess.
//
// `/tmp/perf-PID.map` is in a directory that all may write to. Opened carelessly, a link that another user put there would have
// us write into a file of ours; a file that the other one owns would have the profiler believe him. So the file is made new, and
// only for us; what stands there already is removed first if it is ours (a process of the same number left it), and is an error
// otherwise.

import Glibc

enum ProfilerFile {
  /// A new file of this user's, open for reading and writing, or a negative errno.
  static func create(_ path: String) -> Int32 {
    for attempt in 0..<2 {
      let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
      if descriptor >= 0 { return descriptor }
      guard errno == EEXIST, attempt == 0 else { return -errno }
      var status = stat()
      // A link, or somebody else's: not for us to touch.
      guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid() else {
        return -EEXIST
      }
      _ = unsafe unlink(path)
    }
    return -EEXIST
  }

  /// Writes all bytes; false when that fails.
  static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    unsafe bytes.withUnsafeBytes { buffer in
      var written = 0
      while written < buffer.count {
        guard let base = buffer.baseAddress else { return true }
        // Inside the buffer.
        let count = unsafe Glibc.write(descriptor, base + written, buffer.count - written)
        if count >= 0 { written += count } else if errno != EINTR { return false }
      }
      return true
    }
  }
}
