/// Islands: how a branch gets further than its encoding carries.
///
/// A branch that cannot reach its target goes to a *veneer*, a few instructions that can; veneers
/// stand in *islands* between functions, at most a branch's reach away from whoever needs them. The
/// question is where to put them and for whom. A linker that knows all addresses may iterate until
/// nothing changes (each veneer moves what follows it, which may put more targets out of reach).
/// We want one pass, in the order of the text, whose cost is linear.
///
/// Each branch that is not settled when its function is placed (its target comes later, or came too
/// long ago) has a *deadline*: the last text offset that it reaches. Branches of one reach come in
/// order of place, so their deadlines are a queue; there is a queue for each reach that the
/// architecture has (AArch64: ±128 MiB, ±1 MiB, ±32 KiB). Before a function is placed we ask of each
/// queue whether an island *after* the function would still meet the deadline at its head, even if
/// each target that this queue waits for needed a veneer there; if not, the branches that would be
/// late get their veneers now, and only they: the others may still see their targets come within
/// reach. By induction a veneer is in time whenever it is planted.
///
/// What may stand before a veneer in such an island is what keeps reaches apart. Veneers for short
/// branches come first, so a deadline has to allow for those of its own reach and of shorter ones,
/// never for the thousands of targets for which a `bl` may wait: a short branch does not force
/// veneers on the long ones, nor do they on it. The veneers for longer branches that *are* planted
/// now move what follows, so we decide about the longest reach first and count its bytes when we
/// come to the shorter. The estimate is pessimistic by alignment and by targets that are counted
/// and then come in time: one island at most.
///
/// A veneer settles all open branches to its target, of every reach, and every later branch that
/// reaches back to it. A branch that could use both goes directly. Targets too far back are served
/// the same way, and so are targets outside of the text.
///
/// A target is a place: a symbol with an addend. Nearly all branches have the addend that means
/// the symbol itself, so targets 0..<symbolCount are the symbols; others get a number when they are
/// first met.

/// Plans where veneers stand. One use: `layOut`, once.
internal struct IslandPlanner: ~Copyable {
  /// Number of different reaches that branches of one architecture have.
  static let classCount = 3

  /// A few instructions that jump to a target.
  struct Veneer: BitwiseCopyable {
    var textOffset: Int
    var target: UInt32
    // The target's next veneer in the text, as index + 1; 0 for none.
    var next: UInt32
    var isAbsolute: Bool
  }

  /// A place that branches lead to. 32 bytes: half a million of them are visited in no order, twice
  /// for each branch, so all that a branch asks of its target stands together.
  struct Target: BitwiseCopyable {
    // Text offset; before its function has been placed, offset in the function.
    var position: Int
    // Text offset of the veneer planted last (while branches are resolved, of the next in question);
    // `unplaced` if there is none.
    var veneer = TextSectionBuilder.unplaced
    // The function, or `outside`.
    var function: UInt32
    // Another target made from the same symbol, as index; 0 for none.
    var next: UInt32 = 0
    // For which classes some branch waits for it, as bits.
    var waiting: UInt8 = 0
    var convention = CallingConvention.wasm
    var isPlaced = false
  }

  /// A branch that is not settled.
  struct OpenBranch: BitwiseCopyable {
    // What distances count from: the field, or on x86-64 its end.
    var start: Int
    var target: UInt32
    // How much earlier the branch counts as far as its deadline is concerned: in a function whose
    // relocations are not in order, all deadlines are those of its first byte.
    var slack: UInt32
  }

  /// The branches of one reach that are not settled, in order of deadline.
  struct Pending: ~Copyable {
    var queue = FlatBuffer<OpenBranch>(capacity: 64)
    var head = 0
    // Taken from the queue for the island that is being made.
    var late = FlatBuffer<OpenBranch>(capacity: 16)
    // Number of targets that branches wait for.
    var targets = 0
  }

