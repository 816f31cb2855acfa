// When objects of the host behind `externref`s are released.
//
// Reference counts would have to be kept by generated code, at every copy of a local. Marking and sweeping costs
// nothing while code runs. Roots are the host's own `ExternRef`s (the object is referred to by more than our table),
// tables and globals of `externref`s, slots of calls from the host, and the stack: in compiled code, references that
// are live at a call are in frame slots, so reading every word between here and the outermost entry finds them. Such a
// reading is conservative, as it does not know which words are references; a word that looks like one keeps an object
// longer than need be, never the other way round.

import CPrecastHost

/// The references of a store.
@safe
struct ExternTable {
  var references: [UInt64: ExternRef] = [:]
  // Cells of globals of type `externref`, in contexts and in the store's arena.
  var globals: [UnsafeMutableRawPointer] = unsafe []
  /// Number of references at which the store collects by itself.
  var threshold = 256
  private var last: UInt64 = 0

  init() {}

  /// The mark in the high 16 bits: no address of a process, no small integer, no common float.
  static let mark: UInt64 = 0xE7EF << 48
  /// The bits that the mark stands in.
  static let markMask: UInt64 = 0xFFFF << 48

  mutating func nextNumber() -> UInt64 {
    last += 1
    return Self.mark | last
  }
}

extension Store {
  /// The number of host objects that the store keeps for `externref`s.
  public var externRefCount: Int { externs.references.count }

  func register(_ reference: ExternRef) {
    if externs.references.count >= externs.threshold { collect() }
    externs.references[reference.number] = reference
  }

  func externRef(bits: UInt64) -> ExternRef? {
    bits == 0 ? nil : externs.references[bits]
  }

  func bits(of reference: ExternRef?) throws(RuntimeError) -> UInt64 {
    guard let reference else { return 0 }
    guard reference.storeNumber == number else { throw RuntimeError(.foreignStore, "a reference of another store") }
    return reference.number
  }

  /// Releases the host objects that no `ExternRef` of the host and nothing in the store refers to any more.
  ///
  /// May be called at any time, from host functions too. The store calls it when the number of references has doubled
  /// since the last time.
  public func collect() {
    let marks = Marks()
    func add(_ table: TableEntity) {
      if table.isFunctions { return }
      for index in 0..<table.count { marks.add(table[word: index]) }
    }
    for table in hostTables { add(table) }
    for instance in instances { for table in instance.ownTables { add(table) } }
    for index in unsafe externs.globals.indices { marks.add(unsafe externs.globals[index].load(as: UInt64.self)) }
    slotStack.forEachWord(marks.add)
    markStack(marks)
    // Released after the table is in order again: a `deinit` may do anything, even make references in this store.
    var released: [ExternRef] = []
    for number in Array(externs.references.keys) where !marks.words.contains(number) {
      guard let index = externs.references.index(forKey: number) else { continue }
      if !isKnownUniquelyReferenced(&externs.references.values[index]) { continue }
      released.append(externs.references.remove(at: index).value)
    }
    externs.threshold = max(256, externs.references.count * 2)
  }

  /// Reads the stack from here to the outermost entry into this store on this thread. (What host functions on the way have
  /// on the stack of the host is theirs to keep.)
  private func markStack(_ marks: Marks) {
    // Activations stand on this thread's stack, newest first; each is valid while it is in the list.
    var activation = unsafe precast_current_activation()
    var end: UInt64 = 0
    while let current = unsafe activation {
      if unsafe current.pointee.store == context { end = max(end, unsafe current.pointee.entry_frame_pointer) }
      unsafe activation = current.pointee.previous
    }
    // Between the stack pointer and a live frame of the same thread: mapped, and ours to read.
    let start = engine.processor?.stackPointer ?? precast_stack_pointer()
    guard start < end else { return }
    unsafe precast_scan_words(
      start, end, ExternTable.markMask, ExternTable.mark,
      { state, word in
        // `state` is the object passed below, which is alive during the call.
        if let state = unsafe state { unsafe Unmanaged<Marks>.fromOpaque(state).takeUnretainedValue().add(word) }
      }, Unmanaged.passUnretained(marks).toOpaque())
    withExtendedLifetime(marks) {}
  }
}

/// The words that look like references, found so far.
private final class Marks {
  var words: Set<UInt64> = []

  func add(_ word: UInt64) {
    if word & ExternTable.markMask == ExternTable.mark { words.insert(word) }
  }
}
