// Programs that tests run: compilers, and the tools whose opinion of a file is asked.

package import Foundation

/// What a program that ended left behind.
package struct ToolResult: Sendable {
  package var status: Int32
  package var output: Data
  package var error: Data

  package var outputText: String { String(decoding: output, as: UTF8.self) }
  package var errorText: String { String(decoding: error, as: UTF8.self) }
  /// Both streams, output first.
  package var text: String { outputText + errorText }
}

/// A program that failed, or is not there.
package struct ToolFailure: Error, CustomStringConvertible {
  package var description: String
  package init(description: String) { self.description = description }
}

/// The top folder of the checkout that the tests were built from.
package let repositoryRoot: URL = {
  var url = URL(fileURLWithPath: #filePath)
  for _ in 0..<3 { url.deleteLastPathComponent() }
  return url
}()

/// A program by name: of those that the set-up put into `.build/tools`, or on the `PATH`. Nil where there is none that can be
/// executed. A path is taken as it is.
package func findTool(_ name: String) -> URL? {
  if name.contains("/") { return URL(fileURLWithPath: name) }
  var folders = [".build/tools/bin", ".build/tools/python/bin"].map { repositoryRoot.appendingPathComponent($0) }
  for folder in (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":") {
    folders.append(URL(fileURLWithPath: String(folder)))
  }
  return folders.map { $0.appendingPathComponent(name) }
    .first { FileManager.default.isExecutableFile(atPath: $0.path) }
}

/// Runs a program to its end. Its streams go through files: no pipe can fill up, and none is inherited by a child that another
/// test starts meanwhile.
@discardableResult
package func run(
  _ program: URL, _ arguments: [String], in directory: URL? = nil, environment: [String: String]? = nil
) throws -> ToolResult {
  let scratch = try TemporaryDirectory()
  let files = [scratch.appending("out"), scratch.appending("err")]
  for file in files { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
  let process = Process()
  process.executableURL = program
  process.arguments = arguments
  process.currentDirectoryURL = directory
  if let environment { process.environment = environment }
  process.standardInput = FileHandle.nullDevice
  process.standardOutput = try FileHandle(forWritingTo: files[0])
  process.standardError = try FileHandle(forWritingTo: files[1])
  try process.run()
  process.waitUntilExit()
  return ToolResult(
    status: process.terminationStatus, output: try Data(contentsOf: files[0]), error: try Data(contentsOf: files[1]))
}

/// Runs a program found by name; nil where it is not installed.
package func runTool(
  _ name: String, _ arguments: [String], in directory: String? = nil, environment: [String: String]? = nil
) throws -> ToolResult? {
  guard let program = findTool(name) else { return nil }
  return try run(program, arguments, in: directory.map { URL(fileURLWithPath: $0) }, environment: environment)
}

/// Runs a program found by name, and returns what it printed on both streams.
///
/// - Throws: `ToolFailure` where it is not installed or fails.
@discardableResult
package func run(_ name: String, _ arguments: [String], in directory: String? = nil) throws -> String {
  guard let result = try runTool(name, arguments, in: directory) else {
    throw ToolFailure(description: "\(name) is not installed")
  }
  guard result.status == 0 else {
    throw ToolFailure(description: "\(name) \(arguments.joined(separator: " ")): \(result.text.prefix(4000))")
  }
  return result.text
}