  // A target outside of the text has no function.
  static let outside = UInt32.max

  let architecture: Architecture
  let options: TextSectionOptions
  /// What distances count from, in bytes from the field.
  let bias: Int
  /// Bits that no distance has.
  let misalignment: Int
  private let symbolCount: Int
  private let veneerAlignment: Int
  private let largestVeneer: Int
  // Whether targets that have no place yet may turn out to lie further than an AArch64 veneer
  // without an absolute address carries.
  private let isHuge: Bool

  var targets: FlatBuffer<Target>
  /// How far the branches of each class reach.
  let reaches: InlineArray<3, Int>
  private var pending: InlineArray<3, Pending>
  var veneers = FlatBuffer<Veneer>(capacity: 64)
  // The first and the last veneer of each target, as index + 1; 0 for none.
  private(set) var firstVeneers: FlatBuffer<UInt32>
  private var lastVeneers: FlatBuffer<UInt32>
  // Targets that are not just symbols, by symbol and addend. For lookups only; nothing depends on
  // its order.
  private var derived: [UInt64: UInt32] = [:]
  // For each target, the number of the island (plus one) for which it has been counted as late.
  private var counted: FlatBuffer<UInt32>
  /// What `TextSectionBuilder.steps` counts.
  var steps = 0

  init(_ builder: borrowing TextSectionBuilder) throws(TextSectionError) {
    architecture = builder.architecture
    options = builder.options
    bias = architecture == .x86_64 ? 4 : 0
    misalignment = architecture == .x86_64 ? 0 : 3
    symbolCount = builder.symbols.count
    isHuge = options.baseAddress != nil && builder.cursor > 3 << 30
    switch architecture {
    case .x86_64:
      veneerAlignment = X86_64Veneer.alignment
      largestVeneer = max(X86_64Veneer.size, X86_64Veneer.absoluteSize)
    case .aarch64:
      veneerAlignment = AArch64Veneer.alignment
      largestVeneer = options.baseAddress == nil ? AArch64Veneer.size : AArch64Veneer.absoluteSize
    }
    reaches = [builder.reach(ofClass: 0), builder.reach(ofClass: 1), builder.reach(ofClass: 2)]
    pending = InlineArray<3, Pending> { _ in Pending() }
    // A symbol that nothing defines stays outside, without a place; whoever branches to it fails.
    targets = FlatBuffer(capacity: symbolCount)
    targets.fill(with: Target(position: 0, function: Self.outside), to: symbolCount)
    counted = FlatBuffer(capacity: symbolCount)
    counted.fill(with: 0, to: symbolCount)
    firstVeneers = FlatBuffer(capacity: symbolCount)
    firstVeneers.fill(with: 0, to: symbolCount)
    lastVeneers = FlatBuffer(capacity: symbolCount)
    lastVeneers.fill(with: 0, to: symbolCount)
    for i in 0..<builder.functions.count {
      let function = builder.functions[i]
      setTarget(function.symbol, offset: 0, function: i, function.convention)
    }
    steps = symbolCount + builder.functions.count + builder.definitions.count + builder.absolutes.count
    for i in 0..<builder.definitions.count {
      let definition = builder.definitions[i]
      let function = Int(definition.function)
      setTarget(
        definition.symbol, offset: Int(definition.offset), function: function, builder.functions[function].convention)
    }
    for i in 0..<builder.absolutes.count {
      let absolute = builder.absolutes[i]
      targets[Int(absolute.symbol)].position = absolute.offset
      targets[Int(absolute.symbol)].isPlaced = true
      targets[Int(absolute.symbol)].convention = absolute.convention
    }
  }

  private mutating func setTarget(
    _ symbol: UInt32, offset: Int, function: Int, _ convention: CallingConvention
  ) {
    targets[Int(symbol)].position = offset
    targets[Int(symbol)].function = UInt32(function)
    targets[Int(symbol)].convention = convention
  }

