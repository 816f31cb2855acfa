// Tables.
//
// A table is an array of 64-bit words that generated code reads directly: for `externref` the references' bits, for
// `funcref` addresses of function references with bit 0 set, and 0 for what nobody has looked at yet. Filling a big table
// when a module is instantiated would cost more than the rest of instantiation; so what can be is left in the artifact
// (the table's *image*), and an element gets its function when generated code, or the host, comes across it. Segments
// that are not part of an image are written as usual, and so take precedence, since written words are never 0.
//
// The memory is a part of the instance's slot, or the table's own where it has no slot, or has outgrown its part.

import CPrecastHost
import Glibc
public import PrecastWasm

/// A table, owned by its store.
@safe
final class TableEntity {
  let type: TableType
  // Elements in memory of the table's own, freed here. (The pair may be gone by then.) Nil while they stand in a slot.
  private var allocation: UnsafeMutableRawPointer?
  /// The size of `allocation` where it is a mapping, 0 where it is of `malloc`'s family.
  private var mappedSize = 0
  /// Elements that there is room for. Those from `count` on are zero.
  private var capacity = 0
  // The pair (elements, length) stands in an instance's context or in the store's arena.
  let pair: UnsafeMutablePointer<(elements: UnsafeMutablePointer<UInt64>?, length: UInt)>
  /// The instance whose artifact has what elements that are 0 hold, and the index of the table there; nil: null.
  unowned(unsafe) var owner: InstanceEntity?
  var ownerIndex = 0

  init(type: TableType, pair: UnsafeMutableRawPointer) {
    self.type = type
    unsafe self.pair = pair.bindMemory(
      to: (elements: UnsafeMutablePointer<UInt64>?, length: UInt).self, capacity: 1)
    unsafe self.pair.initialize(to: (elements: nil, length: 0))
  }

  deinit { releaseAllocation() }

  private func releaseAllocation() {
    if mappedSize > 0 {
      // Nobody but this table had its address.
      unsafe precast_release(UInt64(UInt(bitPattern: allocation)), mappedSize)
    } else {
      unsafe free(allocation)
    }
  }

  /// Puts a new table into zeroed memory of a slot, which has room for `capacity` elements.
  func use(_ address: UInt, capacity: Int) {
    self.capacity = capacity
    unsafe pair.pointee.elements = UnsafeMutablePointer(bitPattern: address)
  }

  var count: Int { Int(unsafe pair.pointee.length) }
  var isFunctions: Bool { type.element == .funcref }
  var maximum: UInt64 { min(type.limits.maximum ?? UInt64(UInt32.max), UInt64(UInt32.max)) }

  func contains(_ index: UInt64, _ count: UInt64) -> Bool {
    let size = UInt64(self.count)
    return index <= size && count <= size - index
  }

  /// The word of an element, as stored. The index must be in range.
  subscript(word index: Int) -> UInt64 {
    get { unsafe pair.pointee.elements.unsafelyUnwrapped[index] }
    set { unsafe pair.pointee.elements.unsafelyUnwrapped[index] = newValue }
  }

  /// The bits of a reference as stored in this table.
  func word(of bits: UInt64) -> UInt64 { isFunctions ? bits | 1 : bits }

  /// The bits of the reference in an element, looked up if need be; nil when it cannot be, because the artifact is damaged.
  /// The index must be in range.
  func bits(_ index: Int) -> UInt64? { isFunctions ? resolve(index).map { $0 & ~1 } : self[word: index] }

  /// The word of an element of a table of functions, looked up if need be; nil when it cannot be. The index must be in
  /// range.
  func resolve(_ index: Int) -> UInt64? {
    let word = self[word: index]
    if word != 0 { return word }
    var bits: UInt64 = 0
    if let owner = unsafe owner {
      guard let found = try? owner.initialElementBits(table: ownerIndex, index: index) else { return nil }
      bits = found
    }
    self[word: index] = bits | 1
    return bits | 1
  }

  func fill(_ start: Int, _ count: Int, bits: UInt64) {
    if count == 0 { return }
    // The range was checked.
    unsafe (pair.pointee.elements.unsafelyUnwrapped + start).update(repeating: word(of: bits), count: count)
  }

