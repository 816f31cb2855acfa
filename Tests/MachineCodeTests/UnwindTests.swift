/// Unwind tables, as binutils and elfutils read them.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

/// An ELF object with `textSize` bytes of text at 0 and `section` as `.eh_frame` right after it.
private func makeObject(_ section: [UInt8], textSize: Int, in directory: TemporaryDirectory) throws -> String {
  try Data(section).write(to: URL(fileURLWithPath: directory.file("eh_frame.bin")))
  let source = """
    .text
    .zero \(textSize)
    .section .eh_frame, "a", @progbits
    .incbin "\(directory.file("eh_frame.bin"))"

    """
  try source.write(toFile: directory.file("a.s"), atomically: false, encoding: .utf8)
  try run("as", ["--64", "-o", directory.file("a.o"), directory.file("a.s")])
  // An object's sections all start at 0; put this one where it belongs.
  try run(
    "objcopy",
    [
      "--set-section-flags", ".eh_frame=alloc,readonly", "--change-section-address", ".eh_frame=\(textSize)",
      directory.file("a.o"), directory.file("b.o"),
    ])
  return directory.file("b.o")
}

private func squeezed(_ text: String) -> [String] {
  text.split(separator: "\n").map { $0.split { $0 == " " || $0 == "\t" }.joined(separator: " ") }
    .filter { !$0.isEmpty }
}

/// What `readelf --debug-dump=frames-interp` says, without its heading.
private func frames(_ section: [UInt8], textSize: Int) throws -> [String] {
  let directory = try TemporaryDirectory()
  let object = try makeObject(section, textSize: textSize, in: directory)
  return Array(squeezed(try run("readelf", ["--debug-dump=frames-interp", object])).dropFirst())
}

private let isElfutilsInstalled = (try? run("eu-readelf", ["--version"])) != nil

@Suite struct UnwindTests {
  static let cie = [
    "00000000 0000000000000014 00000000 CIE \"zR\" cf=1 df=-8 ra=16", "LOC CFA ra", "0000000000000000 rsp+8 c-8",
  ]

