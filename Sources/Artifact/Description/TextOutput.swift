// Where descriptions go.
//
// A description of a large artifact is longer than the artifact: each entry of an address map takes half a byte in the
// file and a line on the terminal. So nothing here ever holds a whole description. Text is gathered in a buffer of
// bytes and handed on when that is full. Whoever receives it may have had enough (a full disk, a closed pipe); from
// then on nothing is kept, and the loops that run over rows look at `isClosed`, so that they end.

/// Text that is written piece by piece.
public final class TextOutput {
  private var buffer: [UInt8] = []
  private let write: ((RawSpan) -> Bool)?
  /// Whether the receiver wants no more.
  public private(set) var isClosed = false

  // Bytes that have been handed on.
  private var handedOn: UInt64 = 0

  /// Bytes so far.
  var count: UInt64 { handedOn + UInt64(buffer.count) }

  /// Size of the pieces in bytes.
  static let pieceSize = 1 << 16

  /// Hands pieces of UTF-8 to `write`, which says whether it wants more. Pieces may end within a character.
  public init(_ write: @escaping (RawSpan) -> Bool) {
    self.write = write
    buffer.reserveCapacity(Self.pieceSize + 256)
  }

  /// Gathers everything, for `text`.
  public init() { write = nil }

  /// All text so far, of an output that gathers it.
  public var text: String { String(decoding: buffer, as: UTF8.self) }

  /// Appends text as it is.
  public func append(_ text: String) {
    buffer.append(contentsOf: text.utf8)
    handOnIfFull()
  }

  /// Appends a byte of UTF-8.
  func append(byte: UInt8) {
    buffer.append(byte)
    handOnIfFull()
  }

  /// Appends the same byte many times.
  func append(byte: UInt8, count: Int) {
    for _ in 0..<max(0, count) { buffer.append(byte) }
    handOnIfFull()
  }

  /// Hands on what is left.
  public func flush() {
    guard let write else { return }
    // The bytes are not kept past the call: a `RawSpan` cannot be.
    if !isClosed && !buffer.isEmpty { isClosed = unsafe !write(buffer.span.bytes) }
    handedOn += UInt64(buffer.count)
    buffer.removeAll(keepingCapacity: true)
  }

  private func handOnIfFull() {
    if write != nil && buffer.count >= Self.pieceSize { flush() }
  }
}

/// A number in hexadecimal after `0x`.
func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

extension String {
  /// The text with blanks behind it, up to a width.
  func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }

  /// The text with blanks before it, up to a width.
  func paddedLeft(_ width: Int) -> String { String(repeating: " ", count: max(0, width - utf8.count)) + self }
}
