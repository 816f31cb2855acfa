// Puts a finished artifact together.
//
// In order: build the sections that are made from the module (everything but the text, which the
// caller has), lay all of them out, hand them to libelf, compute checksums and build-id over what is
// in the file now, and only then give the file its name.

import PrecastArtifact
import PrecastMachineCode
import PrecastVerification

/// Writes finished artifacts.
public enum ArtifactWriter {
  /// Writes an artifact to `path`, atomically: either the old file is there, or the new one.
  ///
  /// A path that names something other than a regular file (a pipe, a device) is written to as it is.
  ///
  /// - Parameters:
  ///   - input: what goes into the artifact.
  ///   - path: where to put it.
  ///   - durable: whether the contents are forced to disk before the file gets its name, so that
  ///     not even a power failure leaves a part.
  /// - Throws: `ArtifactWriterError`.
  public static func write(
    _ input: ArtifactInput, toFile path: String, durable: Bool = true
  ) throws(ArtifactWriterError) {
    let plan = try ArtifactPlan(input)
    try OutputFile.write(path: path, durable: durable) { (file) throws(ArtifactWriterError) in
      try emit(plan, to: file)
    }
  }

  /// The bytes of an artifact.
  ///
  /// - Throws: `ArtifactWriterError`.
  public static func bytes(_ input: ArtifactInput) throws(ArtifactWriterError) -> [UInt8] {
    let plan = try ArtifactPlan(input)
    let file = try OutputFile.memory()
    try emit(plan, to: file)
    return try unsafe file.withMapping(size: Int(plan.engine.fileSize)) { (bytes) throws(ArtifactWriterError) in
      unsafe [UInt8](bytes)
    }
  }

  /// A descriptor of a sealed in-memory file (`memfd`) that holds an artifact, for loading without
  /// touching a disk. The caller closes it.
  ///
  /// - Throws: `ArtifactWriterError`.
  public static func memoryFile(_ input: ArtifactInput) throws(ArtifactWriterError) -> Int32 {
    let plan = try ArtifactPlan(input)
    let file = try OutputFile.memory()
    try emit(plan, to: file)
    try file.seal()
    return try file.duplicate()
  }

  private static func emit(_ plan: ArtifactPlan, to file: borrowing OutputFile) throws(ArtifactWriterError) {
    try ElfOutput.write(plan, to: file)
    try unsafe file.withMutableMapping(size: Int(plan.engine.fileSize)) { (bytes) throws(ArtifactWriterError) in
      unsafe ArtifactSeal.apply(to: bytes, engine: plan.engine)
    }
  }
}

/// Why an artifact could not be written.
public struct ArtifactWriterError: Error, Sendable, Equatable, CustomStringConvertible {
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

  /// Operation, path and message.
  public var description: String { path.isEmpty ? "\(operation): \(message)" : "\(operation) \(path): \(message)" }
}
