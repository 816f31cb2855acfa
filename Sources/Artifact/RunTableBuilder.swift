// Builds the section of RunTable.swift out of the runs of all functions.
//
// Two passes over some ten megabytes: count symbols, then emit codes. The count is a sample of the
// functions when there are many, taken by position, so the result depends on the module alone and
// not on how the work was divided. Symbols that are too rare to earn their row, or that the sample
// missed, go through the escape.

import PrecastMachineCode

/// The symbols of a table and their codes.
struct RunCode {
  /// For a key (code delta | value << 8): code in the low bits, length above bit 24; 0 where there
  /// is no symbol.
  var codes: [UInt32]
  /// Code of the escape, the same way.
  var escape: UInt32
  /// Keys in code order; 0 for the escape.
  var symbols: [UInt32]
  /// Left-aligned 16-bit limits and bases by length - 1.
  var limits: [UInt32]
  var bases: [UInt32]

  /// Makes a code for the symbols counted in `histogram`, which has 65536 places.
  init(histogram: [UInt32], total: UInt64) {
    var candidates: [(key: UInt32, count: UInt32)] = []
    for key in 0..<histogram.count where histogram[key] >= 2 && key & 0xFF != 0 {
      candidates.append((UInt32(key), histogram[key]))
    }
    candidates.sort { $0.count != $1.count ? $0.count > $1.count : $0.key < $1.key }
    if candidates.count > 2047 { candidates.removeLast(candidates.count - 2047) }
    var rest = total
    for candidate in candidates { rest -= UInt64(candidate.count) }
    candidates.append((0, UInt32(clamping: max(rest, 1))))
    candidates.sort { $0.count != $1.count ? $0.count > $1.count : $0.key < $1.key }
    let lengths = Self.lengths(candidates.map { UInt64($0.count) })

    // Canonical: by length, then in order of `candidates`; lengths ascend along it already.
    codes = Array(repeating: 0, count: 65536)
    escape = 0
    symbols = []
    symbols.reserveCapacity(candidates.count)
    limits = Array(repeating: 0, count: RunTableLayout.maximumCodeLength)
    bases = Array(repeating: 0, count: RunTableLayout.maximumCodeLength)
    var code: UInt32 = 0
    var next = 0
    for length in 1...RunTableLayout.maximumCodeLength {
      bases[length - 1] = UInt32(next) &- code
      while next < candidates.count && lengths[next] == length {
        let entry = code | UInt32(length) << 24
        let key = candidates[next].key
        if key == 0 { escape = entry } else { codes[Int(key)] = entry }
        symbols.append(key)
        code += 1
        next += 1
      }
      limits[length - 1] = code << UInt32(RunTableLayout.maximumCodeLength - length)
      code <<= 1
    }
  }

  /// Code lengths of at most 16 bits for descending counts, ascending.
  static func lengths(_ counts: [UInt64]) -> [Int] {
    let n = counts.count
    if n == 1 { return [1] }
    var weights = counts
    while true {
      // Two queues: leaves from the light end, and inner nodes in the order they are made.
      var parent = Array(repeating: 0, count: 2 * n - 1)
      var weight = Array(weights.reversed())
      weight.reserveCapacity(2 * n - 1)
      var leaf = 0
      var inner = n
      for node in n..<(2 * n - 1) {
        var sum: UInt64 = 0
        for _ in 0..<2 {
          let pick: Int
          if leaf < n && (inner >= node || weight[leaf] <= weight[inner]) {
            pick = leaf
            leaf += 1
          } else {
            pick = inner
            inner += 1
          }
          parent[pick] = node
          sum += weight[pick]
        }
        weight.append(sum)
      }
      var depth = Array(repeating: 0, count: 2 * n - 1)
      for node in stride(from: 2 * n - 3, through: 0, by: -1) { depth[node] = depth[parent[node]] + 1 }
      let lengths = Array(depth[0..<n].reversed())
      // The heaviest symbol is first; equal weights may leave lengths unsorted.
      if (lengths.max() ?? 1) <= RunTableLayout.maximumCodeLength { return lengths.sorted() }
      // Flatter weights make a flatter tree; ends at the latest when all are 1 (n is below 2^16).
      weights = weights.map { ($0 + 1) / 2 }
    }
  }
}

