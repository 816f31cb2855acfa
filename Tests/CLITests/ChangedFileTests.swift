// An artifact that gets shorter while the command runs it.

import Foundation
import Testing

@Suite struct ChangedFileTests {
  /// `_start` loops for ever.
  static let loop: [UInt8] = [
    0x00, 0x61, 0x73, 0x6D, 1, 0, 0, 0, 0x01, 4, 1, 0x60, 0, 0, 0x03, 2, 1, 0,
    0x07, 10, 1, 6, 0x5F, 0x73, 0x74, 0x61, 0x72, 0x74, 0, 0,
    0x0A, 9, 1, 7, 0, 0x03, 0x40, 0x0C, 0, 0x0B, 0x0B,
  ]

  /// `_start` calls a function again and again that stands behind it.
  static let calls: [UInt8] = [
    0x00, 0x61, 0x73, 0x6D, 1, 0, 0, 0, 0x01, 4, 1, 0x60, 0, 0, 0x03, 3, 2, 0, 0,
    0x07, 10, 1, 6, 0x5F, 0x73, 0x74, 0x61, 0x72, 0x74, 0, 0,
    0x0A, 14, 2, 9, 0, 0x03, 0x40, 0x10, 1, 0x0C, 0, 0x0B, 0x0B, 2, 0, 0x0B,
  ]

  // 4144: the second function starts there, and what the page has behind the file's end reads as zeros, which are
  // instructions of two bytes: they are executed up to the very end of the text.
  @Test(arguments: [0, 4096, 4144]) func endsWithAnErrorAndNotWithASignal(size: Int) throws {
    let folder = try Folder()
    try folder.write("loop.wasm", Data(size == 4144 ? Self.calls : Self.loop))
    try #require(try Command.run("compile", "loop.wasm", "-o", "loop.cwasm", in: folder).status == 0)
    let outcome = try Command.shell(
      """
      "$precast" run loop.cwasm 2> errors & child=$!
      for i in $(seq 3000); do grep -q loop.cwasm /proc/$child/maps 2> /dev/null && break; sleep 0.02; done
      truncate -s \(size) loop.cwasm
      wait $child
      echo $?
      """, in: folder)
    // Most likely in the loop (a trap); if it was not there yet, while it was loaded.
    let errors = String(decoding: try folder.read("errors"), as: UTF8.self)
    let status = try #require(Int32(outcome.lines.first ?? ""))
    #expect(status == 134 || (1..<128).contains(status), "\(errors)")
    #expect(errors.contains("damaged"), "\(errors)")
  }
}
