/// Labels, branches and jump tables, checked against what objdump reads and against the GNU assembler.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

/// Where each branch of `code` goes, by its offset, as objdump sees it.
func branchTargets(_ code: [UInt8]) throws -> [Int: Int] {
  let directory = try TemporaryDirectory()
  try Data(code).write(to: URL(fileURLWithPath: directory.file("a.bin")))
  let text = try run(
    "objdump",
    ["-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--no-show-raw-insn", directory.file("a.bin")])
  var result: [Int: Int] = [:]
  for line in text.split(separator: "\n") {
    let parts = line.split(separator: ":", maxSplits: 1)
    guard parts.count == 2, let offset = Int(parts[0].drop { $0 == " " }, radix: 16) else { continue }
    let words = parts[1].split { $0 == " " || $0 == "\t" }
    guard words.count >= 2, words[0].first == "j" || words[0] == "call", words[1].hasPrefix("0x") else { continue }
    result[offset] = Int(words[1].dropFirst(2), radix: 16)
  }
  return result
}

@Suite struct LabelTests {
  @Test func backwardBranchesAreShortAsFarAsTheyReach() {
    for distance in 0...300 {
      var assembler = X86_64Assembler()
      let label = assembler.makeLabel()
      assembler.bind(label)
      assembler.nop(distance)
      assembler.jmp(label)
      expect(assembler.code.count - distance == (distance + 2 <= 128 ? 2 : 5))
      let before = assembler.code.count
      assembler.jcc(.notEqual, label)
      expect(assembler.code.count - before == (before + 2 <= 128 ? 2 : 6))
      expect(assembler.finishFunction())
    }
  }

