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
    // Where every call goes through a veneer, those were stepped through.
    let veneers = try veneers(of: artifact)
    #expect(veneers.isEmpty == (layout != 1))
    #expect(veneers.flatMap { $0 }.filter { !steps.seen.contains($0) } == [])
  }

  /// C for imports to be bound to: frames of every kind that a C compiler makes, parameters on the stack.
  static let boundSource = """
    typedef long long i64;
    static i64 kept;
    int none(void) { return 0; }
    int twice(int a) { kept += a; return 2 * a; }
    double many(i64 a, i64 b, i64 c, i64 d, i64 e, i64 f, i64 g, i64 h, double i, double j, double k, double l, double m,
                double n, double o, double p, double q) {
      return a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + kept;
    }
    __attribute__((noinline)) static i64 large(i64 a) {
      volatile i64 block[40];
      for (int i = 0; i < 4; i++) block[i] = a * i;
      return block[1] + block[3];
    }
    i64 calls(i64 a) { return large(a) + large(a + 1) * a + kept; }
    i64 dynamic(int a) {
      volatile char *block = __builtin_alloca(a * 16 + 1);
      block[0] = 1;
      return block[0] + large(a);
    }
    """

  static let boundModule = """
    (module
      (import "c" "none" (func $none (result i32)))
      (import "c" "twice" (func $twice (param i32) (result i32)))
      (import "c" "many" (func $many (param i64 i64 i64 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 f64 f64)
        (result f64)))
      (import "c" "calls" (func $calls (param i64) (result i64)))
      (import "c" "dynamic" (func $dynamic (param i32) (result i64)))
      (table 2 funcref)
      (elem (i32.const 0) $twice $none)
      (export "exported" (func $calls))
      (func (export "in a table") (param i32) (result i32)
        (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)))
      (func (export "many") (param i64 f64) (result f64)
        (call $many (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0)
          (local.get 0) (local.get 1) (local.get 1) (local.get 1) (local.get 1) (local.get 1) (local.get 1) (local.get 1)
          (local.get 1) (local.get 1)))
      (func $inner (param i32) (result i32)
        (i32.add (call $twice (local.get 0)) (i32.wrap_i64 (call $dynamic (call $none)))))
      (func (export "deep") (param i32 i64) (result i64)
        (i64.add (call $calls (local.get 1)) (i64.extend_i32_s (call $inner (local.get 0))))))
    """

  @Test(
    "Every instruction of adapters, of the C functions that imports are bound to, and of veneers to both unwinds",
    .enabled(
      if: stepper != nil && findTool("objdump") != nil && findTool("wasm-tools") != nil,
      "needs a C compiler, libdw-dev, objdump and wasm-tools"),
    arguments: [0, 1, 2])
  func boundFunctions(layout: Int) throws {
    let stepper = try #require(Self.stepper)
    let folder = try TemporaryDirectory()
    try Data(Self.boundModule.utf8).write(to: folder.appending("module.wat"))
    try Data(Self.boundSource.utf8).write(to: folder.appending("bound.c"))
    let parsed = try run(
      #require(findTool("wasm-tools")),
      ["parse", folder.appending("module.wat").path, "-o", folder.appending("module.wasm").path])
    try #require(parsed.status == 0, "\(parsed.errorText)")
    let compiled = try run(
      #require(findTool("cc")),
      [
        "-c", "-O2", "-fPIC", "-fvisibility=hidden", "-fomit-frame-pointer", "-fno-stack-protector", "-o",
        folder.appending("bound.o").path, folder.appending("bound.c").path,
      ])
    try #require(compiled.status == 0, "\(compiled.errorText)")
    var options = ObjectOptions()
    options.bindings = ["none", "twice", "many", "calls", "dynamic"].map { ImportBinding(path: "c.\($0)", symbol: $0) }
    let wasm = WasmBinary([UInt8](try Data(contentsOf: folder.appending("module.wasm"))))
    let artifact = folder.appending("bound.cwasm")
    try ObjectLinking.link(
      [
        LinkableObject(try Compiler().compileObject(wasm, options: options), name: "module.o"),
        try LinkableObject(contentsOfFile: folder.appending("bound.o").path),
      ], toFile: artifact.path, durable: false, layout: LinkedModuleTests.layouts[layout])

    let result = try run(stepper.program, [artifact.path, builtProgram("unwind-subject").path, artifact.path])
    #expect(result.status == 0, "\(result.errorText)")
    let steps = Steps(result.outputText)
    #expect(steps.counts["abandoned"] == 0)
    let functions = try instructions(of: artifact)
    // An adapter's check of the stack holds, so its trap is not reached.
    for index in 0..<5 {
      let adapter = try #require(functions.first { $0.key.hasPrefix("wasm[0]::adapter[\(index)]::") })
      #expect(adapter.value.filter { !steps.seen.contains($0) }.count <= 1, "\(adapter.key)")
    }
    var stepped = 0
    for name in ["none", "twice", "many", "calls", "large", "dynamic"] {
      let function = try #require(functions.first { $0.key.hasPrefix(name) }, "\(name)")
      let seen = function.value.count { steps.seen.contains($0) }
      #expect(seen > 1, "\(name)")
      stepped += seen
    }
    #expect(stepped > 60)
    let veneers = try veneers(of: artifact)
    #expect(veneers.isEmpty == (layout != 1))
    #expect(veneers.flatMap { $0 }.filter { !steps.seen.contains($0) } == [])
  }

  /// Where the instructions of each veneer are: `lea`, `add`, `jmp`, and the cell with the distance.
  private func veneers(of artifact: URL) throws -> [[Int]] {
    let text = try run(#require(findTool("nm")), ["-S", artifact.path]).outputText
    return text.split(separator: "\n").filter { $0.hasSuffix(" wasm[0]::stub::veneers") }.flatMap { line in
      let fields = line.split(separator: " ").prefix(2).compactMap { Int($0, radix: 16) }
      return stride(from: fields[0], to: fields[0] + fields[1], by: 24).map { [$0, $0 + 7, $0 + 10] }
    }
  }

  /// LLVM's libunwind, where it is installed. The other library of that name has another number.
  private static let llvmUnwinder: String? = {
    let roots = ["/usr/lib", Repository.root.appending(path: ".build/tools/root/usr/lib").path]
    for root in roots {
      for folder in (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [] {
        let path = "\(root)/\(folder)/libunwind.so.1"
        if FileManager.default.fileExists(atPath: path) { return path }
      }
    }
    return nil
  }()

  private func backtraces(_ environment: [String: String]) throws -> String {
    let folder = try TemporaryDirectory()
    let artifact = folder.appending("unwind.cwasm")
    let wasm = [UInt8](try Data(contentsOf: Repository.testData.appending(path: "Load/unwind.wasm")))
    try Compiler().compile(WasmBinary(wasm), toFile: artifact.path)
    let result = try run(
      builtProgram("unwind-subject"), ["backtrace", artifact.path, "40"],
      environment: ProcessInfo.processInfo.environment.merging(environment) { $1 })
    #expect(result.status == 0, "\(result.errorText)")
    return result.outputText
  }

  // Ten functions and two trampolines. A walk ends at code that is not registered; whether it tells of the first frame there
  // depends on the unwinder.
  private static func walks(_ unregistered: Int) -> String {
    """
    perModule 12 12 to the end left 0
    shared 12 12 to the end left 1
    none \(unregistered) \(unregistered) no further left 0
    perModule 12 12 to the end left 0

    """
  }

  @Test("The process's unwinder walks through wasm while modules come and go")
  func unwinder() throws {
    #expect(try backtraces([:]) == "unwinder libgcc\n" + Self.walks(1))
  }

  @Test(
    "LLVM's unwinder walks through wasm while modules come and go, where a program has that one",
    .enabled(if: llvmUnwinder != nil, "LLVM's libunwind is not installed"))
  func llvmsUnwinder() throws {
    #expect(try backtraces(["LD_PRELOAD": #require(Self.llvmUnwinder)]) == "unwinder LLVM\n" + Self.walks(0))
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
