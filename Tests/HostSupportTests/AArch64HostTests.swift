// The loader's parts that only AArch64 machines run: compiled, and executed in an emulator.

import Foundation
import TestSupport
import Testing

@Suite("AArch64: the C sources of the loader")
struct AArch64CompilationTests {
  @Test(
    "compile without a warning",
    .enabled(if: AArch64Host.unavailableReason == nil, "needs a C compiler and library for AArch64"),
    arguments: ["-O0", "-O2"])
  func compile(level: String) throws {
    let folder = try TemporaryDirectory()
    let files = try AArch64Host.files
    #expect(files.count > 15)
    try run("aarch64-linux-gnu-gcc", ["-c", level] + AArch64Host.flags + files, in: folder.path)
    #expect(folder.contents.count == files.count)
  }

  @Test(
    "compile without a warning by clang",
    .enabled(
      if: AArch64Host.unavailableReason == nil && findTool("clang-19") != nil,
      "needs clang and a C library for AArch64"))
  func compileByClang() throws {
    let folder = try TemporaryDirectory()
    try run(
      "clang-19", ["--target=aarch64-linux-gnu", "-c", "-O2"] + AArch64Host.flags + AArch64Host.files, in: folder.path)
  }
}

@Suite(
  "AArch64: entering wasm, traps and unwinding in an emulated process",
  .enabled(
    if: AArch64Host.unavailableReason == nil, "needs qemu-aarch64, and a C compiler and library for AArch64"))
struct AArch64HostTests {
  static let pageSizes = [4096, 16384, 65536]
  typealias Code = AArch64Host.Code

  private func perform(_ scenario: String, _ code: Code, _ pageSize: Int = 4096, inArena: Bool = false) throws {
    let output = try AArch64Host.made.get().perform(scenario, code, pageSize: pageSize, inArena: inArena)
    #expect(output.hasSuffix("ok\n"), "\(output)")
  }

  @Test("the page size is the system's, and the processor's features are found", arguments: pageSizes)
  func processor(pageSize: Int) throws {
    let output = try AArch64Host.made.get().perform("processor", .handWritten, pageSize: pageSize)
    #expect(output == "page \(pageSize) features 0x7000000\nok\n")
  }

  @Test("checksums by instruction are those by table")
  func checksums() throws { try perform("checksums", .handWritten) }

  @Test("entering keeps all registers that C functions rely on", arguments: AArch64Host.codes, pageSizes)
  func call(code: Code, pageSize: Int) throws { try perform("call", code, pageSize) }

  @Test("an undefined instruction at a trap site ends the activation, with its frames", arguments: AArch64Host.codes)
  func undefined(code: Code) throws { try perform("undefined", code) }

  @Test(
    "an access beyond what is committed is a trap with its address, on each page", arguments: AArch64Host.codes,
    pageSizes)
  func fault(code: Code, pageSize: Int) throws { try perform("fault", code, pageSize) }

  @Test("traps at the end of the stack are handled on another one", arguments: AArch64Host.codes, pageSizes)
  func overflow(code: Code, pageSize: Int) throws { try perform("overflow", code, pageSize) }

  @Test("signals' frames with vector registers of 2048 bits fit", arguments: ["overflow", "undefined", "out"])
  func longVectors(scenario: String) throws {
    let output = try AArch64Host.made.get().perform(
      scenario, .handWritten, processor: "max,sve512=on,sve1024=on,sve2048=on")
    #expect(output.hasSuffix("ok\n"), "\(output)")
  }

  @Test(
    "wherever the text turns out to be lost, the activation ends and the host has its registers",
    arguments: AArch64Host.codes)
  func damaged(code: Code) throws { try perform("damaged", code) }

  @Test(
    "a file that was cut off ends wasm with a trap, and the host reads zeros", arguments: AArch64Host.codes, pageSizes)
  func lost(code: Code, pageSize: Int) throws { try perform("lost", code, pageSize) }

  @Test("host functions walk the stack, enter again, and fail", arguments: AArch64Host.codes)
  func callsOut(code: Code) throws { try perform("out", code) }

  @Test(
    "the process's unwinder goes through wasm by the module's tables, with all registers",
    arguments: AArch64Host.codes)
  func unwind(code: Code) throws { try perform("unwind", code) }

  @Test("by an arena's single entry it does as well", arguments: AArch64Host.codes, pageSizes)
  func unwindShared(code: Code, pageSize: Int) throws { try perform("unwind-shared", code, pageSize, inArena: true) }

  @Test("the end of a thread in a host function passes wasm", arguments: AArch64Host.codes, [false, true])
  func threadExit(code: Code, inArena: Bool) throws { try perform("thread-exit", code, inArena: inArena) }

  @Test(
    "an exception that would leave a host function ends the process, and others are its own",
    .enabled(if: AArch64Host.hasCXX, "needs a C++ compiler for AArch64"), arguments: AArch64Host.codes, [false, true])
  func exceptions(code: Code, inArena: Bool) throws { try perform("exceptions", code, inArena: inArena) }

  @Test("text with landing pads is guarded by the processor", arguments: AArch64Host.codes)
  func guarded(code: Code) throws { try perform("guarded", code) }

  @Test("signals that are not ours go to the earlier handler", arguments: AArch64Host.codes)
  func otherSignals(code: Code) throws { try perform("signals", code) }

  @Test("text that was copied to anonymous memory is executed", arguments: AArch64Host.codes, pageSizes)
  func anonymousText(code: Code, pageSize: Int) throws { try perform("anonymous", code, pageSize) }
}
