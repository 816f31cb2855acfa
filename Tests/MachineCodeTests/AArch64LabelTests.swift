/// Labels, branches and islands of AArch64, checked against what objdump reads.
///
/// The property: follow each branch as the processor would, through jumps that nothing was asked to emit,
/// and it ends at its label; fall through from any instruction, and the next one that was asked for comes.
/// Each instruction that is not a branch is a `movz` with a number of its own, so that both can be seen.
import PrecastMachineCode
import TestSupport
import Testing

/// A program of branches and markers, and what it must do.
private struct BranchProgram: ~Copyable {
  enum Step {
    /// `movz` with this number.
    case marker(Int)
    /// A branch to a label; unconditional ones end a path.
    case branch(label: Int, isConditional: Bool)
  }

  var assembler: AArch64Assembler
  var steps: [Step] = []
  /// Where each step's code ends.
  var ends: [Int] = []
  var labels: [Label] = []
  private var markers = 0

  init(labels count: Int, reach19: Int = 0xF_FFFC, reach14: Int = 0x7FFC) {
    assembler = AArch64Assembler(capacity: 64, reach19: reach19, reach14: reach14)
    for _ in 0..<count { labels.append(assembler.makeLabel()) }
  }

  mutating func marker() {
    assembler.movz(.b32, .x0, UInt16(truncatingIfNeeded: markers))
    steps.append(.marker(markers & 0xFFFF))
    ends.append(assembler.code.count)
    markers += 1
  }

  mutating func bind(_ label: Int) {
    assembler.bind(labels[label])
  }

  mutating func branch(_ kind: Int, _ label: Int) {
    let target = labels[label]
    switch kind {
    case 0: assembler.b(target)
    case 1: assembler.b(AArch64Condition.allCases[steps.count % 14], target)
    case 2: assembler.cbz(.b32, .x1, target)
    case 3: assembler.cbnz(.b64, .x2, target)
    case 4: assembler.tbz(.x3, bit: UInt8(steps.count & 63), target)
    default: assembler.tbnz(.x4, bit: UInt8(steps.count & 63), target)
    }
    steps.append(.branch(label: label, isConditional: kind != 0))
    ends.append(assembler.code.count)
  }

  /// Reads the code with objdump and compares. Returns the number of jumps that nothing asked for.
  func check(_ location: SourceLocation = #_sourceLocation) throws -> Int {
    let code = try AArch64Tools.disassemble(assembler.code.array)
    let inverse = [
      "cbz": "cbnz", "cbnz": "cbz", "tbz": "tbnz", "tbnz": "tbz", "b.eq": "b.ne", "b.ne": "b.eq", "b.cs": "b.cc",
      "b.cc": "b.cs", "b.mi": "b.pl", "b.pl": "b.mi", "b.vs": "b.vc", "b.vc": "b.vs", "b.hi": "b.ls", "b.ls": "b.hi",
      "b.ge": "b.lt", "b.lt": "b.ge", "b.gt": "b.le", "b.le": "b.gt",
    ]
    func expect(_ condition: Bool, _ index: Int) {
      #expect(condition, "step \(index), \(steps[index])", sourceLocation: location)
    }
    var extra = 0
    var at = 0
    for (index, step) in steps.enumerated() {
      var start = ends[index] / 4 - 1
      if case .branch(_, true) = step, start > at, code[start].mnemonic == "b",
        inverse[code[start - 1].mnemonic] != nil,
        start - 1 == at || code[at].target == (start - 1) * 4
      {
        // The opposite over a `b`.
        start -= 1
        expect(code[start].target == ends[index], index)
        extra += 1
      }
      if start > at {
        // An island: a `b` over `b`s.
        expect(code[at..<start].allSatisfy { $0.mnemonic == "b" } && code[at].target == start * 4, index)
        extra += start - at - 1
      }
      switch step {
      case .marker(let number):
        expect(code[start].mnemonic == "mov" && code[start].operands[1] == "#0x" + String(number, radix: 16), index)
      case .branch(let label, let isConditional):
        let last = code[ends[index] / 4 - 1]
        expect(isConditional == (inverse[code[start].mnemonic] != nil), index)
        expect(leads(code, last.target ?? -1, to: label), index)
      }
      at = ends[index] / 4
    }
    #expect(at == code.count, sourceLocation: location)
    return extra
  }

