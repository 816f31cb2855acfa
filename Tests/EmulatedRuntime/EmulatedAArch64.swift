// The runtime's own instances on an emulated AArch64 processor.
//
// What `AArch64Processor` is for a function, this is for whole modules: an engine made with `EmulatedAArch64` loads
// artifacts and objects for AArch64, and everything that is done with them, from instantiation to backtraces, is done
// by the runtime as ever. Only the instructions between an entry trampoline's first and last are somebody else's:
//
//      Function.invoke -> precast_call -> thunk          native, as it always is; see NativeThunks.swift
//      enter(context, code, slots, activation, ...)      here: the thread's processor calls the entry trampoline
//        trampoline, wasm ...                            emulated, on the emulated stack
//          call of a built-in or a host function         ends in a fetch from where no code is: called natively, on the
//                                                        thread's own stack, and from there perhaps into wasm again
//          trap                                          the signal handler's second half says where to go on
//
// The stack limit that generated code compares with is that of the emulated stack while it runs. `precast_enter` has put
// the host's there, and puts back what was there before when the activation ends; so limits nest by themselves. (A host
// function that enters wasm again uses the host's stack, and `precast_enter` looks after that one.)
//
// How many instructions a call from the host may take is limited, so that no mistake makes a test hang.

import CPrecastHost
import Glibc
package import PrecastArtifact
package import PrecastEmulator
import PrecastLoader
import PrecastRuntime

/// A kind of emulated processor, for any number of engines and threads.
package final class EmulatedAArch64: EmulatedProcessor {
  package let settings: CompilerSettings
  let model: AArch64Processor.Model
  let instructionLimit: UInt64
  let hostFunctions: Set<UInt>
  let observer: Observer?

  /// Sees a processor before each instruction that it executes, with the instruction's address.
  package typealias Observer = @Sendable (AArch64Processor, UInt64) -> Void

  /// What an engine needs to run AArch64 code.
  ///
  /// - Parameters:
  ///   - model: what the processor can do beyond the baseline.
  ///   - memoryStrategy: of the code that the engine takes. Memories are the same for each.
  ///   - instructionLimit: the most instructions of one outermost call.
  ///   - hostFunctions: addresses of further functions that code of C compilers calls, `symbols` of a link. They take
  ///     integers and pointers only, at most eight, and return one or nothing.
  ///   - observer: sees every instruction, which is slow.
  package init(
    model: AArch64Processor.Model = .baseline, memoryStrategy: MemoryStrategy = .reserved,
    instructionLimit: UInt64 = 2_000_000_000, hostFunctions: Set<UInt> = [], observer: Observer? = nil
  ) {
    self.hostFunctions = HostEntryPoints.addresses.union(hostFunctions)
    self.observer = observer
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    // Landing pads are hints.
    settings.cpuFeatures = .bti
    settings.memoryStrategy = memoryStrategy
    settings.memoryGuardSize = 1 << 40
    self.settings = settings
    self.model = model
    self.instructionLimit = instructionLimit
    MappingLog.start()
  }

  /// Instructions that the calling thread's processors have executed so far.
  package static var executedInstructions: UInt64 { ProcessorThread.current.executedInstructions }

  package func entry(for trampoline: UInt) -> UInt {
    // A thunk is called by functions of stores, which keep their engine, which keeps this.
    unsafe NativeThunks.shared.address(
      of: enterEmulated, trampoline: trampoline, owner: UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque()))
  }

  package var stackPointer: UInt64 { ProcessorThread.current.innermost?.processor[.sp] ?? .max }
}

/// What thunks jump to: an entry trampoline's parameters, its address, and the processor's kind.
private let enterEmulated: NativeThunks.Target = { context, code, slots, activation, trampoline, owner in
  // The engine that made the thunk keeps the owner; `precast_enter` has just filled in the activation, with its store.
  guard let owner = unsafe UnsafeRawPointer(bitPattern: owner),
    let activation = unsafe UnsafePointer<precast_activation>(bitPattern: activation),
    let store = unsafe activation.pointee.store
  else { return 1 }
  let kind = unsafe Unmanaged<EmulatedAArch64>.fromOpaque(owner).takeUnretainedValue()
  do {
    let lane = try ProcessorThread.current.lane(kind.model)
    return try unsafe lane.enter(
      UInt64(trampoline), store, kind,
      [UInt64(context), UInt64(code), UInt64(slots), UInt64(UInt(bitPattern: activation))])
  } catch {
    unsafe Store.fail(store, with: error)
    return 1
  }
}

/// A processor of one thread, and what the thread does with it.
final class ProcessorLane {
  let processor: AArch64Processor
  private unowned let thread: ProcessorThread
  /// The stack limit of the innermost call; 0 outside of calls.
  private var stackLimit: UInt64 = 0
  private var logPosition = 0
  /// What the innermost call is of.
  private var kind: EmulatedAArch64?

  private static let stackSize = 8 << 20

