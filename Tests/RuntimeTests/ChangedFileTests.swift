// A file that gets shorter while it is loaded: errors and traps, and never the end of the process.

import Foundation
import Precast
import PrecastArtifact
import PrecastLoader
import Testing

/// What a call did that may have needed something lost.
enum Ending: Equatable {
  case returned([Value])
  case trapped(TrapCode)

  init(_ body: () throws -> [Value]) throws {
    do { self = .returned(try body()) } catch let trap as Trap { self = .trapped(trap.code) }
  }
}

@Suite(.enabled(if: WAT.isAvailable)) struct ChangedFiles {
  static let world = """
    (module
      (import "host" "spoil" (func $spoil (param i32) (result i32)))
      (memory (export "memory") 4)
      (data (i32.const 5) "at the start")
      (data (i32.const 140000) "in the third page")
      (table 4 funcref) (elem (i32.const 1) $far $near)
      (type $unary (func (param i32) (result i32)))
      (func (export "read") (param i32) (result i32) (i32.load8_u (local.get 0)))
      (func (export "write") (param i32) (i32.store8 (local.get 0) (i32.const 7)))
      \(ChangedFile.longFunction("near"))
      (func $run (export "run") (param i32) (result i32)
        (local.set 0 (call $spoil (local.get 0)))
        (local.set 0 (call $near (local.get 0)))
        (local.set 0 (call_indirect (type $unary) (local.get 0) (i32.const 1)))
        (i32.add (local.get 0) (i32.load8_u (i32.const 140000))))
      (func (export "spin") (loop (drop (call $far (i32.const 1))) (br 0)))
      \(ChangedFile.longFunction("far")))
    """

  /// An import that does `body`, and returns its argument.
  func imports(_ store: Store, _ body: @escaping () -> Void = {}) -> Imports {
    var imports = Imports()
    let type = FunctionType(parameters: [.i32], results: [.i32])
    imports.define(
      module: "host", name: "spoil",
      .function(
        Function(store: store, type: type) { _, arguments in
          body()
          return arguments
        }))
    return imports
  }

  /// What every use of a module gives whose file is known to have changed.
  func expectRefusal(_ module: Module, _ file: ChangedFile) {
    #expect(module.artifact.isDamaged)
    #expect(module.exports.isEmpty)
    #expect(module.imports.isEmpty)
    let store = file.store()
    do {
      _ = try module.instantiate(store: store, imports: imports(store))
      Issue.record("a changed module was instantiated")
    } catch let error as RuntimeError {
      #expect(error.kind == .damagedArtifact)
      #expect(error.message.contains("was changed while it was loaded"))
      #expect(error.message.contains(file.path))
    } catch {
      Issue.record("\(error)")
    }
    #expect(throws: LoadError.self) { try module.serialize() }
    #expect(throws: LoadError.self) { try module.withSerializedBytes { _ in } }
    #expect(throws: LoadError.self) { try module.serialize(toFile: file.path + ".copy") }
    #expect(access(file.path + ".copy", F_OK) != 0)
  }

  @Test func lostTablesAreAnError() throws {
    let file = try ChangedFile(Self.world)
    let module = try file.load()
    file.truncate(to: module.artifact.header.text.end)
    #expect(module.exports.isEmpty)
    expectRefusal(module, file)
  }

  @Test func tablesThatWereReadBeforeAreAnErrorToo() throws {
    let file = try ChangedFile(Self.world)
    let module = try file.load()
    let store = file.store()
    let instance = try module.instantiate(store: store, imports: imports(store))
    #expect(module.exports.count == 7)
    file.truncate(to: module.artifact.header.text.end)
    // Some of what they need may be kept; what they say is right, or nothing.
    let exports = module.exports.map(\.name)
    #expect(exports.isEmpty)
    #expect(instance.exports[function: "near"] == nil)
    expectRefusal(module, file)
  }

  @Test func anElementOfATableThatCannotBeLookedUpIsNotNull() throws {
    let file = try ChangedFile(
      """
      (module
        (table $t (export "table") 4 funcref) (table $u (export "other") 4 funcref) (elem (i32.const 1) $f $f)
        (func $f (export "f") (result i32) (i32.const 5))
        (func (export "copy") (table.copy $u $t (i32.const 0) (i32.const 0) (i32.const 4))))
      """)
    let module = try file.load()
    let instance = try module.instantiate(store: file.store())
    let table = try #require(instance.exports[table: "table"])
    let other = try #require(instance.exports[table: "other"])
    let copy = try #require(instance.exports[function: "copy"])
    #expect(try table.get(1) != .funcref(nil))
    file.truncate(to: module.artifact.header.text.end)
    // What was looked up before is known; the rest is an error, the second time as well.
    #expect(try table.get(1) != .funcref(nil))
    for _ in 0..<2 {
      #expect(kind { _ = try table.get(2) } == .damagedArtifact)
      #expect(trap { try copy() } != nil)
      #expect(try other.get(1) == .funcref(nil))
    }
  }

  @Test func lostTextIsATrapEvenInTheTrampolines() throws {
    let file = try ChangedFile(Self.world)
    let module = try file.load()
    let store = file.store()
    let instance = try module.instantiate(store: store, imports: imports(store))
    let near = try #require(instance.exports[function: "near"])
    let write = try #require(instance.exports[function: "write"])
    #expect(try near([.i32(1)]).count == 1)
    file.truncate(to: 4096)
    // Kept in registers across the calls, as far as the compiler goes.
    var sum = 0
    for i in 0..<50 {
      let (a, b, c, d, e) = (i &* 3, i &* 5, i &* 7, i &* 11, i &* 13)
      #expect(try Ending { try near([.i32(1)]) } == .trapped(.damagedArtifact))
      #expect(try Ending { try write([.i32(1)]) } == .trapped(.damagedArtifact))
      sum += a + b + c + d + e
    }
    #expect(sum == 39 * 1225)
    expectRefusal(module, file)
    #expect(anActivationIsLeftBehind() == false)
  }

  @Test(arguments: [0, 1]) func atEveryPageAndAtEveryMomentThereIsAnEnding(_ way: Int) throws {
    let file = try ChangedFile(Self.world)
    let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: file.path)))
    var expected: [Value]?
    var endings = (returned: 0, trapped: 0)
    for size in stride(from: 4096, through: (bytes.count + 4095) & ~4095, by: 4096) {
      try Data(bytes).write(to: URL(fileURLWithPath: file.path))
      let module = try file.load()
      let store = file.store()
      let spoil = { if size < bytes.count { file.truncate(to: UInt64(size)) } }
      let instance = try module.instantiate(store: store, imports: imports(store, way == 0 ? spoil : {}))
      let run = try #require(instance.exports[function: "run"])
      if expected == nil && way == 1 { expected = try run([.i32(3)]) }
      // Once from within a host function, so that wasm goes on with what is left; once before the call.
      if way == 1 { spoil() }
      switch try Ending({ try run([.i32(3)]) }) {
      case .returned(let values):
        endings.returned += 1
        if let expected { #expect(values == expected) }
      case .trapped(let code):
        endings.trapped += 1
        #expect(code == .damagedArtifact, "cut at \(size)")
      }
      // And once more, in whatever state it is.
      _ = try Ending { try run([.i32(3)]) }
      if size < Int(module.artifact.header.text.end) { #expect(module.artifact.isDamaged) }
    }
    #expect(endings.returned > 0)
    #expect(endings.trapped > 5)
  }

  @Test func aLostImagePageIsATrapInWasmAndZeroForTheHost() throws {
    let file = try ChangedFile(Self.world)
    let module = try file.load()
    let store = file.store()
    let instance = try module.instantiate(store: store, imports: imports(store))
    let read = try #require(instance.exports[function: "read"])
    let write = try #require(instance.exports[function: "write"])
    let memory = try #require(instance.exports[memory: "memory"])
    #expect(try read([.i32(140_000)]) == [.i32(105)])
    try write([.i32(140_001)])  // a private page by now
    file.truncate(to: module.artifact.header.extent(of: .dataImage).offset)
    for address in [UInt32(5), 140_000, 140_001] {
      #expect(try Ending { try read([.i32(address)]) } == .trapped(.damagedArtifact))
      #expect(try Ending { try write([.i32(address)]) } == .trapped(.damagedArtifact))
    }
    // Tables that are left say where it was.
    do {
      try read([.i32(140_000)])
    } catch let trap as Trap {
      #expect(trap.frames.map(\.functionIndex) == [1])
      #expect(trap.frames.first?.wasmOffset != nil)
      #expect(trap.message.contains("was changed while it was loaded"))
    }
    // What never came from the file is as it was; what is out of bounds is nothing else.
    #expect(try read([.i32(100_000)]) == [.i32(0)])
    #expect(try Ending { try read([.i32(4 << 16)]) } == .trapped(.memoryOutOfBounds))
    // The host gets zeros, and can write.
    #expect(try memory.readString(at: 140_000, count: 4) == "\0\0\0\0")
    try memory.write(Array("new".utf8), at: 5)
    #expect(try memory.readString(at: 5, count: 4) == "new\0")
    #expect(try read([.i32(5)]) == [.i32(110)])
    expectRefusal(module, file)
  }

  @Test func aSlotThatHadALostImageIsAsNewForTheNextModule() throws {
    let engine = Engine()
    let file = try ChangedFile(Self.world, engine: engine)
    let sound = try ChangedFile(Self.world, engine: engine)
    for wiped in [false, true] {
      let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: sound.path)))
      try Data(bytes).write(to: URL(fileURLWithPath: file.path))
      var module: Module? = try file.load()
      do {
        let store = file.store()
        let instance = try module!.instantiate(store: store, imports: imports(store))
        let memory = try #require(instance.exports[memory: "memory"])
        file.truncate(to: module!.artifact.header.extent(of: .dataImage).offset)
        // Zero pages over the image, and written to.
        try memory.write(Array("garbage".utf8), at: 5)
        try memory.write(Array("garbage".utf8), at: 140_000)
      }
      // Its store is gone, and the slot waits.
      #expect(engine.poolCounts.inUse == 0 && engine.poolCounts.idle > 0)
      if wiped { module = nil }
      let other = try sound.load()
      for _ in 0..<3 {
        let store = sound.store()
        let instance = try other.instantiate(store: store, imports: imports(store))
        let memory = try #require(instance.exports[memory: "memory"])
        #expect(try memory.readString(at: 5, count: 12) == "at the start")
        #expect(try memory.readString(at: 140_000, count: 17) == "in the third page")
        #expect(try memory.read(at: 12 + 5, count: 3) == [0, 0, 0])
        #expect(!other.artifact.isDamaged)
      }
      if let module { expectRefusal(module, file) }
    }
  }

  @Test func theHostMayBeTheFirstToTouchALostImage() throws {
    let file = try ChangedFile(Self.world)
    let module = try file.load()
    let store = file.store()
    let instance = try module.instantiate(store: store, imports: imports(store))
    let memory = try #require(instance.exports[memory: "memory"])
    file.truncate(to: module.artifact.header.extent(of: .dataImage).offset)
    #expect(!module.artifact.isDamaged)
    try memory.write([1, 2, 3], at: 140_000)
    #expect(try memory.read(at: 140_000, count: 4) == [1, 2, 3, 0])
    #expect(module.artifact.isDamaged)
    let other = file.store()
    #expect(kind { _ = try module.instantiate(store: other, imports: imports(other)) } == .damagedArtifact)
  }

  @Test func aFileThatIsCutWhileItsCodeRunsEndsTheCall() throws {
    for size: UInt64 in [4096, 8192, 12288] {
      let file = try ChangedFile(Self.world)
      let module = try file.load()
      let store = file.store()
      let instance = try module.instantiate(store: store, imports: imports(store))
      let spin = try #require(instance.exports[function: "spin"])
      let path = file.path
      let thread = Thread {
        usleep(20_000)
        _ = Glibc.truncate(path, Int(size))
      }
      thread.start()
      #expect(try Ending { try spin() } == .trapped(.damagedArtifact))
      expectRefusal(module, file)
    }
  }

  @Test func otherModulesGoOn() throws {
    let file = try ChangedFile(Self.world)
    let sound = try ChangedFile(Self.world)
    let module = try file.load()
    let other = try sound.load()
    file.truncate(to: 4096)
    #expect(module.exports.isEmpty)
    let store = sound.store()
    let instance = try other.instantiate(store: store, imports: imports(store))
    #expect(try instance.call("read", .i32(5)) == [.i32(97)])
    #expect(!other.artifact.isDamaged)
  }

  private func anActivationIsLeftBehind() -> Bool {
    // A thread with an activation left behind would take this trap for the old one's.
    (try? Ending { try World().instance("(module (func (export \"f\") unreachable))").call("f") })
      != .trapped(.unreachable)
  }
}
