// The type section, in two flat arrays.
//
// A million function types of three bytes each fit in a small file; as a million structs of two arrays each they would
// cost sixty times that. So the value types of all function types stand in one pool, and a function type is two ranges
// of it. Block types are ranges of the same pool: its first entries are the value types themselves, one each, so that
// `(result i32)` is a range as well, and `BlockSignature` has one form for all three encodings of block types.

/// Parameters and results as ranges of a module's type pool. Plain data, 16 bytes.
public struct BlockSignature: Hashable, Sendable, BitwiseCopyable {
  /// Index of the first parameter's type in the pool.
  public var parameterStart: UInt32
  /// Number of parameters.
  public var parameterCount: UInt32
  /// Index of the first result's type in the pool.
  public var resultStart: UInt32
  /// Number of results.
  public var resultCount: UInt32

  /// Makes a signature of two ranges.
  @inlinable public init(
    parameterStart: UInt32 = 0, parameterCount: UInt32 = 0, resultStart: UInt32 = 0, resultCount: UInt32 = 0
  ) {
    self.parameterStart = parameterStart
    self.parameterCount = parameterCount
    self.resultStart = resultStart
    self.resultCount = resultCount
  }
}

/// The function types of a module, as a collection of ``FunctionType`` that makes each when asked for it.
///
/// Inner loops use ``signature(_:)`` and ``pool``, which allocate nothing.
public struct FunctionTypes: RandomAccessCollection, Sendable {
  /// The value types of all function types and block types, one after another.
  public let pool: FixedBuffer<ValueType>
  @usableFromInline let signatures: FixedBuffer<BlockSignature>

  /// Entries at the start of the pool that stand for block types with one result, in the order of the cases.
  static let singles = ValueType.allCases

  init(pool: [ValueType], signatures: [BlockSignature]) {
    self.pool = FixedBuffer(pool)
    self.signatures = FixedBuffer(signatures)
  }

  /// 0.
  public var startIndex: Int { 0 }
  /// The number of types.
  public var endIndex: Int { signatures.count }

  /// The function type with this index; makes two arrays.
  public subscript(index: Int) -> FunctionType {
    let signature = signatures[index]
    return FunctionType(
      parameters: types(signature.parameterStart, signature.parameterCount),
      results: types(signature.resultStart, signature.resultCount))
  }

  /// The function type with this index, as ranges of ``pool``.
  @inlinable public func signature(_ index: UInt32) -> BlockSignature { signatures[Int(index)] }

  /// For each type, the first that is equal to it.
  ///
  /// A hash table over the flat pool: a dictionary of ``FunctionType`` would make two arrays a type, and hash them one
  /// element after the other.
  public var firstEqual: [UInt32] {
    var capacity = 64
    while capacity < signatures.count * 2 { capacity *= 2 }
    // Type index plus 1; 0 where there is none.
    var table = [UInt32](repeating: 0, count: capacity)
    var result: [UInt32] = []
    result.reserveCapacity(signatures.count)
    for index in 0..<signatures.count {
      let signature = signatures[index]
      var hasher = Hasher()
      hasher.combine(signature.parameterCount)
      // The run of a type's parameters and that of its results; in bounds as all signatures are.
      unsafe hasher.combine(bytes: bytes(signature.parameterStart, signature.parameterCount))
      unsafe hasher.combine(bytes: bytes(signature.resultStart, signature.resultCount))
      var slot = hasher.finalize() & (capacity - 1)
      while table[slot] != 0, !isEqual(signatures[Int(table[slot] - 1)], signature) {
        slot = (slot + 1) & (capacity - 1)
      }
      if table[slot] == 0 { table[slot] = UInt32(index) + 1 }
      result.append(table[slot] - 1)
    }
    return result
  }

  private func isEqual(_ first: BlockSignature, _ second: BlockSignature) -> Bool {
    unsafe first.parameterCount == second.parameterCount && first.resultCount == second.resultCount
      && bytes(first.parameterStart, first.parameterCount).elementsEqual(
        bytes(second.parameterStart, second.parameterCount))
      && bytes(first.resultStart, first.resultCount).elementsEqual(bytes(second.resultStart, second.resultCount))
  }

  /// A run of the pool, whose elements are single bytes.
  private func bytes(_ start: UInt32, _ count: UInt32) -> UnsafeRawBufferPointer {
    precondition(Int(start) + Int(count) <= pool.count)
    return unsafe UnsafeRawBufferPointer(start: pool.base + Int(start), count: Int(count))
  }

  func types(_ start: UInt32, _ count: UInt32) -> [ValueType] {
    (0..<Int(count)).map { pool[Int(start) + $0] }
  }
}
