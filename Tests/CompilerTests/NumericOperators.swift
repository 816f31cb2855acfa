// The numeric operators of WebAssembly and what each of them computes, by Swift's own arithmetic.

/// A number type; the raw value is its encoding.
enum NumericType: UInt8, CaseIterable {
  case i32 = 0x7F
  case i64 = 0x7E
  case f32 = 0x7D
  case f64 = 0x7C
}

/// The traps of numeric operators, by the number of their trap code.
enum NumericTrap: UInt16 { case integerOverflow = 7, integerDivideByZero = 8, invalidConversionToInteger = 9 }

/// What becomes of an operator: the bits of its value, those of an i32 or f32 zero-extended.
enum NumericOutcome: Equatable {
  case value(UInt64)
  case trap(NumericTrap)
}

/// An operator, or a sequence of them that works like one.
struct NumericOperator {
  var name: String
  var code: [UInt8]
  var parameters: [NumericType]
  var result: NumericType
  /// Whether the bits of a NaN are determined.
  var hasExactNaNs = false
  var evaluate: ([UInt64]) -> NumericOutcome

  /// Whether a value is one that the specification allows where Swift computes `expected` (4.3.3, NaN propagation).
  func allows(_ bits: UInt64, expected: UInt64, of arguments: [UInt64]) -> Bool {
    if bits == expected { return true }
    guard !hasExactNaNs, result.isNaN(expected) else { return false }
    let isCanonical = zip(parameters, arguments).allSatisfy { !$0.0.isNaN($0.1) || $0.0.isCanonicalNaN($0.1) }
    return isCanonical ? result.isCanonicalNaN(bits) : result.isArithmeticNaN(bits)
  }

  static func all() -> [NumericOperator] {
    integers(.i32, UInt32.self, Int32.self, firstTest: 0x45, firstCount: 0x67)
      + integers(.i64, UInt64.self, Int64.self, firstTest: 0x50, firstCount: 0x79)
      + floats(.f32, Float.self, firstComparison: 0x5B, firstOperation: 0x8B)
      + floats(.f64, Double.self, firstComparison: 0x61, firstOperation: 0x99) + conversions() + truncations()
      + selections()
  }
}

// MARK: Integers

extension NumericOperator {
  private static func integers<T: FixedWidthInteger & UnsignedInteger, S: FixedWidthInteger & SignedInteger>(
    _ type: NumericType, _: T.Type, _: S.Type, firstTest: UInt8, firstCount: UInt8
  ) -> [NumericOperator] {
    func u(_ bits: UInt64) -> T { T(truncatingIfNeeded: bits) }
    func s(_ bits: UInt64) -> S { S(truncatingIfNeeded: bits) }
    func out(_ value: T) -> NumericOutcome { .value(UInt64(value)) }
    func out(_ value: S) -> NumericOutcome { .value(UInt64(T(truncatingIfNeeded: value))) }
    let width = T(T.bitWidth)
    let tests: [(String, (UInt64, UInt64) -> Bool)] = [
      ("eq", { u($0) == u($1) }), ("ne", { u($0) != u($1) }), ("lt_s", { s($0) < s($1) }), ("lt_u", { u($0) < u($1) }),
      ("gt_s", { s($0) > s($1) }), ("gt_u", { u($0) > u($1) }), ("le_s", { s($0) <= s($1) }),
      ("le_u", { u($0) <= u($1) }), ("ge_s", { s($0) >= s($1) }), ("ge_u", { u($0) >= u($1) }),
    ]
    let counts: [(String, (T) -> Int)] = [
      ("clz", { $0.leadingZeroBitCount }), ("ctz", { $0.trailingZeroBitCount }), ("popcnt", { $0.nonzeroBitCount }),
    ]
    let signedDivision: (UInt64, UInt64) -> NumericOutcome = {
      if s($1) == 0 { return .trap(.integerDivideByZero) }
      let (value, overflow) = s($0).dividedReportingOverflow(by: s($1))
      return overflow ? .trap(.integerOverflow) : out(value)
    }
    let signedRemainder: (UInt64, UInt64) -> NumericOutcome = {
      if s($1) == 0 { return .trap(.integerDivideByZero) }
      return s($1) == -1 ? .value(0) : out(s($0) % s($1))
    }
    let operations: [(String, (UInt64, UInt64) -> NumericOutcome)] = [
      ("add", { out(u($0) &+ u($1)) }), ("sub", { out(u($0) &- u($1)) }), ("mul", { out(u($0) &* u($1)) }),
      ("div_s", signedDivision), ("div_u", { u($1) == 0 ? .trap(.integerDivideByZero) : out(u($0) / u($1)) }),
      ("rem_s", signedRemainder), ("rem_u", { u($1) == 0 ? .trap(.integerDivideByZero) : out(u($0) % u($1)) }),
      ("and", { out(u($0) & u($1)) }), ("or", { out(u($0) | u($1)) }), ("xor", { out(u($0) ^ u($1)) }),
      ("shl", { out(u($0) &<< u($1)) }), ("shr_s", { out(s($0) &>> s($1)) }), ("shr_u", { out(u($0) &>> u($1)) }),
      ("rotl", { out(u($0) &<< u($1) | u($0) >> (width - u($1) % width)) }),
      ("rotr", { out(u($0) &>> u($1) | u($0) << (width - u($1) % width)) }),
    ]
    var list = [
      NumericOperator(name: "\(type).eqz", code: [firstTest], parameters: [type], result: .i32) {
        .value(u($0[0]) == 0 ? 1 : 0)
      }
    ]
    for (index, (name, body)) in tests.enumerated() {
      list.append(
        .init(
          name: "\(type).\(name)", code: [firstTest + 1 + UInt8(index)], parameters: [type, type], result: .i32
        ) { .value(body($0[0], $0[1]) ? 1 : 0) })
    }
    for (index, (name, body)) in counts.enumerated() {
      list.append(
        .init(name: "\(type).\(name)", code: [firstCount + UInt8(index)], parameters: [type], result: type) {
          .value(UInt64(body(u($0[0]))))
        })
    }
    for (index, (name, body)) in operations.enumerated() {
      list.append(
        .init(
          name: "\(type).\(name)", code: [firstCount + 3 + UInt8(index)], parameters: [type, type], result: type
        ) { body($0[0], $0[1]) })
    }
    return list
  }
}

