// The runner of the specification's test suite sees a directive that does not hold.
//
// A suite that passes says something only if it could have failed; so here are scripts whose every assertion is wrong, and
// scripts that use what is not supported.

import Foundation
import PrecastRuntime
import TestSupport
import Testing

@Suite(.enabled(if: Repository.wasmTools != nil, "needs wasm-tools"))
struct SpecRunnerTests {
  @Test("Every directive that does not hold is counted as a failure, and nothing else is")
  func failures() throws {
    let tally = try run(
      """
      (module
        (func (export "two") (result i32) (i32.const 2))
        (func (export "nan") (result f32) (f32.const -nan:0x200000))
        (func (export "signalling") (result f64) (f64.const nan:0x1))
        (func (export "trap") unreachable)
        (func (export "divide") (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
        (func (export "pair") (result i32 i64) (i32.const 1) (i64.const 2))
        (func (export "host") (param externref) (result externref) (local.get 0))
        (func (export "null") (result funcref) (ref.null func))
        (global (export "g") i32 (i32.const 3)))
      (assert_return (invoke "two") (i32.const 3))
      (assert_return (invoke "two"))
      (assert_return (invoke "nan") (f32.const nan:canonical))
      (assert_return (invoke "nan") (f32.const nan:arithmetic))
      (assert_return (invoke "signalling") (f64.const nan:arithmetic))
      (assert_return (invoke "trap"))
      (assert_trap (invoke "two") "unreachable")
      (assert_trap (invoke "divide") "unreachable")
      (assert_exhaustion (invoke "divide") "call stack exhausted")
      (assert_return (invoke "pair") (i32.const 2) (i64.const 1))
      (assert_return (invoke "host" (ref.extern 1)) (ref.extern 2))
      (assert_return (invoke "host" (ref.null extern)) (ref.extern))
      (assert_return (invoke "null") (ref.func))
      (assert_return (get "g") (i32.const 4))
      (assert_return (invoke "nobody"))
      (assert_invalid (module (func)) "type mismatch")
      (assert_malformed (module binary "\\00asm\\01\\00\\00\\00") "unexpected end")
      (assert_malformed (module binary "\\00asm\\01\\00\\00\\00\\03\\02\\01\\00\\0a\\04\\01\\02\\00\\0b") "unknown type")
      (assert_unlinkable (module (import "spectest" "print_i32" (func (param i32)))) "unknown import")
      (assert_unlinkable (module (import "spectest" "nothing" (func))) "incompatible import type")
      (assert_trap (module (func)) "unreachable")
      (module (import "spectest" "nothing" (func)))
      (assert_return (invoke "anything"))
      """)
    // All but the first module; of the NaNs, `nan:0x200000` is a NaN that is neither canonical nor arithmetic.
    #expect(tally.passed == 1)
    #expect(tally.failures.count == 23)
    #expect(tally.skipped.isEmpty)
  }

  @Test("Every directive that holds is counted as passed")
  func passes() throws {
    let tally = try run(
      """
      (module $first
        (func (export "nan") (result f32) (f32.const -nan))
        (func (export "loud") (result f32) (f32.const nan:0x400001))
        (func (export "host") (param externref) (result externref) (local.get 0))
        (func $f (export "self") (result funcref) (ref.func $f))
        (func (export "divide") (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
        (func $deep (export "deep") (call $deep))
        (global (export "g") i32 (i32.const -3)))
      (assert_return (invoke "nan") (f32.const nan:canonical))
      (assert_return (invoke "loud") (f32.const nan:arithmetic))
      (assert_return (invoke "host" (ref.extern 1)) (ref.extern 1))
      (assert_return (invoke "host" (ref.null extern)) (ref.null extern))
      (assert_return (invoke "self") (ref.func))
      (assert_return (get "g") (i32.const -3))
      (assert_trap (invoke "divide") "integer divide by zero")
      (assert_exhaustion (invoke "deep") "call stack exhausted")
      (assert_invalid (module (func (result i32))) "type mismatch")
      (assert_malformed (module binary "\\00asm\\02\\00\\00\\00") "unknown binary version")
      (assert_unlinkable (module (import "spectest" "nothing" (func))) "unknown import")
      (assert_unlinkable (module (import "spectest" "print_i32" (func))) "incompatible import type")
      (assert_trap (module (func $f unreachable) (start $f)) "unreachable")
      (register "a" $first)
      (module (import "a" "g" (global i32)) (export "again" (global 0)))
      (assert_return (get "again") (i32.const -3))
      (assert_return (get $first "g") (i32.const -3))
      """)
    #expect(tally.failures == [])
    #expect(tally.passed == 18)
    #expect(tally.skipped.isEmpty)
  }

  @Test("What depends on a module that uses a later proposal is skipped, and nothing else is")
  func skips() throws {
    let tally = try run(
      """
      (module $good (func (export "two") (result i32) (i32.const 2)))
      (module $later (func (export "v") (result v128) (v128.const i64x2 1 2)) (func (export "two")))
      (assert_return (invoke "two"))
      (assert_return (invoke $good "two") (i32.const 2))
      (register "later" $later)
      (module (import "later" "two" (func)))
      (assert_return (invoke "two"))
      (assert_malformed (module quote "(nonsense)") "unexpected token")
      (module (func (export "three") (result i32) (i32.const 3)))
      (assert_return (invoke "three") (i32.const 3))
      """)
    #expect(tally.failures == [])
    #expect(tally.passed == 4)
    #expect(tally.skipped == ["simd": 5, "text format": 1])
  }

  @Test("Names are bytes: two that look the same, and are canonically equal, are two")
  func names() throws {
    let tally = try run(
      """
      (module $one (func (export "\\c3\\a9") (result i32) (i32.const 1)))
      (register "one" $one)
      (assert_unlinkable (module (import "one" "e\\cc\\81" (func (result i32)))) "unknown import")
      (module $two
        (func (export "\\c3\\a9") (result i32) (i32.const 1))
        (func (export "e\\cc\\81") (result i32) (i32.const 2)))
      (assert_return (invoke "\\c3\\a9") (i32.const 1))
      (assert_return (invoke "e\\cc\\81") (i32.const 2))
      (register "two" $two)
      (module
        (import "two" "\\c3\\a9" (func $a (result i32)))
        (import "two" "e\\cc\\81" (func $b (result i32)))
        (func (export "both") (result i32) (i32.add (i32.mul (call $a) (i32.const 10)) (call $b))))
      (assert_return (invoke "both") (i32.const 12))
      """)
    #expect(tally.failures == [])
    #expect(tally.passed == 9)
  }

  private func run(_ wast: String) throws -> SpecTally {
    let directory = try TemporaryDirectory()
    let file = directory.appending("script.wast")
    try wast.write(to: file, atomically: true, encoding: .utf8)
    let tools = try #require(Repository.wasmTools)
    let result = try TestSupport.run(
      tools,
      [
        "json-from-wast", file.path, "--output", directory.appending("script.json").path, "--wasm-dir",
        directory.url.path,
      ])
    try #require(result.status == 0, "\(result.errorText)")
    let runner = try SpecRunner(name: "script", folder: directory.url)
    runner.run(try SpecScript(json: directory.appending("script.json")))
    return runner.tally
  }
}
