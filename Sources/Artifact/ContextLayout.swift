/// Where things stand in the contexts that generated code and host share.
///
/// An *instance context* is one block of memory per instance: a fixed header, then globals,
/// memories, tables and imported functions at offsets that depend only on the module's counts.
/// The compiler bakes these offsets into the text, so they are part of the artifact's
/// compatibility record (`ContextLayout.version`).
///
///      0  base of memory 0                 (0 where there is none)
///      8  store context                    -> StoreContextLayout
///     16  table of built-ins               -> one pointer a `Builtin`
///     24  canonical signature numbers      -> UInt32[type index]
///     32  kind (UInt32): instance or host function, then UInt32 reserved
///     40  host callback                    (host function contexts only)
///     48  opaque, owned by the runtime
///     56  opaque, owned by the runtime
///     64  defined globals                  16 bytes each, the value in place
///      .  imported globals                 pointer to the 16-byte cell, 8 bytes each
///      .  defined memories                 16 bytes each: base, length in bytes
///      .  imported memories                pointer to such a pair, 8 bytes each
///      .  defined tables                   16 bytes each: elements, length in elements
///      .  imported tables                  pointer to such a pair, 8 bytes each
///      .  imported functions               16 bytes each: code, context
///
/// A *host function context* has the same header and nothing else.
public struct ContextLayout: Sendable, Equatable {
  /// Changes whenever an offset or a convention shared with generated code changes.
  public static let version: UInt32 = 1

  /// Base of memory 0, or 0.
  public static let memory0Base = 0
  /// Pointer to the store's part that generated code sees: `StoreContextLayout`.
  public static let store = 8
  /// Pointer to one pointer for each `Builtin`.
  public static let builtinTable = 16
  /// Pointer to canonical signature numbers, UInt32 by type index.
  public static let signatureIDs = 24
  /// `kindInstance` or `kindHostFunction` (UInt32).
  public static let kind = 32
  /// The function that an exit trampoline calls; host function contexts only.
  public static let hostCallback = 40
  /// Owned by the runtime.
  public static let opaque0 = 48
  /// Owned by the runtime.
  public static let opaque1 = 56
  /// Size of the header in bytes.
  public static let headerSize = 64

  /// `kind` of an instance context: "inst".
  public static let kindInstance: UInt32 = 0x7473_6E69
  /// `kind` of a host function context: "host".
  public static let kindHostFunction: UInt32 = 0x7473_6F68

  /// Number of imported globals.
  public let importedGlobals: Int
  /// Offset of the defined globals' cells, 16 bytes each.
  public let definedGlobalsOffset: Int
  /// Offset of the pointers to imported globals' cells.
  public let importedGlobalsOffset: Int
  /// Number of imported memories.
  public let importedMemories: Int
  /// Offset of the defined memories' pairs, 16 bytes each.
  public let definedMemoriesOffset: Int
  /// Offset of the pointers to imported memories' pairs.
  public let importedMemoriesOffset: Int
  /// Number of imported tables.
  public let importedTables: Int
  /// Offset of the defined tables' pairs, 16 bytes each.
  public let definedTablesOffset: Int
  /// Offset of the pointers to imported tables' pairs.
  public let importedTablesOffset: Int
  /// Offset of the imported functions' pairs, 16 bytes each.
  public let importedFunctionsOffset: Int
  /// Size of the whole context in bytes, a multiple of 16.
  public let size: Int

  /// The layout for a module with these counts.
  public init(
    importedFunctions: Int, importedTables: Int, importedMemories: Int, importedGlobals: Int,
    definedTables: Int, definedMemories: Int, definedGlobals: Int
  ) {
    func align16(_ n: Int) -> Int { (n + 15) & ~15 }
    self.importedGlobals = importedGlobals
    self.importedMemories = importedMemories
    self.importedTables = importedTables
    definedGlobalsOffset = Self.headerSize
    importedGlobalsOffset = definedGlobalsOffset + definedGlobals * 16
    definedMemoriesOffset = align16(importedGlobalsOffset + importedGlobals * 8)
    importedMemoriesOffset = definedMemoriesOffset + definedMemories * 16
    definedTablesOffset = align16(importedMemoriesOffset + importedMemories * 8)
    importedTablesOffset = definedTablesOffset + definedTables * 16
    importedFunctionsOffset = align16(importedTablesOffset + importedTables * 8)
    size = importedFunctionsOffset + importedFunctions * 16
  }

  /// A place that generated code reaches from the context: directly, or through a pointer in it.
  public struct Place: Sendable, Equatable {
    /// Offset from the context, of the thing itself or of the pointer to it.
    public let offset: Int
    /// Whether a pointer stands at `offset`.
    public let isIndirect: Bool

    /// Creates a place.
    public init(offset: Int, isIndirect: Bool) {
      self.offset = offset
      self.isIndirect = isIndirect
    }
  }

  /// The 16-byte cell of a global.
  public func global(_ index: Int) -> Place {
    index < importedGlobals
      ? Place(offset: importedGlobalsOffset + index * 8, isIndirect: true)
      : Place(offset: definedGlobalsOffset + (index - importedGlobals) * 16, isIndirect: false)
  }

