// The code of a module that is no function of it: what stands between the host's calling convention and ours, and between
// ours and C's.
//
// An artifact brings all that it can need, so that a host without a compiler can call any export and give any function to an
// import. There are
//
// - for each function type an *entry trampoline*. It saves what the host expects to find again and leaves a resume point in
//   the activation; a trap continues there, with nothing but the stack pointer known, and the trampoline returns 1. No frame
//   of the host is ever jumped over: the host functions that were running have returned by then;
// - and an *exit trampoline*, which calls a host function's callback;
// - the stub that resolves table elements;
// - for each import that is bound to a symbol an *adapter*. Wasm calls it by the wasm convention, directly or through a table,
//   and it calls the symbol, a C function, by the platform's. C code does not keep to our frames (it may have no frame
//   pointers), so the adapter leaves its own frame pointer in the activation, as an exit trampoline does: should the C
//   function come back to the host, and that enter wasm again, a stack walk goes on from there. C code has what the host's
//   functions have of stack: what lies below the limit, which is compared here, since a leaf function may not have done so.
//   Upper halves of registers that hold 32 bits are nobody's in C, but zero in wasm: a result is extended.
//
// Which value goes where, `SignatureTable` says for all machines. The code itself is particular to each, down to the last
// instruction, so each has an assembler of its own: X86_64/X86_64Trampolines.swift and X86_64Adapters.swift, and the same in
// AArch64/.

import PrecastArtifact
import PrecastMachineCode

/// Assembles the stubs of a module, for one machine, into one chunk.
protocol StubAssembler: ~Copyable {
  init(settings: CompilerSettings)

  /// `uint64_t entry(context, code, slots, activation)`.
  mutating func entry(_ signature: Signature, _ table: SignatureTable) -> StubRecord
  /// Called by the wasm convention with a host function's context as the callee's.
  mutating func exit(_ signature: Signature, _ table: SignatureTable) -> StubRecord
  /// Resolves a table element. Table and index are on the stack. Changes no register in which compiled code keeps a value, but
  /// one, which gets the element.
  mutating func resolveElement() -> StubRecord
  /// Called by the wasm convention with the module's own context; calls `symbol` by that of C. The type has been checked:
  /// numbers only, at most one result. Notes its trap site in `traps`, which has begun a run.
  mutating func adapter(
    _ signature: Signature, _ table: SignatureTable, symbol: UInt32, traps: inout TrapTableEncoder
  ) -> StubRecord
  /// Gives everything away.
  mutating func takeChunk() -> CodeChunk
}

/// A stub in its chunk, with what its unwind entry needs.
struct StubRecord {
  var start: UInt32
  var size: UInt32
  var firstRelocation: Int
  var relocationEnd: Int
  var returns: [UInt32]
  var saved: [SavedRegister]
  var stackPointerRanges: [StackPointerRange]
  /// Whether it begins with a landing pad where functions may not.
  var hasOwnLandingPad: Bool
}

/// What is known of a stub while it is being assembled. All offsets but `start` are code offsets.
struct StubNotes {
  /// Offset in the chunk.
  var start: UInt32 = 0
  var firstRelocation = 0
  /// Of each return instruction.
  var returns: [UInt32] = []
  var saved: [SavedRegister] = []
  var ranges: [StackPointerRange] = []
  var hasOwnLandingPad = false

  /// The stub, which ends at `end` in the chunk.
  func record(end: UInt32, relocationEnd: Int) -> StubRecord {
    StubRecord(
      start: start, size: end - start, firstRelocation: firstRelocation, relocationEnd: relocationEnd, returns: returns,
      saved: saved, stackPointerRanges: ranges, hasOwnLandingPad: hasOwnLandingPad)
  }
}
