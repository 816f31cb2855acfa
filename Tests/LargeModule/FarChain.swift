// A module whose text is as large as one likes, and whose functions call one another across it.
//
// Small functions, the *nodes*, stand between large ones, the *ballast*, which nobody calls. Each node calls another: the
// first the last, the last the second, that the last but one, and so on towards the middle, which calls the first again.
// So a chain of calls comes to the start, the end and the middle of the text, in turn and any number of times, forwards and
// backwards over every distance that there is.
//
//      node 0   ballast   node 1   ballast   node 2   ballast   node 3
//        '------------------------------------------------------^ |
//                            ^-----------------------------------'
//                            '------------------^
//        ^--------------------------------------'
//
// A node takes the number of calls still to make, a value that it changes before its call and after, and whether the last
// of them traps. Ballast is a large text of a small binary: each of its branches takes some hundreds of constants with it,
// which are written down anew for each.

/// A generator of modules with far calls.
public struct FarChain: Sendable {
  /// Number of nodes.
  public let nodeCount: Int
  /// Branches of each ballast function. On AArch64 each is some five kilobytes of text.
  public let branches: Int

  private static let constants = 256
  private static let factor: UInt64 = 0x9E37_79B9_7F4A_7C15

  /// A module of `nodeCount` nodes, at least 2, with ballast of `branches` branches between any two.
  public init(nodeCount: Int, branches: Int) {
    self.nodeCount = max(2, nodeCount)
    self.branches = max(0, branches)
  }

  /// The index of a node's function.
  public func function(ofNode node: Int) -> Int { 2 * node }

  /// The node that a node calls.
  public func next(_ node: Int) -> Int {
    let isLow = 2 * node < nodeCount
    let other = nodeCount - 1 - node
    let next = isLow ? other : other + 1
    return next == node || (!isLow && 2 * next >= nodeCount) ? 0 : next
  }

  /// The nodes that a chain of `steps` calls comes to, from the first on.
  public func path(steps: Int) -> [Int] {
    var path = [0]
    for _ in 0..<steps { path.append(next(path[path.count - 1])) }
    return path
  }

  /// What the export `run` returns for a number of calls and a value.
  public func result(steps: Int, value: UInt64) -> UInt64 {
    let path = path(steps: steps)
    var value = value
    for node in path.dropLast() { value = value &* Self.factor &+ UInt64(node) }
    for node in path.dropLast().reversed() { value = (value << 1 | value >> 63) ^ UInt64(node) }
    return value
  }

  /// The module's bytes. It exports the first node as `run`: [i32 steps, i64 value, i32 traps] -> [i64].
  public func wasm() -> [UInt8] {
    var module = ShapeModule()
    let node = module.addType([ShapeModule.i32, ShapeModule.i64, ShapeModule.i32], [ShapeModule.i64])
    let ballast = module.addType([ShapeModule.i32], Array(repeating: ShapeModule.i64, count: Self.constants))
    for index in 0..<nodeCount {
      module.addFunction(type: node) { self.node(index, &$0) }
      if index + 1 < nodeCount { module.addFunction(type: ballast) { self.ballast(index, &$0) } }
    }
    module.add(7) {
      $0.name("run")
      $0.raw([0, 0])
    }
    return module.wasm()
  }

  private func node(_ index: Int, _ code: inout Bytes) {
    // i32.eqz, if: unreachable if it is to trap; the value.
    code.raw([0x20, 0, 0x45, 0x04, 0x40, 0x20, 2, 0x04, 0x40, 0x00, 0x0B, 0x20, 1, 0x0F, 0x0B])
    // One call less.
    code.raw([0x20, 0, 0x41, 1, 0x6B])
    // The value times the factor, and the node's number.
    code.raw([0x20, 1, 0x42])
    code.signed(Int(bitPattern: UInt(Self.factor)))
    code.raw([0x7E, 0x42])
    code.signed(index)
    code.raw([0x7C, 0x20, 2, 0x10])
    code.number(function(ofNode: next(index)))
    // i64.rotl by 1, i64.xor.
    code.raw([0x42, 1, 0x89, 0x42])
    code.signed(index)
    code.byte(0x85)
  }

  private func ballast(_ index: Int, _ code: inout Bytes) {
    var random = SplitMix64(state: UInt64(index))
    for _ in 0..<Self.constants {
      code.byte(0x42)
      // No quarter of it is zeros or ones, so that it takes as many instructions as a constant can.
      code.signed(Int(bitPattern: UInt(random.next() & 0x7FFE_7FFE_7FFE_7FFE | 0x0001_0001_0001_0001)))
    }
    for _ in 0..<branches { code.raw([0x20, 0, 0x0D, 0]) }
  }
}