/// Appends codes, most significant bit first.
struct BitWriter: ~Copyable {
  var bytes: CodeBuffer
  private var word: UInt64 = 0
  private var used: UInt64 = 0

  init(bytes: consuming CodeBuffer) { self.bytes = bytes }

  /// Appends the low `width` (at most 32) bits of `value`.
  @inline(__always)
  mutating func put(_ value: UInt32, _ width: UInt32) {
    word = word << UInt64(width) | UInt64(value)
    used &+= UInt64(width)
    if used >= 32 {
      used &-= 32
      bytes.put32(UInt32(truncatingIfNeeded: word >> used).byteSwapped)
    }
  }

  /// A number as a 6-bit width and so many bits.
  mutating func putNumber(_ value: UInt32) {
    let width = UInt32(32 - value.leadingZeroBitCount)
    put(width, 6)
    if width > 0 { put(value, width) }
  }

  /// Fills up to a whole byte.
  mutating func flush() {
    while used > 0 {
      let byte = used >= 8 ? word >> (used - 8) : word << (8 - used)
      bytes.put8(UInt8(truncatingIfNeeded: byte))
      used = used >= 8 ? used - 8 : 0
    }
    word = 0
  }

  /// Bits since the last `flush`, given the buffer's length then.
  func bitOffset(since start: Int) -> Int { (bytes.count - start) * 8 + Int(used) }

  consuming func take() -> CodeBuffer { bytes }
}

/// Builds a run table.
struct RunTableBuilder {
  let kind: RunTableKind
  var interval = 128

  init(kind: RunTableKind) { self.kind = kind }

  /// Calls `body` with code delta and value of each entry of `run`; stops where the run is cut off.
  @inline(__always)
  private func forEachEntry(_ run: CodeRun, _ body: (_ delta: UInt32, _ value: UInt32) -> Void) {
    var at = 0
    let end = run.count
    // In bounds by the comparisons with `end`.
    while at + 2 <= end {
      let pair = UInt32(unsafe run.base.loadUnaligned(fromByteOffset: at, as: UInt16.self))
      if pair & 0xFF != 0 {
        body(pair & 0xFF, pair >> 8)
        at += 2
      } else {
        guard at + 9 <= end else { return }
        body(
          unsafe run.base.loadUnaligned(fromByteOffset: at + 1, as: UInt32.self),
          unsafe run.base.loadUnaligned(fromByteOffset: at + 5, as: UInt32.self))
        at += 9
      }
    }
  }

  private func makeCode(_ runs: [CodeRun]) -> RunCode {
    let size = runs.reduce(0) { $0 + $1.count }
    let stride = max(1, size / (1 << 20))
    var histogram = Array(repeating: UInt32(0), count: 65536)
    var total: UInt64 = 0
    unsafe histogram.withUnsafeMutableBufferPointer { histogram in
      var row = 0
      while row < runs.count {
        // The key has 16 bits, the histogram 65536 places.
        forEachEntry(runs[row]) { delta, value in
          total += 1
          if delta < 256 && value < 256 { unsafe histogram[Int(delta | value << 8)] &+= 1 }
        }
        row += stride
      }
    }
    return RunCode(histogram: histogram, total: total)
  }

