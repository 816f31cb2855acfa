/// Where functions stand in the text section, and how calls between them get there.
///
/// A direct call holds a distance, in 26 bits on AArch64 (±128 MiB) and 32 on x86-64 (±2 GiB).
/// While the text is smaller than that, layout is trivial: function after function, aligned, then
/// one sequential pass that stores the distances into the code. That is nearly every module, and it
/// has to cost next to nothing: a few nanoseconds a function and a call. The code is not copied: it
/// stays in the buffers it was assembled in, distances are stored there, and the result is a list
/// of *pieces* for whoever writes the section. Functions that stand in their buffer as they stand
/// in the text become one piece.
///
/// Only when some call cannot reach its target as things stand do we lay out once more, with
/// *islands* between functions; see `TextSectionIslands.swift`. A text that needs none never gets
/// one.
///
/// Everything here depends on the order of `add` calls and nothing else.

/// What prevents a text section from being laid out.
public enum TextSectionError: Error, Equatable, Sendable {
  /// A relocation at `textOffset` refers to a symbol that no function defines.
  case undefinedSymbol(UInt32, textOffset: Int)
  /// Two functions define the same symbol.
  case duplicateSymbol(UInt32)
  /// A branch at `textOffset` cannot reach its target nor any veneer: its function is larger than
  /// the reach, or the target is further than a veneer carries.
  case outOfReach(UInt32, textOffset: Int)
  /// The function that defines the symbol is larger than 2 GiB.
  case functionTooLarge(UInt32)
  /// A relocation of the function that defines `symbol` lies outside of it, or is of a kind that
  /// the architecture does not have.
  case invalidRelocation(symbol: UInt32, offset: UInt32)
}

/// Settings of a text section; those other than `alignment` and `veneerRegister` exist for tests.
public struct TextSectionOptions: Sendable, Equatable {
  /// Alignment of functions in bytes, a power of two.
  public var alignment = 16
  /// x86-64: the register that a veneer may destroy. `rax` is never an argument of a wasm function;
  /// code for the platform's convention wants `r11`.
  public var veneerRegister = Register.rax
  /// Distance in bytes that branches are taken to reach, where less than the architecture's.
  public var reach: Int?
  /// Bytes put before each function, besides alignment.
  public var padding = 0
  /// Whether every call goes through a veneer, near as its target may be.
  public var forceVeneers = false

  /// The normal settings.
  public init() {}
}

/// Lays functions out in a text section and resolves the calls between them.
///
/// Use: `add` every function in order, `finish()`, then ask for offsets and pieces. Offsets are
/// *text offsets*: bytes from the start of the section, which is page-aligned.
public struct TextSectionBuilder: ~Copyable {
  @safe
  internal struct Function: BitwiseCopyable {
    // In a buffer of the caller (or a chunk in `chunks`), which outlives the builder.
    var code: UnsafeMutableRawPointer
    var relocations: UnsafePointer<Relocation>?
    var offset: Int
    var size: UInt32
    var relocationCount: UInt32
    // What relocation offsets are relative to, from the function's start, backwards.
    var relocationBase: UInt32
    var symbol: UInt32
    // Whether the bytes between the function before and this one belong to the same buffer.
    var isAdjacent: Bool
  }

  /// A group of veneers between functions.
  public struct Island: BitwiseCopyable, Sendable, Equatable {
    /// Where it starts, in bytes from the start of the text.
    public let textOffset: Int
    /// Its size in bytes.
    public internal(set) var size: Int
    // The function before which it stands.
    internal var functionIndex: Int
  }

  /// A run of bytes of the text.
  @safe
  public struct Piece: BitwiseCopyable {
    /// Its bytes: in a buffer that was given to `add`, or in the builder's own.
    @unsafe public let bytes: UnsafeRawBufferPointer
    /// Where it stands, in bytes from the start of the text.
    public let textOffset: Int
  }

  /// The machine that the text is for.
  public let architecture: Architecture
  /// The settings.
  public let options: TextSectionOptions

  internal var functions = FlatBuffer<Function>(capacity: 1024)
  // Text offset of each symbol; -1 while nothing defines it.
  internal var symbols: FlatBuffer<Int>
  internal var error: TextSectionError?
  internal var chunks: [CodeChunk] = []
  internal var cursor = 0
  internal var relocationCount = 0

  internal var islands = FlatBuffer<Island>(capacity: 1)
  internal var veneers = FlatBuffer<Veneer>(capacity: 1)
  internal var veneerCode = CodeBuffer(capacity: 64)
  internal var pieces = FlatBuffer<Piece>(capacity: 1)
  internal var filler = CodeBuffer(capacity: 64)

