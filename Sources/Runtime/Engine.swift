// What modules and stores of one program have in common.
//
// A `call_indirect` compares one number, so equal function types must have equal numbers in every module whose
// functions can meet in a table: the engine hands these numbers out. It also holds the settings that are the same for
// all stores. It is immutable but for the numbers, which stand behind a lock that is taken when a module is first
// instantiated and when a host function is made, never when one is called.

import CPrecastHost
public import PrecastDebugInfo
public import PrecastLoader
import PrecastWasm
import Synchronization

/// Settings of an engine.
public struct EngineConfiguration: Sendable, Equatable {
  /// Most bytes of stack that wasm code, and the host functions it calls, may use in one thread; 0: as much as the
  /// thread has, less a reserve. Reaching it is the trap "call stack exhausted".
  public var maximumWasmStack: Int
  /// Inaccessible address space behind each memory, in bytes. A module's own memories get more when it was compiled for
  /// more; a module cannot import a memory with a smaller guard than it was compiled for.
  public var memoryGuardSize: Int
  /// How many instances the engine holds address space for.
  public var pool: InstancePoolConfiguration
  /// Whether artifacts are verified in full when they are loaded: all checksums, all tables, and the digest of the whole
  /// file, which takes time in proportion to its size. Otherwise pages of tables are checked when they are first read,
  /// and text and data image not at all.
  public var verifiesArtifacts = false
  /// Whether debuggers are told of modules when these are made, through the GDB JIT interface: then gdb shows and finds wasm
  /// functions by their names, and the guest's source lines. Costs time and memory in proportion to the code and its DWARF.
  /// `PRECAST_DEBUG=1` in the environment does the same.
  public var announcesToDebuggers = false
  /// What is written down about modules for profilers. `PRECAST_PROFILE=perfmap` or `jitdump` in the environment does the same.
  public var profiling = ProfilingStrategy.none
  /// How the modules' code is made known to the process's unwinder: for each module, the default; with one registration for
  /// all, for hosts of thousands of modules; or not at all.
  public var unwinding = UnwindRegistration.perModule

  /// The defaults: 1 MiB of stack, 2 GiB of guard, those of the pool.
  public init(
    maximumWasmStack: Int = 1 << 20, memoryGuardSize: Int = 2 << 30,
    pool: InstancePoolConfiguration = InstancePoolConfiguration()
  ) {
    self.maximumWasmStack = max(0, maximumWasmStack)
    self.memoryGuardSize = max(0, memoryGuardSize)
    self.pool = pool
  }
}

/// What the modules and stores of a program share. Cheap to make, but modules and stores of different engines do not
/// mix; usually there is one in a process.
public final class Engine: Sendable {
  /// The settings it was made with.
  public let configuration: EngineConfiguration
  let signatures = SignatureRegistry()
  let pool: InstancePool
  /// Whom modules are announced to; nearly always nobody.
  let observers: CodeObservers
  /// What the layers above keep with the engine.
  package let attachments = EngineAttachments()
  /// What runs the modules' code, if it is not this machine's processor.
  let processor: (any EmulatedProcessor)?
  /// What installing the signal handlers returned: 0, or a negative errno.
  let signalHandlerStatus: Int32

  /// Makes an engine, and installs the process's signal handlers if this is the first one.
  public convenience init(configuration: EngineConfiguration = EngineConfiguration()) {
    self.init(configuration: configuration, processor: nil)
  }

  /// Makes an engine whose modules are for another processor than this machine's (`EmulatedProcessor.swift`).
  package init(configuration: EngineConfiguration = EngineConfiguration(), processor: (any EmulatedProcessor)?) {
    self.configuration = configuration
    self.processor = processor
    pool = InstancePool(configuration.pool)
    let wanted = CodeObservers(debuggers: configuration.announcesToDebuggers, profiling: configuration.profiling)
    observers = processor == nil ? wanted.withEnvironment : CodeObservers(debuggers: false, profiling: .none)
    signalHandlerStatus = precast_install_signal_handlers()
  }
}

/// Canonical numbers of function types: equal types, equal numbers.
final class SignatureRegistry: Sendable {
  private struct State {
    var numbers: [FunctionType: UInt32] = [:]
    var types: [FunctionType] = []
  }
  private let state = Mutex(State())

  /// The number of a type, the same every time.
  func number(of type: FunctionType) -> UInt32 {
    state.withLock { state in
      if let number = state.numbers[type] { return number }
      // Types come from modules, which are limited to far fewer than 2^32 types each; memory ends before the numbers do.
      let number = UInt32(truncatingIfNeeded: state.types.count)
      state.numbers[type] = number
      state.types.append(type)
      return number
    }
  }

  /// The type with a number that `number(of:)` has returned.
  func type(of number: UInt32) -> FunctionType {
    state.withLock { $0.types[Int(number)] }
  }
}
