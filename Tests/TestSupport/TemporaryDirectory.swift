// Files of a test's own.

package import Foundation

/// A directory that goes away, with all that is in it, with the last reference to this object.
package final class TemporaryDirectory: Sendable {
  package let url: URL

  package init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("precast-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  package var path: String { url.path }

  /// The path of a file here.
  package func file(_ name: String) -> String { url.appendingPathComponent(name).path }

  /// The URL of a file here.
  package func appending(_ name: String) -> URL { url.appendingPathComponent(name) }

  /// Writes a text file; returns its path.
  package func write(_ text: String, to name: String) throws -> String {
    try text.write(toFile: file(name), atomically: false, encoding: .utf8)
    return file(name)
  }

  /// The names of what is here.
  package var contents: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }
}
