// debug-host file|memory|objects ARTIFACT EXPORT ARGUMENT [INNER]: calls a guest, with ARGUMENT for each parameter, whose import
// `host.call` calls back, for debuggers and profilers to look at.
//
// `host.call(n)` calls the guest's `ask_host(n - 1)` while n > 0, then INNER(0) if it is given. The artifact is loaded from its
// file, or from its bytes. ARTIFACT may be a list of objects, with commas, which are linked in memory; C code in them may call
// `host_enter(n)`, which calls INNER(n).
//
// With DEBUG_HOST_FORK in the environment, a child loads everything once more before the guest is called, and the process
// waits for it. Both print their numbers. With DEBUG_HOST_LIBDW, it says whether libdw is open: after loading, and before and
// after an error is printed.

import Glibc
import Precast
import PrecastLoader

let words = CommandLine.arguments

/// What C code enters again.
enum Entered {
  // Written by the main thread before anything is called; there is no other.
  nonisolated(unsafe) static var instance: Instance?
  nonisolated(unsafe) static var export: String?

  static let call: @convention(c) (Int32) -> Int32 = { argument in
    guard let export = unsafe export, let function = unsafe instance?.exports[function: export] else { return -1 }
    return (try? function.invoke([.i32(UInt32(bitPattern: argument))]).first?.i32).map { Int32(bitPattern: $0) } ?? -2
  }
}

func load(_ engine: Engine) throws -> Module {
  switch words[1] {
  case "memory": return try Module(engine: engine, deserialize: LoadedArtifact(path: words[2]).serializedBytes())
  case "objects":
    let objects = try words[2].split(separator: ",").map { try LinkableObject(contentsOfFile: String($0)) }
    return try Module(
      engine: engine, linking: objects, symbols: ["host_enter": unsafe unsafeBitCast(Entered.call, to: UInt.self)])
  default: return try Module(engine: engine, deserializeFile: words[2])
  }
}

func sayWhetherLibDWIsOpen(_ moment: String) {
  if unsafe getenv("DEBUG_HOST_LIBDW") == nil { return }
  print("\(moment): \(unsafe dlopen("libdw.so.1", RTLD_LAZY | RTLD_NOLOAD) == nil ? "not open" : "open")")
}

do {
  guard words.count >= 5, let argument = Int32(words[4]) else { exit(64) }
  let engine = Engine()
  let module = try load(engine)
  sayWhetherLibDWIsOpen("loaded")
  if unsafe getenv("DEBUG_HOST_FORK") != nil {
    // Swift hides the function; this child does nothing that only the program's other threads could finish.
    guard let fork = unsafe dlsym(nil, "fork") else { exit(64) }
    let child = unsafe unsafeBitCast(fork, to: (@convention(c) () -> pid_t).self)()
    if child == 0 {
      let again = try? load(engine)
      withExtendedLifetime(again) {}
      print("process \(getpid())")
      exit(again == nil ? 1 : 0)
    }
    var status: Int32 = 0
    guard unsafe waitpid(child, &status, 0) == child, status == 0 else { exit(3) }
    print("process \(getpid())")
  }
  let store = Store(engine: engine)
  var imports = Imports()
  let inner = words.count > 5 ? words[5] : nil
  imports.define(
    module: "host", name: "call",
    Function(store: store) { (caller: borrowing Caller, depth: Int32) throws -> Int32 in
      let name = depth > 0 ? "ask_host" : inner
      guard let name else { return 0 }
      _ = try caller.instance?.exports[function: name]?.invoke([.i32(UInt32(bitPattern: max(0, depth - 1)))])
      return depth
    })
  let instance = try module.instantiate(store: store, imports: imports)
  unsafe (Entered.instance, Entered.export) = (instance, inner)
  let function = instance.exports[function: words[3]]
  let count = function?.type.parameters.count ?? 0
  print(try function?.invoke(Array(repeating: .i32(UInt32(bitPattern: argument)), count: count)) ?? [])
} catch {
  sayWhetherLibDWIsOpen("failed")
  print("\(error)")
  sayWhetherLibDWIsOpen("printed")
  exit(2)
}