// MARK: Floats

/// A float by its bits, whatever its size.
protocol NumericFloat: BinaryFloatingPoint {
  init(bits: UInt64)
  var bits: UInt64 { get }
}

extension Float: NumericFloat {
  init(bits: UInt64) { self.init(bitPattern: UInt32(truncatingIfNeeded: bits)) }
  var bits: UInt64 { UInt64(bitPattern) }
}

extension Double: NumericFloat {
  init(bits: UInt64) { self.init(bitPattern: bits) }
  var bits: UInt64 { bitPattern }
}

extension NumericOperator {
  private static func extremum<T: NumericFloat>(_ a: T, _ b: T, isMinimum: Bool) -> T {
    if a.isNaN || b.isNaN { return .nan }
    if a == b { return (a.sign == .minus) == isMinimum ? a : b }
    return (a < b) == isMinimum ? a : b
  }

  private static func floats<T: NumericFloat>(
    _ type: NumericType, _: T.Type, firstComparison: UInt8, firstOperation: UInt8
  ) -> [NumericOperator] {
    func f(_ bits: UInt64) -> T { T(bits: bits) }
    let sign: UInt64 = type == .f32 ? 1 << 31 : 1 << 63
    let comparisons: [(String, (T, T) -> Bool)] = [
      ("eq", { $0 == $1 }), ("ne", { $0 != $1 }), ("lt", { $0 < $1 }), ("gt", { $0 > $1 }), ("le", { $0 <= $1 }),
      ("ge", { $0 >= $1 }),
    ]
    let unary: [(String, Bool, (UInt64) -> UInt64)] = [
      ("abs", true, { $0 & ~sign }), ("neg", true, { $0 ^ sign }), ("ceil", false, { f($0).rounded(.up).bits }),
      ("floor", false, { f($0).rounded(.down).bits }), ("trunc", false, { f($0).rounded(.towardZero).bits }),
      ("nearest", false, { f($0).rounded(.toNearestOrEven).bits }), ("sqrt", false, { f($0).squareRoot().bits }),
    ]
    let binary: [(String, Bool, (UInt64, UInt64) -> UInt64)] = [
      ("add", false, { (f($0) + f($1)).bits }), ("sub", false, { (f($0) - f($1)).bits }),
      ("mul", false, { (f($0) * f($1)).bits }), ("div", false, { (f($0) / f($1)).bits }),
      ("min", false, { extremum(f($0), f($1), isMinimum: true).bits }),
      ("max", false, { extremum(f($0), f($1), isMinimum: false).bits }),
      ("copysign", true, { $0 & ~sign | $1 & sign }),
    ]
    var list: [NumericOperator] = []
    for (index, (name, body)) in comparisons.enumerated() {
      list.append(
        .init(
          name: "\(type).\(name)", code: [firstComparison + UInt8(index)], parameters: [type, type], result: .i32
        ) { .value(body(f($0[0]), f($0[1])) ? 1 : 0) })
    }
    for (index, (name, isExact, body)) in unary.enumerated() {
      list.append(
        .init(
          name: "\(type).\(name)", code: [firstOperation + UInt8(index)], parameters: [type], result: type,
          hasExactNaNs: isExact
        ) { .value(body($0[0])) })
    }
    for (index, (name, isExact, body)) in binary.enumerated() {
      list.append(
        .init(
          name: "\(type).\(name)", code: [firstOperation + 7 + UInt8(index)], parameters: [type, type], result: type,
          hasExactNaNs: isExact
        ) { .value(body($0[0], $0[1])) })
    }
    return list
  }
}

