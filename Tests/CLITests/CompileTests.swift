import Foundation
import Testing

@Suite struct CompileTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  @Test func theArtifactGoesBesideTheModuleByDefault() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("compile", "guest.wasm", in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.output.isEmpty)
    #expect(outcome.errors == "")
    #expect(folder.names == ["guest.cwasm", "guest.wasm"])
    #expect(try folder.read("guest.cwasm").prefix(4) == Data([0x7F, 0x45, 0x4C, 0x46]))
  }

  @Test func whatIsReadFromAPipeNeedsANameToGoTo() throws {
    try folder.add("guest.wasm")
    #expect(try Command.shell("cat guest.wasm | \"$precast\" compile /dev/stdin", in: folder).status == 64)
    #expect(try Command.shell("cat guest.wasm | \"$precast\" compile /dev/stdin -o out.cwasm", in: folder).status == 0)
    #expect(folder.names.filter { $0.hasSuffix("wasm") } == ["guest.wasm", "out.cwasm"])
  }

  @Test func aNameWithoutWasmIsExtended() throws {
    try folder.add("guest.wasm", as: "program.v1")
    #expect(try Command.run("compile", "program.v1", in: folder).status == 0)
    #expect(folder.names == ["program.v1", "program.v1.cwasm"])
  }

  @Test func anObjectGoesBesideTheModuleAndIsOfferedToNobodyAsAnArtifact() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("compile", "--emit", "object", "guest.wasm", in: folder)
    #expect(outcome.status == 0 && outcome.output.isEmpty && outcome.errors == "")
    #expect(
      try Command.run("compile", "--emit=object", "--function-sections", "guest.wasm", "-o", "f.o", in: folder).status
        == 0)
    #expect(folder.names == ["f.o", "guest.o", "guest.wasm"])
    // ELF, ET_REL.
    for name in ["f.o", "guest.o"] {
      #expect(try folder.read(name).prefix(4) == Data([0x7F, 0x45, 0x4C, 0x46]))
      #expect(try folder.read(name)[16] == 1)
    }
    #expect(try folder.read("f.o") != folder.read("guest.o"))
  }

  // A layout for tests computes the same, says what it is, and is not offered to users.
  @Test func layoutsForTestsSayThatTheyAre() throws {
    try folder.add("guest.wasm")
    let options = ["--testing-force-veneers", "--testing-branch-reach", "65536", "--testing-text-padding", "1000"]
    #expect(try Command.run("compile", "guest.wasm", in: folder).status == 0)
    let arguments = ["compile", "guest.wasm", "-o", "far.cwasm"] + options
    let outcome = try Command.run(arguments, in: folder)
    #expect(outcome.status == 0 && outcome.output.isEmpty && outcome.errors == "")
    #expect(try folder.read("far.cwasm").count > folder.read("guest.cwasm").count + 10_000)
    #expect(try Command.run("run", "far.cwasm", "exit", "5", in: folder).status == 5)
    #expect(try Command.run("inspect", "far.cwasm", in: folder).text.contains("+testing-layout"))
    #expect(try !Command.run("inspect", "guest.cwasm", in: folder).text.contains("testing"))
    #expect(try !Command.run("compile", "--help", in: folder).text.contains("testing"))
    for (wrong, range) in [
      ("--testing-branch-reach=0", "1 to 2147483648"), ("--testing-branch-reach=-1", "1 to 2147483648"),
      ("--testing-text-padding=-1", "0 to 4294967296"), ("--testing-text-padding=4294967297", "0 to 4294967296"),
    ] {
      let outcome = try Command.run("compile", "guest.wasm", wrong, in: folder)
      let option = wrong.prefix { $0 != "=" }
      #expect(outcome.status == 64 && outcome.errors.contains("\(option) takes a number from \(range)"), "\(wrong)")
    }
  }

  @Test func anObjectIsLinkedToTheArtifactThatTheCompilerMakes() throws {
    try folder.add("guest.wasm")
    #expect(try Command.run("compile", "guest.wasm", in: folder).status == 0)
    #expect(try Command.run("compile", "--emit", "object", "guest.wasm", in: folder).status == 0)
    let outcome = try Command.run("link", "guest.o", "-o", "linked.cwasm", in: folder)
    #expect(outcome.status == 0 && outcome.output.isEmpty && outcome.errors == "")
    #expect(try folder.read("linked.cwasm") == folder.read("guest.cwasm"))
    #expect(try Command.run("verify", "linked.cwasm", in: folder).status == 0)
    for name in ["linked.cwasm", "guest.o"] {
      #expect(try Command.run("run", name, "exit", "5", in: folder).status == 5)
    }
  }

  @Test func whatCannotBeLinkedIsAnErrorInALinkersWords() throws {
    try folder.add("guest.wasm")
    let words = [
      "compile", "--emit", "object", "guest.wasm", "--bind-import", "wasi_snapshot_preview1.proc_exit=my_exit",
    ]
    #expect(try Command.run(words, in: folder).status == 0)
    let before = try folder.read("guest.o")
    func errors(_ arguments: String...) throws -> String {
      let outcome = try Command.run(["link"] + arguments, in: folder)
      #expect(outcome.status != 0 && outcome.output.isEmpty)
      return outcome.errors
    }
    #expect(try errors("guest.o", "-o", "a.cwasm").contains("undefined symbol: my_exit"))
    #expect(try errors("guest.o", "-o", "guest.o").contains("take the place of an input"))
    #expect(try errors("guest.wasm", "-o", "a.cwasm").contains("precast compile --emit object"))
    #expect(try errors("missing.o", "-o", "a.cwasm").contains("missing.o"))
    #expect(try folder.read("guest.o") == before)
    #expect(folder.names == ["guest.o", "guest.wasm"])
  }

  @Test func anImportThatIsBoundIsASymbolOfTheObject() throws {
    try folder.add("guest.wasm")
    let words = ["compile", "--emit", "object", "guest.wasm", "--bind-import"]
    let name = "wasi_snapshot_preview1.proc_exit"
    #expect(try Command.run(words + ["\(name)=my_exit"], in: folder).status == 0)
    let shown = try Command.run("inspect", "guest.o", in: folder)
    #expect(shown.status == 0 && shown.errors == "")
    #expect(shown.text.hasPrefix("unlinked object\n"))
    #expect(shown.text.contains(/undefined symbols \(1\)\n.*\n +my_exit\n/), "\(shown.text)")
    #expect(shown.text.contains(/my_exit +wasi_snapshot_preview1 +proc_exit/), "\(shown.text)")
    #expect(try Command.run("inspect", "--functions", "guest.o", in: folder).text.contains("adapter["))
    let unknown = try Command.run(words + ["env.nothing=f", "-o", "other.o"], in: folder)
    #expect(unknown.status == 1)
    #expect(unknown.errors.contains("there is no import env.nothing to bind"))
    #expect(unknown.errors.contains(name))
    #expect(folder.names == ["guest.o", "guest.wasm"])
  }

  @Test func anInputIsNeverReplaced() throws {
    try folder.add("guest.wasm")
    let before = try folder.read("guest.wasm")
    let outcome = try Command.run("compile", "guest.wasm", "-o", "./guest.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.hasPrefix("precast: error: "))
    #expect(try folder.read("guest.wasm") == before)
  }

  @Test func theOutputIsReplacedAsAWholeOrNotAtAll() throws {
    try folder.add("guest.wasm")
    try folder.add("invalid.wasm")
    try folder.write("out.cwasm", "what was there before")
    #expect(try Command.run("compile", "invalid.wasm", "-o", "out.cwasm", in: folder).status == 1)
    #expect(try folder.read("out.cwasm") == Data("what was there before".utf8))
    // A second name for the old file keeps the old contents: it was replaced, not written into.
    try FileManager.default.linkItem(atPath: folder["out.cwasm"], toPath: folder["kept"])
    #expect(try Command.run("compile", "guest.wasm", "-o", "out.cwasm", in: folder).status == 0)
    #expect(try folder.read("kept") == Data("what was there before".utf8))
    #expect(try Command.run("run", "out.cwasm", "exit", "5", in: folder).status == 5)
    #expect(folder.names == ["guest.wasm", "invalid.wasm", "kept", "out.cwasm"])
  }

  @Test(arguments: ["nowhere/out.cwasm", ".", "guest.wasm/out.cwasm", "/proc/out.cwasm"])
  func anOutputThatCannotBeWrittenIsAnError(path: String) throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("compile", "guest.wasm", "-o", path, in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.hasPrefix("precast: error: "))
    #expect(outcome.errors.contains(path))
    #expect(folder.names == ["guest.wasm"])
  }

  @Test func whatIsNotWasmIsAnError() throws {
    try folder.write("empty.wasm", "")
    try folder.write("garbage.wasm", "(module)")
    try folder.write("magic.wasm", Data([0, 0x61, 0x73, 0x6D]))
    try folder.addArtifact(of: "guest.wasm", as: "done.cwasm")
    let before = folder.names
    for name in ["empty.wasm", "garbage.wasm", "magic.wasm", "done.cwasm", "missing.wasm", "."] {
      let outcome = try Command.run("compile", name, "-o", "out.cwasm", in: folder)
      #expect(outcome.signal == nil)
      #expect(outcome.status == 1)
      #expect(outcome.errors.hasPrefix("precast: error: \(name)"), "\(outcome.errors)")
    }
    #expect(folder.names == before)
  }

  @Test func anInvalidModuleIsAnErrorWithItsOffset() throws {
    try folder.add("invalid.wasm")
    let outcome = try Command.run("compile", "invalid.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("invalid.wasm: invalid module at offset 0x"))
    #expect(folder.names == ["invalid.wasm"])
  }

  @Test func everyTruncationOfAModuleIsAnError() throws {
    try folder.add("reactor.wasm")
    let whole = try folder.read("reactor.wasm")
    for size in stride(from: 5, to: whole.count - 60, by: 23) {
      try folder.write("part.wasm", whole.prefix(size))
      let outcome = try Command.run("compile", "part.wasm", in: folder)
      #expect(outcome.signal == nil)
      // A module may end after any section; then it lacks what the others need, or is a smaller module.
      #expect(outcome.status == (outcome.errors.isEmpty ? 0 : 1), "\(size)")
    }
  }

  @Test(arguments: [
    ["--target", "pdp11"], ["--threads", "0"], ["--threads", "many"], ["--cpu-features", "lzcnt,mmx2"], ["--nonsense"],
    ["second.wasm"], ["--emit", "program"], ["--function-sections"], ["--bind-import", "a.b=c"],
    ["--emit", "object", "--bind-import", "a.b"],
  ])
  func aCommandLineThatMakesNoSenseExitsWith64(words: [String]) throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run(["compile", "guest.wasm"] + words, in: folder)
    #expect(outcome.status == 64)
    #expect(outcome.output.isEmpty)
    #expect(outcome.errors.hasPrefix("precast: error: "))
    #expect(folder.names == ["guest.wasm"])
  }

  @Test func theNumberOfThreadsAndTheFolderDoNotShow() throws {
    try folder.add("guest.wasm")
    #expect(try Command.run("compile", "guest.wasm", "-o", "one", "--threads", "1", in: folder).status == 0)
    #expect(try Command.run("compile", "guest.wasm", "-o", "many", "--threads", "7", in: folder).status == 0)
    let other = try Folder()
    try other.add("guest.wasm", as: "renamed.wasm")
    #expect(try Command.run("compile", "renamed.wasm", in: other).status == 0)
    #expect(try folder.read("one") == folder.read("many"))
    #expect(try folder.read("one") == other.read("renamed.cwasm"))
  }

  @Test func withoutAnAddressMapTheArtifactIsSmallerAndStillRuns() throws {
    try folder.add("guest.wasm")
    #expect(try Command.run("compile", "guest.wasm", "-o", "with", in: folder).status == 0)
    #expect(try Command.run("compile", "guest.wasm", "-o", "without", "--no-address-map", in: folder).status == 0)
    #expect(try folder.read("without").count < folder.read("with").count)
    #expect(try Command.run("run", "without", "exit", "9", in: folder).status == 9)
    let trap = try Command.run("run", "without", "trap", in: folder)
    #expect(trap.status == 134)
    #expect(trap.errors.contains("unreachable"))
  }

  @Test func requestedFeaturesAreRecorded() throws {
    try folder.add("guest.wasm")
    #expect(
      try Command.run("compile", "guest.wasm", "-o", "plain", "--cpu-features", "baseline", in: folder).status == 0)
    #expect(
      try Command.run("compile", "guest.wasm", "-o", "more", "--cpu-features", "lzcnt,bmi1", in: folder).status == 0)
    #expect(
      try Command.run("compile", "guest.wasm", "-o", "native", "--cpu-features", "native", in: folder).status == 0)
    #expect(try Command.run("inspect", "more", in: folder).text.contains("lzcnt,bmi1"))
    #expect(try !Command.run("inspect", "plain", in: folder).text.contains("lzcnt"))
    #expect(try Command.run("run", "native", "exit", "6", in: folder).status == 6)
  }

  @Test func aListOfFeaturesMayStartFromTheMachines() throws {
    try folder.add("guest.wasm")
    for list in ["native,baseline", "baseline,native"] {
      #expect(try Command.run("compile", "guest.wasm", "-o", list, "--cpu-features", list, in: folder).status == 0)
    }
    #expect(
      try Command.run("compile", "guest.wasm", "-o", "native", "--cpu-features", "native", in: folder).status == 0)
    #expect(try folder.read("native,baseline") == folder.read("native"))
    #expect(try folder.read("baseline,native") == folder.read("native"))
  }

  @Test func timingsGoToStandardError() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run("compile", "guest.wasm", "--timings", in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.output.isEmpty)
    let steps = outcome.errors.split(separator: "\n").map { $0.split(separator: " ")[0] }
    #expect(steps == ["read", "compile", "decode", "functions", "layout", "write"])
  }
}