  /// The section of `runs`, whose text offsets ascend.
  ///
  /// - Returns: The section's bytes, or nil where it would pass 4 GiB.
  func build(_ runs: [CodeRun]) -> CodeBuffer? {
    let code = makeCode(runs)
    let indexOffset = RunTableLayout.headerSize
    let symbolsOffset = indexOffset + (runs.count + 1) * RunTableLayout.indexRow
    let runsOffset = symbolsOffset + code.symbols.count * RunTableLayout.symbolRow
    let size = runs.reduce(0) { $0 + $1.count }
    var head = CodeBuffer(capacity: runsOffset + size / 2 + 64)
    head.put(repeating: 0, count: runsOffset)
    var writer = BitWriter(bytes: head)
    var index = indexOffset
    var entries: UInt64 = 0
    var checkpoints = FlatBuffer<(UInt32, UInt32, UInt32)>(capacity: 256)
    var longRun = BitWriter(bytes: CodeBuffer(capacity: 64 * 1024))
    unsafe code.codes.withUnsafeBufferPointer { codes in
      for run in runs {
        writer.bytes.patch32(at: index, run.textOffset)
        writer.bytes.patch32(at: index + 4, UInt32(truncatingIfNeeded: writer.bytes.count - runsOffset))
        index += RunTableLayout.indexRow
        var count = 0
        var first: UInt32 = 0
        var codeOffset = UInt32.max
        var value: UInt32 = 0
        checkpoints.removeAll()
        longRun.bytes.removeAll()
        forEachEntry(run) { delta, raw in
          var step = raw
          if kind == .addressMap && count == 0 {
            first = raw
            value = raw
            step = 0
          }
          if count > 0 && count % interval == 0 {
            checkpoints.append((codeOffset, UInt32(truncatingIfNeeded: longRun.bitOffset(since: 0)), value))
          }
          let entry = delta < 256 && step < 256 ? unsafe codes[Int(delta | step << 8)] : 0
          if entry != 0 {
            longRun.put(entry & 0xFFFF, entry >> 24)
          } else {
            longRun.put(code.escape & 0xFFFF, code.escape >> 24)
            longRun.putNumber(delta)
            // Zigzag: the sign goes to bit 0.
            let zigzag = (step << 1) ^ UInt32(bitPattern: Int32(bitPattern: step) >> 31)
            longRun.putNumber(kind == .addressMap ? zigzag : step)
          }
          codeOffset = codeOffset &+ delta
          if kind == .addressMap { value = value &+ step }
          count += 1
        }
        longRun.flush()
        entries += UInt64(count)
        writer.bytes.putULEB128(UInt64(count))
        if kind == .addressMap { writer.bytes.putULEB128(UInt64(first)) }
        for row in 0..<checkpoints.count {
          let (codeOffset, bits, value) = checkpoints[row]
          writer.bytes.put32(codeOffset)
          writer.bytes.put32(bits)
          if kind == .addressMap { writer.bytes.put32(value) }
        }
        longRun.bytes.withBytes { writer.bytes.put(contentsOf: $0) }
      }
    }
    var bytes = writer.take()
    let runsSize = bytes.count - runsOffset
    if runsSize > Int(UInt32.max) / 2 { return nil }
    bytes.patch32(at: index, .max)
    bytes.patch32(at: index + 4, UInt32(runsSize))
    bytes.put(repeating: 0, count: RunTableLayout.tailPadding)
    for (field, word) in [
      RunTableLayout.magic, kind.rawValue, UInt32(runs.count), UInt32(interval), UInt32(truncatingIfNeeded: entries),
      UInt32(truncatingIfNeeded: entries >> 32), UInt32(indexOffset), UInt32(code.symbols.count), UInt32(symbolsOffset),
      UInt32(runsOffset), UInt32(runsSize), 0,
    ].enumerated() {
      bytes.patch32(at: field * 4, word)
    }
    for length in 0..<RunTableLayout.maximumCodeLength {
      bytes.patch32(at: RunTableLayout.limitOffset + length * 4, code.limits[length])
      bytes.patch32(at: RunTableLayout.baseOffset + length * 4, code.bases[length])
    }
    for (key, entry) in code.codes.enumerated() where entry != 0 {
      let length = Int(entry >> 24)
      if length > RunTableLayout.shortCodeBits { continue }
      // All windows that start with this code.
      let free = RunTableLayout.shortCodeBits - length
      let first = Int(entry & 0xFFFF) << free
      for window in first..<first + (1 << free) {
        let short = UInt32(length) | UInt32(key & 0xFF) << 8 | UInt32(key >> 8) << 16
        bytes.patch32(at: RunTableLayout.shortCodesOffset + window * 4, short)
      }
    }
    for (row, symbol) in code.symbols.enumerated() {
      bytes.patch32(at: symbolsOffset + row * RunTableLayout.symbolRow, symbol & 0xFF | (symbol >> 8) << 16)
    }
    return bytes
  }
}
