// What the tests here share.

import Testing

func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
}

/// `#expect` for conditions on noncopyable values, which the macro cannot take apart.
func expect(_ condition: Bool, _ comment: Comment? = nil, _ location: SourceLocation = #_sourceLocation) {
  #expect(condition, comment, sourceLocation: location)
}
