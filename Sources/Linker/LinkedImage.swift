// What comes out of a link, and where it stands.
//
//      text offset
//                0  .text         code, islands of veneers; padded to whole pages
//      text size    .eh_frame     right behind it
//                   …             whatever whoever places the image has to put here
//         readOnly  read-only     constants, then the global offset table
//                   …
//         writable  writable      initialised data; zeros (.bss) right behind it, not in any file
//
// The distances have to be known before references are resolved, but only the one who makes memory or a file of the
// image knows what else stands there. So a link has two steps: `Linker` reads, resolves symbols and lays out, which
// yields sizes; given a placement, it writes the bytes.

public import PrecastArtifact
public import PrecastMachineCode

/// Sizes of an image's parts, in bytes, known before their places are.
public struct LinkedSizes: Sendable, Equatable {
  /// The code, whole pages; may be 0.
  public var text = 0
  /// The unwind tables, which start where the text ends; 0 where there are none. A multiple of 4.
  public var ehFrame = 0
  /// Constants and global offset table; may be 0.
  public var readOnly = 0
  /// The alignment that the read-only part needs, at most a page.
  public var readOnlyAlignment = 1
  /// Initialised data; may be 0.
  public var writable = 0
  /// Initialised data and the zeros behind it; may be 0.
  public var writableInMemory = 0

  /// All zero.
  public init() {}
}

/// Where the parts of an image stand whose places the linker does not choose: in bytes from the start of the text.
public struct LinkPlacement: Sendable, Equatable {
  /// The read-only part, at a multiple of `LinkedSizes.readOnlyAlignment`, behind the unwind tables.
  public var readOnly: Int
  /// The writable part, on a page of its own.
  public var writable: Int

  /// A placement.
  public init(readOnly: Int, writable: Int) {
    self.readOnly = readOnly
    self.writable = writable
  }

  /// The parts one behind the other, as near as they may be.
  public init(_ sizes: LinkedSizes, pageSize: Int) {
    readOnly = (sizes.text + sizes.ehFrame + sizes.readOnlyAlignment - 1) & ~(sizes.readOnlyAlignment - 1)
    writable = (readOnly + sizes.readOnly + pageSize - 1) & ~(pageSize - 1)
  }
}

/// Memory for the parts of an image, given by whoever wants them in a place of his own. Each part has at least the
/// size that ``LinkedSizes`` says, and is zero (memory fresh from the kernel is).
@safe
public struct LinkDestination {
  let text: UnsafeMutableRawBufferPointer
  let ehFrame: UnsafeMutableRawBufferPointer
  let readOnly: UnsafeMutableRawBufferPointer
  let writable: UnsafeMutableRawBufferPointer

  /// The memory for each part, which stays writable until the link is finished, and readable as long as its
  /// ``LinkedImage`` is used.
  @unsafe
  public init(
    text: UnsafeMutableRawBufferPointer, ehFrame: UnsafeMutableRawBufferPointer,
    readOnly: UnsafeMutableRawBufferPointer, writable: UnsafeMutableRawBufferPointer
  ) {
    unsafe self.text = text
    unsafe self.ehFrame = ehFrame
    unsafe self.readOnly = readOnly
    unsafe self.writable = writable
  }
}

/// A part of an image that symbols are in.
public enum LinkedPart: UInt8, Sendable, BitwiseCopyable {
  /// Code.
  case text
  /// Constants.
  case readOnly
  /// Data, initialised or zero.
  case writable
  /// None: the value is an address by itself.
  case absolute
}

/// A symbol of an image.
public struct LinkedSymbol: Sendable, Equatable {
  /// The part that it is in.
  public var part: LinkedPart
  /// Its distance from the start of the text, whatever part it is in; of an absolute symbol, its value.
  public var offset: Int
  /// Its size in bytes, as its object has it.
  public var size: Int
  /// Whether it is code (`STT_FUNC`).
  public var isFunction: Bool
  /// Whether other objects see it (`STB_GLOBAL` or `STB_WEAK`).
  public var isGlobal: Bool