  @Test func standardFramesHoldAtEveryInstruction() throws {
    var builder = UnwindBuilder(textSize: 0x1000)
    // Two returns, counted from a chunk in which the function starts at 0x5000.
    let returns: [UInt32] = [0x500A, 0x5028]
    builder.add(textOffset: 0, size: 41, returns: returns.span, base: 0x5000)
    builder.add(textOffset: 0x30, size: 100)
    builder.addFrameless(textOffset: 0x200, size: 24)
    let section = builder.finish().array
    #expect(
      try frames(section, textSize: 0x1000) == Self.cie + [
        "00000018 0000000000000024 0000001c FDE cie=00000000 pc=0000000000000000..0000000000000029",
        "LOC CFA rbp ra",
        "0000000000000000 rsp+8 u c-8",  // push rbp
        "0000000000000001 rsp+16 c-16 c-8",  // mov rbp, rsp
        "0000000000000004 rbp+16 c-16 c-8",
        "000000000000000a rsp+8 u c-8",  // ret in the middle
        "000000000000000b rbp+16 c-16 c-8",
        "0000000000000028 rsp+8 u c-8",  // ret at the end
        "00000040 000000000000001c 00000044 FDE cie=00000000 pc=0000000000000030..0000000000000094",
        "LOC CFA rbp ra",
        "0000000000000030 rsp+8 u c-8",
        "0000000000000031 rsp+16 c-16 c-8",
        "0000000000000034 rbp+16 c-16 c-8",
        "0000000000000093 rsp+8 u c-8",
        "00000060 0000000000000010 00000064 FDE cie=00000000 pc=0000000000000200..0000000000000218",
        "00000074 ZERO terminator",
      ])
  }

  @Test func trampolinesSaveRegisters() throws {
    var builder = UnwindBuilder(textSize: 0x1000)
    builder.addTrampoline(
      textOffset: 0x100, size: 80, returns: [60],
      savedRegisters: [
        SavedRegister(codeOffset: 5, dwarfRegister: Register.rbx.dwarfNumber, cfaOffset: -24),
        SavedRegister(codeOffset: 7, dwarfRegister: Register.r12.dwarfNumber, cfaOffset: -32),
      ], stackPointerRanges: [StackPointerRange(start: 64, end: 70, cfaOffset: 64)])
    let section = builder.finish().array
    #expect(
      try frames(section, textSize: 0x1000) == Self.cie + [
        "00000018 000000000000002c 0000001c FDE cie=00000000 pc=0000000000000100..0000000000000150",
        "LOC CFA rbx rbp r12 ra",
        "0000000000000100 rsp+8 u u u c-8",
        "0000000000000101 rsp+16 u c-16 u c-8",
        "0000000000000104 rbp+16 u c-16 u c-8",
        "0000000000000105 rbp+16 c-24 c-16 u c-8",
        "0000000000000107 rbp+16 c-24 c-16 c-32 c-8",
        "000000000000013c rsp+8 u u u c-8",
        "000000000000013d rbp+16 c-24 c-16 c-32 c-8",
        "0000000000000140 rsp+64 c-24 c-16 c-32 c-8",
        "0000000000000146 rbp+16 c-24 c-16 c-32 c-8",
        "00000048 ZERO terminator",
      ])
  }

  @Test func advancesOfEveryLength() throws {
    var builder = UnwindBuilder(textSize: 0x100000)
    let offsets: [UInt32] = [0x43, 0x84, 0x183, 0x284, 0x1_0283, 0x2_0285, 0x2_0286]
    builder.add(textOffset: 0x10, size: 0x2_0287, returns: offsets.span)
    let section = builder.finish().array
    let rows = try frames(section, textSize: 0x100000).filter { $0.hasSuffix("rsp+8 u c-8") }
    #expect(
      rows.map { Int($0.prefix(16), radix: 16)! } == [0x10] + offsets.map { Int($0) + 0x10 })
  }

  @Test func widePointersReachFarther() throws {
    var builder = UnwindBuilder(textSize: 0x1000, isWide: true)
    builder.add(textOffset: 0x20, size: 0x30)
    let section = builder.finish().array
    #expect(
      try frames(section, textSize: 0x1000) == Self.cie + [
        "00000018 0000000000000024 0000001c FDE cie=00000000 pc=0000000000000020..0000000000000050",
        "LOC CFA rbp ra",
        "0000000000000020 rsp+8 u c-8",
        "0000000000000021 rsp+16 c-16 c-8",
        "0000000000000024 rbp+16 c-16 c-8",
        "000000000000004f rsp+8 u c-8",
        "00000040 ZERO terminator",
      ])
    // Taken without asking where 32 bits do not reach. (CIE: the encoding is its 17th byte.)
    #expect(UnwindBuilder(textSize: 0x7FFF_0000).finish()[16] == 0x1C)
    #expect(UnwindBuilder(textSize: 0x1000_0000).finish()[16] == 0x1B)
  }

  @Test(.enabled(if: isElfutilsInstalled, "elfutils is not installed")) func elfutilsAgrees() throws {
    var builder = UnwindBuilder(textSize: 0x1000)
    let returns: [UInt32] = [10, 40]
    builder.add(textOffset: 0x40, size: 41, returns: returns.span)
    let directory = try TemporaryDirectory()
    let object = try makeObject(builder.finish().array, textSize: 0x1000, in: directory)
    let lines = squeezed(try run("eu-readelf", ["--debug-dump=frames", object]))
    let program = lines.drop { !$0.contains("FDE length") }.drop { $0 != "Program:" }.dropFirst().prefix { $0 != "nop" }
    #expect(lines.contains("initial_location: .text+0x0000000000000040 (offset: 0x80)"))
    #expect(
      Array(program) == [
        "advance_loc 1 to 0x81", "def_cfa_offset 16", "offset r6 (rbp) at cfa-16", "advance_loc 3 to 0x84",
        "def_cfa_register r6 (rbp)", "advance_loc 6 to 0x8a", "remember_state", "restore r6 (rbp)",
        "def_cfa r7 (rsp) at offset 8", "advance_loc 1 to 0x8b", "restore_state", "advance_loc 29 to 0xa8",
        "restore r6 (rbp)", "def_cfa r7 (rsp) at offset 8",
      ])
  }
}