// MARK: Conversions, selections

extension NumericOperator {
  private static func conversions() -> [NumericOperator] {
    func s32(_ bits: UInt64) -> Int32 { Int32(truncatingIfNeeded: bits) }
    func u32(_ bits: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: bits) }
    func s64(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
    func extended(_ value: some SignedInteger & FixedWidthInteger, _ type: NumericType) -> UInt64 {
      type == .i32 ? UInt64(UInt32(truncatingIfNeeded: value)) : UInt64(truncatingIfNeeded: value)
    }
    let list: [(String, UInt8, NumericType, NumericType, Bool, (UInt64) -> UInt64)] = [
      ("i32.wrap_i64", 0xA7, .i64, .i32, false, { UInt64(u32($0)) }),
      ("i64.extend_i32_s", 0xAC, .i32, .i64, false, { extended(s32($0), .i64) }),
      ("i64.extend_i32_u", 0xAD, .i32, .i64, false, { UInt64(u32($0)) }),
      ("f32.convert_i32_s", 0xB2, .i32, .f32, false, { Float(s32($0)).bits }),
      ("f32.convert_i32_u", 0xB3, .i32, .f32, false, { Float(u32($0)).bits }),
      ("f32.convert_i64_s", 0xB4, .i64, .f32, false, { Float(s64($0)).bits }),
      ("f32.convert_i64_u", 0xB5, .i64, .f32, false, { Float($0).bits }),
      ("f32.demote_f64", 0xB6, .f64, .f32, false, { Float(Double(bits: $0)).bits }),
      ("f64.convert_i32_s", 0xB7, .i32, .f64, false, { Double(s32($0)).bits }),
      ("f64.convert_i32_u", 0xB8, .i32, .f64, false, { Double(u32($0)).bits }),
      ("f64.convert_i64_s", 0xB9, .i64, .f64, false, { Double(s64($0)).bits }),
      ("f64.convert_i64_u", 0xBA, .i64, .f64, false, { Double($0).bits }),
      ("f64.promote_f32", 0xBB, .f32, .f64, false, { Double(Float(bits: $0)).bits }),
      ("i32.reinterpret_f32", 0xBC, .f32, .i32, true, { $0 }),
      ("i64.reinterpret_f64", 0xBD, .f64, .i64, true, { $0 }),
      ("f32.reinterpret_i32", 0xBE, .i32, .f32, true, { $0 }),
      ("f64.reinterpret_i64", 0xBF, .i64, .f64, true, { $0 }),
      ("i32.extend8_s", 0xC0, .i32, .i32, false, { extended(Int8(truncatingIfNeeded: $0), .i32) }),
      ("i32.extend16_s", 0xC1, .i32, .i32, false, { extended(Int16(truncatingIfNeeded: $0), .i32) }),
      ("i64.extend8_s", 0xC2, .i64, .i64, false, { extended(Int8(truncatingIfNeeded: $0), .i64) }),
      ("i64.extend16_s", 0xC3, .i64, .i64, false, { extended(Int16(truncatingIfNeeded: $0), .i64) }),
      ("i64.extend32_s", 0xC4, .i64, .i64, false, { extended(s32($0), .i64) }),
    ]
    return list.map { name, code, from, to, isExact, body in
      .init(name: name, code: [code], parameters: [from], result: to, hasExactNaNs: isExact) { .value(body($0[0])) }
    }
  }

