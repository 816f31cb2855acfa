// Whether a finished artifact is finished.

/// Names and types of the sections of a 64-bit little-endian ELF file that ask for relocation, by their type (gABI,
/// "Sections": `SHT_RELA`, `SHT_DYNAMIC`, `SHT_REL`, `SHT_RELR`); and what else is wrong with its type or its section headers.
/// Empty for a finished artifact.
package func relocations(inArtifact bytes: some RandomAccessCollection<UInt8>) -> [String] {
  let bytes = Array(bytes)
  func number(_ offset: Int, _ size: Int) -> Int? {
    guard offset >= 0, offset <= bytes.count - size else { return nil }
    return (0..<size).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
  }
  // ET_DYN, with as many section headers as there are said to be.
  guard number(16, 2) == 3, let table = number(40, 8), let count = number(60, 2), count > 1 else {
    return ["no ELF file of type ET_DYN with section headers"]
  }
  return (0..<count).compactMap { index in
    guard let type = number(table + index * 64 + 4, 4) else { return "section header \(index) lies outside the file" }
    return [4, 6, 9, 19].contains(type) ? "section \(index) has type \(type)" : nil
  }
}
