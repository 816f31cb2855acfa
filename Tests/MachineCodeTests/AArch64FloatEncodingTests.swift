/// Floating-point instructions of AArch64 have the words that the GNU assembler gives them.
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct AArch64FloatEncodingTests {
  @Test(arguments: FloatSize.allCases) func scalarOperations(_ size: FloatSize) throws {
    var batch = AArch64EncodingBatch()
    for a in AArch64VectorRegister.allCases {
      for b in AArch64VectorRegister.allCases {
        let c = AArch64VectorRegister(number: a.rawValue &+ 3 &* b.rawValue)
        let (x, y, z) = (a.name(size), b.name(size), c.name(size))
        for op in AArch64FloatOp.allCases { batch.add("\(op) \(x), \(y), \(z)") { $0.float(op, size, a, b, c) } }
        for op in AArch64FloatUnaryOp.allCases { batch.add("\(op) \(x), \(y)") { $0.float(op, size, a, b) } }
        batch.add("fmov \(x), \(y)") { $0.fmov(size, a, b) }
        batch.add("fcmp \(x), \(y)") { $0.fcmp(size, a, b) }
        let condition = AArch64Condition.allCases[Int(a.rawValue &+ b.rawValue) % 14]
        batch.add("fcsel \(x), \(y), \(z), \(condition)") { $0.fcsel(size, a, b, c, condition) }
      }
      batch.add("fcmp \(a.name(size)), #0.0") { $0.fcmpZero(size, a) }
      for condition in AArch64Condition.allCases {
        let (y, z) = (AArch64VectorRegister.v1.name(size), AArch64VectorRegister.v30.name(size))
        batch.add("fcsel \(a.name(size)), \(y), \(z), \(condition)") { $0.fcsel(size, a, .v1, .v30, condition) }
      }
    }
    try batch.check()
  }

  @Test func movesBetweenFiles() throws {
    var batch = AArch64EncodingBatch()
    for v in AArch64VectorRegister.allCases {
      for r in AArch64Register.operands {
        batch.add("fmov \(v.name(.f32)), \(r.name(.b32))") { $0.fmov(.f32, v, r) }
        batch.add("fmov \(r.name(.b32)), \(v.name(.f32))") { $0.fmov(.f32, r, v) }
        batch.add("fmov \(v.name(.f64)), \(r.name(.b64))") { $0.fmov(.f64, v, r) }
        batch.add("fmov \(r.name(.b64)), \(v.name(.f64))") { $0.fmov(.f64, r, v) }
      }
    }
    try batch.check()
  }

  /// The 256 constants that `fmov` can hold, from the definition of VFPExpandImm.
  @Test(arguments: FloatSize.allCases) func constants(_ size: FloatSize) throws {
    var batch = AArch64EncodingBatch()
    var bits: Set<UInt64> = []
    for sign in [1.0, -1.0] {
      for exponent in -3...4 {
        for mantissa in 16...31 {
          var value = sign * Double(mantissa) / 16
          for _ in 0..<abs(exponent) { value = exponent < 0 ? value / 2 : value * 2 }
          let pattern = size == .f32 ? UInt64(Float(value).bitPattern) : value.bitPattern
          bits.insert(pattern)
          guard let encoded = AArch64Assembler.floatImmediate(pattern, size) else {
            Issue.record("\(value) is an immediate")
            continue
          }
          let v = AArch64VectorRegister(number: UInt8((mantissa + exponent) & 31))
          batch.add("fmov \(v.name(size)), #\(value)") { $0.fmov(size, v, encoded: encoded) }
        }
      }
    }
    #expect(bits.count == 256)
    try batch.check()
    var random = Random(seed: 7)
    let mask: UInt64 = size == .f32 ? 0xFFFF_FFFF : .max
    for pattern in bits {
      for _ in 0..<8 {
        let other = pattern ^ (1 << (random.next() & (size == .f32 ? 31 : 63)))
        #expect((AArch64Assembler.floatImmediate(other, size) != nil) == bits.contains(other))
      }
      let any = random.next() & mask
      #expect((AArch64Assembler.floatImmediate(any, size) != nil) == bits.contains(any))
    }
    #expect(AArch64Assembler.floatImmediate(0, size) == nil)
  }

  @Test func conversions() throws {
    var batch = AArch64EncodingBatch()
    for a in AArch64VectorRegister.allCases {
      for b in AArch64VectorRegister.allCases {
        batch.add("fcvt \(a.name(.f64)), \(b.name(.f32))") { $0.fcvtToDouble(a, b) }
        batch.add("fcvt \(a.name(.f32)), \(b.name(.f64))") { $0.fcvtToSingle(a, b) }
      }
      for r in AArch64Register.operands {
        for float in FloatSize.allCases {
          for size in [OperandSize.b32, .b64] {
            let (v, g) = (a.name(float), r.name(size))
            batch.add("scvtf \(v), \(g)") { $0.convert(float, a, size, r, signed: true) }
            batch.add("ucvtf \(v), \(g)") { $0.convert(float, a, size, r, signed: false) }
            batch.add("fcvtzs \(g), \(v)") { $0.truncate(size, r, float, a, signed: true) }
            batch.add("fcvtzu \(g), \(v)") { $0.truncate(size, r, float, a, signed: false) }
          }
        }
      }
    }
    try batch.check()
  }

  @Test func vectors() throws {
    var batch = AArch64EncodingBatch()
    for a in AArch64VectorRegister.allCases {
      for b in AArch64VectorRegister.allCases {
        let c = AArch64VectorRegister(number: a.rawValue &+ 3 &* b.rawValue)
        for op in AArch64VectorLogicalOp.allCases {
          batch.add("\(op) \(a.lanes("16b")), \(b.lanes("16b")), \(c.lanes("16b"))") {
            $0.vectorLogical(op, a, b, c)
          }
        }
        batch.add("mov \(a.lanes("16b")), \(b.lanes("16b"))") { $0.mov(a, b) }
        batch.add("mvn \(a.lanes("16b")), \(b.lanes("16b"))") { $0.vectorNot(a, b) }
        batch.add("fneg \(a.lanes("2d")), \(b.lanes("2d"))") { $0.vectorNegate(a, b) }
        batch.add("cnt \(a.lanes("8b")), \(b.lanes("8b"))") { $0.cnt(a, b) }
        batch.add("addv b\(a.rawValue), \(b.lanes("8b"))") { $0.addv(a, b) }
      }
      batch.add("movi \(a.lanes("2d")), #0") { $0.vectorZero(a) }
      for value in [0, 1, 0x80, 0xFF, 0x5A] as [UInt8] {
        for shift in [0, 8, 16, 24] as [UInt8] {
          batch.add("movi \(a.lanes("2s")), #\(value), lsl #\(shift)") { $0.movi(a, value, shift: shift) }
        }
      }
    }
    try batch.check()
  }
}
