import ArgumentParser
import Precast

/// What `precast run --help` explains, and the words that RunOptions does not parse itself.
struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a wasm module, an artifact or an object.",
    usage: "precast run [<options>] <file> [<guest-arguments> ...]",
    discussion: """
      Options come before FILE; everything after it goes to the guest untouched, --help included. Whether FILE is wasm \
      (which is compiled, and kept in the cache for the next time), an artifact (which is loaded) or a wasm module's object \
      (which is linked by itself, in memory, and loaded) is told by its content.

      Of a command, _start is called; of a reactor, _initialize, and then what --invoke names. With --invoke, the words \
      after FILE are the export's arguments: integers in decimal or hexadecimal, floats also as inf and nan; results \
      are printed one a line.

      A guest's exit code becomes this command's. A trap prints where it happened on standard error and exits with 134.
      """)

  @Option(help: ArgumentHelp("Give the guest a directory, under the same or another name.", valueName: "host[::guest]"))
  var dir: [String] = []

  @Option(help: ArgumentHelp("Give the guest an environment variable; it has no others.", valueName: "name=value"))
  var env: [String] = []

  @Option(help: ArgumentHelp("Call this export in place of _start.", valueName: "export"))
  var invoke: String?

  @Option(help: ArgumentHelp("For wasm: compile for these. (default: native)", valueName: "list"))
  var cpuFeatures: String?

  @Flag(help: "Accept an artifact although its name ends in .wasm. It is native code, and runs as such.")
  var allowPrecompiled = false

  @Flag(help: "Of wasm: compile it, without a look at the cache, and do not put it there.")
  var noCache = false

  @Flag(help: "Of an artifact: check all of it before it runs, as `precast verify` does.")
  var verify = false

  @Flag(help: "Print on standard error how long each step took.")
  var timings = false

  @Flag(
    name: [.customShort("g"), .long],
    help: "Tell debuggers of the guest's code: names, and lines where it was compiled with -g. (also: PRECAST_DEBUG=1)")
  var debug = false

  @Option(
    help: ArgumentHelp(
      "Write down where the guest's code is, for perf: perfmap or jitdump. (also: PRECAST_PROFILE)", valueName: "format"
    ))
  var profile: String?

  @Argument(help: ArgumentHelp("The wasm module, artifact or object.", valueName: "file"))
  var file: String

  func validate() throws {
    if let wrong = dir.first(where: { RunOptions.Directory(argument: $0) == nil }) {
      throw ValidationError("--dir takes HOST or HOST::GUEST, not '\(wrong)'")
    }
    if let wrong = env.first(where: { !RunOptions.isEnvironment($0) }) {
      throw ValidationError("--env takes NAME=VALUE, not '\(wrong)'")
    }
    _ = try CPUFeatureOption.parse(cpuFeatures)
    if let profile, ProfilingStrategy(name: profile) == nil {
      throw ValidationError("--profile takes perfmap or jitdump, not '\(profile)'")
    }
  }

  /// The options, as `RunOptions` has them.
  func options(arguments: [String]) -> RunOptions {
    var options = RunOptions()
    options.directories = dir.compactMap { RunOptions.Directory(argument: $0) }
    options.environment = env
    options.invoke = invoke
    options.cpuFeatures = cpuFeatures
    options.allowPrecompiled = allowPrecompiled
    options.verify = verify
    options.usesCache = !noCache
    options.timings = timings
    options.debug = debug
    options.profile = profile.flatMap { ProfilingStrategy(name: $0) }
    options.file = file
    options.arguments = arguments
    return options
  }
}
