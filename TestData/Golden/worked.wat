;; The module of the worked examples in Docs/Format.md: one of each thing that an artifact has a table for.
(module $worked
  (import "env" "log" (func $log (param i32)))
  (memory (export "memory") 1 2)
  (table $operations 3 funcref)
  (global $calls (mut i32) (i32.const 7))
  (elem (table $operations) (i32.const 1) func $divide $divide)
  (elem $spare func $divide)
  (data (i32.const 8) "Hello, artifact\n")
  (data $later "bye")
  (func $divide (export "divide") (param i32 i32) (result i32)
    (call $log (local.get 0))
    (i32.div_u (local.get 0) (local.get 1))))
