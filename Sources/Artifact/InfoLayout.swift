// `.wasmtime.info`: the module as flat tables. The layout, shared by builder and reader.
//
// Whatever the runtime wants to know of a module is a row of a fixed width in one of these tables,
// reached by its index, read where it lies. Lists of varying length are a start and a count in
// another table. Rows are little-endian and naturally aligned from the start of the section;
// strings are an offset and a length in the last table. Absent 32-bit values are 2^32-1.
//
//      0  magic "INFO"
//      4  number of tables
//      8  start function, or 2^32-1
//     12  number of imported functions, tables, memories, globals   (UInt32 each)
//     28  0
//     32  offset and count of each table, in the order of `InfoTable`   (UInt32 each)

/// A table of `.wasmtime.info`, with the fields of its rows.
enum InfoTable: Int, CaseIterable, Sendable {
  /// Value types of signatures; bytes, as in the binary format.
  case valueTypes
  /// 0 first value type, 4 parameters, 8 results (which follow the parameters), 12 index of the first
  /// equal type, 16 entry trampoline's text offset, 20 its size, 24 exit trampoline's, 28 its size.
  case types
  /// 0 type index of each imported function, 4 text offset of its adapter where it is bound to a symbol (else 2^32-1), 8
  /// the adapter's size, 12 the symbol (offset and length).
  case importedFunctions
  /// 0 text offset, 4 size of the code, 8 type index, 12 wasm offset of the body; of the functions
  /// that the module defines, in index order, which is the order of the text.
  case functions
  /// 0 kind (byte), 4 index in its space, 8 module name, 16 name (offset and length each).
  case imports
  /// 0 name (offset and length), 8 index, 12 position in the module's own order, 16 kind (byte); by
  /// name, as bytes.
  case exports
  /// 0 element type (byte), 1 flags (byte: 1 has a maximum, 2 64-bit), 4 first image row, 8 image rows,
  /// 16 minimum (64 bits), 24 maximum (64 bits).
  case tables
  /// 0 table, 4 first element, 8 number of elements, 12 first function in `elementFunctions`; by
  /// table and element, not overlapping.
  case tableImages
  /// 0 flags (1 has a maximum, 2 64-bit, 4 shared), 4 first extent, 8 extents, 16 minimum in pages (64
  /// bits), 24 maximum (64 bits).
  case memories
  /// 0 offset in the memory, 8 offset in `.rodata.wasm`, 16 size (64 bits each, whole pages).
  case extents
  /// 0 type (byte), 1 mutable (byte), 4 first constant instruction, 8 constant instructions.
  case globals
  /// 0 opcode (byte, as in the binary format), 1 type (byte, of ref.null), 4 index, 8 immediate.
  case constants
  /// 0 mode, 1 type, 2 kind of items (0 functions, 1 expressions), 4 table, 8 first constant
  /// instruction of the offset, 12 constant instructions, 16 first item, 20 items.
  case elements
  /// 0 function index.
  case elementFunctions
  /// 0 first constant instruction, 4 constant instructions.
  case elementExpressions
  /// 0 mode (byte), 4 memory, 8 first constant instruction of the offset, 12 constant instructions,
  /// 16 offset in `.rodata.wasm`, 24 size (64 bits each).
  case dataSegments
  /// 0 index of each element segment that is applied at instantiation, ascending. Instantiation reads
  /// this list, not the segments, so that it costs the same whatever is in images.
  case activeElements
  /// 0 index of each data segment that is applied at instantiation, ascending.
  case activeData
  /// Bytes of names.
  case strings

  /// Size of a row in bytes.
  var rowSize: Int {
    switch self {
    case .valueTypes, .strings: 1
    case .elementFunctions, .activeElements, .activeData: 4
    case .elementExpressions: 8
    case .functions, .tableImages, .globals, .constants: 16
    case .importedFunctions, .exports: 20
    case .imports, .extents, .elements: 24
    case .types, .tables, .memories, .dataSegments: 32
    }
  }

  static let magic: UInt32 = 0x4F46_4E49
  static let directoryOffset = 32
  static let headerSize = directoryOffset + allCases.count * 8
  /// "There is none".
  static let absent = UInt32.max
}

/// How a data or element segment gets into its memory or table.
public enum SegmentMode: UInt8, Sendable {
  /// Only by `memory.init` or `table.init`.
  case passive = 0
  /// Copied at instantiation, in order.
  case active = 1
  /// Not at all; for `ref.func` only.
  case declarative = 2
  /// Already part of the memory's or table's image; an instance starts with it dropped.
  case inImage = 3
}
