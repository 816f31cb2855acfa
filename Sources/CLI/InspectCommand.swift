import ArgumentParser

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show what is in an artifact: target, settings, sections, counts, the largest functions.")

  @Argument(help: ArgumentHelp("The artifact.", valueName: "file.cwasm"))
  var file: String

  @Flag(help: "The same as JSON.")
  var json = false

  func run() throws {
    let input = try InputFile(path: file)
    // A private copy: a mapping would fault where somebody shortens the file meanwhile.
    let contents = try input.contents(ifOneOf: [.elf])
    if FileKind(contents) != .elf {
      let hint = FileKind(contents) == .wasm ? "a wasm module; compile it first" : "no artifact"
      throw Failure("\(file): this is \(hint)")
    }
    let text: String
    do {
      text = try Backend.inspect(contents, json: json)
    } catch let failure as Failure {
      throw failure
    } catch {
      throw Failure("\(file): \(error)")
    }
    try Terminal.write(text)
  }
}
