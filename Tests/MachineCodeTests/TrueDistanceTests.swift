/// Texts as large as those that islands are for, which run: x86-64 here, AArch64 in an emulator.
///
/// The functions are few and the distances are padding, in memory and files that have holes there.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

private let isEmulatorInstalled =
  (try? run("qemu-aarch64", ["--version"])) != nil && (try? run("aarch64-linux-gnu-gcc", ["--version"])) != nil

/// The pieces of a text that are code, functions and islands, without what lies between.
private func codePieces(_ builder: borrowing TextSectionBuilder) -> [(offset: Int, bytes: [UInt8])] {
  var starts: Set<Int> = []
  for i in 0..<builder.functionCount { starts.insert(builder.functionOffset(i)) }
  for i in 0..<builder.islandCount { starts.insert(builder.island(i).textOffset) }
  var pieces: [(offset: Int, bytes: [UInt8])] = []
  for i in 0..<builder.pieceCount where starts.contains(builder.piece(i).textOffset) {
    pieces.append((builder.piece(i).textOffset, unsafe Array(builder.piece(i).bytes)))
  }
  return pieces
}

@Suite struct TrueDistanceTests {
  // MARK: x86-64

  // Return addresses, as the unwinder saw them from the innermost function of the text.
  nonisolated(unsafe) private static var backtrace: [UInt] = []

  private typealias Context = OpaquePointer
  private typealias Visitor = @convention(c) (Context?, UnsafeMutableRawPointer?) -> Int32

  private static func unwinderFunction<T>(_ name: String, as type: T.Type) throws -> T {
    let address = unsafe try #require(dlsym(nil, name), "\(name) is in libgcc_s")
    return unsafe unsafeBitCast(address, to: type)
  }

  // A text of 4.2 GiB: calls over 2.8, 2.1 and 0.7 GiB in both directions, each from a frame that is then unwound by the
  // system's unwinder, across it all, with 64-bit distances in `.eh_frame`.
  @Test func callsCrossMoreThanTwoGigabytes() throws {
    #if arch(x86_64)
      let step = 700 << 20
      var options = TextSectionOptions()
      options.testing.padding = step
      var builder = TextSectionBuilder(architecture: .x86_64, options: options)
      // Who calls whom: distances of 5, -4, 2, -1, 2 steps.
      let next = [5, 3, 4, 2, -1, 1]
      let host: @convention(c) () -> Int32 = {
        do {
          let walk = try TrueDistanceTests.unwinderFunction(
            "_Unwind_Backtrace", as: (@convention(c) (Visitor, UnsafeMutableRawPointer?) -> Int32).self)
          TrueDistanceTests.backtrace = []
          _ = walk(
            { context, _ in
              guard let address = unsafe dlsym(nil, "_Unwind_GetIP") else { return 5 }
              let ip = unsafe unsafeBitCast(address, to: (@convention(c) (Context?) -> UInt).self)
              TrueDistanceTests.backtrace.append(ip(context))
              return 0
            }, nil)
        } catch {
          return -1
        }
        return 100
      }
      for (i, target) in next.enumerated() {
        var assembler = X86_64Assembler()
        assembler.push(.rbp)
        for byte in [0x48, 0x89, 0xE5] as [UInt8] { assembler.code.put8(byte) }
        if target >= 0 {
          assembler.callRelocated(UInt32(target))
          for byte in [0x83, 0xC0, 0x01] as [UInt8] { assembler.code.put8(byte) }  // add eax, 1
        } else {
          assembler.code.put16(0xB848)  // mov rax, host
          assembler.code.put64(UInt64(UInt(bitPattern: unsafe unsafeBitCast(host, to: OpaquePointer.self))))
          assembler.code.put16(0xD0FF)  // call rax
        }
        assembler.code.put16(0xC3C9)  // leave; ret
        let size = assembler.code.count
        let relocations = assembler.relocations.count
        builder.add(
          symbol: UInt32(i), chunk: assembler.takeChunk(), offset: 0, size: size, relocations: 0..<relocations)
      }
      try builder.finish(endAlignment: 4096)
      let size = builder.size
      #expect(size > 4 << 30)
      // 0 to 5, 5 to 1, and 1 to 3 back by less; 2 GiB are not quite three steps.
      let veneers = builder.veneerCount
      #expect(veneers == 2)

      var unwind = UnwindBuilder(textSize: size)
      for i in next.indices {
        let code = next[i] >= 0 ? 14 : 18
        unwind.add(textOffset: builder.functionOffset(i), size: UInt32(code))
      }
      for i in 0..<builder.islandCount {
        unwind.addFrameless(textOffset: builder.island(i).textOffset, size: UInt32(builder.island(i).size))
      }
      let section = unwind.finish().array
      let all = size + (section.count + 4095) & ~4095
      let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
      let memory = unsafe try #require(mmap(nil, all, PROT_READ | PROT_WRITE, flags, -1, 0))
      try #require(unsafe memory != MAP_FAILED)
      defer { unsafe munmap(memory, all) }
      for piece in codePieces(builder) + [(size, section)] {
        unsafe piece.bytes.withUnsafeBytes {
          unsafe (memory + piece.offset).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
        }
      }
      #expect(unsafe mprotect(memory, all, PROT_READ | PROT_EXEC) == 0)
      let register = try Self.unwinderFunction("__register_frame", as: (@convention(c) (UnsafeRawPointer) -> Void).self)
      let deregister = try Self.unwinderFunction(
        "__deregister_frame", as: (@convention(c) (UnsafeRawPointer) -> Void).self)
      unsafe register(memory + size)
      let function = unsafe unsafeBitCast(memory + builder.functionOffset(0), to: (@convention(c) () -> Int32).self)
      let result = function()
      unsafe deregister(memory + size)
      #expect(result == 105)

      // Innermost first: 4, 2, 3, 1, 5, 0; each return address is in its function.
      let base = UInt(bitPattern: memory)
      let offsets = next.indices.map { UInt(builder.functionOffset($0)) }
      let inText = Self.backtrace.filter { $0 >= base && $0 < base + UInt(size) }.map { $0 - base }
      let functions = inText.map { place in offsets.firstIndex { place >= $0 && place <= $0 + 18 } }
      #expect(functions == [4, 2, 3, 1, 5, 0])
      // And the walk went on into who called the text.
      #expect((Self.backtrace.last ?? 0) < base || (Self.backtrace.last ?? 0) >= base + UInt(size))
    #endif
  }