  private static func truncation<T: NumericFloat, I: FixedWidthInteger>(
    _ code: [UInt8], _ from: NumericType, _: T.Type, _ to: NumericType, _: I.Type, saturates: Bool
  ) -> NumericOperator {
    let name = "\(to).trunc\(saturates ? "_sat" : "")_\(from)_\(I.isSigned ? "s" : "u")"
    return NumericOperator(name: name, code: code, parameters: [from], result: to) {
      let value = T(bits: $0[0])
      func out(_ value: I) -> NumericOutcome {
        .value(to == .i32 ? UInt64(UInt32(truncatingIfNeeded: value)) : UInt64(truncatingIfNeeded: value))
      }
      if value.isNaN { return saturates ? .value(0) : .trap(.invalidConversionToInteger) }
      if let exact = I(exactly: value.rounded(.towardZero)) { return out(exact) }
      return saturates ? out(value < 0 ? .min : .max) : .trap(.integerOverflow)
    }
  }

  private static func truncations() -> [NumericOperator] {
    let trapping: [[UInt8]] = [[0xA8], [0xA9], [0xAA], [0xAB], [0xAE], [0xAF], [0xB0], [0xB1]]
    let saturating: [[UInt8]] = (0..<8).map { [0xFC, $0] }
    return [(trapping, false), (saturating, true)].flatMap { codes, saturates in
      [
        truncation(codes[0], .f32, Float.self, .i32, Int32.self, saturates: saturates),
        truncation(codes[1], .f32, Float.self, .i32, UInt32.self, saturates: saturates),
        truncation(codes[2], .f64, Double.self, .i32, Int32.self, saturates: saturates),
        truncation(codes[3], .f64, Double.self, .i32, UInt32.self, saturates: saturates),
        truncation(codes[4], .f32, Float.self, .i64, Int64.self, saturates: saturates),
        truncation(codes[5], .f32, Float.self, .i64, UInt64.self, saturates: saturates),
        truncation(codes[6], .f64, Double.self, .i64, Int64.self, saturates: saturates),
        truncation(codes[7], .f64, Double.self, .i64, UInt64.self, saturates: saturates),
      ]
    }
  }

  private static func selections() -> [NumericOperator] {
    NumericType.allCases.map { type in
      .init(name: "select \(type)", code: [0x1B], parameters: [type, type, .i32], result: type, hasExactNaNs: true) {
        .value(UInt32(truncatingIfNeeded: $0[2]) != 0 ? $0[0] : $0[1])
      }
    }
  }
}

// MARK: Sequences

extension NumericOperator {
  private func value(_ arguments: UInt64...) -> UInt64 {
    guard case .value(let bits) = evaluate(arguments) else { preconditionFailure("\(name) traps") }
    return bits
  }

  /// Sequences of operators that a machine may have one instruction for.
  static func sequences() -> [NumericOperator] {
    let all = Dictionary(uniqueKeysWithValues: all().map { ($0.name, $0) })
    var list: [NumericOperator] = []
    for type in [NumericType.i32, .i64] {
      let width: UInt64 = type == .i32 ? 32 : 64
      func find(_ name: String) -> NumericOperator { all["\(type).\(name)"]! }
      let combinations = ["add", "sub", "and", "or", "xor"].map(find)
      for shift in ["shl", "shr_s", "shr_u", "rotl", "rotr"].map(find) {
        for amount in [1, 3, width - 1] {
          let shifted = type.constant(amount) + shift.code
          for last in combinations {
            list.append(
              .init(
                name: "\(shift.name) \(amount) \(last.name)", code: shifted + last.code, parameters: [type, type],
                result: type
              ) { last.evaluate([$0[0], shift.value($0[1], amount)]) })
            list.append(
              .init(
                name: "\(shift.name) \(amount) local \(last.name)", code: shifted + [0x20, 0] + last.code,
                parameters: [type], result: type
              ) { last.evaluate([shift.value($0[0], amount), $0[0]]) })
          }
          for bits in [1, 7, 8, width - amount, width] {
            let mask: UInt64 = bits == 64 ? .max : 1 << bits - 1
            list.append(
              .init(
                name: "\(shift.name) \(amount) mask \(bits)",
                code: shifted + type.constant(mask) + find("and").code, parameters: [type], result: type
              ) { .value(shift.value($0[0], amount) & mask) })
          }
        }
      }
      let multiplication = find("mul")
      for last in combinations {
        list.append(
          .init(
            name: "\(multiplication.name) \(last.name)", code: multiplication.code + last.code,
            parameters: [type, type, type], result: type
          ) { last.evaluate([$0[0], multiplication.value($0[1], $0[2])]) })
        list.append(
          .init(
            name: "\(multiplication.name) local \(last.name)", code: multiplication.code + [0x20, 1] + last.code,
            parameters: [type, type], result: type
          ) { last.evaluate([multiplication.value($0[0], $0[1]), $0[1]]) })
      }
      list.append(
        .init(
          name: "\(type).and eqz", code: find("and").code + find("eqz").code, parameters: [type, type], result: .i32
        ) { .value($0[0] & $0[1] == 0 ? 1 : 0) })
    }
    return list
  }
}

