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
/// A *function* here is a piece of code that stays in one piece. For the compiler it is a function;
/// of an object it is a section, with an alignment of its own, any number of symbols in it, and
/// branches to symbol plus addend.
///
/// Everything here depends on the order of `add` calls and nothing else. `Docs/Linking.md` has
/// pictures.

/// Lays functions out in a text section and resolves the calls between them.
///
/// Use: `add` every function in order, `finish()`, then ask for offsets and pieces. Offsets are
/// *text offsets*: bytes from the start of the section, which is page-aligned.
public struct TextSectionBuilder: ~Copyable {
  // 48 bytes. The functions of a large module pass through the cache twice; keep it small.
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
    var alignmentShift: UInt8
    var convention: CallingConvention
  }

  // A symbol that stands for an offset in a function, besides the one that stands for its start.
  internal struct Definition: BitwiseCopyable {
    var function: UInt32
    var symbol: UInt32
    var offset: UInt32
  }

  // A symbol whose distance from the text is known from the start.
  internal struct Absolute: BitwiseCopyable {
    var symbol: UInt32
    var convention: CallingConvention
    var offset: Int
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
  // In order of function.
  internal var definitions = FlatBuffer<Definition>(capacity: 1)
  internal var absolutes = FlatBuffer<Absolute>(capacity: 1)
  // Text offset of each symbol; `unplaced` while nothing defines it. That of an absolute symbol may
  // lie anywhere.
  internal var symbols: FlatBuffer<Int>
  internal var error: TextSectionError?
  internal var chunks: [CodeChunk] = []
  internal var cursor = 0
  private var relocationCount = 0
  private var largestAlignmentShift: UInt8 = 0

  internal var islands = FlatBuffer<Island>(capacity: 1)
  internal var veneerCode = CodeBuffer(capacity: 64)
  internal var pieces = FlatBuffer<Piece>(capacity: 1)
  internal var filler = CodeBuffer(capacity: 64)

  // No text offset.
  internal static var unplaced: Int { .min }

  /// A builder for symbols 0..<`symbolCount`; more are taken, at the cost of growing a table.
  public init(architecture: Architecture, symbolCount: Int = 0, options: TextSectionOptions = .init()) {
    precondition((options.baseAddress ?? 0) & 4095 == 0)
    precondition(options.alignment > 0 && options.alignment & (options.alignment - 1) == 0)
    var options = options
    options.maximumSize = min(max(options.maximumSize, 0), TextSectionOptions.largestSize)
    options.testing.padding = min(max(options.testing.padding, 0), TextSectionOptions.largestSize)
    self.architecture = architecture
    self.options = options
    largestAlignmentShift = UInt8(options.alignment.trailingZeroBitCount)
    symbols = FlatBuffer(capacity: max(symbolCount, 1))
    symbols.fill(with: Self.unplaced, to: symbolCount)
  }

  // MARK: Input

  /// Adds a function at the end: `size` bytes of code at `offset` in `chunk`, with the relocations
  /// number `relocations` of the chunk. The builder keeps the chunk.
  ///
  /// What lies between functions of one chunk may be written with them, so it has to be what the
  /// builder would put there (`alignFunction()`), or the text would depend on how functions were
  /// divided into chunks.
  ///
  /// - Parameters:
  ///   - symbol: The symbol that stands for the function's start.
  ///   - alignment: In bytes, a power of two; that of the options if nil. More than a page makes
  ///     sense only if the text will start at a multiple of it.
  ///   - convention: Which registers whoever jumps here may not touch.
  public mutating func add(
    symbol: UInt32, chunk: CodeChunk, offset: Int, size: Int, relocations: Range<Int>, alignment: Int? = nil,
    convention: CallingConvention = .wasm
  ) {
    precondition(offset >= 0 && size >= 0 && offset <= chunk.code.count && size <= chunk.code.count - offset)
    precondition(relocations.lowerBound >= 0 && relocations.upperBound <= chunk.relocations.count)
    let isSame = chunks.last === chunk
    if !isSame { chunks.append(chunk) }
    // Checked just now, and `chunks` keeps the chunk alive.
    unsafe add(
      symbol: symbol, code: chunk.code.startAddress + offset, size: size,
      relocations: UnsafeBufferPointer(rebasing: chunk.relocations.unsafeElements[relocations]),
      relocationBase: UInt32(truncatingIfNeeded: offset), isAdjacent: isSame, alignment: alignment,
      convention: convention)
  }

  /// Adds a function at the end: `size` bytes at `code`, which stay where they are and are written
  /// to by `finish()`; code and relocations must stay valid as long as the builder.
  ///
  /// Offsets of relocations count from `relocationBase` bytes before the function: its offset in the
  /// chunk that they were recorded in. `isAdjacent` says that the bytes between the function added
  /// before and this one are readable filler of the same buffer. A size of more than 2 GiB is an error
  /// of `finish()`, as is whatever makes the text larger than the options allow.
  @unsafe
  public mutating func add(
    symbol: UInt32, code: UnsafeMutableRawPointer, size: Int, relocations: UnsafeBufferPointer<Relocation>,
    relocationBase: UInt32 = 0, isAdjacent: Bool = false, alignment: Int? = nil,
    convention: CallingConvention = .wasm
  ) {
    if symbol >= symbols.count { symbols.fill(with: Self.unplaced, to: Int(symbol) + 1) }
    precondition(size >= 0)
    let alignment = alignment ?? options.alignment
    precondition(alignment > 0 && alignment & (alignment - 1) == 0)
    // What is counted below has 32 bits.
    guard size <= Int32.max, relocations.count <= Int32.max else {
      return fail(.functionTooLarge(symbol))
    }
    if symbols[Int(symbol)] != Self.unplaced { return fail(.duplicateSymbol(symbol)) }
    // None of the summands is larger than 2^40, so the sum cannot overflow.
    let isAligned = alignment <= TextSectionOptions.largestSize
    let offset = isAligned ? aligned(cursor + options.testing.padding, to: alignment) : options.maximumSize
    relocationCount += relocations.count
    guard isAligned, offset <= options.maximumSize - size, relocationCount <= Int32.max,
      functions.count < Int32.max
    else {
      return fail(.textTooLarge(maximumSize: options.maximumSize))
    }
    largestAlignmentShift = max(largestAlignmentShift, UInt8(alignment.trailingZeroBitCount))
    symbols[Int(symbol)] = offset
    unsafe functions.append(
      Function(
        code: code, relocations: relocations.baseAddress, offset: offset, size: UInt32(size),
        relocationCount: UInt32(relocations.count), relocationBase: relocationBase, symbol: symbol,
        isAdjacent: isAdjacent, alignmentShift: UInt8(alignment.trailingZeroBitCount), convention: convention))
    cursor = offset + size
  }

  // Keeps the first error for `finish()`. From then on nothing that is added is kept.
  private mutating func fail(_ error: TextSectionError) {
    if self.error == nil { self.error = error }
  }

  /// Lets `symbol` stand for the place `offset` bytes into the function that was added last; its end
  /// is a place too. For code in which several symbols are defined, as the sections of objects.
  public mutating func define(symbol: UInt32, atOffset offset: Int) {
    // The function that was added last may not be there.
    if error != nil { return }
    guard functions.count > 0 else { preconditionFailure("there is no function to define a symbol in") }
    let function = functions[functions.count - 1]
    precondition(offset >= 0 && offset <= function.size)
    if symbol >= symbols.count { symbols.fill(with: Self.unplaced, to: Int(symbol) + 1) }
    if symbols[Int(symbol)] != Self.unplaced { return fail(.duplicateSymbol(symbol)) }
    guard definitions.count < Int32.max else { return fail(.textTooLarge(maximumSize: options.maximumSize)) }
    symbols[Int(symbol)] = function.offset + offset
    definitions.append(
      Definition(function: UInt32(functions.count - 1), symbol: symbol, offset: UInt32(offset)))
  }

  /// Lets `symbol` stand for an address outside of the text. The options must have its base address.
  public mutating func define(
    symbol: UInt32, address: UInt64, convention: CallingConvention = .platform
  ) {
    guard let base = options.baseAddress else { preconditionFailure("the text has no base address") }
    if symbol >= symbols.count { symbols.fill(with: Self.unplaced, to: Int(symbol) + 1) }
    if symbols[Int(symbol)] != Self.unplaced { return fail(.duplicateSymbol(symbol)) }
    // 2^63 bytes away is as good a place for an address that nobody has as one byte less.
    let offset = max(Int(truncatingIfNeeded: address &- base), Self.unplaced + 1)
    symbols[Int(symbol)] = offset
    absolutes.append(Absolute(symbol: symbol, convention: convention, offset: offset))
  }

  // MARK: Layout

  /// Fixes where everything stands and resolves all branches. The text is padded at its end to a
  /// multiple of `endAlignment` bytes, a power of two. Nothing may be added afterwards.
  public mutating func finish(endAlignment: Int = 1) throws(TextSectionError) {
    if let error { throw error }
    let isDirect =
      switch architecture {
      case _ where options.testing.forceVeneers: false
      case .x86_64: try resolveNearRel32()
      case .aarch64: try resolveNearAArch64()
      }
    if !isDirect {
      var planner = try IslandPlanner(self)
      try planner.layOut(&self)
      try emitVeneers(&planner)
      try resolve(&planner)
      steps = planner.steps + veneerCount
    }
    precondition(endAlignment > 0 && endAlignment & (endAlignment - 1) == 0)
    let size = endAlignment <= TextSectionOptions.largestSize ? aligned(cursor, to: endAlignment) : .max
    guard size <= options.maximumSize else { throw .textTooLarge(maximumSize: options.maximumSize) }
    makePieces(size: size, endAlignment: endAlignment)
    if !isDirect { steps += pieces.count + islands.count }
  }

  // Distance in bytes that branches of a class cover.
  internal func reach(ofClass number: Int) -> Int {
    let testing = options.testing
    switch (architecture, number) {
    case (.x86_64, _): return min(max(testing.reach ?? .max, 1), 1 << 31)
    case (.aarch64, 0): return min(max(testing.reach ?? .max, 1), 1 << 27)
    case (.aarch64, 1): return min(max(testing.conditionalReach ?? .max, 1), 1 << 20)
    case (.aarch64, _): return min(max(testing.testBitReach ?? .max, 1), 1 << 15)
    }
  }

  @inline(__always)
  internal func aligned(_ offset: Int, to alignment: Int) -> Int {
    (offset + alignment - 1) & ~(alignment - 1)
  }

  // MARK: Result

  /// Size of the text in bytes, after `finish()`.
  public private(set) var size = 0

  /// Number of functions added.
  public var functionCount: Int { functions.count }

  /// Text offset of the function that was added as number `index`, after `finish()`.
  public func functionOffset(_ index: Int) -> Int { functions[index].offset }

  /// The largest alignment of any function, at least that of the options: the text has to start at
  /// a multiple of it.
  public var alignment: Int { 1 << Int(largestAlignmentShift) }

  /// Text offset of `symbol`, after `finish()`; nil if nothing defines it.
  public func offset(ofSymbol symbol: UInt32) -> Int? {
    guard symbol < symbols.count, symbols[Int(symbol)] != Self.unplaced else { return nil }
    return symbols[Int(symbol)]
  }

  /// Number of islands.
  public var islandCount: Int { islands.count }

  /// Number of veneers, in all islands.
  public internal(set) var veneerCount = 0

  /// Whether the text holds absolute addresses, in veneers, and so is right at its base address only.
  public internal(set) var holdsAbsoluteAddresses = false

  /// How many functions, branches, symbols, veneers and pieces the planning of islands has looked at,
  /// each time counted; 0 where none was needed. Tests hold it against the size of the input.
  package private(set) var steps = 0

  /// An island, in order of text offset.
  public func island(_ index: Int) -> Island { islands[index] }

  /// Number of pieces that make up the text.
  public var pieceCount: Int { pieces.count }

  /// A piece, in order of text offset; the first starts at 0 and each where the one before ended.
  /// Valid as long as the builder and, for code that was added by address, that code.
  public func piece(_ index: Int) -> Piece { pieces[index] }

  // Functions, islands and what lies between them, in order.
  private mutating func makePieces(size: Int, endAlignment: Int) {
    self.size = size
    fill(endAlignment: endAlignment)
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
  private mutating func fill(endAlignment: Int) {
    filler.removeAll()
    // Of the size of the largest gap, up to a limit: a gap has as many pieces as it takes.
    let length = min(max(options.testing.padding, alignment, endAlignment, 4096), 1 << 20)
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
