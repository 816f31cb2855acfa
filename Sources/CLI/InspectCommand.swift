import ArgumentParser
import PrecastArtifact

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what is in an artifact or a wasm module's object: target, settings, sections, counts.",
    discussion: """
      With --section, --functions or --disassemble, that is shown instead. Offsets are hexadecimal, sizes decimal; in \
      JSON all numbers are decimal.

      Of an object (precast compile --emit object) it shows the same where it can, and which imports are bound to which \
      symbols; its code is for objdump -dr.

      Of a file that cannot be loaded here (another version's artifact, a damaged one, another runtime's, a C compiler's object, any ELF file) \
      it says why, what to do, and what the file consists of. The exit code is then 1, but 0 for an artifact that is \
      sound and of another version.
      """)

  @Argument(help: ArgumentHelp("The artifact or object.", valueName: "file.cwasm"))
  var file: String

  @Option(
    help: ArgumentHelp("Show a section in readable form, e.g. wasmtime.info or .text.", valueName: "name"))
  var section: String?

  @Flag(help: "List all functions and trampolines, the largest first.")
  var functions = false

  @Option(
    help: ArgumentHelp(
      """
      Show a function's instructions with wasm offsets and trap sites. The function is given by its index, its name, or \
      a part of it that no other has. Needs objdump.
      """, valueName: "function"))
  var disassemble: String?

  @Flag(help: "The same as JSON; not with --disassemble.")
  var json = false

  func validate() throws {
    if [section != nil, functions, disassemble != nil].count(where: { $0 }) > 1 {
      throw ValidationError("only one of --section, --functions and --disassemble can be shown")
    }
    if json && disassemble != nil { throw ValidationError("a disassembly has no form in JSON") }
  }

  func run() throws {
    let subject: Inspector.Subject =
      if let section { .section(section) } else if functions { .functions } else if let disassemble {
        .code(of: disassemble)
      } else { .summary }
    try Inspector(path: file, subject: subject, format: json ? .json : .text).run()
  }
}
