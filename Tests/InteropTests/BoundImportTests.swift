// C functions in the place of a module's imports: called by compiled wasm, in memory and as a finished artifact.

#if arch(x86_64)

  import Glibc
  import Precast
  import PrecastArtifact
  import PrecastCompiler
  import PrecastMachineCode
  import Testing

  @Suite("C functions bound to imports", .enabled(if: WAT.isAvailable, "needs wasm-tools"))
  struct BoundImportTests {
    static let finishable = Variant.all(for: .x86_64, extra: ["-fvisibility=hidden"]).filter {
      $0.flags.contains("-fPIC")
    }
    static let cases: [(Variant, BoundObjects.Way)] =
      finishable.flatMap { [($0, BoundObjects.Way.inMemory), ($0, .finished)] }
      + Variant.all(for: .x86_64).map { ($0, .inMemory) }
      + Variant.all(for: .x86_64, extra: ["-mcmodel=large"]).map { ($0, .inMemory) }
    /// AArch64, where there is an emulator for it.
    static let emulated: [(Variant, BoundObjects.Way)] =
      BoundObjects.emulatedVariants(extra: ["-fvisibility=hidden"]).filter { $0.flags.contains("-fPIC") }
      .flatMap { [($0, BoundObjects.Way.inMemory), ($0, .finished)] }
      + BoundObjects.emulatedVariants().map { ($0, .inMemory) }

    private func instances(
      _ module: Module, _ engine: Engine, _ machine: Architecture = .x86_64
    ) throws -> (bound: Instance, user: Instance) {
      let store = Store(engine: engine)
      let bound = try module.instantiate(store: store)
      var imports = Imports()
      for (name, value) in bound.exports { imports.define(module: "bound", name: name, value) }
      let user = try BoundObjects.module(BoundFunctions.user, for: machine, engine: engine)
      return (bound, try user.instantiate(store: store, imports: imports))
    }

    private func check(_ call: BoundCall, _ way: String, _ instances: (bound: Instance, user: Instance)) throws {
      let instance = way == "user_" ? instances.user : instances.bound
      let function = try #require(instance.exports[function: way + call.function])
      let result = try function.invoke(call.arguments.map(\.value))
      #expect(result.map(\.description) == (call.result.map { [$0.value.description] } ?? []), "\(way)\(call)")
    }

    @Test(
      "do what they do in C, called directly, as an export, through a table, by another module",
      arguments: cases + emulated)
    func results(variant: Variant, way: BoundObjects.Way) throws {
      let engine = BoundObjects.engine(for: variant.machine)
      let module = try BoundObjects.module(variant, way, engine: engine)
      #expect(module.imports.isEmpty)
      let instances = try instances(module, engine, variant.machine)
      for way in BoundFunctions.ways {
        for call in BoundFunctions.pure { try check(call, way, instances) }
      }
      // Variables of C are one for all ways, and for all instances of the module.
      for (turn, way) in BoundFunctions.ways.enumerated() {
        for call in BoundFunctions.keeping(turn: Int64(turn)) { try check(call, way, instances) }
      }
      let others = try self.instances(module, engine, variant.machine)
      for call in BoundFunctions.keeping(turn: 4) { try check(call, "call_", others) }
      // Another load has variables of its own.
      let again = try self.instances(
        BoundObjects.module(variant, way, engine: engine), engine, variant.machine)
      for call in BoundFunctions.keeping(turn: 0) { try check(call, "table_", again) }
    }

    @Test("stand beside imports that are asked for", arguments: BoundObjects.Way.allCases)
    func someBound(way: BoundObjects.Way) throws {
      let module = """
        (module
        (import "env" "before" (func $before (param i32) (result i32)))
        (import "c" "odd" (func $odd (param i32) (result i32)))
        (import "env" "after" (func $after (param i32 i32) (result i32)))
        (import "c" "even" (func $even (param i32) (result i32)))
        (func (export "f") (param i32) (result i32)
          (call $after (call $odd (call $before (local.get 0))) (call $even (local.get 0)))))
        """
      let objects =
        try BoundObjects.cObjects(["bound.c", "bound_other.c", "bound_host.c"], Self.finishable[0])
        + BoundObjects.wasmObject(
          module, [ImportBinding(path: "c.odd", symbol: "odd"), ImportBinding(path: "c.even", symbol: "even")])
      let engine = Engine()
      let bound = try BoundObjects.load(objects, way, engine: engine)
      #expect(bound.imports.map(\.name) == ["before", "after"])
      var imports = Imports()
      imports.define(module: "env", name: "before") { (x: UInt32) in x + 1 }
      imports.define(module: "env", name: "after") { (a: UInt32, b: UInt32) in a * 10 + b }
      // What is bound is bound, whatever else has its name.
      imports.define(module: "c", name: "odd") { (_: UInt32) in UInt32(99) }
      let f = try #require(
        try bound.instantiate(store: Store(engine: engine), imports: imports).exports[function: "f"])
      #expect(try f.invoke([.i32(4)]).first?.i32 == 11)
      #expect(try f.invoke([.i32(5)]).first?.i32 == 0)
      #expect(throws: RuntimeError.self) { try bound.instantiate(store: Store(engine: engine)) }
    }

    @Test("are functions as any other: references to them can be called and compared, and have a type")
    func references() throws {
      let engine = Engine()
      let module = try BoundObjects.module(Self.finishable[0], .finished, engine: engine)
      let (bound, _) = try instances(module, engine)
      let exported = try #require(bound.exports[function: "import_subtract"])
      let reference = try #require(try bound.exports[function: "reference"]?.invoke().first?.function)
      let table = try #require(bound.exports[table: "table"])
      #expect(reference == exported)
      #expect(try table.get(0).function == exported)
      #expect(exported.type == FunctionType(parameters: [.i32, .i32], results: [.i32]))
      #expect(try reference.invoke([.i32(9), .i32(4)]).first?.i32 == 5)
      #expect(throws: Trap.self) { try bound.exports[function: "wrong_type"]?.invoke() }
    }
  }

#endif
