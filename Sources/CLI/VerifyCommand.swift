import ArgumentParser
import PrecastArtifact
import PrecastVerification
import PrecastWasm

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check all of an artifact: its checksums, its structure, and the digest in its build-id.",
    discussion: """
      Prints a line for each artifact that is as it was written. Of another, standard error says which section is \
      damaged, where, and how, and the exit code is 1; the other files are checked all the same.

      Verification finds damage. It does not prove where an artifact comes from: who can change one can also compute its \
      checksums.
      """)

  @Argument(help: ArgumentHelp("The artifacts.", valueName: "file.cwasm"))
  var files: [String]

  @Flag(name: .shortAndLong, help: "Print nothing for artifacts that are in order.")
  var quiet = false

  func run() throws {
    var isAnyBad = false
    for file in files {
      do {
        let buildID = try Self.verify(file)
        if !quiet { try Terminal.write("\(file.printable): ok, build-id \(buildID)\n") }
      } catch let failure as Failure where failure.code == Exit.failure {
        Terminal.report(failure)
        isAnyBad = true
      }
    }
    if isAnyBad { throw Failure("") }
  }

  /// What to say of a file that is no ELF file.
  static func hint(_ kind: FileKind) -> String {
    kind == .wasm ? "this is a wasm module; compile it first" : kind.hint ?? "this is no artifact"
  }

  /// Refuses by its first page what is no artifact, or one of another size: all of a file that is none may be large.
  static func checkStart(of input: borrowing InputFile) throws(Failure) {
    let start = try input.start(ArtifactHeader.size)
    guard FileKind(magic: start) == .elf else { return }
    let size = UInt64(input.size)
    let reason: String? = unsafe start.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return nil }
      // The bytes outlive what is made from them: all of it ends in this call.
      let region = unsafe ByteRegion(base: base, count: bytes.count)
      do throws(ArtifactError) {
        _ = try ArtifactHeader(region, fileSize: size)
        return nil
      } catch {
        return ArtifactExplanation(region, error).reason
      }
    }
    if let reason { throw Failure("\(input.path): \(reason)") }
  }

  /// Verifies a file, read once through one descriptor: what was read is what is judged.
  ///
  /// - Returns: its build-id.
  private static func verify(_ path: String) throws -> String {
    let input = try InputFile(path: path)
    try checkStart(of: input)
    let contents = try input.contents(ifOneOf: [.elf])
    let kind = FileKind(contents)
    guard kind == .elf else { throw Failure("\(path): \(hint(kind))") }
    return try unsafe contents.withUnsafeBytes { bytes throws in
      guard let base = bytes.baseAddress else { throw Failure("\(path): the file is empty") }
      // The bytes outlive what is made from them: all of it ends in this call.
      let file = unsafe ByteRegion(base: base, count: bytes.count)
      do {
        try unsafe ArtifactVerification.verify(RawSpan(_unsafeBytes: bytes))
        return BuildID.hexadecimal(try Artifact(file).header.buildID)
      } catch let error as ArtifactError {
        throw Failure("\(path): \(ArtifactExplanation(file, error).reason)")
      }
    }
  }
}
