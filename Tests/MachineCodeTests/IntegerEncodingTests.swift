/// Integer instructions have the bytes that the GNU assembler gives them.
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct IntegerEncodingTests {
  static let wide: [OperandSize] = [.b16, .b32, .b64]
  static let widest: [OperandSize] = [.b32, .b64]

  @Test func memoryOperandsOfEveryShape() throws {
    var batch = EncodingBatch()
    for (i, address) in addresses.enumerated() {
      let register = Register.allCases[i % 16]
      batch.add("mov \(register.name(.b32)), \(address.text)") { $0.load(.b32, dst: register, from: address) }
      batch.add("lea \(register.name(.b64)), \(address.text)") { $0.lea(.b64, register, address) }
      batch.add("mov byte ptr \(address.text), \(register.name(.b8))") {
        $0.store(.b8, to: address, src: register)
      }
      batch.add("mov qword ptr \(address.text), -2") { $0.store(.b64, to: address, immediate: -2) }
    }
    try batch.check()
  }

  @Test(arguments: OperandSize.allCases) func registerPairs(_ size: OperandSize) throws {
    var batch = EncodingBatch()
    for a in Register.allCases {
      for b in Register.allCases {
        let (x, y) = (a.name(size), b.name(size))
        batch.add("mov \(x), \(y)") { $0.mov(size, dst: a, src: b) }
        batch.add("test \(x), \(y)") { $0.test(size, a, b) }
        // Of two exchanges that mean the same, `as` puts the second operand in ModRM's reg.
        batch.add("xchg \(x), \(y)") { $0.xchg(size, a, b) }
        for op in AluOp.allCases { batch.add("\(op) \(x), \(y)") { $0.alu(op, size, dst: a, src: b) } }
        guard size != .b8 else { continue }
        batch.add("imul \(x), \(y)") { $0.imul(size, a, b) }
        batch.add("bt \(x), \(y)") { $0.bt(size, a, b) }
        let condition = Condition.allCases[Int(a.rawValue ^ b.rawValue)]
        batch.add("cmov\(condition.name) \(x), \(y)") { $0.cmov(condition, size, a, b) }
      }
    }
    try batch.check()
  }

  @Test(arguments: OperandSize.allCases) func immediateOperands(_ size: OperandSize) throws {
    var batch = EncodingBatch()
    let values = immediates.filter {
      switch size {
      case .b8: $0 >= -128 && $0 <= 127
      case .b16: $0 >= -32768 && $0 <= 32767
      default: true
      }
    }
    for a in Register.allCases {
      for value in values {
        for op in AluOp.allCases {
          // Documented: a 64-bit `and` that clears the high half is done in 32 bits.
          let used = op == .and && size == .b64 && value >= 0 ? .b32 : size
          batch.add("\(op) \(a.name(used)), \(value)") { $0.alu(op, size, dst: a, immediate: value) }
        }
        // Documented: the narrowest `test` that sets the same flags.
        let used: OperandSize =
          (0...127).contains(value) ? .b8 : size == .b64 && value >= 0 ? .b32 : size
        batch.add("test \(a.name(used)), \(value)") { $0.test(size, a, immediate: value) }
        if size != .b8 {
          let b = Register(number: a.rawValue &+ 5)
          batch.add("imul \(a.name(size)), \(b.name(size)), \(value)") { $0.imul(size, a, b, immediate: value) }
        }
      }
    }
    for address in fewAddresses {
      for value in values {
        for op in AluOp.allCases {
          batch.add("\(op) \(size.pointer)\(address.text), \(value)") {
            $0.alu(op, size, to: address, immediate: value)
          }
        }
        batch.add("mov \(size.pointer)\(address.text), \(value)") { $0.store(size, to: address, immediate: value) }
      }
    }
    try batch.check()
  }

  @Test func constantsIntoRegisters() throws {
    var batch = EncodingBatch()
    let values: [UInt64] = [
      0, 1, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF,
      0x8000_0000_0000_0000, 0xFFFF_FFFF_7FFF_FFFF, 0xFFFF_FFFF_8000_0000, .max, 0x0123_4567_89AB_CDEF,
    ]
    for a in Register.allCases {
      for value in values {
        // The shortest instruction that leaves the flags alone.
        let text =
          if value <= 0xFFFF_FFFF {
            "mov \(a.name(.b32)), \(value)"
          } else if value >= 0xFFFF_FFFF_8000_0000 {
            "mov \(a.name(.b64)), \(Int64(bitPattern: value))"
          } else {
            "movabs \(a.name(.b64)), \(value)"
          }
        batch.add(text) { $0.mov(.b64, dst: a, immediate: value) }
        batch.add("mov \(a.name(.b32)), \(UInt32(truncatingIfNeeded: value))") {
          $0.mov(.b32, dst: a, immediate: value)
        }
        batch.add("mov \(a.name(.b16)), \(UInt16(truncatingIfNeeded: value))") {
          $0.mov(.b16, dst: a, immediate: value)
        }
        batch.add("mov \(a.name(.b8)), \(UInt8(truncatingIfNeeded: value))") {
          $0.mov(.b8, dst: a, immediate: value)
        }
      }
    }
    try batch.check()
  }

  @Test(arguments: OperandSize.allCases) func memoryArithmetic(_ size: OperandSize) throws {
    var batch = EncodingBatch()
    for a in Register.allCases {
      for address in fewAddresses {
        let (x, m) = (a.name(size), size.pointer + address.text)
        batch.add("mov \(x), \(m)") { $0.load(size, dst: a, from: address) }
        batch.add("mov \(m), \(x)") { $0.store(size, to: address, src: a) }
        batch.add("xchg \(m), \(x)") { $0.xchg(size, to: address, src: a) }
        for op in AluOp.allCases {
          batch.add("\(op) \(x), \(m)") { $0.alu(op, size, dst: a, from: address) }
          batch.add("\(op) \(m), \(x)") { $0.alu(op, size, to: address, src: a) }
        }
        guard size != .b8 else { continue }
        batch.add("imul \(x), \(m)") { $0.imul(size, a, from: address) }
        batch.add("cmovle \(x), \(m)") { $0.cmov(.lessOrEqual, size, a, from: address) }
        if size != .b16 { batch.add("lea \(x), \(address.text)") { $0.lea(size, a, address) } }
      }
    }
    try batch.check()
  }

  @Test func extensions() throws {
    var batch = EncodingBatch()
    for a in Register.allCases {
      for b in Register.allCases {
        for from in [OperandSize.b8, .b16] {
          batch.add("movzx \(a.name(.b32)), \(b.name(from))") { $0.moveZeroExtended(from, dst: a, src: b) }
          for to in Self.widest {
            batch.add("movsx \(a.name(to)), \(b.name(from))") {
              $0.moveSignExtended(from: from, to: to, dst: a, src: b)
            }
          }
        }
        batch.add("mov \(a.name(.b32)), \(b.name(.b32))") { $0.moveZeroExtended(.b32, dst: a, src: b) }
        batch.add("movsxd \(a.name(.b64)), \(b.name(.b32))") {
          $0.moveSignExtended(from: .b32, to: .b64, dst: a, src: b)
        }
      }
      batch.add("movsx \(a.name(.b16)), \(a.name(.b8))") { $0.moveSignExtended(from: .b8, to: .b16, dst: a, src: a) }
      for address in fewAddresses {
        for from in [OperandSize.b8, .b16] {
          batch.add("movzx \(a.name(.b32)), \(from.pointer)\(address.text)") {
            $0.loadZeroExtended(from, dst: a, from: address)
          }
          for to in Self.widest {
            batch.add("movsx \(a.name(to)), \(from.pointer)\(address.text)") {
              $0.loadSignExtended(from: from, to: to, dst: a, from: address)
            }
          }
        }
        batch.add("mov \(a.name(.b32)), \(address.text)") { $0.loadZeroExtended(.b32, dst: a, from: address) }
        batch.add("mov \(a.name(.b64)), \(address.text)") { $0.loadZeroExtended(.b64, dst: a, from: address) }
        batch.add("movsxd \(a.name(.b64)), dword ptr \(address.text)") {
          $0.loadSignExtended(from: .b32, to: .b64, dst: a, from: address)
        }
        batch.add("mov \(a.name(.b64)), \(address.text)") {
          $0.loadSignExtended(from: .b64, to: .b64, dst: a, from: address)
        }
      }
    }
    try batch.check()
  }

  @Test(arguments: OperandSize.allCases) func oneOperand(_ size: OperandSize) throws {
    var batch = EncodingBatch()
    for a in Register.allCases {
      let x = a.name(size)
      batch.add("mul \(x)") { $0.mul(size, a) }
      batch.add("imul \(x)") { $0.imul(size, a) }
      batch.add("div \(x)") { $0.div(size, a) }
      batch.add("idiv \(x)") { $0.idiv(size, a) }
      batch.add("not \(x)") { $0.not(size, a) }
      batch.add("neg \(x)") { $0.neg(size, a) }
      for op in [ShiftOp.rol, .ror, .shl, .shr, .sar] {
        for count in [0, 1, 2, 31, 63] as [UInt8] {
          batch.add("\(op) \(x), \(count)") { $0.shift(op, size, a, immediate: count) }
        }
        batch.add("\(op) \(x), cl") { $0.shiftCL(op, size, a) }
      }
      if size != .b8 {
        for bit in [0, 13, 15, 31, 63] as [UInt8] where bit < size.bytes * 8 {
          batch.add("bt \(x), \(bit)") { $0.bt(size, a, immediate: bit) }
        }
      }
    }
    try batch.check()
  }

  @Test(arguments: widest) func bits(_ size: OperandSize) throws {
    var batch = EncodingBatch()
    for a in Register.allCases {
      batch.add("bswap \(a.name(size))") { $0.bswap(size, a) }
      for b in Register.allCases {
        let (x, y) = (a.name(size), b.name(size))
        let c = Register(number: a.rawValue &+ 3 &* b.rawValue)
        batch.add("bsf \(x), \(y)") { $0.bsf(size, a, b) }
        batch.add("bsr \(x), \(y)") { $0.bsr(size, a, b) }
        batch.add("tzcnt \(x), \(y)") { $0.tzcnt(size, a, b) }
        batch.add("lzcnt \(x), \(y)") { $0.lzcnt(size, a, b) }
        batch.add("popcnt \(x), \(y)") { $0.popcnt(size, a, b) }
        batch.add("shlx \(x), \(y), \(c.name(size))") { $0.shlx(size, a, b, c) }
        batch.add("shrx \(x), \(y), \(c.name(size))") { $0.shrx(size, a, b, c) }
        batch.add("sarx \(x), \(y), \(c.name(size))") { $0.sarx(size, a, b, c) }
        batch.add("andn \(x), \(c.name(size)), \(y)") { $0.andn(size, a, c, b) }
        for count in [0, 21, UInt8(size.bytes * 8 - 1)] {
          batch.add("rorx \(x), \(y), \(count)") { $0.rorx(size, a, b, immediate: count) }
        }
      }
    }
    try batch.check()
  }

  @Test func controlAndStack() throws {
    var batch = EncodingBatch()
    for a in Register.allCases {
      batch.add("push \(a.name(.b64))") { $0.push(a) }
      batch.add("pop \(a.name(.b64))") { $0.pop(a) }
      batch.add("jmp \(a.name(.b64))") { $0.jmp(a) }
      batch.add("call \(a.name(.b64))") { $0.call(a) }
      for condition in Condition.allCases {
        batch.add("set\(condition.name) \(a.name(.b8))") { $0.setcc(condition, a) }
      }
    }
    for address in addresses {
      batch.add("jmp qword ptr \(address.text)") { $0.jmp(address) }
      batch.add("call qword ptr \(address.text)") { $0.call(address) }
      batch.add("push qword ptr \(address.text)") { $0.pushMemory(address) }
      batch.add("pop qword ptr \(address.text)") { $0.popMemory(address) }
    }
    batch.add("leave") { $0.leave() }
    batch.add("ret") { $0.ret() }
    batch.add("ud2") { $0.ud2() }
    batch.add("int3") { $0.int3() }
    batch.add("cdq") { $0.cdq() }
    batch.add("cqo") { $0.cqo() }
    batch.add("nop") { $0.nop(1) }
    batch.add("xchg ax, ax") { $0.nop(2) }
    batch.add("nop dword ptr [rax]") { $0.nop(3) }
    for (n, text) in [
      (4, "0F 1F 40 00"), (5, "0F 1F 44 00 00"), (6, "66 0F 1F 44 00 00"), (7, "0F 1F 80 00 00 00 00"),
      (8, "0F 1F 84 00 00 00 00 00"), (9, "66 0F 1F 84 00 00 00 00 00"),
      (12, "66 0F 1F 84 00 00 00 00 00 0F 1F 00"),
    ] {
      batch.add(".byte " + text.split(separator: " ").map { "0x" + $0 }.joined(separator: ",")) { $0.nop(n) }
    }
    try batch.check()
  }

  /// Random operands for the forms that take the most of them.
  @Test func randomSamples() throws {
    var batch = EncodingBatch()
    var random = Random(seed: 11)
    func register() -> Register { Register(number: UInt8(random.next() & 15)) }
    for _ in 0..<4000 {
      let size = OperandSize.allCases[Int(random.next() & 3)]
      var value = Int32(truncatingIfNeeded: random.next() >> (random.next() & 63))
      if size == .b8 { value = Int32(Int8(truncatingIfNeeded: value)) }
      if size == .b16 { value = Int32(Int16(truncatingIfNeeded: value)) }
      let displacement = Int32(truncatingIfNeeded: Int64(bitPattern: random.next()) >> Int64(random.next() & 63))
      var index = register()
      if index == .rsp { index = .r12 }
      let address =
        random.next() & 1 == 0
        ? Address(base: register(), displacement: displacement)
        : Address(base: register(), index: index, scale: 1 << UInt8(random.next() & 3), displacement: displacement)
      let op = AluOp.allCases[Int(random.next() & 7)]
      let (a, b) = (register(), register())
      batch.add("\(op) \(size.pointer)\(address.text), \(value)") {
        $0.alu(op, size, to: address, immediate: value)
      }
      batch.add("\(op) \(a.name(size)), \(address.text)") { $0.alu(op, size, dst: a, from: address) }
      let used = op == .and && size == .b64 && value >= 0 ? .b32 : size
      batch.add("\(op) \(a.name(used)), \(value)") { $0.alu(op, size, dst: a, immediate: value) }
      batch.add("lea \(a.name(.b64)), \(address.text)") { $0.lea(.b64, a, address) }
      if size != .b8 {
        batch.add("imul \(a.name(size)), \(b.name(size)), \(value)") { $0.imul(size, a, b, immediate: value) }
      }
    }
    try batch.check()
  }
}
