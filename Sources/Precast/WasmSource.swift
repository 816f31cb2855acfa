// A wasm binary that may never have to be read.
//
// Compilations are keyed by the digest of their wasm. Where that is known already (the cache remembers it for files), an
// artifact is found without reading a byte of the binary; only who has to compile asks for the bytes. So a source is a
// digest, and a way to get what has it.

public import PrecastCache
public import PrecastWasm

/// A wasm binary, by its digest.
public struct WasmSource: Sendable, Encodable {
  /// SHA-256 of the bytes.
  public let digest: Digest
  private let read: @Sendable () throws -> WasmBinary

  /// A binary that is in memory.
  public init(_ binary: WasmBinary) {
    digest = unsafe binary.withUnsafeBytes { unsafe Digest(of: $0) }
    read = { binary }
  }

  /// Bytes, copied only if they have to be compiled.
  public init(_ bytes: [UInt8]) {
    digest = Digest(of: bytes)
    read = { WasmBinary(bytes) }
  }

  /// A binary whose digest is known, and a way to get it. What that gives must have this digest.
  init(digest: Digest, read: @escaping @Sendable () throws -> WasmBinary) {
    self.digest = digest
    self.read = read
  }

  /// The bytes.
  func binary() throws -> WasmBinary { try read() }

  /// Encodes the digest, which stands for the bytes.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(digest)
  }
}
