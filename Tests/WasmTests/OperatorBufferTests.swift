// What the compiler finds in an operator buffer.

import PrecastWasm
import Testing

@Suite struct OperatorBufferTests {
  static func opcodes(_ buffer: borrowing OperatorBuffer) -> [Opcode] { (0..<buffer.count).map { buffer[$0].opcode } }

  @Test("operators carry types, indices, constants and offsets")
  func fields() throws {
    var builder = Builder.function(
      [i32, f64], [i32],
      [
        0x20, 1, 0x1A,  // local.get 1, drop
        0x23, 0, 0x24, 0,  // global.get 0, global.set 0
        0x41, 0x7F, 0x42, 0x7E, 0x37, 3, 0x80, 0x01,  // i64.store align=8 offset=128
        0x43, 1, 2, 3, 4, 0x44, 1, 2, 3, 4, 5, 6, 7, 8, 0x1A, 0x1A,
        0x41, 0, 0x11, 1, 0,  // call_indirect
        0xD0, externref, 0xD1, 0x1A,  // ref.null, ref.is_null
        0x41, 0, 0x25, 1, 0x1A,  // table.get 1
        0x42, 1, 0x42, 2, 0x41, 0, 0x1B, 0x50,  // select of i64, i64.eqz
      ])
    builder.types.append(([], []))
    builder.globals = [[i64, 1, 0x42, 0, 0x0B]]
    try withOperators(builder) { _, buffer in
      let ops = (0..<buffer.count).map { buffer[$0] }
      let first = Int(ops[0].offset)
      #expect(ops[0].type == .f64 && buffer.localIndex(ops[0].a) == 1 && ops[1].opcode == .drop && ops[1].type == .f64)
      #expect(ops[2].type == .i64 && ops[3].opcode == .globalSet && ops[3].type == .i64)
      #expect(ops[4].immediate == 0xFFFF_FFFF && ops[5].immediate == UInt64(bitPattern: -2))
      #expect(ops[6].opcode == .i64Store && ops[6].immediate == 128 && ops[6].b == 3 && ops[6].type == .i64)
      #expect(Int(ops[6].offset) == first + 11)
      #expect(ops[7].immediate == 0x0403_0201 && ops[8].immediate == 0x0807_0605_0403_0201)
      #expect(ops[9].type == .f64 && ops[10].type == .f32)
      #expect(ops[12].opcode == .callIndirect && ops[12].a == 1 && ops[12].b == 0)
      #expect(ops[13].type == .externref && ops[14].opcode == .refIsNull && ops[14].type == .externref)
      #expect(ops[17].opcode == .tableGet && ops[17].type == .externref && ops[17].a == 1)
      #expect(ops[22].opcode == .select && ops[22].type == .i64)
      #expect(ops.last?.opcode == .end && ops.last?.flags == [])
      #expect(buffer.hasCalls && buffer.usesMemory && !buffer.hasLoops && buffer.maximumStackHeight == 3)
      #expect(buffer.parameterCount == 2 && buffer.localCount == 2 && buffer.functionIndex == 0)
    }
  }

  @Test("blocks carry their signature as ranges of the type pool, whatever form their type has")
  func blockSignatures() throws {
    var builder = Builder.function(
      [], [],
      [
        0x02, 0x40, 0x0B,  // block
        0x02, f32, 0x43, 0, 0, 0, 0, 0x0B, 0x1A,  // block (result f32)
        0x41, 0, 0x41, 0, 0x03, 1, 0x1A, 0x0B, 0x1A,  // loop (param i32 i32) (result i32)
      ])
    builder.types.append(([i32, i32], [i32]))
    try withOperators(builder) { module, buffer in
      let signatures = (0..<buffer.count).map { buffer[$0] }
        .filter { $0.opcode == .block || $0.opcode == .loop }.map(\.blockSignature)
      let types = signatures.map { signature in
        [
          (0..<signature.parameterCount).map { module.typePool[Int(signature.parameterStart + $0)] },
          (0..<signature.resultCount).map { module.typePool[Int(signature.resultStart + $0)] },
        ]
      }
      #expect(types == [[[], []], [[], [.f32]], [[.i32, .i32], [.i32]]])
      #expect(buffer.hasLoops && !buffer.hasCalls && !buffer.usesMemory)
    }
  }

