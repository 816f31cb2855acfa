// debug-host file|memory ARTIFACT EXPORT ARGUMENT [INNER]: calls a guest, with ARGUMENT for each parameter, whose import
// `host.call` calls back, for debuggers and profilers to look at.
//
// `host.call(n)` calls the guest's `ask_host(n - 1)` while n > 0, then INNER(0) if it is given. The artifact is loaded from its
// file, or from its bytes.

import Glibc
import Precast
import PrecastLoader

let words = CommandLine.arguments
do {
  guard words.count >= 5, let argument = Int32(words[4]) else { exit(64) }
  let engine = Engine()
  let module: Module
  if words[1] == "memory" {
    module = try Module(engine: engine, deserialize: LoadedArtifact(path: words[2]).serializedBytes())
  } else {
    module = try Module(engine: engine, deserializeFile: words[2])
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
  let function = instance.exports[function: words[3]]
  let count = function?.type.parameters.count ?? 0
  print(try function?.invoke(Array(repeating: .i32(UInt32(bitPattern: argument)), count: count)) ?? [])
} catch {
  print("\(error)")
  exit(2)
}