  /// The pair (base, length in bytes) of a memory.
  public func memory(_ index: Int) -> Place {
    index < importedMemories
      ? Place(offset: importedMemoriesOffset + index * 8, isIndirect: true)
      : Place(offset: definedMemoriesOffset + (index - importedMemories) * 16, isIndirect: false)
  }

  /// The pair (elements, length in elements) of a table.
  public func table(_ index: Int) -> Place {
    index < importedTables
      ? Place(offset: importedTablesOffset + index * 8, isIndirect: true)
      : Place(offset: definedTablesOffset + (index - importedTables) * 16, isIndirect: false)
  }

  /// The pair (code, context) of an imported function.
  public func importedFunction(_ index: Int) -> Int { importedFunctionsOffset + index * 16 }
}

/// The part of a store that generated code sees; `struct precast_store_context` in `precast_host.h`.
public enum StoreContextLayout {
  /// Lowest stack pointer that wasm code may have.
  public static let stackLimit = 0
  /// The innermost activation of the store: `struct precast_activation`.
  public static let activation = 8
}

/// One entry from the host into wasm; `struct precast_activation` in `precast_host.h`.
public enum ActivationLayout {
  /// Stack pointer to restore when the activation ends in a trap or a host error.
  public static let resumeStackPointer = 0
  /// Where to continue then: in the entry trampoline, which returns 1.
  public static let resumeProgramCounter = 8
  /// Frame pointer of the entry trampoline: a stack walk ends there.
  public static let entryFramePointer = 16
  /// Frame pointer of the exit trampoline while a host function runs; otherwise stale.
  public static let exitFramePointer = 24
}

/// The frame of an entry trampoline on x86-64: where it keeps the C caller's registers, from its frame pointer; the caller's
/// frame pointer is at 0, the return address at 8.
///
/// The signal handler returns from a trampoline whose code is lost (its file was changed while it was loaded) by this
/// alone, so the layout is fixed, and the trampoline changes none of these registers before it has written
/// `ActivationLayout.entryFramePointer`. `precast_activation.h` says the same in C.
public enum EntryFrameLayout {
  /// The caller's rbx.
  public static let rbx = -8
  /// The caller's r12.
  public static let r12 = -16
  /// The caller's r13.
  public static let r13 = -24
  /// The caller's r14.
  public static let r14 = -32
  /// The caller's r15.
  public static let r15 = -40
  /// The slots that the caller gave, for the results.
  public static let slots = -48

  /// The instruction behind the call in an entry trampoline, `nop dword [rax - 27]`, as 4 bytes at the call's return address.
  /// Nothing else that is compiled has a `nop` of this form: so an unwinder that knows no more than a return address can tell
  /// an entry trampoline, which has the caller's registers in its frame, from all other code.
  public static let marker: UInt32 = 0xE540_1F0F
}

/// The frame of an entry trampoline on AArch64, as `EntryFrameLayout` is x86-64's: from its frame pointer, x29; the caller's
/// x29 is at 0, the return address at 8.
///
/// Compiled code leaves x19 to x25 alone, so they hold the caller's values throughout. The trampoline begins with a landing
/// pad whether the text has any or not, so that the signal handler knows by the pc alone what has been done. Until
/// `ActivationLayout.entryFramePointer` is written, x30 has the return address.
public enum AArch64EntryFrameLayout {
  /// The caller's x28.
  public static let x28 = -8
  /// The caller's x27.
  public static let x27 = -16
  /// The caller's x26.
  public static let x26 = -24
  /// The slots that the caller gave, for the results.
  public static let slots = -32
  /// The caller's d8 to d15, by the number of the register: pairs, the lower number at the lower address.
  public static func vector(_ number: Int) -> Int { -48 - (number - 8) / 2 * 16 + (number & 1) * 8 }
  /// Bytes below the frame pointer that all this takes.
  public static let size = 96

  /// The instruction behind the call in an entry trampoline, `movz xzr, #0x5750`, at the call's return address. It does
  /// nothing, and nothing else that is compiled has it.
  public static let marker: UInt32 = 0xD280_001F | UInt32(markerImmediate) << 5
  /// The immediate of that instruction.
  public static let markerImmediate: UInt16 = 0x5750
}

/// A function reference: what a `funcref` value points to, owned by the store.
///
/// A `funcref` value is 0 for null, or the address of such a block. In a *table* of functions an
/// element is 0 while it has not been resolved (filled lazily), otherwise the value with bit 0 set
/// (so a resolved null is 1). In tables of `externref`, elements are plain values.
public enum FunctionReferenceLayout {
  /// Code, by the wasm convention.
  public static let code = 0
  /// The context that the code expects in its context register.
  public static let context = 8
  /// Canonical signature number (UInt32).
  public static let signatureID = 16
  /// The entry trampoline for the function's type (0 for host functions).
  public static let entryTrampoline = 24
  /// Size of a function reference in bytes.
  public static let size = 32
}
