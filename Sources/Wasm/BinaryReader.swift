// Reading the primitive values of the binary format: bytes, LEB128 integers, names.
//
// Section decoder and function bodies read through the same struct. Nearly all integers in a module fit in one byte, so
// that case is inlined into its user, and everything else is one function that decodes any width and finds all that can
// be wrong. That function takes and returns plain values rather than `self`, which keeps a reader in machine registers
// throughout the validator's loop.

/// A position in a range of a binary. Whoever makes one keeps the ``WasmBinary`` alive as long as it is in use.
@safe
struct BinaryReader {
  /// Wasm offset 0.
  let base: UnsafeRawPointer
  /// The next byte.
  private(set) var position: UnsafeRawPointer
  /// Past the last byte of the range; `position` never passes it.
  private(set) var end: UnsafeRawPointer

  /// A reader of a range of wasm offsets, which must lie inside the binary.
  init(_ binary: WasmBinary, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= binary.count)
    unsafe base = binary.start
    unsafe position = binary.start + range.lowerBound
    unsafe end = binary.start + range.upperBound
  }

  /// Wasm offset of the next byte.
  @inline(__always) var offset: Int { unsafe position - base }
  /// Wasm offset of the end of the range.
  var endOffset: Int { unsafe end - base }
  @inline(__always) var remaining: Int { unsafe end - position }
  @inline(__always) var isAtEnd: Bool { unsafe position == end }

  /// A reader of the next `count` bytes, over which this one steps; `nil` if there are fewer.
  mutating func split(_ count: UInt32) -> BinaryReader? {
    guard Int(count) <= remaining else { return nil }
    var part = self
    unsafe part.end = position + Int(count)
    unsafe position += Int(count)
    return part
  }

  /// Steps over `count` bytes.
  mutating func skip(_ count: Int) throws(WasmError) {
    guard count <= remaining else { throw unexpectedEnd() }
    unsafe position += count
  }

  // MARK: Bytes

  /// The next byte, which stays the next one; `nil` at the end.
  var peek: UInt8? { isAtEnd ? nil : unsafe position.load(as: UInt8.self) }

  @inline(__always)
  mutating func byte() throws(WasmError) -> UInt8 {
    if isAtEnd { throw unexpectedEnd() }
    let value = unsafe position.load(as: UInt8.self)
    unsafe position += 1
    return value
  }

  /// Four bytes, little-endian: the bits of an `f32`.
  @inline(__always)
  mutating func fixed32() throws(WasmError) -> UInt32 {
    if remaining < 4 { throw unexpectedEnd() }
    let value = unsafe UInt32(littleEndian: position.loadUnaligned(as: UInt32.self))
    unsafe position += 4
    return value
  }

  /// Eight bytes, little-endian: the bits of an `f64`.
  @inline(__always)
  mutating func fixed64() throws(WasmError) -> UInt64 {
    if remaining < 8 { throw unexpectedEnd() }
    let value = unsafe UInt64(littleEndian: position.loadUnaligned(as: UInt64.self))
    unsafe position += 8
    return value
  }

  // MARK: LEB128 (Core 5.2.2)

  @inline(__always)
  mutating func u32() throws(WasmError) -> UInt32 {
    UInt32(truncatingIfNeeded: try leb(bits: 32, signed: false))
  }

  @inline(__always)
  mutating func u64() throws(WasmError) -> UInt64 { try leb(bits: 64, signed: false) }

  @inline(__always)
  mutating func s32() throws(WasmError) -> Int32 {
    Int32(truncatingIfNeeded: try leb(bits: 32, signed: true))
  }

  /// A 33-bit signed integer, as block types have.
  @inline(__always)
  mutating func s33() throws(WasmError) -> Int64 {
    Int64(truncatingIfNeeded: try leb(bits: 33, signed: true))
  }

  @inline(__always)
  mutating func s64() throws(WasmError) -> Int64 {
    Int64(truncatingIfNeeded: try leb(bits: 64, signed: true))
  }

  /// An integer of `bits` bits, sign-extended to 64 if `signed`.
  @inline(__always)
  private mutating func leb(bits: Int, signed: Bool) throws(WasmError) -> UInt64 {
    if !isAtEnd {
      let first = unsafe position.load(as: UInt8.self)
      if first < 0x80 {
        unsafe position += 1
        return signed ? UInt64(bitPattern: Int64(Int8(bitPattern: first << 1) >> 1)) : UInt64(first)
      }
    }
    let (value, size) = try unsafe Self.longLEB(position, end, offset, bits, signed)
    unsafe position += size
    return value
  }

  @inline(never)
  private static func longLEB(
    _ start: UnsafeRawPointer, _ end: UnsafeRawPointer, _ offset: Int, _ bits: Int, _ signed: Bool
  ) throws(WasmError) -> (value: UInt64, size: Int) {
    var value: UInt64 = 0
    var shift = 0
    var size = 0
    while true {
      guard unsafe start + size < end else {
        throw WasmError(.malformed, at: offset + size, unexpectedEndMessage)
      }
      let byte = unsafe start.load(fromByteOffset: size, as: UInt8.self)
      size += 1
      if shift + 7 > bits {
        // The last byte there may be: no continuation, and its unused bits repeat the sign (or are zero).
        if byte & 0x80 != 0 { throw WasmError(.malformed, at: offset, "integer representation too long") }
        let used = bits - shift
        let unused = signed ? (0x7F << (used - 1)) & 0x7F : (0x7F << used) & 0x7F
        let bitsThere = Int(byte) & unused
        if bitsThere != 0 && !(signed && bitsThere == unused) {
          throw WasmError(.malformed, at: offset, "integer too large for \(bits) bits")
        }
      }
      value |= UInt64(byte & 0x7F) << UInt64(shift)
      shift += 7
      if byte & 0x80 == 0 {
        if signed && shift < 64 && byte & 0x40 != 0 { value |= ~0 << UInt64(shift) }
        return (value, size)
      }
    }
  }

  // MARK: Names (Core 5.2.4)

  /// A name: its size, and that many bytes of UTF-8.
  mutating func name() throws(WasmError) -> String {
    let start = offset
    let size = try u32()
    guard Int(size) <= remaining else {
      throw WasmError(.malformed, at: start, "length out of bounds: a name of \(size) bytes, \(remaining) left")
    }
    guard size <= Implementation.maximumNameSize else {
      throw WasmError(.limit, at: start, "a name of \(size) bytes, at most \(Implementation.maximumNameSize)")
    }
    // The bytes outlive the call, being the binary's.
    let bytes = unsafe UnsafeRawBufferPointer(start: position, count: Int(size))
    guard let name = unsafe String(validating: bytes, as: UTF8.self) else {
      throw WasmError(.malformed, at: offset, "malformed UTF-8 encoding")
    }
    unsafe position += Int(size)
    return name
  }

  // MARK: Counts

  /// The count of a vector whose entries take at least `size` bytes each, so that no count asks for more memory than
  /// the bytes that are there justify.
  mutating func count(of what: String, entrySize size: Int = 1, limit: Int) throws(WasmError) -> Int {
    let start = offset
    let count = Int(try u32())
    guard count <= remaining / size else {
      throw WasmError(
        .malformed, at: start, "\(Self.unexpectedEndMessage): \(count) \(what) in \(remaining) bytes")
    }
    guard count <= limit else { throw WasmError(.limit, at: start, "\(count) \(what), at most \(limit)") }
    return count
  }

  static let unexpectedEndMessage = "unexpected end of section or function"

  @inline(never)
  func unexpectedEnd() -> WasmError { WasmError(.malformed, at: endOffset, Self.unexpectedEndMessage) }
}

