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

  private func perform(_ scenario: String, _ pageSize: Int, inArena: Bool = false) throws {
    let output = try AArch64Host.made.get().perform(scenario, pageSize: pageSize, inArena: inArena)
    #expect(output.hasSuffix("ok\n"), "\(output)")
  }

  @Test("the page size is the system's, and the processor's features are found", arguments: pageSizes)
  func processor(pageSize: Int) throws {
    let output = try AArch64Host.made.get().perform("processor", pageSize: pageSize)
    #expect(output == "page \(pageSize) features 0x7000000\nok\n")
  }

  @Test("checksums by instruction are those by table")
  func checksums() throws { try perform("checksums", 4096) }

  @Test("entering keeps all registers that C functions rely on", arguments: pageSizes)
  func call(pageSize: Int) throws { try perform("call", pageSize) }

  @Test("an undefined instruction at a trap site ends the activation, with its frames", arguments: pageSizes)
  func undefined(pageSize: Int) throws { try perform("undefined", pageSize) }

  @Test("an access beyond what is committed is a trap with its address, on each page", arguments: pageSizes)
  func fault(pageSize: Int) throws { try perform("fault", pageSize) }

  @Test("traps at the end of the stack are handled on another one", arguments: pageSizes)
  func overflow(pageSize: Int) throws { try perform("overflow", pageSize) }

  @Test("wherever the text turns out to be lost, the activation ends and the host has its registers")
  func damaged() throws { try perform("damaged", 4096) }

  @Test("a file that was cut off ends wasm with a trap, and the host reads zeros", arguments: pageSizes)
  func lost(pageSize: Int) throws { try perform("lost", pageSize) }

  @Test("host functions walk the stack, enter again, and fail")
  func callsOut() throws { try perform("out", 4096) }

  @Test("the process's unwinder goes through wasm by the module's tables, with all registers")
  func unwind() throws { try perform("unwind", 4096) }

  @Test("by an arena's single entry it does as well", arguments: pageSizes)
  func unwindShared(pageSize: Int) throws { try perform("unwind-shared", pageSize, inArena: true) }

  @Test("the end of a thread in a host function passes wasm", arguments: [false, true])
  func threadExit(inArena: Bool) throws { try perform("thread-exit", 4096, inArena: inArena) }

  @Test(
    "an exception that would leave a host function ends the process, and others are its own",
    .enabled(if: AArch64Host.hasCXX, "needs a C++ compiler for AArch64"), arguments: [false, true])
  func exceptions(inArena: Bool) throws { try perform("exceptions", 4096, inArena: inArena) }

  @Test("signals that are not ours go to the earlier handler")
  func otherSignals() throws { try perform("signals", 4096) }

  @Test("text that was copied to anonymous memory is executed", arguments: pageSizes)
  func anonymousText(pageSize: Int) throws { try perform("anonymous", pageSize) }
}
