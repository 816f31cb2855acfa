/// Unwind tables for AArch64, as binutils and LLVM read them beside code that an assembler made.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

private func isInstalled(_ tool: String) -> Bool { (try? run(tool, ["--version"])) != nil }

private let assembler = ["clang-19", "clang"].first(where: isInstalled)
private let readelf = "readelf"

/// Rows of `readelf --debug-dump=frames-interp` for `section` behind `textSize` bytes, without its heading.
private func frames(_ section: [UInt8], textSize: Int) throws -> [String] {
  let directory = try TemporaryDirectory()
  try Data(section).write(to: URL(fileURLWithPath: directory.file("eh_frame.bin")))
  let source = """
    .text
    .zero \(textSize)
    .section .eh_frame, "a", @progbits
    .incbin "\(directory.file("eh_frame.bin"))"

    """
  try source.write(toFile: directory.file("a.s"), atomically: false, encoding: .utf8)
  try run(
    try #require(assembler), ["--target=aarch64-linux-gnu", "-c", "-o", directory.file("a.o"), directory.file("a.s")])
  let text = try run(readelf, ["--debug-dump=frames-interp", directory.file("a.o")])
  return text.split(separator: "\n").map { $0.split { $0 == " " || $0 == "\t" }.joined(separator: " ") }
    .filter { !$0.isEmpty }.dropFirst().map { $0 }
}

/// The rows of a description: the columns, then each row with its code offset. (An object's sections all start at 0, so
/// addresses mean nothing.)
private func rows(_ lines: [String], _ function: Int) -> [String] {
  let start = lines.indices.filter { lines[$0].contains(" FDE ") }[function]
  let block = lines[(start + 1)...].prefix { !$0.contains(" FDE ") && !$0.contains("ZERO") }
  func address(_ line: String) -> UInt64 { UInt64(line.prefix { $0 != " " }, radix: 16) ?? 0 }
  let first = block.dropFirst().first.map(address) ?? 0
  return block.prefix(1) + block.dropFirst().map { String(address($0) &- first, radix: 16) + $0.drop { $0 != " " } }
}

@Suite(.enabled(if: assembler != nil, "no assembler for AArch64")) struct AArch64UnwindTests {
  /// The standard frame, with its returns in the middle and at the end: what an assembler makes of the same directives.
  @Test func standardFramesAreWhatAnAssemblerSays() throws {
    for hasLandingPads in [false, true] {
      let pad = hasLandingPads ? "bti c" : ""
      let source = """
        .text
        .cfi_sections .eh_frame
        f: .cfi_startproc
          \(pad)
          stp x29, x30, [sp, #-16]!
          .cfi_def_cfa_offset 16
          .cfi_offset x29, -16
          .cfi_offset x30, -8
          mov x29, sp
          .cfi_def_cfa_register x29
          cbz x0, 1f
          mov sp, x29
          ldp x29, x30, [sp], #16
          .cfi_remember_state
          .cfi_restore x29
          .cfi_restore x30
          .cfi_def_cfa sp, 0
          ret
          .cfi_restore_state
        1: .fill 100, 4, 0xd503201f
          mov sp, x29
          ldp x29, x30, [sp], #16
          .cfi_restore x29
          .cfi_restore x30
          .cfi_def_cfa sp, 0
          ret
        .cfi_endproc

        """
      let directory = try TemporaryDirectory()
      try source.write(toFile: directory.file("a.s"), atomically: false, encoding: .utf8)
      let object = directory.file("a.o")
      try run(
        try #require(assembler),
        ["--target=aarch64-linux-gnu", "-march=armv8.5-a", "-c", "-o", object, directory.file("a.s")])
      let theirs = try run(readelf, ["--debug-dump=frames-interp", object]).split(separator: "\n")
        .map { $0.split { $0 == " " || $0 == "\t" }.joined(separator: " ") }.filter { !$0.isEmpty }.map { $0 }

      let start: UInt32 = hasLandingPads ? 4 : 0
      let size = start + 4 * (6 + 100 + 3)
      var builder = UnwindBuilder(architecture: .aarch64, textSize: 0x1000, hasLandingPads: hasLandingPads)
      let returns: [UInt32] = [start + 20, size - 4]
      builder.add(textOffset: 0, size: size, returns: returns.span)
      let ours = try frames(builder.finish().array, textSize: 0x1000)
      #expect(rows(ours, 0) == rows(theirs, 0))
      #expect(rows(ours, 0).count == 7)
      #expect(ours.contains { $0.contains("cf=4 df=-8 ra=30") })
    }
  }

  @Test func rowsHoldAtEveryInstruction() throws {
    var builder = UnwindBuilder(architecture: .aarch64, textSize: 0x1000)
    builder.add(textOffset: 0, size: 40)
    builder.addFrameless(textOffset: 0x100, size: 12)
    let lines = try frames(builder.finish().array, textSize: 0x1000)
    #expect(
      rows(lines, 0) == [
        "LOC CFA x29 ra",
        "0 sp+0 u u",  // stp x29, x30, [sp, #-16]!
        "4 sp+16 c-16 c-8",  // mov x29, sp
        "8 x29+16 c-16 c-8",
        "24 sp+0 u u",  // ret
      ])
    #expect(lines.last == "0000003c ZERO terminator" || lines.last?.hasSuffix("ZERO terminator") == true)
  }

  /// General registers, and the low halves of vector registers, whose numbers need the long forms.
  @Test func trampolinesSaveRegisters() throws {
    var builder = UnwindBuilder(architecture: .aarch64, textSize: 0x1000)
    builder.addTrampoline(
      textOffset: 0, size: 200, returns: [120],
      savedRegisters: [
        SavedRegister(codeOffset: 12, dwarfRegister: AArch64DwarfRegister.general(19), cfaOffset: -32),
        SavedRegister(codeOffset: 12, dwarfRegister: AArch64DwarfRegister.general(28), cfaOffset: -24),
        SavedRegister(codeOffset: 16, dwarfRegister: AArch64DwarfRegister.vector(8), cfaOffset: -48),
        SavedRegister(codeOffset: 16, dwarfRegister: AArch64DwarfRegister.vector(15), cfaOffset: -40),
      ], stackPointerRanges: [StackPointerRange(start: 124, end: 132, cfaOffset: 192)])
    let lines = try frames(builder.finish().array, textSize: 0x1000)
    #expect(
      rows(lines, 0) == [
        "LOC CFA x19 x28 x29 ra v8 v15",
        "0 sp+0 u u u u u u",
        "4 sp+16 u u c-16 c-8 u u",
        "8 x29+16 u u c-16 c-8 u u",
        "c x29+16 c-32 c-24 c-16 c-8 u u",
        "10 x29+16 c-32 c-24 c-16 c-8 c-48 c-40",
        "74 x29+16 u u c-16 c-8 u u",  // mov sp, x29 has let go of the rest
        "78 sp+0 u u u u u u",
        "7c sp+192 c-32 c-24 c-16 c-8 c-48 c-40",
        "84 x29+16 c-32 c-24 c-16 c-8 c-48 c-40",
      ])
  }

  /// A trampoline may begin with a landing pad of its own.
  @Test func landingPadsOfTrampolines() throws {
    for (everywhere, own) in [(false, true), (true, false)] {
      var builder = UnwindBuilder(architecture: .aarch64, textSize: 0x1000, hasLandingPads: everywhere)
      builder.addTrampoline(textOffset: 0, size: 44, returns: [40], savedRegisters: [], hasOwnLandingPad: own)
      let lines = try frames(builder.finish().array, textSize: 0x1000)
      #expect(
        rows(lines, 0) == ["LOC CFA x29 ra", "0 sp+0 u u", "8 sp+16 c-16 c-8", "c x29+16 c-16 c-8", "28 sp+0 u u"])
    }
  }

  @Test func advancesOfEveryLength() throws {
    var builder = UnwindBuilder(architecture: .aarch64, textSize: 0x200000)
    let offsets: [UInt32] = [0x104, 0x204, 0x604, 0xA08, 0x4_0A0C, 0x8_0A14]
    builder.add(textOffset: 0, size: 0x8_0A18, returns: offsets.span)
    let lines = try frames(builder.finish().array, textSize: 0x200000)
    #expect(
      rows(lines, 0).filter { $0.hasSuffix("sp+0 u u") }.dropFirst().map { Int($0.prefix { $0 != " " }, radix: 16)! }
        == offsets.map(Int.init))
  }
}
