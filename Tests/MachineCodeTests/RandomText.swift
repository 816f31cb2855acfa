/// Random texts as objects have them: sections with alignments, symbols inside, branches of every kind.
import PrecastMachineCode
import TestSupport

/// A branch in the input.
struct RandomBranch {
  var offset: Int
  var kind: RelocationKind
  var symbol: Int
  /// Distance from the symbol to the target.
  var delta: Int
}

/// A symbol: in a section, or (without one) at an address.
struct RandomSymbol {
  var section: Int?
  var offset: Int
  var address: UInt64 = 0
}

struct RandomSection {
  var size: Int
  var alignment: Int
  var branches: [RandomBranch]
}

/// A text that is to be laid out, and how.
struct RandomText {
  var architecture: Architecture
  var options = TextSectionOptions()
  var sections: [RandomSection] = []
  /// Of each section its start, then the others.
  var symbols: [RandomSymbol] = []

  static let kinds: [Architecture: [RelocationKind]] = [
    .x86_64: [.x86_64PLT32, .x86_64PC32],
    .aarch64: [.aarch64Call26, .aarch64Jump26, .aarch64CondBr19, .aarch64TstBr14],
  ]

  /// At most `count` sections, each far smaller than what its branches reach.
  init(_ architecture: Architecture, using random: inout Random) {
    self.architecture = architecture
    let scale = Int.random(in: 1...3, using: &random)
    options.testing.reach = Int.random(in: 1500...6000, using: &random) * scale & ~3
    options.testing.conditionalReach = Int.random(in: 1500...3000, using: &random) & ~3
    options.testing.testBitReach = Int.random(in: 1024...1500, using: &random) & ~3
    if Int.random(in: 0..<8, using: &random) == 0 { options.testing = TextLayoutTesting() }
    if Int.random(in: 0..<3, using: &random) == 0 {
      options.testing.padding = Int.random(in: 1...64, using: &random)
    }
    options.testing.forceVeneers = Int.random(in: 0..<8, using: &random) == 0
    if Bool.random(using: &random) { options.baseAddress = 0x7E12_3450_0000 }

    let count = Int.random(in: 1...80, using: &random)
    for i in 0..<count {
      let alignment = Int.random(in: 0..<30, using: &random) == 0 ? 512 : 1 << Int.random(in: 2...5, using: &random)
      sections.append(
        RandomSection(size: 8 * Int.random(in: 1...25, using: &random), alignment: alignment, branches: []))
      symbols.append(RandomSymbol(section: i, offset: 0))
    }
    for i in 0..<count where Bool.random(using: &random) {
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let offset = 4 * Int.random(in: 0...sections[i].size / 4, using: &random)
        symbols.append(RandomSymbol(section: i, offset: offset))
      }
    }
    if let base = options.baseAddress {
      for address in [0, 4, base &- 4096, base &+ 12344, base &+ 1 << 31, base &+ 1 << 40, ~3] {
        symbols.append(RandomSymbol(section: nil, offset: 0, address: address))
      }
    }
    let kinds = Self.kinds[architecture] ?? []
    let onlyKind = Bool.random(using: &random) ? kinds.randomElement(using: &random) : nil
    let density = Int.random(in: 1...5, using: &random)
    for i in 0..<count {
      for slot in 0..<sections[i].size / 8 where Int.random(in: 0..<6, using: &random) < density {
        let symbol = Int.random(in: 0..<symbols.count, using: &random)
        var delta = 0
        if let section = symbols[symbol].section, Int.random(in: 0..<4, using: &random) == 0 {
          delta = 4 * Int.random(in: 0...sections[section].size / 4, using: &random) - symbols[symbol].offset
        }
        let kind = onlyKind ?? kinds.randomElement(using: &random) ?? .x86_64PLT32
        sections[i].branches.append(RandomBranch(offset: 8 * slot, kind: kind, symbol: symbol, delta: delta))
      }
      // Relocation sections need not be in order.
      if Int.random(in: 0..<6, using: &random) == 0 { sections[i].branches.shuffle(using: &random) }
    }
  }

  /// A branch's reach under the options.
  func reach(_ kind: RelocationKind) -> Int {
    switch kind {
    case .aarch64CondBr19: min(options.testing.conditionalReach ?? .max, kind.reach)
    case .aarch64TstBr14: min(options.testing.testBitReach ?? .max, kind.reach)
    default: min(options.testing.reach ?? .max, kind.reach)
    }
  }

  /// What S + A - P counts from: the field on AArch64, on x86-64 its end less four.
  func origin(_ branch: RandomBranch) -> Int {
    branch.offset + (architecture == .x86_64 ? (branch.kind == .x86_64PC32 ? 6 : 5) : 0)
  }

  /// Text offset of a target (of an address, by its distance) when sections start at `starts`.
  func target(_ branch: RandomBranch, _ starts: [Int]) -> Int {
    let symbol = symbols[branch.symbol]
    guard let section = symbol.section else {
      return Int(truncatingIfNeeded: symbol.address &- (options.baseAddress ?? 0)) &+ branch.delta
    }
    return starts[section] + symbol.offset + branch.delta
  }

  /// Where sections would stand without islands, and whether any branch is too long for that.
  var needsIslands: Bool {
    var starts: [Int] = []
    var end = 0
    for section in sections {
      let alignment = section.alignment
      starts.append((end + options.testing.padding + alignment - 1) / alignment * alignment)
      end = starts[starts.count - 1] + section.size
    }
    for (start, section) in zip(starts, sections) {
      for branch in section.branches {
        let distance = target(branch, starts) &- (start + origin(branch))
        let reach = reach(branch.kind)
        if options.testing.forceVeneers || distance < -reach || distance >= reach { return true }
      }
    }
    return false
  }

  /// A builder that has been given all of it, with `perChunk` sections to a chunk.
  func makeBuilder(perChunk: Int) -> TextSectionBuilder {
    var builder = TextSectionBuilder(architecture: architecture, options: options)
    for first in stride(from: 0, to: sections.count, by: perChunk) {
      let members = first..<min(first + perChunk, sections.count)
      var code = CodeBuffer()
      var relocations = FlatBuffer<Relocation>()
      var spans: [(offset: Int, relocations: Range<Int>)] = []
      for i in members {
        let alignment = sections[i].alignment
        while code.count % alignment != 0 {
          if architecture == .x86_64 { code.put8(0xCC) } else { code.put32(0xD420_0000) }
        }
        let start = code.count
        let firstRelocation = relocations.count
        for _ in 0..<sections[i].size / 8 { code.put64(filler) }
        for branch in sections[i].branches { put(branch, at: start + branch.offset, &code, &relocations) }
        spans.append((start, firstRelocation..<relocations.count))
      }
      let chunk = CodeChunk(code: code, relocations: relocations)
      for (i, span) in zip(members, spans) {
        builder.add(
          symbol: UInt32(i), chunk: chunk, offset: span.offset, size: sections[i].size, relocations: span.relocations,
          alignment: sections[i].alignment, convention: .platform)
        for (number, symbol) in symbols.enumerated() where number >= sections.count && symbol.section == i {
          builder.define(symbol: UInt32(number), atOffset: symbol.offset)
        }
      }
    }
    for (number, symbol) in symbols.enumerated() where symbol.section == nil {
      builder.define(symbol: UInt32(number), address: symbol.address)
    }
    return builder
  }

  /// Eight bytes of nothing: `nopl 0(%rax,%rax,1)`, or two `nop`.
  private var filler: UInt64 { architecture == .x86_64 ? 0x0000_0000_0084_1F0F : 0xD503_201F_D503_201F }

  // The opcode with an empty field, eight bytes with filler, and its relocation.
  private func put(
    _ branch: RandomBranch, at place: Int, _ code: inout CodeBuffer, _ relocations: inout FlatBuffer<Relocation>
  ) {
    let symbol = UInt32(branch.symbol)
    var field = place
    var addend = Int32(branch.delta)
    switch branch.kind {
    case .x86_64PLT32:  // call
      code.patch32(at: place, 0xFFFF_FFE8)
      code.patch32(at: place + 4, 0x9090_90FF)
      field += 1
      addend -= 4
    case .x86_64PC32:  // jne
      code.patch32(at: place, 0xFFFF_850F)
      code.patch32(at: place + 4, 0x9090_FFFF)
      field += 2
      addend -= 4
    case .aarch64Call26: code.patch32(at: place, 0x9400_0000)
    case .aarch64Jump26: code.patch32(at: place, 0x1400_0000)
    case .aarch64CondBr19: code.patch32(at: place, 0x5400_0001)  // b.ne
    case .aarch64TstBr14: code.patch32(at: place, 0x3628_0003)  // tbz w3, #5
    }
    relocations.append(Relocation(offset: UInt32(field), kind: branch.kind, symbol: symbol, addend: addend))
  }
}
