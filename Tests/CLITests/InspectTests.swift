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
    for name in ["guest.wasm", "empty", "garbage", "missing", "."] {
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

  // MARK: --section

  @Test func aSectionIsNamedWithOrWithoutItsDot() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let with = try Command.run("inspect", "--section", ".wasmtime.info", "guest.cwasm", in: folder)
    let without = try Command.run("inspect", "--section", "wasmtime.info", "guest.cwasm", in: folder)
    #expect(with.status == 0 && with.text.contains("wasi_snapshot_preview1"))
    #expect(with.output == without.output)
  }

  @Test func eachSectionOfAnArtifactIsShown() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let summary = try Command.run("inspect", "--json", "guest.cwasm", in: folder)
    let object = try #require(try JSONSerialization.jsonObject(with: summary.output) as? [String: Any])
    let sections = try #require(object["sections"] as? [[String: Any]]).compactMap { $0["name"] as? String }
    #expect(sections.count >= 12)
    for section in sections {
      for words in [[], ["--json"]] {
        let outcome = try Command.run(["inspect", "guest.cwasm", "--section", section] + words, in: folder)
        #expect(outcome.status == 0 && outcome.errors == "", "\(section): \(outcome.errors)")
        #expect(outcome.text.contains(section))
        if !words.isEmpty { #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: outcome.output) } }
      }
    }
  }

  @Test func anUnknownSectionListsThoseThatThereAre() throws {
    try folder.addArtifact(of: "plain.wasm", as: "plain.cwasm")
    for name in ["nothing", ".wasmtime.stackmap"] {
      let outcome = try Command.run("inspect", "plain.cwasm", "--section", name, in: folder)
      #expect(outcome.status == 1 && outcome.output.isEmpty)
      #expect(
        outcome.errors.contains("has no section '\(name)'; there are .note.gnu.build-id, .wasmtime.engine, .text"))
    }
  }

  @Test func aDamagedRowIsShownAsSuchAndTheRestIsShown() throws {
    try folder.addArtifact(of: "guest.wasm", as: "a.cwasm")
    // The type of the fourth row of the value types becomes no type.
    var bytes = try folder.read("a.cwasm")
    let info = try #require(bytes.range(of: Data("INFO".utf8)))
    let table = bytes[(info.lowerBound + 32)..<(info.lowerBound + 36)].reversed().reduce(0) { $0 << 8 | Int($1) }
    bytes[info.lowerBound + table + 3] = 0
    try folder.write("b.cwasm", bytes)
    let outcome = try Command.run("inspect", "b.cwasm", "--section", "wasmtime.info", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.text.contains("  ! damaged artifact: .wasmtime.info"))
    #expect(outcome.text.contains("strings ("))
    #expect(outcome.errors.contains("damaged artifact: .wasmtime.info"))
  }

  // MARK: --functions

  @Test func functionsAreListedTheLargestFirst() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let outcome = try Command.run("inspect", "guest.cwasm", "--functions", in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.text.contains("main") && outcome.text.contains("trampoline[0]::enter"))
    let sizes = outcome.lines.dropFirst(2).dropLast().compactMap { $0.split(separator: " ").first.flatMap { Int($0) } }
    #expect(sizes.count > 50 && sizes == sizes.sorted(by: >))
    #expect(outcome.lines.count == sizes.count + 3)
  }

  // MARK: --disassemble

  static let hasObjdump = FileManager.default.isExecutableFile(atPath: "/usr/bin/objdump")

  private func golden(_ name: String) throws -> String {
    let module = testData.appendingPathComponent("Golden/\(name).wasm").path
    #expect(try Command.run("compile", module, "-o", "\(name).cwasm", in: folder).status == 0)
    return "\(name).cwasm"
  }

  @Test(.enabled(if: hasObjdump), arguments: ["0", "fib", "fi", "wasm[0]::function[0]::fib", "function[0]"])
  func aFunctionIsFoundByIndexNameOrPart(word: String) throws {
    let outcome = try Command.run("inspect", try golden("fib"), "--disassemble", word, in: folder)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.lines.first?.hasPrefix("function[0] fib: ") == true)
  }

  @Test(.enabled(if: hasObjdump)) func instructionsHaveWasmOffsetsTrapsAndCallees() throws {
    let outcome = try Command.run("inspect", try golden("linked"), "--disassemble", "divide", in: folder)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let division = try #require(outcome.lines.first { $0.contains("idiv") })
    #expect(division.hasSuffix("; trap: integer divide by zero"))
    let section = try Command.run("inspect", "linked.cwasm", "--section", "wasmtime.addrmap", in: folder)
    let run = section.lines.drop { !$0.hasSuffix(", divide") }.dropFirst().prefix { !$0.contains("text offset") }
    let offsets = run.compactMap { $0.split(separator: " ").last.map(String.init) }
    #expect(offsets.count >= 3)
    let shown = outcome.lines.dropFirst(2).compactMap { $0.split(separator: " ").first.map(String.init) }
    #expect(shown.filter { $0.hasPrefix("0x") } == offsets)
    let fib = try Command.run("inspect", try golden("fib"), "--disassemble", "fib", in: folder)
    #expect(fib.text.contains("<wasm[0]::function[0]::fib>"))
  }

  @Test(.enabled(if: hasObjdump)) func tablesOfBranchesAreNotTakenForInstructions() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let outcome = try Command.run("inspect", "guest.cwasm", "--disassemble", "printf_core", in: folder)
    #expect(outcome.status == 0)
    #expect(!outcome.text.contains("(bad)"))
    let addresses = Set(
      outcome.lines.compactMap { line -> String? in
        guard !line.contains(".long"), let colon = line.firstIndex(of: ":") else { return nil }
        return line[..<colon].split(separator: " ").last.map(String.init)
      })
    let entries = outcome.lines.filter { $0.contains(".long") }
    #expect(entries.count > 10)
    for entry in entries {
      let target = try #require(entry.split(separator: " ").last.map(String.init))
      #expect(addresses.contains(target), "\(entry)")
    }
  }

  @Test(.enabled(if: hasObjdump)) func aDisassemblyNeedsNoFile() throws {
    let artifact = try golden("fib")
    let direct = try Command.run("inspect", artifact, "--disassemble", "loop", in: folder)
    let piped = try Command.shell("cat \(artifact) | \"$precast\" inspect /dev/stdin --disassemble loop", in: folder)
    #expect(piped.status == 0)
    #expect(piped.output == direct.output)
  }

  @Test func aNameThatIsNotUniqueListsItsFunctions() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let outcome = try Command.run("inspect", "guest.cwasm", "--disassemble", "printf", in: folder)
    #expect(outcome.status == 1 && outcome.output.isEmpty)
    for name in ["printf_core", "fprintf", "vfprintf"] { #expect(outcome.errors.contains("] \(name)\n")) }
  }

  @Test func whatCannotBeDisassembledIsSaid() throws {
    let artifact = try golden("linked")
    for (word, message) in [("0", "is imported"), ("99", "has no function '99'"), ("nobody", "has no function")] {
      let outcome = try Command.run("inspect", artifact, "--disassemble", word, in: folder)
      #expect(outcome.status == 1 && outcome.output.isEmpty)
      #expect(outcome.errors.contains(message), "\(outcome.errors)")
    }
    let alone = try Command.shell("PATH=/nowhere \"$precast\" inspect \(artifact) --disassemble 3 2>&1", in: folder)
    #expect(alone.status == 1)
    #expect(alone.text.contains("no objdump on the PATH; Debian has it in the package binutils"))
  }

  @Test func onlyOneThingIsShownAtATime() throws {
    for words in [
      ["--functions", "--section", "text"], ["--disassemble", "f", "--functions"], ["--json", "--disassemble", "f"],
    ] {
      #expect(try Command.run(["inspect", "a.cwasm"] + words, in: folder).status == 64)
    }
  }

  // MARK: Files that cannot be loaded

  /// An artifact with some bytes replaced.
  private func patched(_ name: String, at offset: Int, _ bytes: [UInt8]) throws {
    try folder.addArtifact(of: "plain.wasm", as: name)
    var contents = try folder.read(name)
    contents.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    try folder.write(name, contents)
  }

  @Test func anotherVersionsArtifactIsExplained() throws {
    try patched("other.cwasm", at: 560 + 8, [1, 0, 0, 0])
    let outcome = try Command.run("inspect", "other.cwasm", in: folder)
    #expect(outcome.status == 0 && outcome.errors == "")
    for word in ["format_version is 1 ", "what to do: compile", "precast-baseline", ".wasmtime.traps", "LOAD"] {
      #expect(outcome.text.contains(word), "\(word) in \(outcome.text)")
    }
    let json = try Command.run("inspect", "--json", "other.cwasm", in: folder)
    let object = try JSONSerialization.jsonObject(with: json.output) as? [String: Any]
    #expect(object?["finding"] as? String == "otherVersion")
    let section = try Command.run("inspect", "other.cwasm", "--section", "text", in: folder)
    #expect(section.status == 0 && section.text.contains("cc cc cc cc"))
    #expect(try Command.run("inspect", "other.cwasm", "--functions", in: folder).status == 1)
  }

  @Test func aDamagedArtifactIsExplainedAndIsAnError() throws {
    try patched("damaged.cwasm", at: 560 + 16, [1])
    let outcome = try Command.run("inspect", "damaged.cwasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.text.contains("what to do: get another copy") && outcome.text.contains(".wasmtime.info"))
    #expect(outcome.errors.hasPrefix("precast: error: damaged.cwasm: damaged artifact"))
  }

  @Test func otherELFFilesAreToldAndOutlined() throws {
    try patched("runtime.cwasm", at: 560, [0])
    var object = try Data(contentsOf: URL(fileURLWithPath: "/bin/true"))
    object.replaceSubrange(16..<18, with: [1, 0])
    try folder.write("object.o", object)
    for (name, words) in [
      ("/bin/true", ["no artifact", "x86-64", ".dynstr"]), ("object.o", ["relocatable object"]),
      ("runtime.cwasm", ["another runtime's artifact", ".wasmtime.engine"]),
    ] {
      let outcome = try Command.run("inspect", name, in: folder)
      #expect(outcome.status == 1)
      for word in words { #expect(outcome.text.contains(word), "\(word) in \(outcome.text)") }
      #expect(outcome.errors.split(separator: "\n").count == 1)
    }
  }
}
