// Puts a finished artifact together.

/// Writes finished artifacts.
public enum ArtifactWriter {
  /// Writes an artifact to `path`, atomically: either the old file is there, or the new one.
  ///
  /// - Throws: `ArtifactWriterError`.
  public static func write(_ input: ArtifactInput, toFile path: String) throws(ArtifactWriterError) {
    throw ArtifactWriterError(operation: "write", path: path, message: "not implemented")
  }

  /// The bytes of an artifact.
  ///
  /// - Throws: `ArtifactWriterError`.
  public static func bytes(_ input: ArtifactInput) throws(ArtifactWriterError) -> [UInt8] {
    throw ArtifactWriterError(operation: "write", path: "", message: "not implemented")
  }
}

/// Why an artifact could not be written.
public struct ArtifactWriterError: Error, Sendable, CustomStringConvertible {
  /// What was being done: `create`, `write`, `rename`, ….
  public var operation: String
  /// The file concerned; empty for an artifact in memory.
  public var path: String
  /// What was wrong, in words.
  public var message: String

  /// Creates an error.
  public init(operation: String, path: String, message: String) {
    self.operation = operation
    self.path = path
    self.message = message
  }

  public var description: String { path.isEmpty ? "\(operation): \(message)" : "\(operation) \(path): \(message)" }
}
