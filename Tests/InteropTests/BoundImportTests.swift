// C functions in the place of a module's imports: called by compiled wasm, in memory and as a finished artifact.

#if arch(x86_64)

  import Glibc
  import Precast
  import PrecastArtifact
  import PrecastCompiler
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

    private func instances(_ module: Module, _ engine: Engine) throws -> (bound: Instance, user: Instance) {
      let store = Store(engine: engine)
      let bound = try module.instantiate(store: store)
      var imports = Imports()
      for (name, value) in bound.exports { imports.define(module: "bound", name: name, value) }
      let user = try Module(engine: engine, wasm: WAT.binary(BoundFunctions.user))
      return (bound, try user.instantiate(store: store, imports: imports))
    }

    private func check(_ call: BoundCall, _ way: String, _ instances: (bound: Instance, user: Instance)) throws {
      let instance = way == "user_" ? instances.user : instances.bound
      let function = try #require(instance.exports[function: way + call.function])
      let result = try function.invoke(call.arguments.map(\.value))
      #expect(result.map(\.description) == (call.result.map { [$0.value.description] } ?? []), "\(way)\(call)")
    }

    @Test("do what they do in C, called directly, as an export, through a table, by another module", arguments: cases)
    func results(variant: Variant, way: BoundObjects.Way) throws {
      let engine = Engine()
      let module = try BoundObjects.module(variant, way, engine: engine)
      #expect(module.imports.isEmpty)
      let instances = try instances(module, engine)
      for way in BoundFunctions.ways {
        for call in BoundFunctions.pure { try check(call, way, instances) }
      }
      // Variables of C are one for all ways, and for all instances of the module.
      for (turn, way) in BoundFunctions.ways.enumerated() {
        for call in BoundFunctions.keeping(turn: Int64(turn)) { try check(call, way, instances) }
      }
      let others = try self.instances(module, engine)
      for call in BoundFunctions.keeping(turn: 4) { try check(call, "call_", others) }
      // Another load has variables of its own.
      let again = try self.instances(BoundObjects.module(variant, way, engine: engine), engine)
      for call in BoundFunctions.keeping(turn: 0) { try check(call, "table_", again) }
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
