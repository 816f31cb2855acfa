// Every setting that shapes the code, declared once.
//
// A setting that is missing from the compatibility record is the worst kind of bug: an artifact
// that loads and then computes nonsense. So a setting *is* a case of `Setting`: values are stored
// by case, `encode`, `decode`, the comparison and both renderings run over `allCases`, and the
// compiler refuses a case without a descriptor. What remains to be written by hand is a typed
// accessor for convenience. Every value is a 64-bit word in the file, so an older reader can still
// print a setting that it does not know, and refuse it by number.

public import PrecastMachineCode

/// How generated code keeps accesses to a linear memory in bounds.
public enum MemoryStrategy: UInt64, Sendable, CaseIterable {
  /// Address space is reserved for the whole 32-bit range; guard pages catch the rest.
  case reserved = 0
  /// Every access compares against the memory's length.
  case checked = 1
}

/// A field of the compatibility record; the raw value identifies it in the file.
public enum Setting: UInt16, Sendable, CaseIterable {
  case architecture = 1
  case cpuFeatures = 2
  case contextLayout = 3
  case builtins = 4
  case memoryStrategy = 5
  case memoryReservation = 6
  case memoryGuardSize = 7
  case framePointers = 8
  case addressMap = 9
  case debugInfo = 10

  /// How an artifact's value must relate to the host's.
  public enum Rule: Sendable {
    /// Both are equal.
    case equal
    /// The artifact's bits are a subset of the host's.
    case subset
    /// The artifact's number is at most the host's.
    case atMost
    /// Any value is fine; recorded so that it can be seen.
    case informational
  }

  /// All that encoding, comparison and rendering need to know of a setting.
  public struct Descriptor: Sendable {
    /// Name in messages and JSON.
    public let name: String
    /// How the artifact's value must relate to the host's.
    public let rule: Rule
    /// Value of a fresh `CompilerSettings`.
    public let defaultValue: UInt64
    /// The value in words.
    public let render: @Sendable (UInt64) -> String
    /// Advice on a mismatch.
    public let advice: String
  }

  /// The one declaration of each setting.
  public var descriptor: Descriptor {
    switch self {
    case .architecture:
      Descriptor(
        name: "architecture", rule: .equal, defaultValue: UInt64(Architecture.host.rawValue),
        render: { value in
          UInt8(exactly: value).flatMap(Architecture.init(rawValue:))?.name ?? "machine \(value)"
        }, advice: "compile for this machine with --target")
    case .cpuFeatures:
      Descriptor(
        name: "cpu_features", rule: .subset, defaultValue: 0,
        render: { CPUFeatures(rawValue: $0).names },
        advice: "compile with fewer --cpu-features, or run on a newer processor")
    case .contextLayout:
      Descriptor(
        name: "context_layout", rule: .equal, defaultValue: UInt64(ContextLayout.version),
        render: { "version \($0)" }, advice: "compile again with this version of precast")
    case .builtins:
      Descriptor(
        name: "builtins", rule: .atMost, defaultValue: UInt64(Builtin.allCases.count),
        render: { "\($0)" }, advice: "compile again with this version of precast")
    case .memoryStrategy:
      Descriptor(
        name: "memory_strategy", rule: .equal, defaultValue: MemoryStrategy.reserved.rawValue,
        render: { value in
          switch MemoryStrategy(rawValue: value) {
          case .reserved: "reserved"
          case .checked: "checked"
          case nil: "strategy \(value)"
          }
        }, advice: "compile for the memory strategy of this host")
    case .memoryReservation:
      Descriptor(
        name: "memory_reservation", rule: .atMost, defaultValue: 4 << 30, render: renderSize,
        advice: "let the host reserve as much for each memory")
    case .memoryGuardSize:
      Descriptor(
        name: "memory_guard_size", rule: .atMost, defaultValue: 2 << 30, render: renderSize,
        advice: "let the host use a guard of that size, or compile with a smaller one")
    case .framePointers:
      Descriptor(
        name: "frame_pointers", rule: .equal, defaultValue: 1, render: { $0 == 0 ? "no" : "yes" },
        advice: "compile again with this version of precast")
    case .addressMap:
      Descriptor(
        name: "address_map", rule: .informational, defaultValue: 1, render: { $0 == 0 ? "no" : "yes" },
        advice: "")
    case .debugInfo:
      Descriptor(
        name: "debug_info", rule: .informational, defaultValue: 1, render: { $0 == 0 ? "no" : "yes" },
        advice: "")
    }
  }