  /// The target of a branch to one of the symbols.
  @inline(__always)
  mutating func target(of relocation: Relocation) -> Int {
    let delta = Int(relocation.addend) + bias
    return delta == 0 ? Int(relocation.symbol) : derivedTarget(of: relocation, delta)
  }

  @inline(never)
  private mutating func derivedTarget(of relocation: Relocation, _ delta: Int) -> Int {
    let key = UInt64(relocation.symbol) << 32 | UInt64(UInt32(bitPattern: relocation.addend))
    if let known = derived[key] { return Int(known) }
    let symbol = Int(relocation.symbol)
    var target = targets[symbol]
    target.position &+= delta
    target.veneer = TextSectionBuilder.unplaced
    target.waiting = 0
    let number = targets.count
    targets[symbol].next = UInt32(number)
    targets.append(target)
    counted.append(0)
    firstVeneers.append(0)
    lastVeneers.append(0)
    derived[key] = UInt32(number)
    return number
  }

  // MARK: Layout

  /// Moves the functions of `builder` apart for islands.
  mutating func layOut(_ builder: inout TextSectionBuilder) throws(TextSectionError) {
    builder.islands.removeAll()
    builder.cursor = 0
    var definition = 0
    for i in 0..<builder.functions.count {
      let function = builder.functions[i]
      let alignment = 1 << Int(function.alignmentShift)
      let start = builder.aligned(builder.cursor + options.testing.padding, to: alignment)
      decide(
        function: UInt32(i), start: start + veneerAlignment + alignment,
        end: start + Int(function.size) + 2 * veneerAlignment + alignment
          + Int(function.relocationCount) * largestVeneer)
      plantLate(before: i, &builder)

      let offset = builder.aligned(builder.cursor + options.testing.padding, to: alignment)
      builder.functions[i].offset = offset
      builder.cursor = offset + Int(function.size)
      place(function.symbol, at: offset, size: Int(function.size))
      while definition < builder.definitions.count, builder.definitions[definition].function == i {
        place(builder.definitions[definition].symbol, at: offset, size: Int(function.size))
        definition += 1
      }
      try enqueue(i, builder)
    }
    decide(function: Self.outside, start: .max / 2, end: .max / 2)
    plantLate(before: builder.functions.count, &builder)
    for i in 0..<symbolCount where targets[i].isPlaced { builder.symbols[i] = targets[i].position }
  }

  // Gives `symbol`, and what is reached from it by an addend, its place in the function at `start`.
  private mutating func place(_ symbol: UInt32, at start: Int, size: Int) {
    var index = Int(symbol)
    repeat {
      steps += 1
      let target = targets[index]
      targets[index].position = start + target.position
      targets[index].isPlaced = true
      // All that wait for it still reach this far, or they would have had a veneer by now.
      if target.waiting != 0, target.position >= 0, target.position <= size, !options.testing.forceVeneers {
        stopWaiting(index)
      }
      index = Int(target.next)
    } while index != 0
  }

  private mutating func stopWaiting(_ target: Int) {
    let waiting = targets[target].waiting
    for number in 0..<Self.classCount where waiting & 1 << UInt8(number) != 0 { pending[number].targets -= 1 }
    targets[target].waiting = 0
  }

