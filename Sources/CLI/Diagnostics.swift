// How the command ends, and what it says when it cannot go on.
//
// Scripts tell apart what happened by the exit code alone, so there are few, and each has one meaning:
//
//   0     done; of `run`: the guest said 0, or `--invoke` returned
//   1     could not be done: a file that cannot be read or written, a module or artifact that is not accepted, an
//         import that nobody provides
//   64    the command line makes no sense (EX_USAGE; what swift-argument-parser uses as well)
//   134   the guest trapped: what a shell shows for a program that aborted
//   141   standard output was closed by its reader (128 + SIGPIPE), where the signal did not end the process already
//   n     what the guest passed to proc_exit
//
// SIGPIPE keeps the disposition that the process was started with: `precast run ... | head` ends as any other program
// in that place would.

import Glibc
import PrecastArtifact
import PrecastWasm

/// The exit codes that do not come from a guest.
enum Exit {
  static let success: Int32 = 0
  static let failure: Int32 = 1
  static let usage: Int32 = 64
  static let trap: Int32 = 134
  static let brokenPipe: Int32 = 141

  /// The exit code for what a guest passed to `proc_exit`: its low eight bits, as for any process, but never 0 for a
  /// guest that did not say 0.
  static func code(forGuest status: UInt32) -> Int32 {
    let low = Int32(status & 0xFF)
    return low == 0 && status != 0 ? 1 : low
  }
}

/// Ends the command: a message for standard error (`precast: error: ` is put before it) and an exit code.
struct Failure: Error {
  var message: String
  var code: Int32

  /// A message of one line, whatever is in the names that it carries.
  init(_ message: String, code: Int32 = Exit.failure) {
    self.init(block: message.printable, code: code)
  }

  /// A message of several lines, in which all that comes from files has been made printable.
  init(block message: String, code: Int32 = Exit.failure) {
    self.message = message
    self.code = code
  }

  /// For a system call on a file that failed with this `errno`.
  static func system(_ number: Int32, _ path: String) -> Failure {
    Failure("\(path): \(describe(errno: number))")
  }
}

/// The C library's words for an error number.
func describe(errno number: Int32) -> String {
  // `strerror_r` writes into our buffer; `strerror` would share one among threads.
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    guard let start = buffer.baseAddress, unsafe strerror_r(number, start, buffer.count) == 0 else {
      return "error \(number)"
    }
    return unsafe String(cString: start)
  }
}

/// Where the command's own text goes. `print` would hide a full disk behind an exit code of 0.
enum Terminal {
  /// Writes text to standard output.
  static func write(_ text: String) throws(Failure) {
    if let failure = failure(send(text, to: STDOUT_FILENO)) { throw failure }
  }

  /// Lends an output that leads to standard output, for a text that is not to be held as a whole.
  ///
  /// - Throws: what `body` throws, after what it has written is out; a failure to write comes first.
  static func stream(_ body: (TextOutput) throws -> Void) throws {
    var failed: Failure?
    let output = TextOutput { bytes in
      // The bytes are used during the call only.
      failed = unsafe bytes.withUnsafeBytes { bytes in unsafe failure(send(bytes, to: STDOUT_FILENO)) }
      return failed == nil
    }
    let result = Result { try body(output) }
    output.flush()
    if let failed { throw failed }
    try result.get()
  }

  /// What to say of an `errno` of standard output.
  private static func failure(_ number: Int32) -> Failure? {
    if number == EPIPE { return Failure("", code: Exit.brokenPipe) }
    return number == 0 ? nil : .system(number, "standard output")
  }

  /// Writes text to standard error. Nothing can be done, or said, where that fails.
  static func note(_ text: String) {
    _ = send(text, to: STDERR_FILENO)
  }

  /// Says what went wrong, on standard error, one line (or block) an error.
  static func report(_ failure: Failure) {
    if !failure.message.isEmpty { note("precast: error: \(failure.message)\n") }
  }

  /// Whether standard error is a terminal, which is where progress is shown.
  static var isInteractive: Bool { isatty(STDERR_FILENO) == 1 }

  /// Writes all of a text; the `errno` of what failed, or 0.
  private static func send(_ text: String, to descriptor: Int32) -> Int32 {
    var text = text
    return text.withUTF8 { bytes in unsafe send(UnsafeRawBufferPointer(bytes), to: descriptor) }
  }

  /// Writes all bytes; the `errno` of what failed, or 0.
  @unsafe
  private static func send(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Int32 {
    var written = 0
    while written < bytes.count {
      // Inside the buffer: `written` never passes `count`.
      let count = unsafe Glibc.write(descriptor, bytes.baseAddress.map { unsafe $0 + written }, bytes.count - written)
      if count >= 0 {
        written += count
      } else if errno != EINTR {
        return errno
      }
    }
    return 0
  }
}