  // MARK: AArch64

  // Functions that call one another (also with conditional branches, in assembly), one of them static: its compiler knows
  // that it is only called directly, and leaves out the landing pad.
  static let source = """
    #define SECTION __attribute__((noinline, noclone))
    int f0(int), f1(int), f2(int), f3(int), h(int);
    static SECTION int leaf(int n) { return n * 7 + 1; }
    SECTION int f0(int n) { return n <= 0 ? 1 : f3(n - 1) * 3 + f1(n - 1); }
    SECTION int f1(int n) { return n <= 0 ? 2 : f2(n - 1) + 5 * h(n - 2); }
    SECTION int f2(int n) { return n <= 0 ? leaf(n) : f3(n - 1) + 2; }
    SECTION int f3(int n) { return n <= 0 ? 3 : f0(n - 1) + f1(n - 1) + leaf(n); }
    SECTION int f4(int n) { return n & 1 ? f0(n) : h(n); }
    asm(".section .text.h, \\"ax\\", %progbits\\n"
        ".global h\\n.type h, %function\\nh: bti c\\n"
        "cmp w0, #3\\nb.eq f0\\ncbz w0, f1\\ntbz w0, #1, f2\\ntbnz w0, #31, f1\\nb f3\\n.size h, .-h\\n");
    """

  // Prints what functions give: those at the offsets named in the text in the file, or those linked with it.
  static let host = """
    #include <fcntl.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    extern int f0(int), f1(int), f2(int), f3(int), f4(int), h(int);
    typedef int function(int);
    int main(int argc, char **argv) {
      function *linked[] = {f0, f1, f2, f3, f4, h};
      char *text = 0;
      if (argc > 2) {
        int file = open(argv[1], O_RDONLY);
        text = mmap(0, strtoul(argv[2], 0, 10), PROT_READ | PROT_EXEC | 0x10 /* PROT_BTI */, MAP_PRIVATE, file, 0);
        if (text == MAP_FAILED) return perror("mmap"), 3;
      }
      for (int i = 0; i < 6; i++)
        for (int n = 0; n < 10; n++) {
          function *f = text ? (function *)(text + strtoul(argv[3 + i], 0, 10)) : linked[i];
          printf("%d ", f(n));
        }
      return 0;
    }
    """

  // A section of the object: its name's part behind `.text.`, its code, and its relocations.
  private struct Section {
    var name: String
    var code: [UInt8]
    var relocations: [(offset: Int, kind: RelocationKind, symbol: String, addend: Int32)] = []
  }

