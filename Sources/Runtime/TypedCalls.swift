// Calls whose types are known at compile time.
//
// An embedder that calls the same export often checks its type once and gets a closure that does nothing but write the
// arguments into slots, enter, and read the results: no array, no enum, no allocation.

public import PrecastWasm

extension Function {
  /// The function as a Swift closure of these types.
  ///
  /// ```swift
  /// let add: (Int32, Int32) throws -> Int32 = try instance.exports[function: "add"]!.typed()
  /// try add(1, 2)
  /// ```
  ///
  /// The closure throws what ``invoke(_:)`` throws, except that numbers and types of arguments are right.
  ///
  /// - Throws: `RuntimeError.typeMismatch` when the function's type is another.
  @inlinable
  public func typed<each Parameter: WasmValue, each Result: WasmValue>() throws(RuntimeError)
    -> (repeat each Parameter) throws -> (repeat each Result)
  {
    var parameters: [ValueType] = []
    repeat parameters.append((each Parameter).valueType)
    var results: [ValueType] = []
    repeat results.append((each Result).valueType)
    let expected = FunctionType(parameters: parameters, results: results)
    guard type == expected else {
      throw RuntimeError(.typeMismatch, "the function's type is \(type), not \(expected)")
    }
    let count = max(parameters.count, results.count)
    return { (argument: repeat each Parameter) throws -> (repeat each Result) in
      let taken = self.store.takeSlots(count)
      defer { self.store.giveBack(taken) }
      let slots = unsafe ValueSlots(base: taken.base, count: count, store: self.store)
      var index = -1
      // Pack expansions are evaluated in order, so the counter walks over the parameters, then over the results.
      repeat try (each argument).write(to: slots, at: nextIndex(&index))
      try self.enter(slots)
      index = -1
      return (repeat (each Result).read(from: slots, at: nextIndex(&index)))
    }
  }
}