  @Test func randomBranchesGoToTheirLabels() throws {
    var random = Random(seed: 1)
    for _ in 0..<5 {
      var assembler = X86_64Assembler(capacity: 64)
      var expected: [(branch: Int, label: Int)] = []
      var bound: [Int: Int] = [:]
      // Three functions in one chunk, whose labels have the same numbers.
      for function in 0..<3 {
        let labels = (0..<40).map { _ in assembler.makeLabel() }
        var unbound = Array(0..<40)
        unbound.shuffle(using: &random)
        while !unbound.isEmpty || random.next() % 40 != 0 {
          switch random.next() % 8 {
          case 0:
            guard let index = unbound.popLast() else { continue }
            assembler.bind(labels[index])
            bound[function * 40 + index] = assembler.code.count
          case 1: assembler.nop(Int(random.next() % 40))
          default:
            let index = Int(random.next() % 40)
            expected.append((assembler.code.count, function * 40 + index))
            switch random.next() % 3 {
            case 0: assembler.jmp(labels[index])
            case 1: assembler.call(labels[index])
            default: assembler.jcc(Condition.allCases[Int(random.next() % 16)], labels[index])
            }
          }
        }
        expect(assembler.finishFunction())
      }
      assembler.ret()
      let targets = try branchTargets(assembler.code.array)
      #expect(targets.count == expected.count)
      for (branch, label) in expected { #expect(targets[branch] == bound[label]) }
    }
  }

  @Test func shortForwardBranches() throws {
    var assembler = X86_64Assembler()
    let near = assembler.makeLabel()
    let far = assembler.makeLabel()
    assembler.jcc(.equal, near, .short)
    assembler.jmp(far, .short)
    assembler.jmp(far)
    assembler.bind(near)
    assembler.nop(120)
    assembler.bind(far)
    assembler.ret()
    expect(assembler.code.count == 2 + 2 + 5 + 120 + 1)
    let targets = try branchTargets(assembler.code.array)
    #expect(targets.filter { $0.key < 9 } == [0: 9, 2: 129, 4: 129])
    expect(assembler.finishFunction())
  }

  @Test func ripRelativeAddresses() throws {
    // The same program for the GNU assembler.
    let directory = try TemporaryDirectory()
    let source = """
      .intel_syntax noprefix
      start: lea rax, [rip + data]
      lea r11, [rip + start]
      movss xmm1, dword ptr [rip + data]
      movsd xmm12, qword ptr [rip + data]
      movups xmm3, [rip + data]
      movups xmm15, [rip + start]
      data: .quad 0
      """
    try (source + "\n").write(toFile: directory.file("a.s"), atomically: false, encoding: .utf8)
    try run("as", ["--64", "-o", directory.file("a.o"), directory.file("a.s")])
    try run("objcopy", ["-O", "binary", "-j", ".text", directory.file("a.o"), directory.file("a.bin")])
    let expected = [UInt8](try Data(contentsOf: URL(fileURLWithPath: directory.file("a.bin"))))

    var assembler = X86_64Assembler()
    let start = assembler.makeLabel()
    let data = assembler.makeLabel()
    assembler.bind(start)
    assembler.leaLabel(.rax, data)
    assembler.leaLabel(.r11, start)
    assembler.load(.f32, dst: .xmm1, from: data)
    assembler.load(.f64, dst: .xmm12, from: data)
    assembler.movups(.xmm3, from: data)
    assembler.movups(.xmm15, from: start)
    assembler.bind(data)
    assembler.code.put64(0)
    expect(assembler.finishFunction())
    expect(hex(assembler.code.array) == hex(expected))
  }

  @Test func jumpTablesHoldDistancesFromTheirBase() {
    var assembler = X86_64Assembler()
    assembler.nop(3)
    let labels = (0..<10).map { _ in assembler.makeLabel() }
    let table = assembler.makeLabel()
    assembler.bind(labels[9])
    assembler.leaLabel(.rax, table)
    for label in labels.prefix(5) {
      assembler.ud2()
      assembler.bind(label)
    }
    assembler.align(4)
    assembler.bind(table)
    let base = assembler.code.count
    for label in labels { assembler.emitTableEntry32(label, relativeTo: table) }
    var offsets: [Int] = []
    for label in labels.prefix(5) { offsets.append(Int(assembler.offset(of: label)!)) }
    for label in labels[5..<9] {
      assembler.nop(7)
      assembler.bind(label)
      offsets.append(assembler.code.count)
    }
    offsets.append(3)
    expect(assembler.finishFunction())
    for i in 0..<10 {
      expect(base + Int(Int32(bitPattern: assembler.code.read32(at: base + 4 * i))) == offsets[i])
    }
  }

  @Test func missingLabelsAreReported() {
    var assembler = X86_64Assembler()
    _ = assembler.makeLabel()
    expect(assembler.finishFunction(), "nothing refers to the label")
    let near = assembler.makeLabel()
    expect(!assembler.isReferenced(near))
    assembler.jmp(near)
    expect(assembler.isReferenced(near))
    expect(!assembler.finishFunction())
    let short = assembler.makeLabel()
    assembler.jmp(short, .short)
    expect(assembler.isReferenced(short))
    expect(!assembler.finishFunction())
    let table = assembler.makeLabel()
    let entry = assembler.makeLabel()
    assembler.bind(table)
    assembler.emitTableEntry32(entry, relativeTo: table)
    expect(assembler.isReferenced(entry))
    expect(!assembler.finishFunction())
    expect(assembler.finishFunction(), "what was missing has been forgotten")
  }

  @Test func relocationsCountFromTheChunk() {
    var assembler = X86_64Assembler()
    assembler.nop(2)
    assembler.callRelocated(7)
    assembler.alignFunction()
    assembler.jmpRelocated(9)
    let relocations = assembler.relocations.array
    #expect(
      relocations == [
        Relocation(offset: 3, kind: .x86_64PLT32, symbol: 7, addend: -4),
        Relocation(offset: 17, kind: .x86_64PLT32, symbol: 9, addend: -4),
      ])
    expect(assembler.relocations[1].rebased(by: 16).offset == 1)
    let chunk = assembler.takeChunk()
    expect(chunk.code.count == 21 && chunk.relocations.count == 2)
    expect(hex(chunk.code.array) == "66 90 e8 00 00 00 00 cc cc cc cc cc cc cc cc cc e9 00 00 00 00")
    expect(assembler.code.isEmpty && assembler.relocations.isEmpty)
  }
}
