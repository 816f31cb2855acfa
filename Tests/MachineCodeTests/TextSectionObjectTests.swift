/// What sections of objects need of the text section: symbols within, alignments, addends, addresses.
import PrecastMachineCode
import Testing

@Suite struct TextSectionObjectTests {
  /// Code of `size` bytes with x86-64 calls at the given offsets.
  private func chunk(
    _ architecture: Architecture, size: Int, _ branches: [(offset: Int, symbol: UInt32, addend: Int32)] = []
  ) -> CodeChunk {
    var code = CodeBuffer()
    var relocations = FlatBuffer<Relocation>()
    code.put(repeating: 0x90, count: size)
    for branch in branches {
      switch architecture {
      case .x86_64:
        code.patch8(at: branch.offset, 0xE8)
        relocations.append(
          Relocation(
            offset: UInt32(branch.offset + 1), kind: .x86_64PC32, symbol: branch.symbol, addend: branch.addend - 4))
      case .aarch64:
        code.patch32(at: branch.offset, 0x9400_0000)
        relocations.append(
          Relocation(
            offset: UInt32(branch.offset), kind: .aarch64Call26, symbol: branch.symbol, addend: branch.addend))
      }
    }
    return CodeChunk(code: code, relocations: relocations)
  }

  @Test(arguments: Architecture.allCases) func sectionsHaveTheirAlignments(_ architecture: Architecture) throws {
    var builder = TextSectionBuilder(architecture: architecture)
    for (i, alignment) in [16, 4, 64, 4096, 8].enumerated() {
      builder.add(
        symbol: UInt32(i), chunk: chunk(architecture, size: 20), offset: 0, size: 20, relocations: 0..<0,
        alignment: alignment)
    }
    try builder.finish()
    #expect((0..<5).map { builder.functionOffset($0) } == [0, 20, 64, 4096, 4120])
    expect(builder.alignment == 4096)
  }

  // Symbols in the middle and at the end of a section, and addends, near and through veneers.
  @Test(arguments: Architecture.allCases, [false, true])
  func branchesGoToSymbolsInsideOfSections(_ architecture: Architecture, _ isForced: Bool) throws {
    var options = TextSectionOptions()
    options.testing.forceVeneers = isForced
    var builder = TextSectionBuilder(architecture: architecture, options: options)
    let calls: [(offset: Int, symbol: UInt32, addend: Int32)] = [
      (0, 1, 0), (8, 2, 0), (16, 3, 0), (24, 1, 12), (32, 2, -4), (40, 2, -4), (48, 0, 8),
    ]
    builder.add(
      symbol: 0, chunk: chunk(architecture, size: 64, calls), offset: 0, size: 64, relocations: 0..<calls.count)
    builder.add(symbol: 1, chunk: chunk(architecture, size: 64), offset: 0, size: 64, relocations: 0..<0)
    builder.define(symbol: 2, atOffset: 16)
    builder.define(symbol: 3, atOffset: 64)
    try builder.finish()
    let text = try assemble(builder)
    let section = builder.functionOffset(1)
    #expect(builder.offset(ofSymbol: 2) == section + 16)
    #expect(builder.offset(ofSymbol: 3) == section + 64)
    let expected = [section, section + 16, section + 64, section + 12, section + 12, section + 12, 8]
    for (call, target) in zip(calls, expected) {
      var place = try #require(callTarget(text, call.offset, architecture))
      if isForced { place = try #require(veneerTarget(text, place, architecture)) }
      #expect(place == target, "the call at \(call.offset)")
    }
    // Symbol and addend make the target; here symbol 1 + 12 and symbol 2 - 4 are two of the same place.
    expect(builder.veneerCount == (isForced ? 6 : 0))
  }

  // Targets outside of the text, at addresses that a distance can hold and at others.
  @Test(arguments: Architecture.allCases) func branchesGoToAddresses(_ architecture: Architecture) throws {
    let base: UInt64 = 0x7F00_0000_0000
    for (address, isNear) in [(base + 0x100_0000, true), (0x1234_5678_9ABC_DEF0, false), (4, false)] as [(UInt64, Bool)]
    {
      var options = TextSectionOptions()
      options.baseAddress = base
      var builder = TextSectionBuilder(architecture: architecture, options: options)
      let calls: [(offset: Int, symbol: UInt32, addend: Int32)] = [(0, 7, 0), (8, 7, 0), (16, 0, 0)]
      builder.add(symbol: 0, chunk: chunk(architecture, size: 32, calls), offset: 0, size: 32, relocations: 0..<3)
      builder.define(symbol: 7, address: address)
      try builder.finish()
      let text = try assemble(builder)
      expect(builder.islandCount == (isNear ? 0 : 1) && builder.veneerCount == (isNear ? 0 : 1))
      expect(builder.holdsAbsoluteAddresses == !isNear)
      for call in calls.prefix(2) {
        let place = try #require(callTarget(text, call.offset, architecture))
        if isNear {
          #expect(UInt64(place) &+ base == address)
        } else {
          #expect(absoluteVeneerTarget(text, place, architecture) == address)
        }
      }
      #expect(callTarget(text, 16, architecture) == 0)
    }
  }

  // `adrp` does, where it reaches, at a known address too.
  @Test func addressesWithinFourGigabytesNeedNoAddressInTheText() throws {
    var options = TextSectionOptions()
    options.baseAddress = 0x1_0000_0000
    var builder = TextSectionBuilder(architecture: .aarch64, options: options)
    builder.add(symbol: 0, chunk: chunk(.aarch64, size: 32, [(0, 1, 0)]), offset: 0, size: 32, relocations: 0..<1)
    builder.define(symbol: 1, address: 0x1_F000_0004)
    try builder.finish()
    let text = try assemble(builder)
    #expect(callTarget(text, 0, .aarch64) == 32)
    #expect(veneerTarget(text, 32, .aarch64) == 0xF000_0004)
    expect(!builder.holdsAbsoluteAddresses)
  }
}
