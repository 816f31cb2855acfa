import ArgumentParser
import Precast
import PrecastArtifact

struct LinkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "link",
    abstract: "Link unlinked objects to an artifact.",
    discussion: """
      One of the objects is a wasm module's (precast compile --emit object); the others, if any, are a C compiler's, compiled \
      with -fPIC -fvisibility=hidden, not archives of objects. The artifact works at any address and has no relocations. OUT.cwasm is written under \
      another name first and takes its place when it is complete.
      """)

  @Argument(help: ArgumentHelp("The objects, in the order in which their code is placed.", valueName: "in.o"))
  var inputs: [String]

  @Option(
    name: [.customShort("o"), .customLong("output")], help: ArgumentHelp("The artifact.", valueName: "out.cwasm"))
  var output: String

  @Flag(help: "Print on standard error how long each step took.")
  var timings = false

  func validate() throws {
    if output.isEmpty { throw ValidationError("the name of the output is empty") }
  }

  func run() throws {
    var timings = Timings()
    defer { if self.timings { Terminal.note(timings.report) } }
    var objects: [LinkableObject] = []
    for path in inputs {
      let file = try InputFile(path: path)
      if file.isSame(as: output) { throw Failure("\(output): the output would take the place of an input") }
      let contents = try timings.measure("read") { () throws(Failure) in try file.contents(ifOneOf: [.elf, .wasm]) }
      let kind = FileKind(contents)
      if kind == .wasm {
        throw Failure("\(path): this is a wasm module; precast compile --emit object makes an object of it")
      }
      if let hint = kind.hint { throw Failure("\(path): \(hint)") }
      objects.append(LinkableObject(contents.bytes(0..<contents.count), name: path))
    }
    do throws(LoadError) {
      try timings.measure("link") { () throws(LoadError) in try ObjectLinking.link(objects, toFile: output) }
    } catch {
      throw Failure(linking: error)
    }
  }
}

extension Failure {
  /// What is wrong with objects: a line for each thing, as linkers write it. All names are in it.
  init(linking error: LoadError) {
    self.init(block: error.description.split(separator: "\n").map { String($0).printable }.joined(separator: "\n"))
  }
}
