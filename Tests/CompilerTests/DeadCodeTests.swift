import PrecastWasm
import Testing

@testable import PrecastCompiler

@Suite("Code after a block that nothing leaves")
struct DeadCodeTests {
  @Test("is compiled like any other, and loses no value of a live path")
  func deadAfterBlock() throws {
    // (i32.add 8 (block (result i32) (drop (block (result i32) (br 1 (i32.const 8)))) (i32.const 16)))
    var builder = WasmBuilder()
    builder.functions.append(
      .init(
        parameters: [], results: [WasmBuilder.i32],
        code: [
          0x41, 8, 0x02, 0x7F, 0x02, 0x7F, 0x41, 8, 0x0C, 1, 0x0B, 0x1A, 0x41, 16, 0x0B, 0x6A,
        ]))
    #expect(throws: Never.self) { try Compiler().compile(builder.binary) }
  }
}
