// The symbols of an image, for whoever looks something up in it or writes a symbol table.
//
// Those that a debugger shows: functions and data that objects define, by their names; not sections, files, or labels
// without a type that are local (`.L…`). A list of numbers is all that is kept: everything else is in the objects.

import PrecastArtifact
import PrecastMachineCode

/// Numbers of the symbols that an image has.
final class SymbolList: @unchecked Sendable {
  // Filled once, in `init`.
  private let numbers: FlatBuffer<UInt32>

  init(_ state: LinkState) throws(LinkError) {
    var numbers = FlatBuffer<UInt32>(capacity: 64)
    for (number, object) in state.objects.enumerated() {
      var budget = state.nameBudget(object)
      let base = state.symbolBase[number]
      for index in 1..<max(object.symbols.count, 1) {
        let symbol = object.symbols[index]
        let symbolState = state.symbols[base + index]
        switch symbolState.kind {
        case .text, .readOnly, .writable, .absolute: break
        default: continue
        }
        // What another object defines, or the caller.
        guard symbol.section != 0, symbolState.canonical == UInt32(base + index), symbol.type < ElfSymbol.typeSection,
          symbol.type != 0 || symbolState.isGlobal, symbol.name != 0
        else { continue }
        try state.spend(object.symbolNameRange(symbol).count, &budget, object)
        numbers.append(UInt32(base + index))
      }
    }
    self.numbers = numbers
  }

  var count: Int { numbers.count }

  subscript(index: Int) -> Int { Int(numbers[index]) }

  /// The bytes of a name.
  func name(_ index: Int, _ state: LinkState) -> ByteRegion {
    let (object, index) = state.owner(ofSymbol: self[index])
    let range = object.symbolNameRange(object.symbols[index])
    return (try? object.bytes.slice(range.lowerBound, range.count)) ?? ByteRegion(emptyIn: .symbols)
  }

  /// The number of the symbol that a global name means.
  func find(_ name: String, _ state: LinkState) -> Int? {
    var name = name
    let global = name.withUTF8 { bytes in
      unsafe state.globals.find(UnsafeRawBufferPointer(bytes), in: state.objects)
    }
    return global.map { Int(state.globals[$0].symbol) }
  }

  /// What a symbol is; nil if nothing in the image is.
  func symbol(_ number: Int, _ state: LinkState, _ placement: LinkPlacement) -> LinkedSymbol? {
    let symbolState = state.symbols[number]
    let (object, index) = state.owner(ofSymbol: number)
    let symbol = object.symbols[index]
    var result = LinkedSymbol(
      part: .text, offset: symbolState.value, size: Int(clamping: symbol.size),
      isFunction: symbol.type == ElfSymbol.typeFunction, isGlobal: symbolState.isGlobal)
    switch symbolState.kind {
    case .text: break
    case .readOnly:
      result.part = .readOnly
      result.offset &+= placement.readOnly
    case .writable:
      result.part = .writable
      result.offset &+= placement.writable
    case .absolute where symbol.section != 0: result.part = .absolute
    default: return nil
    }
    return result
  }
}
