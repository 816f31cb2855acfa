// CRC-32C is what everybody else computes under that name, by instruction and by table.

import CPrecastHost
import TestSupport
import Testing

@Suite struct ChecksumTests {
  static func crc(_ bytes: [UInt8], after: UInt32 = 0) -> UInt32 { precast_crc32c(after, bytes, bytes.count) }
  static func portable(_ bytes: [UInt8]) -> UInt32 { precast_crc32c_portable(0, bytes, bytes.count) }

  /// RFC 3720, appendix B.4 (where the bytes are printed lowest first), and the catalogue's check value.
  static let vectors: [([UInt8], UInt32)] = [
    ([], 0),
    (Array("123456789".utf8), 0xE306_9283),
    (Array(repeating: 0, count: 32), 0x8A91_36AA),
    (Array(repeating: 0xFF, count: 32), 0x62A8_AB43),
    (Array(0..<32), 0x46DD_794E),
    (Array((0..<32).reversed()), 0x113F_DB5C),
  ]

  @Test(arguments: vectors) func knownValues(bytes: [UInt8], expected: UInt32) {
    #expect(Self.crc(bytes) == expected)
    #expect(Self.portable(bytes) == expected)
  }

  @Test func instructionAndTableAgreeAtEverySizeAndPlace() {
    var generator = Random(seed: 26)
    let bytes = (0..<5000).map { _ in UInt8.random(in: 0...255, using: &generator) }
    bytes.withUnsafeBytes { buffer in
      for start in 0..<17 {
        for size in Array(0..<40) + [255, 256, 257, 4095, 4096, 4097] {
          let base = buffer.baseAddress! + start
          #expect(precast_crc32c(7, base, size) == precast_crc32c_portable(7, base, size))
        }
      }
    }
  }

  @Test func aChecksumGoesOnWhereTheLastOneEnded() {
    let bytes = [UInt8]((0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 37) })
    for cut in [0, 1, 7, 8, 9, 500, 999, 1000] {
      #expect(Self.crc(Array(bytes[cut...]), after: Self.crc(Array(bytes[..<cut]))) == Self.crc(bytes))
    }
  }

  @Test func zerosNeedNotBeThere() {
    let before = Self.crc(Array("before".utf8))
    for count in [0, 1, 4, 255, 256, 257, 4096, 10_000] {
      #expect(precast_crc32c_zeros(before, count) == Self.crc(Array(repeating: 0, count: count), after: before))
    }
  }

  @Test func everySingleBitOfAPageCounts() {
    var page = [UInt8]((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 101 &+ 3) })
    let sum = Self.crc(page)
    var unnoticed = 0
    for bit in 0..<4096 * 8 {
      page[bit >> 3] ^= 1 << UInt8(bit & 7)
      if Self.crc(page) == sum { unnoticed += 1 }
      page[bit >> 3] ^= 1 << UInt8(bit & 7)
    }
    #expect(unnoticed == 0)
  }
}
