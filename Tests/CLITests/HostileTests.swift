// What a user is handed rather than wrote: files of any size and kind, names that a terminal would obey, a process
// started in an odd way.

import Foundation
import Testing

@testable import precast

@Suite struct HostileTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  /// Runs a line of shell; standard error is part of the output.
  private func shell(_ line: String) throws -> Outcome { try Command.shell("exec 2>&1; \(line)", in: folder) }

  // MARK: Files of any size

  @Test(arguments: ["compile", "run", "inspect"])
  func aFileIsRefusedByItsFirstBytesHoweverLongItIs(command: String) throws {
    let outcome = try shell("truncate -s 3T sparse; \"$precast\" \(command) sparse")
    #expect(outcome.status == 1)
    #expect(outcome.text.hasPrefix("precast: error: sparse: "))
    #expect(outcome.lines.count == 1)
  }

  /// The limit on address space makes reading all of it fail at once.
  @Test(arguments: ["compile", "run", "inspect"])
  func aDeviceWithoutEndIsRefusedByItsFirstBytes(command: String) throws {
    let outcome = try shell("ulimit -v 8000000; \"$precast\" \(command) /dev/zero")
    #expect(outcome.status == 1)
    #expect(outcome.text.hasPrefix("precast: error: /dev/zero: "))
    #expect(outcome.lines.count == 1)
  }

  @Test(arguments: ["compile", "run"])
  func aModuleBeyondTheReachOfOffsetsIsRefusedBeforeItIsRead(command: String) throws {
    let outcome = try shell(
      "printf '\\0asm\\1\\0\\0\\0' > big.wasm; truncate -s 4294967296 big.wasm; \"$precast\" \(command) big.wasm")
    #expect(outcome.status == 1)
    #expect(outcome.text == "precast: error: big.wasm: larger than 4294967295 bytes\n")
  }

  @Test(arguments: ["compile big.wasm", "run big.wasm", "run <(cat big.wasm)"])
  func aModuleThatMemoryDoesNotSufficeForIsAnError(command: String) throws {
    let outcome = try shell(
      "printf '\\0asm\\1\\0\\0\\0' > big.wasm; truncate -s 3G big.wasm; ulimit -v 1000000; \"$precast\" \(command)")
    #expect(outcome.status == 1)
    #expect(outcome.text.contains("not enough memory"), "\(outcome.text)")
    #expect(outcome.lines.count == 1)
  }

  @Test func anArtifactCanBeInspectedThroughAPipe() throws {
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    let direct = try Command.run("inspect", "guest.cwasm", in: folder)
    let piped = try shell("cat guest.cwasm | \"$precast\" inspect /dev/stdin")
    #expect(piped.status == 0)
    #expect(piped.text == direct.text)
  }

  // MARK: How the process is started

  /// The first file to be opened would become the guest's standard output.
  @Test(arguments: ["guest.wasm", "guest.cwasm"])
  func aClosedStandardStreamIsTheNullDevice(file: String) throws {
    try folder.add("guest.wasm")
    try folder.addArtifact(of: "guest.wasm", as: "guest.cwasm")
    for closed in ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"] {
      let outcome = try Command.shell(
        "(\"$precast\" run \(file) both \(closed)); echo $?; (\"$precast\" run \(file) copy \(closed)); echo $?",
        in: folder)
      #expect(outcome.lines.filter { $0 != "to standard output" } == ["0", "0"], "\(closed)")
    }
    // Diagnostics have nowhere to go, least of all into the output.
    try folder.add("invalid.wasm")
    let outcome = try Command.shell(
      "\"$precast\" compile invalid.wasm -o new <&- >&- 2>&-; echo $?; ls | grep -v ^out-", in: folder)
    #expect(outcome.lines == ["1", "guest.cwasm", "guest.wasm", "invalid.wasm"])
  }

  @Test(arguments: [
    "run $'h\\xff.wasm'", "run --env $'C=\\xff' guest.wasm", "run --dir $'d\\xff' guest.wasm",
    "run guest.wasm $'\\xff'",
    "compile $'h\\xff.wasm'", "compile guest.wasm -o $'o\\xff.cwasm'", "inspect $'\\xff\\x1b'",
  ])
  func anArgumentThatIsNoTextIsNotTakenForAnother(words: String) throws {
    try folder.add("guest.wasm")
    let before = folder.names.count
    let outcome = try shell("\"$precast\" \(words)")
    #expect(outcome.status == 64)
    #expect(outcome.text.contains("\\xff"))
    #expect(outcome.text.hasPrefix("precast: error: argument "))
    #expect(outcome.text.hasSuffix("is not UTF-8\n"))
    #expect(folder.names.filter { !$0.hasPrefix("out-") }.count == before)
  }

  @Test func aLimitOnFileSizesLeavesNothingBehind() throws {
    try folder.add("guest.wasm")
    let outcome = try Command.shell("ulimit -f 4; \"$precast\" compile guest.wasm -o out.cwasm 2>&1", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.text.hasPrefix("precast: error: out.cwasm: could not write"), "\(outcome.text)")
    #expect(folder.names.filter { !$0.hasPrefix("out-") } == ["guest.wasm"])
  }

  @Test(arguments: [["compile", "guest.wasm", "-o", ""], ["compile", ""], ["run", ""], ["inspect", ""]])
  func anEmptyNameMakesNoSense(words: [String]) throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run(words, in: folder)
    #expect(outcome.status == 64)
    #expect(outcome.errors.contains("name of"))
    #expect(folder.names == ["guest.wasm"])
  }

  // MARK: Names that a terminal would obey

  private static let hostile = "bad\u{1B}]0;pwn\u{7}\n  1: 0x0 - forged\u{0}\u{7F}\u{9B}31m\u{2028}\u{202E}"
  private static let shown =
    "bad\\u{1b}]0;pwn\\u{7}\\u{a}  1: 0x0 - forged\\u{0}\\u{7f}\\u{9b}31m\\u{2028}\\u{202e}"

  @Test func aBacktraceShowsTheNamesOfAModuleAndDoesNotObeyThem() throws {
    try folder.write("trap.wasm", Binary.trapping(module: Self.hostile, function: Self.hostile))
    let outcome = try Command.run("run", "trap.wasm", in: folder)
    #expect(outcome.status == 134)
    let lines = outcome.errors.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count == 3)
    #expect(lines[1].hasPrefix("  0: 0x"))
    #expect(lines[1].hasSuffix(" - \(Self.shown)!\(Self.shown)"))
  }

  @Test func aSymbolHasNoControlCharacters() throws {
    try folder.write("trap.wasm", Binary.trapping(module: "m", function: Self.hostile))
    #expect(try Command.run("compile", "trap.wasm", in: folder).status == 0)
    let symbol = "wasm[0]::function[0]::bad?]0;pwn??  1: 0x0 - forged???31m\u{2028}\u{202E}\0"
    #expect(try folder.read("trap.cwasm").range(of: Data(symbol.utf8)) != nil)
  }

  @Test func aMissingImportIsShownAndNotObeyed() throws {
    try folder.write("import.wasm", Binary.importing(module: Self.hostile, name: Self.hostile))
    let outcome = try Command.run("run", "import.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("unknown import: \(Self.shown).\(Self.shown) "))
    #expect(outcome.errors.split(separator: "\n").count == 1)
  }

  @Test func aFilesNameIsShownAndNotObeyed() throws {
    for command in ["run", "compile", "inspect"] {
      let outcome = try Command.run(command, "no\n\u{1B}[31m.wasm", in: folder)
      #expect(outcome.status == 1)
      #expect(outcome.errors == "precast: error: no\\u{a}\\u{1b}[31m.wasm: No such file or directory\n")
    }
  }

  @Test func otherTextIsShownAsItIs() throws {
    try folder.write("trap.wasm", Binary.trapping(module: "modül", function: "功能\\u{1b}"))
    #expect(try Command.run("run", "trap.wasm", in: folder).errors.hasSuffix(" - modül!功能\\u{1b}\n"))
  }

  // MARK: What is exported under the names that are called

  @Test(arguments: ["_start", "_initialize"], [true, false])
  func anEntryOfAnotherTypeIsNamed(entry: String, isGlobal: Bool) throws {
    try folder.write("entry.wasm", isGlobal ? Binary.global(named: entry) : Binary.taking(export: entry))
    let outcome = try Command.run("run", "entry.wasm", in: folder)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("export '\(entry)' is a \(isGlobal ? "global i32" : "function [i32] -> []")"))
    #expect(outcome.errors.contains("[] -> []"))
  }
}

