// Backtraces: exact with an address map, functions only without one.

import Foundation
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastWasm
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct Backtraces {
  static let text = """
    (module $shop
      (memory 1)
      (func $inner (param i32)
        (drop (i32.load (i32.const 8)))
        (if (i32.eq (local.get 0) (i32.const 0)) (then (drop (i32.load8_u offset=70000 (local.get 0)))))
        (if (i32.eq (local.get 0) (i32.const 1)) (then (i64.store offset=70000 (local.get 0) (i64.const 1))))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (drop (i32.add (local.get 0) (i32.load offset=70000 (local.get 0))))))
        (if (i32.eq (local.get 0) (i32.const 3)) (then (drop (i32.rem_u (i32.const 1) (i32.sub (local.get 0) (i32.const 3))))))
        (if (i32.eq (local.get 0) (i32.const 4)) (then (drop (f64.load offset=70000 (local.get 0)))))
        (if (i32.eq (local.get 0) (i32.const 5)) (then unreachable)))
      (func (export "run") (param i32)
        (call $inner (i32.const 77))
        (call $inner (local.get 0))
        (call $inner (i32.const 78))))
    """

  func frames(_ argument: UInt32, addressMap: Bool) throws -> (bytes: [UInt8], trap: Trap) {
    let bytes = try WAT.binary(Self.text)
    var settings = CompilerSettings()
    settings.addressMap = addressMap
    let artifact = try Compiler(settings: settings).compile(WasmBinary(bytes))
    let engine = Engine()
    let module = try Module(engine: engine, deserialize: artifact)
    let instance = try module.instantiate(store: Store(engine: engine))
    let found = trap { try instance.exports[function: "run"]?.invoke([.i32(argument)]) }
    return (bytes, try #require(found))
  }

  @Test(
    arguments: [
      (0, 0x2D), (1, 0x37), (2, 0x28), (3, 0x70), (4, 0x2B), (5, 0x00),
    ] as [(UInt32, UInt8)])
  func nameTheOperatorThatTrapped(argument: UInt32, opcode: UInt8) throws {
    let (bytes, trap) = try frames(argument, addressMap: true)
    let offset = try #require(trap.frames.first?.wasmOffset)
    #expect(bytes[offset] == opcode)
    // An access is the one with this offset, not another of the same kind.
    if [0x28, 0x2B, 0x2D, 0x37].contains(opcode) { #expect(bytes[offset + 2..<offset + 5] == [0xF0, 0xA2, 0x04]) }
    // The second of three calls: that with `local.get 0` before it.
    let call = try #require(bytes.indices.dropLast(3).last { Array(bytes[$0..<$0 + 4]) == [0x20, 0, 0x10, 0] })
    #expect(trap.frames.last?.wasmOffset == call + 2)
  }

  @Test func haveFunctionsAndNoOffsetsWithoutAnAddressMap() throws {
    let (_, trap) = try frames(5, addressMap: false)
    #expect(trap.code == .unreachable)
    #expect(trap.frames.map(\.functionIndex) == [0, 1])
    #expect(trap.frames.first?.functionName == "inner")
    #expect(trap.frames.allSatisfy { $0.wasmOffset == nil && $0.moduleName == "shop" })
    #expect(trap.frames.allSatisfy { $0.description.hasPrefix("text+0x") })
  }
}
