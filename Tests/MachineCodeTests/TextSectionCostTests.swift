/// The cost of islands is linear in the number of functions and branches, whatever the call graph.
///
/// The builder counts what it looks at: functions, branches, symbols, entries of queues, veneers passed
/// in lists, pieces. Here are texts in which something that is not linear would show: each is laid out
/// with n and with 4n of what it is made of.
import Foundation
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct TextSectionCostTests {
  enum Shape: CaseIterable {
    /// Every function branches to the last one.
    case oneFarTarget
    /// Every function branches to the first one.
    case backwards
    /// Each function branches to four that nobody else does, anywhere.
    case manyTargets
    /// All branches stand in one function, each to another one that is far away.
    case oneSource
    /// The same, four to each target, from one far behind.
    case oneSourceBehind
    /// Functions of a third of the reach, full of branches to the next ten on either side.
    case hugeFunctions
    /// The same, with their relocations in no order.
    case unordered
    /// Each function branches to one at the very edge of its reach.
    case justInReach
    /// The same, with targets that sometimes come in reach and sometimes do not.
    case onTheEdge
    /// Branches of all kinds, to anywhere.
    case mixedKinds
    /// Branches of all kinds, to targets in and out of reach of some.
    case mixedNear
    /// Branches to as many places in one function, by addends.
    case addends
    /// The same, by symbols.
    case symbols
    /// Branches to as many addresses outside of the text.
    case addresses
    /// Nothing far away, but veneers are forced.
    case forced
  }

  struct Branch {
    var offset: Int
    var symbol: Int
    var kind = 0
    var delta = 0
  }

  /// How reach depends on the size of the text.
  enum Reach: CaseIterable {
    /// It does not: the more text, the more islands.
    case constant
    /// It is a part of the text: the more text, the larger are islands.
    case proportional
  }

  /// A text being made. All functions lie over one another in memory, since nobody looks at their code.
  private struct Text: ~Copyable {
    let architecture: Architecture
    var sizes: [Int] = []
    var branches: [[Branch]] = []
    var definitions: [(symbol: Int, function: Int, offset: Int)] = []
    var addresses: [(symbol: Int, address: UInt64)] = []
    var options = TextSectionOptions()

    init(_ architecture: Architecture) { self.architecture = architecture }

    mutating func add(_ size: Int, _ list: [Branch]) {
      sizes.append(size)
      branches.append(list)
    }

    var kinds: [RelocationKind] {
      switch architecture {
      case .x86_64: [.x86_64PLT32, .x86_64PC32]
      case .aarch64: [.aarch64Call26, .aarch64CondBr19, .aarch64TstBr14, .aarch64Jump26]
      }
    }

    struct Cost {
      var steps: Int
      var input: Int
      var veneers: Int
      var islands: Int
    }

    func layOut() throws -> Cost {
      var builder = TextSectionBuilder(architecture: architecture, symbolCount: sizes.count, options: options)
      let memory = UnsafeMutableRawPointer.allocate(byteCount: sizes.max() ?? 0, alignment: 16)
      defer { unsafe memory.deallocate() }
      unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: sizes.max() ?? 0)
      let bias = architecture == .x86_64 ? 4 : 0
      let kinds = kinds
      var relocations = FlatBuffer<Relocation>()
      var firsts = [0]
      for list in branches {
        for branch in list {
          relocations.append(
            Relocation(
              offset: UInt32(branch.offset), kind: kinds[branch.kind % kinds.count], symbol: UInt32(branch.symbol),
              addend: Int32(branch.delta - bias)))
        }
        firsts.append(relocations.count)
      }
      var definition = 0
      for i in sizes.indices {
        // Memory and relocations outlive the builder's use of them.
        unsafe builder.add(
          symbol: UInt32(i), code: memory, size: sizes[i],
          relocations: UnsafeBufferPointer(rebasing: relocations.unsafeElements[firsts[i]..<firsts[i + 1]]))
        while definition < definitions.count, definitions[definition].function == i {
          builder.define(symbol: UInt32(definitions[definition].symbol), atOffset: definitions[definition].offset)
          definition += 1
        }
      }
      for (symbol, address) in addresses { builder.define(symbol: UInt32(symbol), address: address) }
      try builder.finish()
      return Cost(
        steps: builder.steps, input: sizes.count + relocations.count + definitions.count + addresses.count,
        veneers: builder.veneerCount, islands: builder.islandCount)
    }
  }

  /// A text of about `n` branches.
  private func text(_ shape: Shape, _ architecture: Architecture, _ reach: Reach, _ n: Int) -> Text {
    var text = Text(architecture)
    var random = Random(seed: 21)
    // Bytes of text, about: 32 for each branch.
    let size = 32 * n
    let constant = 1 << 11
    let calls = reach == .constant ? constant : size / 16
    text.options.testing.reach = calls
    text.options.testing.conditionalReach = calls / 4
    text.options.testing.testBitReach = calls / 16
    let last = n - 1
    switch shape {
    case .oneFarTarget: for _ in 0..<n { text.add(32, [Branch(offset: 8, symbol: last)]) }
    case .backwards: for _ in 0..<n { text.add(32, [Branch(offset: 8, symbol: 0)]) }
    case .manyTargets:
      var targets = Array(0..<n)
      targets.shuffle(using: &random)
      for i in 0..<n {
        text.add(32, i < n / 4 ? (0..<4).map { Branch(offset: 8 * $0, symbol: targets[4 * i + $0]) } : [])
      }
    case .oneSource, .oneSourceBehind:
      // All have to get out of the function that they stand in.
      text.options.testing.reach = 64 * n
      let count = shape == .oneSource ? n : n / 4
      let source = (0..<n).map { Branch(offset: 8 * $0, symbol: (shape == .oneSource ? 2 : 0) + $0 % count) }
      if shape == .oneSource {
        text.add(8 * n, source)
        text.add(128 * n, [])
      }
      for _ in 0..<count { text.add(32, []) }
      if shape == .oneSourceBehind {
        text.add(128 * n, [])
        text.add(8 * n, source)
      }
    case .hugeFunctions, .unordered:
      let each = (calls / 3) & ~31
      let count = max(size / each, 1)
      for i in 0..<count {
        // As many different ones in a small text as in a large one.
        let near = max(0, i - 10)...min(count - 1, i + 10)
        var list = (0..<each / 32).map {
          Branch(offset: 32 * $0, symbol: Int.random(in: near, using: &random), delta: 4 * ($0 % 64))
        }
        if shape == .unordered { list.shuffle(using: &random) }
        text.add(each, list)
      }
    case .justInReach, .onTheEdge:
      for i in 0..<n {
        let edge = shape == .justInReach ? -1 : Int.random(in: -40...4, using: &random)
        let target = (calls / 32 + edge) * (i % 3 == 0 ? -1 : 1) + i
        let far = i == 0 ? [Branch(offset: 0, symbol: last)] : []
        text.add(32, far + [Branch(offset: 8, symbol: min(max(target, 0), last))])
      }
    case .mixedKinds:
      for i in 0..<n { text.add(32, [Branch(offset: 8, symbol: Int.random(in: 0..<n, using: &random), kind: i % 4)]) }
    case .mixedNear:
      for i in 0..<n {
        let range = max(0, i - calls / 24)...min(last, i + calls / 24)
        text.add(32, [Branch(offset: 8, symbol: Int.random(in: range, using: &random), kind: i % 4)])
      }
    case .addends, .symbols:
      // The place of all targets.
      text.add(4 * n, [])
      if shape == .symbols { text.definitions = (0..<n).map { (symbol: n + 1 + $0, function: 0, offset: 4 * $0) } }
      for i in 0..<n {
        text.add(
          32, [shape == .addends ? Branch(offset: 8, symbol: 0, delta: 4 * i) : Branch(offset: 8, symbol: n + 1 + i)])
      }
    case .addresses:
      text.options.baseAddress = 1 << 40
      text.addresses = (0..<n).map { (symbol: n + $0, address: UInt64(1 << 20 + 16 * $0)) }
      for i in 0..<n { text.add(32, [Branch(offset: 8, symbol: n + i)]) }
    case .forced:
      text.options.testing.forceVeneers = true
      for i in 0..<n { text.add(32, [Branch(offset: 8, symbol: min(last, i + 1))]) }
    }
    return text
  }

  @Test(arguments: Shape.allCases, Architecture.allCases)
  func stepsAreInProportionToTheText(_ shape: Shape, _ architecture: Architecture) throws {
    for reach in Reach.allCases {
      let n = 12_500
      let small = try text(shape, architecture, reach, n).layOut()
      let large = try text(shape, architecture, reach, 4 * n).layOut()
      #expect(small.veneers > 0 && large.veneers >= small.veneers, "\(reach): nothing needs veneers")
      #expect(Double(large.steps) <= 4.2 * Double(small.steps), "\(reach): \(small), \(large)")
      #expect(large.steps <= 12 * large.input, "\(reach): \(large)")
      if Self.isVerbose { print("\(shape) \(architecture) \(reach):", small, large) }
    }
  }

  static let isVerbose = ProcessInfo.processInfo.environment["PRECAST_SHOW_COSTS"] != nil

  // As many as a large program has, and an island as large as there can be.
  @Test(arguments: Architecture.allCases) func aMillionBranchesToOneTarget(_ architecture: Architecture) throws {
    let cost = try text(.oneFarTarget, architecture, .constant, 1_000_000).layOut()
    // Of a text of 15,600 reaches, each veneer serves nearly one.
    #expect(cost.veneers < 18_000 && cost.islands == cost.veneers)
    #expect(cost.steps <= 12 * cost.input)
  }

  @Test(arguments: Architecture.allCases) func anIslandOfAHundredThousandVeneers(_ architecture: Architecture) throws {
    let cost = try text(.oneSource, architecture, .proportional, 100_000).layOut()
    #expect(cost.veneers == 100_000 && cost.islands == 1)
    #expect(cost.steps <= 12 * cost.input)
  }
}
