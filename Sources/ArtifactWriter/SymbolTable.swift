// `.symtab` and `.strtab`: a symbol for every function, trampoline, and other piece of code.
//
// Names are what somebody who looks at a profile wants to read: the index, which is how the module's
// own tools speak of a function, and its name if it has one. All symbols are local, since nothing
// links against a finished artifact. Tens of thousands of names are put together byte by byte in one
// buffer; no string is made.

import PrecastArtifact
import PrecastMachineCode

/// Builds `.symtab` and `.strtab`.
struct SymbolTable: ~Copyable {
  private var symbols: CodeBuffer
  private var strings: CodeBuffer
  private let textOffset: UInt64
  private let textHeader: UInt16

  /// Symbols (with the null symbol of the gABI) and their names. `textOffset` is the address of the
  /// text, `textHeader` the number of its section header.
  static func encoded(
    _ input: ArtifactInput, textOffset: UInt64, textHeader: UInt16
  ) -> (symbols: SectionContents, strings: SectionContents, count: Int) {
    let count = input.functions.count + input.trampolines.count * 2 + input.stubs.count + 1
    var table = SymbolTable(
      symbols: CodeBuffer(capacity: count * Int(ELF.symbolSize)), strings: CodeBuffer(capacity: count * 40),
      textOffset: textOffset, textHeader: textHeader)
    table.symbols.put(repeating: 0, count: Int(ELF.symbolSize))
    table.strings.put8(0)
    unsafe input.binary.withUnsafeBytes { binary in
      for (position, function) in input.functions.enumerated() {
        let index = input.module.importedFunctionCount + position
        table.begin(function)
        table.put("wasm[0]::function[")
        table.put(number: index)
        table.put("]")
        if index < input.functionNames.count {
          let range = input.functionNames[index]
          if !range.isEmpty && Int(range.upperBound) <= binary.count {
            table.put("::")
            // In bounds by the comparison.
            unsafe table.put(
              name: UnsafeRawBufferPointer(rebasing: binary[Int(range.lowerBound)..<Int(range.upperBound)]))
          }
        }
        table.strings.put8(0)
      }
    }
    for (type, pair) in input.trampolines.enumerated() {
      table.add(pair.entry, type: type, suffix: "]::enter")
      table.add(pair.exit, type: type, suffix: "]::exit")
    }
    for stub in input.stubs {
      table.begin(stub.code)
      table.put("wasm[0]::stub::")
      table.put(stub.name)
      table.strings.put8(0)
    }
    return table.finish()
  }

  private consuming func finish() -> (symbols: SectionContents, strings: SectionContents, count: Int) {
    let count = symbols.count / Int(ELF.symbolSize)
    return (SectionContents(.symbols, symbols.extract()), SectionContents(.strings, strings.extract()), count)
  }

  private mutating func add(_ range: CodeRange?, type: Int, suffix: StaticString) {
    guard let range else { return }
    begin(range)
    put("wasm[0]::trampoline[")
    put(number: type)
    put(suffix)
    strings.put8(0)
  }

  // `Elf64_Sym`; the name follows in `strings`.
  private mutating func begin(_ range: CodeRange) {
    symbols.put32(UInt32(truncatingIfNeeded: strings.count))
    symbols.put8(ELF.symbolLocalFunction)
    symbols.put8(0)
    symbols.put16(textHeader)
    symbols.put64(textOffset + UInt64(range.textOffset))
    symbols.put64(UInt64(range.size))
  }

  private mutating func put(_ text: StaticString) {
    // All literals here are ASCII, and have a start.
    for at in 0..<text.utf8CodeUnitCount { strings.put8(unsafe text.utf8Start[at]) }
  }

  private mutating func put(number: Int) {
    var divisor = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      strings.put8(UInt8(48 + number / divisor % 10))
      divisor /= 10
    }
  }

  // A zero byte would end the symbol's name, a control character disturb a terminal.
  private mutating func put(name: UnsafeRawBufferPointer) {
    var at = 0
    while at < name.count {
      let byte = unsafe name[at]
      // C1: 80 to 9F, two bytes in UTF-8.
      let isWide = unsafe byte == 0xC2 && at + 1 < name.count && (0x80...0x9F).contains(name[at + 1])
      strings.put8(byte < 0x20 || byte == 0x7F || isWide ? 0x3F : byte)
      at += isWide ? 2 : 1
    }
  }
}
