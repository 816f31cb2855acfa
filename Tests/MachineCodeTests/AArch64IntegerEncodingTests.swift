/// Integer instructions of AArch64 have the words that the GNU assembler gives them.
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct AArch64IntegerEncodingTests {
  static let sizes: [OperandSize] = [.b32, .b64]

  @Test(arguments: sizes) func registerPairs(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    for a in AArch64Register.operands {
      for b in AArch64Register.operands {
        let (x, y) = (a.name(size), b.name(size))
        batch.add("mov \(x), \(y)") { $0.mov(size, dst: a, src: b) }
        batch.add("cmp \(x), \(y)") { $0.cmp(size, a, b) }
        batch.add("cmn \(x), \(y)") { $0.cmn(size, a, b) }
        batch.add("tst \(x), \(y)") { $0.tst(size, a, b) }
        batch.add("neg \(x), \(y)") { $0.neg(size, a, b) }
        batch.add("mvn \(x), \(y)") { $0.mvn(size, a, b) }
        batch.add("clz \(x), \(y)") { $0.clz(size, a, b) }
        batch.add("cls \(x), \(y)") { $0.cls(size, a, b) }
        batch.add("rbit \(x), \(y)") { $0.rbit(size, a, b) }
        batch.add("rev \(x), \(y)") { $0.rev(size, a, b) }
        batch.add("rev16 \(x), \(y)") { $0.rev16(size, a, b) }
        batch.add("uxtb \(a.name(.b32)), \(b.name(.b32))") { $0.moveZeroExtended(.b8, dst: a, src: b) }
        batch.add("uxth \(a.name(.b32)), \(b.name(.b32))") { $0.moveZeroExtended(.b16, dst: a, src: b) }
        batch.add("mov \(x), \(y)") { $0.moveZeroExtended(size, dst: a, src: b) }
        batch.add("sxtb \(x), \(b.name(.b32))") { $0.moveSignExtended(from: .b8, to: size, dst: a, src: b) }
        batch.add("sxth \(x), \(b.name(.b32))") { $0.moveSignExtended(from: .b16, to: size, dst: a, src: b) }
        if size == .b64 {
          batch.add("sxtw \(x), \(b.name(.b32))") { $0.moveSignExtended(from: .b32, to: .b64, dst: a, src: b) }
        }
        batch.add("mov \(x), \(y)") { $0.moveSignExtended(from: size, to: size, dst: a, src: b) }
      }
    }
    for a in AArch64Register.bases {
      batch.add("mov \(a.name(size)), \(AArch64Register.sp.name(size))") { $0.mov(size, dst: a, src: .sp) }
      batch.add("mov \(AArch64Register.sp.name(size)), \(a.name(size))") { $0.mov(size, dst: .sp, src: a) }
    }
    try batch.check()
  }

  @Test(arguments: sizes) func threeRegisters(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    for a in AArch64Register.operands {
      for b in AArch64Register.operands {
        let c = AArch64Register(number: a.rawValue &+ 3 &* b.rawValue)
        let d = AArch64Register(number: 5 &* a.rawValue &+ b.rawValue)
        let (x, y, z, w) = (a.name(size), b.name(size), c.name(size), d.name(size))
        batch.add("add \(x), \(y), \(z)") { $0.add(size, a, b, c) }
        batch.add("sub \(x), \(y), \(z)") { $0.sub(size, a, b, c) }
        batch.add("madd \(x), \(y), \(z), \(w)") { $0.madd(size, a, b, c, d) }
        batch.add("msub \(x), \(y), \(z), \(w)") { $0.msub(size, a, b, c, d) }
        batch.add("mul \(x), \(y), \(z)") { $0.mul(size, a, b, c) }
        batch.add("udiv \(x), \(y), \(z)") { $0.udiv(size, a, b, c) }
        batch.add("sdiv \(x), \(y), \(z)") { $0.sdiv(size, a, b, c) }
        for op in [AArch64ShiftOp.lsl, .lsr, .asr, .ror] {
          batch.add("\(op) \(x), \(y), \(z)") { $0.shift(op, size, a, b, by: c) }
        }
        if size == .b64 {
          batch.add("smull \(x), \(b.name(.b32)), \(c.name(.b32))") { $0.smull(a, b, c) }
          batch.add("umull \(x), \(b.name(.b32)), \(c.name(.b32))") { $0.umull(a, b, c) }
          batch.add("smulh \(x), \(y), \(z)") { $0.smulh(a, b, c) }
          batch.add("umulh \(x), \(y), \(z)") { $0.umulh(a, b, c) }
        }
        for op in AArch64ArithmeticOp.allCases {
          batch.add("\(op) \(x), \(y), \(z)") { $0.arithmetic(op, size, a, b, c) }
        }
        for op in AArch64LogicalOp.allCases {
          batch.add("\(op) \(x), \(y), \(z)") { $0.logical(op, size, a, b, c) }
        }
      }
    }
    try batch.check()
  }

  @Test(arguments: sizes) func shiftedAndExtendedOperands(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    let last: UInt8 = size == .b64 ? 63 : 31
    for (i, a) in AArch64Register.operands.enumerated() {
      let b = AArch64Register(number: UInt8((7 * i + 1) & 31))
      let c = AArch64Register(number: UInt8((11 * i + 2) & 31))
      let (x, y, z) = (a.name(size), b.name(size), c.name(size))
      for shift in AArch64ShiftOp.allCases {
        for amount in [1, 2, last / 2, last] {
          if shift != .ror {
            for op in AArch64ArithmeticOp.allCases {
              batch.add("\(op) \(x), \(y), \(z), \(shift) #\(amount)") {
                $0.arithmetic(op, size, a, b, c, shift, amount)
              }
            }
          }
          for op in AArch64LogicalOp.allCases {
            batch.add("\(op) \(x), \(y), \(z), \(shift) #\(amount)") {
              $0.logical(op, size, a, b, c, shift, amount)
            }
          }
        }
      }
      for extend in AArch64ExtendOp.allCases {
        if size == .b32, extend == .uxtx || extend == .sxtx { continue }
        let wide = extend == .uxtx || extend == .sxtx
        for amount in 0...4 as ClosedRange<UInt8> {
          for op in AArch64ArithmeticOp.allCases {
            let setsFlags = op == .adds || op == .subs
            // Destination and first operand: sp where others have zr.
            let d = a == .zr && !setsFlags ? AArch64Register.sp : a
            let e = b == .zr ? AArch64Register.sp : b
            batch.add(
              "\(op) \(d.name(size)), \(e.name(size)), \(c.name(wide ? .b64 : .b32)), \(extend) #\(amount)"
            ) { $0.arithmetic(op, size, d, e, c, extend: extend, amount) }
          }
        }
      }
    }
    try batch.check()
  }

  @Test(arguments: sizes) func arithmeticImmediates(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    var random = Random(seed: 1)
    for (i, a) in AArch64Register.allCases.enumerated() {
      let b = AArch64Register.bases[(5 * i + 3) % 32]
      for value in [0, 1, 4095, 0x1000, 0xFFF000, random.next() & 0xFFF, random.next() & 0xFFF000] as [UInt64] {
        #expect(AArch64Assembler.isArithmeticImmediate(value))
        for op in AArch64ArithmeticOp.allCases {
          let setsFlags = op == .adds || op == .subs
          guard a != (setsFlags ? .sp : .zr) else { continue }
          batch.add("\(op) \(a.name(size)), \(b.name(size)), #\(value)") {
            $0.arithmetic(op, size, a, b, immediate: value)
          }
        }
        guard a != .zr else { continue }
        batch.add("cmp \(a.name(size)), #\(value)") { $0.cmp(size, a, immediate: value) }
        batch.add("cmn \(a.name(size)), #\(value)") { $0.cmn(size, a, immediate: value) }
      }
    }
    for value in [0x1001, 0xFF_FFFF, 0x100_0000, .max] as [UInt64] {
      #expect(!AArch64Assembler.isArithmeticImmediate(value))
    }
    try batch.check()
  }

  /// All 5334 constants that a logical immediate can be in 64 bits, by construction.
  static let logicalConstants: [UInt64] = {
    var result: Set<UInt64> = []
    for element in [2, 4, 8, 16, 32, 64] as [UInt64] {
      let mask = UInt64.max >> (64 - element)
      for ones in 1..<element {
        let run = UInt64.max >> (64 - ones)
        for rotation in 0..<element {
          var value = (run << rotation | (rotation == 0 ? 0 : run >> (element - rotation))) & mask
          var width = element
          while width < 64 {
            value |= value << width
            width *= 2
          }
          result.insert(value)
        }
      }
    }
    return result.sorted()
  }()

  @Test func allLogicalImmediates() throws {
    #expect(Self.logicalConstants.count == 5334)
    var batch = AArch64EncodingBatch()
    let ops: [AArch64LogicalOp] = [.and, .orr, .eor, .ands]
    for (i, value) in Self.logicalConstants.enumerated() {
      let op = ops[i & 3]
      let a = op == .ands ? AArch64Register.operands[i % 32] : AArch64Register.bases[i % 32]
      let b = AArch64Register.operands[(i / 4) % 32]
      guard let encoded = AArch64Assembler.logicalImmediate(value, .b64) else {
        Issue.record("\(value) is an immediate")
        continue
      }
      batch.add("\(op) \(a.name(.b64)), \(b.name(.b64)), #\(value)") {
        $0.logical(op, .b64, a, b, encoded: encoded)
      }
      guard value >> 32 == value & 0xFFFF_FFFF else { continue }
      guard let narrow = AArch64Assembler.logicalImmediate(value & 0xFFFF_FFFF, .b32) else {
        Issue.record("\(value & 0xFFFF_FFFF) is an immediate in 32 bits")
        continue
      }
      batch.add("\(op) \(a.name(.b32)), \(b.name(.b32)), #\(value & 0xFFFF_FFFF)") {
        $0.logical(op, .b32, a, b, encoded: narrow)
      }
    }
    try batch.check()
  }

  @Test func otherConstantsAreNoLogicalImmediates() {
    let known = Set(Self.logicalConstants)
    var random = Random(seed: 2)
    var candidates: [UInt64] = [0, .max, 5, 0x8000_0001_0000_0000, 0x0001_0001_0001_0002]
    for value in Self.logicalConstants { candidates.append(value ^ 1 << (random.next() & 63)) }
    for _ in 0..<10000 { candidates.append(random.next()) }
    for value in candidates {
      #expect((AArch64Assembler.logicalImmediate(value, .b64) != nil) == known.contains(value))
      let narrow = value & 0xFFFF_FFFF
      #expect((AArch64Assembler.logicalImmediate(value, .b32) != nil) == known.contains(narrow | narrow << 32))
    }
  }

  @Test(arguments: sizes) func wideMoves(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    var random = Random(seed: 3)
    for a in AArch64Register.operands {
      for value in [0, 1, 0x8000, .max, UInt16(truncatingIfNeeded: random.next())] as [UInt16] {
        for shift in stride(from: 0, to: UInt8(size == .b64 ? 64 : 32), by: 16) {
          batch.add("movz \(a.name(size)), #\(value), lsl #\(shift)") { $0.movz(size, a, value, shift: shift) }
          batch.add("movn \(a.name(size)), #\(value), lsl #\(shift)") { $0.movn(size, a, value, shift: shift) }
          batch.add("movk \(a.name(size)), #\(value), lsl #\(shift)") { $0.movk(size, a, value, shift: shift) }
        }
      }
    }
    try batch.check()
  }

  /// Constants are what objdump's reading of their instructions adds up to, in as few as they should take.
  @Test(arguments: sizes) func constantsIntoRegisters(_ size: OperandSize) throws {
    var random = Random(seed: 4)
    var values: [UInt64] = [
      0, 1, 0xFFFF, 0x10000, 0xFFFF_0000, 0xFFFF_FFFF, 0xFFFF_FFFE, 0x7FFF_FFFF, 0x8000_0000, 0x1_0000_0000,
      0xFFFF_FFFF_0000_0000, 0xFFFF_FFFF_FFFF_0000, 0xFFFF_0000_FFFF_FFFF, .max, .max - 1, 0x5555_5555_5555_5555,
      0x0123_4567_89AB_CDEF, 0x0123_0000_0000_CDEF, 0xFFFF_1234_FFFF_5678, 0x3FF0_0000_0000_0000, 0x8000_0000_0000_0000,
    ]
    for _ in 0..<300 {
      let value = random.next()
      values.append(value >> (random.next() & 63))
      values.append(~(value >> (random.next() & 63)))
      // Some half-words all ones or zeros.
      var mixed: UInt64 = 0
      for i in 0..<4 as Range<UInt64> {
        let part: UInt64 = [0, 0xFFFF, value >> (16 * i) & 0xFFFF][Int(random.next() % 3)]
        mixed |= part << (16 * i)
      }
      values.append(mixed)
    }
    values += Self.logicalConstants.prefix(500)
    var assembler = AArch64Assembler()
    var ends: [Int] = []
    for (i, value) in values.enumerated() {
      assembler.mov(size, dst: AArch64Register.operands[i % 31], immediate: value)
      ends.append(assembler.code.count)
    }
    let instructions = try AArch64Tools.disassemble(assembler.code.array)
    var next = 0
    for (i, value) in values.enumerated() {
      let expected = size == .b32 ? value & 0xFFFF_FFFF : value
      var result: UInt64 = 0
      var count = 0
      while next < instructions.count, instructions[next].offset < ends[i] {
        let instruction = instructions[next]
        let isWide = instruction.operands[0].hasPrefix("x")
        #expect(instruction.operands[0].dropFirst() == "\(i % 31)")
        let text = instruction.operands[1].dropFirst()
        let constant =
          text.hasPrefix("0x")
          ? UInt64(text.dropFirst(2), radix: 16) ?? 0 : UInt64(bitPattern: Int64(text) ?? 0)
        switch instruction.mnemonic {
        case "mov":
          #expect(count == 0)
          result = constant
        case "movk":
          let shift: UInt64 =
            instruction.operands.count > 2 ? UInt64(instruction.operands[3].dropFirst()) ?? 0 : 0
          result = result & ~(0xFFFF << shift) | constant << shift
        default: Issue.record("\(instruction)")
        }
        if !isWide { result &= 0xFFFF_FFFF }
        count += 1
        next += 1
      }
      #expect(result == expected, "\(String(expected, radix: 16)) is \(String(result, radix: 16))")
      let parts = (0..<4).map { UInt16(truncatingIfNeeded: expected >> (16 * UInt64($0))) }
      let plain = min(max(parts.filter { $0 != 0 }.count, 1), max(parts.filter { $0 != 0xFFFF }.count, 1))
      let isImmediate =
        AArch64Assembler.logicalImmediate(expected, .b64) != nil
        || expected <= 0xFFFF_FFFF && AArch64Assembler.logicalImmediate(expected, .b32) != nil
      #expect(count <= (isImmediate ? 1 : plain), "\(String(expected, radix: 16)) takes \(count)")
    }
    #expect(next == instructions.count)
  }

  @Test(arguments: sizes) func bitfieldsAndConstantShifts(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    var random = Random(seed: 5)
    let last: UInt8 = size == .b64 ? 63 : 31
    for (i, a) in AArch64Register.operands.enumerated() {
      let b = AArch64Register(number: UInt8((3 * i + 7) & 31))
      let c = AArch64Register(number: UInt8((13 * i + 5) & 31))
      let (x, y, z) = (a.name(size), b.name(size), c.name(size))
      for amount in [0, 1, last - 1, last, UInt8(random.next() & UInt64(last))] {
        for op in AArch64ShiftOp.allCases {
          batch.add("\(op) \(x), \(y), #\(amount)") { $0.shift(op, size, a, b, immediate: amount) }
        }
        batch.add("extr \(x), \(y), \(z), #\(amount)") { $0.extr(size, a, b, c, lowest: amount) }
        for end in [0, 1, last, UInt8(random.next() & UInt64(last))] {
          batch.add("ubfm \(x), \(y), #\(amount), #\(end)") { $0.ubfm(size, a, b, rotate: amount, last: end) }
          batch.add("sbfm \(x), \(y), #\(amount), #\(end)") { $0.sbfm(size, a, b, rotate: amount, last: end) }
          batch.add("bfm \(x), \(y), #\(amount), #\(end)") { $0.bfm(size, a, b, rotate: amount, last: end) }
        }
      }
    }
    try batch.check()
  }

  @Test(arguments: sizes) func conditions(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    for (i, a) in AArch64Register.operands.enumerated() {
      let b = AArch64Register(number: UInt8((3 * i + 7) & 31))
      let c = AArch64Register(number: UInt8((13 * i + 5) & 31))
      let (x, y, z) = (a.name(size), b.name(size), c.name(size))
      for condition in AArch64Condition.allCases {
        for op in AArch64SelectOp.allCases {
          batch.add("\(op) \(x), \(y), \(z), \(condition)") { $0.select(op, size, a, b, c, condition) }
        }
        batch.add("csel \(x), \(y), \(z), \(condition)") { $0.csel(size, a, b, c, condition) }
        batch.add("cset \(x), \(condition)") { $0.cset(size, a, condition) }
        batch.add("csetm \(x), \(condition)") { $0.csetm(size, a, condition) }
        if b != .zr { batch.add("cinc \(x), \(y), \(condition)") { $0.cinc(size, a, b, condition) } }
        for flags in [0, 1, 2, 4, 8, 15] as [UInt8] {
          batch.add("ccmp \(x), \(y), #\(flags), \(condition)") { $0.ccmp(size, a, b, flags: flags, condition) }
          batch.add("ccmn \(x), \(y), #\(flags), \(condition)") { $0.ccmn(size, a, b, flags: flags, condition) }
          for value in [0, 31, UInt8(i)] {
            batch.add("ccmp \(x), #\(value), #\(flags), \(condition)") {
              $0.ccmp(size, a, immediate: value, flags: flags, condition)
            }
            batch.add("ccmn \(x), #\(value), #\(flags), \(condition)") {
              $0.ccmn(size, a, immediate: value, flags: flags, condition)
            }
          }
        }
      }
    }
    try batch.check()
  }

  @Test func invertedAndSwappedConditions() {
    // Every combination of N, Z, C, V, as the manual's ConditionHolds has it.
    func holds(_ condition: AArch64Condition, _ flags: Int) -> Bool {
      let (n, z, c, v) = (flags & 8 != 0, flags & 4 != 0, flags & 2 != 0, flags & 1 != 0)
      switch condition {
      case .eq: return z
      case .ne: return !z
      case .hs: return c
      case .lo: return !c
      case .mi: return n
      case .pl: return !n
      case .vs: return v
      case .vc: return !v
      case .hi: return c && !z
      case .ls: return !(c && !z)
      case .ge: return n == v
      case .lt: return n != v
      case .gt: return n == v && !z
      case .le: return !(n == v && !z)
      }
    }
    func flags(_ a: Int8, _ b: Int8) -> Int {
      let (difference, overflow) = a.subtractingReportingOverflow(b)
      return (difference < 0 ? 8 : 0) | (difference == 0 ? 4 : 0)
        | (UInt8(bitPattern: a) >= UInt8(bitPattern: b) ? 2 : 0) | (overflow ? 1 : 0)
    }
    for condition in AArch64Condition.allCases {
      for value in 0..<16 { #expect(holds(condition, value) != holds(condition.inverted, value)) }
      // Comparisons of order and equality only: the others do not speak of two operands.
      if [.mi, .pl, .vs, .vc].contains(condition) { continue }
      for a in stride(from: Int8.min, through: 127, by: 5) {
        for b in [Int8.min, -1, 0, 1, a, .max] {
          #expect(holds(condition, flags(a, b)) == holds(condition.swapped, flags(b, a)))
        }
      }
    }
  }

  @Test func controlAndOthers() throws {
    var batch = AArch64EncodingBatch()
    for a in AArch64Register.operands {
      batch.add("br \(a.name(.b64))") { $0.br(a) }
      batch.add("blr \(a.name(.b64))") { $0.blr(a) }
      batch.add("ret \(a.name(.b64))") { $0.ret(a) }
      for distance in [0, 1, -1, 4, 0xFFFFF, -0x100000, 12345] as [Int32] {
        batch.add("adr \(a.name(.b64)), . + \(distance)") { $0.adr(a, distance: distance) }
      }
    }
    batch.add("ret") { $0.ret() }
    for value in [0, 1, 0x1234, .max] as [UInt16] {
      batch.add("udf #\(value)") { $0.udf(value) }
      batch.add("brk #\(value)") { $0.brk(value) }
    }
    batch.add("bti") { $0.bti(.none) }
    batch.add("bti c") { $0.bti(.call) }
    batch.add("bti j") { $0.bti(.jump) }
    batch.add("bti jc") { $0.bti(.both) }
    batch.add("nop") { $0.nop() }
    try batch.check()
  }

  @Test func pagesAreReadAsWritten() throws {
    var assembler = AArch64Assembler()
    var expected: [(String, UInt64)] = []
    for (i, a) in AArch64Register.operands.enumerated() {
      for pages in [0, 1, 2, 3, 4, 0xF_FFFF, -1, -0x10_0000, 0x1234 &* Int32(i)] as [Int32] {
        let page = assembler.code.count & ~0xFFF
        expected.append((a.name(.b64), UInt64(bitPattern: Int64(page + Int(pages) * 4096))))
        assembler.adrp(a, pages: pages)
      }
    }
    let instructions = try AArch64Tools.disassemble(assembler.code.array)
    #expect(instructions.count == expected.count)
    for (instruction, (register, target)) in zip(instructions, expected) {
      #expect(instruction.mnemonic == "adrp" && instruction.operands[0] == register)
      #expect(UInt64(instruction.operands[1].dropFirst(2), radix: 16) == target)
    }
  }
}