  @Test("dead code is validated but not kept, and the end that closes it says that nothing falls into it")
  func deadCode() throws {
    let builder = Builder.function(
      [], [],
      [
        0x02, 0x40,  // block
        0x0C, 0,  // br 0
        0x41, 0, 0x04, 0x40, 0x10, 0, 0x05, 0x03, 0x40, 0x0B, 0x0B, 0x20, 0, 0x1A,  // all dead
        0x0B,  // end
        0x41, 0, 0x04, 0x40, 0x00, 0x01, 0x05, 0x0F, 0x0B, 0x01,
      ])
    var code = builder
    code.functions[0].locals = [[1, i32]]
    try withOperators(code) { _, buffer in
      #expect(
        Self.opcodes(buffer) == [.block, .br, .end, .i32Const, .if, .unreachable, .else, .return, .end, .end])
      let flags = (0..<buffer.count).map { buffer[$0].flags }
      #expect(flags[0] == .branchedTo && flags[2] == .unreachableBefore)
      #expect(flags[4] == .hasElse && flags[6] == .unreachableBefore && flags[8] == .unreachableBefore)
      #expect(flags[9] == [] && !buffer.hasCalls && !buffer.hasLoops && buffer.localWeight(0) == 0)
    }
  }

  @Test("branch tables are runs of a pool, the default last")
  func branchTables() throws {
    let table: [UInt8] = [0x41, 0, 0x0E, 3, 0, 1, 2, 1, 0x0B, 0x41, 0, 0x0E, 0, 0, 0x0B]
    try withOperators(Builder.function([], [], [0x02, 0x40, 0x02, 0x40] + table)) { _, buffer in
      let tables = (0..<buffer.count).map { buffer[$0] }.filter { $0.opcode == .brTable }
      let targets = tables.map { table in (table.a..<table.a + table.b).map { buffer.branchTarget($0) } }
      #expect(targets == [[0, 1, 2, 1], [0]] && buffer.branchTargetCount == 5)
      #expect(buffer[0].flags == .branchedTo && buffer[1].flags == .branchedTo)
    }
  }

  @Test("a local's weight is 8 to the power of the loop depth for each use, at most 8^4")
  func weights() throws {
    let use: [UInt8] = [0x20, 0, 0x1A]
    let loops = { (depth: Int) in
      Array(repeating: [0x03, 0x40] as [UInt8], count: depth).flatMap { $0 } + use
        + Array(repeating: 0x0B, count: depth)
    }
    for (depth, weight) in [(0, 1), (1, 8), (2, 64), (3, 512), (4, 4096), (5, 4096), (100, 4096)] as [(Int, UInt32)] {
      try withOperators(.function([], [], locals: [[2, i32]], loops(depth) + use)) { _, buffer in
        #expect(buffer.localWeight(0) == weight + 1 && buffer.usedLocalCount == 1)
      }
    }
    // 1,048,576 uses of 4096 would be 2^32.
    let many = Array(repeating: use, count: 1_100_000).flatMap { $0 }
    let code = [0x03, 0x40, 0x03, 0x40, 0x03, 0x40, 0x03, 0x40] + many + [0x0B, 0x0B, 0x0B, 0x0B]
    try withOperators(.function([], [], locals: [[1, i32]], code)) { _, buffer in
      #expect(buffer.localWeight(0) == .max)
    }
  }

  @Test("nothing of one body is left in the buffer for the next")
  func reuse() throws {
    var builder = Builder.function(
      [], [], locals: [[3, f64]], [0x03, 0x40, 0x10, 0, 0x41, 0, 0x0E, 1, 0, 1, 0x0B, 0x41, 0, 0x28, 0, 0, 0x1A])
    builder.functions.append((0, [], [0x01]))
    let binary = WasmBinary(builder.bytes)
    let module = try WasmModule(decoding: binary)
    var validator = FunctionValidator(module: module, binary: binary)
    var buffer = OperatorBuffer()
    try validator.validate(bodyIndex: 0, into: &buffer)
    #expect(buffer.hasCalls && buffer.hasLoops && buffer.usesMemory && buffer.branchTargetCount == 2)
    try validator.validate(bodyIndex: 1, into: &buffer)
    #expect(Self.opcodes(buffer) == [.end] && buffer.localCount == 0 && buffer.maximumStackHeight == 0)
    #expect(!buffer.hasCalls && !buffer.hasLoops && !buffer.usesMemory && buffer.branchTargetCount == 0)
    #expect(buffer.functionIndex == 1)
  }

  @Test("a validator that has met an error goes on to the next body")
  func afterError() throws {
    var builder = Builder.function([], [], [0x02, 0x40, 0x03, 0x40, 0x00, 0x6A, 0xFF])
    builder.functions.append((0, [], [0x02, 0x40, 0x0B]))
    let binary = WasmBinary(builder.bytes)
    let module = try WasmModule(decoding: binary)
    var validator = FunctionValidator(module: module, binary: binary)
    var buffer = OperatorBuffer()
    #expect(throws: WasmError.self) { try validator.validate(bodyIndex: 0, into: &buffer) }
    try validator.validate(bodyIndex: 1, into: &buffer)
    #expect(Self.opcodes(buffer) == [.block, .end, .end] && buffer[2].flags == [])
  }

  @Test("opcodes are the bytes of the binary format, and have the text format's names")
  func names() {
    #expect(Opcode.allCases.count == 13 + 3 + 5 + 2 + 25 + 4 + 128 + 3 + 18)
    #expect(Opcode.i32Load8S.description == "i32.load8_s" && Opcode.i32Load8S.rawValue == 0x2C)
    #expect(Opcode.i32TruncSatF32S.description == "i32.trunc_sat_f32_s" && Opcode.i32TruncSatF32S.rawValue == 0xFC00)
    #expect(Opcode.tableFill.rawValue == 0xFC11 && Opcode.i64Extend32S.rawValue == 0xC4)
    #expect(MemoryLayout<Operator>.size == 24 && MemoryLayout<Operator>.stride == 24)
  }
}
