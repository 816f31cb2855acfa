/// What must hold of every layout, shown on random ones, as objdump reads them.
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct TextSectionPropertyTests {
  // A text, laid out.
  private struct Result {
    var plan: RandomText
    var bytes: [UInt8]
    var starts: [Int]
    var islands: [TextSectionBuilder.Island]
    var veneerCount: Int
    var holdsAbsoluteAddresses: Bool
  }

  private func layOut(_ plan: RandomText, perChunk: Int) throws -> Result {
    var builder = plan.makeBuilder(perChunk: perChunk)
    try builder.finish(endAlignment: 64)
    let islands = (0..<builder.islandCount).map { builder.island($0) }
    return Result(
      plan: plan, bytes: try assemble(builder), starts: plan.sections.indices.map { builder.functionOffset($0) },
      islands: islands, veneerCount: builder.veneerCount, holdsAbsoluteAddresses: builder.holdsAbsoluteAddresses)
  }

  // Text offsets at which a veneer may begin. On x86-64 all of a text have one size.
  private func veneerOffsets(_ result: Result) -> [Int] {
    let step = result.plan.architecture == .aarch64 ? 4 : result.plan.options.baseAddress == nil ? 24 : 16
    return result.islands.flatMap { Array(stride(from: $0.textOffset, to: $0.textOffset + $0.size, by: step)) }
  }

  /// FNV-1a of everything that comes out: it must not depend on the process's hash seed.
  static let digests: [Architecture: UInt64] = [
    .x86_64: 4_270_595_375_765_651_065, .aarch64: 18_404_038_404_453_760_856,
  ]

  @Test(arguments: Architecture.allCases) func everyBranchArrives(_ architecture: Architecture) throws {
    var random = Random(seed: 11)
    var results: [Result] = []
    for _ in 0..<120 {
      let plan = RandomText(architecture, using: &random)
      results.append(try layOut(plan, perChunk: Int.random(in: 1...40, using: &random)))
    }
    let texts = results.map { result in
      let places = zip(result.starts, result.plan.sections).flatMap { start, section in
        section.branches.map { start + $0.offset }
      }
      return (bytes: result.bytes, marks: places + veneerOffsets(result))
    }
    let disassembly = try Disassembly(texts, architecture)
    let mnemonics: [RelocationKind: String] = [
      .x86_64PLT32: "call", .x86_64PC32: "jne", .aarch64Call26: "bl", .aarch64Jump26: "b", .aarch64CondBr19: "b.ne",
      .aarch64TstBr14: "tbz",
    ]
    var direct = 0
    var indirect = 0
    var unused = 0
    var veneers = 0
    for (text, result) in results.enumerated() {
      let plan = result.plan
      #expect(plan.needsIslands || result.islands.isEmpty, "text \(text) has islands that nobody needs")
      var used: Set<Int> = []
      for (start, section) in zip(result.starts, plan.sections) {
        if start % section.alignment != 0 { Issue.record("text \(text): a section at \(start) is not aligned") }
        for branch in section.branches {
          let place = start + branch.offset
          guard let (mnemonic, next) = disassembly.branch(text, place), mnemonic == mnemonics[branch.kind] else {
            Issue.record("text \(text), \(place): \(disassembly.instruction(text, place)) is not the branch")
            continue
          }
          let target = plan.target(branch, result.starts)
          let reach = plan.reach(branch.kind)
          let origin = start + plan.origin(branch)
          if next - origin < -reach || next - origin >= reach { Issue.record("text \(text), \(place): too long") }
          if next == target {
            direct += 1
            if plan.options.testing.forceVeneers, !result.islands.contains(where: { $0.contains(next) }) {
              Issue.record("text \(text), \(place): not by way of a veneer")
            }
            continue
          }
          indirect += 1
          used.insert(next)
          let distance = target &- origin
          if !plan.options.testing.forceVeneers && distance >= -reach && distance < reach {
            Issue.record("text \(text), \(place): could go directly")
          }
          let veneer = disassembly.veneer(text, next, result.bytes)
          let end =
            veneer?.offset ?? veneer?.address.map { Int(truncatingIfNeeded: $0 &- (plan.options.baseAddress ?? 0)) }
          if end != target || !result.islands.contains(where: { $0.contains(next) }) {
            Issue.record("text \(text), \(place): arrives at \(String(describing: end)) instead of \(target)")
          }
          if veneer?.address != nil && !result.holdsAbsoluteAddresses { Issue.record("text \(text): hides an address") }
        }
      }
      veneers += result.veneerCount
      unused += result.veneerCount - used.count
    }
    #expect(direct > 1000 && indirect > 1000)
    // Estimates are pessimistic: by an island at most, which is much where the reach is that of a few sections.
    #expect(Double(unused) < 0.15 * Double(veneers), "\(unused) of \(veneers) veneers are not used")
    var digest: UInt64 = 0xCBF2_9CE4_8422_2325
    for result in results { for byte in result.bytes { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01B3 } }
    #expect(digest == Self.digests[architecture])
  }
}

extension TextSectionBuilder.Island {
  fileprivate func contains(_ offset: Int) -> Bool { offset >= textOffset && offset < textOffset + size }
}