  // Queues the branches of a function that has been placed, unless they are settled.
  private mutating func enqueue(_ i: Int, _ builder: borrowing TextSectionBuilder) throws(TextSectionError) {
    let function = builder.functions[i]
    var isSorted = true
    steps += 1 + Int(function.relocationCount)
    if let relocations = unsafe function.relocations {
      for j in 1..<max(1, Int(function.relocationCount)) {
        // Both are below the count that came with the pointer.
        if unsafe relocations[j].offset < relocations[j - 1].offset { isSorted = false }
      }
    }
    for j in 0..<Int(function.relocationCount) {
      let relocation = try builder.relocation(j, of: i)
      let number = relocation.kind.reachClass
      let index = target(of: relocation)
      let target = targets[index]
      guard target.isPlaced || target.function != Self.outside else {
        throw .undefinedSymbol(relocation.symbol, builder.place(relocation.offset, i))
      }
      let start = function.offset + Int(relocation.offset) + bias
      if isSettled(start, target, reach: reaches[number]) { continue }
      pending[number].queue.append(
        OpenBranch(start: start, target: UInt32(index), slack: isSorted ? 0 : relocation.offset))
      let bit: UInt8 = 1 << UInt8(number)
      if target.waiting & bit == 0 {
        targets[index].waiting |= bit
        pending[number].targets += 1
      }
    }
  }

  // Whether a branch reaches its target, or a veneer for it, as far as they have been placed.
  @inline(__always)
  private func isSettled(_ start: Int, _ target: Target, reach: Int) -> Bool {
    let span = UInt(bitPattern: 2 &* reach)
    if target.isPlaced, !options.testing.forceVeneers,
      UInt(bitPattern: target.position &- start &+ reach) < span
    {
      return true
    }
    return target.veneer != TextSectionBuilder.unplaced
      && UInt(bitPattern: target.veneer &- start &+ reach) < span
  }

  // Takes from the queues the branches that would be late if the next island came after `function`.
  // Without veneers, whatever that function defines would stand from `start` on, and the island
  // would come before `end`, its veneers for branches of the function included.
  private mutating func decide(function: UInt32, start: Int, end: Int) {
    let island = UInt32(truncatingIfNeeded: veneers.count) &+ 1
    // Bytes of veneers for branches of longer reach, planted now.
    var planted = 0
    for number in 0..<Self.classCount {
      pending[number].late.removeAll()
      let first = pending[number].head
      var before = planted
      for other in number..<Self.classCount { before += pending[other].targets * largestVeneer }
      let limit = end &+ before
      while pending[number].head < pending[number].queue.count {
        let branch = pending[number].queue[pending[number].head]
        let deadline = branch.start - Int(branch.slack) + reaches[number] - 1
        // Even if it is settled: whoever comes after it is not late either.
        if deadline >= limit { break }
        let target = targets[Int(branch.target)]
        if !isSettled(branch.start, target, reach: reaches[number]) {
          let comesInTime =
            target.function == function && !target.isPlaced && start + target.position + before <= deadline
            && !options.testing.forceVeneers
          if !comesInTime {
            pending[number].late.append(branch)
            if counted[Int(branch.target)] != island {
              counted[Int(branch.target)] = island
              planted += largestVeneer
            }
          }
        }
        pending[number].head += 1
      }
      steps += 1 + pending[number].head - first
      // Keep the queue as short as what is open.
      if pending[number].head == pending[number].queue.count {
        pending[number].queue.removeAll()
        pending[number].head = 0
      }
    }
  }

  // Plants the veneers that have been decided upon, those for the shortest branches first.
  private mutating func plantLate(before index: Int, _ builder: inout TextSectionBuilder) {
    for number in (0..<Self.classCount).reversed() {
      steps += 1 + pending[number].late.count
      for i in 0..<pending[number].late.count {
        let branch = pending[number].late[i]
        let target = targets[Int(branch.target)]
        if !isSettled(branch.start, target, reach: reaches[number]) {
          plant(Int(branch.target), before: index, &builder)
        }
      }
    }
  }

