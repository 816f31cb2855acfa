// Typed host functions of up to four parameters and one result, or none, written out.
//
// In the closure that these make of the given one, all types are known where it is compiled, which those made by parameter
// packs in another module are not: a call is the callback, the closure, and a few moves.

public import PrecastWasm

extension Function {
  /// Makes a host function of no parameters and no result.
  @inlinable
  public init(store: Store, _ body: @escaping () throws -> Void) {
    let type = FunctionType(parameters: [], results: [])
    self.init(store: store, type: type, raw: { _, _ in try body() })
  }

  /// Makes a host function of no parameters and one result.
  @inlinable
  public init<R: WasmValue>(store: Store, _ body: @escaping () throws -> R) {
    let type = FunctionType(parameters: [], results: [R.valueType])
    self.init(store: store, type: type, raw: { _, slots in try body().write(to: slots, at: 0) })
  }

  /// Makes a host function of one parameter and no result.
  @inlinable
  public init<A: WasmValue>(store: Store, _ body: @escaping (A) throws -> Void) {
    let type = FunctionType(parameters: [A.valueType], results: [])
    self.init(store: store, type: type, raw: { _, slots in try body(A.read(from: slots, at: 0)) })
  }

  /// Makes a host function of one parameter and one result.
  @inlinable
  public init<A: WasmValue, R: WasmValue>(store: Store, _ body: @escaping (A) throws -> R) {
    let type = FunctionType(parameters: [A.valueType], results: [R.valueType])
    self.init(
      store: store, type: type, raw: { _, slots in try body(A.read(from: slots, at: 0)).write(to: slots, at: 0) })
  }

  /// Makes a host function of two parameters and no result.
  @inlinable
  public init<A: WasmValue, B: WasmValue>(store: Store, _ body: @escaping (A, B) throws -> Void) {
    let type = FunctionType(parameters: [A.valueType, B.valueType], results: [])
    self.init(
      store: store, type: type, raw: { _, slots in try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1)) })
  }

  /// Makes a host function of two parameters and one result.
  @inlinable
  public init<A: WasmValue, B: WasmValue, R: WasmValue>(store: Store, _ body: @escaping (A, B) throws -> R) {
    let type = FunctionType(parameters: [A.valueType, B.valueType], results: [R.valueType])
    self.init(
      store: store, type: type,
      raw: { _, slots in try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1)).write(to: slots, at: 0) })
  }

  /// Makes a host function of three parameters and no result.
  @inlinable
  public init<A: WasmValue, B: WasmValue, C: WasmValue>(store: Store, _ body: @escaping (A, B, C) throws -> Void) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType], results: [])
    self.init(
      store: store, type: type,
      raw: { _, slots in try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2)) })
  }

  /// Makes a host function of three parameters and one result.
  @inlinable
  public init<A: WasmValue, B: WasmValue, C: WasmValue, R: WasmValue>(
    store: Store, _ body: @escaping (A, B, C) throws -> R
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType], results: [R.valueType])
    self.init(
      store: store, type: type,
      raw: { _, slots in
        try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2)).write(
          to: slots, at: 0)
      })
  }

  /// Makes a host function of four parameters and no result.
  @inlinable
  public init<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue>(
    store: Store, _ body: @escaping (A, B, C, D) throws -> Void
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType, D.valueType], results: [])
    self.init(
      store: store, type: type,
      raw: { _, slots in
        try body(
          A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2), D.read(from: slots, at: 3)
        )
      })
  }

  /// Makes a host function of four parameters and one result.
  @inlinable
  public init<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue, R: WasmValue>(
    store: Store, _ body: @escaping (A, B, C, D) throws -> R
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType, D.valueType], results: [R.valueType])
    self.init(
      store: store, type: type,
      raw: { _, slots in
        try body(
          A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2), D.read(from: slots, at: 3)
        ).write(to: slots, at: 0)
      })
  }
}

extension Imports {
  /// Defines a host function of no parameters and no result.
  @inlinable
  public mutating func define(
    module: String, name: String, _ body: @escaping @Sendable () throws -> Void
  ) {
    let type = FunctionType(parameters: [], results: [])
    define(module: module, name: name, type: type, raw: { _, _ in try body() })
  }

  /// Defines a host function of no parameters and one result.
  @inlinable
  public mutating func define<R: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable () throws -> R
  ) {
    let type = FunctionType(parameters: [], results: [R.valueType])
    define(module: module, name: name, type: type, raw: { _, slots in try body().write(to: slots, at: 0) })
  }

  /// Defines a host function of one parameter and no result.
  @inlinable
  public mutating func define<A: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A) throws -> Void
  ) {
    let type = FunctionType(parameters: [A.valueType], results: [])
    define(module: module, name: name, type: type, raw: { _, slots in try body(A.read(from: slots, at: 0)) })
  }

  /// Defines a host function of one parameter and one result.
  @inlinable
  public mutating func define<A: WasmValue, R: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A) throws -> R
  ) {
    let type = FunctionType(parameters: [A.valueType], results: [R.valueType])
    define(
      module: module, name: name, type: type,
      raw: { _, slots in try body(A.read(from: slots, at: 0)).write(to: slots, at: 0) })
  }

  /// Defines a host function of two parameters and no result.
  @inlinable
  public mutating func define<A: WasmValue, B: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A, B) throws -> Void
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType], results: [])
    define(
      module: module, name: name, type: type,
      raw: { _, slots in try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1)) })
  }

  /// Defines a host function of two parameters and one result.
  @inlinable
  public mutating func define<A: WasmValue, B: WasmValue, R: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A, B) throws -> R
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType], results: [R.valueType])
    define(
      module: module, name: name, type: type,
      raw: { _, slots in try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1)).write(to: slots, at: 0) })
  }

  /// Defines a host function of three parameters and no result.
  @inlinable
  public mutating func define<A: WasmValue, B: WasmValue, C: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A, B, C) throws -> Void
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType], results: [])
    define(
      module: module, name: name, type: type,
      raw: { _, slots in try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2)) })
  }

  /// Defines a host function of three parameters and one result.
  @inlinable
  public mutating func define<A: WasmValue, B: WasmValue, C: WasmValue, R: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A, B, C) throws -> R
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType], results: [R.valueType])
    define(
      module: module, name: name, type: type,
      raw: { _, slots in
        try body(A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2)).write(
          to: slots, at: 0)
      })
  }

  /// Defines a host function of four parameters and no result.
  @inlinable
  public mutating func define<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A, B, C, D) throws -> Void
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType, D.valueType], results: [])
    define(
      module: module, name: name, type: type,
      raw: { _, slots in
        try body(
          A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2), D.read(from: slots, at: 3)
        )
      })
  }

  /// Defines a host function of four parameters and one result.
  @inlinable
  public mutating func define<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue, R: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (A, B, C, D) throws -> R
  ) {
    let type = FunctionType(parameters: [A.valueType, B.valueType, C.valueType, D.valueType], results: [R.valueType])
    define(
      module: module, name: name, type: type,
      raw: { _, slots in
        try body(
          A.read(from: slots, at: 0), B.read(from: slots, at: 1), C.read(from: slots, at: 2), D.read(from: slots, at: 3)
        ).write(to: slots, at: 0)
      })
  }
}