/// Modules that are small enough to be written by hand.
private enum Binary {
  private static func name(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + text.utf8 }
  private static func section(_ number: UInt8, _ contents: [UInt8]) -> [UInt8] {
    [number, UInt8(contents.count & 0x7F | 0x80), UInt8(contents.count >> 7)] + contents
  }
  private static func module(_ sections: [UInt8]...) -> Data {
    Data([0, 0x61, 0x73, 0x6D, 1, 0, 0, 0] + sections.joined())
  }
  private static let noTypes: [UInt8] = section(1, [1, 0x60, 0, 0])

  /// Exports `_start`, which traps; with names for it and the module.
  static func trapping(module moduleName: String, function: String) -> Data {
    let function = [1, 0] + name(function)
    let module = name(moduleName)
    let names = name("name") + [0, UInt8(module.count)] + module + [1, UInt8(function.count)] + function
    return Self.module(
      noTypes, section(3, [1, 0]), section(7, [1] + name("_start") + [0, 0]), section(10, [1, 3, 0, 0, 0x0B]),
      section(0, names))
  }

  /// Imports a function, and exports it as `_start`.
  static func importing(module: String, name function: String) -> Data {
    Self.module(
      noTypes, section(2, [1] + name(module) + name(function) + [0, 0]), section(7, [1] + name("_start") + [0, 0]))
  }

  /// Exports a function that takes an i32.
  static func taking(export: String) -> Data {
    module(
      section(1, [1, 0x60, 1, 0x7F, 0]), section(3, [1, 0]), section(7, [1] + name(export) + [0, 0]),
      section(10, [1, 2, 0, 0x0B]))
  }

  /// Exports a global i32.
  static func global(named export: String) -> Data {
    module(section(6, [1, 0x7F, 0, 0x41, 0, 0x0B]), section(7, [1] + name(export) + [3, 0]))
  }
}
