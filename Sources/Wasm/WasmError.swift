// What a module that cannot be used gets: one error, with the place and the reason.
//
// The specification separates modules that are not even modules (malformed) from those that break a rule of validation
// (invalid), and its tests check which. Two more kinds are ours: a feature of a later proposal, which the user should
// see by name rather than as a strange byte, and a limit of this implementation.

/// An extension of WebAssembly that this version does not accept, by the name its proposal goes by.
public enum Proposal: String, Sendable, CaseIterable {
  /// 128-bit vectors.
  case simd
  /// Exceptions, in both their legacy and their present form.
  case exceptionHandling = "exception-handling"
  /// `return_call` and `return_call_indirect`.
  case tailCall = "tail-call"
  /// More than one memory in a module.
  case multiMemory = "multi-memory"
  /// Memories and tables with 64-bit indices.
  case memory64
  /// Typed function references.
  case functionReferences = "function-references"
  /// Structures, arrays and the rest of garbage collection.
  case gc
  /// Shared memories and atomic instructions.
  case threads
  /// Memory pages of other sizes than 64 KiB.
  case customPageSizes = "custom-page-sizes"
  /// 128-bit arithmetic on integers.
  case wideArithmetic = "wide-arithmetic"
  /// Suspending and resuming computations.
  case stackSwitching = "stack-switching"
  /// Components, a format of their own that contains modules.
  case componentModel = "component-model"
}

/// Why a binary is not accepted as a module.
public struct WasmError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The four ways of not being acceptable.
  public enum Kind: Hashable, Sendable {
    /// The bytes are not a module (Core 5, "Binary Format").
    case malformed
    /// A module, but one that breaks a rule of validation (Core 3).
    case invalid
    /// It uses a proposal that is not supported.
    case unsupported(Proposal)
    /// It exceeds a limit of this implementation (Core A.2, "Implementation Limitations").
    case limit
  }

  /// How it is not acceptable.
  public var kind: Kind
  /// Where: a wasm offset, the distance in bytes from the start of the binary.
  public var offset: Int
  /// What is wrong, beginning with the specification tests' wording where they have one.
  public var message: String

  /// Makes an error.
  public init(_ kind: Kind, at offset: Int, _ message: String) {
    self.kind = kind
    self.offset = offset
    self.message = message
  }

  /// One line: kind, offset in hexadecimal, message.
  public var description: String {
    let what =
      switch kind {
      case .malformed: "malformed module"
      case .invalid: "invalid module"
      case .unsupported(let proposal): "unsupported feature (\(proposal.rawValue))"
      case .limit: "limit exceeded"
      }
    return "\(what) at offset 0x\(String(offset, radix: 16)): \(message)"
  }
}
