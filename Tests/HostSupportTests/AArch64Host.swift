// A program for AArch64 Linux, made of all C sources of CPrecastHost, and run by an emulator of a whole process.
//
// What the signal handler and the loader do with registers, pages and caches of a machine can be compiled elsewhere, and
// executed only there; or in an emulator that has a kernel's interface as well: signals with their frames, mappings,
// page sizes, threads. So this part of the project, small and in C, is put into a program that maps and calls code, and
// looks at what comes of it (AArch64/subject.c). The code is an artifact of the compiler's; and, for what the compiler would never
// do, a text written by hand (AArch64/code.S).

import CPrecastHost
import Foundation
import PrecastArtifact
import PrecastCompiler
@testable import PrecastLoader
import PrecastMachineCode
import PrecastWasm
import TestSupport

/// The program and its code, in files.
struct AArch64Host: Sendable {
  /// What the program calls.
  enum Code: String, Sendable, CaseIterable {
    case compiled = "module.cwasm"
    case compiledWithLandingPads = "landing-pads.cwasm"
    case handWritten = "code.bin"
  }

  /// Functions that do what those of code.S do, by the same names.
  static let module = """
    (module
      (type $t (func (param i64) (result i64)))
      (import "host" "call" (func $call (type $t)))
      (memory 1)
      (func $increment (export "increment") (type $t) (i64.add (local.get 0) (i64.const 1)))
      (func $unreachable (export "unreachable") (type $t) (i64.add (call $inner (local.get 0)) (i64.const 1)))
      (func $inner (type $t) (i64.add (call $innermost (local.get 0)) (i64.const 1)))
      (func $innermost (type $t) unreachable)
      (func $load (export "load") (type $t) (i64.load (i32.wrap_i64 (local.get 0))))
      (func $recurse (export "recurse") (type $t) (i64.add (call $recurse (local.get 0)) (i64.const 1)))
      (func $out (export "out") (type $t) (i64.add (call $call (local.get 0)) (i64.const 1000))))
    """

  let folder: TemporaryDirectory
  /// Whether there is a C++ compiler, and so host functions that throw.
  static let hasCXX = findTool("aarch64-linux-gnu-g++") != nil

  /// Why it cannot be made, or nil.
  static let unavailableReason: String? = {
    for tool in ["aarch64-linux-gnu-gcc", "qemu-aarch64"] where findTool(tool) == nil {
      return "\(tool) is not installed"
    }
    // The compiler may be there without its C library.
    guard let folder = try? TemporaryDirectory(),
      let source = try? folder.write("#include <unistd.h>\nint main(void) { return 0; }\n", to: "a.c"),
      let result = try? runTool("aarch64-linux-gnu-gcc", ["-static", source, "-o", folder.file("a")]),
      result.status == 0
    else { return "there is no C library for AArch64" }
    return nil
  }()

  static let hostSupport = repositoryRoot.appendingPathComponent("Sources/HostSupport").path
  static let sources = repositoryRoot.appendingPathComponent("Tests/HostSupportTests/AArch64").path

  /// The C sources of CPrecastHost.
  static var files: [String] {
    get throws {
      try FileManager.default.contentsOfDirectory(atPath: hostSupport).filter { $0.hasSuffix(".c") }.sorted()
        .map { "\(hostSupport)/\($0)" }
    }
  }

  /// What each of them is compiled with.
  static let flags = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-I\(hostSupport)/include", "-I\(hostSupport)"]

  /// The program, made once. Its folder goes with the process, for nothing else knows when the last test is over.
  static let made: Result<AArch64Host, any Error> = Result {
    let host = try AArch64Host()
    atexit {
      if let made = try? AArch64Host.made.get() { try? FileManager.default.removeItem(at: made.folder.url) }
    }
    return host
  }

  /// The arena of the program.
  static let arena = (start: UInt(0x60_0000_0000), size: 1 << 26)

  private init() throws {
    folder = try TemporaryDirectory()
    let path = folder.path
    try run("aarch64-linux-gnu-gcc", ["-c", "\(Self.sources)/code.S", "-o", "code.o"], in: path)
    try run("aarch64-linux-gnu-ld", ["-T", "\(Self.sources)/code.ld", "code.o", "-o", "code.elf"], in: path)
    try run("aarch64-linux-gnu-objcopy", ["-O", "binary", "code.elf", "code.bin"], in: path)
    var arguments = Self.flags + ["-O2", "-g", "-static", "\(Self.sources)/subject.c", "\(Self.sources)/artifact.c"]
    arguments += try ["\(Self.sources)/call.S"] + Self.files
    // (An unwinder that is loaded later is looked for by dlopen, of which the static linker warns.)
    arguments += ["-Wl,--wrap=mmap,--wrap=munmap,--wrap=mprotect", "-o", "subject"]
    if Self.hasCXX {
      try run("aarch64-linux-gnu-g++", ["-c", "-O2", "\(Self.sources)/throws.cc", "-o", "throws.o"], in: path)
      arguments += ["-DHAS_CXX", "throws.o", "-lstdc++"]
    }
    arguments.append("-lgcc_eh")
    try run("aarch64-linux-gnu-gcc", arguments, in: path)
    if let tools = findTool("wasm-tools") {
      let text = try folder.write(Self.module, to: "module.wat")
      try run(tools.path, ["parse", text, "-o", folder.file("module.wasm")])
      var settings = CompilerSettings()
      settings.architecture = .aarch64
      let wasm = WasmBinary([UInt8](try Data(contentsOf: folder.appending("module.wasm"))))
      _ = try Compiler(settings: settings).compile(wasm, toFile: folder.file(Code.compiled.rawValue))
      settings.cpuFeatures.insert(.bti)
      _ = try Compiler(settings: settings).compile(wasm, toFile: folder.file(Code.compiledWithLandingPads.rawValue))
    }
    let table = ArenaUnwindTable(architecture: .aarch64, unwinder: PRECAST_UNWINDER_LIBGCC)
    try Data(table.section(start: Self.arena.start, size: Self.arena.size)).write(
      to: folder.appending("arena.eh_frame"))
  }

  /// The code that there is.
  static let codes: [Code] = findTool("wasm-tools") == nil ? [.handWritten] : Code.allCases

  /// Runs a scenario on a processor with pages of a size; throws what it says if a check fails.
  ///
  /// Vector registers have no more than 128 bits, unless `processor` says otherwise: where they are longer, this emulator
  /// takes all of a register back from the longer record of a signal's frame, against the kernel's documentation, by which
  /// the low 128 bits come from the shorter one.
  func perform(
    _ scenario: String, _ code: Code, pageSize: Int = 4096, inArena: Bool = false, processor: String = "max,sve=off"
  ) throws -> String {
    var arguments = ["-cpu", processor, "-p", "\(pageSize)"]
    arguments += [folder.file("subject"), scenario, folder.file(code.rawValue)]
    if inArena { arguments += [folder.file("arena.eh_frame"), "\(Self.arena.start)", "\(Self.arena.size)"] }
    guard let result = try runTool("qemu-aarch64", arguments) else { throw ToolFailure(description: "no emulator") }
    guard result.status == 0 else {
      throw ToolFailure(description: "\(scenario) ended with \(result.status): \(result.text.prefix(4000))")
    }
    return result.outputText
  }
}
