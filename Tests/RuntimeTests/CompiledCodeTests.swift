import Precast
import Testing

/// What compiled code computes where registers run out and paths meet.
@Suite(.enabled(if: WAT.isAvailable, "needs wasm-tools")) struct CompiledCode {
  private func run(_ text: String, _ name: String = "main", _ arguments: Value...) throws -> [Value] {
    try #require(World().instance(text).exports[function: name]).invoke(arguments)
  }

  @Test func aValueInASlotKeepsItAcrossAnAdditionOfZero() throws {
    let results = try run(
      """
      (module
        (global $g (mut i32) (i32.const 0))
        (func $f (result i32) global.get $g i32.const 1 i32.add global.set $g global.get $g)
        (func $g)
        (func (export "main") (result i32)
          i32.const 0 call $f call $g i32.add call $f call $g i32.const 10 i32.mul i32.sub))
      """)
    #expect(results == [.i32(UInt32(bitPattern: -19))])
  }

  @Test func aTableOfBranchesWithSeveralValuesFindsThemOnEveryPath() throws {
    let text = """
      (module
        (memory 1)
        (data (i32.const 0) "\\01\\00\\00\\00\\02\\00\\00\\00\\03\\00\\00\\00")
        (func (export "main") (param $i i32) (result i32)
          (local $a i32) (local $b i32) (local $c i32) (local $d i32) (local $e i32) (local $f i32) (local $g i32)
          (local.set $a (i32.add (local.get $a) (i32.add (local.get $b) (i32.add (local.get $c) (i32.add
            (local.get $d) (i32.add (local.get $e) (i32.add (local.get $f) (local.get $g))))))))
          (block (result i32 i32)
            (i32.load (i32.mul (local.get $i) (i32.const 0)))
            (i32.load offset=4 (i32.mul (local.get $i) (i32.const 0)))
            (i32.load offset=8 (i32.mul (local.get $i) (i32.const 0)))
            (i32.add (local.get $i) (i32.const 1))
            br_table 0 0 0 0 0 0)
          i32.const 10 i32.mul i32.add))
      """
    for index in 0..<10 { #expect(try run(text, "main", .i32(UInt32(index))) == [.i32(32)]) }
  }

  @Test func aConversionLeavesTheOtherVectorRegistersAlone() throws {
    let loads = (0..<16).map { "(f64.load (i32.const \($0 * 8)))" }.joined(separator: " ")
    let stores = (0..<16).map { "(f64.store (i32.const \($0 * 8)) (f64.const \($0 + 1)))" }.joined(separator: " ")
    let results = try run(
      """
      (module (memory 1) (func (export "main") (result f64)
        \(stores) \(loads)
        i32.trunc_f64_s f64.convert_i32_s \(String(repeating: "f64.sub ", count: 15))))
      """)
    #expect(results == [.f64((-8.0).bitPattern)])
  }

  @Test func codeThatNothingReachesDisturbsNothing() throws {
    let results = try run(
      """
      (module (func (export "main") (result i32)
        (i32.add (i32.const 1)
          (block (result i32)
            (drop (block (result i32) (br 1 (i32.const 8))))
            (i32.const 16)))))
      """)
    #expect(results == [.i32(9)])
  }
}
