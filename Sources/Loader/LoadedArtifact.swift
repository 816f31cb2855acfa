// An artifact in memory, ready to run.

/// A place in compiled code, in the terms of the wasm module.
public struct CodeLocation: Sendable, Equatable {
  /// Index of the function in the module's function index space; nil inside a trampoline or veneer.
  public var functionIndex: Int?
  /// Distance from the start of `.text`.
  public var textOffset: Int
  /// Distance from the start of the function's code; 0 outside functions.
  public var codeOffset: Int
  /// Distance from the start of the wasm binary; nil when the artifact has no address map.
  public var wasmOffset: Int?

  /// Makes a location.
  public init(functionIndex: Int?, textOffset: Int, codeOffset: Int, wasmOffset: Int?) {
    self.functionIndex = functionIndex
    self.textOffset = textOffset
    self.codeOffset = codeOffset
    self.wasmOffset = wasmOffset
  }
}

/// A loaded artifact: its text mapped for execution, everything else for reading, known to the
/// unwinder and to the process's map of code. All of it goes when the last reference does, so the
/// owner must keep one while the code may run or its addresses are in use.
@safe
public final class LoadedArtifact: @unchecked Sendable {
  /// Address of the start of `.text`.
  public let textBase: UInt
  /// Size of `.text` in bytes.
  public let textSize: Int
  /// A descriptor of the file (or sealed memory) that the artifact is mapped from, open as long as
  /// this object lives, for mapping the data image; -1 when the artifact has no image.
  public let imageDescriptor: Int32

  /// Loads the artifact at `path`.
  public convenience init(path: String) throws(LoadError) {
    throw LoadError(kind: .notAnArtifact, path: path, message: "not implemented")
  }

  /// Loads from an open descriptor of a regular file, which the caller keeps (and may close).
  public convenience init(fileDescriptor: Int32) throws(LoadError) {
    throw LoadError(kind: .notAnArtifact, message: "not implemented")
  }

  /// Loads from bytes, by way of sealed memory.
  public convenience init(bytes: RawSpan) throws(LoadError) {
    throw LoadError(kind: .notAnArtifact, message: "not implemented")
  }

  init(textBase: UInt, textSize: Int, imageDescriptor: Int32) {
    self.textBase = textBase
    self.textSize = textSize
    self.imageDescriptor = imageDescriptor
  }

  /// Where in the module `pc` is; nil outside this artifact's text. For a return address, the call
  /// before it is meant.
  public func location(of pc: UInt, isReturnAddress: Bool) -> CodeLocation? {
    nil
  }

  /// The trap code (`TrapCode`'s raw value) of the trap site at exactly `pc`, or 0.
  public func trapCode(at pc: UInt) -> UInt8 {
    0
  }

  /// Address of a defined function's code, by its index in the function index space (imported
  /// functions first); nil for an imported function.
  public func functionAddress(_ functionIndex: Int) -> UInt? {
    nil
  }

  /// Address of the trampoline into wasm for a type of the module; nil when the artifact has none.
  public func entryTrampoline(typeIndex: Int) -> UInt? {
    nil
  }

  /// Address of the trampoline out of wasm for a type of the module; nil when the artifact has none.
  public func exitTrampoline(typeIndex: Int) -> UInt? {
    nil
  }

  /// The loaded artifact whose text holds `pc`. Lock-free.
  public static func containing(pc: UInt) -> LoadedArtifact? {
    nil
  }
}
