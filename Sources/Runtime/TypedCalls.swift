// Calls whose types are known at compile time.
//
// An embedder that calls the same export often checks its type once and gets a handle (or a closure) that does nothing but
// write the arguments into slots, enter, and read the results: no array, no enum, no allocation. All of it is inlinable,
// down to one call of C.
//
// Parameter packs could say any types at once, but what the optimiser makes of a pack in another module is a loop over
// witness tables, three times as slow as the call itself. So calls of up to four parameters and one result, or none, are
// written out (`TypedCallArities.swift`); packs are there for the rest.

public import PrecastWasm

/// A function whose WebAssembly type is that of two Swift types: a tuple of parameters (or one alone), and one of results.
///
/// ```swift
/// let add = try TypedFunction<(Int32, Int32), Int32>(instance.exports[function: "add"]!)
/// try add(1, 2)
/// ```
///
/// This is the fastest way into a function, with up to four parameters and one result or none. The handle keeps the store
/// alive.
@safe
public struct TypedFunction<Parameters, Results> {
  /// The function.
  public let function: Function

  /// A handle for calls of these types.
  ///
  /// - Throws: `RuntimeError.typeMismatch` when the function's type is another.
  @inlinable
  public init<each Parameter: WasmValue, each Result: WasmValue>(
    _ function: Function
  ) throws(RuntimeError) where Parameters == (repeat each Parameter), Results == (repeat each Result) {
    var parameters: [ValueType] = []
    repeat parameters.append((each Parameter).valueType)
    var results: [ValueType] = []
    repeat results.append((each Result).valueType)
    let expected = FunctionType(parameters: parameters, results: results)
    guard function.type == expected else {
      throw RuntimeError(.typeMismatch, "the function's type is \(function.type), not \(expected)")
    }
    self.function = function
  }

  /// Calls the function.
  ///
  /// - Throws: what ``Function/invoke(_:)`` throws, except that numbers and types of arguments are right.
  @_disfavoredOverload  // where one of the forms that are written out fits
  @inlinable
  public func callAsFunction<each Parameter: WasmValue, each Result: WasmValue>(
    _ argument: repeat each Parameter
  ) throws -> (repeat each Result) where Parameters == (repeat each Parameter), Results == (repeat each Result) {
    // Pack expansions are evaluated in order, so the counter walks over the parameters, then over the results.
    var index = -1
    return try function.invokeRaw(slotCount: 0) { slots in
      repeat try (each argument).write(to: slots, at: nextIndex(&index))
      index = -1
    } finish: { slots in
      (repeat (each Result).read(from: slots, at: nextIndex(&index)))
    }
  }
}

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
  @_disfavoredOverload  // as only its result tells it from the forms that are written out
  @inlinable
  public func typed<each Parameter: WasmValue, each Result: WasmValue>() throws(RuntimeError)
    -> (repeat each Parameter) throws -> (repeat each Result)
  {
    let handle = try TypedFunction<(repeat each Parameter), (repeat each Result)>(self)
    return { (argument: repeat each Parameter) throws -> (repeat each Result) in try handle(repeat each argument) }
  }
}
