/// SSE instructions have the bytes that the GNU assembler gives them.
import PrecastMachineCode
import Testing

@Suite struct FloatEncodingTests {
  @Test(arguments: FloatSize.allCases) func scalarOperations(_ size: FloatSize) throws {
    var batch = EncodingBatch()
    for a in XMMRegister.allCases {
      for b in XMMRegister.allCases {
        for op in SSEOp.allCases { batch.add("\(op)\(size.suffix) \(a), \(b)") { $0.sse(op, size, a, b) } }
        batch.add("ucomi\(size.suffix) \(a), \(b)") { $0.ucomis(size, a, b) }
        let predicate = (a.rawValue &+ b.rawValue) & 7
        batch.add("cmp\(size.suffix) \(a), \(b), \(predicate)") { $0.cmps(size, a, b, predicate: predicate) }
        for (mode, number) in [(RoundingMode.nearest, 8), (.floor, 9), (.ceil, 10), (.truncate, 11)] {
          batch.add("round\(size.suffix) \(a), \(b), \(number)") { $0.round(size, a, b, mode) }
        }
      }
      for address in fewAddresses {
        let m = size.pointer + address.text
        for op in SSEOp.allCases {
          batch.add("\(op)\(size.suffix) \(a), \(m)") { $0.sse(op, size, a, from: address) }
        }
        batch.add("ucomi\(size.suffix) \(a), \(m)") { $0.ucomis(size, a, address) }
        batch.add("mov\(size.suffix) \(a), \(m)") { $0.load(size, dst: a, from: address) }
        batch.add("mov\(size.suffix) \(m), \(a)") { $0.store(size, to: address, src: a) }
      }
    }
    try batch.check()
  }

  @Test func moves() throws {
    var batch = EncodingBatch()
    for a in XMMRegister.allCases {
      for b in XMMRegister.allCases { batch.add("movaps \(a), \(b)") { $0.movaps(a, b) } }
      for r in Register.allCases {
        batch.add("movd \(a), \(r.name(.b32))") { $0.movd(a, r) }
        batch.add("movd \(r.name(.b32)), \(a)") { $0.movd(r, a) }
        batch.add("movq \(a), \(r.name(.b64))") { $0.movq(a, r) }
        batch.add("movq \(r.name(.b64)), \(a)") { $0.movq(r, a) }
        batch.add("movmskps \(r.name(.b32)), \(a)") { $0.movmsk(.f32, r, a) }
        batch.add("movmskpd \(r.name(.b32)), \(a)") { $0.movmsk(.f64, r, a) }
      }
      for address in fewAddresses {
        batch.add("movaps \(a), \(address.text)") { $0.movaps(a, from: address) }
        batch.add("movaps \(address.text), \(a)") { $0.movaps(to: address, a) }
        batch.add("movups \(a), \(address.text)") { $0.movups(a, from: address) }
        batch.add("movups \(address.text), \(a)") { $0.movups(to: address, a) }
        batch.add("movdqu \(a), \(address.text)") { $0.movdqu(a, from: address) }
        batch.add("movdqu \(address.text), \(a)") { $0.movdqu(to: address, a) }
      }
    }
    for address in addresses {
      batch.add("movsd xmm9, qword ptr \(address.text)") { $0.load(.f64, dst: .xmm9, from: address) }
    }
    try batch.check()
  }

  @Test func conversions() throws {
    var batch = EncodingBatch()
    for a in XMMRegister.allCases {
      for b in XMMRegister.allCases {
        batch.add("cvtss2sd \(a), \(b)") { $0.cvtss2sd(a, b) }
        batch.add("cvtsd2ss \(a), \(b)") { $0.cvtsd2ss(a, b) }
      }
      for address in fewAddresses {
        batch.add("cvtss2sd \(a), dword ptr \(address.text)") { $0.cvtss2sd(a, from: address) }
        batch.add("cvtsd2ss \(a), qword ptr \(address.text)") { $0.cvtsd2ss(a, from: address) }
      }
      for float in FloatSize.allCases {
        for size in [OperandSize.b32, .b64] {
          for r in Register.allCases {
            batch.add("cvtsi2\(float.suffix) \(a), \(r.name(size))") { $0.cvtsi2s(float, a, size, r) }
            batch.add("cvtt\(float.suffix)2si \(r.name(size)), \(a)") { $0.cvtts2si(size, r, float, a) }
          }
          for address in fewAddresses {
            batch.add("cvtsi2\(float.suffix) \(a), \(size.pointer)\(address.text)") {
              $0.cvtsi2s(float, a, size, from: address)
            }
          }
        }
      }
    }
    try batch.check()
  }

  @Test func wholeRegisters() throws {
    var batch = EncodingBatch()
    for a in XMMRegister.allCases {
      for b in XMMRegister.allCases {
        batch.add("andps \(a), \(b)") { $0.andps(a, b) }
        batch.add("andnps \(a), \(b)") { $0.andnps(a, b) }
        batch.add("orps \(a), \(b)") { $0.orps(a, b) }
        batch.add("xorps \(a), \(b)") { $0.xorps(a, b) }
        batch.add("pxor \(a), \(b)") { $0.pxor(a, b) }
        for (size, letter) in [(OperandSize.b8, "b"), (.b16, "w"), (.b32, "d"), (.b64, "q")] {
          batch.add("pcmpeq\(letter) \(a), \(b)") { $0.pcmpeq(size, a, b) }
        }
      }
      for (size, letter) in [(OperandSize.b16, "w"), (.b32, "d"), (.b64, "q")] {
        for count in [0, 7, 63, 255] as [UInt8] {
          batch.add("psll\(letter) \(a), \(count)") { $0.psll(size, a, immediate: count) }
          batch.add("psrl\(letter) \(a), \(count)") { $0.psrl(size, a, immediate: count) }
        }
      }
      for address in fewAddresses {
        batch.add("andps \(a), \(address.text)") { $0.andps(a, from: address) }
        batch.add("andnps \(a), \(address.text)") { $0.andnps(a, from: address) }
        batch.add("orps \(a), \(address.text)") { $0.orps(a, from: address) }
        batch.add("xorps \(a), \(address.text)") { $0.xorps(a, from: address) }
      }
    }
    try batch.check()
  }
}
