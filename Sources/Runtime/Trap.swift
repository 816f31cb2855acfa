// How wasm code stops when it cannot go on.
//
// The signal handler (or a check in `precast_enter`) leaves a trap code and the raw frames of the stack in the
// activation. A `Trap` is these in the terms of the module (`Backtrace.swift`). It is made once, when the trap is thrown; host
// functions it passes through do not change it.

import CPrecastHost
public import PrecastArtifact

/// Execution of WebAssembly code was aborted.
///
/// Spec: Core 4.2.1, "Results"; the messages are those of the specification's tests.
public struct Trap: Error, Sendable, Equatable, CustomStringConvertible {
  /// A wasm function on the stack.
  public typealias Frame = Backtrace.Frame

  /// What happened.
  public let code: TrapCode
  /// The wasm functions that were on the stack.
  public let backtrace: Backtrace
  /// The wasm functions on the stack, innermost first, through all nested calls between host and wasm.
  public var frames: [Frame] { backtrace.frames }
  /// Whether there were more frames than could be recorded.
  public var isTruncated: Bool { backtrace.isTruncated }

  /// Makes a trap, for host functions that want to end like wasm code.
  public init(_ code: TrapCode, frames: [Frame] = [], isTruncated: Bool = false) {
    self.code = code
    backtrace = Backtrace(frames: frames, isTruncated: isTruncated)
  }

  /// What happened, in the specification's words.
  public var message: String { code.message }

  /// The message, then the backtrace: `  0: 0x1a2b - module!function`, and the source where it is known.
  public var description: String {
    "wasm trap: \(message)" + (frames.isEmpty ? "" : "\n\(backtrace)")
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
    // The frames stand in a buffer of this thread until its next trap.
    let recorded = unsafe UnsafeBufferPointer(
      start: activation.pointee.trap_frames, count: Int(activation.pointee.trap_frame_count))
    let backtrace = unsafe Backtrace(recorded, isTruncated: activation.pointee.trap_frames_truncated)
    self.init(
      TrapCode(rawValue: code) ?? .hostError, frames: backtrace.frames, isTruncated: backtrace.isTruncated)
  }
}
