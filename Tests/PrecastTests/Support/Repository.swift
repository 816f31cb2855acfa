// Where things are: the checkout that the tests were built from, the specification's test suite, and tools.

import Foundation

enum Repository {
  /// The top folder of the checkout.
  static let root: URL = {
    var url = URL(fileURLWithPath: #filePath)
    for _ in 0..<4 { url.deleteLastPathComponent() }
    return url
  }()

  static var testData: URL { root.appending(path: "TestData") }
  static var corpus: URL { testData.appending(path: "Corpus") }
  static var tools: URL { root.appending(path: "Tests/Tools") }

  /// The environment's value for a name, if it has one that is not empty.
  static func environment(_ name: String) -> String? {
    guard let value = ProcessInfo.processInfo.environment[name], !value.isEmpty else { return nil }
    return value
  }

  /// The specification's test suite: `PRECAST_TESTSUITE`, or `../shared/testsuite` beside the checkout. Nil where there is
  /// none.
  static let testSuite: URL? = {
    let url =
      environment("PRECAST_TESTSUITE").map { URL(fileURLWithPath: $0) }
      ?? root.deletingLastPathComponent().appending(path: "shared/testsuite")
    let isThere = FileManager.default.fileExists(atPath: url.appending(path: "i32.wast").path)
    return isThere ? url : nil
  }()

  /// A program by name: of those that the set-up put into `.build/tools`, or on the `PATH`. Nil where there is none that
  /// can be executed.
  static func program(_ name: String) -> URL? {
    var folders = [root.appending(path: ".build/tools/bin"), root.appending(path: ".build/tools/python/bin")]
    for folder in (environment("PATH") ?? "/usr/bin").split(separator: ":") {
      folders.append(URL(fileURLWithPath: String(folder)))
    }
    return folders.map { $0.appending(path: name) }.first { FileManager.default.isExecutableFile(atPath: $0.path) }
  }

  static let wasmTools = program("wasm-tools")
  static let wasmtime = program("wasmtime")
  static let python = program("python3")
}

/// A directory that goes away, with all that is in it, with the last reference to this object.
final class TemporaryDirectory: Sendable {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appending(path: "precast-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func appending(_ name: String) -> URL { url.appending(path: name) }
}

/// What a program that ended left behind.
struct CommandResult {
  var status: Int32
  var output: Data
  var error: Data

  var outputText: String { String(decoding: output, as: UTF8.self) }
  var errorText: String { String(decoding: error, as: UTF8.self) }
}

/// Runs a program to its end. Its output goes through files, so that no pipe can fill up and none is inherited by a child
/// that another test starts meanwhile.
@discardableResult
func run(_ program: URL, _ arguments: [String], in directory: URL? = nil) throws -> CommandResult {
  let scratch = try TemporaryDirectory()
  let files = [scratch.appending("out"), scratch.appending("err")]
  for file in files { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
  let process = Process()
  process.executableURL = program
  process.arguments = arguments
  process.currentDirectoryURL = directory
  process.standardInput = FileHandle.nullDevice
  process.standardOutput = try FileHandle(forWritingTo: files[0])
  process.standardError = try FileHandle(forWritingTo: files[1])
  try process.run()
  process.waitUntilExit()
  return CommandResult(
    status: process.terminationStatus, output: try Data(contentsOf: files[0]), error: try Data(contentsOf: files[1]))
}
