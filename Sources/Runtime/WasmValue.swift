// The Swift types that stand for WebAssembly's in typed calls and typed host functions.
//
// A closure such as `{ (a: Int32, b: Double) -> Int64 in … }` says its WebAssembly type by itself. Each of these types
// knows its value type and how to go into and out of a slot; parameter packs do the rest at compile time.

public import PrecastWasm

/// A Swift type that stands for a WebAssembly value type: `Int32`, `UInt32`, `Int64`, `UInt64`, `Float`, `Double`,
/// `Function?`, `ExternRef?`.
public protocol WasmValue: SendableMetatype {
  /// The WebAssembly type.
  static var valueType: ValueType { get }
  /// Reads the value from a slot that holds this type.
  static func read(from slots: borrowing ValueSlots, at index: Int) -> Self
  /// Writes the value to a slot.
  ///
  /// - Throws: `RuntimeError.foreignStore` for a reference of another store.
  func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError)
}

extension Int32: WasmValue {
  /// `i32`.
  @inlinable public static var valueType: ValueType { .i32 }
  /// Reads an `i32`.
  @inlinable public static func read(from slots: borrowing ValueSlots, at index: Int) -> Int32 { slots[i32: index] }
  /// Writes an `i32`.
  @inlinable public func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError) {
    slots[i32: index] = self
  }
}

extension UInt32: WasmValue {
  /// `i32`.
  @inlinable public static var valueType: ValueType { .i32 }
  /// Reads an `i32`.
  @inlinable public static func read(from slots: borrowing ValueSlots, at index: Int) -> UInt32 { slots[u32: index] }
  /// Writes an `i32`.
  @inlinable public func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError) {
    slots[u32: index] = self
  }
}

extension Int64: WasmValue {
  /// `i64`.
  @inlinable public static var valueType: ValueType { .i64 }
  /// Reads an `i64`.
  @inlinable public static func read(from slots: borrowing ValueSlots, at index: Int) -> Int64 { slots[i64: index] }
  /// Writes an `i64`.
  @inlinable public func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError) {
    slots[i64: index] = self
  }
}

extension UInt64: WasmValue {
  /// `i64`.
  @inlinable public static var valueType: ValueType { .i64 }
  /// Reads an `i64`.
  @inlinable public static func read(from slots: borrowing ValueSlots, at index: Int) -> UInt64 { slots[u64: index] }
  /// Writes an `i64`.
  @inlinable public func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError) {
    slots[u64: index] = self
  }
}

extension Float: WasmValue {
  /// `f32`.
  @inlinable public static var valueType: ValueType { .f32 }
  /// Reads an `f32`.
  @inlinable public static func read(from slots: borrowing ValueSlots, at index: Int) -> Float { slots[f32: index] }
  /// Writes an `f32`.
  @inlinable public func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError) {
    slots[f32: index] = self
  }
}

extension Double: WasmValue {
  /// `f64`.
  @inlinable public static var valueType: ValueType { .f64 }
  /// Reads an `f64`.
  @inlinable public static func read(from slots: borrowing ValueSlots, at index: Int) -> Double { slots[f64: index] }
  /// Writes an `f64`.
  @inlinable public func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError) {
    slots[f64: index] = self
  }
}

/// The types of which an optional stands for a reference type: `Function`, `ExternRef`.
public protocol WasmReference {
  /// The WebAssembly type.
  static var referenceType: ValueType { get }
  /// Reads a reference from a slot that holds this type; nil for null.
  static func readReference(from slots: borrowing ValueSlots, at index: Int) -> Self?
  /// Writes a reference, or null, to a slot.
  ///
  /// - Throws: `RuntimeError.foreignStore` for a reference of another store.
  static func writeReference(
    _ reference: Self?, to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError)
}

extension Optional: WasmValue where Wrapped: WasmReference {
  /// `funcref` or `externref`.
  public static var valueType: ValueType { Wrapped.referenceType }
  /// Reads a reference; nil for null.
  public static func read(from slots: borrowing ValueSlots, at index: Int) -> Self {
    Wrapped.readReference(from: slots, at: index)
  }
  /// Writes a reference, or null.
  public func write(to slots: borrowing ValueSlots, at index: Int) throws(RuntimeError) {
    try Wrapped.writeReference(self, to: slots, at: index)
  }
}

extension Function: WasmReference {
  /// `funcref`.
  public static var referenceType: ValueType { .funcref }
  /// Reads a `funcref`.
  public static func readReference(from slots: borrowing ValueSlots, at index: Int) -> Function? {
    slots.function(index)
  }
  /// Writes a `funcref`.
  public static func writeReference(
    _ reference: Function?, to slots: borrowing ValueSlots, at index: Int
  ) throws(RuntimeError) {
    try slots.setFunction(index, reference)
  }
}

extension ExternRef: WasmReference {
  /// `externref`.
  public static var referenceType: ValueType { .externref }
  /// Reads an `externref`.
  public static func readReference(from slots: borrowing ValueSlots, at index: Int) -> ExternRef? {
    slots.externRef(index)
  }
  /// Writes an `externref`.
  public static func writeReference(
    _ reference: ExternRef?, to slots: borrowing ValueSlots, at index: Int
  ) throws(RuntimeError) {
    try slots.setExternRef(index, reference)
  }
}