  /// Number of settings.
  static let count = allCases.count

  /// Position in `allCases`.
  var position: Int { Int(rawValue) - 1 }
}

private func renderSize(_ bytes: UInt64) -> String {
  for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] as [(UInt64, String)]
  where bytes != 0 && bytes & ((1 << shift) - 1) == 0 {
    return "\(bytes >> shift) \(unit)"
  }
  return "\(bytes) bytes"
}

/// The settings that code was compiled with; also what a host offers, for the comparison.
public struct CompilerSettings: Sendable, Hashable {
  // By position of the setting.
  private var values: [UInt64]

  /// The defaults: the baseline of this machine's architecture, address map, the guest's DWARF, 4 GiB reserved with a 2 GiB guard.
  public init() { values = Setting.allCases.map { $0.descriptor.defaultValue } }

  /// The value of any setting, as stored in the file.
  public subscript(setting: Setting) -> UInt64 {
    get { values[setting.position] }
    set { values[setting.position] = newValue }
  }

  /// Target architecture.
  public var architecture: Architecture {
    get { UInt8(exactly: self[.architecture]).flatMap(Architecture.init(rawValue:)) ?? .x86_64 }
    set { self[.architecture] = UInt64(newValue.rawValue) }
  }

  /// Features used beyond the baseline.
  public var cpuFeatures: CPUFeatures {
    get { CPUFeatures(rawValue: self[.cpuFeatures]) }
    set { self[.cpuFeatures] = newValue.rawValue }
  }

  /// How accesses to memories are kept in bounds.
  public var memoryStrategy: MemoryStrategy {
    get { MemoryStrategy(rawValue: self[.memoryStrategy]) ?? .checked }
    set { self[.memoryStrategy] = newValue.rawValue }
  }

  /// Bytes of address space that code expects each memory to own (its guard apart).
  public var memoryReservation: UInt64 {
    get { self[.memoryReservation] }
    set { self[.memoryReservation] = newValue }
  }

  /// Bytes of inaccessible address space that code expects behind the reservation.
  public var memoryGuardSize: UInt64 {
    get { self[.memoryGuardSize] }
    set { self[.memoryGuardSize] = newValue }
  }

  /// Whether every function keeps a frame pointer.
  public var framePointers: Bool {
    get { self[.framePointers] != 0 }
    set { self[.framePointers] = newValue ? 1 : 0 }
  }

  /// Whether there is an address map.
  public var addressMap: Bool {
    get { self[.addressMap] != 0 }
    set { self[.addressMap] = newValue ? 1 : 0 }
  }

  /// Whether the guest's DWARF, if it has any, is in the artifact.
  public var debugInfo: Bool {
    get { self[.debugInfo] != 0 }
    set { self[.debugInfo] = newValue ? 1 : 0 }
  }

  /// Whether code has landing pads where indirect branches lead to (`bti`), so that its pages can be mapped guarded.
  public var hasLandingPads: Bool { architecture == .aarch64 && cpuFeatures.contains(.bti) }

  /// The target's largest page size in bytes: alignment of text and data image.
  public var pageSize: UInt64 { architecture == .aarch64 ? 65536 : 4096 }

  /// Every field in which an artifact with these settings does not fit `host`.
  public func mismatches(host: CompilerSettings) -> [CompatibilityMismatch] {
    var found: [CompatibilityMismatch] = []
    for setting in Setting.allCases {
      let mine = self[setting]
      let theirs = host[setting]
      if mine == theirs { continue }
      let descriptor = setting.descriptor
      let fits =
        switch descriptor.rule {
        case .equal: false
        case .subset: mine & ~theirs == 0
        case .atMost: mine <= theirs
        case .informational: true
        }
      if !fits {
        found.append(
          CompatibilityMismatch(
            field: descriptor.name, artifact: descriptor.render(mine), host: descriptor.render(theirs),
            advice: descriptor.advice))
      }
    }
    return found
  }

  /// Name and value in words of every setting, in order.
  public var rendered: [(name: String, value: String)] {
    Setting.allCases.map { ($0.descriptor.name, $0.descriptor.render(self[$0])) }
  }
}

/// The settings by name, all that there are: what a cache's key is made of. Nobody has to remember to add one here.
extension CompilerSettings: Encodable {
  private struct Name: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  /// Encodes every setting's value under its name.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Name.self)
    for setting in Setting.allCases {
      try container.encode(self[setting], forKey: Name(stringValue: setting.descriptor.name))
    }
  }
}
