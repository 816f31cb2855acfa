/// Why generated code stopped: the value stored for a trap site in `.wasmtime.traps`.
///
/// The numbers are part of the artifact format and of the C side of the host support
/// (`precast_run_table.h` and `precast_activation.h` repeat those they need); never reuse one.
public enum TrapCode: UInt8, Sendable, CaseIterable, BitwiseCopyable {
  /// An `unreachable` instruction was executed.
  case unreachable = 1
  /// A load, store or bulk operation reached past the end of a linear memory.
  case memoryOutOfBounds = 2
  /// A table instruction reached past the end of a table.
  case tableOutOfBounds = 3
  /// `call_indirect` with an index past the end of its table ("undefined element").
  case undefinedElement = 4
  /// `call_indirect` through a null element ("uninitialized element").
  case uninitializedElement = 5
  /// `call_indirect` through a function of another type.
  case indirectCallTypeMismatch = 6
  /// Signed division overflow, or a float-to-integer conversion out of range.
  case integerOverflow = 7
  /// Integer division or remainder by zero.
  case integerDivideByZero = 8
  /// Float-to-integer conversion of a NaN.
  case invalidConversionToInteger = 9
  /// The wasm stack is exhausted.
  case stackOverflow = 10
  /// A null reference where a non-null one is required.
  case nullReference = 11
  /// A built-in failed for a reason of the host; the store holds the error.
  case hostError = 12
  /// The artifact's file is damaged, or was changed while it was loaded: what was needed of it is lost, or
  /// cannot be believed. Reported in place of a trap that cannot be told; never the value of a trap site.
  case damagedArtifact = 13

  /// Whether the value may stand in a trap table.
  public var isTrapSite: Bool { self != .damagedArtifact }
}
