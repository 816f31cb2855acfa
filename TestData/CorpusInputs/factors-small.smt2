; Which two factors has 100160063? The bounds keep the product from wrapping around.
; Answer: 10007 and 10009. Small enough for an emulated processor.
(set-logic QF_BV)
(set-option :produce-models true)
(declare-fun p () (_ BitVec 32))
(declare-fun q () (_ BitVec 32))
(assert (bvult p (_ bv65536 32)))
(assert (bvult q (_ bv65536 32)))
(assert (bvugt p (_ bv1 32)))
(assert (bvule p q))
(assert (= (bvmul p q) (_ bv100160063 32)))
(check-sat)
(exit)
