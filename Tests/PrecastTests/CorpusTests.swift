// Programs that others published do their work, and nobody can tell that another runtime did not do it.
//
// Tests/Tools/fetch-corpus puts them into TestData/Corpus. TestData/CorpusInputs/steps.json says how they are run, in order,
// in one directory for each chain of programs; expected.json beside it holds what wasmtime gives for exit code, standard
// output, standard error and the files that are written (their SHA-256). To make it anew:
//
//     Tests/Tools/make-corpus-expected.py

import Foundation
import Precast
import PrecastRuntime
import PrecastWASI
import TestSupport
import Testing

@Suite struct CorpusTests {
  struct Step: Decodable {
    var name: String
    var program: String
    var arguments: [String]
    /// Whether it takes billions of instructions: too many for an emulated processor.
    var isLarge: Bool?
  }

  struct Outcome: Decodable, Equatable {
    var exit: Int
    var stdout: String
    var stderr: String
    var files: [String: String]
  }

  struct Expected: Decodable {
    var files: [String: String]
    var steps: [String: Outcome]
  }

  /// Programs of one chain read each other's files.
  enum Chain: String, CaseIterable, CustomTestStringConvertible {
    case boolector
    case avr = "avr-"
    case cc1

    var testDescription: String { rawValue }
  }

  static let inputs = Repository.testData.appending(path: "CorpusInputs")

  static func isFetched(_ chain: Chain) -> Bool {
    guard let steps = try? steps(of: chain), !steps.isEmpty else { return false }
    return steps.allSatisfy {
      FileManager.default.fileExists(atPath: Repository.corpus.appending(path: $0.program).path)
    }
  }

  static func steps(of chain: Chain) throws -> [Step] {
    let data = try Data(contentsOf: inputs.appending(path: "steps.json"))
    return try JSONDecoder().decode([Step].self, from: data).filter { $0.program.hasPrefix(chain.rawValue) }
  }

  @Test(
    "The solver solves, the assembler assembles, the linker links, the compiler compiles",
    .enabled(
      if: Chain.allCases.allSatisfy { isFetched($0) },
      "the corpus is not there: Tests/Tools/fetch-corpus fetches it from the Python package registry"),
    arguments: Chain.allCases)
  func chain(_ chain: Chain) throws {
    let path = try RealPath()
    try Self.check(Self.steps(of: chain), path)
    for complaint in try ELFTools.complaints(about: path.artifacts).prefix(10) { Issue.record("\(complaint)") }
  }

  /// Does some steps, in a directory of their own, and compares what comes out with what should.
  ///
  /// - Returns: what came out, step by step.
  @discardableResult
  static func check(_ steps: [Step], _ path: RealPath) throws -> [Outcome] {
    let expected = try JSONDecoder().decode(
      Expected.self, from: Data(contentsOf: Self.inputs.appending(path: "expected.json")))
    let directory = try TemporaryDirectory()
    for file in try FileManager.default.contentsOfDirectory(at: Self.inputs, includingPropertiesForKeys: nil)
    where file.pathExtension != "json" {
      try FileManager.default.copyItem(at: file, to: directory.appending(file.lastPathComponent))
    }
    let large = Repository.corpus.appending(path: "large.c")
    try FileManager.default.copyItem(at: large, to: directory.appending("large.c"))

    var modules: [String: Module] = [:]
    var outcomes: [Outcome] = []
    var before = try digests(directory.url)
    #expect(before["large.c"] == expected.files["large.c"], "remove TestData/Corpus/large.c and fetch the corpus again")
    for step in steps {
      let module = try modules[step.program] ?? path.module(wasm: Repository.corpus.appending(path: step.program))
      modules[step.program] = module
      var outcome = try perform(step, module, path, directory)
      let after = try digests(directory.url)
      outcome.files = after.filter { before[$0.key] != $0.value }
      before = after
      let wanted = try #require(expected.steps[step.name], "no expected outcome of '\(step.name)'")
      #expect(outcome.exit == wanted.exit, "\(step.name)")
      #expect(outcome.stdout == wanted.stdout, "\(step.name)")
      #expect(outcome.stderr == wanted.stderr, "\(step.name)")
      #expect(outcome.files == wanted.files, "\(step.name)")
      outcomes.append(outcome)
    }
    return outcomes
  }

  private static func perform(
    _ step: Step, _ module: Module, _ path: RealPath, _ directory: TemporaryDirectory
  ) throws -> Outcome {
    let output = WASIOutputBuffer()
    let error = WASIOutputBuffer()
    var configuration = WASIConfiguration(arguments: [step.program] + step.arguments)
    configuration.preopens = [.init(hostPath: directory.url.path, guestPath: "/io")]
    configuration.standardOutput = .buffer(output)
    configuration.standardError = .buffer(error)
    let status = try path.runCommand(module, configuration)
    return Outcome(exit: status, stdout: output.text, stderr: error.text, files: [:])
  }

  /// The SHA-256 of each file, by name.
  private static func digests(_ directory: URL) throws -> [String: String] {
    let names = try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted()
    let program = try #require(findTool("sha256sum"))
    let result = try run(program, ["--"] + names, in: directory)
    var digests: [String: String] = [:]
    for line in result.outputText.split(separator: "\n") {
      // 64 digits, two blanks, the name.
      digests[String(line.dropFirst(66))] = String(line.prefix(64))
    }
    return digests
  }
}
