// Whether the tools that engineers open an artifact with take it without a complaint.
//
// `readelf -aW`, `objdump -d` and `eu-elflint --gnu-ld` report what they dislike in different ways: a line with "Warning" or
// "Error" among their output, a line on standard error, or an exit status. Each is given many files at once, since starting
// them costs more than what they do with a small file. `grep` picks the lines that matter on the way: the disassembly of a
// large artifact is a gigabyte of text.

import Foundation
import PrecastMachineCode
import TestSupport

enum ELFTools {
  /// One of the tools, and which lines of its output name a file or complain.
  private struct Tool {
    var name: String
    var options: String
    var fileLine: String
    var complaintLine: String
  }

  private static func all(_ architecture: Architecture) -> [Tool] {
    [readelf, architecture == .x86_64 ? objdump : objdumpAArch64, elflint]
  }

  // A relocation section is a complaint too: a finished artifact has none.
  private static let readelf = Tool(
    name: "readelf", options: "-aW", fileLine: "^File: ",
    complaintLine: #"[Ww]arning:|[Ee]rror:|<corrupt|<no-strings>|<unknown>| RELA? | RELR "#)
  // Jump tables stand in the text, so "(bad)" in a listing is no complaint.
  private static let objdump = Tool(
    name: "objdump", options: "-d", fileLine: "file format ", complaintLine: "[Ww]arning:|[Ee]rror:")
  // No data stands in the text, so every word is an instruction that there is: `udf`, permanently undefined, is one.
  private static let objdumpAArch64 = Tool(
    name: "aarch64-linux-gnu-objdump", options: "-d", fileLine: "file format ",
    complaintLine: #"[Ww]arning:|[Ee]rror:|\t\.(inst|word|byte|short)|; undefined$"#)
  private static let elflint = Tool(
    name: "eu-elflint", options: "--gnu-ld", fileLine: "^/.*:$", complaintLine: "^.*[^:]$")

  /// The tools that this machine lacks.
  static var missing: [String] { missing(for: .x86_64) }
  static func missing(for architecture: Architecture) -> [String] {
    all(architecture).map(\.name).filter { findTool($0) == nil }
  }

  /// What the tools dislike about the files, all of one architecture; empty where they like them all.
  static func complaints(about files: [URL], for architecture: Architecture = .x86_64) throws -> [String] {
    var complaints: [String] = []
    for start in stride(from: 0, to: files.count, by: 200) {
      let names = files[start..<min(start + 200, files.count)].map(\.path)
      for tool in all(architecture) {
        if let program = findTool(tool.name) { complaints += try check(tool, program, names) }
      }
    }
    return complaints
  }

  private static func check(_ tool: Tool, _ program: URL, _ names: [String]) throws -> [String] {
    // `PIPESTATUS` rather than `pipefail`: that `grep` finds nothing is the good case.
    let script = #""$1" "$2" "${@:4}" | LC_ALL=C grep -E "$3"; exit "${PIPESTATUS[0]}""#
    let pattern = "\(tool.fileLine)|\(tool.complaintLine)"
    let result = try run(
      URL(fileURLWithPath: "/bin/bash"), ["-c", script, "bash", program.path, tool.options, pattern] + names)
    let isFileLine = try Regex(tool.fileLine)
    var file = ""
    var found: [String] = []
    for line in result.outputText.split(separator: "\n") {
      if line.contains(isFileLine) {
        file = String(line)
      } else if line != "No errors" {
        found.append("\(tool.name): \(file) \(line)")
      }
    }
    found += result.errorText.split(separator: "\n").map { "\(tool.name): \($0)" }
    if result.status != 0, found.isEmpty { found = ["\(tool.name): status \(result.status) for \(names)"] }
    return found
  }
}
