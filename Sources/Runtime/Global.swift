// Globals.
//
// A global is a 16-byte cell, in the context of the instance that defines it or in the store's arena. Generated code
// reads and writes the cell; so does a `Global`, which is nothing but the cell's address and type.

import PrecastArtifact
public import PrecastWasm

/// A global. A handle; it keeps the store alive.
///
/// Spec: Core 4.2.9, "Global Instances".
@safe
public struct Global: Equatable {
  /// The store that the global belongs to.
  public let store: Store
  /// The type.
  public let type: GlobalType
  // 16 bytes in an instance's context or in the store's arena: both live as long as the store.
  let cell: UnsafeMutableRawPointer

  init(store: Store, type: GlobalType, cell: UnsafeMutableRawPointer) {
    self.store = store
    self.type = type
    unsafe self.cell = cell
  }

  /// Makes a global.
  ///
  /// - Throws: `RuntimeError` of kind `typeMismatch` or `foreignStore`.
  public init(store: Store, type: GlobalType, value: Value) throws(RuntimeError) {
    guard value.type == type.value else {
      throw RuntimeError(.typeMismatch, "\(value.type) for a global of type \(type.value)")
    }
    let cell = unsafe store.arena.allocate(16)
    unsafe self.init(store: store, type: type, cell: cell)
    try slots.setValue(0, value)
    if type.value == .externref { unsafe store.externs.globals.append(cell) }
  }

  /// Whether both are the same global.
  public static func == (left: Global, right: Global) -> Bool { unsafe left.cell == right.cell }

  // The cell has a slot's layout.
  private var slots: ValueSlots { unsafe ValueSlots(base: cell, count: 1, store: store) }

  /// The current value.
  public var value: Value { slots.value(0, as: type.value) }

  /// Changes the value.
  ///
  /// - Throws: `RuntimeError` of kind `immutable`, `typeMismatch` or `foreignStore`.
  public func set(_ value: Value) throws(RuntimeError) {
    guard type.isMutable else { throw RuntimeError(.immutable, "the global is not mutable") }
    guard value.type == type.value else {
      throw RuntimeError(.typeMismatch, "\(value.type) for a global of type \(type.value)")
    }
    try slots.setValue(0, value)
  }
}
