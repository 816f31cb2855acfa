// What the compiler does for each entry of a table about code.
//
// The symbols of the file's format (RunTable.swift) depend on the whole module, so they cannot be
// made while functions compile in parallel. What can be done then is the part that needs no
// knowledge of others: take deltas, and note those that fit as two bytes. A compiler thread has one
// encoder for its many functions; all that an entry costs is a compare, a subtraction and a
// two-byte store.
//
// A run, as handed from encoder to builder: entries of two bytes, code delta (1...255) and value
// (0...255); or 0 and then code delta and value in four bytes each. Code deltas count from -1. The
// value is the wasm delta, from 0 (so the first entry is nearly always a long one), or the trap code.

public import PrecastMachineCode

/// The entries of one function, on their way from an encoder to the builder of a section.
///
/// The bytes belong to an encoder's buffer (or to a copy of it), which has to stay as it is until the
/// section is built.
@safe
public struct CodeRun: @unchecked Sendable {
  /// The function's offset in the text, in bytes.
  public var textOffset: UInt32
  /// Length of the run in bytes.
  public var count: Int
  // Read by the builders only, within `count`.
  let base: UnsafeRawPointer

  /// The run of `count` bytes at `base`, which stay there until the section is built.
  @unsafe
  public init(textOffset: UInt32, base: UnsafeRawPointer, count: Int) {
    self.textOffset = textOffset
    unsafe self.base = base
    self.count = max(0, count)
  }
}

/// Collects (code offset, wasm offset) of the operators of one function after another.
///
/// For each function: `begin()`, `add` in ascending order of code offsets, `finish()`. The run is
/// the last `finish()` bytes of `bytes`.
public struct AddressMapEncoder: ~Copyable {
  /// The runs so far, one after the other.
  public var bytes: CodeBuffer
  @usableFromInline var start = 0
  @usableFromInline var lastCode: UInt32 = .max
  @usableFromInline var lastWasm: UInt32 = 0
  // The entry that waits for the next operator: one at the same code offset replaces it.
  @usableFromInline var pendingCode: UInt32 = .max
  @usableFromInline var pendingWasm: UInt32 = 0

  /// An encoder with room for `capacity` bytes, about two an entry.
  public init(capacity: Int = 64 * 1024) { bytes = CodeBuffer(capacity: capacity) }

  /// Starts a function.
  @inlinable
  public mutating func begin() {
    start = bytes.count
    lastCode = .max
    lastWasm = 0
    pendingCode = .max
  }

  /// Notes that the code of the operator at `wasmOffset` starts at `codeOffset` (from the start of
  /// the function). Of several operators at one code offset only the last one emitted code, and only
  /// it is kept, so the caller need not know. Code offsets do not descend; one that does is ignored.
  @inlinable @inline(__always)
  public mutating func add(codeOffset: UInt32, wasmOffset: UInt32) {
    if codeOffset != pendingCode { flush() }
    pendingCode = codeOffset
    pendingWasm = wasmOffset
  }

  /// Ends the function and returns the length of its run in bytes.
  @inlinable
  public mutating func finish() -> Int {
    flush()
    return bytes.count - start
  }

  @inlinable @inline(__always)
  mutating func flush() {
    // Nothing pending is code offset 2^32-1, which makes the delta from any last offset but itself
    // that of a descent.
    let delta = pendingCode &- lastCode
    let step = pendingWasm &- lastWasm
    if pendingCode == .max || delta == 0 { return }
    if delta < 256 && step < 256 {
      bytes.put16(UInt16(truncatingIfNeeded: delta | step << 8))
    } else {
      if lastCode != .max && pendingCode < lastCode { return }
      bytes.put8(0)
      bytes.put32(delta)
      bytes.put32(step)
    }
    lastCode = pendingCode
    lastWasm = pendingWasm
  }
}

/// Collects (code offset, trap code) of the trap sites of one function after another.
///
/// For each function: `begin()`, `add` in ascending order of code offsets, `finish()`. The run is
/// the last `finish()` bytes of `bytes`.
public struct TrapTableEncoder: ~Copyable {
  /// The runs so far, one after the other.
  public var bytes: CodeBuffer
  @usableFromInline var start = 0
  @usableFromInline var lastCode: UInt32 = .max

  /// An encoder with room for `capacity` bytes, about two a site.
  public init(capacity: Int = 64 * 1024) { bytes = CodeBuffer(capacity: capacity) }

  /// Starts a function.
  @inlinable
  public mutating func begin() {
    start = bytes.count
    lastCode = .max
  }

  /// Notes that the instruction at `codeOffset` (from the start of the function) may trap with
  /// `code`. Code offsets ascend; one that does not is ignored.
  @inlinable @inline(__always)
  public mutating func add(codeOffset: UInt32, code: TrapCode) {
    let delta = codeOffset &- lastCode
    if delta < 256 && delta != 0 {
      bytes.put16(UInt16(truncatingIfNeeded: delta) | UInt16(code.rawValue) << 8)
    } else {
      if lastCode != .max && codeOffset <= lastCode { return }
      bytes.put8(0)
      bytes.put32(delta)
      bytes.put32(UInt32(code.rawValue))
    }
    lastCode = codeOffset
  }

  /// Ends the function and returns the length of its run in bytes.
  @inlinable
  public mutating func finish() -> Int { bytes.count - start }
}
