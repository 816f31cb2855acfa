/// Writing distances into branches, once everything has its place.
///
/// First without islands: one sequential pass over all relocations, which ends either with a text
/// that is done or at the first branch that does not reach. The latter costs nothing that matters:
/// distances are stored over whatever was there, so after the islands have been laid out all of
/// them are stored once more.
///
/// With islands, a branch goes directly where it can, else to the first veneer of its target that
/// it reaches. A target's veneers are a list in the order of the text, and branches are visited in
/// that order as well; so for each target and each reach a cursor along the list only moves
/// forward, and the pass is linear.

extension TextSectionBuilder {
  // The pass that nearly every x86-64 module takes. Returns whether every branch reaches.
  internal mutating func resolveNearRel32() throws(TextSectionError) -> Bool {
    let symbolCount = symbols.count
    // Locals, so that the loop keeps them in registers. Every access below is within bounds that
    // were checked when the function was added, or are checked here.
    let offsets = unsafe symbols.startAddress
    let reach = reach(ofClass: 0)
    for i in 0..<functions.count {
      let function = functions[i]
      guard let relocations = unsafe function.relocations else { continue }
      for j in 0..<Int(function.relocationCount) {
        let relocation = unsafe relocations[j]
        let offset = relocation.offset &- function.relocationBase
        guard relocation.kind == .x86_64PLT32 || relocation.kind == .x86_64PC32, function.size >= 4,
          offset <= function.size &- 4
        else {
          throw .invalidRelocation(place(offset, i))
        }
        let symbol = Int(relocation.symbol)
        guard symbol < symbolCount, unsafe offsets[symbol] != Self.unplaced else {
          throw .undefinedSymbol(relocation.symbol, place(offset, i))
        }
        let distance =
          unsafe offsets[symbol] &+ Int(relocation.addend) &- (function.offset &+ Int(offset))
        // Both bounds in one comparison.
        guard UInt(bitPattern: distance &+ reach) < UInt(bitPattern: 2 &* reach) else { return false }
        unsafe function.code.storeBytes(
          of: Int32(truncatingIfNeeded: distance), toByteOffset: Int(offset), as: Int32.self)
      }
    }
    return true
  }

  // The same for AArch64.
  internal mutating func resolveNearAArch64() throws(TextSectionError) -> Bool {
    let symbolCount = symbols.count
    let offsets = unsafe symbols.startAddress
    let (calls, conditionals, bitTests) = (reach(ofClass: 0), reach(ofClass: 1), reach(ofClass: 2))
    for i in 0..<functions.count {
      let function = functions[i]
      guard let relocations = unsafe function.relocations else { continue }
      for j in 0..<Int(function.relocationCount) {
        let relocation = unsafe relocations[j]
        let offset = relocation.offset &- function.relocationBase
        let isCall = relocation.kind == .aarch64Call26 || relocation.kind == .aarch64Jump26
        guard relocation.kind.architecture == .aarch64, function.size >= 4, offset <= function.size &- 4 else {
          throw .invalidRelocation(place(offset, i))
        }
        let symbol = Int(relocation.symbol)
        guard symbol < symbolCount, unsafe offsets[symbol] != Self.unplaced else {
          throw .undefinedSymbol(relocation.symbol, place(offset, i))
        }
        let distance =
          unsafe offsets[symbol] &+ Int(relocation.addend) &- (function.offset &+ Int(offset))
        guard (distance | (function.offset &+ Int(offset))) & 3 == 0 else { throw .invalidRelocation(place(offset, i)) }
        let reach = isCall ? calls : relocation.kind == .aarch64CondBr19 ? conditionals : bitTests
        guard UInt(bitPattern: distance &+ reach) < UInt(bitPattern: 2 &* reach) else { return false }
        store(distance, relocation.kind, at: function, offset)
      }
    }
    return true
  }

  // Resolves every branch, directly where it reaches, otherwise through its target's next veneer.
  internal mutating func resolve(_ planner: inout IslandPlanner) throws(TextSectionError) {
    var cursors = VeneerCursors(&planner)
    let bias = planner.bias
    for i in 0..<functions.count {
      let function = functions[i]
      planner.steps += Int(function.relocationCount)
      for j in 0..<Int(function.relocationCount) {
        let relocation = try relocation(j, of: i)
        let number = relocation.kind.reachClass
        let reach = planner.reaches[number]
        let start = function.offset + Int(relocation.offset) + bias
        let target = planner.target(of: relocation)
        var distance = planner.targets[target].position &- start
        guard distance & planner.misalignment == 0 else { throw .invalidRelocation(place(relocation.offset, i)) }
        if options.testing.forceVeneers || !(distance >= -reach && distance < reach) {
          guard let veneer = cursors.next(for: target, class: number, from: start - reach, &planner),
            veneer - start < reach
          else {
            throw .outOfReach(relocation.symbol, place(relocation.offset, i), distance: distance)
          }
          distance = veneer - start
        }
        store(distance, relocation.kind, at: function, relocation.offset)
      }
    }
  }

