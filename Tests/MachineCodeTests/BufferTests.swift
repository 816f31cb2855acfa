/// The buffers behind the assembler.
import PrecastMachineCode
import Testing

@Suite struct BufferTests {
  @Test func growsAndKeepsItsBytes() {
    var buffer = CodeBuffer(capacity: 1)
    var expected: [UInt8] = []
    for i in 0..<2000 {
      switch i % 4 {
      case 0:
        buffer.put8(UInt8(truncatingIfNeeded: i))
        expected.append(UInt8(truncatingIfNeeded: i))
      case 1:
        buffer.put16(UInt16(i))
        expected += [UInt8(truncatingIfNeeded: i), UInt8(i >> 8)]
      case 2:
        buffer.put32(0x0403_0201)
        expected += [1, 2, 3, 4]
      default:
        buffer.put64(0x0807_0605_0403_0201)
        expected += [1, 2, 3, 4, 5, 6, 7, 8]
      }
    }
    buffer.put(contentsOf: expected.span.bytes)
    expect(buffer.array == expected + expected)
    buffer.patch32(at: 0, 0xDDCC_BBAA)
    expect(buffer.read32(at: 0) == 0xDDCC_BBAA && buffer[3] == 0xDD)
    buffer.truncate(to: 4)
    let extracted = buffer.extract()
    expect(extracted.array == [0xAA, 0xBB, 0xCC, 0xDD] && buffer.isEmpty)
  }

  @Test func unsignedLEB128() {
    var buffer = CodeBuffer()
    for value in [0, 127, 128, 624485, .max] as [UInt64] { buffer.putULEB128(value) }
    expect(
      hex(buffer.array)
        == "00 7f 80 01 e5 8e 26 ff ff ff ff ff ff ff ff ff 01")
  }

  @Test func flatBuffersGrow() {
    var buffer = FlatBuffer<Int>(capacity: 1)
    for i in 0..<1000 { buffer.append(i) }
    expect(buffer.array == Array(0..<1000))
    buffer[3] = -1
    buffer.fill(with: 7, to: 1002)
    expect(buffer[3] == -1 && buffer[1001] == 7 && buffer.count == 1002)
    let sum = buffer.withSpan { span in span.indices.reduce(0) { $0 + span[$1] } }
    expect(sum == 999 * 500 - 3 - 1 + 14)
    buffer.truncate(to: 2)
    let extracted = buffer.extract()
    expect(extracted.array == [0, 1] && buffer.isEmpty)
  }
}
