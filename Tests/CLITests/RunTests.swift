import Foundation
import Testing

@Suite struct RunTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  /// Once compiled in memory, once loaded from an artifact: what the user sees is the same.
  static let forms = ["wasm", "artifact"]

  private func add(_ module: String, form: String) throws -> String {
    if form == "wasm" {
      try folder.add("\(module).wasm")
      return "\(module).wasm"
    }
    try folder.addArtifact(of: "\(module).wasm", as: "\(module).cwasm")
    return "\(module).cwasm"
  }

  // MARK: The guest's command line

  @Test(arguments: forms) func everythingAfterTheFileIsTheGuests(form: String) throws {
    let file = try add("guest", form: form)
    let words = ["first", "--help", "--dir", "-h", "--", "--timings", "", "two words", "ünï"]
    let outcome = try Command.run(["run", file] + words, in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.lines == [file] + words)
    #expect(outcome.errors == "")
  }

  @Test func theGuestsNameIsTheFilesLastComponent() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("run", folder["guest.wasm"], in: folder)
    #expect(outcome.lines == ["guest.wasm"])
  }

  @Test func aDoubleDashEndsTheOptions() throws {
    try folder.add("guest.wasm", as: "-odd")
    let outcome = try Command.run("run", "--env", "A=1", "--", "-odd", "environment", in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.lines == ["A=1"])
  }

  @Test func helpBeforeTheFileIsOurs() throws {
    for words in [["run", "--help"], ["run", "--help", "guest.wasm"], ["run", "-h"]] {
      let outcome = try Command.run(words, in: folder)
      #expect(outcome.status == 0)
      #expect(outcome.text.contains("USAGE: precast run"))
      #expect(outcome.text.contains("--allow-precompiled"))
    }
  }

  @Test(arguments: [
    ["run"], ["run", "--nonsense", "guest.wasm"], ["run", "--dir"], ["run", "--env", "NOEQUALS", "guest.wasm"],
    ["run", "--dir", "::x", "guest.wasm"], ["run", "--cpu-features", "mmx2", "guest.wasm"], ["nonsense"],
  ])
  func aCommandLineThatMakesNoSenseExitsWith64(words: [String]) throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run(words, in: folder)
    #expect(outcome.status == 64)
    #expect(outcome.output.isEmpty)
    #expect(outcome.errors.hasPrefix("precast: error: "))
  }

  // MARK: Streams, environment, directories

  @Test(arguments: forms) func theGuestsStreamsAreTheCommands(form: String) throws {
    let file = try add("guest", form: form)
    let both = try Command.run("run", file, "both", in: folder)
    #expect(both.text == "to standard output\n")
    #expect(both.errors == "to standard error\n")
    let text = String(repeating: "line after line\n", count: 20_000)
    #expect(try Command.run("run", file, "copy", input: text, in: folder).text == text)
  }

  @Test func theGuestSeesOnlyTheEnvironmentItIsGiven() throws {
    try folder.add("guest.wasm")
    #expect(try Command.run("run", "guest.wasm", "environment", in: folder).text == "")
    let outcome = try Command.run(
      "run", "--env", "ONE=1", "--env=TWO=a=b", "--env", "EMPTY=", "guest.wasm", "environment", in: folder)
    #expect(outcome.lines == ["ONE=1", "TWO=a=b", "EMPTY="])
  }

  @Test func theGuestSeesOnlyTheDirectoriesItIsGiven() throws {
    try folder.add("guest.wasm")
    try folder.write("secret", "do not look")
    try FileManager.default.createDirectory(
      at: folder.url.appendingPathComponent("given"), withIntermediateDirectories: true)
    try folder.write("given/note", "look")
    #expect(try Command.run("run", "guest.wasm", "read", "given/note", in: folder).status == 3)
    let same = try Command.run("run", "--dir", "given", "guest.wasm", "read", "given/note", in: folder)
    #expect(same.text == "look")
    let renamed = try Command.run("run", "--dir", "given::/data", "guest.wasm", "read", "/data/note", in: folder)
    #expect(renamed.text == "look")
    let beyond = try Command.run("run", "--dir", "given::/data", "guest.wasm", "read", "/data/../secret", in: folder)
    #expect(beyond.status == 3)
    #expect(beyond.text == "")
    let written = try Command.run(
      "run", "--dir", "given::/data", "guest.wasm", "write", "/data/new", input: "made by a guest", in: folder)
    #expect(written.status == 0)
    #expect(try folder.read("given/new") == Data("made by a guest".utf8))
  }

  @Test func aDirectoryThatIsNotThereIsAnError() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("run", "--dir", "nowhere", "guest.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.hasPrefix("precast: error: "))
    #expect(outcome.errors.contains("nowhere"))
  }

  /// As for any program: the signal ends it, unless whoever started it had the signal ignored; then writing fails.
  @Test(arguments: [("default", "141"), ("ignore", "1")])
  func aClosedPipeEndsTheGuest(disposition: String, status: String) throws {
    try folder.add("guest.wasm")
    let outcome = try Command.shell(
      "env --\(disposition)-signal=PIPE \"$precast\" run guest.wasm endless | head -n 1; echo \"${PIPESTATUS[0]}\"",
      in: folder)
    #expect(outcome.lines == ["y", status])
  }

  // MARK: Exit codes

  @Test(arguments: [(0, 0), (7, 7), (134, 134), (255, 255), (-1, 255), (258, 2), (256, 1)])
  func aGuestsExitCodeIsTheCommands(said: Int, seen: Int32) throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("run", "guest.wasm", "exit", "\(said)", in: folder)
    #expect(outcome.signal == nil)
    #expect(outcome.status == seen)
    #expect(outcome.errors == "")
  }

  @Test(arguments: forms) func aTrapPrintsWhereItHappenedAndExitsWith134(form: String) throws {
    let file = try add("guest", form: form)
    let outcome = try Command.run("run", file, "trap", in: folder)
    #expect(outcome.signal == nil)
    #expect(outcome.status == 134)
    #expect(outcome.text == "before the trap\n")
    #expect(outcome.errors.hasPrefix("precast: error: "))
    #expect(outcome.errors.contains("unreachable"))
    #expect(outcome.errors.contains("_start"))
  }

  @Test func deepRecursionTrapsWithAShortBacktrace() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("run", "guest.wasm", "recurse", in: folder)
    #expect(outcome.signal == nil)
    #expect(outcome.status == 134)
    #expect(outcome.errors.contains("stack"))
    #expect(outcome.errors.contains("deeper"))
    #expect(outcome.errors.split(separator: "\n").count < 60)
  }

  @Test func aTrapUnderInvokeNamesEveryFrame() throws {
    try folder.add("reactor.wasm")
    let outcome = try Command.run("run", "--invoke", "outer", "reactor.wasm", "0", in: folder)
    #expect(outcome.status == 134)
    #expect(outcome.errors.contains("divide"))
    #expect(outcome.errors.contains("outer"))
    #expect(outcome.output.isEmpty)
  }

  // MARK: --invoke

  @Test(arguments: [
    (["add", "2", "3"], "5"), (["add", "-1", "0x10"], "15"), (["add", "4294967295", "1"], "0"),
    (["add", "-2147483648", "0"], "-2147483648"), (["add64", "9223372036854775807", "1"], "-9223372036854775808"),
    (["add64", "0xffffffffffffffff", "2"], "1"), (["half64", "5"], "2.5"), (["half64", "-0.0"], "-0.0"),
    (["half64", "0x1p-1074"], "0.0"), (["half64", "1e-323"], "5e-324"), (["half64", "inf"], "inf"),
    (["half64", "nan"], "nan"), (["half32", "0.1"], "0.05"), (["half32", "-inf"], "-inf"),
    (["bits64", "nan"], "9221120237041090560"), (["bits64", "-nan"], "-2251799813685248"),
    (["bits64", "nan:0x4000000000000"], "9219994337134247936"), (["bits32", "nan:0x200000"], "2141192192"),
    (["bits32", "-1.5"], "-1077936128"), (["is_null", "null"], "1"), (["self"], "funcref"), (["nothing"], ""),
    (["swap", "7", "0.25"], "0.25\n7"),
  ])
  func invokeReadsArgumentsByTypeAndPrintsResults(words: [String], expected: String) throws {
    try folder.add("reactor.wasm")
    let outcome = try Command.run(
      ["run", "--invoke", words[0], "reactor.wasm"] + words.dropFirst(), in: folder)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.text == (expected.isEmpty ? "" : expected + "\n"))
    #expect(outcome.errors == "")
  }

  @Test(arguments: [
    ["add", "1"], ["add", "1", "2", "3"], ["add", "1", "x"], ["add", "1", "1.5"], ["add", "1", "4294967296"],
    ["add", "1", "-2147483649"], ["add", "1", "0x"], ["add", "1", ""], ["add", "1", "--2"], ["add", "1", "+-2"],
    ["half64", "1.5.2"], ["half64", "infinity"], ["half64", "nan(1)"], ["half64", "nan:0x0"], ["half64", " 1"],
    ["half32", "nan:0x800000"], ["half32", "1e39"], ["half32", "-0x1p128"], ["half64", "1e309"], ["is_null", "0"],
  ])
  func invokeRefusesArgumentsOfTheWrongType(words: [String]) throws {
    try folder.add("reactor.wasm")
    let outcome = try Command.run(
      ["run", "--invoke", words[0], "reactor.wasm"] + words.dropFirst(), in: folder)
    #expect(outcome.status == 64)
    #expect(outcome.output.isEmpty)
    #expect(outcome.errors.hasPrefix("precast: error: "))
    #expect(outcome.errors.contains(words[0]))
  }

  @Test(arguments: forms) func aReactorIsInitialisedBeforeItIsInvoked(form: String) throws {
    let file = try add("reactor", form: form)
    #expect(try Command.run("run", "--invoke", "ready", file, in: folder).lines == ["1"])
    let alone = try Command.run("run", file, in: folder)
    #expect(alone.status == 0)
    #expect(alone.output.isEmpty)
  }

  @Test func aModuleWithNothingToStartNeedsInvoke() throws {
    try folder.add("plain.wasm")
    let outcome = try Command.run("run", "plain.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("--invoke"))
    #expect(try Command.run("run", "--invoke", "answer", "plain.wasm", in: folder).lines == ["42"])
  }

  @Test(arguments: ["missing", "memory"]) func onlyAnExportedFunctionCanBeInvoked(name: String) throws {
    try folder.add("reactor.wasm")
    let outcome = try Command.run("run", "--invoke", name, "reactor.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains(name))
  }

  // MARK: Files

  @Test func theContentDecidesWhatAFileIs() throws {
    try folder.addArtifact(of: "guest.wasm", as: "program")
    try folder.add("guest.wasm", as: "module.cwasm")
    #expect(try Command.run("run", "program", in: folder).lines == ["program"])
    #expect(try Command.run("run", "module.cwasm", in: folder).lines == ["module.cwasm"])
  }

  @Test(arguments: ["disguised.wasm", "DISGUISED.WASM"])
  func anArtifactThatCallsItselfWasmIsRefused(name: String) throws {
    try folder.addArtifact(of: "guest.wasm", as: name)
    let refused = try Command.run("run", name, in: folder)
    #expect(refused.status == 1)
    #expect(refused.output.isEmpty)
    #expect(refused.errors.contains("--allow-precompiled"))
    let allowed = try Command.run("run", "--allow-precompiled", name, in: folder)
    #expect(allowed.lines == [name])
  }

  @Test func whatIsNeitherWasmNorAnArtifactIsAnError() throws {
    try folder.write("empty", "")
    try folder.write("garbage", "this is not a program\n")
    try folder.write("garbage.wasm", "nor is this\n")
    try folder.write("magic", Data([0, 0x61, 0x73, 0x6D]))
    for name in ["empty", "garbage", "garbage.wasm", "magic", "missing", ".", "/bin/true"] {
      let outcome = try Command.run("run", name, in: folder)
      #expect(outcome.signal == nil)
      #expect(outcome.status == 1, "\(name)")
      #expect(outcome.errors.hasPrefix("precast: error: \(name)"), "\(outcome.errors)")
      #expect(outcome.errors.split(separator: "\n").count == 1)
    }
  }

  @Test func aTruncatedArtifactIsAnError() throws {
    try folder.addArtifact(of: "reactor.wasm", as: "whole.cwasm")
    let whole = try folder.read("whole.cwasm")
    for size in [4, 16, 63, 64, 100, 1000, 4095, 4096, 5000, whole.count / 2, whole.count - 1] where size < whole.count
    {
      try folder.write("part.cwasm", whole.prefix(size))
      let outcome = try Command.run("run", "part.cwasm", in: folder)
      #expect(outcome.signal == nil)
      #expect(outcome.status == 1, "\(size) bytes of \(whole.count)")
      #expect(outcome.errors.hasPrefix("precast: error: part.cwasm: "), "\(outcome.errors)")
    }
  }

  @Test func anImportThatNobodyProvidesIsNamed() throws {
    try folder.add("imports.wasm")
    let outcome = try Command.run("run", "imports.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("env"))
    #expect(outcome.errors.contains("missing"))
  }

  @Test func anInvalidModuleIsAnErrorWithItsOffset() throws {
    try folder.add("invalid.wasm")
    let outcome = try Command.run("run", "invalid.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("invalid module at offset 0x"))
  }

  @Test func aModuleCanComeThroughAPipe() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.shell("cat guest.wasm | \"$precast\" run /dev/stdin a b", in: folder)
    #expect(outcome.lines == ["stdin", "a", "b"])
  }

  @Test func timingsGoToStandardError() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let outcome = try Command.run("run", "--timings", "guest.cwasm", "exit", "4", in: folder)
    #expect(outcome.status == 4)
    #expect(outcome.output.isEmpty)
    #expect(
      outcome.errors.split(separator: "\n").map { $0.split(separator: " ")[0] } == ["load", "instantiate", "run"])
  }
}
