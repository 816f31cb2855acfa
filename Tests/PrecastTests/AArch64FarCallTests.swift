// A text of AArch64 that is larger than a call reaches: 128 MiB in each direction.
//
// `FarLayoutTests` narrows the reach of calls; here it is the machine's own. A chain of calls runs through the whole text,
// many times from end to end, in an emulated processor: in the finished artifact, whose writer has planted the veneers, and
// in an unlinked object, for which the loader has. What the calls lead to is read from the instructions, too.

import Foundation
import LargeModule
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastEmulator
import PrecastEmulatedRuntime
import PrecastLoader
import PrecastRuntime
import PrecastWasm
import TestSupport
import Testing

@Suite(
  .serialized,
  .enabled(
    if: AArch64Processor.unavailableReason == nil, Comment(rawValue: AArch64Processor.unavailableReason ?? "")))
struct AArch64FarCallTests {
  /// The reach of `bl`.
  static let reach = 1 << 27
  /// 149 pieces of ballast, of a mebibyte each.
  static let chain = FarChain(nodeCount: 150, branches: 210)
  /// Each node three times.
  static let steps = 3 * chain.nodeCount

  @Test("A chain of calls runs through a text of more than 128 MiB, as an artifact on disk")
  func artifact() throws {
    let path = try RealPath(machine: .aarch64)
    let directory = try TemporaryDirectory()
    let wasm = directory.appending("chain.wasm")
    try Data(Self.chain.wasm()).write(to: wasm)
    let module = try path.module(wasm: wasm)
    try check(module)
    let file = path.artifacts[0]
    let symbols = try ObjectFile(file).symbols.filter { $0.name.hasSuffix("veneers") }
    #expect(!symbols.isEmpty)
    try disassemble(file, module, veneers: symbols.map { $0.value..<$0.value + $0.size })
  }

  @Test("A chain of calls runs through a text of more than 128 MiB, as an object that the loader links")
  func object() throws {
    let machine = RealPath.Machine.aarch64
    let object = try Compiler(settings: machine.settings).compileObject(WasmBinary(Self.chain.wasm()))
    try check(Module(engine: machine.engine(), linking: [LinkableObject(object, name: "chain.o")]))
  }

  /// Runs the chain, to a result and to a trap, and looks at each of its calls.
  private func check(_ module: Module) throws {
    #expect(module.artifact.textSize > Self.reach)
    let run = try #require(try module.instantiate(store: Store(engine: module.engine)).exports[function: "run"])
    let before = EmulatedAArch64.executedInstructions
    for (steps, value) in [(0, 5), (1, 5), (2, 0xFEDC_BA98_7654_3210), (Self.steps, 1 << 63)] as [(Int, UInt64)] {
      let result = try run.invoke([.i32(UInt32(steps)), .i64(value), .i32(0)])
      #expect(result.first?.i64 == Self.chain.result(steps: steps, value: value))
    }
    let executed = EmulatedAArch64.executedInstructions - before
    // Every node has some instructions, on the way there and on the way back.
    #expect(executed > 10 * UInt64(Self.steps))
    let trap = #expect(throws: Trap.self) {
      _ = try run.invoke([.i32(UInt32(Self.steps)), .i64(1), .i32(1)])
    }
    #expect(trap?.code == .unreachable)
    let nodes = Self.chain.path(steps: Self.steps)
    #expect(trap?.frames.map(\.functionIndex) == nodes.reversed().map { Self.chain.function(ofNode: $0) })

    let calls = try (0..<Self.chain.nodeCount).map { try call(ofNode: $0, module) }
    for (node, call) in calls.enumerated() {
      let target = try address(ofNode: Self.chain.next(node), module)
      #expect(call.target == target, "node \(node)")
      let distance = target - call.place
      #expect((call.veneer != nil) == !(-Self.reach..<Self.reach).contains(distance), "node \(node): \(distance)")
    }
    let far = calls.filter { $0.veneer != nil }
    #expect(far.contains { $0.target > $0.place } && far.contains { $0.target < $0.place })
    #expect(far.count < calls.count)
    print(
      "\(module.artifact.textSize) bytes of text, \(far.count) of \(calls.count) calls far; \(executed) instructions")
  }

  // MARK: Reading instructions

  /// Where a node's call is, and what it leads to.
  private struct Call {
    var place: Int
    var veneer: Int?
    var target: Int
  }

  private func address(ofNode node: Int, _ module: Module) throws -> Int {
    Int(try #require(module.artifact.functionAddress(Self.chain.function(ofNode: node))))
  }

  private func instruction(_ address: Int) throws -> UInt32 {
    try #require(UnsafePointer<UInt32>(bitPattern: address)).pointee
  }

  private func call(ofNode node: Int, _ module: Module) throws -> Call {
    let start = try address(ofNode: node, module)
    // BL (Arm ARM, C6.2.35): 100101, and the distance in instructions. There is one in a node.
    let place = try #require(
      try stride(from: start, to: start + 400, by: 4).first { try instruction($0) >> 26 == 0b100101 })
    let first = place + Int(Int32(bitPattern: try instruction(place) << 6) >> 6) * 4
    let (adrp, add, br) = try (instruction(first), instruction(first + 4), instruction(first + 8))
    // ADRP x16, then ADD x16, x16, #low, then BR x16.
    guard adrp & 0x9F00_001F == 0x9000_0010, add & 0xFFC0_03FF == 0x9100_0210, br == 0xD61F_0200 else {
      return Call(place: place, veneer: nil, target: first)
    }
    let bits = (adrp >> 5 & 0x7_FFFF) << 2 | adrp >> 29 & 3
    let pages = Int(Int32(bitPattern: bits << 11) >> 11)
    return Call(place: place, veneer: first, target: (first >> 12 + pages) << 12 + Int(add >> 10 & 0xFFF))
  }

  /// Asks the system's disassembler about the first far call of each direction.
  private func disassemble(_ file: URL, _ module: Module, veneers: [Range<Int>]) throws {
    let names = ["aarch64-linux-gnu-objdump", "llvm-objdump-19", "llvm-objdump"]
    guard let name = names.first(where: { findTool($0) != nil }) else { return }
    let text = try #require(try ObjectFile(file)[".text"]?.address)
    let distance = text - Int(module.artifact.textBase)
    for node in [0, Self.chain.nodeCount - 1] {
      let call = try call(ofNode: node, module)
      let veneer = try #require(call.veneer) + distance
      #expect(veneers.contains { $0.contains(veneer) })
      func listing(_ start: Int, _ count: Int) throws -> String {
        try run(
          name, ["-d", "--start-address=\(start)", "--stop-address=\(start + 4 * count)", file.path])
      }
      let place = call.place + distance
      let digits = String(veneer, radix: 16)
      let line = try Regex("bl\\s+(0x)?\(digits) <\\S*veneers(\\+0x[0-9a-f]+)?>")
      let callLines = try listing(place, 1)
      #expect(callLines.contains(line), "\(callLines)")
      let veneerLines = try listing(veneer, 3)
      for pattern in ["adrp\\s+x16, ", "add\\s+x16, x16, #0x", "br\\s+x16"] {
        let instruction = try Regex(pattern)
        #expect(veneerLines.contains(instruction), "\(veneerLines)")
      }
    }
  }
}
