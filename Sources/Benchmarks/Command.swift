// Running a program and saying what it cost.
//
// `wait4` gives the resources that exactly this child used: the peak of its resident memory, and its processor time. Wall
// time is taken around spawn and wait. A peer is a program too, so both sides are measured the same way, each run a process
// of its own.

import Glibc

/// What one run of a program cost.
struct Cost {
  /// Wall time in nanoseconds.
  var wall: UInt64
  /// Processor time of all threads, in nanoseconds.
  var processor: UInt64
  /// Peak of resident memory in bytes.
  var peak: UInt64
}

/// A failure that ends the benchmark, in words.
struct BenchmarkError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// A program and its arguments.
struct Command {
  /// Path of the program.
  var program: String
  /// Its arguments, without its name.
  var arguments: [String]
  /// Exit statuses that mean that it did its work.
  var accepted: Set<Int32> = [0]

  /// Runs it with standard output thrown away (or into `output`), and waits for its end.
  func run(output: String = "/dev/null") throws(BenchmarkError) -> Cost {
    // The C strings live until the spawn has copied them; the array ends with nil, as execve wants it.
    var words: [UnsafeMutablePointer<CChar>?] = unsafe ([program] + arguments).map { unsafe strdup($0) }
    defer { unsafe words.forEach { unsafe free($0) } }
    unsafe words.append(nil)
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    var child: pid_t = 0
    let start = now()
    let failure = unsafe posix_spawn(&child, program, &actions, nil, words, environ)
    guard failure == 0 else { throw BenchmarkError("\(program): cannot be started (error \(failure))") }
    var status: Int32 = 0
    var usage = rusage()
    while unsafe wait4(child, &status, 0, &usage) < 0 {
      guard errno == EINTR else { throw BenchmarkError("\(program): lost (error \(errno))") }
    }
    let end = now()
    // WIFEXITED and WEXITSTATUS are macros that Swift does not see.
    guard status & 0x7F == 0, accepted.contains((status >> 8) & 0xFF) else {
      throw BenchmarkError(
        "\(([program] + arguments).joined(separator: " ")): status \(status >> 8), signal \(status & 0x7F)")
    }
    func nanoseconds(_ time: timeval) -> UInt64 { UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_usec) * 1000 }
    return Cost(
      wall: end - start, processor: nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime),
      peak: UInt64(usage.ru_maxrss) * 1024)
  }
}

extension Command {
  /// The program that is running; the child resolves it, before it becomes something else.
  static let itself = "/proc/self/exe"

  /// Runs it, and returns what it wrote to standard output, by way of a file in `folder`.
  func text(in folder: String) throws(BenchmarkError) -> String {
    let path = "\(folder)/output.txt"
    _ = try run(output: path)
    return try contents(of: path)
  }
}

/// A file's text.
func contents(of path: String) throws(BenchmarkError) -> String {
  guard let file = unsafe fopen(path, "r") else { throw BenchmarkError("\(path): cannot be read") }
  defer { unsafe fclose(file) }
  var bytes: [UInt8] = []
  while true {
    let byte = unsafe getc(file)
    if byte < 0 { return String(decoding: bytes, as: UTF8.self) }
    bytes.append(UInt8(truncatingIfNeeded: byte))
  }
}

/// Nanoseconds of a clock that only goes forward.
func now() -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Whether a path names a file that can be executed.
func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

/// Whether a path names a file that can be read.
func isReadable(_ path: String) -> Bool { unsafe access(path, R_OK) == 0 }

/// The environment's value for a name.
func environment(_ name: String) -> String? {
  // The string is copied at once; nothing here changes the environment.
  guard let value = unsafe getenv(name) else { return nil }
  return unsafe String(cString: value)
}

/// The first program of that name in the folders that the set-up fills, or on the `PATH`.
func findProgram(_ name: String) -> String? {
  let folders =
    [".build/tools/bin", ".build/tools/python/bin"]
    + (environment("PATH") ?? "/usr/bin").split(separator: ":").map(String.init)
  return folders.map { "\($0)/\(name)" }.first(where: isExecutable)
}
