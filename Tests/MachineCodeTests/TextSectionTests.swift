/// The text section: every call arrives, no branch exceeds its reach, no island without need.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct TextSectionTests {
  struct Layout {
    var text: [UInt8]
    var offsets: [Int]
    var islands: [TextSectionBuilder.Island]
    var veneers: Int
    var direct = 0
    var indirect = 0
  }

  // Lays out `plan` and follows every call to its end.
  @discardableResult
  func check(_ plan: TextPlan, _ options: TextSectionOptions, perChunk: Int = 8) throws -> Layout {
    var builder = plan.makeBuilder(options: options, perChunk: perChunk)
    try builder.finish(endAlignment: 256)
    let text = try assemble(builder)
    #expect(text.count % 256 == 0)
    let offsets = plan.functions.indices.map { builder.functionOffset($0) }
    let islands = (0..<builder.islandCount).map { builder.island($0) }
    let veneers = builder.veneerCount
    for i in plan.functions.indices { expect(builder.offset(ofSymbol: plan.symbol(i)) == offsets[i]) }
    var layout = Layout(text: text, offsets: offsets, islands: islands, veneers: veneers)

    let reach = options.testing.reach ?? (plan.architecture == .x86_64 ? 1 << 31 : 1 << 27)
    var used: Set<Int> = []
    // What is neither function nor island.
    var gaps = text
    for (i, function) in plan.functions.enumerated() {
      let start = offsets[i]
      #expect(start % options.alignment == 0)
      for call in function.calls {
        let place = start + call.offset
        let end = plan.architecture == .x86_64 ? place + 5 : place
        let target = try #require(callTarget(text, place, plan.architecture), "call at \(place)")
        #expect(target - end >= -reach && target - end < reach)
        if target == offsets[call.target] {
          layout.direct += 1
        } else {
          layout.indirect += 1
          used.insert(target)
          #expect(islands.contains { target >= $0.textOffset && target < $0.textOffset + $0.size })
          #expect(veneerTarget(text, target, plan.architecture) == offsets[call.target])
          let distance = offsets[call.target] - end
          #expect(options.testing.forceVeneers || distance < -reach || distance >= reach, "the call could go directly")
        }
      }
      // Nothing but the calls has changed.
      for j in 0..<function.size where !function.calls.contains(where: { ($0.offset..<$0.offset + 5).contains(j) }) {
        if text[start + j] != 0x90 { Issue.record("byte \(j) of function \(i) has changed") }
      }
      for j in start..<start + function.size { gaps[j] = 0 }
    }
    for island in islands { for j in island.textOffset..<island.textOffset + island.size { gaps[j] = 0 } }
    #expect(used.count <= veneers)
    let filler: Set<UInt8> = plan.architecture == .x86_64 ? [0, 0xCC, 0xEE] : [0, 0x20, 0xD4, 0xEE]
    #expect(gaps.allSatisfy(filler.contains))
    return layout
  }

  @Test(arguments: Architecture.allCases) func nearTextsHaveNoIslands(_ architecture: Architecture) throws {
    var random = Random(seed: 2)
    for _ in 0..<10 {
      let plan = TextPlan(
        architecture: architecture, count: 200, size: 300, spacing: 30, distance: 200, using: &random)
      let layout = try check(plan, TextSectionOptions())
      #expect(layout.islands.isEmpty && layout.veneers == 0 && layout.indirect == 0)
      // Function after function, and nothing else.
      var end = 0
      for (offset, function) in zip(layout.offsets, plan.functions) {
        #expect(offset == (end + 15) & ~15)
        end = offset + function.size
      }
    }
  }

  @Test(arguments: Architecture.allCases) func randomTextsUnderNarrowReach(_ architecture: Architecture) throws {
    var random = Random(seed: 3)
    var islands = 0
    for _ in 0..<60 {
      var options = TextSectionOptions()
      options.testing.reach = Int.random(in: 2048...16384, using: &random) & ~3
      options.testing.padding = Bool.random(using: &random) ? 0 : Int.random(in: 0...200, using: &random) & ~3
      let plan = TextPlan(
        architecture: architecture, count: Int.random(in: 1...400, using: &random), size: 200,
        spacing: Int.random(in: 20...200, using: &random), distance: Int.random(in: 1...100, using: &random),
        using: &random)
      islands += try check(plan, options).islands.count
    }
    #expect(islands > 100, "the tests have exercised islands")
  }

  @Test(arguments: Architecture.allCases) func forcedVeneersTakeEveryCall(_ architecture: Architecture) throws {
    var random = Random(seed: 4)
    for reach in [nil, 8192] {
      var options = TextSectionOptions()
      options.testing.forceVeneers = true
      options.testing.reach = reach
      let plan = TextPlan(
        architecture: architecture, count: 100, size: 200, spacing: 40, distance: 20, using: &random)
      let layout = try check(plan, options)
      #expect(layout.direct == 0 && layout.indirect > 100)
    }
  }

  // A reach at which the text just fits has no island, although it is as large as the reach; one
  // byte less has one.
  @Test(arguments: Architecture.allCases) func islandsBeginWhereReachEnds(_ architecture: Architecture) throws {
    var functions = [PlannedFunction(size: 16, calls: [PlannedCall(offset: 0, target: 9)])]
    for _ in 0..<8 { functions.append(PlannedFunction(size: 1024, calls: [])) }
    functions.append(PlannedFunction(size: 16, calls: [PlannedCall(offset: 0, target: 0)]))
    let plan = TextPlan(architecture: architecture, functions: functions)
    let forwards = 16 + 8 * 1024 - (architecture == .x86_64 ? 5 : 0)
    let backwards = 16 + 8 * 1024 + (architecture == .x86_64 ? 5 : 0)
    var options = TextSectionOptions()
    options.testing.reach = max(forwards + 1, backwards)
    #expect(try check(plan, options).islands.isEmpty)
    options.testing.reach = backwards - 1
    #expect(try check(plan, options).indirect >= 1)
    options.testing.reach = forwards
    #expect(try check(plan, options).indirect == 2)
  }

  // Many callers of one far function, all within reach of one island: one veneer.
  @Test(arguments: Architecture.allCases) func veneersAreShared(_ architecture: Architecture) throws {
    var functions: [PlannedFunction] = []
    for _ in 0..<50 { functions.append(PlannedFunction(size: 32, calls: [PlannedCall(offset: 8, target: 80)])) }
    for _ in 50..<80 { functions.append(PlannedFunction(size: 1024, calls: [])) }
    functions.append(PlannedFunction(size: 32, calls: []))
    var options = TextSectionOptions()
    options.testing.reach = 4096
    let layout = try check(TextPlan(architecture: architecture, functions: functions), options)
    #expect(layout.veneers == 1 && layout.indirect == 50)
  }

  @Test func layoutDoesNotDependOnChunks() throws {
    var random = Random(seed: 5)
    let plan = TextPlan(architecture: .x86_64, count: 300, size: 200, spacing: 40, distance: 80, using: &random)
    for reach in [nil, 6000] {
      var options = TextSectionOptions()
      options.testing.reach = reach
      let layouts = try [1, 7, 300].map { try check(plan, options, perChunk: $0) }
      for layout in layouts.dropFirst() {
        #expect(layout.offsets == layouts[0].offsets && layout.islands == layouts[0].islands)
        // Only the filler between functions of one chunk comes from the chunk.
        #expect(zip(layout.text, layouts[0].text).allSatisfy { $0 == $1 || $0 == 0xEE || $1 == 0xEE })
      }
    }
  }

  @Test func functionsThatStandTogetherAreOnePiece() throws {
    var random = Random(seed: 6)
    let plan = TextPlan(architecture: .x86_64, count: 100, size: 200, spacing: 40, distance: 80, using: &random)
    var builder = plan.makeBuilder(options: TextSectionOptions(), perChunk: 50)
    try builder.finish()
    // Two chunks, with a gap between them unless the first happens to end aligned.
    expect(builder.pieceCount <= 3)
  }

  @Test func errorsNameWhatIsWrong() {
    func error(_ plan: TextPlan, _ change: (inout TextSectionBuilder) -> Void = { _ in }, reach: Int? = nil)
      -> TextSectionError?
    {
      var options = TextSectionOptions()
      options.testing.reach = reach
      var builder = plan.makeBuilder(options: options, perChunk: 8)
      change(&builder)
      do throws(TextSectionError) {
        try builder.finish()
        return nil
      } catch {
        return error
      }
    }
    let plan = TextPlan(
      architecture: .x86_64, functions: [PlannedFunction(size: 16, calls: [PlannedCall(offset: 0, target: 0)])])
    #expect(error(plan) == nil)
    func chunk(_ relocation: Relocation) -> CodeChunk {
      var code = CodeBuffer()
      code.put(repeating: 0x90, count: 64)
      var relocations = FlatBuffer<Relocation>()
      relocations.append(relocation)
      return CodeChunk(code: code, relocations: relocations)
    }
    func add(_ symbol: UInt32, _ relocation: Relocation) -> (inout TextSectionBuilder) -> Void {
      { $0.add(symbol: symbol, chunk: chunk(relocation), offset: 16, size: 16, relocations: 0..<1) }
    }
    let good = Relocation(offset: 17, kind: .x86_64PLT32, symbol: 0, addend: -4)
    #expect(error(plan, add(5, good)) == nil)
    #expect(error(plan, add(0, good)) == .duplicateSymbol(0))
    var bad = good
    bad.symbol = 77
    #expect(error(plan, add(5, bad)) == .undefinedSymbol(77, TextPlace(function: 1, offset: 1, textOffset: 17)))
    #expect(
      error(plan, add(5, bad), reach: 16) == .undefinedSymbol(77, TextPlace(function: 1, offset: 1, textOffset: 17)))
    for offset in [0, 15, 29, 32, .max] as [UInt32] {
      bad = good
      bad.offset = offset
      #expect(
        error(plan, add(5, bad))
          == .invalidRelocation(
            TextPlace(function: 1, offset: Int(offset &- 16), textOffset: 16 + Int(offset &- 16))))
    }
    bad = good
    bad.kind = .aarch64Call26
    #expect(error(plan, add(5, bad)) == .invalidRelocation(TextPlace(function: 1, offset: 1, textOffset: 17)))
    // A function so large that its end cannot be reached from its start.
    let large = TextPlan(
      architecture: .x86_64,
      functions: [
        PlannedFunction(size: 4096, calls: [PlannedCall(offset: 0, target: 1)]), PlannedFunction(size: 16, calls: []),
      ])
    #expect(
      error(large, reach: 1024)
        == .outOfReach(0, TextPlace(function: 0, offset: 1, textOffset: 1), distance: 4096 + 32 - 5))
  }

  // What objdump makes of a veneer: the very instructions, and data after them.
  @Test func veneersDisassemble() throws {
    let functions = [
      PlannedFunction(size: 16, calls: [PlannedCall(offset: 0, target: 1)]), PlannedFunction(size: 16, calls: []),
    ]
    var options = TextSectionOptions()
    options.testing.forceVeneers = true
    for (convention, names) in [(CallingConvention.wasm, "rax"), (.platform, "r11")] {
      var builder = TextPlan(architecture: .x86_64, functions: functions).makeBuilder(
        options: options, perChunk: 1, convention: convention)
      try builder.finish()
      let text = try assemble(builder)
      let island = builder.island(0)
      let directory = try TemporaryDirectory()
      try Data(text).write(to: URL(fileURLWithPath: directory.file("a.bin")))
      let listing = try run(
        "objdump",
        [
          "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--no-show-raw-insn",
          "--start-address=\(island.textOffset)", directory.file("a.bin"),
        ])
      let instructions = listing.split(separator: "\n").compactMap { line -> String? in
        guard let tab = line.firstIndex(of: "\t") else { return nil }
        return line[line.index(after: tab)...].split { $0 == " " || $0 == "\t" }.joined(separator: " ")
      }
      let cell = String(island.textOffset + 16, radix: 16)
      #expect(
        Array(instructions.prefix(3)) == [
          "lea \(names),[rip+0x9] # 0x\(cell)", "add \(names),QWORD PTR [\(names)]", "jmp \(names)",
        ])
    }
  }

  // Code that runs: each function calls the next through a veneer and adds its number.
  @Test func veneersExecute() throws {
    #if arch(x86_64)
      var options = TextSectionOptions()
      options.testing.forceVeneers = true
      options.testing.padding = 4096
      var builder = TextSectionBuilder(architecture: .x86_64, options: options)
      for i in 0..<100 {
        var assembler = X86_64Assembler()
        assembler.push(.rbp)
        if i < 99 {
          assembler.callRelocated(UInt32(i + 1))
        } else {
          assembler.mov(.b32, dst: .rax, immediate: 0)
        }
        assembler.alu(.add, .b32, dst: .rax, immediate: Int32(i))
        assembler.pop(.rbp)
        assembler.ret()
        let size = assembler.code.count
        let relocations = assembler.relocations.count
        builder.add(
          symbol: UInt32(i), chunk: assembler.takeChunk(), offset: 0, size: size, relocations: 0..<relocations)
      }
      try builder.finish(endAlignment: 4096)
      let text = try assemble(builder)
      let start = builder.functionOffset(0)
      let memory = unsafe mmap(nil, text.count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
      defer { unsafe munmap(memory, text.count) }
      unsafe text.withUnsafeBytes { unsafe memory.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
      #expect(unsafe mprotect(memory, text.count, PROT_READ | PROT_EXEC) == 0)
      let function = unsafe unsafeBitCast(memory + start, to: (@convention(c) () -> Int32).self)
      #expect(function() == 99 * 100 / 2)
    #endif
  }
}
