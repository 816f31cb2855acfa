/// Loads and stores of AArch64 have the words that the GNU assembler gives them.
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct AArch64MemoryEncodingTests {
  /// Mnemonics: `ldr` and `str` for displacements in elements, `ldur` and `stur` for others. The assembler
  /// finds the form by itself when it is given the first.
  @Test(arguments: OperandSize.allCases) func integers(_ size: OperandSize) throws {
    var batch = AArch64EncodingBatch()
    let scale = Int(size.rawValue)
    let suffix = ["b", "h", "", ""][scale]
    for (i, address) in AArch64Address.encodable(scale: scale).enumerated() {
      // A load that changes its base must not load the base.
      var r = AArch64Register.operands[(i * 5 + 1) % 32]
      if address.update != .none, r == address.base { r = .zr }
      let text = address.text(scale: scale)
      batch.add("ldr\(suffix) \(r.name(size)), \(text)") { $0.load(size, dst: r, from: address) }
      batch.add("ldr\(suffix) \(r.name(size)), \(text)") { $0.loadZeroExtended(size, dst: r, from: address) }
      batch.add("str\(suffix) \(r.name(size)), \(text)") { $0.store(size, to: address, src: r) }
      switch size {
      case .b8, .b16:
        for to in [OperandSize.b32, .b64] {
          batch.add("ldrs\(suffix) \(r.name(to)), \(text)") {
            $0.loadSignExtended(from: size, to: to, dst: r, from: address)
          }
        }
      case .b32:
        batch.add("ldrsw \(r.name(.b64)), \(text)") {
          $0.loadSignExtended(from: .b32, to: .b64, dst: r, from: address)
        }
        batch.add("ldr \(r.name(.b32)), \(text)") {
          $0.loadSignExtended(from: .b32, to: .b32, dst: r, from: address)
        }
      case .b64:
        batch.add("ldr \(r.name(.b64)), \(text)") {
          $0.loadSignExtended(from: .b64, to: .b64, dst: r, from: address)
        }
      }
    }
    for r in AArch64Register.operands {
      batch.add("ldr\(suffix) \(r.name(size)), [x26, w3, uxtw]") {
        $0.load(size, dst: r, from: AArch64Address(base: .x26, index: .x3, .uxtw))
      }
      batch.add("str\(suffix) \(r.name(size)), [sp, #64]") {
        $0.store(size, to: AArch64Address(base: .sp, displacement: 64), src: r)
      }
    }
    try batch.check()
  }

  @Test(arguments: FloatSize.allCases) func floats(_ size: FloatSize) throws {
    var batch = AArch64EncodingBatch()
    let scale = 2 + Int(size.rawValue)
    for (i, address) in AArch64Address.encodable(scale: scale).enumerated() {
      let v = AArch64VectorRegister(number: UInt8((i * 5 + 1) & 31))
      let text = address.text(scale: scale)
      batch.add("ldr \(v.name(size)), \(text)") { $0.load(size, dst: v, from: address) }
      batch.add("str \(v.name(size)), \(text)") { $0.store(size, to: address, src: v) }
    }
    for v in AArch64VectorRegister.allCases {
      let address = AArch64Address(base: .x26, index: .x9, .uxtw)
      batch.add("ldr \(v.name(size)), [x26, w9, uxtw]") { $0.load(size, dst: v, from: address) }
      batch.add("str \(v.name(size)), [x26, w9, uxtw]") { $0.store(size, to: address, src: v) }
    }
    try batch.check()
  }

  @Test func vectors() throws {
    var batch = AArch64EncodingBatch()
    for (i, address) in AArch64Address.encodable(scale: 4).enumerated() {
      let v = AArch64VectorRegister(number: UInt8((i * 5 + 1) & 31))
      let text = address.text(scale: 4)
      batch.add("ldr \(v.q), \(text)") { $0.loadVector(dst: v, from: address) }
      batch.add("str \(v.q), \(text)") { $0.storeVector(to: address, src: v) }
    }
    try batch.check()
  }

  @Test func pairs() throws {
    var batch = AArch64EncodingBatch()
    var random = Random(seed: 6)
    for (i, base) in AArch64Register.bases.enumerated() {
      for update in [AArch64Address.Update.none, .before, .after] {
        for count in [0, 1, -1, 63, -64, Int32(random.next() % 128) - 64] as [Int32] {
          // Two different registers, neither of them the base.
          var (r, s) = (
            AArch64Register(number: UInt8((i * 3 + 1) & 31)), AArch64Register(number: UInt8((i * 5 + 2) & 31))
          )
          if r == base { r = .x30 }
          if s == base || s == r { s = base == .x7 || r == .x7 ? .x9 : .x7 }
          let (v, w) = (
            AArch64VectorRegister(number: UInt8((i) & 31)), AArch64VectorRegister(number: UInt8((i * 7 + 9) & 31))
          )
          guard r != base, s != base, r != s, v != w else { continue }
          for size in [OperandSize.b32, .b64] {
            let address = AArch64Address(
              base: base, displacement: count << Int32(size.rawValue), update: update)
            let text = "\(r.name(size)), \(s.name(size)), \(address.text(scale: 0))"
            batch.add("ldp \(text)") { $0.loadPair(size, r, s, from: address) }
            batch.add("stp \(text)") { $0.storePair(size, r, s, to: address) }
          }
          let double = AArch64Address(base: base, displacement: count << 3, update: update)
          batch.add("ldp \(v.name(.f64)), \(w.name(.f64)), \(double.text(scale: 0))") {
            $0.loadPair(v, w, from: double)
          }
          batch.add("stp \(v.name(.f64)), \(w.name(.f64)), \(double.text(scale: 0))") {
            $0.storePair(v, w, to: double)
          }
          let quad = AArch64Address(base: base, displacement: count << 4, update: update)
          batch.add("ldp \(v.q), \(w.q), \(quad.text(scale: 0))") { $0.loadVectorPair(v, w, from: quad) }
          batch.add("stp \(v.q), \(w.q), \(quad.text(scale: 0))") { $0.storeVectorPair(v, w, to: quad) }
        }
      }
    }
    try batch.check()
  }

  /// Displacements that no load holds: what objdump reads adds up to them.
  @Test func farDisplacements() throws {
    var assembler = AArch64Assembler()
    var expected: [(offset: Int, base: AArch64Register, displacement: Int)] = []
    for displacement in [
      32768, 32760 + 4096, 1 << 20, (1 << 24) - 8, 1 << 24, 0x1234_5678, -257, -4096, -1 << 20,
      4097, 0x10_0001, .max, .min,
    ] as [Int32] {
      for base in [AArch64Register.x29, .sp, .x3] {
        expected.append((assembler.code.count, base, Int(displacement)))
        assembler.load(.b64, dst: .x1, from: AArch64Address(base: base, displacement: displacement))
      }
    }
    let end = assembler.code.count
    let instructions = try AArch64Tools.disassemble(assembler.code.array)
    func constant(_ text: String) -> Int {
      let text = text.drop { $0 == "#" }.filter { $0 != "]" }
      if text.hasPrefix("0x") { return Int(truncatingIfNeeded: UInt64(text.dropFirst(2), radix: 16) ?? 0) }
      return Int(text) ?? 0
    }
    for (i, place) in expected.enumerated() {
      let next = i + 1 < expected.count ? expected[i + 1].offset : end
      let group = instructions.filter { $0.offset >= place.offset && $0.offset < next }
      var scratch = 0
      var base = ""
      for instruction in group.dropLast() {
        #expect(instruction.operands[0].dropFirst() == "16")
        switch instruction.mnemonic {
        case "add":
          base = instruction.operands[1]
          let shift = instruction.operands.count > 3 ? constant(instruction.operands[4]) : 0
          scratch = constant(instruction.operands[2]) << shift
        case "mov": scratch = constant(instruction.operands[1])
        case "movk":
          let shift = instruction.operands.count > 2 ? constant(instruction.operands[3]) : 0
          scratch = scratch & ~(0xFFFF << shift) | constant(instruction.operands[2 - 1]) << shift
        default: Issue.record("\(instruction)")
        }
      }
      guard let load = group.last else { continue }
      #expect(load.mnemonic == "ldr" && load.operands[0] == "x1")
      if load.operands[1] == "[x16" || load.operands[1] == "[x16]" {
        #expect(base == place.base.name(.b64))
        #expect(scratch + (load.operands.count > 2 ? constant(load.operands[2]) : 0) == place.displacement)
      } else {
        #expect(load.operands[1] == "[\(place.base.name(.b64))" && load.operands[2] == "x16]")
        #expect(scratch == place.displacement)
      }
    }
  }
}
