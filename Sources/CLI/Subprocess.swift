// Another program, given bytes as a file, and read line by line.
//
// The bytes go into a sealed memory file, which the program opens as /proc/self/fd/3: nothing is left behind in a
// directory, and nobody can change it. Output comes through a pipe and is taken while the program runs. Errors go to
// another one, which is read afterwards; it does not block when it is full, so that a program with much to complain of
// does not wait for us.

import CPrecastHost
import Glibc
import PrecastArtifact

/// Runs programs.
enum Subprocess {
  /// What a program left behind.
  struct Result {
    /// Its exit status; nil where a signal ended it.
    var status: Int32?
    /// The first line that it wrote to standard error.
    var firstError: String?
  }

  /// Runs a program found on the PATH to its end, with the name of a file as its last argument.
  ///
  /// - Parameters:
  ///   - file: what is in that file.
  ///   - line: takes each line of its output, without the line break; says whether it wants more.
  /// - Returns: nil where there is no such program.
  static func run(
    _ program: String, _ arguments: [String], file: ByteRegion, line: (String) -> Bool
  ) throws(Failure) -> Result? {
    let contents = try Descriptor(memoryFile(of: file), program)
    let output = try Pipe(program)
    let errors = try Pipe(program)
    _ = fcntl(errors.writing.number, F_SETFL, O_NONBLOCK)

    // Zeros, until the next line makes it what it is to be.
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_adddup2(&actions, output.writing.number, STDOUT_FILENO)
    unsafe posix_spawn_file_actions_adddup2(&actions, errors.writing.number, STDERR_FILENO)
    // Last, since the number may be one of those above.
    unsafe posix_spawn_file_actions_adddup2(&actions, contents.number, 3)
    let words = [program] + arguments + ["/proc/self/fd/3"]
    // Copies that live until the program has started.
    var pointers: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    defer { unsafe pointers.forEach { unsafe free($0) } }
    var process = pid_t()
    let number = unsafe posix_spawnp(&process, program, &actions, nil, pointers, environ)
    if number == ENOENT { return nil }
    guard number == 0 else { throw .system(number, program) }
    output.writing.close()
    errors.writing.close()

    readLines(output.reading.number, line)
    // Who wants no more closes; the program then ends by itself.
    output.reading.close()
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
    return Result(status: status & 0x7F == 0 ? status >> 8 & 0xFF : nil, firstError: firstLine(errors.reading.number))
  }

  /// A sealed memory file with these bytes; -1 where there is none to be had.
  private static func memoryFile(of bytes: ByteRegion) -> Int32 {
    let descriptor = try? unsafe bytes.withUnsafeBytes { bytes in
      unsafe precast_sealed_memfd("artifact", bytes.baseAddress, bytes.count)
    }
    return descriptor ?? -1
  }

  private static func readLines(_ descriptor: Int32, _ take: (String) -> Bool) {
    var pending: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { break }
      for byte in buffer[..<count] {
        if byte != UInt8(ascii: "\n") {
          // No line of use is longer.
          if pending.count < 1 << 16 { pending.append(byte) }
          continue
        }
        guard take(String(decoding: pending, as: UTF8.self)) else { return }
        pending.removeAll(keepingCapacity: true)
      }
    }
    if !pending.isEmpty { _ = take(String(decoding: pending, as: UTF8.self)) }
  }

  private static func firstLine(_ descriptor: Int32) -> String? {
    var buffer = [UInt8](repeating: 0, count: 1024)
    let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
    guard count > 0, let line = buffer[..<count].split(separator: UInt8(ascii: "\n")).first else { return nil }
    return String(decoding: line, as: UTF8.self)
  }

  /// A descriptor that is closed when it goes.
  private final class Descriptor {
    private(set) var number: Int32

    init(_ number: Int32, _ program: String) throws(Failure) {
      guard number >= 0 else { throw .system(errno, program) }
      self.number = number
    }

    func close() {
      if number >= 0 { Glibc.close(number) }
      number = -1
    }

    deinit { close() }
  }

  /// A pipe of which no other program inherits the ends by accident.
  private struct Pipe {
    let reading: Descriptor
    let writing: Descriptor

    init(_ program: String) throws(Failure) {
      var ends: [Int32] = [-1, -1]
      // Two numbers are written, and there is room for two.
      guard unsafe pipe(&ends) == 0 else { throw .system(errno, program) }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      reading = try Descriptor(ends[0], program)
      writing = try Descriptor(ends[1], program)
    }
  }
}
