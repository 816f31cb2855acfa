; 33554393 is a prime: no two numbers above 1 have it as their product.
; The bounds keep the product from wrapping around. Answer: unsat. Small enough for an emulated processor.
(set-logic QF_BV)
(declare-fun p () (_ BitVec 32))
(declare-fun q () (_ BitVec 32))
(assert (bvult p (_ bv65536 32)))
(assert (bvult q (_ bv65536 32)))
(assert (bvugt p (_ bv1 32)))
(assert (bvule p q))
(assert (= (bvmul p q) (_ bv33554393 32)))
(check-sat)
(exit)
