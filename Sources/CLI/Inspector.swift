// `precast inspect`: from a file to a description of it.
//
// The file is read into memory once, and everything is said of these bytes: a mapping would fault where somebody
// shortens the file meanwhile. An artifact is described; any other ELF file is explained (see ArtifactExplanation), for
// whoever looks at a file with this tool wants to know what is in it, most of all when it does not load.

import Precast
import PrecastArtifact
import PrecastWasm

/// Describes one file.
struct Inspector {
  /// What is to be shown.
  enum Subject {
    case summary
    case section(String)
    case functions
    case code(of: String)
  }

  let path: String
  let subject: Subject
  let format: DescriptionFormat

  /// Writes the description to standard output.
  func run() throws {
    let input = try InputFile(path: path)
    // Of a large file that is no artifact nobody wants an outline that badly.
    if input.size > 256 << 20 { try VerifyCommand.checkStart(of: input) }
    let contents = try input.contents(ifOneOf: [.elf])
    if FileKind(contents) != .elf {
      throw Failure("\(path): \(VerifyCommand.hint(FileKind(contents)))")
    }
    try unsafe contents.withUnsafeBytes { bytes throws in
      guard let base = bytes.baseAddress else { return }
      // The bytes outlive what is made from them: all of it ends in this call.
      let file = unsafe ByteRegion(base: base, count: bytes.count)
      var damagedPages: [ArtifactError] = []
      var object: ObjectDescription?
      do { object = try ObjectDescription(file) } catch let error as ArtifactError {
        throw Failure("\(path): an unlinked object: \(error)")
      }
      if let object { return try describe(object) }
      do {
        let artifact = try Artifact(file)
        damagedPages = artifact.damagedPages()
        try describe(artifact, file, damagedPages)
      } catch let error as ArtifactError {
        return try explain(file, error, damagedPages)
      }
      // What was shown may be wrong, so this is not success.
      if let first = damagedPages.first {
        let more = damagedPages.count > 1 ? ", and \(damagedPages.count - 1) more pages" : ""
        throw Failure("\(path): \(first)\(more)")
      }
    }
  }

  private func describe(_ artifact: Artifact, _ file: ByteRegion, _ damagedPages: [ArtifactError]) throws {
    switch subject {
    case .summary:
      let summary = try ArtifactSummary(artifact, damagedPages: damagedPages)
      try Terminal.write(format == .json ? summary.json : summary.text)
    case .section(let name):
      try describe(section: name, of: artifact)
    case .functions:
      try Terminal.stream { output throws in try reporting { try artifact.describeFunctions(format, to: output) } }
    case .code(let word):
      // Somebody else's program reads the file then, and may take damaged headers for granted.
      if let first = damagedPages.first { throw Failure("\(path): \(first); nothing of it is disassembled") }
      try artifact.checkSectionHeaders()
      try disassemble(word, of: artifact, file)
    }
  }

  private func describe(_ object: ObjectDescription) throws {
    switch subject {
    case .summary:
      try Terminal.stream { output throws in try reporting { try object.describe(format, to: output) } }
    case .functions:
      try Terminal.stream { output throws in try reporting { try object.describeFunctions(format, to: output) } }
    case .section(let name):
      if format == .json { throw Failure("\(path): sections of an unlinked object have no form in JSON") }
      var isThere = true
      try Terminal.stream { output throws in isThere = object.describe(section: name, to: output) }
      if !isThere { throw Failure("\(path): has no section '\(name)'") }
    case .code:
      throw Failure("\(path): an unlinked object; `objdump -dr` shows its code, and the calls by name")
    }
  }

  private func describe(section name: String, of artifact: Artifact) throws {
    let there = artifact.sections
    guard let kind = SectionKind(named: name), there.contains(kind) else {
      throw Failure(
        "\(path): has no section '\(name)'; there are \(there.map(\.name).joined(separator: ", "))")
    }
    if format == .json && !kind.isDescribedAsJSON { throw Failure("\(path): \(kind.name) has no form in JSON") }
    try Terminal.stream { output throws in try reporting { try artifact.describe(kind, format, to: output) } }
  }

  /// What is wrong with a part of the file is said behind the description of the rest.
  private func reporting(_ body: () throws -> Void) throws {
    do { try body() } catch let error as ArtifactError { throw Failure("\(path): \(error)") }
  }

  private func explain(_ file: ByteRegion, _ error: ArtifactError, _ damagedPages: [ArtifactError]) throws {
    let explanation = ArtifactExplanation(file, error, damagedPages: damagedPages)
    // A page that differs is the cause of what was found in it.
    let failure = Failure("\(path): \(damagedPages.first?.description ?? explanation.reason)")
    switch subject {
    case .summary:
      try Terminal.stream { output throws in explanation.describe(format, to: output) }
      if !explanation.isSound { throw failure }
    case .section(let name) where format == .text:
      var isThere = true
      try Terminal.stream { output throws in isThere = explanation.describe(section: name, to: output) }
      guard isThere else {
        let names = explanation.sectionNames.joined(separator: ", ")
        throw Failure("\(path): has no section '\(name)'; there are \(names.isEmpty ? "none" : names)")
      }
      if !explanation.isSound { throw failure }
    case .section, .functions, .code:
      throw Failure("\(failure.message); `precast inspect FILE` shows what it consists of")
    }
  }

  // MARK: --disassemble

  private func disassemble(_ word: String, of artifact: Artifact, _ file: ByteRegion) throws {
    let pieces = try CodePieces(artifact)
    switch pieces.find(word) {
    case .one(let piece):
      let disassembly = try Disassembly(artifact, piece, file: file, path: path)
      try Terminal.stream { output throws in try disassembly.write(to: output) }
    case .several(let some, let count):
      let list = some.map { "\n  \($0.label) \(($0.name ?? "").printable)" }.joined()
      let more = count > some.count ? "\n  and \(count - some.count) more" : ""
      throw Failure(block: "\(path.printable): '\(word.printable)' is part of \(count) names:\(list)\(more)")
    case .imported(let index):
      throw Failure("\(path): function \(index) is imported; there is no code of it")
    case .none:
      throw Failure("\(path): has no function '\(word)'; --functions lists them")
    }
  }
}