  /// Copies elements; both ranges were checked, and may overlap. False, and nothing was copied, when one cannot be looked
  /// up.
  func copy(_ from: TableEntity, destination: Int, source: Int, count: Int) -> Bool {
    if count == 0 { return true }
    // What an unresolved element holds depends on its place, so it is looked up before it moves.
    if isFunctions { for index in source..<source + count where from.resolve(index) == nil { return false } }
    unsafe memmove(
      pair.pointee.elements.unsafelyUnwrapped + destination, from.pair.pointee.elements.unsafelyUnwrapped + source,
      count * 8)
    return true
  }

  /// Makes the table larger. False when memory is not to be had.
  ///
  /// New elements that are null are not written: what is behind the last element is zero, which is null for an
  /// `externref`, and for a function what nobody has looked at, and the image holds nothing behind the least size.
  func extend(by count: Int, bits: UInt64) -> Bool {
    let old = self.count
    guard old + count <= capacity || reserve(old + count) else { return false }
    unsafe pair.pointee.length = UInt(old + count)
    if bits != 0 { fill(old, count, bits: bits) }
    return true
  }

  /// Tables of up to so many bytes are of `malloc`'s family; larger ones are mappings, of which only pages that are touched
  /// cost anything, and which grow without being copied.
  private static let largestSmall = 4096

  /// Makes room for so many elements, and some more, in memory of the table's own.
  private func reserve(_ needed: Int) -> Bool {
    let most = Int(clamping: maximum)
    return move(to: min(max(needed, capacity * 2), max(most, needed))) || move(to: needed)
  }

  private func move(to elements: Int) -> Bool {
    var elements = elements
    var size = elements * 8
    let memory: UnsafeMutableRawPointer?
    if size <= Self.largestSmall {
      unsafe memory = calloc(max(elements, 1), 8)
      size = 0
    } else {
      let page = precast_page_size()
      size = (size + page - 1) / page * page
      elements = size / 8
      var address = unsafe UInt64(UInt(bitPattern: allocation))
      let result =
        unsafe mappedSize > 0 ? precast_remap(address, mappedSize, size, &address) : precast_map(size, &address)
      if result != 0 { return false }
      unsafe memory = UnsafeMutableRawPointer(bitPattern: UInt(address))
    }
    guard let memory = unsafe memory else { return false }
    if mappedSize == 0 {
      if count > 0, let from = unsafe pair.pointee.elements {
        unsafe memory.copyMemory(from: from, byteCount: count * 8)
      }
      releaseAllocation()
    }
    unsafe allocation = memory
    mappedSize = size
    capacity = elements
    unsafe pair.pointee.elements = unsafe memory.assumingMemoryBound(to: UInt64.self)
    return true
  }
}

extension Store {
  /// Makes a table of its minimum size, full of nulls, that belongs to no instance.
  func makeTable(type: TableType, pair: UnsafeMutableRawPointer) throws(RuntimeError) -> TableEntity {
    try checkTables(count: 1)
    try checkTable(type, inUse: usage.tableElements)
    let table = unsafe TableEntity(type: type, pair: pair)
    guard table.extend(by: Int(type.limits.minimum), bits: 0) else {
      throw RuntimeError(.limit, "no memory for a table of \(type.limits.minimum) elements")
    }
    usage.tableElements += table.count
    usage.tables += 1
    if !table.isFunctions { hostTables.append(table) }
    return table
  }

  func checkTables(count: Int) throws(RuntimeError) {
    guard usage.tables + count <= limits.tables else {
      throw RuntimeError(.limit, "the store's limit of \(limits.tables) tables is reached")
    }
  }

  func checkTable(_ type: TableType, inUse: Int) throws(RuntimeError) {
    let minimum = type.limits.minimum
    guard minimum <= UInt64(UInt32.max), Int(minimum) <= limits.tableElements,
      Int(minimum) <= limits.totalTableElements - inUse
    else { throw RuntimeError(.limit, "a table of \(minimum) elements exceeds the store's limits") }
  }

  private func allowsTable(from old: Int, to new: Int) -> Bool {
    new <= limits.tableElements && new - old <= limits.totalTableElements - usage.tableElements
  }

