// What the tests of loading load: a hello world of 42 KB of wasm, and a module of 200,000 functions.

import Foundation
import LargeModule
import PrecastCompiler
import PrecastWasm
import TestSupport

enum LoadInputs {
  /// C, with wasi-libc's formatted output: TestData/Load/hello.c.
  static let helloWasm = Repository.testData.appending(path: "Load/hello.wasm")

  /// Number of functions of the large module: fewer where the compiler is not optimised, and takes its time.
  static let largeCount: Int = {
    var count = 200_000
    assert(
      {
        count = 20_000; return true
      }())
    return count
  }()

  private static let directory = Result { try TemporaryDirectory() }

  /// The artifact of `hello`, made once.
  static let hello = Result { try artifact("hello", [UInt8](Data(contentsOf: helloWasm))) }

  /// The artifact of the large module, made once.
  static let large = Result { try artifact("large", LargeModule(functionCount: largeCount).wasm()) }

  /// The artifact of a module like the large one, with 1,000 functions, made once; for tools that read all of it.
  static let medium = Result { try artifact("medium", LargeModule(functionCount: 1000).wasm()) }

  private static func artifact(_ name: String, _ wasm: [UInt8]) throws -> URL {
    let file = try directory.get().appending("\(name).cwasm")
    _ = try Compiler().compile(WasmBinary(wasm), toFile: file.path)
    return file
  }
}

/// The text of a file in /proc, whose size is not known ahead and whose reads are short. (`Data` takes the first short one for
/// the end.)
func procText(_ path: String) throws -> String {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw SpecError("\(path): error \(errno)") }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = read(descriptor, &buffer, buffer.count)
    guard count >= 0 else { throw SpecError("\(path): error \(errno)") }
    if count == 0 { return String(decoding: bytes, as: UTF8.self) }
    bytes += buffer[..<count]
  }
}

/// A program that was built beside these tests.
func builtProgram(_ name: String) -> URL {
  let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
  return URL(fileURLWithPath: program).deletingLastPathComponent().appending(path: name)
}

/// A process that has artifacts loaded (Tests/ArtifactHolder), until this object goes.
final class ArtifactHolder {
  /// Where an artifact's text is.
  struct Text {
    var address: UInt
    var size: UInt
  }

  let pid: Int32
  /// Of each artifact, in the order in which they were given.
  private(set) var texts: [Text] = []
  private let process = Process()
  private let input = Pipe()

  init(_ artifacts: [URL]) throws {
    let scratch = try TemporaryDirectory()
    let output = scratch.appending("out")
    _ = FileManager.default.createFile(atPath: output.path, contents: nil)
    process.executableURL = builtProgram("artifact-holder")
    process.arguments = artifacts.map(\.path)
    process.standardInput = input
    process.standardOutput = try FileHandle(forWritingTo: output)
    try process.run()
    pid = process.processIdentifier
    while true {
      let text = try String(decoding: Data(contentsOf: output), as: UTF8.self)
      if text.hasSuffix("ready\n") {
        texts = text.split(separator: "\n").compactMap { line in
          let words = line.split(separator: " ").compactMap { UInt($0, radix: 16) }
          return words.count == 2 ? Text(address: words[0], size: words[1]) : nil
        }
        guard texts.count == artifacts.count else { throw SpecError(text) }
        return
      }
      guard process.isRunning else { throw SpecError("artifact-holder has ended: \(text)") }
      usleep(2000)
    }
  }

  deinit {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }
}
