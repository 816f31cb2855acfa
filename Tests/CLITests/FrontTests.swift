import Foundation
import Testing

@testable import precast

@Suite struct FrontTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  @Test(arguments: [[], ["--help"], ["-h"], ["help"], ["help", "run"], ["compile", "--help"], ["inspect", "--help"]])
  func helpGoesToStandardOutput(words: [String]) throws {
    let outcome = try Command.run(words, in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.text.contains("USAGE: precast"))
    #expect(outcome.errors == "")
  }

  @Test func versionIsOneLine() throws {
    let outcome = try Command.run("--version", in: folder)
    #expect(outcome.status == 0)
    #expect(outcome.lines.count == 1)
    #expect(outcome.text.hasPrefix("precast "))
  }

  @Test func helpListsEveryOptionOfRunThatTheSplitterKnows() throws {
    let help = try Command.run("run", "--help", in: folder).text
    for option in RunOptions.optionsWithValue { #expect(help.contains("\(option) <"), "\(option)") }
    for option in RunOptions.flags { #expect(help.contains(option), "\(option)") }
    // And none that it does not know: it would take the option's value for FILE.
    var listed: Set<String> = []
    for line in help.split(separator: "\n") where line.hasPrefix("  -") {
      // `--long`, or `-s, --long`.
      let words = line.split(separator: " ").map(String.init)
      guard let first = words.first else { continue }
      listed.insert(first.hasSuffix(",") ? String(first.dropLast()) : first)
      if first.hasSuffix(","), words.count > 1 { listed.insert(words[1]) }
    }
    let known = RunOptions.optionsWithValue.union(RunOptions.flags)
    #expect(listed == known.union(["--version", "-h", "--help"]))
  }

  @Test func theSplitIsAtTheFirstWordThatIsNoOption() {
    let words = ["--dir", "--invoke", "--timings", "file", "--dir", "x"]
    let (own, file, guest) = RunOptions.split(words[...])
    #expect(own == ["--dir", "--invoke", "--timings"])
    #expect(file == "file")
    #expect(guest == ["--dir", "x"])
  }

  @Test func bothParsersOfRunAgree() throws {
    let words = [
      "--dir", "a::b", "--dir=c", "--env", "N=V=W", "--invoke", "f", "--cpu-features", "lzcnt", "--allow-precompiled",
      "--timings", "file", "guest", "--env",
    ]
    let plain = try #require(RunOptions(plain: words[...]))
    let command = try #require(try PrecastCommand.parseAsRoot(["run"] + words.prefix(12)) as? RunCommand)
    #expect(plain == command.options(arguments: ["guest", "--env"]))
    #expect(plain.directories.map(\.guest) == ["b", "c"])
    #expect(plain.directories.map(\.host) == ["a", "c"])
  }

  @Test func timesHaveThreeDigits() {
    let texts: [(UInt64, String)] = [
      (0, "0 ns"), (999, "999 ns"), (1_000, "1.00 µs"), (1_050, "1.05 µs"), (12_345, "12.3 µs"),
      (123_456, "123 µs"), (1_999_999, "1.99 ms"), (20_030_000, "20.0 ms"), (7_890_000_000, "7.89 s"),
    ]
    for (nanoseconds, text) in texts { #expect(Timings.format(nanoseconds: nanoseconds) == text) }
  }
}