// MARK: Values

extension NumericType {
  /// Values around which operators and encodings of constants change their ways.
  var edges: [UInt64] {
    switch self {
    case .i32:
      let values: [Int64] = [
        0, 1, 2, 3, -1, -2, 7, 31, 32, 33, 127, 128, 255, 0xFFF, 0x1000, 0x8000, 0xFFFF, 0x1_0000, 0xFF_F000, 0xFF_FFFF,
        -4095, -4096, -4097, 0x1234_5678, 0x5555_5555, Int64(Int32.max), Int64(Int32.min), Int64(Int32.min) + 1,
      ]
      return values.map { UInt64(UInt32(truncatingIfNeeded: $0)) }
    case .i64:
      let values: [Int64] = [
        0, 1, 2, 3, -1, -2, 7, 31, 32, 63, 64, 65, 128, 255, 0xFFF, 0x1000, 0x8000, 0xFF_F000, 0xFF_FFFF, 0x7FFF_FFFF,
        0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000, -4095, -4096, -4097, -0x8000_0000, -0x8000_0001, 0x1234_5678_9ABC_DEF0,
        0x5555_5555_5555_5555, .max, .min, .min + 1,
      ]
      return values.map { UInt64(bitPattern: $0) }
    case .f32:
      var values: [Float] = [
        0, 0.5, 1, 1.5, 2.5, Float(1).nextDown, 3.1415927, 127, 0x1.fffffep22, 0x1p31, 0x1p32, 0x1p63, 0x1p64, 1e30,
        .infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude, .leastNormalMagnitude,
      ]
      for bound in [0x1p31, 0x1p32, 0x1p63, 0x1p64] as [Float] { values += [bound.nextUp, bound.nextDown] }
      return values.flatMap { [$0.bits, (-$0).bits] } + [0x7FC0_0000, 0xFFC0_0000, 0x7FA0_0000, 0x7FC0_1234]
    case .f64:
      var values: [Double] = [
        0, 0.5, 1, 1.5, 2.5, 1.0.nextDown, 3.141592653589793, 127, 0x1.8p52, 0x1p31, 0x1p32, 0x1p63, 0x1p64, 1e300,
        1e39,
        .infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude, .leastNormalMagnitude, 1e-40, 0x1p31 - 0.5,
        0x1p31 + 0.5, 0x1p31 + 1, 0x1p32 - 1, 0x1p32 - 0.5, 0x1p32 + 0.5, 1 + 0x1p-24,
      ]
      for bound in [0x1p31, 0x1p32, 0x1p63, 0x1p64] { values += [bound.nextUp, bound.nextDown] }
      return values.flatMap { [$0.bits, (-$0).bits] }
        + [0x7FF8_0000_0000_0000, 0xFFF8_0000_0000_0000, 0x7FF4_0000_0000_0000, 0x7FF8_0000_0000_1234]
    }
  }

  /// The operator that pushes a constant.
  func constant(_ bits: UInt64) -> [UInt8] {
    switch self {
    case .i32: [0x41] + WasmBuilder.signed(Int(Int32(truncatingIfNeeded: bits)))
    case .i64: [0x42] + WasmBuilder.signed(Int(truncatingIfNeeded: bits))
    case .f32: [0x43] + (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
    case .f64: [0x44] + (0..<8).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
    }
  }

  /// There and back between integers and floats: the same value, in a register of its own.
  var copy: [UInt8] {
    switch self {
    case .i32: [0xBE, 0xBC]
    case .i64: [0xBF, 0xBD]
    case .f32: [0xBC, 0xBE]
    case .f64: [0xBD, 0xBF]
    }
  }

  func isNaN(_ bits: UInt64) -> Bool {
    switch self {
    case .i32, .i64: false
    case .f32: Float(bits: bits).isNaN
    case .f64: Double(bits: bits).isNaN
    }
  }

  func isCanonicalNaN(_ bits: UInt64) -> Bool {
    self == .f32 ? bits & 0x7FFF_FFFF == 0x7FC0_0000 : bits & (.max >> 1) == 0x7FF8_0000_0000_0000
  }

  /// Whether the highest bit of the payload is set.
  func isArithmeticNaN(_ bits: UInt64) -> Bool {
    let quiet: UInt64 = self == .f32 ? 0x7FC0_0000 : 0x7FF8_0000_0000_0000
    return bits & quiet == quiet
  }
}