  // A relocation with its offset counted from the start of its function, checked. Its symbol has a
  // number that is in use, but need not be defined.
  @inline(__always)
  internal func relocation(_ j: Int, of index: Int) throws(TextSectionError) -> Relocation {
    let function = functions[index]
    guard let relocations = unsafe function.relocations else { throw .invalidRelocation(place(0, index)) }
    // `j` is below the count that came with the pointer.
    let relocation = unsafe relocations[j].rebased(by: function.relocationBase)
    guard relocation.kind.architecture == architecture, function.size >= 4,
      relocation.offset <= function.size - 4,
      architecture == .x86_64 || (function.offset + Int(relocation.offset)) & 3 == 0
    else {
      throw .invalidRelocation(place(relocation.offset, index))
    }
    guard relocation.symbol < symbols.count else {
      throw .undefinedSymbol(relocation.symbol, place(relocation.offset, index))
    }
    return relocation
  }

  internal func place(_ offset: UInt32, _ index: Int) -> TextPlace {
    TextPlace(function: index, offset: Int(offset), textOffset: functions[index].offset + Int(offset))
  }

  // Stores a distance that is known to fit into a field whose bounds have been checked.
  @inline(__always)
  internal func store(_ distance: Int, _ kind: RelocationKind, at function: Function, _ offset: UInt32) {
    let place = unsafe function.code + Int(offset)
    let words = UInt32(truncatingIfNeeded: distance >> 2)
    let (field, mask): (UInt32, UInt32)
    switch kind {
    case .x86_64PLT32, .x86_64PC32:
      unsafe place.storeBytes(of: Int32(truncatingIfNeeded: distance), as: Int32.self)
      return
    case .aarch64Call26, .aarch64Jump26: (field, mask) = (words, 0x03FF_FFFF)
    case .aarch64CondBr19: (field, mask) = (words << 5, 0x00FF_FFE0)
    case .aarch64TstBr14: (field, mask) = (words << 5, 0x0007_FFE0)
    }
    let word = unsafe place.loadUnaligned(as: UInt32.self)
    unsafe place.storeBytes(of: word & ~mask | field & mask, as: UInt32.self)
  }
}

/// For each target and class, the first veneer that branches from here on may still use.
private struct VeneerCursors: ~Copyable {
  // Indices + 1, of classes other than the first, in which nearly all branches are; made when needed.
  private var others = FlatBuffer<UInt32>(capacity: 1)
  private var firsts: FlatBuffer<UInt32>

  /// From the start of the text; the planner's targets hold the text offsets of the first class's.
  init(_ planner: inout IslandPlanner) {
    firsts = FlatBuffer(capacity: planner.targets.count)
    for target in 0..<planner.targets.count {
      let first = planner.firstVeneers[target]
      firsts.append(first)
      if first != 0 { planner.targets[target].veneer = planner.veneers[Int(first) - 1].textOffset }
    }
  }

  /// Text offset of the first veneer for `target` at or after `limit`.
  mutating func next(
    for target: Int, class number: Int, from limit: Int, _ planner: inout IslandPlanner
  ) -> Int? {
    if number == 0 {
      // Mostly the one that the branch before used.
      let veneer = planner.targets[target].veneer
      if veneer >= limit { return veneer }
      guard veneer != TextSectionBuilder.unplaced else { return nil }
      firsts[target] = advance(firsts[target], to: limit, &planner)
      let index = Int(firsts[target])
      let offset = index == 0 ? TextSectionBuilder.unplaced : planner.veneers[index - 1].textOffset
      planner.targets[target].veneer = offset
      return index == 0 ? nil : offset
    }
    if others.isEmpty {
      planner.steps += planner.targets.count
      for target in 0..<planner.targets.count {
        for _ in 1..<IslandPlanner.classCount { others.append(planner.firstVeneers[target]) }
      }
    }
    let cursor = target * (IslandPlanner.classCount - 1) + number - 1
    others[cursor] = advance(others[cursor], to: limit, &planner)
    let index = Int(others[cursor])
    return index == 0 ? nil : planner.veneers[index - 1].textOffset
  }

  private func advance(_ cursor: UInt32, to limit: Int, _ planner: inout IslandPlanner) -> UInt32 {
    var cursor = cursor
    while cursor != 0, planner.veneers[Int(cursor) - 1].textOffset < limit {
      planner.steps += 1
      cursor = planner.veneers[Int(cursor) - 1].next
    }
    return cursor
  }
}
