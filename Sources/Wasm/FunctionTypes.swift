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

  func types(_ start: UInt32, _ count: UInt32) -> [ValueType] {
    (0..<Int(count)).map { pool[Int(start) + $0] }
  }
}
