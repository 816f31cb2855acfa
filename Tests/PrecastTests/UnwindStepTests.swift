// Stepping through compiled code, and unwinding at every instruction with nothing but `.eh_frame`.
//
// Tests/Tools/unwind-stepper.c does it, with libdw for an unwinder; it is compiled here. What it steps through is
// TestData/Unwind/frames.wat: functions with every shape of frame, called by Tests/UnwindSubject.

import Foundation
import Precast
import PrecastCompiler
import PrecastWasm
import TestSupport
import Testing

@Suite struct UnwindStepTests {
  /// The stepper, or nil where it cannot be built (no compiler, no libdw-dev).
  static let stepper: (directory: TemporaryDirectory, program: URL)? = {
    guard let compiler = findTool("cc"), let directory = try? TemporaryDirectory() else { return nil }
    let program = directory.appending("unwind-stepper")
    let source = Repository.tools.appending(path: "unwind-stepper.c").path
    let result = try? run(compiler, ["-O1", "-Wall", "-o", program.path, source, "-ldw", "-lelf"])
    return result?.status == 0 ? (directory, program) : nil
  }()

  /// What a run printed.
  private struct Steps {
    var counts: [Substring: Int] = [:]
    /// Text offsets that were stepped through, as addresses in the file.
    var seen: Set<Int> = []

    init(_ text: String) {
      for line in text.split(separator: "\n") {
        let fields = line.split(separator: " ")
        if fields[0] == "at" {
          seen.insert(Int(fields[1], radix: 16) ?? -1)
        } else {
          counts[fields[0]] = Int(fields[1])
        }
      }
    }
  }

  @Test(
    "Every instruction of every frame shape unwinds to its caller",
    .enabled(if: stepper != nil && findTool("objdump") != nil, "needs a C compiler, libdw-dev and objdump"),
    // As compiled; linked from an object; linked with every call through a veneer; with functions apart.
    arguments: [nil, 0, 1, 2])
  func everyInstruction(layout: Int?) throws {
    let stepper = try #require(Self.stepper)
    let path = try RealPath()
    let wasm = Repository.testData.appending(path: "Unwind/frames.wasm")
    let folder = try TemporaryDirectory()
    let artifact: URL
    if let layout {
      artifact = folder.appending("linked.cwasm")
      let object = try Compiler().compileObject(WasmBinary([UInt8](try Data(contentsOf: wasm))))
      try ObjectLinking.link(
        [LinkableObject(object, name: "frames.o")], toFile: artifact.path, durable: false,
        layout: LinkedModuleTests.layouts[layout])
    } else {
      artifact = try path.compile(wasm: wasm)
    }
    let result = try run(stepper.program, [artifact.path, builtProgram("unwind-subject").path, artifact.path])
    #expect(result.status == 0, "\(result.errorText)")
    let steps = Steps(result.outputText)
    #expect(steps.counts["steps", default: 0] > 2500)
    #expect(steps.counts["frames", default: 0] > steps.counts["steps", default: 0])
    // Two instructions at most for each error of a host function.
    #expect(steps.counts["abandoned", default: 99] <= 4)
    // What no call takes (returns behind a trap, checks that hold) is left to UnwindTableTests. But every function was
    // stepped through, and the stub, trampolines of both kinds and functions with every kind of end to their last instruction.
    let functions = try instructions(of: artifact)
    func missed(_ name: String) -> Int { functions[name, default: []].filter { !steps.seen.contains($0) }.count }
    func isComplete(_ end: String) -> Bool { functions.keys.contains { $0.hasSuffix(end) && missed($0) == 0 } }
    let isNeverCalled = functions.keys.filter { missed($0) == functions[$0]!.count && $0.contains("function[") }
    #expect(isNeverCalled == [])
    for end in ["::leaf", "::add", "::many_parameters", "::many_results", "::resolve_element", "::enter", "::exit"] {
      #expect(isComplete(end), "\(end)")
    }
    #expect(steps.seen.count > 1000)
  }

  @Test("One registration serves any number of modules")
  func registrations() throws {
    let path = try RealPath()
    let artifact = try path.compile(wasm: GoldenTests.folder.appending(path: "fib.wasm"))
    let result = try run(builtProgram("unwind-subject"), ["count", artifact.path, "300"])
    #expect(result.outputText == "none 0 0\nshared 1 1\nperModule 300 0\nshared 0 0\n", "\(result.errorText)")
  }

  /// Where the instructions of each function are; not what stands behind them as data (jump tables), or fills up.
  private func instructions(of artifact: URL) throws -> [String: [Int]] {
    let objdump = try #require(findTool("objdump"))
    var isCode = false
    var name = ""
    var list: [String: [Int]] = [:]
    for line in try run(objdump, ["-d", "--no-show-raw-insn", artifact.path]).outputText.split(separator: "\n") {
      if line.hasSuffix(">:") {
        isCode = true
        name = String(line.dropFirst(18).dropLast(2))
      } else if isCode, let colon = line.firstIndex(of: ":"),
        let address = Int(line[..<colon].trimmingCharacters(in: .whitespaces), radix: 16)
      {
        let text = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        // Nothing that is executed follows filling in a function.
        if text.hasPrefix("int3") { isCode = false } else { list[name, default: []].append(address) }
      }
    }
    return list
  }
}
