// The `name` custom section: what tools, backtraces and symbol tables call things.
//
// The specification has implementations ignore a damaged name section rather than refuse the module, so everything
// here is best effort. A big module has tens of thousands of names and most runs never ask for one; so names stay
// where they are, in the binary, and only their ranges are noted.

/// The names that a module's `name` section gives. Tolerant of everything: what is damaged is left out.
///
/// Spec: Core A.7.4, "Name Section".
public struct NameSection: Sendable {
  /// The module's name: wasm offsets of its bytes.
  public private(set) var moduleName: Range<Int>?
  /// Names of functions by function index, imports included: wasm offsets of their bytes. An empty range where there is
  /// none. Either as long as the module's function index space, or empty.
  public private(set) var functionNames: [Range<UInt32>] = []

  private let binary: WasmBinary

  /// Reads the names of a module. A damaged name section gives the names that come before the damage.
  public init(module: WasmModule, binary: WasmBinary) {
    self.binary = binary
    guard let section = module.customSections.last(where: { $0.name == "name" }) else { return }
    var reader = BinaryReader(binary, section.range)
    try? read(&reader, functionCount: module.functions.count)
  }

  private mutating func read(_ reader: inout BinaryReader, functionCount: Int) throws(WasmError) {
    while !reader.isAtEnd {
      let id = try reader.byte()
      let size = try reader.u32()
      guard var contents = reader.split(size) else { return }
      switch id {
      case 0:
        let range = try nameRange(&contents)
        moduleName = Int(range.lowerBound)..<Int(range.upperBound)
      case 1:
        if functionNames.isEmpty { functionNames = Array(repeating: 0..<0, count: functionCount) }
        let count = try contents.count(of: "names", entrySize: 2, limit: .max)
        for _ in 0..<count {
          let index = try contents.u32()
          let range = try nameRange(&contents)
          if Int(index) < functionCount { functionNames[Int(index)] = range }
        }
      default: break
      }
    }
  }

  private func nameRange(_ reader: inout BinaryReader) throws(WasmError) -> Range<UInt32> {
    let size = try reader.u32()
    let start = reader.offset
    try reader.skip(Int(size))
    return UInt32(start)..<UInt32(start) + size
  }

  /// The name of a function, if it has one that is not empty; ill-formed UTF-8 in it is replaced.
  public func functionName(_ index: Int) -> String? {
    guard functionNames.indices.contains(index), !functionNames[index].isEmpty else { return nil }
    let range = functionNames[index]
    return String(decoding: binary.bytes(Int(range.lowerBound)..<Int(range.upperBound)), as: UTF8.self)
  }
}
