// Modules as bytes: out of a process, and back in.
//
// A compiled module is its artifact, and loading keeps nothing else of it. So there is nothing to encode: serialising gives
// the file's bytes, lent, copied, or written to another file, and `Module(engine:deserialize:)` takes them back. The
// bytes are those that were loaded, even when the file has been replaced or deleted since.

public import PrecastLoader

extension Module {
  /// The size of the serialised module in bytes.
  public var serializedByteCount: Int { artifact.byteCount }

  /// The module as bytes, for `Module(engine:deserialize:)`: a copy of its artifact.
  ///
  /// - Throws: `LoadError`; of kind `damaged` when the artifact's file was changed while it was loaded.
  public func serialize() throws(LoadError) -> [UInt8] { try artifact.serializedBytes() }

  /// Lends the module's bytes for the time of a call, without a copy. The span must not escape.
  ///
  /// - Throws: `LoadError`, of kind `damaged` when the artifact's file was changed, also while `body` ran, whose result is
  ///   then dropped; or what `body` throws.
  public func withSerializedBytes<R>(_ body: (RawSpan) throws -> R) throws -> R {
    try artifact.withSerializedBytes(body)
  }

  /// Writes the module to a file, atomically: whatever happens, `path` leads to the old file or to the whole new one. The
  /// file system shares the blocks with the loaded file where it can.
  ///
  /// - Parameter durable: whether to wait until the file is on disk.
  /// - Throws: `LoadError`.
  public func serialize(toFile path: String, durable: Bool = true) throws(LoadError) {
    try artifact.write(toFile: path, durable: durable)
  }
}
