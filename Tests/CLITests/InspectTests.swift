import Foundation
import Testing

@Suite struct InspectTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  @Test func inspectShowsWhatAnEngineerWantsToSee() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let outcome = try Command.run("inspect", "guest.cwasm", in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.errors == "")
    for word in ["x86_64", ".text", ".wasmtime.addrmap", ".rodata.wasm", "memory_guard_size", "main"] {
      #expect(outcome.text.contains(word), "\(word) in \(outcome.text)")
    }
  }

  @Test func jsonIsTheSameForScripts() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let outcome = try Command.run("inspect", "--json", "guest.cwasm", in: folder)
    #expect(outcome.status == 0)
    let object = try JSONSerialization.jsonObject(with: outcome.output) as? [String: Any]
    #expect(object?.isEmpty == false)
    #expect(outcome.text.contains("x86_64"))
  }

  @Test func whatIsNotAnArtifactIsAnError() throws {
    try folder.add("guest.wasm")
    try folder.write("empty", "")
    try folder.write("garbage", "nothing of the kind")
    for name in ["guest.wasm", "empty", "garbage", "missing", ".", "/bin/true"] {
      for words in [[name], ["--json", name]] {
        let outcome = try Command.run(["inspect"] + words, in: folder)
        #expect(outcome.signal == nil)
        #expect(outcome.status == 1)
        #expect(outcome.output.isEmpty)
        #expect(outcome.errors.hasPrefix("precast: error: \(name)"), "\(outcome.errors)")
      }
    }
  }

  @Test func aTruncatedArtifactIsAnError() throws {
    try folder.addArtifact(of: "reactor.wasm", as: "whole.cwasm")
    let whole = try folder.read("whole.cwasm")
    for size in stride(from: 4, to: whole.count, by: max(whole.count / 12, 1)) {
      try folder.write("part.cwasm", whole.prefix(size))
      let outcome = try Command.run("inspect", "part.cwasm", in: folder)
      #expect(outcome.signal == nil)
      #expect(outcome.status == 1, "\(size) bytes of \(whole.count)")
    }
  }

  @Test func aFullDiskIsAnError() throws {
    try folder.addArtifact(of: "reactor.wasm", as: "a.cwasm")
    let outcome = try Command.shell("\"$precast\" inspect a.cwasm > /dev/full; echo $?", in: folder)
    #expect(outcome.lines == ["1"])
  }
}
