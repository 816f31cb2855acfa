; 2147483647 is a prime: no two numbers above 1 have it as their product.
; The bounds keep the product from wrapping around. Answer: unsat.
(set-logic QF_BV)
(declare-fun p () (_ BitVec 48))
(declare-fun q () (_ BitVec 48))
(assert (bvult p (_ bv1048576 48)))
(assert (bvult q (_ bv1048576 48)))
(assert (bvugt p (_ bv1 48)))
(assert (bvule p q))
(assert (= (bvmul p q) (_ bv2147483647 48)))
(check-sat)
(exit)
