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
        unsafe table.strings.putSymbol(function: index, of: input, binary)
        table.strings.put8(0)
      }
    }
    for (type, pair) in input.trampolines.enumerated() {
      table.add(pair.entry, .entryTrampoline(type: type))
      table.add(pair.exit, .exitTrampoline(type: type))
    }
    for stub in input.stubs {
      table.add(stub.code, .stub(stub.name))
    }
    return table.finish()
  }

  private consuming func finish() -> (symbols: SectionContents, strings: SectionContents, count: Int) {
    let count = symbols.count / Int(ELF.symbolSize)
    return (SectionContents(.symbols, symbols.extract()), SectionContents(.strings, strings.extract()), count)
  }

  private mutating func add(_ range: CodeRange?, _ name: PieceName) {
    guard let range else { return }
    begin(range)
    strings.putSymbol(name)
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
}
