// Drives the command that was built beside these tests as a process of its own: what users and scripts see is arguments,
// two streams, files and an exit code, so that is what the tests look at.

import Foundation
import TestSupport
import Testing

/// What a process left behind.
struct Outcome {
  var status: Int32
  /// The signal that ended it, if one did.
  var signal: Int32?
  var output: Data
  var errors: String

  var text: String { String(decoding: output, as: UTF8.self) }
  var lines: [String] { text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init) }
}

/// The built command.
enum Command {
  /// `PRECAST_COMMAND`, or `precast` beside the test program.
  static let path: String = {
    if let path = ProcessInfo.processInfo.environment["PRECAST_COMMAND"] { return path }
    let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: program).deletingLastPathComponent().appendingPathComponent("precast").path
  }()

  /// Runs it to its end. Streams go through files, which never fill up as pipes do.
  static func run(
    _ arguments: String..., input: String = "", environment: [String: String] = [:], in folder: Folder
  ) throws -> Outcome {
    try run(arguments, input: input, environment: environment, in: folder)
  }

  /// Unless `environment` says otherwise, each run has an empty cache and no settings of the user's.
  static func run(
    _ arguments: [String], input: String = "", environment: [String: String] = [:], in folder: Folder
  ) throws -> Outcome {
    let streams = folder.fresh("streams")
    try FileManager.default.createDirectory(at: streams, withIntermediateDirectories: true)
    func stream(_ name: String, _ contents: String) throws -> URL {
      let file = streams.appendingPathComponent(name)
      try Data(contents.utf8).write(to: file)
      return file
    }
    let files = (try stream("in", input), try stream("out", ""), try stream("err", ""))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.currentDirectoryURL = folder.url
    process.environment = ProcessInfo.processInfo.environment.merging(cache(in: streams)) { $1 }
      .merging(environment) { $1 }
    process.standardInput = try FileHandle(forReadingFrom: files.0)
    process.standardOutput = try FileHandle(forWritingTo: files.1)
    process.standardError = try FileHandle(forWritingTo: files.2)
    let start = Date()
    try process.run()
    process.waitUntilExit()
    if process.terminationStatus == 0, arguments.first == "compile" || arguments.first == "link" {
      try folder.expectNoRelocations(since: start)
    }
    let outcome = Outcome(
      status: process.terminationStatus,
      signal: process.terminationReason == .uncaughtSignal ? process.terminationStatus : nil,
      output: try Data(contentsOf: files.1), errors: String(decoding: try Data(contentsOf: files.2), as: UTF8.self))
    try FileManager.default.removeItem(at: streams)
    return outcome
  }

  /// The variables that give a process a cache of its own.
  private static func cache(in folder: URL) -> [String: String] {
    ["PRECAST_CACHE_DIR": folder.path + "/cache", "XDG_CONFIG_HOME": folder.path + "/config"]
  }

  /// Runs a line of shell with the command as `$precast`.
  static func shell(_ line: String, in folder: Folder) throws -> Outcome {
    let output = folder.fresh("out")
    let scratch = folder.fresh("scratch")
    defer { try? FileManager.default.removeItem(at: scratch) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", line]
    process.environment = ProcessInfo.processInfo.environment.merging(["precast": path]) { $1 }
      .merging(cache(in: scratch)) { $1 }
    process.currentDirectoryURL = folder.url
    try Data().write(to: output)
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return Outcome(status: process.terminationStatus, signal: nil, output: try Data(contentsOf: output), errors: "")
  }
}

/// A folder of a test's own, gone with the test.
final class Folder {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("precast-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  subscript(name: String) -> String { url.appendingPathComponent(name).path }

  func fresh(_ prefix: String) -> URL { url.appendingPathComponent("\(prefix)-\(UUID().uuidString)") }

  func write(_ name: String, _ contents: Data) throws { try contents.write(to: url.appendingPathComponent(name)) }
  func write(_ name: String, _ contents: String) throws { try write(name, Data(contents.utf8)) }
  func read(_ name: String) throws -> Data { try Data(contentsOf: url.appendingPathComponent(name)) }
  func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: self[name]) }
  /// All names in the folder, hidden ones included.
  var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: url.path)) ?? []).sorted() }

  /// Checks that artifacts made since then have no relocation of any kind.
  func expectNoRelocations(since start: Date) throws {
    for name in names where name.hasSuffix(".cwasm") {
      let file = url.appendingPathComponent(name)
      // Files' times are those of the last tick of a clock.
      guard let date = try file.resourceValues(forKeys: [.contentModificationDateKey]).contentModificationDate,
        date > start.addingTimeInterval(-0.02)
      else { continue }
      #expect(relocations(inArtifact: try Data(contentsOf: file)) == [], "\(name)")
    }
  }

  /// Copies a module of `TestData/Command` here.
  func add(_ name: String, as other: String? = nil) throws {
    try write(other ?? name, try Data(contentsOf: testData.appendingPathComponent("Command/\(name)")))
  }

  /// Compiles a module of `TestData/Command` to an artifact here.
  func addArtifact(of name: String, as other: String) throws {
    let module = testData.appendingPathComponent("Command/\(name)").path
    let outcome = try Command.run("compile", module, "-o", self[other], in: self)
    try #require(outcome.status == 0, "\(outcome.errors)")
  }
}

let testData = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("TestData")
