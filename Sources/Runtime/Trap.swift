// How wasm code stops when it cannot go on.
//
// The signal handler (or a check in `precast_enter`) leaves a trap code and the raw frames of the stack in the
// activation. A `Trap` is these in the terms of the module: for each frame the function's index and name, the wasm offset
// if the artifact has an address map, and the place in the text. It is made once, when the trap is thrown; host functions
// it passes through do not change it.

import CPrecastHost
public import PrecastArtifact
import PrecastLoader
import PrecastWasm

/// Execution of WebAssembly code was aborted.
///
/// Spec: Core 4.2.1, "Results"; the messages are those of the specification's tests.
public struct Trap: Error, Sendable, Equatable, CustomStringConvertible {
  /// A wasm function on the stack.
  public struct Frame: Sendable, Equatable, CustomStringConvertible {
    /// Index in the module's function index space; nil if it could not be found out.
    public var functionIndex: Int?
    /// The function's name, if the module has one for it.
    public var functionName: String?
    /// The module's name, if it has one.
    public var moduleName: String?
    /// Offset in the wasm binary of the instruction that trapped, or of the call; nil without an address map.
    public var wasmOffset: Int?
    /// Offset in the artifact's text.
    public var textOffset: Int
    /// How many entries from the host into wasm lie between this frame and the innermost ones: 0, then 1, ...
    public var depth: Int

    /// Makes a frame.
    public init(
      functionIndex: Int?, functionName: String?, moduleName: String?, wasmOffset: Int?, textOffset: Int, depth: Int
    ) {
      self.functionIndex = functionIndex
      self.functionName = functionName
      self.moduleName = moduleName
      self.wasmOffset = wasmOffset
      self.textOffset = textOffset
      self.depth = depth
    }

    /// `0x1a2b - module!function`, on one line whatever the names hold.
    public var description: String {
      let place =
        wasmOffset.map { "0x" + hexadecimal(UInt64($0), digits: 4) } ?? "text+0x" + String(textOffset, radix: 16)
      let function = functionName?.printable ?? functionIndex.map { "<wasm function \($0)>" } ?? "<unknown>"
      return "\(place) - \(moduleName?.printable ?? "<unknown>")!\(function)"
    }
  }

  /// What happened.
  public let code: TrapCode
  /// The wasm functions on the stack, innermost first, through all nested calls between host and wasm.
  public let frames: [Frame]
  /// Whether there were more frames than could be recorded.
  public let isTruncated: Bool

  /// Makes a trap, for host functions that want to end like wasm code.
  public init(_ code: TrapCode, frames: [Frame] = [], isTruncated: Bool = false) {
    self.code = code
    self.frames = frames
    self.isTruncated = isTruncated
  }

  /// What happened, in the specification's words.
  public var message: String { code.message }

  /// The message, then one line a frame: `    0: 0x1a2b - module!function`.
  public var description: String {
    var text = "wasm trap: \(message)"
    for (index, frame) in frames.enumerated() { text += "\n  \(index): \(frame)" }
    if isTruncated { text += "\n  (more frames)" }
    return text
  }
}

extension TrapCode {
  /// The specification's words for the trap.
  public var message: String {
    switch self {
    case .unreachable: "unreachable"
    case .memoryOutOfBounds: "out of bounds memory access"
    case .tableOutOfBounds: "out of bounds table access"
    case .undefinedElement: "undefined element"
    case .uninitializedElement: "uninitialized element"
    case .indirectCallTypeMismatch: "indirect call type mismatch"
    case .integerOverflow: "integer overflow"
    case .integerDivideByZero: "integer divide by zero"
    case .invalidConversionToInteger: "invalid conversion to integer"
    case .stackOverflow: "call stack exhausted"
    case .nullReference: "null reference"
    case .hostError: "host error"
    case .damagedArtifact: "the artifact's file is damaged, or was changed while it was loaded"
    }
  }
}

extension Trap {
  /// The trap that an activation ended with.
  init(_ activation: UnsafePointer<precast_activation>) {
    let code = unsafe UInt8(truncatingIfNeeded: activation.pointee.trap_code)
    var frames: [Frame] = []
    // The frames stand in a buffer of this thread until its next trap.
    let count = unsafe Int(activation.pointee.trap_frame_count)
    frames.reserveCapacity(count)
    var names = FrameNames()
    if let recorded = unsafe activation.pointee.trap_frames {
      for index in 0..<count { frames.append(names.frame(unsafe recorded[index])) }
    }
    self.init(
      TrapCode(rawValue: code) ?? .hostError, frames: frames,
      isTruncated: unsafe activation.pointee.trap_frames_truncated)
  }
}
