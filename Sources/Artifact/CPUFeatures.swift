// The instructions an artifact may use beyond its architecture's baseline.
//
// The baseline (x86-64-v2, Armv8.0-A) is implied by the architecture and is not listed; what is
// listed is needed at load. One option set serves both architectures, with separate bits, so that
// a set can be printed and compared without knowing the machine.

public import PrecastMachineCode

/// Processor features beyond the baseline that code relies on.
public struct CPUFeatures: OptionSet, Hashable, Sendable {
  /// One bit a feature.
  public var rawValue: UInt64

  /// The features whose bits are set; unknown bits are kept.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// x86-64: `lzcnt`.
  public static let lzcnt = CPUFeatures(rawValue: 1 << 0)
  /// x86-64: `tzcnt`, `andn`, ….
  public static let bmi1 = CPUFeatures(rawValue: 1 << 1)
  /// x86-64: `shlx`, `rorx`, ….
  public static let bmi2 = CPUFeatures(rawValue: 1 << 2)
  /// x86-64: three-operand vector instructions on 128 and 256 bits.
  public static let avx = CPUFeatures(rawValue: 1 << 3)
  /// x86-64: integer operations on 256 bits.
  public static let avx2 = CPUFeatures(rawValue: 1 << 4)
  /// x86-64: fused multiply-add.
  public static let fma = CPUFeatures(rawValue: 1 << 5)
  /// x86-64: AVX-512 foundation, with the vector-length, byte/word and doubleword extensions.
  public static let avx512 = CPUFeatures(rawValue: 1 << 6)
  /// AArch64: large system extensions (atomics).
  public static let lse = CPUFeatures(rawValue: 1 << 32)
  /// AArch64: half-precision arithmetic.
  public static let fp16 = CPUFeatures(rawValue: 1 << 33)
  /// AArch64: branch target identification. Code has landing pads where indirect branches lead to; processors without the
  /// feature execute them as `nop`s.
  public static let bti = CPUFeatures(rawValue: 1 << 34)

  /// Every feature with its name, as `--cpu-features` takes it.
  public static let named: [(name: String, feature: CPUFeatures)] = [
    ("lzcnt", .lzcnt), ("bmi1", .bmi1), ("bmi2", .bmi2), ("avx", .avx), ("avx2", .avx2), ("fma", .fma),
    ("avx512", .avx512), ("lse", .lse), ("fp16", .fp16), ("bti", .bti),
  ]

  /// All features of an architecture, known or not: x86-64 has the lower half of the bits.
  public static func all(of architecture: Architecture) -> CPUFeatures {
    CPUFeatures(rawValue: architecture == .x86_64 ? 0xFFFF_FFFF : 0xFFFF_FFFF << 32)
  }

  /// The names of an architecture's features.
  public static func names(of architecture: Architecture) -> [String] {
    named.filter { all(of: architecture).contains($0.feature) }.map(\.name)
  }

  /// The feature of that name, if there is one.
  public init?(name: String) {
    guard let match = Self.named.first(where: { $0.name == name }) else { return nil }
    self = match.feature
  }

  /// Names, separated by commas; unknown bits as `bit N`; "baseline" for none.
  public var names: String {
    if isEmpty { return "baseline" }
    var parts: [String] = []
    var rest = rawValue
    for (name, feature) in Self.named where contains(feature) {
      parts.append(name)
      rest &= ~feature.rawValue
    }
    while rest != 0 {
      parts.append("bit \(rest.trailingZeroBitCount)")
      rest &= rest - 1
    }
    return parts.joined(separator: ",")
  }
}
