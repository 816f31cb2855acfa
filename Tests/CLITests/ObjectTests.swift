// What the command says of objects, and of what is taken for one.

import Foundation
import TestSupport
import Testing

@Suite struct ObjectTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  private func error(_ arguments: String...) throws -> String {
    let outcome = try Command.run(arguments, in: folder)
    #expect(outcome.status == 1 && outcome.signal == nil, "\(arguments)")
    return outcome.errors
  }

  /// A C compiler's object; false where there is no compiler.
  private func compile(_ text: String, _ name: String) throws -> Bool {
    try folder.write(name, text)
    guard let result = try runTool("gcc", ["-c", "-O1", "-fPIC", name], in: folder.url.path) else { return false }
    try #require(result.status == 0, "\(result.text)")
    return true
  }

  @Test func archivesAndBitcodeAreToldByName() throws {
    try folder.write("lib.a", "!<arch>\nand so on")
    try folder.write("thin.a", "!<thin>\nand so on")
    for (name, words) in [("lib.a", "archive"), ("thin.a", "archive"), ("code.o", "bitcode")] {
      if name == "code.o" { try folder.write(name, Data([0x42, 0x43, 0xC0, 0xDE, 0x35, 0x14])) }
      for command in [["link", name, "-o", "a.cwasm"], ["run", name], ["inspect", name], ["verify", name]] {
        let outcome = try Command.run(command, in: folder)
        #expect(outcome.status == 1)
        #expect(outcome.errors.hasPrefix("precast: error: \(name): this is ") && outcome.errors.contains(words))
        #expect(outcome.errors.contains("ar x") || outcome.errors.contains("-flto"), "\(outcome.errors)")
      }
    }
  }

  @Test func aCompilersObjectIsNoModule() throws {
    guard try compile("int f(int x) { return x + 1; }\n", "t.c") else { return }
    let advice = "precast compile --emit object makes one that does"
    #expect(try error("link", "t.o", "-o", "a.cwasm") == "precast: error: t.o holds no wasm module; \(advice)\n")
    #expect(try error("run", "t.o") == "precast: error: t.o holds no wasm module; \(advice)\n")
    let unlinked = "precast: error: t.o: an object, not linked yet; precast link makes an artifact of"
    #expect(try error("verify", "t.o").hasPrefix(unlinked))
    #expect(try error("inspect", "--functions", "t.o").hasPrefix(unlinked))
    let outcome = try Command.run("inspect", "t.o", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.text.contains("what to do: link it: precast link MODULE.o OTHER.o -o OUT.cwasm"))
    #expect(outcome.lines.contains { $0.contains("PROGBITS") && $0.hasSuffix(".text") })
  }

  @Test func aModulesObjectIsNoArtifactYet() throws {
    try folder.add("guest.wasm")
    #expect(try Command.run("compile", "--emit", "object", "guest.wasm", in: folder).status == 0)
    #expect(try error("verify", "guest.o").contains("guest.o: an object, not linked yet; precast link makes"))
    #expect(try Command.run("inspect", "guest.o", in: folder).status == 0)
    #expect(try Command.run("run", "guest.o", "exit", "5", in: folder).status == 5)
    // From a pipe as well.
    #expect(try Command.shell("cat guest.o | \"$precast\" run /dev/stdin exit 6", in: folder).status == 6)
  }

  @Test func undefinedSymbolsOfAnObjectThatIsRunAreLines() throws {
    try folder.add("guest.wasm")
    let module = "wasi_snapshot_preview1"
    let bindings = ["--bind-import", "\(module).proc_exit=my_exit", "--bind-import", "\(module).fd_write=my_write"]
    #expect(try Command.run(["compile", "--emit", "object", "guest.wasm"] + bindings, in: folder).status == 0)
    let lines = try error("run", "guest.o").split(separator: "\n")
    #expect(lines.count == 2)
    for (line, name) in zip(lines, ["my_", "my_"]) {
      #expect(
        line.contains("undefined symbol: \(name)") && line.contains("; referenced by guest.o: .text+0x"), "\(line)")
      #expect(line.components(separatedBy: "guest.o").count == 2)
    }
    // Bound imports are none that the one who runs it has to provide.
    func imports(_ name: String) throws -> Int {
      let outcome = try Command.run("inspect", "--json", name, in: folder)
      let object = try JSONSerialization.jsonObject(with: outcome.output) as? [String: Any]
      return try #require(object?["imports"] as? Int)
    }
    let bound = try imports("guest.o")
    #expect(try Command.run("compile", "--emit", "object", "guest.wasm", "-o", "all.o", in: folder).status == 0)
    #expect(try imports("all.o") == bound + 2)
  }

  @Test func zerosBeyondAnyMemoryAreRefusedByTheirSize() throws {
    guard try compile(".bss\n.globl huge\nhuge: .skip 107374182400\n", "huge.s") else { return }
    try folder.add("guest.wasm")
    #expect(try Command.run("compile", "--emit", "object", "guest.wasm", in: folder).status == 0)
    #expect(
      try error("link", "guest.o", "huge.o", "-o", "a.cwasm")
        == "precast: error: huge.o: section .bss has 107374182400 bytes that start as zeros, more than 4 GiB\n")
  }

  @Test func aPipeThatNobodyWritesToIsNotWaitedFor() throws {
    #expect(mkfifo(folder["pipe"], 0o600) == 0)
    for command in ["run pipe", "inspect pipe", "verify pipe", "compile pipe -o a.cwasm", "link pipe -o a.cwasm"] {
      let outcome = try Command.shell("timeout 100 \"$precast\" \(command) 2>&1", in: folder)
      #expect(outcome.status == 1)
      #expect(outcome.text == "precast: error: pipe: this is a pipe that nobody writes to\n", "\(command)")
    }
    try folder.add("guest.wasm")
    #expect(try Command.shell("\"$precast\" run <(sleep 0.1; cat guest.wasm) exit 7", in: folder).status == 7)
  }

  @Test func aProfileThatDoesNotExistIsWarnedOf() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    for (value, isWrong) in [("foo", true), ("", false), ("none", false)] {
      let outcome = try Command.run(
        ["run", "guest.cwasm", "exit", "3"], environment: ["PRECAST_PROFILE": value], in: folder)
      #expect(outcome.status == 3)
      #expect(
        outcome.errors
          == (isWrong
            ? "precast: warning: PRECAST_PROFILE is perfmap or jitdump, not 'foo'; nothing is written for profilers\n"
            : ""))
    }
  }

  @Test func helpSpeaksOfObjects() throws {
    for command in ["run", "inspect", "link"] {
      #expect(try Command.run(command, "--help", in: folder).text.contains("object"))
    }
  }
}
