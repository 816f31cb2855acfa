// How running emulated code ends when it does not return, in one type.
//
// A run that ends is a value, never a crash of the test process: what the processor found, where, and what was in its
// registers. Tests compare `reason`; a trap handler looks at `pc`, `stackPointer` and `framePointer` as it would in a
// signal's context.

/// Why emulated code could not go on, and the state it was left in.
package struct ProcessorStop: Error, CustomStringConvertible {
  /// What happened.
  package enum Reason: Equatable, Sendable {
    /// A load of `size` bytes from memory that is not there, or cannot be read. `address` is the first byte that fails.
    case load(address: UInt64, size: Int)
    /// A store to memory that is not there, or cannot be written.
    case store(address: UInt64, size: Int)
    /// An instruction was to be fetched from memory that is not there, or cannot be executed.
    case fetch(address: UInt64)
    /// `brk #immediate`.
    case breakpoint(UInt16)
    /// `udf`, or an instruction that the processor does not have: its encoding.
    case undefined(UInt32)
    /// `svc #immediate`. There is no system to call.
    case supervisorCall(UInt16)
    /// Another exception, by QEMU's number.
    case exception(UInt32)
    /// More instructions than `AArch64Processor.instructionLimit`.
    case limit
    /// The observer of instructions did not want to go on.
    case stopped
    /// An indirect branch to guarded code, where no landing pad of its kind stands; PSTATE.BTYPE is 1 for `br x16` and
    /// `br x17`, 2 for `blr`, 3 for other `br`.
    case branchTarget(branchType: UInt32)
    /// A call out, or a return, with a stack pointer that AAPCS64 6.4.5.1 does not allow: not 16-byte aligned,
    /// outside of the processor's stack, or after a return not where it was.
    case stackPointer(UInt64)
    /// The function returned with a register changed that AAPCS64 6.1 lets it not change: its name.
    case clobbered(String)
    /// A host function threw `hostError`.
    case hostFunction
    /// The emulator itself failed.
    case emulator(String)
  }

  /// What happened.
  package let reason: Reason
  /// The instruction that could not be executed; after `svc` the next one.
  package let pc: UInt64
  /// `x0` to `x30`.
  package let registers: [UInt64]
  /// `sp`.
  package let stackPointer: UInt64
  /// What a host function threw.
  package let hostError: (any Error)?

  /// `x29`.
  package var framePointer: UInt64 { registers[29] }
  /// `x30`.
  package var linkRegister: UInt64 { registers[30] }

  package var description: String {
    "\(reason) at pc 0x\(String(pc, radix: 16)), sp 0x\(String(stackPointer, radix: 16)), "
      + "x30 0x\(String(linkRegister, radix: 16))\(hostError.map { ": \($0)" } ?? "")"
  }
}

/// What prevents a processor from being made, or memory from being mapped into it.
package enum ProcessorError: Error, Equatable, Sendable {
  /// No emulator on this machine: why.
  case unavailable(String)
  /// A range that is empty, not of whole pages of 4 KiB, or passes the end of the address space.
  case invalidRange(address: UInt64, count: Int)
  /// More separate regions than the emulator survives (`RegionMap.limit`).
  case tooManyRegions(Int)
  /// The host refused memory: errno.
  case outOfMemory(Int32)
  /// The emulator refused, in its own words.
  case refused(String)
}