  /// Grows a table; returns its previous size, or nil.
  func grow(_ table: TableEntity, by delta: UInt64, bits: UInt64) -> UInt64? {
    let old = table.count
    guard delta <= table.maximum, UInt64(old) <= table.maximum - delta else { return nil }
    guard allowsTable(from: old, to: old + Int(delta)), table.extend(by: Int(delta), bits: bits) else { return nil }
    usage.tableElements += Int(delta)
    return UInt64(old)
  }

  /// The bits of a reference that fits a table.
  func bits(of value: Value, for type: ValueType) throws(RuntimeError) -> UInt64 {
    switch (value, type) {
    case (.funcref(let function), .funcref): return try bits(of: function)
    case (.externref(let reference), .externref): return try bits(of: reference)
    default: throw RuntimeError(.typeMismatch, "\(value.type) where \(type) is needed")
    }
  }

  /// The reference with these bits.
  func value(bits: UInt64, type: ValueType) -> Value {
    type == .funcref ? .funcref(function(bits: bits)) : .externref(externRef(bits: bits))
  }
}

/// A table. A handle; it keeps the store alive.
///
/// Spec: Core 4.2.7, "Table Instances".
@safe
public struct Table: Equatable {
  /// The store that the table belongs to.
  public let store: Store
  let entity: TableEntity

  init(store: Store, entity: TableEntity) {
    self.store = store
    self.entity = entity
  }

  /// Makes a table of the type's minimum size.
  ///
  /// - Parameter initial: what every element is; null when left out.
  /// - Throws: `RuntimeError` of kind `limit`, `typeMismatch` or `foreignStore`.
  public init(store: Store, type: TableType, initial: Value? = nil) throws(RuntimeError) {
    self.store = store
    let bits = try initial.map { (value) throws(RuntimeError) in try store.bits(of: value, for: type.element) } ?? 0
    entity = unsafe try store.makeTable(type: type, pair: store.arena.allocate(16))
    if bits != 0 { entity.fill(0, entity.count, bits: bits) }
  }

  /// Whether both are the same table.
  public static func == (left: Table, right: Table) -> Bool { left.entity === right.entity }

  /// The type, with the current size as its minimum.
  public var type: TableType {
    TableType(
      element: entity.type.element,
      limits: Limits(minimum: UInt64(entity.count), maximum: entity.type.limits.maximum))
  }

  /// The number of elements.
  public var count: Int { entity.count }

  /// The element at an index.
  ///
  /// - Throws: `RuntimeError` of kind `outOfBounds`, or `damagedArtifact` when the artifact that says what it is cannot
  ///   be read.
  public func get(_ index: Int) throws(RuntimeError) -> Value {
    guard index >= 0, index < entity.count else { throw outOfBounds(index) }
    guard let bits = entity.bits(index) else {
      throw RuntimeError(.damagedArtifact, "element \(index) of a table cannot be read from the artifact")
    }
    return store.value(bits: bits, type: entity.type.element)
  }

  /// Replaces the element at an index.
  ///
  /// - Throws: `RuntimeError` of kind `outOfBounds`, `typeMismatch` or `foreignStore`.
  public func set(_ index: Int, _ value: Value) throws(RuntimeError) {
    guard index >= 0, index < entity.count else { throw outOfBounds(index) }
    entity.fill(index, 1, bits: try store.bits(of: value, for: entity.type.element))
  }

  /// Grows the table.
  ///
  /// - Parameter initial: what every new element is; null when left out.
  /// - Returns: the previous number of elements.
  /// - Throws: `RuntimeError` of kind `limit`, `typeMismatch` or `foreignStore`.
  @discardableResult
  public func grow(by count: Int, initial: Value? = nil) throws(RuntimeError) -> Int {
    let bits =
      try initial.map { (value) throws(RuntimeError) in try store.bits(of: value, for: entity.type.element) } ?? 0
    guard count >= 0, let old = store.grow(entity, by: UInt64(count), bits: bits) else {
      throw RuntimeError(.limit, "a table of \(entity.count) elements cannot grow by \(count)")
    }
    return Int(old)
  }

  private func outOfBounds(_ index: Int) -> RuntimeError {
    RuntimeError(.outOfBounds, "element \(index) of a table of \(entity.count) elements")
  }
}
