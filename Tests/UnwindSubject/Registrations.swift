// unwind-subject count FILE N: loads an artifact N times and drops all in random order, for each way of making code known to
// the process's unwinder, and prints how many registrations there were more than before: with all loaded, and at the end.

import CPrecastHost
import Precast

func countRegistrations(path: String, count: Int) throws {
  let ways: [(name: String, way: UnwindRegistration)] = [
    ("none", .none), ("shared", .shared), ("perModule", .perModule), ("shared", .shared),
  ]
  for (name, way) in ways {
    var configuration = EngineConfiguration()
    configuration.unwinding = way
    let engine = Engine(configuration: configuration)
    let before = precast_registered_frames()
    var modules: [Module] = []
    for _ in 0..<count { modules.append(try Module(engine: engine, deserializeFile: path)) }
    let loaded = precast_registered_frames()
    modules.shuffle()
    while !modules.isEmpty { modules.removeLast() }
    print(name, Int(loaded) - Int(before), Int(precast_registered_frames()) - Int(before))
  }
}
