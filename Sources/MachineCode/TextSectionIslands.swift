/// Islands: how a call gets further than its encoding carries.
///
/// A branch that cannot reach its target goes to a *veneer*, a few instructions that can; veneers
/// stand in *islands* between functions, at most a branch's reach away from whoever needs them. The
/// question is where to put them and for whom. A linker that knows all addresses may iterate until
/// nothing changes (each veneer moves what follows it, which may put more targets out of reach).
/// We want one pass, in the order of the text, whose cost is linear.
///
/// Each branch that is not settled when its function is placed (its target comes later, or came too
/// long ago) has a *deadline*: the last text offset that it reaches. Branches come in order of
/// place and have the same reach, so deadlines are a queue. Before a function is placed we ask
/// whether an island *after* it would still meet every deadline, even if each open target needed
/// a veneer there; if not, the branches at the head of the queue that would be late get their
/// veneers now, and only they: the others may still see their targets come within reach. By
/// induction a veneer is in time whenever it is planted. The estimate is pessimistic by the size of
/// one island at most, a few per cent of the reach.
///
/// A veneer settles all open branches to its target, and every later branch that reaches back to
/// it. A branch that could use both goes directly. Targets too far back are served the same way.
///
/// After layout, branches are resolved in the order of the text as well; the veneers of a target
/// are a list in that order, along which each target's cursor only moves forward.

extension TextSectionBuilder {
  internal struct Veneer: BitwiseCopyable {
    var textOffset: Int
    var symbol: UInt32
    // The target's next veneer in the text, as index + 1; 0 for none.
    var next: UInt32
  }

  // What layout knows about a target.
  private struct Target: BitwiseCopyable {
    var lastVeneer: UInt32 = 0  // index + 1
    var isOpen = false  // whether some branch in the queue still waits for it
  }

  // A branch that is not settled.
  private struct OpenBranch: BitwiseCopyable {
    var place: Int
    var symbol: UInt32
  }

  private var veneerSize: Int {
    switch architecture {
    case .x86_64: X86_64Veneer.size
    case .aarch64: AArch64Veneer.size
    }
  }

  private var veneerAlignment: Int {
    switch architecture {
    case .x86_64: X86_64Veneer.alignment
    case .aarch64: AArch64Veneer.alignment
    }
  }

  // Moves functions apart for islands if any branch needs one.
  internal mutating func layOutWithIslandsIfNeeded() throws(TextSectionError) {
    var isNeeded = false
    for i in 0..<functions.count where !isNeeded {
      let function = functions[i]
      for j in 0..<Int(function.relocationCount) {
        let relocation = try relocation(j, of: function)
        let place = function.offset + Int(relocation.offset)
        guard let target = offset(ofSymbol: relocation.symbol) else {
          throw .undefinedSymbol(relocation.symbol, textOffset: place)
        }
        if !reaches(target + Int(relocation.addend) - place) {
          isNeeded = true
          break
        }
      }
    }
    if isNeeded { try layOutWithIslands() }
  }

  // A relocation with its offset counted from the start of its function, checked.
  private func relocation(_ j: Int, of function: Function) throws(TextSectionError) -> Relocation {
    guard let relocations = unsafe function.relocations else {
      throw .invalidRelocation(symbol: function.symbol, offset: 0)
    }
    // `j` is below the count that came with the pointer.
    let relocation = unsafe relocations[j].rebased(by: function.relocationBase)
    guard relocation.kind.architecture == architecture, function.size >= 4,
      relocation.offset <= function.size - 4
    else {
      throw .invalidRelocation(symbol: function.symbol, offset: relocation.offset)
    }
    return relocation
  }

  private mutating func layOutWithIslands() throws(TextSectionError) {
    var targets = FlatBuffer<Target>(capacity: symbols.count)
    targets.fill(with: Target(), to: symbols.count)
    var queue = FlatBuffer<OpenBranch>(capacity: 1024)
    var head = 0
    var openTargets = 0
    // Places are known only for what has been placed again.
    for i in 0..<symbols.count { symbols[i] = -1 }
    cursor = 0

    for i in 0..<functions.count {
      let function = functions[i]
      // Where an island after this function would end if every open target needed a veneer in it.
      // Alignment counts for the island before this function, the function, and that island.
      let start = aligned(cursor + options.padding, to: options.alignment)
      let worst =
        start + Int(function.size) + 2 * veneerAlignment + options.alignment
        + (openTargets + Int(function.relocationCount)) * veneerSize
      plantLate(before: i, worst, &targets, &queue, &head, &openTargets)

      let offset = aligned(cursor + options.padding, to: options.alignment)
      functions[i].offset = offset
      symbols[Int(function.symbol)] = offset
      cursor = offset + Int(function.size)
      if targets[Int(function.symbol)].isOpen && !options.forceVeneers {
        // All that wait for it still reach this far, or they would have had a veneer by now.
        targets[Int(function.symbol)].isOpen = false
        openTargets -= 1
      }
      for j in 0..<Int(function.relocationCount) {
        let relocation = try relocation(j, of: function)
        let branch = OpenBranch(place: offset + Int(relocation.offset), symbol: relocation.symbol)
        if isSettled(branch, targets) { continue }
        queue.append(branch)
        if !targets[Int(branch.symbol)].isOpen {
          targets[Int(branch.symbol)].isOpen = true
          openTargets += 1
        }
      }
    }
    plantLate(before: functions.count, Int.max, &targets, &queue, &head, &openTargets)
  }

