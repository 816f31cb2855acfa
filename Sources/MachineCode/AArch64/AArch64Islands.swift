/// Islands of veneers inside a function, for branches of short reach.
///
/// A branch that waits for its label has a deadline: the last place that its encoding reaches. Before
/// it passes, a veneer (`b` to the label, ±128 MiB) must stand within reach. Veneers come in islands,
/// which the code around them jumps over:
///
///         b     past            4 bytes, executed whenever control comes by
///         b     label 1         a veneer each
///         b     label 2
///     past:
///
/// Waiting branches of one kind have deadlines in the order in which they were emitted, so a queue each
/// holds them; those whose label was bound in time are taken out, lazily at the front. The earliest
/// deadline is known at any time from the two fronts, and costs the emission of an instruction nothing:
/// it is compared with the same limit that says when the buffer must grow.
///
/// An island takes those that are due and those whose deadlines would soon force another: within a
/// quarter of the reach of the kind that is due. So `tbz`, with its short reach, does not force veneers
/// on each `b.cond` that waits at the time, and there are few islands. In one island, branches to one
/// label share a veneer.
///
/// When is the last moment? Let n be the smaller of the numbers of waiting branches of the two kinds,
/// and P the offset of an island. The one at position i of all, in order of deadline, finds its veneer
/// at P + 4i or before, counted from 1. Deadlines of one kind are at least 4 apart, since the branches
/// are; so among those before it, its own kind takes nothing from it if the first of the kind finds its
/// place, and those of the other kind, or itself with its kind, are at most n. Hence P + 4 + 4n must
/// not pass the earliest deadline; 4 more, because the next branch to be emitted may raise n.

/// Branches of one kind that wait for their labels, in order of deadline.
@usableFromInline
internal struct DeadlineQueue: ~Copyable {
  @usableFromInline struct Entry: BitwiseCopyable {
    @usableFromInline var offset: UInt32
    // Number of the fixup; `done` when it waits no more.
    @usableFromInline var fixup: UInt32
    @usableFromInline init(offset: UInt32, fixup: UInt32) {
      self.offset = offset
      self.fixup = fixup
    }
  }

  /// How far forward the branches reach, in bytes.
  @usableFromInline let reach: Int
  private var entries = FlatBuffer<Entry>(capacity: 64)
  // First entry that may still wait.
  private var first = 0
  /// Number of branches that wait.
  private(set) var waiting = 0

  private static var done: UInt32 { .max }

  init(reach: Int) { self.reach = reach }

  /// The last place that the first branch reaches; very far if none waits.
  var deadline: Int { first < entries.count ? Int(entries[first].offset) + reach : Int.max / 2 }

  /// Adds a branch at `offset`, after all others. Returns the number of its entry, which stays valid as
  /// long as it waits.
  mutating func append(_ offset: UInt32, _ fixup: UInt32) -> UInt32 {
    entries.append(Entry(offset: offset, fixup: fixup))
    waiting += 1
    return UInt32(truncatingIfNeeded: entries.count - 1)
  }

  /// Takes out an entry: its label has been bound.
  mutating func cancel(_ entry: UInt32) {
    entries[Int(entry)].fixup = Self.done
    waiting -= 1
    skip()
  }

  /// Takes out the first branch, and returns the number of its fixup.
  mutating func removeFirst() -> UInt32 {
    let fixup = entries[first].fixup
    entries[first].fixup = Self.done
    waiting -= 1
    skip()
    return fixup
  }

  mutating func removeAll() {
    entries.removeAll()
    first = 0
    waiting = 0
  }

  // Passes entries that wait no more, at either end; each once.
  private mutating func skip() {
    while entries.count > first, entries[entries.count - 1].fixup == Self.done { entries.removeLast() }
    while first < entries.count, entries[first].fixup == Self.done { first += 1 }
    if first >= entries.count {
      entries.removeAll()
      first = 0
    }
  }
}

extension AArch64Assembler {
  // Bytes between the next instruction's end and the earliest deadline that must be left: see above.
  private var margin: Int { 8 + 4 * min(waiting19.waiting, waiting14.waiting) }

  // After a change of what waits, or of the buffer.
  @usableFromInline
  internal mutating func updateLimit() {
    limit = min(code.capacity, min(waiting19.deadline, waiting14.deadline) - margin)
  }

  // Out of line, so that `reserve` is a compare and a branch.
  @usableFromInline @inline(never)
  internal mutating func makeRoom(_ n: Int) {
    // Slack, because the store of an instruction may be wider than it is.
    if code.capacity - code.count < n + 16 { code.grow(n + 16) }
    updateLimit()
    if limit - code.count < n { emitIsland(before: code.count + n) }
  }

  /// Emits veneers for all that cannot wait until `end`, a place yet to come.
  private mutating func emitIsland(before end: Int) {
    let jump = code.count
    put(0x1400_0000)
    let due14 = waiting14.deadline < waiting19.deadline
    let window = (due14 ? waiting14.reach : waiting19.reach) / 4
    let firstVeneer = code.count
    while true {
      let is14 = waiting14.deadline < waiting19.deadline
      // Where the island would end, and what comes after it, without this one's veneer.
      let next = end - jump + code.count
      let deadline = min(waiting14.deadline, waiting19.deadline)
      guard deadline - margin - window < next else { break }
      let index = is14 ? waiting14.removeFirst() : waiting19.removeFirst()
      lead(toVeneer: Int(index), from: UInt32(firstVeneer))
    }
    let distance = code.count - jump
    if code.count > firstVeneer {
      code.patch32(at: jump, 0x1400_0000 | UInt32(distance >> 2))
    } else {
      code.truncate(to: jump)
    }
    if code.capacity - code.count < end - jump + 16 { code.grow(end - jump + 16) }
    updateLimit()
  }

  // Lets a branch go to a veneer of the present island, a new one if its label has none there.
  private mutating func lead(toVeneer index: Int, from firstVeneer: UInt32) {
    let fixup = fixups[index]
    let label = Int(fixup.label)
    let veneer = labels[label].veneer
    if veneer >= firstVeneer {
      patch(fixup, veneer)
      fixups[index].kind = .none
      return
    }
    let place = offset
    labels[label].veneer = place
    patch(fixup, place)
    put(0x1400_0000)
    // The veneer waits in the branch's stead.
    fixups[index].offset = place
    fixups[index].kind = .branch26
  }

  // Appends a word whatever the limit says.
  private mutating func put(_ word: UInt32) {
    code.put32(word)
  }
}