  // Whether control that comes to `offset` comes to the label, with nothing but jumps between.
  private func leads(_ code: [DisassembledInstruction], _ offset: Int, to label: Int) -> Bool {
    guard let expected = assembler.offset(of: labels[label]) else { return false }
    var at = offset
    for _ in 0..<4 {
      if at == Int(expected) { return true }
      guard at >= 0, at / 4 < code.count, code[at / 4].mnemonic == "b", let target = code[at / 4].target else {
        return false
      }
      at = target
    }
    return false
  }
}

@Suite struct AArch64LabelTests {
  @Test func randomBranchesGoToTheirLabels() throws {
    var random = Random(seed: 1)
    var islands = 0
    for round in 0..<30 {
      // From reaches that every branch passes to those that few do.
      let reach19 = [64, 128, 256, 1024, 4096, 0xF_FFFC][round % 6]
      let reach14 = [64, 64, 128, 256, 1024, 0x7FFC][(round + round / 6) % 6]
      let count = 40
      var program = BranchProgram(labels: count, reach19: reach19, reach14: reach14)
      var unbound = Array(0..<count)
      unbound.shuffle(using: &random)
      while !unbound.isEmpty || random.next() % 40 != 0 {
        switch random.next() % 16 {
        case 0:
          guard let label = unbound.popLast() else { continue }
          program.bind(label)
        case 1...5: for _ in 0...random.next() % 12 { program.marker() }
        default: program.branch(Int(random.next() % 6), Int(random.next() % UInt64(count)))
        }
      }
      program.marker()
      islands += try program.check()
      let complete = program.assembler.finishFunction()
      #expect(complete)
    }
    #expect(islands > 100)
  }

  @Test func branchesInReachNeedNoIsland() throws {
    for (kind, reach) in [(1, 256), (2, 256), (4, 128)] {
      var program = BranchProgram(labels: 1, reach19: 256, reach14: 128)
      program.branch(kind, 0)
      // The last place that it reaches, less what an island would need to come in time.
      for _ in 0..<(reach - 12) / 4 { program.marker() }
      program.bind(0)
      program.marker()
      #expect(try program.check() == 0)
    }
  }

  @Test func shortReachForcesNoVeneersOnOthers() throws {
    // Many `b.cond` wait with a deadline far away while `tbz` after `tbz` comes due.
    var program = BranchProgram(labels: 2, reach19: 1 << 16, reach14: 64)
    for _ in 0..<50 { program.branch(1, 0) }
    for _ in 0..<20 {
      program.branch(4, 1)
      for _ in 0..<30 { program.marker() }
    }
    program.bind(0)
    program.bind(1)
    program.marker()
    #expect(try program.check() == 20)
  }

  @Test func branchesOfAnIslandShareVeneers() throws {
    var program = BranchProgram(labels: 2, reach19: 256, reach14: 64)
    for _ in 0..<8 { program.branch(1, 0) }
    for _ in 0..<8 { program.branch(2, 1) }
    for _ in 0..<100 { program.marker() }
    program.bind(0)
    program.bind(1)
    program.marker()
    #expect(try program.check() == 2)
  }

  @Test func reservedRunsAreNotCut() throws {
    for distance in 0..<40 {
      var assembler = AArch64Assembler(reach14: 128)
      let label = assembler.makeLabel()
      assembler.tbz(.x0, bit: 0, label)
      for _ in 0..<distance { assembler.nop() }
      assembler.reserve(64)
      let start = assembler.code.count
      for _ in 0..<16 { assembler.movz(.b32, .x1, 1) }
      expect(assembler.code.count == start + 64)
      assembler.bind(label)
      expect(assembler.finishFunction())
      // The branch goes to the end or to a `b` that goes there.
      let code = try AArch64Tools.disassemble(assembler.code.array)
      var target = code[0].target ?? 0
      if target != start + 64 { target = code[target / 4].target ?? 0 }
      #expect(target == start + 64)
    }
  }

