// How code is made known to the process's unwinder: who can walk a stack through wasm, at what cost.
//
// An unwinder keeps what it is told in structures of its own, and none of them is made for ten thousand modules that come
// and go (HostSupport/precast_unwind.c). A host chooses: exact tables for each module, one entry for all, or none. Our own
// stack walk, traps and debuggers need neither. Docs/Unwinding.md has the figures.

/// How loaded code is registered with the process's unwinder (`_Unwind_*`: C++ exceptions, `backtrace`, thread cancellation).
public struct UnwindRegistration: Sendable, Equatable {
  enum Kind: Sendable, Equatable {
    case perModule
    case shared(arenaSize: Int)
    case none
  }
  let kind: Kind

  /// Each module's `.eh_frame` is registered when it is loaded: exact at every instruction. libgcc up to GCC 12 keeps these in
  /// a list, which first unwinds and drops search; later ones, and LLVM's libunwind, read the whole section at load.
  public static let perModule = UnwindRegistration(kind: .perModule)

  /// ``shared(arenaSize:)`` with arenas of 64 GiB.
  public static let shared = UnwindRegistration.shared(arenaSize: 64 << 30)

  /// Nothing is registered: an unwinder stops at the first frame of wasm.
  public static let none = UnwindRegistration(kind: .none)

  /// Modules are loaded into an arena, address space that one entry covers, registered once a process: exact at calls, which
  /// is where an unwinder meets a frame that it did not interrupt. Neither load nor drop nor unwinding grows with the number
  /// of modules, and no damage in a module's tables can mislead the unwinder.
  ///
  /// `arenaSize` is in bytes, rounded up to a power of two, at least 1 MiB. It costs address space and no memory. When an
  /// arena is full, another one is reserved and registered.
  public static func shared(arenaSize: Int) -> UnwindRegistration {
    UnwindRegistration(kind: .shared(arenaSize: min(max(arenaSize, 1 << 20), 1 << 46)))
  }
}
