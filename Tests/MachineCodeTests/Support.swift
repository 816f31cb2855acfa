/// What the tests here share: running the system's tools, and a reproducible source of random numbers.
import Foundation
import Testing

/// A directory that goes away with the value's last use.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array((NSTemporaryDirectory() + "/machinecode-XXXXXX").utf8CString)
    let made = unsafe template.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress!) != nil }
    guard made else { throw CocoaError(.fileWriteUnknown) }
    path = template.withUnsafeBufferPointer { buffer in
      String(decoding: buffer.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { path + "/" + name }
}

struct ToolFailure: Error, CustomStringConvertible {
  var description: String
}

/// Runs a tool and returns what it printed; throws if it fails.
@discardableResult
func run(_ tool: String, _ arguments: [String]) throws -> String {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = [tool] + arguments
  let output = FileManager.default.temporaryDirectory.appendingPathComponent("out-\(UUID().uuidString)")
  _ = FileManager.default.createFile(atPath: output.path, contents: nil)
  defer { try? FileManager.default.removeItem(at: output) }
  let handle = try FileHandle(forWritingTo: output)
  process.standardOutput = handle
  process.standardError = handle
  try process.run()
  process.waitUntilExit()
  try handle.close()
  let text = String(decoding: try Data(contentsOf: output), as: UTF8.self)
  guard process.terminationStatus == 0 else {
    throw ToolFailure(description: "\(tool) \(arguments.joined(separator: " ")): \(text.prefix(4000))")
  }
  return text
}

/// SplitMix64.
struct Random: RandomNumberGenerator {
  var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
}

/// `#expect` for conditions on noncopyable values, which the macro cannot take apart.
func expect(_ condition: Bool, _ comment: Comment? = nil, _ location: SourceLocation = #_sourceLocation) {
  #expect(condition, comment, sourceLocation: location)
}
