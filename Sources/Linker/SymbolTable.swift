// Names of all objects, and what they mean.
//
// Local symbols mean something in their object only and are never looked up by name; a wasm module's object has no
// others. Global names meet in one hash table. It hashes with a key of the process, so that no object can be built
// to make all names collide, and nothing is ever enumerated in its order: globals are numbered as they are met.
// (gABI, "Symbol Table": binding, and what wins over what.)
//
//      strong definition  >  common symbol, the largest  >  first weak definition  >  the caller's table  >  0 if all
//                                                                                     references are weak
//
// What a symbol means is in the end 24 bytes in one array for all symbols of all objects, so that a relocation finds
// it by its number alone.

import PrecastArtifact
import PrecastMachineCode

/// What a symbol stands for.
struct SymbolState: BitwiseCopyable {
  enum Kind: UInt8, BitwiseCopyable {
    /// A place in a section: see `section` and `value`. Becomes one of the next three once sections have places;
    /// what stays is a section symbol of code that may be moved in several pieces, of which the addend says which
    /// one is meant.
    case section
    /// A place in the text: `value` bytes from its start.
    case text
    /// A place in the read-only part.
    case readOnly
    /// A place in the writable part.
    case writable
    /// A place in the global offset table.
    case offsetTable
    /// An address by itself, the caller's or `SHN_ABS`.
    case absolute
    /// Zeros that have no place yet.
    case common
    /// Nothing, and may be: address 0.
    case undefinedWeak
    /// Nothing, which is an error as soon as something refers to it.
    case undefined
    /// A place in a section that is not part of the image.
    case nowhere
    /// A place in a section that was discarded with its group.
    case discarded
    /// A place in a table of the wasm module.
    case module
  }

  var value: Int
  /// Number of the section, while `kind` is `.section`, and later still; of code, the number of the piece.
  var section: UInt32 = 0
  /// The symbol that all symbols of this meaning have in common.
  var canonical: UInt32
  /// Of a canonical symbol: index + 1 of its entry in the global offset table.
  var slot: UInt32 = 0
  var kind: Kind
  /// Whether other objects see it.
  var isGlobal = false
}

/// A global name.
struct GlobalSymbol: BitwiseCopyable {
  enum Strength: UInt8, BitwiseCopyable, Comparable {
    case undefined, weak, common, strong

    static func < (a: Strength, b: Strength) -> Bool { a.rawValue < b.rawValue }
  }

  /// Where its name stands.
  var object: UInt32
  var nameStart: Int
  var nameCount: Int
  var hash: Int
  var strength: Strength = .undefined
  var isReferenced = false  // by a reference that is not weak
  var isHidden = false
  /// The symbol that defines it; the first that refers to it if none does.
  var symbol: UInt32
  var commonSize = 0
  var commonAlignment = 1
}

/// Global names by their bytes.
struct GlobalNames: ~Copyable {
  private(set) var globals = FlatBuffer<GlobalSymbol>(capacity: 64)
  // Index + 1 of a global; 0 for an empty bucket. A power of two, at most half full.
  private var buckets = FlatBuffer<UInt32>(capacity: 128)

  init() { buckets.fill(with: 0, to: 128) }

  var count: Int { globals.count }

  subscript(index: Int) -> GlobalSymbol {
    get { globals[index] }
    set { globals[index] = newValue }
  }

  private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
    var hasher = Hasher()
    unsafe hasher.combine(bytes: bytes)
    return hasher.finalize()
  }

  /// The number of the global of that name; nil if there is none.
  func find(_ name: UnsafeRawBufferPointer, in objects: [ObjectFile]) -> Int? {
    let hash = unsafe Self.hash(name)
    var bucket = hash & (buckets.count - 1)
    while buckets[bucket] != 0 {
      let index = Int(buckets[bucket]) - 1
      if globals[index].hash == hash, unsafe isName(index, name, objects) { return index }
      bucket = (bucket + 1) & (buckets.count - 1)
    }
    return nil
  }

  /// The number of the global of the name that stands at `range` in an object; a new one if it is not known yet.
  mutating func insert(_ range: Range<Int>, ofObject object: Int, symbol: Int, in objects: [ObjectFile]) -> Int {
    let name = unsafe objects[object].address(range)
    if let index = unsafe find(name, in: objects) { return index }
    if (globals.count + 1) * 2 > buckets.count {
      let size = buckets.count * 2
      buckets.removeAll()
      buckets.fill(with: 0, to: size)
      for index in 0..<globals.count { put(index) }
    }
    globals.append(
      GlobalSymbol(
        object: UInt32(object), nameStart: range.lowerBound, nameCount: range.count, hash: unsafe Self.hash(name),
        symbol: UInt32(symbol)))
    put(globals.count - 1)
    return globals.count - 1
  }

  private mutating func put(_ index: Int) {
    var bucket = globals[index].hash & (buckets.count - 1)
    while buckets[bucket] != 0 { bucket = (bucket + 1) & (buckets.count - 1) }
    buckets[bucket] = UInt32(index + 1)
  }

  private func isName(_ index: Int, _ name: UnsafeRawBufferPointer, _ objects: [ObjectFile]) -> Bool {
    let global = globals[index]
    guard global.nameCount == name.count else { return false }
    let other = unsafe objects[Int(global.object)].address(global.nameStart..<global.nameStart + global.nameCount)
    return unsafe other.elementsEqual(name)
  }
}
