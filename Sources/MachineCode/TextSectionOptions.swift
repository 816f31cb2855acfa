/// What can be set about a text section, and what can be wrong with one.
///
/// The settings that tests need (a text of a few kilobytes shall behave as one of gigabytes) stand
/// apart from those that users have, in a type of their own. Whoever passes them on can then see at
/// a glance whether a layout is a normal one, and say so where it is not.

/// Settings that make a small text behave like a large one. For tests only.
public struct TextLayoutTesting: Sendable, Hashable {
  /// Distance in bytes that calls and jumps are taken to reach, where less than the architecture's.
  public var reach: Int?
  /// AArch64: the same of `b.cond`, `cbz` and `cbnz`.
  public var conditionalReach: Int?
  /// AArch64: the same of `tbz` and `tbnz`.
  public var testBitReach: Int?
  /// Bytes put before each function, besides alignment.
  public var padding = 0
  /// Whether every call goes through a veneer, near as its target may be.
  public var forceVeneers = false

  /// None of them.
  public init() {}

  /// Whether the layout is one that nobody but a test wants.
  public var isActive: Bool { self != TextLayoutTesting() }
}

/// Settings of a text section.
public struct TextSectionOptions: Sendable, Equatable {
  /// Alignment of functions in bytes, a power of two, unless `add` is told another.
  public var alignment = 16
  /// Address of the text, where it is known already, because the text is laid out for memory that
  /// has been reserved. Only then may a branch refer to an absolute symbol; and x86-64 veneers
  /// become such as touch no register. A multiple of 4096.
  public var baseAddress: UInt64?
  /// AArch64: whether the text will be mapped with branch target identification on, so that an
  /// indirect branch has to meet a landing pad.
  public var branchTargetIdentification = false
  /// Settings for tests.
  public var testing = TextLayoutTesting()

  /// The largest size of the text in bytes, at most 2^40; more is an error. So no sum of places overflows.
  public var maximumSize = largestSize
  /// 2^40: what no text has more of.
  public static var largestSize: Int { 1 << 40 }

  /// The normal settings.
  public init() {}
}

/// Whose registers a function expects to find as they were left, hence which one a veneer may use.
public enum CallingConvention: UInt8, Sendable, BitwiseCopyable {
  /// Of compiled wasm: `rax` never carries an argument.
  case wasm
  /// Of the platform's psABI: `r11` never does, while `rax` may (of a variadic function).
  case platform
}

/// A place in a text section.
public struct TextPlace: Sendable, Equatable, BitwiseCopyable, CustomStringConvertible {
  /// Number of the function, in order of `add`.
  public var function: Int
  /// Bytes from the function's start.
  public var offset: Int
  /// Bytes from the start of the text.
  public var textOffset: Int

  /// The place `offset` bytes into a function.
  public init(function: Int, offset: Int, textOffset: Int) {
    self.function = function
    self.offset = offset
    self.textOffset = textOffset
  }

  /// The text offset.
  public var description: String { ".text+0x" + String(textOffset, radix: 16) }
}

/// What prevents a text section from being laid out.
public enum TextSectionError: Error, Equatable, Sendable {
  /// A relocation refers to a symbol that nothing defines.
  case undefinedSymbol(UInt32, TextPlace)
  /// A symbol is defined twice.
  case duplicateSymbol(UInt32)
  /// A branch can reach neither its target nor any veneer: its function is larger than the reach,
  /// or the target is further than a veneer carries. `distance` is S + A - P.
  case outOfReach(UInt32, TextPlace, distance: Int)
  /// The function that defines the symbol is larger than 2 GiB.
  case functionTooLarge(UInt32)
  /// A relocation lies outside of its function, is of a kind that the architecture does not have, or
  /// stands in or leads into the middle of an instruction of fixed size.
  case invalidRelocation(TextPlace)
  /// The text would have more bytes than the options allow, or more than 2^31 functions or relocations.
  case textTooLarge(maximumSize: Int)
}
