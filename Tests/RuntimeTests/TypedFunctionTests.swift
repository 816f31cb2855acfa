// Calls whose types are known at compile time: handles, closures, and typed host functions, in all the forms written out
// and in those made of packs.

import Precast
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct TypedFunctions {
  private let world = World()

  private func function(_ text: String, _ imports: Imports = Imports()) throws -> Function {
    try #require(try world.instance(text, imports).exports[function: "f"])
  }

  @Test func callWithEachNumberOfParameters() throws {
    // The sum of the parameters, each with a weight of its own, so that an exchange shows.
    func sum(_ count: Int) throws -> Function {
      let terms = (0..<count).reduce("(i64.const 7)") {
        "(i64.add \($0) (i64.mul (i64.const \($1 + 2)) (local.get \($1))))"
      }
      return try function(
        "(module (func (export \"f\") (param \(Array(repeating: "i64", count: count).joined(separator: " ")))"
          + "(result i64) \(terms)))")
    }
    let zero = try TypedFunction<Void, Int64>(try sum(0))
    let one = try TypedFunction<Int64, Int64>(try sum(1))
    let two = try TypedFunction<(Int64, UInt64), Int64>(try sum(2))
    let three = try TypedFunction<(Int64, Int64, Int64), UInt64>(try sum(3))
    let four = try TypedFunction<(Int64, Int64, Int64, Int64), Int64>(try sum(4))
    let five = try TypedFunction<(Int64, Int64, Int64, Int64, Int64), Int64>(try sum(5))
    #expect(try zero() == 7)
    #expect(try one(-1) == 5)
    #expect(try two(1, 10) == 39)
    #expect(try three(1, 10, 100) == 439)
    #expect(try four(1, 10, 100, 1000) == 5439)
    #expect(try five(1, 10, 100, 1000, 10000) == 65439)
    let closure: (Int64, Int64, Int64, Int64) throws -> Int64 = try sum(4).typed()
    #expect(try closure(1, 10, 100, 1000) == 5439)
    let packed: (Int64, Int64, Int64, Int64, Int64) throws -> Int64 = try sum(5).typed()
    #expect(try packed(1, 10, 100, 1000, 10000) == 65439)
  }

  @Test func callWithoutAndWithSeveralResults() throws {
    let store = try function(
      #"(module (global $g (mut i32) (i32.const 5)) (func (export "f") (param i32) (global.set $g (local.get 0)))"#
        + #"(func (export "g") (result i32) (global.get $g)))"#)
    let set = try TypedFunction<UInt32, Void>(store)
    try set(9)
    let swap = try function(
      #"(module (func (export "f") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0)))"#)
    let handle = try TypedFunction<(Int32, Double), (Double, Int32)>(swap)
    let (number, integer) = try handle(-3, 0.5)
    #expect(number == 0.5)
    #expect(integer == -3)
  }

  @Test func refuseOtherTypes() throws {
    let add = try function(
      #"(module (func (export "f") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#)
    #expect(kind { _ = try TypedFunction<(Int32, Int64), Int32>(add) } == .typeMismatch)
    #expect(kind { _ = try TypedFunction<(Int32, Int32), Void>(add) } == .typeMismatch)
    #expect(kind { _ = try TypedFunction<Int32, Int32>(add) } == .typeMismatch)
    #expect(kind { _ = try TypedFunction<(Int32, Int32, Int32), Int32>(add) } == .typeMismatch)
    #expect(kind { let _: (Int32, Float) throws -> Int32 = try add.typed() } == .typeMismatch)
    #expect(kind { _ = try TypedFunction<(Int32, UInt32), UInt32>(add) } == nil)
  }

  @Test func refuseReferencesOfOtherStores() throws {
    let take = try TypedFunction<ExternRef?, Void>(
      try function(#"(module (func (export "f") (param externref)))"#))
    let foreign = ExternRef(store: World().store, 1)
    #expect(kind { try take(foreign) } == .foreignStore)
    try take(ExternRef(store: world.store, 2))
  }

  @Test func passTrapsOnAndCanBeCalledAgain() throws {
    let divide = try TypedFunction<(Int32, Int32), Int32>(
      try function(
        #"(module (func $divide (export "f") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1))))"#))
    for _ in 0..<3 {
      let trap = #expect(throws: Trap.self) { _ = try divide(1, 0) }
      #expect(trap?.code == .integerDivideByZero)
      #expect(trap?.frames.map(\.functionName) == ["divide"])
      #expect(try divide(12, -4) == -3)
    }
  }

  @Test func passErrorsOfTheHostOn() throws {
    let failure = HostFailure(3)
    let fail = Function(store: world.store) { (value: Int32) throws -> Int32 in
      if value == 0 { throw failure }
      return value
    }
    let text = """
      (module (import "host" "fail" (func $fail (param i32) (result i32)))
        (func (export "f") (param i32) (result i32) (call $fail (local.get 0))))
      """
    let call = try TypedFunction<Int32, Int32>(try function(text, world.imports(["fail": .function(fail)])))
    let error = #expect(throws: HostFailure.self) { _ = try call(0) }
    #expect(error === failure)
    #expect(try call(4) == 4)
    // A host function, entered without any machine code.
    let direct = try TypedFunction<Int32, Int32>(fail)
    #expect(throws: HostFailure.self) { _ = try direct(0) }
    #expect(try direct(4) == 4)
  }

  @Test func nestThroughHostAndWasm() throws {
    let box = Box<TypedFunction<(Int32, Int32), Int32>>()
    defer { box.value = nil }
    // Host, wasm, host, wasm, ...: each level adds its number to what comes back.
    let next = Function(store: world.store) { (depth: Int32, stop: Int32) throws -> Int32 in
      guard depth > stop, let again = box.value else { return 0 }
      return try again(depth - 1, stop)
    }
    let text = """
      (module (import "host" "next" (func $next (param i32 i32) (result i32)))
        (func $f (export "f") (param i32 i32) (result i32)
          (if (i32.eq (local.get 0) (i32.const -1)) (then unreachable))
          (i32.add (local.get 0) (call $next (local.get 0) (local.get 1)))))
      """
    let call = try TypedFunction<(Int32, Int32), Int32>(try function(text, world.imports(["next": .function(next)])))
    box.value = call
    #expect(try call(20, 0) == 210)
    let trap = #expect(throws: Trap.self) { _ = try call(3, -1) }
    #expect(trap?.code == .unreachable)
    #expect(trap?.frames.map(\.depth) == [0, 1, 2, 3, 4])
    #expect(try call(20, 0) == 210)
  }

  @Test func exhaustTheStackAndCanBeCalledAgain() throws {
    let call = try TypedFunction<Int32, Int32>(
      try function(
        """
        (module (func $f (export "f") (param i32) (result i32)
          (if (result i32) (local.get 0)
            (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0)))))
        """))
    for _ in 0..<2 {
      let trap = #expect(throws: Trap.self) { _ = try call(-1) }
      #expect(trap?.code == .stackOverflow)
      #expect(trap?.isTruncated == true)
      #expect(try call(100) == 100)
    }
  }

  /// Entries that nest until there is no stack for another one: the limit is the outermost entry's.
  @Test func exhaustTheStackByEntering() throws {
    let box = Box<TypedFunction<Void, Void>>()
    defer { box.value = nil }
    let again = Function(store: world.store) { () throws -> Void in try box.value?() }
    let text = #"(module (import "host" "again" (func $again)) (func (export "f") (call $again)))"#
    let call = try TypedFunction<Void, Void>(try function(text, world.imports(["again": .function(again)])))
    box.value = call
    let trap = #expect(throws: Trap.self) { try call() }
    #expect(trap?.code == .stackOverflow)
    #expect((trap?.frames.count ?? 0) > 10)
    box.value = nil
    try call()
  }

  @Test func keepTheirStore() throws {
    var call: TypedFunction<Void, Int32>?
    do {
      let world = World()
      let instance = try world.instance(#"(module (func (export "f") (result i32) (i32.const 5)))"#)
      call = try TypedFunction(#require(instance.exports[function: "f"]))
    }
    #expect(try call?() == 5)
  }
}

@Suite(.enabled(if: WAT.isAvailable)) struct TypedHostFunctions {
  /// A module that passes its parameters to `host.g` and returns what comes back.
  private func through(_ parameters: String, _ results: String, _ host: Function, _ world: World) throws -> Function {
    let count = parameters.split(separator: " ").count
    let instance = try world.instance(
      """
      (module (import "host" "g" (func $g (param \(parameters)) (result \(results))))
        (func (export "f") (param \(parameters)) (result \(results))
          \((0..<count).map { "(local.get \($0))" }.joined(separator: " ")) (call $g)))
      """, world.imports(["g": .function(host)]))
    return try #require(instance.exports[function: "f"])
  }

  @Test func takeEachNumberOfParameters() throws {
    let world = World()
    let store = world.store
    let zero = Function(store: store) { () -> Int32 in 11 }
    let one = Function(store: store) { (a: Int64) -> Double in Double(a) / 2 }
    let two = Function(store: store) { (a: Float, b: Int32) -> Float in a - Float(b) }
    let three = Function(store: store) { (a: Int32, b: Int64, c: Double) -> Int64 in Int64(a) - b + Int64(c) }
    let four = Function(store: store) { (a: UInt32, b: Int32, c: Int32, d: Int32) -> UInt32 in
      a &- UInt32(bitPattern: b &+ 2 &* c &+ 3 &* d)
    }
    let five = Function(store: store) { (a: Int32, b: Int32, c: Int32, d: Int32, e: Int32) -> (Int32, Int32) in
      (a - b, c - d * e)
    }
    #expect(try through("", "i32", zero, world).invoke() == [.i32(11)])
    #expect(try through("i64", "f64", one, world).invoke([.i64(3)]) == [.fromFloat64(1.5)])
    #expect(try through("f32 i32", "f32", two, world).invoke([.fromFloat32(0.5), .i32(3)]) == [.fromFloat32(-2.5)])
    #expect(
      try through("i32 i64 f64", "i64", three, world).invoke([.i32(5), .i64(3), .fromFloat64(100)]) == [.i64(102)])
    #expect(
      try through("i32 i32 i32 i32", "i32", four, world).invoke([.i32(100), .i32(1), .i32(2), .i32(3)]) == [.i32(86)])
    #expect(
      try through("i32 i32 i32 i32 i32", "i32 i32", five, world)
        .invoke([.i32(9), .i32(1), .i32(30), .i32(3), .i32(4)]) == [.i32(8), .i32(18)])
  }

  @Test func areDefinedWithoutAStore() throws {
    let world = World()
    var imports = Imports()
    imports.define(module: "host", name: "g") { (a: Int32, b: Int32) -> Int32 in a * b }
    imports.define(module: "host", name: "h") { (a: Int32) throws -> Void in if a == 3 { throw HostFailure(3) } }
    let instance = try world.instance(
      """
      (module (import "host" "g" (func $g (param i32 i32) (result i32))) (import "host" "h" (func $h (param i32)))
        (func (export "f") (param i32 i32) (result i32) (call $h (local.get 0))
          (call $g (local.get 0) (local.get 1))))
      """, imports)
    let call = try TypedFunction<(Int32, Int32), Int32>(#require(instance.exports[function: "f"]))
    #expect(try call(6, 7) == 42)
    #expect(throws: HostFailure.self) { _ = try call(3, 7) }
  }
}
