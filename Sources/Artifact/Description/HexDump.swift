// Bytes, sixteen a line, as `hexdump -C` shows them.
//
// Used for what has no decoder and for contents of memories. Lines that repeat the one before are a single `*`, so a
// page of zeros takes two lines.

extension Report {
  /// Bytes with the offset of the first; nothing in JSON.
  func hexDump(_ bytes: ByteRegion, at start: UInt64 = 0) {
    guard format == .text else { return }
    let digits = Array("0123456789abcdef".utf8)
    var last: (UInt64, UInt64)?
    var isRepeating = false
    var offset = 0
    while offset < bytes.count && !isDone {
      let count = min(16, bytes.count - offset)
      if count == 16, let low = try? bytes.u64(offset), let high = try? bytes.u64(offset + 8) {
        // The very last line is always shown, for its offset.
        if let last, last == (low, high), offset + 16 < bytes.count {
          if !isRepeating { output.append("  *\n") }
          isRepeating = true
          offset += 16
          continue
        }
        last = (low, high)
      }
      isRepeating = false
      output.append("  ")
      let address = String(start &+ UInt64(offset), radix: 16)
      output.append(byte: UInt8(ascii: "0"), count: 8 - address.utf8.count)
      output.append(address + " ")
      for position in 0..<16 {
        if position == 8 { output.append(byte: UInt8(ascii: " ")) }
        output.append(byte: UInt8(ascii: " "))
        if position < count, let byte = try? bytes.u8(offset + position) {
          output.append(byte: digits[Int(byte >> 4)])
          output.append(byte: digits[Int(byte & 15)])
        } else {
          output.append("  ")
        }
      }
      output.append("  |")
      for position in 0..<count {
        guard let byte = try? bytes.u8(offset + position) else { break }
        output.append(byte: byte >= 0x20 && byte < 0x7F ? byte : UInt8(ascii: "."))
      }
      output.append("|\n")
      offset += count
    }
  }
}
