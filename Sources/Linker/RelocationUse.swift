// What a relocation is, apart from its arithmetic.
//
// Each machine says two things about each of its relocation types: what has to be known or made before anything has a
// place (`use`: does it branch, does it want an entry in the global offset table), and how to store its value once
// everything has one (`apply`). These are the words in which they say it.

import PrecastMachineCode

/// What a relocation asks for before anything has a place.
enum RelocationUse: BitwiseCopyable {
  /// Nothing at all.
  case none
  /// A value that follows from places.
  case value
  /// A branch, which may be led through a veneer.
  case branch(RelocationKind)
  /// The address of the symbol in the global offset table.
  case slot
  /// The same, unless the symbol is near: the instruction can then be rewritten to do without.
  case relaxableSlot
  /// A place relative to the global offset table.
  case offsetTable
  /// Something else than is linked here.
  case unsupported
}

/// What came of storing a value.
enum RelocationOutcome: BitwiseCopyable {
  case done
  /// The value has to be at least `low` and less than `high`.
  case outOfRange(Int, low: Int, high: Int)
  /// The value, or the place it refers to, has to be a multiple.
  case misaligned(Int, Int)
  /// An absolute address is wanted, and none is known.
  case absolute
  /// The symbol needs an entry in the global offset table, and that would be an absolute address.
  case absoluteSlot
  /// The field does not lie in the section.
  case outside
  /// The addend is of no use here.
  case addend
  case unsupported
}

/// What a relocation refers to.
struct RelocationTarget: BitwiseCopyable {
  /// Bytes from the start of the text; of an absolute one, the address.
  var value: Int
  /// Whether `value` is an address by itself.
  var isAbsolute = false
  /// Whether it is address 0 because nothing defines it.
  var isUndefinedWeak = false
  /// Whether it is certainly in reach of everything in the image.
  var isNear = false
  /// Where its entry in the global offset table is, in bytes from the start of the table; nil if it has none.
  var slot: Int?
  /// Its size in bytes.
  var size = 0
}

/// A field to store a value in, and where it is.
@safe
struct RelocationField {
  // Anything within `before` bytes back and `after` bytes on may be read and written.
  private let address: UnsafeMutableRawPointer
  let before: Int
  let after: Int
  /// Bytes from the start of the text: P.
  let place: Int

  @unsafe
  init(_ address: UnsafeMutableRawPointer, before: Int, after: Int, place: Int) {
    unsafe self.address = address
    self.before = before
    self.after = after
    self.place = place
  }

  /// Whether bytes from `start` up to `end` around the field are there.
  @inline(__always)
  func has(_ start: Int, _ end: Int) -> Bool { -start <= before && end <= after }

  @inline(__always)
  func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int = 0) -> T {
    precondition(has(offset, offset + MemoryLayout<T>.size))
    return unsafe address.loadUnaligned(fromByteOffset: offset, as: T.self)
  }

  @inline(__always)
  func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int = 0) {
    precondition(has(offset, offset + MemoryLayout<T>.size))
    unsafe address.storeBytes(of: value, toByteOffset: offset, as: T.self)
  }

  /// Stores the low bytes of a value that has to be in `low..<high`.
  @inline(__always)
  func store<T: FixedWidthInteger & BitwiseCopyable>(
    _ value: Int, as type: T.Type, _ low: Int, _ high: Int
  ) -> RelocationOutcome {
    guard value >= low && value < high else { return .outOfRange(value, low: low, high: high) }
    store(T(truncatingIfNeeded: value))
    return .done
  }
}

/// What all relocations of an image have in common.
struct RelocationContext: BitwiseCopyable {
  /// The address of the text; nil if it is not known.
  var base: Int?
  /// The global offset table, in bytes from the start of the text.
  var offsetTable: Int
  /// Whether anything was stored that depends on the address.
  var holdsAbsoluteAddresses = false

  /// The absolute address of a target.
  @inline(__always)
  mutating func address(_ target: RelocationTarget) -> Int? {
    if target.isAbsolute { return target.value }
    guard let base else { return nil }
    holdsAbsoluteAddresses = true
    return base &+ target.value
  }

  /// The distance of a target from the start of the text.
  @inline(__always)
  mutating func distance(_ target: RelocationTarget) -> Int? {
    if !target.isAbsolute { return target.value }
    guard let base else { return nil }
    holdsAbsoluteAddresses = true
    return target.value &- base
  }
}

// What both machines have: S + A, and S + A - P, in a field of some size.
extension RelocationContext {
  /// Stores an address of 64 bits.
  @inline(__always)
  mutating func store(
    addressOf target: RelocationTarget, _ addend: Int, in field: RelocationField
  ) -> RelocationOutcome {
    guard let address = address(target) else { return .absolute }
    field.store(address &+ addend)
    return .done
  }

  /// Stores an address that has to be in `low..<high`.
  @inline(__always)
  mutating func store<T: FixedWidthInteger & BitwiseCopyable>(
    addressOf target: RelocationTarget, _ addend: Int, in field: RelocationField, as type: T.Type, _ low: Int,
    _ high: Int
  ) -> RelocationOutcome {
    guard let address = address(target) else { return .absolute }
    return field.store(address &+ addend, as: type, low, high)
  }

  /// Stores a distance from the field, of 64 bits.
  @inline(__always)
  mutating func store(
    distanceOf target: RelocationTarget, _ addend: Int, in field: RelocationField
  ) -> RelocationOutcome {
    guard let value = distance(target) else { return .absolute }
    field.store(value &+ addend &- field.place)
    return .done
  }

  /// Stores a distance from the field that has to be in `low..<high`.
  @inline(__always)
  mutating func store<T: FixedWidthInteger & BitwiseCopyable>(
    distanceOf target: RelocationTarget, _ addend: Int, in field: RelocationField, as type: T.Type, _ low: Int,
    _ high: Int
  ) -> RelocationOutcome {
    guard let value = distance(target) else { return .absolute }
    return field.store(value &+ addend &- field.place, as: type, low, high)
  }
}