  /// A builder for symbols 0..<`symbolCount`; more are taken, at the cost of growing a table.
  public init(architecture: Architecture, symbolCount: Int = 0, options: TextSectionOptions = .init()) {
    self.architecture = architecture
    self.options = options
    symbols = FlatBuffer(capacity: max(symbolCount, 1))
    symbols.fill(with: -1, to: symbolCount)
  }

  // MARK: Input

  /// Adds a function at the end: `size` bytes of code at `offset` in `chunk`, with the relocations
  /// number `relocations` of the chunk. The builder keeps the chunk.
  ///
  /// What lies between functions of one chunk may be written with them, so it has to be what the
  /// builder would put there (`alignFunction()`), or the text would depend on how functions were
  /// divided into chunks.
  public mutating func add(
    symbol: UInt32, chunk: CodeChunk, offset: Int, size: Int, relocations: Range<Int>
  ) {
    precondition(offset >= 0 && size >= 0 && offset <= chunk.code.count && size <= chunk.code.count - offset)
    precondition(relocations.lowerBound >= 0 && relocations.upperBound <= chunk.relocations.count)
    let isSame = chunks.last === chunk
    if !isSame { chunks.append(chunk) }
    // Checked just now, and `chunks` keeps the chunk alive.
    unsafe add(
      symbol: symbol, code: chunk.code.startAddress + offset, size: size,
      relocations: UnsafeBufferPointer(rebasing: chunk.relocations.unsafeElements[relocations]),
      relocationBase: UInt32(truncatingIfNeeded: offset), isAdjacent: isSame)
  }

  /// Adds a function at the end: `size` bytes at `code`, which stay where they are and are written
  /// to by `finish()`; code and relocations must stay valid as long as the builder.
  ///
  /// Offsets of relocations count from `relocationBase` bytes before the function: its offset in the
  /// chunk that they were recorded in. `isAdjacent` says that the bytes between the function added
  /// before and this one are readable filler of the same buffer.
  @unsafe
  public mutating func add(
    symbol: UInt32, code: UnsafeMutableRawPointer, size: Int, relocations: UnsafeBufferPointer<Relocation>,
    relocationBase: UInt32 = 0, isAdjacent: Bool = false
  ) {
    if symbol >= symbols.count { symbols.fill(with: -1, to: Int(symbol) + 1) }
    guard size <= Int32.max else {
      if error == nil { error = .functionTooLarge(symbol) }
      return
    }
    if symbols[Int(symbol)] >= 0 && error == nil { error = .duplicateSymbol(symbol) }
    let offset = aligned(cursor + options.padding, to: options.alignment)
    symbols[Int(symbol)] = offset
    unsafe functions.append(
      Function(
        code: code, relocations: relocations.baseAddress, offset: offset, size: UInt32(size),
        relocationCount: UInt32(relocations.count), relocationBase: relocationBase, symbol: symbol,
        isAdjacent: isAdjacent))
    relocationCount += relocations.count
    cursor = offset + size
  }

  // MARK: Layout

  /// Fixes where everything stands and resolves all calls. The text is padded at its end to a
  /// multiple of `endAlignment` bytes, a power of two. Nothing may be added afterwards.
  public mutating func finish(endAlignment: Int = 1) throws(TextSectionError) {
    if let error { throw error }
    let isNear = cursor <= reach && !options.forceVeneers
    if !isNear {
      try layOutWithIslandsIfNeeded()
    }
    if veneers.isEmpty {
      if architecture == .x86_64 { try resolveNear() } else { try resolveGeneric() }
    } else {
      try emitVeneers()
      try resolveGeneric()
    }
    makePieces(size: aligned(cursor, to: endAlignment))
  }

  // Distance in bytes that every branch covers.
  internal var reach: Int {
    let natural =
      switch architecture {
      case .x86_64: 1 << 31
      case .aarch64: 1 << 27
      }
    return min(options.reach ?? natural, natural)
  }

  // Whether a branch can hold `distance`. The farthest distance backwards is one byte (or one
  // instruction) longer than that forwards.
  internal func reaches(_ distance: Int) -> Bool {
    distance >= -reach && distance < reach && !options.forceVeneers
  }

  @inline(__always)
  internal func aligned(_ offset: Int, to alignment: Int) -> Int {
    (offset + alignment - 1) & ~(alignment - 1)
  }

