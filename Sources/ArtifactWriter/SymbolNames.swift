// What symbols are called.
//
// Artifacts and objects have the same names: `wasm[0]::function[26]::fib`, `wasm[0]::trampoline[3]::enter`. They are put
// together byte by byte in the buffer that becomes the string table, since there may be hundreds of thousands.

import PrecastArtifact
import PrecastMachineCode

extension CodeBuffer {
  /// Appends the symbol of function `index`, imported ones counted first; `binary` is the module's.
  @unsafe
  mutating func putSymbol(function index: Int, of input: ArtifactInput, _ binary: UnsafeRawBufferPointer) {
    put("wasm[0]::function[")
    put(number: index)
    put("]")
    guard index < input.functionNames.count else { return }
    let range = input.functionNames[index]
    guard !range.isEmpty, Int(range.upperBound) <= binary.count else { return }
    put("::")
    // In bounds by the comparison.
    unsafe put(name: UnsafeRawBufferPointer(rebasing: binary[Int(range.lowerBound)..<Int(range.upperBound)]))
  }

  /// Appends the symbol of what is no function of the module. `external`: the name of an adapter's symbol.
  mutating func putSymbol(_ name: PieceName, external: (Int) -> String = { _ in "" }) {
    switch name {
    case .function(let index):
      put("wasm[0]::function[")
      put(number: index)
      put("]")
    case .adapter(let index, let symbol):
      put("wasm[0]::adapter[")
      put(number: index)
      put("]::")
      for byte in external(symbol).utf8 { put8(byte) }
    case .entryTrampoline(let type):
      put("wasm[0]::trampoline[")
      put(number: type)
      put("]::enter")
    case .exitTrampoline(let type):
      put("wasm[0]::trampoline[")
      put(number: type)
      put("]::exit")
    case .stub(let name):
      put("wasm[0]::stub::")
      put(name)
    }
  }

  /// Appends an ASCII literal.
  mutating func put(_ text: StaticString) {
    // All literals here are ASCII, and have a start.
    for at in 0..<text.utf8CodeUnitCount { put8(unsafe text.utf8Start[at]) }
  }

  private mutating func put(number: Int) {
    var divisor = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      put8(UInt8(48 + number / divisor % 10))
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
      put8(byte < 0x20 || byte == 0x7F || isWide ? 0x3F : byte)
      at += isWide ? 2 : 1
    }
  }
}
