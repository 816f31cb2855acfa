// What goes into a link: objects, where the result is going to be, and what the objects may refer to beyond
// themselves.

public import PrecastArtifact
public import PrecastMachineCode

/// An object file to link: `ET_REL`, 64-bit, little-endian.
public struct LinkInput: Sendable {
  /// How messages call it; usually its path.
  public var name: String
  /// The whole file. Its owner keeps it as it is for as long as the ``Linker`` or the ``LinkedImage`` made from it
  /// is used: names and sections are read in place.
  public var bytes: ByteRegion

  /// The object `bytes`, called `name`.
  public init(name: String, bytes: ByteRegion) {
    self.name = name
    self.bytes = bytes
  }
}

/// Settings of a link.
public struct LinkOptions: Sendable {
  /// The address at which the text is going to start, a multiple of `pageSize`; nil for a result that works anywhere,
  /// which then may hold no absolute address at all.
  public var baseAddress: UInt64?
  /// Addresses of symbols that no object defines. Used only with a base address: a result that works anywhere cannot
  /// refer to them.
  public var externalSymbols: [String: UInt64] = [:]
  /// The machine's page size in bytes; nil for the largest that its ABI knows: 4096 on x86-64, 65536 on AArch64.
  public var pageSize: Int?
  /// Where what starts as zeros may start, in bytes: a power of two, at most a page. More than 1 where a file has zeros in a
  /// section of their own, so that no variable lies in both; they stand behind at least a byte of data then.
  public var zerosAlignment = 1
  /// Settings of the text section: reach, padding and forced veneers, for tests. Its alignment and its veneers'
  /// register are not used: sections have their own alignment, and the register follows from whose code a veneer
  /// leads to.
  public var text = TextSectionOptions()
  /// Whether unwind tables have 64-bit pointers; nil for where 32 bits could be too few.
  public var usesWideUnwindTables: Bool?
  /// Called when a step has ended.
  package var stepEnded: (@Sendable (LinkStep) -> Void)?

  /// A link at `baseAddress`, or one that works anywhere.
  public init(baseAddress: UInt64? = nil, externalSymbols: [String: UInt64] = [:]) {
    self.baseAddress = baseAddress
    self.externalSymbols = externalSymbols
  }
}
