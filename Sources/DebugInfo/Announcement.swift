// Telling debuggers and profilers of loaded code, for those who ask for it.
//
// The unit is a loaded artifact, which several modules may share: it is announced once to each kind of observer, whoever of its
// modules asks first, and withdrawn before it is unmapped. Where nobody asks, a module costs one test of two fields.

import CPrecastHost
import Glibc
public import PrecastLoader
import Synchronization

/// What is written down about modules for profilers.
public enum ProfilingStrategy: String, Sendable, CaseIterable {
  /// Nothing. Profilers find the symbols of artifacts that were loaded from files by themselves.
  case none
  /// `/tmp/perf-PID.map`, a line for each function, which perf and others read for code that is in no file. The text of modules
  /// that came from memory is moved to anonymous memory, since only for such do they look there.
  case perfMap = "perfmap"
  /// `jit-PID.dump`, in the working directory or in that which `JITDUMPDIR` names, with code and source lines; for `perf inject
  /// --jit`.
  case jitDump = "jitdump"

  /// The strategy that an option or variable names: `perfmap`, `jitdump`.
  public init?(name: String) {
    guard name != "none", let strategy = ProfilingStrategy(rawValue: name) else { return nil }
    self = strategy
  }
}

/// Whom code is announced to.
public struct CodeObservers: Sendable, Equatable {
  /// Debuggers, through the GDB JIT interface.
  public var debuggers: Bool
  /// Profilers.
  public var profiling: ProfilingStrategy

  /// Makes a set of observers.
  public init(debuggers: Bool, profiling: ProfilingStrategy) {
    self.debuggers = debuggers
    self.profiling = profiling
  }

  /// Whether there is nobody.
  public var isEmpty: Bool { !debuggers && profiling == .none }

  /// What the environment asks for; it is looked at once.
  private static let environment: CodeObservers = {
    let debug = unsafe getenv("PRECAST_DEBUG").map { unsafe String(cString: $0) } ?? ""
    let profile = unsafe getenv("PRECAST_PROFILE").map { unsafe String(cString: $0) } ?? ""
    return CodeObservers(
      debuggers: !debug.isEmpty && debug != "0", profiling: ProfilingStrategy(name: profile) ?? .none)
  }()

  /// These, and those that the environment asks for.
  public var withEnvironment: CodeObservers {
    let asked = Self.environment
    return CodeObservers(
      debuggers: debuggers || asked.debuggers, profiling: profiling == .none ? asked.profiling : profiling)
  }
}

extension LoadedArtifact {
  /// Tells these observers of the artifact's code, unless they know.
  public func announce(to observers: CodeObservers) {
    symbolizer.announcement.announce(self, to: observers)
  }
}

/// What was said of one artifact.
final class Announcement: Sendable {
  @safe
  private struct State: @unchecked Sendable {
    // The C side's, taken back once.
    var debugger: OpaquePointer?
    var profiled: Set<ProfilingStrategy> = []
  }
  private let state = Mutex(State())

  func announce(_ artifact: LoadedArtifact, to observers: CodeObservers) {
    state.withLock { state in
      let wantsDebugger = unsafe observers.debuggers && state.debugger == nil
      let wantsProfile = observers.profiling != .none && state.profiled.insert(observers.profiling).inserted
      guard wantsDebugger || wantsProfile else { return }
      let (tables, codeStart) = artifact.symbolizer.tables(of: artifact)
      if wantsDebugger {
        let image = DebuggerImage.bytes(for: artifact, tables: tables, codeStart: codeStart)
        // Copied by the call.
        unsafe image.withUnsafeBytes { bytes in
          unsafe state.debugger = bytes.baseAddress.flatMap { unsafe precast_gdb_announce($0, bytes.count) }
        }
      }
      if wantsProfile {
        switch observers.profiling {
        case .none: break
        case .perfMap: PerfMap.add(artifact)
        case .jitDump: JITDump.add(artifact, tables: tables, codeStart: codeStart)
        }
      }
    }
  }

  func withdraw() {
    state.withLock { state in
      unsafe precast_gdb_withdraw(state.debugger)
      unsafe state.debugger = nil
    }
  }
}
