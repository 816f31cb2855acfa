/// What a function's code leaves open: references to other functions.
///
/// The compiler does not know where functions will stand, so a direct call is emitted with an empty
/// displacement and a record of the place. Who lays the functions out (`TextSectionBuilder`, or the
/// system's linker after `--emit object`) fills it in. Kinds are those of the processor supplements
/// to the ELF gABI, and only those of branches: their value is a distance between two places of the
/// text, and a branch that cannot hold it can be led there in another way.

/// A machine, by its `e_machine` number (ELF gABI, chapter 4).
public enum Architecture: UInt8, Sendable, CaseIterable {
  /// `EM_X86_64`.
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case x86_64 = 62
  /// `EM_AARCH64`.
  case aarch64 = 183

  /// The machine that this code runs on.
  public static var host: Architecture {
    #if arch(arm64)
      .aarch64
    #else
      .x86_64
    #endif
  }

  /// Its name, as `uname -m` has it: `x86_64`, `aarch64`.
  public var name: String {
    switch self {
    case .x86_64: "x86_64"
    case .aarch64: "aarch64"
    }
  }

  /// The machine of that name, if it is one of these.
  public init?(name: String) {
    guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = match
  }
}

/// How a branch in the code refers to a symbol.
public enum RelocationKind: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  /// `R_X86_64_PLT32`: 32 bits, S + A - P. A is -4 where the displacement ends the instruction.
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case x86_64PLT32
  /// `R_X86_64_PC32` of a branch: the same. Where the field belongs to data or to the address of
  /// an instruction's operand, it is not for the text section builder: a veneer is no data.
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case x86_64PC32
  /// `R_AARCH64_CALL26`: the 26-bit word displacement of `bl`, S + A - P, ±128 MiB.
  case aarch64Call26
  /// `R_AARCH64_JUMP26`: the same of `b`.
  case aarch64Jump26
  /// `R_AARCH64_CONDBR19`: the 19-bit word displacement of `b.cond`, `cbz`, `cbnz`, ±1 MiB.
  case aarch64CondBr19
  /// `R_AARCH64_TSTBR14`: the 14-bit word displacement of `tbz`, `tbnz`, ±32 KiB.
  case aarch64TstBr14

  /// The relocation's number in the psABI of its machine.
  public var elfType: UInt32 {
    switch self {
    case .x86_64PLT32: 4
    case .x86_64PC32: 2
    case .aarch64Call26: 283
    case .aarch64Jump26: 282
    case .aarch64CondBr19: 280
    case .aarch64TstBr14: 279
    }
  }

  /// The machine that the relocation belongs to.
  public var architecture: Architecture {
    switch self {
    case .x86_64PLT32, .x86_64PC32: .x86_64
    case .aarch64Call26, .aarch64Jump26, .aarch64CondBr19, .aarch64TstBr14: .aarch64
    }
  }

  /// How far the branch reaches: S + A - P is at least -reach and less than reach, in bytes.
  public var reach: Int {
    switch self {
    case .x86_64PLT32, .x86_64PC32: 1 << 31
    case .aarch64Call26, .aarch64Jump26: 1 << 27
    case .aarch64CondBr19: 1 << 20
    case .aarch64TstBr14: 1 << 15
    }
  }

  // Branches of one machine by reach, the farthest first; see `TextSectionIslands.swift`.
  @inline(__always)
  internal var reachClass: Int {
    switch self {
    case .x86_64PLT32, .x86_64PC32, .aarch64Call26, .aarch64Jump26: 0
    case .aarch64CondBr19: 1
    case .aarch64TstBr14: 2
    }
  }
}

/// A reference from a place in the code to a symbol. 16 bytes, plain data.
///
/// An assembler may hold several functions in one chunk, and records offsets from the chunk's
/// start; `rebased(by:)` makes them relative to a function, and `TextSectionBuilder.add` takes
/// the function's start in the chunk, so that nobody need rewrite them.
public struct Relocation: Sendable, Equatable, BitwiseCopyable {
  /// Where the field to fill in stands, in bytes from the start of the chunk (or function).
  public var offset: UInt32
  /// What it refers to: a number whose meaning the caller of the assembler chooses.
  public var symbol: UInt32
  /// A constant to add to the symbol's address.
  public var addend: Int32
  /// What kind of field it is.
  public var kind: RelocationKind

  /// A relocation at `offset` bytes from the start of the code it belongs to.
  @inlinable public init(offset: UInt32, kind: RelocationKind, symbol: UInt32, addend: Int32) {
    self.offset = offset
    self.symbol = symbol
    self.addend = addend
    self.kind = kind
  }

  /// The same relocation with its offset counted from `start` instead of from 0.
  @inlinable public func rebased(by start: UInt32) -> Relocation {
    var result = self
    result.offset = offset &- start
    return result
  }
}
