;; What `precast-bench call` measures with, on us and on a peer: functions that do next to nothing, and loops that call
;; something a given number of times. Instantiated twice; the second instance imports `add` of the first as `other.add`.
(module
  (type $binary (func (param i32 i32) (result i32)))
  (import "host" "add" (func $host (type $binary)))
  (import "other" "add" (func $other (type $binary)))
  (table 2 2 funcref)
  (elem (i32.const 0) $add $other)

  (func (export "nothing"))
  (func $add (export "add") (type $binary) (i32.add (local.get 0) (local.get 1)))

  ;; The loop alone, with the addition that the others leave to what they call.
  (func (export "empty") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  (func (export "direct") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (call $add (local.get $sum) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  (func (export "imported") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (call $other (local.get $sum) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  ;; Through the table: element 0 is of this instance, element 1 of the other one.
  (func (export "indirect") (param $n i32) (param $element i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (call_indirect (type $binary) (local.get $sum) (local.get $n) (local.get $element)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  (func (export "host") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (call $host (local.get $sum) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
