// An AArch64 processor in the test process.
//
// On an x86-64 machine, code for AArch64 can be run by qemu-user, in a process of its own, with a C library and a
// kernel's interface in between; or by a library that is nothing but the processor. Precast's tests want the second:
// the memory, the contexts and the functions that compiled code works with are those of the test, at their own
// addresses, and the test sees every fault, and every instruction if it likes.
//
// What belongs to the processor is here: registers, memory (`RegionMap` keeps the book), a stack, calls by AAPCS64
// (`ProcessorCalls.swift`), and calls out to closures of the host. Those go to addresses in a *reserved range*, which
// nothing else can have and which is never mapped: fetching from there ends the run in the emulator, the closure runs
// on the host's stack like any other code, and then the processor goes on. So a closure may call emulated code again,
// to any depth.
//
// A processor belongs to one thread at a time; any number can run at once.
//
// How the runtime's own instances run on it is said in Tests/EmulatedRuntime.

import CUnicorn
import Glibc

/// An AArch64 processor that sees host memory at its own address.
@safe
package final class AArch64Processor {
  /// What the processor can do.
  package enum Model: Sendable {
    /// Armv8.0-A and no more (a Cortex-A72): what the baseline promises suffices, or stops as an undefined instruction.
    case baseline
    /// All that the emulator has.
    case maximal
  }

  /// Why there are no processors on this machine, or nil.
  package static var unavailableReason: String? { unsafe precast_emulator_missing().map { unsafe String(cString: $0) } }

  // Owned; used by one thread at a time.
  let emulator: OpaquePointer
  let reserved: HostPages
  let stack: HostPages
  /// The stack without its guards.
  package let stackRange: Range<UInt64>

  /// What is mapped.
  package private(set) var regionMap = RegionMap()
  var hostFunctions: [HostFunction] = []
  var depth = 0

  /// Most instructions that one outermost `call` may execute, so that nothing hangs; counted by basic blocks.
  package var instructionLimit: UInt64 = 2_000_000_000
  /// Whether memory of the host that is not mapped here is looked for when emulated code loads or stores there.
  package var findsHostMemory = false
  /// Asked when emulated code cannot go on, as a signal handler would be: where to go on instead, or nil.
  package var onTrap: ((ProcessorStop) -> Resumption?)?
  /// Asked when emulated code fetches from an address that is not mapped as code: whether there is code, whole pages, for
  /// this processor after all. It is then mapped, and execution goes on.
  package var onMissingCode: ((UInt64) -> (start: UInt64, end: UInt64)?)?
  /// Asked when emulated code fetches from an address where there is none: the function of the host to call.
  package var onForeignCall: ((UInt64) -> HostFunction?)?

  /// Where to go on after a trap.
  package struct Resumption {
    package var pc: UInt64
    package var stackPointer: UInt64
    package var framePointer: UInt64?

    package init(pc: UInt64, stackPointer: UInt64, framePointer: UInt64? = nil) {
      self.pc = pc
      self.stackPointer = stackPointer
      self.framePointer = framePointer
    }
  }

  /// A processor with an empty stack of `stackSize` bytes between guards, and nothing else mapped.
  package init(model: Model = .baseline, stackSize: Int = 1 << 20) throws(ProcessorError) {
    if let reason = Self.unavailableReason { throw .unavailable(reason) }
    reserved = try HostPages(count: 1 << 16, isReserved: true)
    // The guards are left inaccessible for the host as well, so that nothing else comes to stand beside the stack.
    let guardSize = 1 << 16
    stack = try HostPages(count: stackSize + 2 * guardSize)
    stack.protect(0..<guardSize, readable: false)
    stack.protect(stack.count - guardSize..<stack.count, readable: false)
    stackRange = stack.address + UInt64(guardSize)..<stack.end - UInt64(guardSize)
    var error: Int32 = 0
    let kind = model == .maximal ? PRECAST_EMULATOR_MAX : PRECAST_EMULATOR_ARMV8_0
    guard let made = unsafe precast_emulator_new(kind, reserved.address, UInt64(reserved.count), &error) else {
      throw .refused(Self.message(error))
    }
    unsafe emulator = made
    try map(stackRange.lowerBound, Int(stackRange.upperBound - stackRange.lowerBound), .readWrite)
  }

  deinit { unsafe precast_emulator_free(emulator) }

  static func message(_ error: Int32) -> String {
    unsafe precast_emulator_error(error).map { unsafe String(cString: $0) } ?? "error \(error)"
  }

  // MARK: Memory

  /// Lets emulated code access `count` bytes of host memory from `address` on, whole pages, as `access` says.
  ///
  /// The host must be able to read, and to write what is to be written, until the range is unmapped here: it is
  /// accessed directly. Replaces what was mapped there before.
  package func map(_ address: UInt64, _ count: Int, _ access: Access) throws(ProcessorError) {
    try set(address, count, access)
  }

  /// Lets emulated code access some pages.
  package func map(_ pages: HostPages, _ access: Access) throws(ProcessorError) {
    try set(pages.address, pages.count, access)
  }

  /// Takes a range away, whatever of it is mapped, with all that was translated from there.
  package func unmap(_ address: UInt64, _ count: Int) throws(ProcessorError) { try set(address, count, nil) }

  private func set(_ address: UInt64, _ count: Int, _ access: Access?) throws(ProcessorError) {
    let page = UInt64(HostPages.pageSize)
    let (end, overflow) = address.addingReportingOverflow(UInt64(max(0, count)))
    guard count > 0, !overflow, address % page == 0, end % page == 0 else {
      throw .invalidRange(address: address, count: count)
    }
    var changed = regionMap
    let changes = changed.set(address, end, access)
    guard changed.regions.count <= RegionMap.limit else { throw .tooManyRegions(changed.regions.count) }
    regionMap = changed
    for change in changes {
      let error: Int32
      switch change {
      case .unmap(let region):
        error = unsafe precast_emulator_unmap(emulator, region.start, region.end - region.start)
      case .map(let region):
        error = unsafe precast_emulator_map(
          emulator, region.start, region.end - region.start, region.access.rawValue)
      }
      if error != 0 { throw .refused("\(change): \(Self.message(error))") }
    }
  }

  /// Takes everything away but the stack: for processors that find what they need again.
  package func forgetFoundMemory() {
    for region in regionMap.regions where !stackRange.contains(region.start) {
      try? unmap(region.start, Int(region.end - region.start))
    }
  }

  /// Forgets what was translated from a range: necessary after the host has changed code there, as cache maintenance
  /// is on hardware.
  package func invalidateCode(_ address: UInt64, _ count: Int) {
    unsafe _ = precast_emulator_invalidate(emulator, address, UInt64(max(0, count)))
  }

  // MARK: Registers

  /// A register.
  package enum Register: Hashable, Sendable {
    /// `x0` to `x30`.
    case x(Int)
    case sp
    case pc
    /// The flags, in bits 31 to 28.
    case nzcv
    case fpcr

    var number: UInt32 {
      switch self {
      case .x(let number): UInt32(truncatingIfNeeded: number & 31)
      case .sp: UInt32(PRECAST_EMULATOR_SP)
      case .pc: UInt32(PRECAST_EMULATOR_PC)
      case .nzcv: UInt32(PRECAST_EMULATOR_NZCV)
      case .fpcr: UInt32(PRECAST_EMULATOR_FPCR)
      }
    }
  }

  /// 128 bits of a vector register.
  package struct Vector: Equatable, Sendable {
    package var low: UInt64
    package var high: UInt64
    package init(low: UInt64, high: UInt64 = 0) {
      self.low = low
      self.high = high
    }
  }

  /// A general register.
  package subscript(_ register: Register) -> UInt64 {
    get { unsafe precast_emulator_get(emulator, register.number) }
    set { unsafe precast_emulator_set(emulator, register.number, newValue) }
  }

  /// A vector register, 0 to 31.
  package subscript(vector number: Int) -> Vector {
    get {
      var words: (UInt64, UInt64) = (0, 0)
      unsafe withUnsafeMutableBytes(of: &words) {
        unsafe precast_emulator_get_vector(
          emulator, UInt32(truncatingIfNeeded: number), $0.baseAddress!.assumingMemoryBound(to: UInt64.self))
      }
      return Vector(low: words.0, high: words.1)
    }
    set {
      let words = (newValue.low, newValue.high)
      unsafe withUnsafeBytes(of: words) {
        unsafe precast_emulator_set_vector(
          emulator, UInt32(truncatingIfNeeded: number), $0.baseAddress!.assumingMemoryBound(to: UInt64.self))
      }
    }
  }

  // MARK: Observing

  /// Instructions executed so far; exact where basic blocks end.
  package var executedInstructions: UInt64 { unsafe precast_emulator_executed(emulator) }

  private var observer: ((UInt64) -> Bool)?

  /// Calls `observer` before each instruction with its address, from the next call on; it may read and write registers,
  /// and returns whether to go on. Everything is a hundred times slower meanwhile.
  package func observeInstructions(_ observer: ((_ pc: UInt64) -> Bool)?) {
    self.observer = observer
    guard observer != nil else { return unsafe precast_emulator_set_callback(emulator, nil, nil) }
    let callback: precast_emulator_callback = { context, pc in
      // `context` is the processor, which is running and so alive.
      unsafe Unmanaged<AArch64Processor>.fromOpaque(context!)._withUnsafeGuaranteedRef { $0.observer?(pc) ?? true }
    }
    unsafe precast_emulator_set_callback(emulator, callback, Unmanaged.passUnretained(self).toOpaque())
  }

  /// Lets indirect branches into a range be stopped where no landing pad stands (branch target identification). Slow as
  /// observing is. An empty range ends it.
  package func guardCode(_ address: UInt64, _ count: Int) {
    unsafe precast_emulator_set_guarded(emulator, address, UInt64(max(0, count)))
  }
}
