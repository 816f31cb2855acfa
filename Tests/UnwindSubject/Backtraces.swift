// unwind-subject backtrace FILE N: unwinds by the process's unwinder from a host function, ten functions of wasm below it, with N
// artifacts loaded, for each way of making code known to it; and once more after all were dropped in random order.
//
// FILE is made of TestData/Load/unwind.wat. Prints whose unwinder it is, then for each way the number of frames that are in the
// artifact's text, before and after, and whether the host's frames followed.

import CPrecastHost
import Glibc
import Precast

private typealias FrameCallback = @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> CInt

/// Functions of the process's unwinder, by the Itanium C++ ABI, Exception Handling.
private enum Unwinder {
  typealias Backtrace = @convention(c) (FrameCallback, UnsafeMutableRawPointer?) -> CInt
  typealias GetIP = @convention(c) (OpaquePointer?) -> UInt

  static let backtrace = unsafe dlsym(nil, "_Unwind_Backtrace").map { unsafe unsafeBitCast($0, to: Backtrace.self) }
  static let getIP = unsafe dlsym(nil, "_Unwind_GetIP").map { unsafe unsafeBitCast($0, to: GetIP.self) }

  private final class List {
    var pcs: [UInt] = []
  }

  private static let note: FrameCallback = { context, list in
    guard let list = unsafe list else { return 0 }
    // What `frames` passes, which is alive until it returns.
    unsafe Unmanaged<List>.fromOpaque(list).takeUnretainedValue().pcs.append(getIP?(context) ?? 0)
    return 0
  }

  /// The pcs of this thread's frames.
  static func frames() -> [UInt] {
    let list = List()
    _ = unsafe backtrace?(note, Unmanaged.passUnretained(list).toOpaque())
    return withExtendedLifetime(list) { list.pcs }
  }
}

/// Frames in the text of a module that calls the host from ten functions deep, and those behind them.
private func frames(_ module: Module) throws -> (wasm: Int, behind: Int) {
  let artifact = module.artifact
  let store = Store(engine: module.engine)
  var imports = Imports()
  var seen: [UInt] = []
  imports.define(
    module: "host", name: "call",
    Function(store: store, type: FunctionType(parameters: [], results: [])) { _, _ in
      seen = Unwinder.frames()
      return []
    })
  _ = try module.instantiate(store: store, imports: imports).exports[function: "deep"]?.invoke([.i32(9)])
  let isWasm = seen.map { $0 &- 1 &- artifact.textBase < UInt(artifact.textSize) }
  let count = isWasm.count { $0 }
  return (count, count == 0 ? 0 : isWasm.reversed().prefix { !$0 }.count)
}

func printBacktraces(path: String, count: Int) throws {
  print("unwinder", precast_find_unwinder() == PRECAST_UNWINDER_LLVM ? "LLVM" : "libgcc")
  let ways: [(name: String, way: UnwindRegistration)] = [
    ("perModule", .perModule), ("shared", .shared), ("none", .none), ("perModule", .perModule),
  ]
  for (name, way) in ways {
    var configuration = EngineConfiguration()
    configuration.unwinding = way
    let engine = Engine(configuration: configuration)
    let before = precast_registered_frames()
    var modules: [Module] = []
    for _ in 0..<count { modules.append(try Module(engine: engine, deserializeFile: path)) }
    let first = try frames(modules[count / 2])
    modules.shuffle()
    while !modules.isEmpty { modules.removeLast() }
    let left = Int(precast_registered_frames()) - Int(before)
    let second = try frames(Module(engine: engine, deserializeFile: path))
    let isWhole = first.behind > 3 && second.behind > 3
    print(name, first.wasm, second.wasm, isWhole ? "to the end" : "no further", "left", left)
  }
}
