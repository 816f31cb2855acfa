// Tables.
//
// A table is an array of 64-bit words that generated code reads directly: for `externref` the references' bits, for
// `funcref` addresses of function references with bit 0 set, and 0 for what nobody has looked at yet. Filling a big table
// when a module is instantiated would cost more than the rest of instantiation; so what can be is left in the artifact
// (the table's *image*), and an element gets its function when generated code, or the host, comes across it. Segments
// that are not part of an image are written as usual, and so take precedence, since written words are never 0.

import Glibc
public import PrecastWasm

/// A table, owned by its store.
@safe
final class TableEntity {
  let type: TableType
  // The elements, allocated by `malloc`'s family, freed here. (The pair may be gone by then.)
  private var allocation: UnsafeMutableRawPointer?
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

  deinit { unsafe free(allocation) }

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

  /// The bits of the reference in an element, looked up if need be. The index must be in range.
  func bits(_ index: Int) -> UInt64 {
    isFunctions ? resolve(index) & ~1 : self[word: index]
  }

  /// The word of an element of a table of functions, looked up if need be. The index must be in range.
  func resolve(_ index: Int) -> UInt64 {
    let word = self[word: index]
    if word != 0 { return word }
    var bits: UInt64 = 0
    if let owner = unsafe owner { bits = owner.initialElementBits(table: ownerIndex, index: index) }
    self[word: index] = bits | 1
    return bits | 1
  }

  func fill(_ start: Int, _ count: Int, bits: UInt64) {
    if count == 0 { return }
    // The range was checked.
    unsafe (pair.pointee.elements.unsafelyUnwrapped + start).update(repeating: word(of: bits), count: count)
  }

  /// Copies elements; both ranges were checked, and may overlap.
  func copy(_ from: TableEntity, destination: Int, source: Int, count: Int) {
    if count == 0 { return }
    // What an unresolved element holds depends on its place, so it is looked up before it moves.
    if isFunctions { for index in source..<source + count { _ = from.resolve(index) } }
    unsafe memmove(
      pair.pointee.elements.unsafelyUnwrapped + destination, from.pair.pointee.elements.unsafelyUnwrapped + source,
      count * 8)
  }

  /// Makes the table larger. False when memory is not to be had.
  func extend(by count: Int, bits: UInt64) -> Bool {
    if count == 0 { return true }
    let old = self.count
    // Fresh zero pages where possible, for a table that may be large and stay empty.
    let isZero = old == 0 && bits == 0
    let memory = unsafe isZero ? calloc(count, 8) : realloc(allocation, (old + count) * 8)
    guard let memory = unsafe memory else { return false }
    if isZero { unsafe free(allocation) }
    unsafe allocation = memory
    unsafe pair.pointee = (memory.bindMemory(to: UInt64.self, capacity: old + count), UInt(old + count))
    if isZero { return true }
    fill(old, count, bits: bits)
    return true
  }
}

extension Store {
  /// Makes a table of its minimum size, full of nulls.
  func makeTable(type: TableType, pair: UnsafeMutableRawPointer) throws(RuntimeError) -> TableEntity {
    guard tables.count < limits.tables else {
      throw RuntimeError(.limit, "the store's limit of \(limits.tables) tables is reached")
    }
    guard type.limits.minimum <= UInt64(UInt32.max), allowsTable(from: 0, to: Int(type.limits.minimum)) else {
      throw RuntimeError(.limit, "a table of \(type.limits.minimum) elements exceeds the store's limits")
    }
    let table = unsafe TableEntity(type: type, pair: pair)
    guard table.extend(by: Int(type.limits.minimum), bits: 0) else {
      throw RuntimeError(.limit, "no memory for a table of \(type.limits.minimum) elements")
    }
    tableElementsInUse += table.count
    tables.append(table)
    return table
  }

  private func allowsTable(from old: Int, to new: Int) -> Bool {
    new <= limits.tableElements && new - old <= limits.totalTableElements - tableElementsInUse
  }

  /// Grows a table; returns its previous size, or nil.
  func grow(_ table: TableEntity, by delta: UInt64, bits: UInt64) -> UInt64? {
    let old = table.count
    guard delta <= table.maximum, UInt64(old) <= table.maximum - delta else { return nil }
    guard allowsTable(from: old, to: old + Int(delta)), table.extend(by: Int(delta), bits: bits) else { return nil }
    tableElementsInUse += Int(delta)
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
  /// - Throws: `RuntimeError.outOfBounds`.
  public func get(_ index: Int) throws(RuntimeError) -> Value {
    guard index >= 0, index < entity.count else { throw outOfBounds(index) }
    return store.value(bits: entity.bits(index), type: entity.type.element)
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
