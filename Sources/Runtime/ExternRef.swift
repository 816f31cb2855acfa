// Objects of the host behind `externref`s.
//
// Wasm code cannot look into an `externref`, only pass it around, so it need not be a pointer: it is a number that the
// store finds the object by. A number that was made up, or has outlived its object, finds nothing, where a stale pointer
// would be a hole in the host. Numbers are never used twice, and carry a mark in their high bits, so that an integer
// that happens to lie on a stack is not easily taken for one (`ExternCollector.swift` reads stacks without knowing types).

import Synchronization

/// A reference to an object of the host that can be given to WebAssembly code as an `externref`.
///
/// The object is released when neither the host holds an `ExternRef` to it, nor a frame, table or global of the store
/// holds its number, and the store has collected since (see ``Store/collect()``).
public final class ExternRef: Equatable {
  /// The object.
  public let value: Any
  let number: UInt64
  let storeNumber: UInt64

  /// Makes a reference to `value` for use in a store. Each call makes a different one.
  public init(store: Store, _ value: Any) {
    self.value = value
    storeNumber = store.number
    number = store.externs.nextNumber()
    store.register(self)
  }

  /// Whether both are the same reference.
  public static func == (left: ExternRef, right: ExternRef) -> Bool { left === right }
}

/// Numbers for stores, each used once in a process.
enum StoreNumber {
  private static let last = Atomic<UInt64>(0)
  static func next() -> UInt64 { last.wrappingAdd(1, ordering: .relaxed).newValue }
}