  // Plants veneers at the cursor for the branches that would be late at `limit`.
  private mutating func plantLate(
    before index: Int, _ limit: Int, _ targets: inout FlatBuffer<Target>, _ queue: inout FlatBuffer<OpenBranch>,
    _ head: inout Int, _ openTargets: inout Int
  ) {
    while head < queue.count {
      let branch = queue[head]
      if !isSettled(branch, targets) {
        if branch.place + reach - 8 >= limit { break }
        plant(branch.symbol, before: index, &targets)
        openTargets -= 1
      }
      head += 1
    }
    // Keep the queue as short as what is open.
    if head == queue.count {
      queue.removeAll()
      head = 0
    }
  }

  private mutating func plant(_ symbol: UInt32, before index: Int, _ targets: inout FlatBuffer<Target>) {
    let last = islands.count - 1
    if last >= 0 && islands[last].functionIndex == index {
      islands[last].size += veneerSize
    } else {
      cursor = aligned(cursor, to: veneerAlignment)
      islands.append(Island(textOffset: cursor, size: veneerSize, functionIndex: index))
    }
    let number = UInt32(veneers.count + 1)
    let before = targets[Int(symbol)].lastVeneer
    if before != 0 { veneers[Int(before) - 1].next = number }
    veneers.append(Veneer(textOffset: cursor, symbol: symbol, next: 0))
    targets[Int(symbol)] = Target(lastVeneer: number, isOpen: false)
    cursor += veneerSize
  }

  // Whether a branch reaches its target, or a veneer for it, as far as they have been placed. Four
  // bytes are kept back, because x86-64 counts from the end of the field and AArch64 from its start.
  private func isSettled(_ branch: OpenBranch, _ targets: borrowing FlatBuffer<Target>) -> Bool {
    let target = symbols[Int(branch.symbol)]
    if target >= 0 && reaches(target - branch.place - 4) && reaches(target - branch.place) { return true }
    let veneer = targets[Int(branch.symbol)].lastVeneer
    return veneer != 0 && abs(veneers[Int(veneer) - 1].textOffset - branch.place) <= reach - 8
  }

  // Writes the code of all veneers, now that their targets stand still.
  internal mutating func emitVeneers() throws(TextSectionError) {
    veneerCode.removeAll()
    for i in 0..<veneers.count {
      let veneer = veneers[i]
      guard let target = offset(ofSymbol: veneer.symbol) else {
        throw .undefinedSymbol(veneer.symbol, textOffset: veneer.textOffset)
      }
      switch architecture {
      case .x86_64:
        X86_64Veneer.emit(
          into: &veneerCode, from: veneer.textOffset, to: target, scratch: options.veneerRegister)
      case .aarch64:
        guard AArch64Veneer.emit(into: &veneerCode, from: veneer.textOffset, to: target) else {
          throw .outOfReach(veneer.symbol, textOffset: veneer.textOffset)
        }
      }
    }
  }

  // Resolves every branch, directly where it reaches, otherwise through its target's next veneer.
  internal mutating func resolveGeneric() throws(TextSectionError) {
    // The first veneer of each symbol that branches from here on may still use, as index + 1.
    var firsts = FlatBuffer<UInt32>(capacity: symbols.count)
    firsts.fill(with: 0, to: symbols.count)
    for i in (0..<veneers.count).reversed() { firsts[Int(veneers[i].symbol)] = UInt32(i + 1) }

    for i in 0..<functions.count {
      let function = functions[i]
      for j in 0..<Int(function.relocationCount) {
        let relocation = try relocation(j, of: function)
        let place = function.offset + Int(relocation.offset)
        guard let target = offset(ofSymbol: relocation.symbol) else {
          throw .undefinedSymbol(relocation.symbol, textOffset: place)
        }
        var distance = target + Int(relocation.addend) - place
        if !reaches(distance) {
          var veneer = firsts[Int(relocation.symbol)]
          while veneer != 0, veneers[Int(veneer) - 1].textOffset - place < -(reach - 8) {
            veneer = veneers[Int(veneer) - 1].next
          }
          firsts[Int(relocation.symbol)] = veneer
          guard veneer != 0 else { throw .outOfReach(relocation.symbol, textOffset: place) }
          distance = veneers[Int(veneer) - 1].textOffset + Int(relocation.addend) - place
          guard distance >= -reach && distance < reach else {
            throw .outOfReach(relocation.symbol, textOffset: place)
          }
        }
        store(distance, relocation.kind, at: function, relocation.offset)
      }
    }
  }

  // Stores a distance that is known to fit into a field whose bounds have been checked.
  private func store(_ distance: Int, _ kind: RelocationKind, at function: Function, _ offset: UInt32) {
    let place = unsafe function.code + Int(offset)
    switch kind {
    case .x86_64PLT32:
      unsafe place.storeBytes(of: Int32(truncatingIfNeeded: distance), as: Int32.self)
    case .aarch64Call26, .aarch64Jump26:
      let word = unsafe place.loadUnaligned(as: UInt32.self)
      let field = UInt32(truncatingIfNeeded: distance >> 2) & 0x03FF_FFFF
      unsafe place.storeBytes(of: word & 0xFC00_0000 | field, as: UInt32.self)
    }
  }
}