  /// What stands for nothing at all.
  static let none = LinkedSymbol(part: .absolute, offset: 0, size: 0, isFunction: false, isGlobal: false)
}

/// A stretch of a wasm module's code that was moved as one: nominal offsets are those that the object's own tables
/// use.
public struct MovedCode: Sendable, Equatable, BitwiseCopyable {
  /// Where the object's tables take it to be, in bytes from the start of the text.
  public var nominalOffset: UInt64
  /// Its size in bytes.
  public var size: UInt64
  /// Where it is, in bytes from the start of the text.
  public var textOffset: UInt64

  /// Code at a place.
  public init(nominalOffset: UInt64, size: UInt64, textOffset: UInt64) {
    self.nominalOffset = nominalOffset
    self.size = size
    self.textOffset = textOffset
  }
}

/// The wasm module among the objects: what its own tables need so that they can be moved with its code.
public struct LinkedModule: Sendable {
  /// Which of the inputs it is.
  public let input: Int
  /// Its code, by ascending nominal offset; neighbours that stayed neighbours are one.
  public let code: [MovedCode]
  let sections: [(name: String, bytes: ByteRegion)]

  /// The bytes, in the object, of the section of that name (`.wasmtime.…`, `.rodata.wasm`, `.name.wasm`); nil if
  /// there is none.
  public func section(_ name: String) -> ByteRegion? { sections.first { $0.name == name }?.bytes }
}

/// The result of a link: the bytes of all parts, their symbols, and what a wasm module's own tables need to know.
///
/// It refers to the objects that it was made from, which have to outlive it. Its parts' regions are valid as long as
/// it is.
public final class LinkedImage: Sendable {
  /// The machine that the code is for.
  public var architecture: Architecture { state.architecture }
  /// The address at which the text has to stand; nil if it may stand anywhere (on a page).
  public var baseAddress: UInt64? { state.options.baseAddress }
  /// Whether any byte depends on the address. If not, the image may stand anywhere although it was linked at an
  /// address.
  public let holdsAbsoluteAddresses: Bool
  /// The sizes of the parts.
  public var sizes: LinkedSizes { state.sizes }
  /// The places of the parts.
  public let placement: LinkPlacement
  /// Islands of veneers, as ranges of text offsets, ascending.
  public var islands: [Range<Int>] { state.text.islands }
  /// The wasm module, if there is one among the objects.
  public let module: LinkedModule?
  private let state: LinkState
  private let names: SymbolList
  private let memory: ImageMemory

  init(
    _ state: LinkState, _ names: SymbolList, _ module: LinkedModule?, _ placement: LinkPlacement, _ memory: ImageMemory,
    holdsAbsoluteAddresses: Bool
  ) {
    self.state = state
    self.names = names
    self.module = module
    self.placement = placement
    self.memory = memory
    self.holdsAbsoluteAddresses = holdsAbsoluteAddresses
  }

  /// The code, whole pages.
  public var text: ByteRegion { unsafe memory.region(memory.text, .text) }

  /// The unwind tables, for right behind the text.
  public var ehFrame: ByteRegion { unsafe memory.region(memory.ehFrame, .ehFrame) }

  /// Constants and global offset table.
  public var readOnly: ByteRegion { unsafe memory.region(memory.readOnly, .dataImage) }

  /// Initialised data, without the zeros behind it.
  public var writable: ByteRegion { unsafe memory.region(memory.writable, .dataImage) }

  /// The symbol that `name` means to all objects; nil if no object defines it.
  public func symbol(named name: String) -> LinkedSymbol? {
    names.find(name, state).flatMap { names.symbol($0, state, placement) }
  }

  /// Number of symbols: functions and data, local ones as well, in order of the objects and in each of its symbol
  /// table.
  public var symbolCount: Int { names.count }

  /// A symbol by number.
  public func symbol(_ index: Int) -> LinkedSymbol {
    names.symbol(names[index], state, placement) ?? .none
  }

  /// The name of a symbol by number: its bytes in its object.
  public func symbolName(_ index: Int) -> ByteRegion { names.name(index, state) }
}