  // The pass that nearly every x86-64 module takes: no veneers.
  private mutating func resolveNear() throws(TextSectionError) {
    let symbolCount = symbols.count
    // Locals, so that the loop keeps them in registers. Every access below is within bounds that
    // were checked when the function was added, or are checked here.
    let offsets = unsafe symbols.startAddress
    for i in 0..<functions.count {
      let function = functions[i]
      guard let relocations = unsafe function.relocations else { continue }
      for j in 0..<Int(function.relocationCount) {
        let relocation = unsafe relocations[j]
        let offset = relocation.offset &- function.relocationBase
        guard relocation.kind == .x86_64PLT32, function.size >= 4, offset <= function.size &- 4 else {
          throw .invalidRelocation(symbol: function.symbol, offset: offset)
        }
        let place = function.offset &+ Int(offset)
        let symbol = Int(relocation.symbol)
        guard symbol < symbolCount, unsafe offsets[symbol] >= 0 else {
          throw .undefinedSymbol(relocation.symbol, textOffset: place)
        }
        let distance = unsafe offsets[symbol] &+ Int(relocation.addend) &- place
        guard let value = Int32(exactly: distance) else {
          throw .outOfReach(relocation.symbol, textOffset: place)
        }
        unsafe function.code.storeBytes(of: value, toByteOffset: Int(offset), as: Int32.self)
      }
    }
  }

  // MARK: Result

  /// Size of the text in bytes, after `finish()`.
  public private(set) var size = 0

  /// Number of functions added.
  public var functionCount: Int { functions.count }

  /// Text offset of the function that was added as number `index`, after `finish()`.
  public func functionOffset(_ index: Int) -> Int { functions[index].offset }

  /// Text offset of `symbol`, after `finish()`; nil if nothing defines it.
  public func offset(ofSymbol symbol: UInt32) -> Int? {
    guard symbol < symbols.count, symbols[Int(symbol)] >= 0 else { return nil }
    return symbols[Int(symbol)]
  }

  /// Number of islands.
  public var islandCount: Int { islands.count }

  /// Number of veneers, in all islands.
  public var veneerCount: Int { veneers.count }

  /// An island, in order of text offset.
  public func island(_ index: Int) -> Island { islands[index] }

  /// Number of pieces that make up the text.
  public var pieceCount: Int { pieces.count }

  /// A piece, in order of text offset; the first starts at 0 and each where the one before ended.
  /// Valid as long as the builder and, for code that was added by address, that code.
  public func piece(_ index: Int) -> Piece { pieces[index] }

  // Functions, islands and what lies between them, in order.
  private mutating func makePieces(size: Int) {
    self.size = size
    fill()
    pieces.removeAll()
    var end = 0
    var island = 0
    var veneerOffset = 0
    for i in 0...functions.count {
      while island < islands.count, islands[island].functionIndex == i {
        let group = islands[island]
        addFiller(from: end, to: group.textOffset)
        // The veneers' code is complete and no longer changes.
        let bytes = unsafe UnsafeRawBufferPointer(start: veneerCode.startAddress + veneerOffset, count: group.size)
        unsafe pieces.append(Piece(bytes: bytes, textOffset: group.textOffset))
        veneerOffset += group.size
        end = group.textOffset + group.size
        island += 1
      }
      guard i < functions.count else { break }
      let function = functions[i]
      if function.isAdjacent && !pieces.isEmpty {
        let last = pieces[pieces.count - 1]
        if let start = unsafe last.bytes.baseAddress,
          unsafe UnsafeRawPointer(function.code) == start + (function.offset - last.textOffset)
        {
          let length = function.offset + Int(function.size) - last.textOffset
          let bytes = unsafe UnsafeRawBufferPointer(start: start, count: length)
          pieces[pieces.count - 1] = unsafe Piece(bytes: bytes, textOffset: last.textOffset)
          end = function.offset + Int(function.size)
          continue
        }
      }
      addFiller(from: end, to: function.offset)
      let bytes = unsafe UnsafeRawBufferPointer(start: function.code, count: Int(function.size))
      unsafe pieces.append(Piece(bytes: bytes, textOffset: function.offset))
      end = function.offset + Int(function.size)
    }
    addFiller(from: end, to: size)
  }

  // What stands between functions must trap when it is run: `int3` or `brk #0`.
  private mutating func fill() {
    filler.removeAll()
    let length = min(max(64, options.padding, 4096), 1 << 16)
    switch architecture {
    case .x86_64: filler.put(repeating: 0xCC, count: length)
    case .aarch64: for _ in 0..<length / 4 { filler.put32(0xD420_0000) }
    }
  }

  private mutating func addFiller(from start: Int, to end: Int) {
    var start = start
    while start < end {
      let length = min(end - start, filler.count)
      // The filler is complete and no longer changes.
      let bytes = unsafe UnsafeRawBufferPointer(start: filler.startAddress, count: length)
      unsafe pieces.append(Piece(bytes: bytes, textOffset: start))
      start += length
    }
  }
}
