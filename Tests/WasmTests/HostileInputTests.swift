// Input made to break the decoder: mutated modules, and shapes that cost more than they should if anything is not linear.

import PrecastWasm
import TestSupport
import Testing

@Suite struct HostileInputTests {
  /// Modules that use everything.
  static var seeds: [[UInt8]] {
    var all = ModuleDecoderTests.rich
    all.types.append(([i32, i32], [i32]))
    all.functions.append(
      (
        2, [[1, funcref], [4, i64]],
        [
          0x20, 0, 0x41, 0, 0x03, 3, 0x20, 0, 0x0D, 0, 0x6A, 0x0B,  // a loop with parameters
          0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0E, 2, 0, 1, 1, 0x0B, 0x00, 0x6A, 0x1B, 0x0B,
          0x20, 0, 0x04, i32, 0x41, 0x85, 0x80, 0x00, 0x05, 0x41, 6, 0x0F, 0x0B,
          0x41, 0, 0x28, 2, 8, 0x41, 0, 0x37, 3, 0,
        ].dropLast(4) + [
          0x6A, 0x41, 0, 0x41, 0, 0x41, 0, 0xFC, 10, 0, 0, 0x41, 0, 0x41, 0, 0x41, 0, 0xFC, 12, 1, 0,
          0xD0, funcref, 0x41, 1, 0xFC, 15, 0, 0x6A, 0x20, 1, 0x1A, 0x23, 2, 0x1A, 0x23, 1, 0x24, 1,
          0x43, 0, 0, 0, 0, 0xFC, 0, 0x6A, 0x41, 0, 0x41, 3, 0x11, 1, 0,
        ]
      ))
    return [all.bytes, ModuleDecoderTests.rich.bytes, header]
  }

  @Test("the seeds are valid but for the last function")
  func seedsAreSound() {
    #expect(failure(Self.seeds[1]) == nil && failure(Self.seeds[2]) == nil)
    #expect((failure(Self.seeds[0])?.offset ?? .max) > 200)
  }

  @Test("no mutation of a module crashes, and what is accepted adds up", arguments: 0..<8)
  func mutations(round: Int) throws {
    var generator = Random(seed: UInt64(round) &* 7919 &+ 1)
    var accepted = 0
    for _ in 0..<2_500 {
      var bytes = Self.seeds[Int.random(in: 0..<2, using: &generator)]
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let place = Int.random(in: 8..<bytes.count, using: &generator)
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
        case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 2: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
        case 3: bytes.remove(at: place)
        case 4: bytes[place] = [0x00, 0x7F, 0x80, 0xFF, 0x0B, 0x40, 0x05, 0xFC].randomElement(using: &generator)!
        default: bytes.removeSubrange(place...)
        }
        if bytes.count <= 9 { break }
      }
      // `failure` also replays the operators of what is accepted.
      if let error = failure(bytes) {
        #expect(error.offset >= 0 && error.offset <= bytes.count)
      } else {
        accepted += 1
      }
    }
    #expect(accepted > 0)
  }

  @Test("bodies of random instructions never crash, and what is accepted adds up", arguments: 0..<4)
  func randomBodies(round: Int) {
    var generator = Random(seed: UInt64(round) &* 104_729 &+ 3)
    let pieces: [[UInt8]] = [
      [0x02, 0x40], [0x03, 0x40], [0x02, i32], [0x41, 0, 0x04, 0x40], [0x05], [0x0B], [0x0B], [0x41, 1], [0x42, 1],
      [0x1A], [0x1A], [0x6A], [0x20, 0], [0x21, 0], [0x22, 0], [0x0C, 0], [0x41, 0, 0x0D, 0], [0x0C, 1], [0x00],
      [0x0F], [0x41, 0, 0x0E, 1, 0, 1], [0x10, 0], [0x1B], [0x50], [0x28, 0, 0], [0x02, 1], [0x03, 1], [0xD0, funcref],
    ]
    var accepted = 0
    for _ in 0..<5_000 {
      let length = Int.random(in: 1...12, using: &generator)
      let code = (0..<length).flatMap { _ in pieces.randomElement(using: &generator)! }
      var builder = Builder.function([i32], [], code)
      builder.types.append(([i32], [i32]))
      if failure(builder.bytes) == nil { accepted += 1 }
    }
    #expect(accepted > 50)
  }

  @Test("a million nested blocks are two million operators and no recursion")
  func nesting() throws {
    let depth = 1_000_000
    var code: [UInt8] = []
    for _ in 0..<depth { code += [0x02, 0x40] }
    code += Array(repeating: 0x0B, count: depth)
    try withOperators(.function([], [], code)) { _, buffer in
      #expect(buffer.count == 2 * depth + 1 && buffer[depth - 1].opcode == .block && buffer[depth].opcode == .end)
    }
  }

  @Test("the same nested in dead code is nothing")
  func deadNesting() throws {
    let depth = 1_000_000
    var code: [UInt8] = [0x00]
    for _ in 0..<depth { code += [0x03, 0x40] }
    code += Array(repeating: 0x0B, count: depth)
    try withOperators(.function([], [], code)) { _, buffer in
      #expect(OperatorBufferTests.opcodes(buffer) == [.unreachable, .end])
    }
  }

  @Test("a million branch targets, and blocks with a thousand parameters in dead code, take no more than they should")
  func wideTypes() throws {
    let table = [0x41, 0, 0x0E] + leb(1_000_000) + Array(repeating: 0, count: 1_000_001)
    try withOperators(.function([], [], table)) { _, buffer in
      #expect(buffer.count == 3 && buffer.branchTargetCount == 1_000_001)
    }
    // Each block takes its parameters from nowhere, so the operand stack must not keep them all.
    var builder = Builder.function([], [], [0x00])
    let wide = Array(repeating: i32, count: 1_000)
    builder.types.append((wide, []))
    builder.functions[0].code += Array(repeating: [0x02, 1, 0x00, 0x0B], count: 50_000).flatMap { $0 }
    try withOperators(builder) { _, buffer in
      #expect(buffer.count == 2 && buffer.maximumStackHeight == 0)
    }
    // Results do stay there.
    builder.types[1] = ([], wide)
    #expect(failure(builder.bytes)?.kind == .limit)
  }
}
