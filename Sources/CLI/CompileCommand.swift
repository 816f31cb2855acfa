import ArgumentParser
import Glibc
import PrecastArtifact
import PrecastCompiler
import PrecastMachineCode
import PrecastWasm

/// What `compile` writes.
enum Emission: String, ExpressibleByArgument, CaseIterable {
  /// A finished artifact.
  case artifact
  /// An unlinked object.
  case object
}

struct CompileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compile",
    abstract: "Compile a wasm module to an artifact, an ELF file that can be run later.",
    discussion: """
      The same module and options give the same bytes, on any machine and with any number of threads. OUT.cwasm is \
      written under another name first and takes its place when it is complete, so there is never half of one.

      With --emit object, it is an ELF object instead, in which calls are left to a linker.
      """)

  @Argument(help: ArgumentHelp("The module.", valueName: "in.wasm"))
  var input: String

  @Option(
    name: [.customShort("o"), .customLong("output")],
    help: ArgumentHelp(
      "The artifact. (default: IN with .cwasm in place of .wasm; .o for an object)", valueName: "out.cwasm"))
  var output: String?

  @Option(help: ArgumentHelp("What to write: artifact, which can be run, or object, which can be linked."))
  var emit = Emission.artifact

  @Flag(help: "Give each function of an object a section of its own.")
  var functionSections = false

  @Option(
    help: ArgumentHelp(
      """
      Bind an imported function to a C function of that name, which the object then calls directly; for each import \
      once. Only for objects.
      """, valueName: "module.name=symbol"))
  var bindImport: [String] = []

  @Option(
    help: ArgumentHelp(
      "The architecture to compile for, whatever this machine's is: \(Architecture.names).", valueName: "architecture"))
  var target = Architecture.host.name

  @Option(help: ArgumentHelp(CPUFeatureOption.help, valueName: "list"))
  var cpuFeatures: String?

  @Flag(help: "Leave out the table from code offsets to wasm offsets; traps then name functions only.")
  var noAddressMap = false

  @Flag(help: "Leave out the guest's DWARF; backtraces then have no source lines.")
  var noDebugInfo = false

  @Option(help: ArgumentHelp("How many threads compile. (default: one for each processor)", valueName: "n"))
  var threads: Int?

  @Flag(help: "Print on standard error how long each step took.")
  var timings = false

  @OptionGroup(visibility: .hidden)
  var testing: TestingOptions

  func validate() throws {
    guard let architecture = Architecture(name: target) else {
      throw ValidationError("unknown target '\(target)'; known: \(Architecture.names)")
    }
    if output?.isEmpty == true { throw ValidationError("the name of the output is empty") }
    if let threads, threads < 1 || threads > 1024 { throw ValidationError("--threads takes a number from 1 to 1024") }
    _ = try CPUFeatureOption.parse(cpuFeatures, for: architecture)
    for text in bindImport where ImportBinding(text) == nil {
      throw ValidationError("--bind-import takes MODULE.NAME=SYMBOL, not '\(text)'")
    }
    if emit != .object && !bindImport.isEmpty {
      throw ValidationError(
        "--bind-import needs --emit object: an artifact has no undefined symbols, so it is made by linking the object")
    }
    if emit != .object && functionSections {
      throw ValidationError("--function-sections is for objects only; give --emit object too")
    }
  }

  func run() throws {
    var timings = Timings()
    defer { if self.timings { Terminal.note(timings.report) } }
    let output = output ?? Self.defaultOutput(for: input, emit)
    let wasm = try timings.measure("read") { () throws(Failure) -> WasmBinary in try read(before: output) }
    var settings = CompilerSettings()
    settings.architecture = Architecture(name: target) ?? .host
    settings.cpuFeatures = try CPUFeatureOption.parse(cpuFeatures, for: settings.architecture)
    settings.addressMap = !noAddressMap
    settings.debugInfo = !noDebugInfo
    do {
      try ProgressLine.during("compiling \(input.printable)") { line in
        try Backend.compile(
          wasm, settings: settings, threads: threads, object: emit == .object ? options : nil,
          testingLayout: testing.layout, to: output, &timings, progress: line)
      }
    } catch CompilerError.writer(let error) {
      throw Failure("\(output): could not \(error.operation): \(error.message)")
    } catch {
      throw Failure("\(input): \(error)")
    }
  }

  /// What an object is to be like.
  private var options: ObjectOptions {
    var options = ObjectOptions()
    options.hasFunctionSections = functionSections
    options.bindings = bindImport.compactMap(ImportBinding.init)
    return options
  }

  /// IN with `.cwasm` or `.o` in place of `.wasm`, or behind it.
  static func defaultOutput(for input: String, _ emission: Emission) -> String {
    (input.hasSuffix(".wasm") ? String(input.dropLast(5)) : input) + (emission == .object ? ".o" : ".cwasm")
  }

  private func read(before output: String) throws(Failure) -> WasmBinary {
    let file = try InputFile(path: input)
    if file.isSame(as: output) { throw Failure("\(output): the output would take the place of the input") }
    let wasm = try file.contents(ifOneOf: [.wasm])
    switch FileKind(wasm) {
    case .wasm:
      if self.output == nil && !file.isRegular {
        throw Failure("\(input): this is no regular file, so say with -o where the output goes", code: Exit.usage)
      }
      return wasm
    case .elf: throw Failure("\(input): this is an ELF file, not a wasm module; is it compiled already?")
    case .archive, .bitcode, .other:
      throw Failure("\(input): this is no wasm module; it does not start with \\0asm")
    }
  }
}

extension Architecture {
  /// All names, for messages.
  static var names: String { allCases.map(\.name).joined(separator: ", ") }
}
