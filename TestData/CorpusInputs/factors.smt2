; Which two factors has 15000550003? The bounds keep the product from wrapping around.
; Answer: 100003 and 150001.
(set-logic QF_BV)
(set-option :produce-models true)
(declare-fun p () (_ BitVec 48))
(declare-fun q () (_ BitVec 48))
(assert (bvult p (_ bv1048576 48)))
(assert (bvult q (_ bv1048576 48)))
(assert (bvugt p (_ bv1 48)))
(assert (bvule p q))
(assert (= (bvmul p q) (_ bv15000550003 48)))
(check-sat)
(exit)
