/// What objects from anywhere may say of themselves never stops the process: it is laid out or refused.
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct TextSectionLimitTests {
  /// Memory that stands for code of any size: nothing is read or written before sizes have been checked.
  private static func withCode(_ body: (UnsafeMutableRawPointer) -> Void) {
    let code = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 16)
    defer { unsafe code.deallocate() }
    unsafe code.initializeMemory(as: UInt8.self, repeating: 0x90, count: 64)
    unsafe body(code)
  }

  private func error(
    _ architecture: Architecture, _ options: TextSectionOptions = TextSectionOptions(), endAlignment: Int = 1,
    _ add: (inout TextSectionBuilder, UnsafeMutableRawPointer) -> Void
  ) -> TextSectionError? {
    var result: TextSectionError?
    unsafe Self.withCode { code in
      var builder = TextSectionBuilder(architecture: architecture, options: options)
      unsafe add(&builder, code)
      do throws(TextSectionError) {
        try builder.finish(endAlignment: endAlignment)
      } catch {
        result = error
      }
    }
    return result
  }

  private static var none: UnsafeBufferPointer<Relocation> { unsafe UnsafeBufferPointer(start: nil, count: 0) }
  private static let tooLarge = TextSectionError.textTooLarge(maximumSize: 1 << 40)

  @Test(arguments: Architecture.allCases) func sizesThatNothingHas(_ architecture: Architecture) {
    for size in [1 << 31, 1 << 40, 1 << 62, .max] {
      let error = unsafe error(architecture) { builder, code in
        unsafe builder.add(symbol: 3, code: code, size: size, relocations: Self.none)
        // What is said of a function that has been refused is refused with it, and what comes behind.
        builder.define(symbol: 4, atOffset: size)
        builder.define(symbol: 3, atOffset: 0)
        unsafe builder.add(symbol: 3, code: code, size: 16, relocations: Self.none)
      }
      #expect(error == .functionTooLarge(3))
    }
  }

  @Test(arguments: Architecture.allCases) func sumsThatNothingHas(_ architecture: Architecture) {
    // 512 functions of 2 GiB less one byte fill up 2^40 bytes; here they have no memory, and nobody looks.
    for (count, expected) in [(511, nil), (512, nil), (513, Self.tooLarge), (2000, Self.tooLarge)]
      as [(Int, TextSectionError?)]
    {
      let error = unsafe error(architecture) { builder, code in
        for i in 0..<count {
          unsafe builder.add(symbol: UInt32(i), code: code, size: Int(Int32.max), relocations: Self.none)
        }
      }
      #expect(error == expected, "\(count)")
    }
  }

  @Test(arguments: Architecture.allCases) func alignmentsThatNothingHas(_ architecture: Architecture) {
    for shift in 31...62 {
      let error = unsafe error(architecture) { builder, code in
        for i in 0..<3 as Range<UInt32> {
          unsafe builder.add(symbol: i, code: code, size: 16, relocations: Self.none, alignment: 1 << shift)
        }
      }
      // The third function stands at twice the alignment.
      #expect(error == (shift < 39 ? nil : Self.tooLarge), "2^\(shift)")
      let end = unsafe self.error(architecture, endAlignment: 1 << shift) { builder, code in
        unsafe builder.add(symbol: 0, code: code, size: 16, relocations: Self.none)
      }
      #expect(end == (shift <= 40 ? nil : Self.tooLarge), "2^\(shift)")
    }
  }

  @Test(arguments: Architecture.allCases) func settingsThatNobodyWants(_ architecture: Architecture) {
    for number in [.min, -1, 0, 1, 1 << 39, 1 << 41, .max] {
      var options = TextSectionOptions()
      options.testing.padding = number
      options.testing.reach = number
      options.testing.conditionalReach = number
      options.testing.testBitReach = number
      let error = unsafe error(architecture, options) { builder, code in
        for i in 0..<3 as Range<UInt32> { unsafe builder.add(symbol: i, code: code, size: 16, relocations: Self.none) }
      }
      #expect(error == (number < 1 << 39 ? nil : Self.tooLarge), "\(number)")
    }
    var options = TextSectionOptions()
    options.maximumSize = 100
    for (size, expected) in [(84, nil), (85, .textTooLarge(maximumSize: 100))] as [(Int, TextSectionError?)] {
      let error = unsafe error(architecture, options) { builder, code in
        unsafe builder.add(symbol: 0, code: code, size: 10, relocations: Self.none)
        unsafe builder.add(symbol: 1, code: code, size: size, relocations: Self.none)
      }
      #expect(error == expected)
    }
    // Islands count.
    options.testing.forceVeneers = true
    let relocation = architecture == .x86_64 ? RelocationKind.x86_64PLT32 : .aarch64Call26
    let list = [Relocation(offset: 0, kind: relocation, symbol: 0, addend: architecture == .x86_64 ? -4 : 0)]
    for (size, expected) in [(64, nil), (96, .textTooLarge(maximumSize: 100))] as [(Int, TextSectionError?)] {
      let error = unsafe list.withUnsafeBufferPointer { relocations in
        unsafe self.error(architecture, options) { builder, code in
          unsafe builder.add(symbol: 0, code: code, size: size, relocations: relocations)
        }
      }
      #expect(error == expected)
    }
  }

  // Code of AArch64 that does not stand on a word, which a section may ask for, is no code.
  @Test func instructionsStandOnWords() {
    let list = [Relocation(offset: 0, kind: .aarch64Call26, symbol: 1, addend: 0)]
    for isForced in [false, true] {
      var options = TextSectionOptions()
      options.testing.forceVeneers = isForced
      let error = unsafe list.withUnsafeBufferPointer { relocations in
        unsafe self.error(.aarch64, options) { builder, code in
          unsafe builder.add(symbol: 0, code: code, size: 2, relocations: Self.none, alignment: 1)
          unsafe builder.add(symbol: 1, code: code, size: 8, relocations: relocations, alignment: 1)
        }
      }
      #expect(error == .invalidRelocation(TextPlace(function: 1, offset: 0, textOffset: 2)))
    }
  }

  // Whatever relocations say: the text has their branches at their targets, or there is an error.
  @Test(arguments: Architecture.allCases) func relocationsOfAnyValue(_ architecture: Architecture) throws {
    var random = Random(seed: 31)
    let numbers: [Int64] = [0, 1, 2, 3, 4, 7, 8, 12, 16, 31, 32, 60, 61, 64, 0x7FFF, 1 << 20, 1 << 27, 1 << 30]
    let edges = numbers.flatMap { [$0, -$0] } + [Int64(Int32.min), Int64(Int32.max), .min, .max, .min + 1, .max - 3]
    let kinds: [RelocationKind] =
      architecture == .x86_64
      ? [.x86_64PLT32, .x86_64PC32] : [.aarch64Call26, .aarch64Jump26, .aarch64CondBr19, .aarch64TstBr14]
    func edge() -> Int64 { edges.randomElement(using: &random) ?? 0 }
    var errors = 0
    var successes = 0
    for _ in 0..<4000 {
      var options = TextSectionOptions()
      options.baseAddress = [nil, 0, 0x7E12_3450_0000, UInt64.max & ~4095].randomElement(using: &random) ?? nil
      options.testing.forceVeneers = Bool.random(using: &random)
      options.branchTargetIdentification = Bool.random(using: &random)
      if Bool.random(using: &random) { options.testing.reach = Int(truncatingIfNeeded: edge()) }
      options.testing.padding = Int.random(in: 0...100, using: &random)
      var builder = TextSectionBuilder(architecture: architecture, options: options)
      let count = Int.random(in: 1...4, using: &random)
      // Nearly all of them are right, or no text would be.
      let isWild = Int.random(in: 0..<4, using: &random) == 0
      for i in 0..<count {
        var code = CodeBuffer()
        code.put(repeating: 0x90, count: 64)
        var relocations = FlatBuffer<Relocation>()
        for _ in 0..<Int.random(in: 0...3, using: &random) {
          let kind =
            isWild ? RelocationKind.allCases.randomElement(using: &random) : kinds.randomElement(using: &random)
          relocations.append(
            Relocation(
              offset: isWild ? UInt32(truncatingIfNeeded: edge()) : UInt32(4 * Int.random(in: 0...15, using: &random)),
              kind: kind ?? kinds[0],
              symbol: UInt32(Int.random(in: 0..<(isWild ? count + 9 : count + 4), using: &random)),
              addend: Int32(truncatingIfNeeded: isWild ? edge() : edge() & ~3)))
        }
        let relocationCount = relocations.count
        builder.add(
          symbol: UInt32(i), chunk: CodeChunk(code: code, relocations: relocations), offset: 0, size: 64,
          relocations: 0..<relocationCount, alignment: isWild ? 1 << Int.random(in: 0...6, using: &random) : 16,
          convention: .platform)
      }
      for i in 0..<4 {
        let symbol = UInt32(count + i)
        if options.baseAddress != nil, Bool.random(using: &random) {
          builder.define(symbol: symbol, address: UInt64(bitPattern: edge()))
        } else {
          builder.define(symbol: symbol, atOffset: 4 * Int.random(in: 0...16, using: &random))
        }
      }
      do {
        try builder.finish()
        _ = try assemble(builder)
        successes += 1
      } catch is TextSectionError {
        errors += 1
      }
    }
    #expect(errors > 100 && successes > 100, "\(errors) errors, \(successes) texts")
  }
}
