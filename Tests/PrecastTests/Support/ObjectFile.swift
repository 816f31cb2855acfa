// A reader of 64-bit little-endian ELF files for tests: sections, symbols, relocations. (gABI)
//
// Independent of the library's own readers, and no more careful than tests need: what it reads, this build or the system's
// linker has written.

import Foundation

/// An ELF file, taken apart.
struct ObjectFile {
  struct Section {
    var name: String
    var type: Int
    var flags: Int
    var address: Int
    var link: Int
    var info: Int
    var entrySize: Int
    var alignment: Int
    var bytes: Data
  }

  struct Symbol: Equatable {
    var name: String
    /// `st_info`: binding in the upper half, type in the lower.
    var info: Int
    /// Index of the section; 0 for an undefined symbol.
    var section: Int
    var value: Int
    var size: Int
  }

  struct Relocation: Equatable {
    var offset: Int
    var type: Int
    var symbol: Int
    var addend: Int
  }

  /// `e_type`.
  let type: Int
  /// All sections, the null section first.
  private(set) var sections: [Section] = []
  /// All symbols, the null symbol first.
  private(set) var symbols: [Symbol] = []

  init(_ url: URL) throws { self.init(try Data(contentsOf: url)) }

  init(_ file: Data) {
    let file = Data(file)
    func number(_ offset: Int, _ size: Int) -> Int { file.number(offset, size) }
    type = number(16, 2)
    let headers = number(40, 8)
    func header(_ index: Int) -> Int { headers + index * 64 }
    // What does not fit stands in the null section (gABI, "ELF Header", e_shnum and e_shstrndx).
    let count = number(60, 2) == 0 ? number(header(0) + 32, 8) : number(60, 2)
    let names = number(62, 2) == 0xFFFF ? number(header(0) + 40, 4) : number(62, 2)
    func contents(_ index: Int) -> Data {
      if number(header(index) + 4, 4) == 8 { return Data() }
      let start = number(header(index) + 24, 8)
      return file[start..<start + number(header(index) + 32, 8)]
    }
    let strings = contents(names)
    for index in 0..<count {
      let at = header(index)
      sections.append(
        Section(
          name: strings.string(number(at, 4)), type: number(at + 4, 4), flags: number(at + 8, 8),
          address: number(at + 16, 8), link: number(at + 40, 4), info: number(at + 44, 4),
          entrySize: number(at + 56, 8), alignment: number(at + 48, 8),
          bytes: index == 0 ? Data() : contents(index)))
    }
    guard let table = sections.firstIndex(where: { $0.type == 2 }) else { return }
    let bytes = sections[table].bytes
    let symbolNames = sections[sections[table].link].bytes
    let indices = sections.first { $0.type == 18 }?.bytes
    for at in stride(from: 0, to: bytes.count, by: 24) {
      let section = bytes.number(at + 6, 2)
      symbols.append(
        Symbol(
          name: symbolNames.string(bytes.number(at, 4)), info: bytes.number(at + 4, 1),
          section: section == 0xFFFF ? indices?.number(at / 24 * 4, 4) ?? section : section,
          value: bytes.number(at + 8, 8), size: bytes.number(at + 16, 8)))
    }
  }

  /// The first section of that name.
  subscript(name: String) -> Section? { sections.first { $0.name == name } }

  /// The relocations of the section of that name.
  func relocations(of name: String) -> [Relocation] {
    guard let index = sections.firstIndex(where: { $0.name == name }) else { return [] }
    return relocations(of: index)
  }

  /// The relocations of a section.
  func relocations(of index: Int) -> [Relocation] {
    guard let table = sections.first(where: { $0.type == 4 && $0.info == index }) else { return [] }
    return stride(from: 0, to: table.bytes.count, by: 24).map { at in
      Relocation(
        offset: table.bytes.number(at, 8), type: table.bytes.number(at + 8, 4), symbol: table.bytes.number(at + 12, 4),
        addend: table.bytes.number(at + 16, 8))
    }
  }
}

extension Data {
  /// A little-endian number at `offset` from the start; of eight bytes, with a sign.
  func number(_ offset: Int, _ size: Int) -> Int {
    (0..<size).reduce(0) { $0 | Int(self[startIndex + offset + $1]) << (8 * $1) }
  }

  /// The text from `offset` to the next zero byte.
  func string(_ offset: Int) -> String {
    String(decoding: self[(startIndex + offset)...].prefix { $0 != 0 }, as: UTF8.self)
  }
}