  @Test func trueReach() throws {
    // `tbz` over 32 KiB and `b.cond` over 1 MiB, forward and back.
    var program = BranchProgram(labels: 4)
    program.bind(2)
    program.branch(4, 0)
    program.branch(1, 1)
    for _ in 0..<0x2100 { program.marker() }
    program.bind(0)
    program.branch(5, 2)
    for _ in 0..<0x4_0000 { program.marker() }
    program.bind(1)
    program.branch(3, 2)
    program.branch(5, 3)
    program.marker()
    program.bind(3)
    program.marker()
    #expect(try program.check() == 4)
  }

  @Test func functionsLargerThanABranchReachesAreRefused() {
    var assembler = AArch64Assembler()
    let label = assembler.makeLabel()
    assembler.b(label)
    assembler.code.put(repeating: 0, count: 0x800_0000 - 4)
    assembler.bind(label)
    expect(!assembler.finishFunction() && assembler.finishedOutOfReach)
    assembler.reset()
    let back = assembler.makeLabel()
    assembler.bind(back)
    assembler.code.put(repeating: 0, count: 0x800_0000)
    assembler.b(back)
    expect(assembler.finishFunction() && !assembler.finishedOutOfReach)
    let second = assembler.makeLabel()
    assembler.bind(second)
    assembler.code.put(repeating: 0, count: 0x800_0004)
    assembler.b(.eq, second)
    expect(!assembler.finishFunction() && assembler.finishedOutOfReach)
  }

  @Test func addressesOfLabels() throws {
    var assembler = AArch64Assembler()
    let (before, after) = (assembler.makeLabel(), assembler.makeLabel())
    assembler.nop()
    assembler.bind(before)
    assembler.adr(.x3, after)
    assembler.adr(.x30, before)
    assembler.bl(after)
    assembler.nop()
    assembler.bind(after)
    expect(assembler.isBound(after) && assembler.offset(of: after) == 20)
    assembler.bl(before)
    expect(assembler.finishFunction())
    let code = try AArch64Tools.disassemble(assembler.code.array)
    #expect(code[1].mnemonic == "adr" && code[1].operands[0] == "x3" && code[1].target == 20)
    #expect(code[2].mnemonic == "adr" && code[2].operands[0] == "x30" && code[2].target == 4)
    #expect(code[3].mnemonic == "bl" && code[3].target == 20)
    #expect(code[5].mnemonic == "bl" && code[5].target == 4)
    let far = assembler.makeLabel()
    assembler.adr(.x0, far)
    assembler.code.put(repeating: 0, count: 1 << 20)
    assembler.bind(far)
    expect(!assembler.finishFunction() && assembler.finishedOutOfReach)
  }

  @Test func missingLabelsAreReported() {
    var assembler = AArch64Assembler()
    _ = assembler.makeLabel()
    expect(assembler.finishFunction(), "nothing refers to the label")
    for kind in 0..<4 {
      let label = assembler.makeLabel()
      expect(!assembler.isReferenced(label))
      switch kind {
      case 0: assembler.b(label)
      case 1: assembler.b(.eq, label)
      case 2: assembler.tbz(.x0, bit: 5, label)
      default: assembler.adr(.x0, label)
      }
      expect(assembler.isReferenced(label) && !assembler.isBound(label) && assembler.offset(of: label) == nil)
      expect(!assembler.finishFunction() && !assembler.finishedOutOfReach)
    }
    expect(assembler.finishFunction(), "what was missing has been forgotten")
  }

  @Test func relocationsCountFromTheChunk() {
    var assembler = AArch64Assembler()
    assembler.nop()
    assembler.callRelocated(7)
    assembler.alignFunction()
    assembler.jmpRelocated(9)
    let relocations = assembler.relocations.array
    #expect(
      relocations == [
        Relocation(offset: 4, kind: .aarch64Call26, symbol: 7, addend: 0),
        Relocation(offset: 16, kind: .aarch64Jump26, symbol: 9, addend: 0),
      ])
    let chunk = assembler.takeChunk()
    expect(chunk.code.count == 20 && chunk.relocations.count == 2)
    expect(hex(chunk.code.array) == "1f 20 03 d5 00 00 00 94 00 00 20 d4 00 00 20 d4 00 00 00 14")
    expect(assembler.code.isEmpty && assembler.relocations.isEmpty)
    assembler.nop()
    assembler.align(16)
    expect(hex(assembler.code.array) == Array(repeating: "1f 20 03 d5", count: 4).joined(separator: " "))
  }
}
