// The command's front: its subcommands, and how their errors leave the process.
//
// swift-argument-parser declares and explains the options; but it takes about a millisecond to be ready, so a plain
// `precast run FILE` goes past it (see RunOptions).

import ArgumentParser
import Precast
import PrecastWasm

struct PrecastCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "precast",
    abstract: "Turns WebAssembly modules into ELF files ahead of time, and runs them.",
    discussion: """
      Exit codes: 0 done; 1 could not be done; 64 the command line makes no sense; 134 the guest trapped; \
      of `run` otherwise what the guest exits with.
      """,
    version: "precast \(precastVersion)",
    subcommands: [
      CompileCommand.self, LinkCommand.self, RunCommand.self, InspectCommand.self, VerifyCommand.self,
      CacheCommand.self,
    ])

  /// Runs the command and returns its exit code. `words` are the arguments without the program's name.
  static func main(words: [String]) -> Int32 {
    do {
      if words.first == "run" { return try run(words: words.dropFirst()) }
      guard var command = try parsed(words) else { return Exit.success }
      try command.run()
      return Exit.success
    } catch let failure as Failure {
      Terminal.report(failure)
      return failure.code
    } catch {
      Terminal.report(Failure("\(error)"))
      return Exit.failure
    }
  }

  private static func run(words: ArraySlice<String>) throws -> Int32 {
    if let options = RunOptions(plain: words) { return try Runner(options: options).run() }
    // Something is to be said; FILE and the guest's arguments have no part in it.
    let (own, file, guest) = RunOptions.split(words)
    let separated = file.map { ["--", $0] } ?? []
    guard let command = try parsed(["run"] + own.filter { $0 != "--" } + separated) as? RunCommand else {
      return Exit.success
    }
    return try Runner(options: command.options(arguments: guest)).run()
  }

  /// The command that the words ask for; nil when they asked for help or the version, which has then been printed.
  private static func parsed(_ words: [String]) throws -> (any ParsableCommand)? {
    do {
      let command = try parseAsRoot(words)
      // Run without a subcommand, or as `precast help`: these print by being run.
      guard
        command is CompileCommand || command is LinkCommand || command is RunCommand || command is InspectCommand
          || command is VerifyCommand
          || command is any CacheSubcommand
      else {
        var command = command
        try command.run()
        return nil
      }
      return command
    } catch {
      let text = fullMessage(for: error)
      if exitCode(for: error).isSuccess {
        try Terminal.write(text + "\n")
        return nil
      }
      let prefix = "Error: "
      let message = text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
      // The usage has lines of its own; the words in it are those of whoever reads it.
      let lines = message.split(separator: "\n", omittingEmptySubsequences: false).map { String($0).printable }
      throw Failure(block: lines.joined(separator: "\n"), code: Exit.usage)
    }
  }
}