  init(_ model: AArch64Processor.Model, _ thread: ProcessorThread) throws {
    self.thread = thread
    processor = try AArch64Processor(model: model, stackSize: Self.stackSize)
    processor.findsHostMemory = true
    processor.onMissingCode = { address in
      // Only addresses are looked at, of an artifact that is about to run.
      guard let artifact = LoadedArtifact.containing(pc: UInt(address)),
        artifact.header.record.settings.architecture == .aarch64
      else { return nil }
      return (UInt64(artifact.textBase), UInt64(artifact.textBase) + UInt64(artifact.textSize))
    }
    processor.onForeignCall = { [unowned self] in hostFunction(at: UInt($0)) }
    processor.onTrap = Self.resume
  }

  private func hostFunction(at address: UInt) -> PrecastEmulator.HostFunction? {
    guard let kind, kind.hostFunctions.contains(address) else { return nil }
    return { [unowned self] call in
      // A function of this process, that takes integers.
      let function = unsafe unsafeBitCast(address, to: HostEntryPoint.self)
      let result = function(
        call.integer(0), call.integer(1), call.integer(2), call.integer(3), call.integer(4), call.integer(5),
        call.integer(6), call.integer(7))
      // It may have unmapped what was mapped here.
      try synchronise()
      call.return(result)
    }
  }

  /// Calls an entry trampoline; its result.
  func enter(
    _ trampoline: UInt64, _ store: UnsafeMutablePointer<precast_store_context>, _ kind: EmulatedAArch64,
    _ arguments: [UInt64]
  ) throws -> UInt64 {
    try synchronise()
    let outer = stackLimit
    let outerLane = thread.innermost
    let isOutermost = outer == 0
    let stackPointer = isOutermost ? processor.stackRange.upperBound : processor[.sp]
    var limit = max(outer, processor.stackRange.lowerBound + UInt64(PRECAST_STACK_RESERVE))
    let most = unsafe store.pointee.max_wasm_stack
    if most != 0 && most < stackPointer { limit = max(limit, stackPointer - most) }
    // `precast_enter` restores what was there before.
    unsafe store.pointee.stack_limit = limit
    stackLimit = limit
    thread.innermost = self
    let outerKind = self.kind
    self.kind = kind
    defer {
      self.kind = outerKind
      stackLimit = outer
      thread.innermost = outerLane
    }
    if isOutermost {
      processor.instructionLimit = kind.instructionLimit
      if let observer = kind.observer {
        processor.observeInstructions { [unowned processor] pc in
          observer(processor, pc)
          return true
        }
      }
    }
    defer { if isOutermost && kind.observer != nil { processor.observeInstructions(nil) } }
    return try processor.call(trampoline, arguments.map { .integer64($0) }).integer
  }

  /// Learns what has been unmapped since the last time.
  private func synchronise() throws {
    guard let ranges = MappingLog.changes(since: &logPosition) else { return processor.forgetFoundMemory() }
    for range in ranges {
      // The stack is the processor's own, and nobody else has its addresses.
      try processor.unmap(range.start, Int(range.end - range.start))
    }
  }

  /// What the signal handler does natively.
  private static func resume(_ stop: ProcessorStop) -> AArch64Processor.Resumption? {
    let signal: Int32
    var address: UInt64 = 0
    switch stop.reason {
    case .load(let place, _), .store(let place, _), .fetch(let place):
      signal = SIGSEGV
      address = place
    case .undefined: signal = SIGILL
    default: return nil
    }
    var fault = precast_fault(
      signal: signal, pc: stop.pc, frame_pointer: stop.framePointer, stack_pointer: stop.stackPointer,
      address: address)
    var resumption = precast_resumption()
    guard unsafe precast_fault_resolve(&fault, &resumption) == PRECAST_FAULT_RESUME else { return nil }
    return .init(pc: resumption.pc, stackPointer: resumption.stack_pointer)
  }
}

/// A function of the host as generated code calls it: what it does not expect it does not see.
private typealias HostEntryPoint =
  @convention(c) (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) -> UInt64

/// The processors of a thread. They are made when the thread first runs code of their kind, and go with the thread: making
/// one takes milliseconds, and a test instantiates thousands of modules.
final class ProcessorThread {
  private var baseline: ProcessorLane?
  private var maximal: ProcessorLane?
  /// The one whose code is running, or waiting for a function of the host.
  var innermost: ProcessorLane?

  var executedInstructions: UInt64 {
    (baseline?.processor.executedInstructions ?? 0) + (maximal?.processor.executedInstructions ?? 0)
  }

  func lane(_ model: AArch64Processor.Model) throws -> ProcessorLane {
    switch model {
    case .baseline:
      if let baseline { return baseline }
      let made = try ProcessorLane(model, self)
      baseline = made
      return made
    case .maximal:
      if let maximal { return maximal }
      let made = try ProcessorLane(model, self)
      maximal = made
      return made
    }
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    // Runs at the thread's end, with the reference that `current` has left there.
    let result = unsafe pthread_key_create(&key) { value in
      if let value = unsafe value { unsafe Unmanaged<ProcessorThread>.fromOpaque(value).release() }
    }
    precondition(result == 0, "no thread-local storage")
    return key
  }()

  static var current: ProcessorThread {
    if let known = unsafe pthread_getspecific(key) {
      return unsafe Unmanaged<ProcessorThread>.fromOpaque(known).takeUnretainedValue()
    }
    let made = ProcessorThread()
    unsafe pthread_setspecific(key, Unmanaged.passRetained(made).toOpaque())
    return made
  }
}