  private func sections(of object: String, in directory: TemporaryDirectory) throws -> [Section] {
    let kinds: [String: RelocationKind] = [
      "R_AARCH64_CALL26": .aarch64Call26, "R_AARCH64_JUMP26": .aarch64Jump26,
      "R_AARCH64_CONDBR19": .aarch64CondBr19, "R_AARCH64_TSTBR14": .aarch64TstBr14,
    ]
    var sections: [Section] = []
    for name in ["leaf", "f0", "f1", "f2", "f3", "f4", "h"] {
      let file = directory.file("\(name).bin")
      try run("aarch64-linux-gnu-objcopy", ["-O", "binary", "-j", ".text.\(name)", object, file])
      sections.append(Section(name: name, code: Array(try Data(contentsOf: URL(fileURLWithPath: file)))))
    }
    var current: Int?
    for line in try run("aarch64-linux-gnu-readelf", ["-rW", object]).split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      if line.hasPrefix("Relocation section") {
        current = sections.firstIndex { "'.rela.text.\($0.name)'" == words[2] }
      } else if let current, words.count >= 5, let offset = Int(words[0], radix: 16), words[2].hasPrefix("R_") {
        let kind = try #require(kinds[words[2]], "\(words[2])")
        let addend = words.count > 6 ? Int32(words[6], radix: 16) ?? 0 : 0
        let symbol = words[4].hasPrefix(".text.") ? String(words[4].dropFirst(6)) : words[4]
        sections[current].relocations.append((offset, kind, symbol, addend))
      }
    }
    return sections
  }

  // A text of 420 MiB from a compiler's object, with branches of all reaches across it, in an emulator that enforces branch
  // target identification.
  @Test(.enabled(if: isEmulatorInstalled)) func compiledFunctionsCallAcrossMoreThan128Megabytes() throws {
    let directory = try TemporaryDirectory()
    let (source, object) = (directory.file("a.c"), directory.file("a.o"))
    try Self.source.write(toFile: source, atomically: false, encoding: .utf8)
    try Self.host.write(toFile: directory.file("host.c"), atomically: false, encoding: .utf8)
    let options = ["-O2", "-mbranch-protection=standard", "-ffunction-sections"]
    try run("aarch64-linux-gnu-gcc", options + ["-c", "-o", object, source])
    try run(
      "aarch64-linux-gnu-gcc", ["-O1", "-static", "-o", directory.file("host"), directory.file("host.c"), object])
    let expected = try run("qemu-aarch64", ["-cpu", "max", directory.file("host")])
    #expect(expected.split(separator: " ").count == 60)
    let sections = try sections(of: object, in: directory)
    let found = Set(sections.flatMap { $0.relocations.map(\.kind) })
    #expect(found == [.aarch64Call26, .aarch64Jump26, .aarch64CondBr19, .aarch64TstBr14])
    let symbols = Dictionary(uniqueKeysWithValues: sections.enumerated().map { ($1.name, UInt32($0)) })

    for isGuarded in [true, false] {
      var options = TextSectionOptions()
      options.testing.padding = 60 << 20
      options.branchTargetIdentification = isGuarded
      var builder = TextSectionBuilder(architecture: .aarch64, options: options)
      for section in sections {
        var code = CodeBuffer()
        for byte in section.code { code.put8(byte) }
        var relocations = FlatBuffer<Relocation>()
        for relocation in section.relocations {
          relocations.append(
            Relocation(
              offset: UInt32(relocation.offset), kind: relocation.kind,
              symbol: try #require(symbols[relocation.symbol], "\(relocation.symbol)"), addend: relocation.addend))
        }
        let symbol = try #require(symbols[section.name])
        builder.add(
          symbol: symbol, chunk: CodeChunk(code: code, relocations: relocations), offset: 0, size: section.code.count,
          relocations: 0..<section.relocations.count, alignment: 4, convention: .platform)
      }
      try builder.finish(endAlignment: 4096)
      let size = builder.size
      let veneers = builder.veneerCount
      #expect(size > 400 << 20 && veneers >= 5)

      let file = directory.file("text")
      _ = FileManager.default.createFile(atPath: file, contents: nil)
      let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: file))
      try handle.truncate(atOffset: UInt64(size))
      for piece in codePieces(builder) {
        try handle.seek(toOffset: UInt64(piece.offset))
        try handle.write(contentsOf: Data(piece.bytes))
      }
      try handle.close()
      let offsets = ["f0", "f1", "f2", "f3", "f4", "h"].map { name in
        String(symbols[name].flatMap { builder.offset(ofSymbol: $0) } ?? -1)
      }
      let arguments = ["-cpu", "max", directory.file("host"), file, String(size)] + offsets
      if isGuarded {
        #expect(try run("qemu-aarch64", arguments) == expected)
      } else {
        // The emulator does enforce it: with `br` alone, the function without a landing pad cannot be entered.
        #expect(throws: ToolFailure.self) { try run("qemu-aarch64", arguments) }
      }
    }
  }
}
