// `.name.wasm`: the names of functions, by index, both directions.
//
// The wasm name section is a list in index order, which would have to be scanned for each frame of a
// backtrace; symbols hold names as well, but cannot hold those with a zero byte, and may be
// stripped. So: one offset a function, and the bytes.
//
//      0  number of functions n (UInt32), imported ones included
//      4  length of the module's name (UInt32)
//      8  n + 1 offsets (UInt32 each) from the start of the bytes; equal neighbours: no name
//      .  bytes: names of functions in order, then the module's name

public import PrecastMachineCode

/// `.name.wasm`, read in place.
public struct NameTable: Sendable {
  let region: ByteRegion
  /// Number of functions, imported ones included.
  public let functionCount: Int
  private let moduleNameLength: Int
  private let bytesOffset: Int

  /// Opens the section; checks its header only.
  public init(_ region: ByteRegion) throws(ArtifactError) {
    self.region = region
    functionCount = Int(try region.u32(0))
    moduleNameLength = Int(try region.u32(4))
    bytesOffset = 8 + (functionCount + 1) * 4
    guard bytesOffset <= region.count else { throw region.damaged(0, "\(functionCount) names do not fit") }
  }

  /// The name of function `index`, or nil if it has none.
  public func function(_ index: Int) throws(ArtifactError) -> String? {
    guard index >= 0 && index < functionCount else { return nil }
    let start = Int(try region.u32(8 + index * 4))
    let end = Int(try region.u32(12 + index * 4))
    guard start <= end else { throw region.damaged(8 + index * 4, "name \(index) ends before it starts") }
    return start == end ? nil : try region.string(bytesOffset + start, end - start)
  }

  /// Checks that names follow one another and lie in the section.
  func checkOrder() throws(ArtifactError) {
    var last = 0
    for index in 0...functionCount {
      let offset = Int(try region.u32(8 + index * 4))
      guard offset >= last, bytesOffset + offset <= region.count else {
        throw region.damaged(8 + index * 4, "name \(index) is out of order")
      }
      last = offset
    }
  }

  /// The name of the module, or nil if it has none.
  public func moduleName() throws(ArtifactError) -> String? {
    let start = Int(try region.u32(8 + functionCount * 4))
    return moduleNameLength == 0 ? nil : try region.string(bytesOffset + start, moduleNameLength)
  }

  /// Builds the section.
  ///
  /// - Parameters:
  ///   - functions: for each function its name's range in the binary; empty where it has none.
  ///   - module: the module's name, as a range in the binary.
  ///   - binary: the wasm binary. Ranges outside it count as empty.
  public static func encoded(functions: [Range<UInt32>], module: Range<Int>?, binary: RawSpan) -> CodeBuffer {
    let size = functions.reduce(0) { $0 + $1.count }
    let moduleRange = module ?? 0..<0
    let moduleLength = moduleRange.upperBound <= binary.byteCount ? moduleRange.count : 0
    var buffer = CodeBuffer(capacity: 16 + functions.count * 4 + size + moduleLength)
    buffer.put32(UInt32(truncatingIfNeeded: functions.count))
    buffer.put32(UInt32(truncatingIfNeeded: moduleLength))
    var offset: UInt32 = 0
    for range in functions {
      buffer.put32(offset)
      if Int(range.upperBound) <= binary.byteCount { offset &+= UInt32(range.count) }
    }
    buffer.put32(offset)
    for range in functions where !range.isEmpty && Int(range.upperBound) <= binary.byteCount {
      buffer.put(contentsOf: binary.extracting(Int(range.lowerBound)..<Int(range.upperBound)))
    }
    if moduleLength > 0 { buffer.put(contentsOf: binary.extracting(moduleRange)) }
    return buffer
  }
}
