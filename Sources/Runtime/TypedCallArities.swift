// Typed calls of up to four parameters and one result, or none, written out; see `TypedCalls.swift` for why.

extension TypedFunction {
  /// Calls a function of no parameters and no result.
  @inlinable @inline(__always)
  public func callAsFunction() throws where Parameters == Void, Results == Void {
    try function.invokeRaw(slotCount: 0) { _ in
    } finish: { _ in
    }
  }

  /// Calls a function of no parameters and one result.
  @inlinable @inline(__always)
  public func callAsFunction() throws -> Results where Parameters == Void, Results: WasmValue {
    try function.invokeRaw(slotCount: 1) { _ in
    } finish: {
      Results.read(from: $0, at: 0)
    }
  }

  /// Calls a function of one parameter and no result.
  @inlinable @inline(__always)
  public func callAsFunction(_ a: Parameters) throws where Parameters: WasmValue, Results == Void {
    try function.invokeRaw(slotCount: 1) {
      try a.write(to: $0, at: 0)
    } finish: { _ in
    }
  }

  /// Calls a function of one parameter and one result.
  @inlinable @inline(__always)
  public func callAsFunction(_ a: Parameters) throws -> Results where Parameters: WasmValue, Results: WasmValue {
    try function.invokeRaw(slotCount: 1) {
      try a.write(to: $0, at: 0)
    } finish: {
      Results.read(from: $0, at: 0)
    }
  }

  /// Calls a function of two parameters and no result.
  @inlinable @inline(__always)
  public func callAsFunction<A: WasmValue, B: WasmValue>(_ a: A, _ b: B) throws
  where Parameters == (A, B), Results == Void {
    try function.invokeRaw(slotCount: 2) {
      try a.write(to: $0, at: 0)
      try b.write(to: $0, at: 1)
    } finish: { _ in
    }
  }

  /// Calls a function of two parameters and one result.
  @inlinable @inline(__always)
  public func callAsFunction<A: WasmValue, B: WasmValue>(_ a: A, _ b: B) throws -> Results
  where Parameters == (A, B), Results: WasmValue {
    try function.invokeRaw(slotCount: 2) {
      try a.write(to: $0, at: 0)
      try b.write(to: $0, at: 1)
    } finish: {
      Results.read(from: $0, at: 0)
    }
  }

  /// Calls a function of three parameters and no result.
  @inlinable @inline(__always)
  public func callAsFunction<A: WasmValue, B: WasmValue, C: WasmValue>(_ a: A, _ b: B, _ c: C) throws
  where Parameters == (A, B, C), Results == Void {
    try function.invokeRaw(slotCount: 3) {
      try a.write(to: $0, at: 0)
      try b.write(to: $0, at: 1)
      try c.write(to: $0, at: 2)
    } finish: { _ in
    }
  }

  /// Calls a function of three parameters and one result.
  @inlinable @inline(__always)
  public func callAsFunction<A: WasmValue, B: WasmValue, C: WasmValue>(_ a: A, _ b: B, _ c: C) throws -> Results
  where Parameters == (A, B, C), Results: WasmValue {
    try function.invokeRaw(slotCount: 3) {
      try a.write(to: $0, at: 0)
      try b.write(to: $0, at: 1)
      try c.write(to: $0, at: 2)
    } finish: {
      Results.read(from: $0, at: 0)
    }
  }

  /// Calls a function of four parameters and no result.
  @inlinable @inline(__always)
  public func callAsFunction<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue>(_ a: A, _ b: B, _ c: C, _ d: D)
    throws where Parameters == (A, B, C, D), Results == Void
  {
    try function.invokeRaw(slotCount: 4) {
      try a.write(to: $0, at: 0)
      try b.write(to: $0, at: 1)
      try c.write(to: $0, at: 2)
      try d.write(to: $0, at: 3)
    } finish: { _ in
    }
  }

  /// Calls a function of four parameters and one result.
  @inlinable @inline(__always)
  public func callAsFunction<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue>(_ a: A, _ b: B, _ c: C, _ d: D)
    throws -> Results where Parameters == (A, B, C, D), Results: WasmValue
  {
    try function.invokeRaw(slotCount: 4) {
      try a.write(to: $0, at: 0)
      try b.write(to: $0, at: 1)
      try c.write(to: $0, at: 2)
      try d.write(to: $0, at: 3)
    } finish: {
      Results.read(from: $0, at: 0)
    }
  }
}

extension Function {
  /// A closure of no parameters and no result.
  @inlinable
  public func typed() throws(RuntimeError) -> () throws -> Void {
    let handle = try TypedFunction<Void, Void>(self)
    return { try handle() }
  }

  /// A closure of no parameters and one result.
  @inlinable
  public func typed<R: WasmValue>() throws(RuntimeError) -> () throws -> R {
    let handle = try TypedFunction<Void, R>(self)
    return { try handle() }
  }

  /// A closure of one parameter and no result.
  @inlinable
  public func typed<A: WasmValue>() throws(RuntimeError) -> (A) throws -> Void {
    let handle = try TypedFunction<A, Void>(self)
    return { a in try handle(a) }
  }

  /// A closure of one parameter and one result.
  @inlinable
  public func typed<A: WasmValue, R: WasmValue>() throws(RuntimeError) -> (A) throws -> R {
    let handle = try TypedFunction<A, R>(self)
    return { a in try handle(a) }
  }

  /// A closure of two parameters and no result.
  @inlinable
  public func typed<A: WasmValue, B: WasmValue>() throws(RuntimeError) -> (A, B) throws -> Void {
    let handle = try TypedFunction<(A, B), Void>(self)
    return { a, b in try handle(a, b) }
  }

  /// A closure of two parameters and one result.
  @inlinable
  public func typed<A: WasmValue, B: WasmValue, R: WasmValue>() throws(RuntimeError) -> (A, B) throws -> R {
    let handle = try TypedFunction<(A, B), R>(self)
    return { a, b in try handle(a, b) }
  }

  /// A closure of three parameters and no result.
  @inlinable
  public func typed<A: WasmValue, B: WasmValue, C: WasmValue>() throws(RuntimeError) -> (A, B, C) throws -> Void {
    let handle = try TypedFunction<(A, B, C), Void>(self)
    return { a, b, c in try handle(a, b, c) }
  }

  /// A closure of three parameters and one result.
  @inlinable
  public func typed<A: WasmValue, B: WasmValue, C: WasmValue, R: WasmValue>() throws(RuntimeError) -> (A, B, C) throws
    -> R
  {
    let handle = try TypedFunction<(A, B, C), R>(self)
    return { a, b, c in try handle(a, b, c) }
  }

  /// A closure of four parameters and no result.
  @inlinable
  public func typed<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue>() throws(RuntimeError) -> (A, B, C, D)
    throws -> Void
  {
    let handle = try TypedFunction<(A, B, C, D), Void>(self)
    return { a, b, c, d in try handle(a, b, c, d) }
  }

  /// A closure of four parameters and one result.
  @inlinable
  public func typed<A: WasmValue, B: WasmValue, C: WasmValue, D: WasmValue, R: WasmValue>() throws(RuntimeError) -> (
    A, B, C, D
  ) throws -> R {
    let handle = try TypedFunction<(A, B, C, D), R>(self)
    return { a, b, c, d in try handle(a, b, c, d) }
  }
}
