;; Calls the host from any depth: what walks of the stack are timed with.
(module
  (import "host" "call" (func $call))
  (func $deep (export "deep") (param i32)
    (if (local.get 0)
      (then (call $deep (i32.sub (local.get 0) (i32.const 1))))
      (else (call $call)))))
