// The process, before anything else has happened in it.
//
// What it was started with is not to be relied on: standard streams may be closed, so that the next file to be opened
// would become one of them (and the guest's output, as it were); words may be no text; and a limit on file sizes would end
// the process in the middle of a file, where a failed write leaves nothing behind.

import Glibc

@main
enum Entry {
  static func main() {
    openStandardStreams()
    // Writing past the limit then fails with EFBIG.
    _ = signal(SIGXFSZ, SIG_IGN)
    do {
      exit(PrecastCommand.main(words: try words()))
    } catch {
      Terminal.report(error)
      exit(error.code)
    }
  }

  /// Puts the null device where a standard stream is closed.
  private static func openStandardStreams() {
    for stream in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(stream, F_GETFD) < 0 {
      // The lowest number that is free, which is this one, for those before it are taken by now.
      guard unsafe open("/dev/null", O_RDWR) == stream else { exit(Exit.failure) }
    }
  }

  /// The arguments without the program's name. One that is not UTF-8 would come out of `CommandLine.arguments` as
  /// another text, which may be another file's name.
  private static func words() throws(Failure) -> [String] {
    var words: [String] = []
    for index in 1..<max(1, Int(CommandLine.argc)) {
      // Arguments end in a zero byte and stay where they are as long as the process lives.
      guard let argument = unsafe CommandLine.unsafeArgv[index] else { break }
      guard let word = unsafe String(validatingCString: argument) else {
        let bytes = unsafe UnsafeRawBufferPointer(start: argument, count: strlen(argument))
        throw Failure("argument \(index), \(unsafe quoted(Array(bytes))), is not UTF-8", code: Exit.usage)
      }
      words.append(word)
    }
    return words
  }

  /// Bytes between quotes, those outside of ASCII in hexadecimal.
  private static func quoted(_ bytes: [UInt8]) -> String {
    let text = bytes.map { byte in
      byte >= 0x20 && byte < 0x7F
        ? String(Unicode.Scalar(byte)) : "\\x" + String(0x100 + Int(byte), radix: 16).dropFirst()
    }
    return "'\(text.joined())'"
  }
}
