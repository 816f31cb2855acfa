// unwind-subject FILE [shared]: calls every export of an artifact, for a tracer (Tests/Tools/unwind-stepper.c) that steps
// through it.
//
// Between two SIGSTOPs each exported function is called, in order, with threes for arguments. How many calls returned, and how
// many ended in an error, is printed afterwards. Imports of functions are:
//
//      host.fail     throws an error if its argument is 1
//      host.again    calls the calling instance's export "again": wasm above a host above wasm
//      any other     returns zeros

import Glibc
import Precast

struct Failure: Error {}

func three(_ type: ValueType) -> Value {
  switch type {
  case .i32: .i32(3)
  case .i64: .i64(3)
  case .f32: .f32(Float(3).bitPattern)
  case .f64: .f64(3.0.bitPattern)
  case .v128: .v128(low: 3, high: 3)
  default: Value(defaultOf: type)
  }
}

let arguments = CommandLine.arguments
var configuration = EngineConfiguration()
if arguments.dropFirst(2).first == "shared" { configuration.unwinding = .shared }
do {
  if arguments[1] == "count" {
    try countRegistrations(path: arguments[2], count: Int(arguments[3]) ?? 0)
    exit(0)
  }
  if arguments[1] == "backtrace" {
    try printBacktraces(path: arguments[2], count: Int(arguments[3]) ?? 1)
    exit(0)
  }
  let engine = Engine(configuration: configuration)
  let store = Store(engine: engine)
  let module = try Module(engine: engine, deserializeFile: arguments[1])
  var imports = Imports()
  for entry in module.imports {
    guard case .function(let type) = entry.type else { continue }
    let name = entry.name
    imports.define(
      module: entry.module, name: name,
      Function(store: store, type: type) { caller, parameters in
        if name == "fail", parameters.first?.i32 == 1 { throw Failure() }
        if name == "again", let again = caller.export("again")?.function { _ = try again.invoke([]) }
        return type.results.map(Value.init(defaultOf:))
      })
  }
  let instance = try module.instantiate(store: store, imports: imports)
  var returned = 0
  var failed = 0
  raise(SIGSTOP)
  for export in module.exports {
    guard case .function(let type) = export.type, let function = instance.exports[function: export.name] else {
      continue
    }
    do {
      _ = try function.invoke(type.parameters.map(three))
      returned += 1
    } catch {
      failed += 1
    }
  }
  raise(SIGSTOP)
  print("returned \(returned) failed \(failed)")
} catch {
  print("\(error)")
  exit(1)
}
