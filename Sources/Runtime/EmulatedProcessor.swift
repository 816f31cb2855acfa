// Code for another machine than this one, run by an emulator.
//
// Generated code meets the host in few places, and all of them are plain addresses and integers: an entry trampoline is
// called through a pointer; the host's functions are called through pointers that contexts hold; traps are numbers. So an
// engine can have a processor that is not this machine's, made of software, without anything being different for those
// that have none: what they call and look up is the same memory. The tests run AArch64 code on x86-64 machines in this way
// (Docs/Architecture.md). It is not for embedders.
//
// Where the two part:
//
//   loading          artifacts are compared with the processor's settings instead of this machine's; nothing is told to
//                    this process's unwinder, to debuggers or to profilers, for whom it is no code
//   entering         a function reference has the address of native code that the processor offers for its entry trampoline
//   calls out        generated code calls `HostEntryPoints`; the processor recognises their addresses
//   traps            the processor asks `precast_fault_resolve`, as the signal handler does
//   memory           the processor sees the host's, and learns from `precast_set_mapping_observer` what goes
//   references       the stack that may hold `externref`s is the processor's

package import CPrecastHost
package import PrecastArtifact
import PrecastLoader

/// What runs the code of an engine's modules where this machine's processor cannot.
package protocol EmulatedProcessor: AnyObject, Sendable {
  /// What artifacts are compared with.
  var settings: CompilerSettings { get }
  /// The address of native code that does what the entry trampoline at `trampoline` does. Good until the trampoline's text
  /// is unmapped.
  func entry(for trampoline: UInt) -> UInt
  /// The stack pointer of the code that the calling thread runs, where it has called the host; `UInt64.max` where there is
  /// none.
  var stackPointer: UInt64 { get }
}

/// The host's functions that generated code calls.
package enum HostEntryPoints {
  /// Their addresses. They take integers and pointers only, at most eight, and return one or nothing.
  package static let addresses: Set<UInt> = {
    var addresses: Set<UInt> = [HostFunctionEntity.callbackAddress]
    for builtin in Builtin.allCases { unsafe addresses.insert(BuiltinTable.shared.pointers[builtin.rawValue]) }
    return addresses
  }()
}

extension Store {
  /// Keeps an error for the outermost call into a store, to be thrown when an activation ends without a trap.
  ///
  /// - Parameter context: the store, as generated code sees it.
  package static func fail(_ context: UnsafePointer<precast_store_context>, with error: any Error) {
    // The store owns the context.
    unsafe from(context)._withUnsafeGuaranteedRef { $0.pendingError = error }
  }
}

extension Engine {
  /// What artifacts are compared with when they are loaded.
  var host: CompilerSettings { processor?.settings ?? HostSettings.current }

  /// How artifacts are registered with the unwinder of this process.
  var unwinding: UnwindRegistration { processor == nil ? configuration.unwinding : .none }

  /// What to call instead of an entry trampoline: itself, where this machine runs the code.
  func entry(for trampoline: UInt) -> UInt { processor?.entry(for: trampoline) ?? trampoline }
}