// MARK: - Types (Core 5.3)

extension BinaryReader {
  /// A value type.
  mutating func valueType() throws(WasmError) -> ValueType {
    let start = offset
    let byte = try byte()
    if let type = ValueType(rawValue: byte), type != .v128 { return type }
    throw Self.notAType(byte, at: start, "value type")
  }

  /// A reference type.
  mutating func referenceType() throws(WasmError) -> ValueType {
    let start = offset
    let byte = try byte()
    if let type = ValueType(rawValue: byte), type.isReference { return type }
    if (0x7B...0x7F).contains(byte) {
      throw WasmError(.malformed, at: start, "malformed reference type 0x\(String(byte, radix: 16))")
    }
    throw Self.notAType(byte, at: start, "reference type")
  }

  /// What to say of a byte that no supported type begins with.
  @inline(never)
  static func notAType(_ byte: UInt8, at offset: Int, _ what: String) -> WasmError {
    let hex = "0x" + String(byte, radix: 16)
    return switch byte {
    case 0x7B: WasmError(.unsupported(.simd), at: offset, "type v128")
    case 0x63, 0x64: WasmError(.unsupported(.functionReferences), at: offset, "typed reference \(hex)")
    case 0x6A...0x6E, 0x71...0x73: WasmError(.unsupported(.gc), at: offset, "reference type \(hex)")
    case 0x69, 0x74: WasmError(.unsupported(.exceptionHandling), at: offset, "reference type \(hex)")
    case 0x68, 0x75: WasmError(.unsupported(.stackSwitching), at: offset, "reference type \(hex)")
    default: WasmError(.malformed, at: offset, "malformed \(what) \(hex)")
    }
  }

  /// A memory's or table's limits, with 32-bit indices, as written; whether they are in range is for validation.
  mutating func limits(of what: String) throws(WasmError) -> Limits {
    let start = offset
    let flags = try byte()
    switch flags {
    case 0: return Limits(minimum: try u64())
    case 1: return Limits(minimum: try u64(), maximum: try u64())
    case 2, 3: throw WasmError(.unsupported(.threads), at: start, "shared \(what)")
    case 4...7: throw WasmError(.unsupported(.memory64), at: start, "\(what) with 64-bit indices")
    case 8...15 where what == "memory":
      throw WasmError(.unsupported(.customPageSizes), at: start, "\(what) with a page size")
    default:
      throw WasmError(.malformed, at: start, "malformed limits flags 0x\(String(flags, radix: 16))")
    }
  }

  /// A table's type, without a check of its limits.
  mutating func tableType() throws(WasmError) -> TableType {
    if peek == 0x40 { throw WasmError(.unsupported(.functionReferences), at: offset, "table with an initializer") }
    let element = try referenceType()
    return TableType(element: element, limits: try limits(of: "table"))
  }

  /// A global's type.
  mutating func globalType() throws(WasmError) -> GlobalType {
    let value = try valueType()
    let start = offset
    let flag = try byte()
    switch flag {
    case 0, 1: return GlobalType(value: value, isMutable: flag == 1)
    case 2, 3: throw WasmError(.unsupported(.threads), at: start, "shared global")
    default: throw WasmError(.malformed, at: start, "malformed mutability 0x\(String(flag, radix: 16))")
    }
  }
}
