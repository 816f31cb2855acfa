// Laying out a text of 200,000 functions with a million calls, and ten texts of a tenth each.
//
// What is timed is what a compiler or a loader does once the code is there: giving each function to the text section builder,
// and `finish()`. The code is made before, outside of the clock: functions of 40 to 472 bytes, 256 on average, each with five
// calls, three of four to functions near by and the fourth to anywhere, as compilers' output has it. Once as it is, when
// every call goes directly, and once with branches narrowed to a sixth of the text, when a call in five needs a veneer.
//
// The ten small texts are all made first and then laid out in turn. They are as much memory as the large one, so caches are
// as cold for them, and what differs is the work: if it is linear, the times are alike.

import Glibc
import PrecastMachineCode

/// Functions that call one another, laid out again and again.
private struct LayoutSubject {
  let architecture: Architecture
  let count: Int
  private let chunks: [CodeChunk]
  private let sizes: [UInt32]

  static let callsPerFunction = 5
  private static let functionsPerChunk = 500

  init(_ architecture: Architecture, count: Int) {
    self.architecture = architecture
    self.count = count
    var state: UInt64 = 7
    // SplitMix64.
    func random(_ bound: Int) -> Int {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
      return Int((z ^ z >> 31) % UInt64(bound))
    }
    var sizes: [UInt32] = []
    var chunks: [CodeChunk] = []
    for first in stride(from: 0, to: count, by: Self.functionsPerChunk) {
      var code = CodeBuffer()
      var relocations = FlatBuffer<Relocation>()
      for function in first..<min(first + Self.functionsPerChunk, count) {
        code.put(repeating: 0xCC, count: -code.count & 15)
        let start = code.count
        let size = 40 + 4 * random(109)
        sizes.append(UInt32(size))
        code.put(repeating: 0x90, count: size)
        for call in 0..<Self.callsPerFunction {
          let place = start + call * (size / Self.callsPerFunction & ~3)
          let target = random(4) == 0 ? random(count) : min(max(function + random(400) - 200, 0), count - 1)
          switch architecture {
          case .x86_64:
            code.patch8(at: place, 0xE8)
            relocations.append(
              Relocation(offset: UInt32(place + 1), kind: .x86_64PLT32, symbol: UInt32(target), addend: -4))
          case .aarch64:
            code.patch32(at: place, 0x9400_0000)
            relocations.append(
              Relocation(offset: UInt32(place), kind: .aarch64Call26, symbol: UInt32(target), addend: 0))
          }
        }
      }
      chunks.append(CodeChunk(code: code, relocations: relocations))
    }
    self.chunks = chunks
    self.sizes = sizes
  }

  /// Bytes of code, about.
  var size: Int { count * 264 }

  /// Lays it out once, and returns seconds and how many veneers there are.
  func layOut(reach: Int?) throws(BenchmarkError) -> (seconds: Double, veneers: Int) {
    var options = TextSectionOptions()
    options.testing.reach = reach
    let start = now()
    var builder = TextSectionBuilder(architecture: architecture, symbolCount: count, options: options)
    var function = 0
    for chunk in chunks {
      var offset = 0
      for k in 0..<min(Self.functionsPerChunk, count - function) {
        let calls = Self.callsPerFunction
        builder.add(
          symbol: UInt32(function), chunk: chunk, offset: offset, size: Int(sizes[function]),
          relocations: k * calls..<(k + 1) * calls)
        offset = (offset + Int(sizes[function]) + 15) & ~15
        function += 1
      }
    }
    do {
      try builder.finish()
    } catch {
      throw BenchmarkError("the text cannot be laid out: \(error)")
    }
    return (Double(now() - start) * 1e-9, builder.veneerCount)
  }
}

/// Times laying out texts of two sizes on both architectures.
func measureLayout(_ report: inout Report, runs: Int) throws(BenchmarkError) {
  let total = 200_000
  for architecture in Architecture.allCases {
    for texts in [1, 10] {
      let subjects = (0..<texts).map { _ in LayoutSubject(architecture, count: total / texts) }
      for isFar in [false, true] {
        var seconds: [Double] = []
        var veneers = 0
        for _ in 0..<max(runs, 3) {
          var sum = 0.0
          veneers = 0
          for subject in subjects {
            let result = try subject.layOut(reach: isFar ? subject.size / 6 & ~3 : nil)
            sum += result.seconds
            veneers += result.veneers
          }
          seconds.append(sum)
        }
        let name = architecture == .x86_64 ? "x86-64" : "AArch64"
        let subject = "\(name), \(texts) x \(total / texts) functions, \(isFar ? "\(veneers) veneers" : "near")"
        report.rows.append(
          Row(
            benchmark: "layout", subject: subject,
            quantity: "\(total * LayoutSubject.callsPerFunction) calls",
            unit: .milliseconds, figures: [("precast", median(seconds) * 1e3)]))
      }
    }
  }
}
