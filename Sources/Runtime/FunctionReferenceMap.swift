// The function references of an instance that somebody has asked for.
//
// A module may have hundreds of thousands of functions, of which an instance gives out references to a few: exports
// that are called, elements of tables that are come across. A word for each function would have to be zero, and would
// make an instance's cost grow with the module; so this is an open-addressed hash table of those that exist, which is
// empty, and not allocated, until the first.

/// A map from function index to reference block; grows with what is put into it.
@safe
struct FunctionReferenceMap: ~Copyable {
  private typealias Block = UnsafeMutablePointer<FunctionReferenceBlock>
  @safe
  private struct Entry {
    // `key` is the function index plus 1; 0: free.
    var key = 0
    // A block of the store's arena.
    var block: UnsafeMutablePointer<FunctionReferenceBlock>?

    init() { unsafe block = nil }
  }
  // `capacity` entries, a power of two, at most half of them taken; freed in `deinit`.
  private var entries: UnsafeMutablePointer<Entry>?
  private var capacity = 0
  private var count = 0

  init() { unsafe entries = nil }

  deinit { unsafe entries?.deallocate() }

  // Where a key is, or would go. Ends, since there is always a free entry.
  private func place(_ key: Int, _ entries: UnsafeMutablePointer<Entry>) -> Int {
    // Fibonacci hashing: neighbours spread, and the multiplication's high bits are the good ones.
    let mask = capacity - 1
    var index = Int(truncatingIfNeeded: (UInt64(key) &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    while true {
      let found = unsafe entries[index].key
      if found == key || found == 0 { return index }
      index = (index + 1) & mask
    }
  }

  /// The reference to a function, if it was made.
  func find(_ function: Int) -> UnsafeMutablePointer<FunctionReferenceBlock>? {
    guard let entries = unsafe entries else { return nil }
    // The block of a free entry is nil.
    return unsafe entries[place(function + 1, entries)].block
  }

  /// Adds a reference to a function that has none.
  mutating func add(_ function: Int, _ block: UnsafeMutablePointer<FunctionReferenceBlock>) {
    if (count + 1) * 2 > capacity { enlarge() }
    guard let entries = unsafe entries else { return }
    let index = unsafe place(function + 1, entries)
    unsafe entries[index].key = function + 1
    unsafe entries[index].block = block
    count += 1
  }

  private mutating func enlarge() {
    let old = unsafe entries
    let oldCapacity = capacity
    capacity = max(16, capacity * 2)
    let new = UnsafeMutablePointer<Entry>.allocate(capacity: capacity)
    unsafe new.initialize(repeating: Entry(), count: capacity)
    unsafe entries = new
    guard let old = unsafe old else { return }
    for index in 0..<oldCapacity where unsafe old[index].key != 0 {
      unsafe new[place(old[index].key, new)] = unsafe old[index]
    }
    unsafe old.deallocate()
  }
}
