// One decoded, validated instruction.
//
// Plain data of 24 bytes with everything the compiler needs from the binary and from the types around it, so that it
// never reads the binary itself and never keeps a type stack of its own just to know what `drop` drops.

/// A validated instruction of a function body, as ``FunctionValidator`` leaves it in an ``OperatorBuffer``.
///
/// | instructions | `type` | `a` | `b` | `immediate` |
/// |---|---|---|---|---|
/// | `block`, `loop`, `if` | – | first parameter in the type pool | first result in the type pool | parameter count, result count << 32 (see ``blockSignature``) |
/// | `br`, `br_if` | – | label depth | | |
/// | `br_table` | – | first target in ``OperatorBuffer/branchTargets`` | number of targets; the last is the default | |
/// | `call` | – | function index | its type index | |
/// | `call_indirect` | – | type index | table index | |
/// | `drop`, `select` | of the operand | | | |
/// | `local.*` | of the local | number of the local (``OperatorBuffer/localIndex(_:)``) | | |
/// | `global.*` | of the global | global index | | |
/// | `table.get`, `.set`, `.grow`, `.fill`, `.size` | of the elements | table index | | |
/// | `table.copy` | of the elements | destination table | source table | |
/// | `table.init` | of the elements | element segment | table | |
/// | `elem.drop`, `data.drop` | – | segment | | |
/// | loads and stores | of the value | memory index | log2 of the alignment hint | offset |
/// | `memory.size`, `.grow`, `.fill` | – | memory index | | |
/// | `memory.copy` | – | destination memory | source memory | |
/// | `memory.init` | – | data segment | memory | |
/// | `i32.const`, `i64.const` | of the value | | | the value; an `i32` is zero-extended |
/// | `f32.const`, `f64.const` | of the value | | | its bits |
/// | `ref.null`, `ref.is_null`, `ref.func` | of the reference | function index (`ref.func`) | | |
/// | other numeric instructions | of the result | | | |
public struct Operator: Sendable, BitwiseCopyable {
  /// Facts about an operator that its opcode does not tell.
  public struct Flags: OptionSet, Sendable, BitwiseCopyable {
    /// The bits.
    public let rawValue: UInt8
    /// Makes flags of bits.
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// On `else` and `end`: control does not fall into it from the operator before.
    public static let unreachableBefore = Flags(rawValue: 1)
    /// On `block`, `loop` and `if`: some branch in live code targets its label.
    public static let branchedTo = Flags(rawValue: 2)
    /// On `if`: there is an `else`.
    public static let hasElse = Flags(rawValue: 4)
  }

  /// The instruction.
  public var opcode: Opcode
  /// The operand's or result's type.
  public var type: ValueType
  /// Facts about the operator.
  public var flags: Flags
  /// Wasm offset of the instruction's first byte.
  public var offset: UInt32
  /// First index; see the table above.
  public var a: UInt32
  /// Second index; see the table above.
  public var b: UInt32
  /// Constant, or memory offset; see the table above.
  public var immediate: UInt64

  /// Makes an operator.
  @inlinable public init(
    _ opcode: Opcode, type: ValueType = .i32, flags: Flags = [], offset: UInt32, a: UInt32 = 0, b: UInt32 = 0,
    immediate: UInt64 = 0
  ) {
    self.opcode = opcode
    self.type = type
    self.flags = flags
    self.offset = offset
    self.a = a
    self.b = b
    self.immediate = immediate
  }

  /// On `block`, `loop` and `if`: parameters and results, as ranges of the module's type pool.
  @inlinable public var blockSignature: BlockSignature {
    BlockSignature(
      parameterStart: a, parameterCount: UInt32(truncatingIfNeeded: immediate),
      resultStart: b, resultCount: UInt32(truncatingIfNeeded: immediate >> 32))
  }
}
