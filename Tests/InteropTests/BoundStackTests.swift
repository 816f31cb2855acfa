// The stack under C functions that wasm calls: its end, traps above them, and unwinding through them.

#if arch(x86_64)

  import Glibc
  import Precast
  import PrecastArtifact
  import PrecastCompiler
  import PrecastLoader
  import TestSupport
  import Testing

  /// What functions called from C have to find by themselves. Used by one thread at a time: the suite is serialized.
  private enum Here {
    nonisolated(unsafe) static var instance: Instance?
    nonisolated(unsafe) static var trap: Trap?
    nonisolated(unsafe) static var depths: [[Int]] = []
    nonisolated(unsafe) static var addresses: [UInt] = []

    static let enter: @convention(c) (Int64) -> Int64 = { x in
      unsafe depths.append(Backtrace.capture().frames.map(\.depth))
      guard let function = unsafe instance?.exports[function: "down"] else { return -2 }
      do {
        return try function.invoke([Value(signed: x)]).first?.i64.map { Int64(bitPattern: $0) } ?? -3
      } catch {
        unsafe trap = error as? Trap
        return -1
      }
    }
    static let sink: @convention(c) (UInt) -> Void = { unsafe addresses.append($0) }
    static func reset() { unsafe (instance, trap, depths, addresses) = (nil, nil, [], []) }
  }

  /// The address of a function of the process, as an argument.
  private func address(_ name: String) throws -> Value {
    .i64(UInt64(UInt(bitPattern: try unsafe #require(dlsym(nil, name), "no function \(name)"))))
  }

  @Suite("The stack under C functions bound to imports", .serialized, .enabled(if: WAT.isAvailable, "needs wasm-tools"))
  struct BoundStackTests {
    // Clang leaves unwind tables out of free-standing code, unless told otherwise.
    static let variants = Variant.all(
      for: .x86_64, extra: ["-fvisibility=hidden", "-fomit-frame-pointer", "-fasynchronous-unwind-tables"]
    ).filter { $0.flags.contains("-fPIC") }
    static let cases = variants.flatMap { [($0, BoundObjects.Way.inMemory), ($0, .finished)] }

    /// The same code for AArch64, where there is an emulator for it.
    static let emulated = BoundObjects.emulatedVariants(extra: ["-fvisibility=hidden", "-fomit-frame-pointer"])
      .filter { $0.flags.contains("-fPIC") }.flatMap { [($0, BoundObjects.Way.inMemory), ($0, .finished)] }

    static let registrations = cases.flatMap { [($0, $1, false), ($0, $1, true)] }

    private static let text = """
      (module $stack
      (import "c" "wide" (func $wide (param i32) (result i32)))
      (import "c" "through_host" (func $through_host (param i64 i64) (result i64)))
      (import "c" "unwind_from" (func $unwind_from (param i64 i64 i64 i32) (result i32)))
      (global $host (mut i64) (i64.const 0))
      (export "wide" (func $wide))
      (func $forever (export "forever") (param i32) (result i32)
        (i32.add (call $wide (local.get 0)) (call $forever (i32.add (local.get 0) (i32.const 1)))))
      (func $some (export "some") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
          (then (call $wide (i32.const 0)))
          (else (i32.add (call $wide (i32.const 1)) (call $some (i32.sub (local.get 0) (i32.const 1)))))))
      (func (export "start_down") (param i64 i64) (result i64)
        (global.set $host (local.get 0)) (call $down (local.get 1)))
      (func $down (export "down") (param i64) (result i64)
        (if (i64.eqz (local.get 0)) (then unreachable))
        (if (i64.eq (local.get 0) (i64.const 100)) (then (return (i64.const 5))))
        (call $through_host (global.get $host) (i64.sub (local.get 0) (i64.const 1))))
      (func $look (export "look") (param i64 i64 i64 i32) (result i32)
        (i32.add (i32.const 1)
          (call $unwind_from (local.get 0) (local.get 1) (local.get 2) (local.get 3))))
      (func (export "look_from_further") (param i64 i64 i64 i32) (result i32)
        (i32.add (i32.const 1) (call $look (local.get 0) (local.get 1) (local.get 2) (local.get 3)))))
      """

    private func instance(
      _ variant: Variant, _ way: BoundObjects.Way, unwinding: UnwindRegistration = .perModule
    ) throws -> Instance {
      var configuration = EngineConfiguration()
      configuration.unwinding = unwinding
      let enter = unsafe unsafeBitCast(Here.enter, to: UInt.self)
      let engine = BoundObjects.engine(
        for: variant.machine, configuration: configuration, hostFunctions: [enter])
      let bindings = ["wide", "through_host", "unwind_from"].map { ImportBinding(path: "c.\($0)", symbol: $0) }
      let objects =
        try BoundObjects.cObjects(["bound_stack.c", "bound_deeper.c"], variant)
        + BoundObjects.wasmObject(Self.text, bindings, for: variant.machine)
      return try BoundObjects.load(objects, way, engine: engine).instantiate(store: Store(engine: engine))
    }

    @Test(
      "where the stack ends, a call of C is a trap as a call of wasm is, and the store can go on",
      arguments: cases + emulated)
    func overflow(variant: Variant, way: BoundObjects.Way) throws {
      let instance = try instance(variant, way)
      let forever = try #require(instance.exports[function: "forever"])
      for _ in 0..<3 {
        let trap = try #require(throws: Trap.self) { try forever.invoke([.i32(0)]) }
        #expect(trap.code == .stackOverflow)
        // It is the function itself, or C, that finds no room: an adapter is the import that it stands for.
        let names = trap.frames.map { $0.functionName ?? "" }
        #expect(["forever", "wide"].contains(names.first))
        #expect(names.count > 100 && names.dropFirst().allSatisfy { $0 == "forever" })
      }
      let some = try #require(instance.exports[function: "some"])
      #expect(try some.invoke([.i32(500)]).first?.i32 == 1 + 500 * 2)
      #expect(try instance.exports[function: "wide"]?.invoke([.i32(41)]).first?.i32 == 42)
    }

    @Test(
      "wasm entered again from C by way of the host has all frames; its trap ends at the host",
      arguments: cases + emulated)
    func nested(variant: Variant, way: BoundObjects.Way) throws {
      Here.reset()
      defer { Here.reset() }
      let instance = try instance(variant, way)
      unsafe Here.instance = instance
      let start = try #require(instance.exports[function: "start_down"])
      let enter = Value.i64(UInt64(UInt(bitPattern: unsafe unsafeBitCast(Here.enter, to: Int.self))))
      // 103 → 102 → 101 → 100, which returns 5.
      #expect(try start.invoke([enter, .i64(103)]).first?.i64 == ((5 * 2 + 1) * 2 + 1) * 2 + 1)
      #expect(unsafe Here.trap == nil)
      #expect(unsafe Here.depths == [[0, 0], [0, 1, 1], [0, 1, 2, 2]])
      // 3 → 2 → 1 → 0, which traps: -1 there, and on it goes.
      #expect(try start.invoke([enter, .i64(3)]).first?.i64 == UInt64(bitPattern: (((-1) * 2 + 1) * 2 + 1) * 2 + 1))
      let trap = try #require(unsafe Here.trap)
      #expect(trap.code == .unreachable)
      #expect(trap.frames.map(\.depth) == [0, 1, 2, 3, 3])
      #expect(trap.frames.map { $0.functionName ?? "" } == ["down", "down", "down", "down", ""])
    }

    @Test(
      "the system's unwinder finds every frame: C of two objects, adapter, wasm, entry, host",
      arguments: registrations)
    func unwinding(variant: Variant, way: BoundObjects.Way, isShared: Bool) throws {
      Here.reset()
      defer { Here.reset() }
      let instance = try instance(variant, way, unwinding: isShared ? .shared : .perModule)
      let artifact = instance.module.artifact
      let sink = Value.i64(UInt64(UInt(bitPattern: unsafe unsafeBitCast(Here.sink, to: Int.self))))
      for levels in [0, 1, 6] as [UInt32] {
        for (name, wasmFrames) in [("look", 1), ("look_from_further", 2)] {
          unsafe Here.addresses = []
          let look = try #require(instance.exports[function: name])
          let result = try look.invoke(
            [address("_Unwind_Backtrace"), address("_Unwind_GetIP"), sink, .i32(levels)])
          // 5 is `_URC_END_OF_STACK`: it came to the end.
          #expect(result.first?.i32 == 5 + 8 + 3 * levels + UInt32(wasmFrames))
          let seen = unsafe Here.addresses
          let isOurs = seen.map { $0 &- 1 &- artifact.textBase < UInt(artifact.textSize) }
          // `unwind`, which an optimiser may have put into its caller; a frame of each object for each level.
          let cFrames = isOurs.prefix { $0 }.count - wasmFrames - 2
          #expect((1...2).contains(cFrames - 2 * Int(levels)), "\(cFrames) frames of C at \(levels)")
          let functions = seen.prefix(cFrames + 1 + wasmFrames).suffix(wasmFrames)
            .map { artifact.location(of: $0, isReturnAddress: true)?.functionIndex }
          let right = name == "look" ? [7] : [7, 8]
          #expect(functions == right)
          // The host goes on where wasm ends.
          #expect(isOurs.dropFirst(cFrames + wasmFrames + 2).allSatisfy { !$0 })
          #expect(isOurs.count - cFrames - wasmFrames - 2 > 3)
        }
      }
    }

    /// C++ that throws and catches, bound to imports.
    private static func throwing(_ variant: Variant) throws -> Instance {
      let symbols = [
        "__cxa_throw", "__cxa_allocate_exception", "__cxa_free_exception", "__cxa_begin_catch", "__cxa_end_catch",
        "__gxx_personality_v0", "_Unwind_Resume", "_ZTIi", "_ZTVN10__cxxabiv117__class_type_infoE",
        "_ZTVN10__cxxabiv120__si_class_type_infoE", "_ZTIc", "_ZdlPv", "_ZdlPvm", "__cxa_call_terminate",
        "_ZSt9terminatev",
      ]
      var addresses: [String: UInt] = [:]
      for symbol in symbols { addresses[symbol] = unsafe dlsym(nil, symbol).map { UInt(bitPattern: $0) } }
      try #require(addresses["__cxa_throw"] != nil, "this process has no C++ runtime")
      let module = """
        (module
        (import "c" "careful" (func $careful (param i32) (result i32)))
        (import "c" "witnesses" (func $witnesses (result i32)))
        (func (export "try") (param i32) (result i32) (call $careful (local.get 0)))
        (func (export "witnesses") (result i32) (call $witnesses)))
        """
      let bindings = ["careful", "witnesses"].map { ImportBinding(path: "c.\($0)", symbol: $0) }
      let objects =
        try BoundObjects.wasmObject(module, bindings) + BoundObjects.cObjects(["throws.cc", "catches.cc"], variant)
      let engine = Engine()
      return try Module(engine: engine, linking: objects, symbols: addresses)
        .instantiate(store: Store(engine: engine))
    }

    @Test(
      "an exception that C++ throws in one object and catches in another passes by wasm",
      .enabled(if: (try? run("g++", ["--version"])) != nil, "needs g++"), arguments: variants)
    func exceptions(variant: Variant) throws {
      let instance = try Self.throwing(variant)
      let careful = try #require(instance.exports[function: "try"])
      for (x, right) in [(5, 6), (500, 1_000_500), (-3, 2_000_003)] as [(Int32, UInt32)] {
        #expect(try careful.invoke([Value(signed: x)]).first?.i32 == right)
      }
      #expect(try instance.exports[function: "witnesses"]?.invoke().first?.i32 == 3)
    }

    @Test(
      "an exception that leaves C++ for wasm ends the process, where it was thrown",
      .enabled(if: (try? run("g++", ["--version"])) != nil, "needs g++"))
    func escaping() async {
      await #expect(processExitsWith: .signal(SIGABRT)) {
        let instance = try Self.throwing(Self.variants[0])
        try instance.exports[function: "try"]?.invoke([.i32(100)])
      }
    }

    @Test("a fault in C is no trap: it ends the process")
    func fault() async {
      await #expect(processExitsWith: .signal(SIGFPE)) {
        let text = """
          (module (import "c" "divide_in_c" (func $divide (param i32 i32) (result i32)))
          (func (export "divide") (param i32 i32) (result i32) (call $divide (local.get 0) (local.get 1))))
          """
        let bindings = [ImportBinding(path: "c.divide_in_c", symbol: "divide_in_c")]
        let objects =
          try BoundObjects.wasmObject(text, bindings)
          + BoundObjects.cObjects(["bound_stack.c", "bound_deeper.c"], Self.variants[0])
        let engine = Engine()
        let instance = try BoundObjects.load(objects, .finished, engine: engine).instantiate(
          store: Store(engine: engine))
        let divide = try #require(instance.exports[function: "divide"])
        try #require(try divide.invoke([.i32(7), .i32(2)]).first?.i32 == 3)
        try divide.invoke([.i32(7), .i32(0)])
      }
    }
  }

#endif
