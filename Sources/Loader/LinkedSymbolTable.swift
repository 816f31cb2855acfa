// The symbols of linked objects, for whoever looks at the result.
//
// All that have a name and a place. All are local: nothing links against a finished artifact. A wasm module's come first
// and in the order that its own artifact would have them: functions, trampolines, adapters, stubs, each in the order of
// the text. Islands of veneers count as stubs; whatever other objects have follows.

import Glibc
import PrecastArtifact
import PrecastLinker

extension ByteRegion {
  /// Whether the bytes start with those of `text`.
  fileprivate func hasPrefix(_ text: StaticString) -> Bool {
    guard count >= text.utf8CodeUnitCount else { return false }
    // A literal's bytes stay, and so do the region's during the call.
    let order = try? unsafe withUnsafeBytes { bytes in
      unsafe memcmp(bytes.baseAddress!, text.utf8Start, text.utf8CodeUnitCount)
    }
    return order == 0
  }
}

/// `.symtab` and `.strtab` of an image.
struct LinkedSymbolTable {
  private struct Row {
    /// The linker's number; -1 - n for island n.
    var number: Int
    /// Offset of the name.
    var name: UInt32
  }

  private var rows: [Row] = []
  /// The contents of `.strtab`.
  private(set) var strings: [UInt8] = [0]

  /// Number of symbols, the null symbol included.
  var count: Int { rows.count + 1 }

  /// The symbols of a link.
  init(_ linker: borrowing Linker) {
    rows.reserveCapacity(linker.symbolCount + linker.islands.count)
    let sizes = linker.sizes
    // Functions, of which there are many, at once; of the others the numbers.
    var others = [[Int]](repeating: [], count: Group.allCases.count)
    var end = 0
    var isSorted = true
    for number in 0..<linker.symbolCount {
      // Empty names are of sections and the like.
      let name = linker.symbolName(number)
      guard name.count > 0 else { continue }
      let symbol = linker.symbol(number)
      switch symbol.part {
      case .readOnly where sizes.readOnly == 0, .writable where sizes.writableInMemory == 0:
        // In an empty section, which an artifact has not.
        continue
      default: break
      }
      let group = linker.isOfModule(number) ? Group(name) : .other
      if group == .function {
        if symbol.offset < end { isSorted = false }
        end = symbol.offset
        append(number, name)
      } else {
        others[group.rawValue].append(number)
      }
    }
    // `ld -r` may have brought the module's into another order.
    if !isSorted {
      let offsets = rows.map { linker.symbol($0.number).offset }
      let sorted = rows.indices.sorted { (offsets[$0], $0) < (offsets[$1], $1) }
      rows = sorted.map { rows[$0] }
    }
    for group in Group.allCases {
      if group != .other { Self.sort(&others[group.rawValue], linker) }
      for number in others[group.rawValue] { append(number, linker.symbolName(number)) }
      guard group == .stub else { continue }
      for island in linker.islands.indices { append(-1 - island, Array("wasm[0]::stub::veneers".utf8)) }
    }
  }

  /// Sorts symbols by where their code is.
  private static func sort(_ numbers: inout [Int], _ linker: borrowing Linker) {
    let offsets = numbers.map { linker.symbol($0).offset }
    numbers = numbers.indices.sorted { (offsets[$0], $0) < (offsets[$1], $1) }.map { numbers[$0] }
  }

  /// What a symbol is of, in the order that groups have.
  private enum Group: Int, CaseIterable {
    case function, trampoline, adapter, stub, other

    init(_ name: ByteRegion) {
      // `wasm[0]::` and a letter; all of them differ in it.
      let letter = name.hasPrefix("wasm[0]::") ? try? name.u8(9) : nil
      switch letter {
      case UInt8(ascii: "f"): self = .function
      case UInt8(ascii: "t"): self = .trampoline
      case UInt8(ascii: "a"): self = .adapter
      case UInt8(ascii: "s"): self = .stub
      default: self = .other
      }
    }
  }

  private mutating func append(_ number: Int, _ name: ByteRegion) {
    rows.append(Row(number: number, name: UInt32(truncatingIfNeeded: strings.count)))
    // Bytes of an object have no checksums that could fail.
    try? unsafe name.withUnsafeBytes { bytes in unsafe strings.append(contentsOf: bytes) }
    strings.append(0)
  }

  private mutating func append(_ number: Int, _ name: [UInt8]) {
    rows.append(Row(number: number, name: UInt32(truncatingIfNeeded: strings.count)))
    strings += name
    strings.append(0)
  }

  /// Writes both sections, `Elf64_Sym` by `Elf64_Sym` (gABI, "Symbol Table").
  @unsafe
  func write(
    _ image: LinkedImage, _ layout: ArtifactLayout, symbols: UnsafeMutableRawBufferPointer,
    strings target: UnsafeMutableRawBufferPointer
  ) {
    unsafe target.copyBytes(from: strings)
    let text = Int(layout.engine[.text].offset)
    let data = layout.engine[.data]
    let headers = [SectionKind.text, .readOnlyData, .data, .bss].map { UInt16(layout.headerIndex(of: $0)) }
    for (position, row) in rows.enumerated() {
      var header: UInt16
      var value: UInt64
      var size: UInt64
      var type: UInt8 = 0
      if row.number < 0 {
        let island = image.islands[-1 - row.number]
        (header, value, size) = (headers[0], UInt64(text + island.lowerBound), UInt64(island.count))
        type = ELF.symbolLocalFunction
      } else {
        let symbol = image.symbol(row.number)
        value = UInt64(bitPattern: Int64(symbol.offset &+ text))
        size = UInt64(max(0, symbol.size))
        switch symbol.part {
        case .text: header = headers[0]
        case .readOnly: header = headers[1]
        case .writable: header = value < data.end || headers[3] == 0 ? headers[2] : headers[3]
        case .absolute:
          // The value is the address.
          header = ELF.absoluteIndex
          value = UInt64(bitPattern: Int64(symbol.offset))
        }
        // STT_OBJECT is 1, STT_NOTYPE 0.
        type = symbol.isFunction ? ELF.symbolLocalFunction : symbol.size > 0 ? 1 : 0
      }
      let at = (position + 1) * Int(ELF.symbolSize)
      guard at + Int(ELF.symbolSize) <= symbols.count else { return }
      unsafe symbols.storeBytes(of: row.name.littleEndian, toByteOffset: at, as: UInt32.self)
      // STB_LOCAL is 0.
      unsafe symbols.storeBytes(of: type, toByteOffset: at + 4, as: UInt8.self)
      unsafe symbols.storeBytes(of: header.littleEndian, toByteOffset: at + 6, as: UInt16.self)
      unsafe symbols.storeBytes(of: value.littleEndian, toByteOffset: at + 8, as: UInt64.self)
      unsafe symbols.storeBytes(of: size.littleEndian, toByteOffset: at + 16, as: UInt64.self)
    }
  }
}