  private mutating func plant(_ target: Int, before index: Int, _ builder: inout TextSectionBuilder) {
    let last = builder.islands.count - 1
    let isFirst = last < 0 || builder.islands[last].functionIndex != index
    if isFirst { builder.cursor = builder.aligned(builder.cursor, to: veneerAlignment) }
    let textOffset = builder.cursor
    let isAbsolute = needsAddress(targets[target], from: textOffset)
    let size: Int
    switch architecture {
    case .x86_64: size = isAbsolute ? X86_64Veneer.absoluteSize : X86_64Veneer.size
    case .aarch64: size = isAbsolute ? AArch64Veneer.absoluteSize : AArch64Veneer.size
    }
    if isFirst {
      builder.islands.append(
        TextSectionBuilder.Island(textOffset: textOffset, size: size, functionIndex: index))
    } else {
      builder.islands[last].size += size
    }
    veneers.append(Veneer(textOffset: textOffset, target: UInt32(target), next: 0, isAbsolute: isAbsolute))
    let number = UInt32(veneers.count)
    let before = Int(lastVeneers[target])
    if before != 0 { veneers[before - 1].next = number } else { firstVeneers[target] = number }
    lastVeneers[target] = number
    targets[target].veneer = textOffset
    stopWaiting(target)
    builder.cursor += size
  }

  // Whether a veneer has to hold its target's address. On x86-64 it does wherever it can, because
  // then it touches no register.
  private func needsAddress(_ target: Target, from textOffset: Int) -> Bool {
    guard options.baseAddress != nil else { return false }
    if architecture == .x86_64 { return true }
    return target.isPlaced ? !AArch64Veneer.reaches(target.position, from: textOffset) : isHuge
  }
}

extension TextSectionBuilder {
  // Writes the code of all veneers, now that their targets stand still.
  internal mutating func emitVeneers(_ planner: inout IslandPlanner) throws(TextSectionError) {
    veneerCode.removeAll()
    veneerCount = planner.veneers.count
    holdsAbsoluteAddresses = false
    for i in 0..<planner.veneers.count {
      let veneer = planner.veneers[i]
      let target = planner.targets[Int(veneer.target)]
      let address = options.baseAddress.map { $0 &+ UInt64(bitPattern: Int64(target.position)) }
      switch (architecture, address) {
      case (.x86_64, let address?) where veneer.isAbsolute:
        X86_64Veneer.emitAbsolute(into: &veneerCode, to: address)
        holdsAbsoluteAddresses = true
      case (.x86_64, _):
        X86_64Veneer.emit(
          into: &veneerCode, from: veneer.textOffset, to: target.position,
          scratch: target.convention == .wasm ? .rax : .r11)
      case (.aarch64, let address?) where veneer.isAbsolute:
        AArch64Veneer.emitAbsolute(into: &veneerCode, to: address, jump: jump(to: target))
        holdsAbsoluteAddresses = true
      case (.aarch64, _):
        if !AArch64Veneer.emit(
          into: &veneerCode, from: veneer.textOffset, to: target.position, jump: jump(to: target))
        {
          throw .outOfReach(
            target.function == IslandPlanner.outside ? .max : functions[Int(target.function)].symbol,
            place(ofVeneer: veneer), distance: target.position &- veneer.textOffset)
        }
      }
    }
  }

  // A veneer counts as a place behind the function before it.
  private func place(ofVeneer veneer: IslandPlanner.Veneer) -> TextPlace {
    var index = 0
    for i in 0..<islands.count where islands[i].textOffset <= veneer.textOffset {
      index = max(islands[i].functionIndex - 1, 0)
    }
    return TextPlace(
      function: index, offset: veneer.textOffset - functions[index].offset, textOffset: veneer.textOffset)
  }

  // With branch target identification on, a `br` may only lead to a landing pad. Functions that are
  // called directly only may lack one.
  private func jump(to target: IslandPlanner.Target) -> AArch64Veneer.Jump {
    guard options.branchTargetIdentification, target.function != IslandPlanner.outside else { return .branch }
    let function = functions[Int(target.function)]
    let offset = target.position - function.offset
    guard offset >= 0, offset + 4 <= Int(function.size) else { return .return }
    // Within the function, as just checked.
    let instruction = unsafe function.code.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    return AArch64Veneer.isLandingPad(instruction) ? .branch : .return
  }
}
