// The slots in which values cross between host and wasm.
//
// Trampolines read parameters from, and write results to, an array of 16-byte slots: parameter or result k is in slot k,
// small numbers in the low bytes. Host functions that must be fast (WASI's) and typed calls read and write these slots
// directly; no array, enum or allocation comes between. The slots are the trampoline's, on its stack, and are gone when
// the call is over: so a `ValueSlots` cannot be copied, and host functions only borrow it.

public import PrecastWasm

/// The parameters, then the results, of one call: slot k holds parameter k until result k is written to it.
///
/// Indices are checked (a wrong one is a programming error, as with arrays). Types are not: the owner of the slots knows
/// the function's type.
@safe
public struct ValueSlots: ~Copyable {
  // 16 bytes a slot. Valid while the call lasts, which is as long as anybody can borrow this value.
  @usableFromInline let base: UnsafeMutableRawPointer
  /// The number of slots: of parameters or results, whichever are more.
  public let count: Int
  // The store outlives every call in it.
  @usableFromInline unowned(unsafe) let store: Store

  @inlinable @inline(__always)
  init(base: UnsafeMutableRawPointer, count: Int, store: Store) {
    unsafe self.base = base
    self.count = count
    unsafe self.store = store
  }

  @inlinable
  func address(_ index: Int) -> UnsafeMutableRawPointer {
    precondition(index >= 0 && index < count, "slot index out of range")
    return unsafe base + index &* 16
  }

  /// An `i32` in a slot, as unsigned.
  @inlinable
  public subscript(u32 index: Int) -> UInt32 {
    get { unsafe address(index).load(as: UInt32.self) }
    nonmutating set { unsafe address(index).storeBytes(of: newValue, as: UInt32.self) }
  }

  /// An `i32` in a slot, as signed.
  @inlinable
  public subscript(i32 index: Int) -> Int32 {
    get { Int32(bitPattern: self[u32: index]) }
    nonmutating set { self[u32: index] = UInt32(bitPattern: newValue) }
  }

  /// An `i64` in a slot, as unsigned.
  @inlinable
  public subscript(u64 index: Int) -> UInt64 {
    get { unsafe address(index).load(as: UInt64.self) }
    nonmutating set { unsafe address(index).storeBytes(of: newValue, as: UInt64.self) }
  }

  /// An `i64` in a slot, as signed.
  @inlinable
  public subscript(i64 index: Int) -> Int64 {
    get { Int64(bitPattern: self[u64: index]) }
    nonmutating set { self[u64: index] = UInt64(bitPattern: newValue) }
  }

  /// An `f32` in a slot.
  @inlinable
  public subscript(f32 index: Int) -> Float {
    get { Float(bitPattern: self[u32: index]) }
    nonmutating set { self[u32: index] = newValue.bitPattern }
  }

  /// An `f64` in a slot.
  @inlinable
  public subscript(f64 index: Int) -> Double {
    get { Double(bitPattern: self[u64: index]) }
    nonmutating set { self[u64: index] = newValue.bitPattern }
  }

  /// The halves of a `v128` in a slot.
  @inlinable
  public subscript(v128 index: Int) -> (low: UInt64, high: UInt64) {
    get { unsafe (address(index).load(as: UInt64.self), (address(index) + 8).load(as: UInt64.self)) }
    nonmutating set {
      unsafe address(index).storeBytes(of: newValue.low, as: UInt64.self)
      unsafe (address(index) + 8).storeBytes(of: newValue.high, as: UInt64.self)
    }
  }

  /// The function in a slot that holds a `funcref`; nil for null.
  public func function(_ index: Int) -> Function? {
    unsafe store.function(bits: self[u64: index])
  }

  /// Puts a function into a slot.
  ///
  /// - Throws: `RuntimeError.foreignStore` for a function of another store.
  public func setFunction(_ index: Int, _ function: Function?) throws(RuntimeError) {
    self[u64: index] = unsafe try store.bits(of: function)
  }

  /// The reference in a slot that holds an `externref`; nil for null.
  public func externRef(_ index: Int) -> ExternRef? {
    unsafe store.externRef(bits: self[u64: index])
  }

  /// Puts a reference into a slot.
  ///
  /// - Throws: `RuntimeError.foreignStore` for a reference of another store.
  public func setExternRef(_ index: Int, _ reference: ExternRef?) throws(RuntimeError) {
    self[u64: index] = unsafe try store.bits(of: reference)
  }

  /// The value of a type in a slot.
  public func value(_ index: Int, as type: ValueType) -> Value {
    switch type {
    case .i32: return .i32(self[u32: index])
    case .i64: return .i64(self[u64: index])
    case .f32: return .f32(self[u32: index])
    case .f64: return .f64(self[u64: index])
    case .v128:
      let (low, high) = self[v128: index]
      return .v128(low: low, high: high)
    case .funcref: return .funcref(function(index))
    case .externref: return .externref(externRef(index))
    }
  }

  /// Puts a value into a slot.
  ///
  /// - Throws: `RuntimeError.foreignStore` for a reference of another store.
  public func setValue(_ index: Int, _ value: Value) throws(RuntimeError) {
    switch value {
    case .i32(let bits), .f32(let bits): self[u32: index] = bits
    case .i64(let bits), .f64(let bits): self[u64: index] = bits
    case .v128(let low, let high): self[v128: index] = (low, high)
    case .funcref(let function): try setFunction(index, function)
    case .externref(let reference): try setExternRef(index, reference)
    }
  }
}
