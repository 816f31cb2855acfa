// Resolving symbols: which definition each name of each object means.
//
// One pass over all symbol tables collects definitions and references by name, in the order of the objects; a second
// pass gives every symbol what its name means. Objects that bring the same COMDAT group (an inline function, a table
// of virtual functions) keep the first one; the others' sections and definitions count for nothing. (gABI, "Section
// Groups")

import PrecastArtifact
import PrecastMachineCode

extension LinkState {
  /// Discards the sections of groups that an earlier object has as well.
  func discardGroups() throws(LinkError) {
    var seen = GlobalNames()
    for (number, object) in objects.enumerated() {
      var budget = nameBudget(object)
      var room = object.bytes.count
      for index in 1..<max(object.sectionCount, 1) {
        let section = object.section(index)
        guard section.type == ELFObject.sectionGroup else { continue }
        func damaged(_ why: String) -> LinkError {
          LinkError(.damaged, "\(object.name): section group \(object.sectionName(index)) [\(index)] \(why)")
        }
        let words = try object.table(index, UInt32.self)
        try InputSections.spend(words.count * 4, &room, object)
        guard words.count > 0, Int(section.info) < object.symbols.count else { throw damaged("has no signature") }
        guard words[0] & ELFObject.groupCOMDAT != 0 else { continue }
        // A section symbol has no name of its own, and no other object means the same by it.
        let name = object.symbolNameRange(object.symbols[Int(section.info)])
        if name.isEmpty { continue }
        try spend(name.count, &budget, object)
        let known = seen.count
        let group = seen.insert(name, ofObject: number, symbol: 0, in: objects)
        // A new name: the first group of that name stays. All others go, also a second one in the same object, which
        // `ld -r` would not write.
        if group == known { continue }
        for i in 1..<words.count {
          guard let member = sections.number(Int(words[i]), ofObject: number) else {
            throw damaged("has section \(words[i]), which does not exist")
          }
          if sections[member].role.isLinked { sections[member].role = .discarded }
        }
      }
    }
  }

  // How many bytes of names may be looked at: names may share bytes, but a file in which a million symbols share a
  // name of a megabyte is not worth hours.
  func nameBudget(_ object: ObjectFile) -> Int { object.symbolNamesSize * 16 + (1 << 16) }

  func spend(_ count: Int, _ budget: inout Int, _ object: ObjectFile) throws(LinkError) {
    budget -= count
    if budget < 0 { throw LinkError(.damaged, "\(object.name): the symbols' names overlap too often") }
  }

  /// Reads all symbols and finds what they mean.
  func resolveSymbols() throws(LinkError) {
    let total = objects.reduce(0) { $0 + $1.symbols.count }
    guard total < Int(UInt32.max) else { throw LinkError(.cannotLayOut, "there are \(total) symbols") }
    symbols.reserve(total)
    // Number of the global name of each symbol that has one.
    for (number, object) in objects.enumerated() {
      symbolBase.append(symbols.count)
      var budget = nameBudget(object)
      let table = object.symbols
      for index in 0..<table.count {
        let symbol = table[index]
        var state = try self.state(of: symbol, index, number, object)
        if symbol.binding != ElfSymbol.Binding.local.rawValue && index > 0 {
          let name = object.symbolNameRange(symbol)
          try spend(name.count, &budget, object)
          let global = globals.insert(name, ofObject: number, symbol: symbols.count, in: objects)
          try add(symbol, state, to: global, object)
          state.canonical = UInt32(global)
          state.isGlobal = true
        }
        symbols.append(state)
      }
    }
    for index in 0..<globals.count {
      switch globals[index].strength {
      case .undefined: defineExternally(index)
      case .common:
        // Among the zeros; a place comes with theirs.
        let global = globals[index]
        symbols[Int(global.symbol)].value = commons.count
        commons.append(CommonSymbol(size: global.commonSize, alignment: global.commonAlignment))
        totalSize += global.commonSize + global.commonAlignment
        try checkSize(totalSize)
      case .weak, .strong: break
      }
    }
    // What a name means is by now the state of the symbol that stands for it.
    for index in 0..<symbols.count where symbols[index].isGlobal {
      let canonical = globals[Int(symbols[index].canonical)].symbol
      var state = symbols[Int(canonical)]
      state.canonical = canonical
      state.isGlobal = true
      symbols[index] = state
    }
  }

  // What a symbol stands for in its own object.
  private func state(
    of symbol: ElfSymbol, _ index: Int, _ number: Int, _ object: ObjectFile
  ) throws(LinkError) -> SymbolState {
    let here = UInt32(symbols.count)
    if index == 0 { return SymbolState(value: 0, canonical: here, kind: .absolute) }
    func refuse(_ kind: LinkError.Kind, _ what: String) -> LinkError {
      LinkError(kind, "\(object.name): symbol '\(object.symbolName(index))' \(what)")
    }
    guard let binding = ElfSymbol.Binding(rawValue: symbol.binding) else {
      throw refuse(.unsupported, "has binding \(symbol.binding), which is not supported")
    }
    let value = Int(truncatingIfNeeded: symbol.value)
    if let section = object.section(of: symbol, index) {
      guard let row = sections.number(section, ofObject: number) else {
        throw refuse(.damaged, "is in section \(section), which does not exist")
      }
      let kind: SymbolState.Kind
      switch sections[row].role {
      case .ignored: kind = .nowhere
      case .discarded: kind = .discarded
      case .module: kind = .module
      case .text, .readOnly, .writable, .zero, .unwind: kind = .section
      }
      if symbol.type == ElfSymbol.typeIndirectFunction {
        throw refuse(.unsupported, "is chosen when a program starts (STT_GNU_IFUNC), which is not supported")
      }
      if kind == .section && sections[row].role == .text {
        guard value >= 0 && value <= sections[row].size else {
          throw refuse(.damaged, "lies outside of section \(object.sectionName(section))")
        }
      }
      return SymbolState(value: value, section: UInt32(row), canonical: here, kind: kind)
    }
    switch symbol.section {
    case 0:
      return SymbolState(value: 0, canonical: here, kind: binding == .weak ? .undefinedWeak : .undefined)
    case ELF.absoluteIndex: return SymbolState(value: value, canonical: here, kind: .absolute)
    case ELFObject.indexCommon, ELFObject.indexLargeCommon:
      // Its section comes with its place.
      guard binding != .local else { throw refuse(.unsupported, "is both local and common") }
      return SymbolState(value: value, canonical: here, kind: .common)
    default: throw refuse(.damaged, "is in section \(hexadecimal(symbol.section)), which has no meaning")
    }
  }

  // Takes a symbol into account for what its name means.
  private func add(
    _ symbol: ElfSymbol, _ state: SymbolState, to index: Int, _ object: ObjectFile
  ) throws(LinkError) {
    var global = globals[index]
    defer { globals[index] = global }
    if symbol.isHidden { global.isHidden = true }
    let strength: GlobalSymbol.Strength
    switch state.kind {
    case .undefined:
      global.isReferenced = true
      return
    case .discarded:
      // Stands for the definition in the group that was kept. Where that has none, whoever refers to it refers to nothing,
      // and must be told: this is not a weak reference, whatever the binding of the definition was.
      global.isReferenced = true
      return
    case .undefinedWeak: return
    case .common:
      strength = .common
      func refuse(_ kind: LinkError.Kind, _ why: String) -> LinkError {
        LinkError(kind, "\(object.name): common symbol '\(name(global))' has \(why)")
      }
      guard symbol.size <= InputSections.zeroLimit else {
        throw refuse(.cannotLayOut, "\(symbol.size) bytes, more than 4 GiB")
      }
      guard symbol.value.nonzeroBitCount <= 1 else {
        throw refuse(.damaged, "alignment \(symbol.value), which is not a power of two")
      }
      guard symbol.value <= pageSize else {
        throw refuse(.cannotLayOut, "alignment \(symbol.value), more than a page (\(pageSize))")
      }
      global.commonSize = max(global.commonSize, Int(symbol.size))
      global.commonAlignment = max(global.commonAlignment, Int(symbol.value))
    default:
      strength = symbol.binding == ElfSymbol.Binding.weak.rawValue ? .weak : .strong
    }
    if strength == .strong && global.strength == .strong {
      let (other, _) = owner(ofSymbol: Int(global.symbol))
      let places = other.name == object.name ? "twice in \(object.name)" : "in \(other.name) and \(object.name)"
      throw LinkError(.duplicateSymbol, "duplicate symbol: \(name(global)); defined \(places)")
    }
    if strength > global.strength {
      global.strength = strength
      global.symbol = UInt32(symbols.count)
    }
  }

  // What a name means that no object defines.
  private func defineExternally(_ index: Int) {
    let global = globals[index]
    let name = name(global)
    var state = SymbolState(value: 0, canonical: 0, kind: global.isReferenced ? .undefined : .undefinedWeak)
    if name == "_GLOBAL_OFFSET_TABLE_" {
      state.kind = .offsetTable
    } else if !global.isHidden, options.baseAddress != nil, let address = options.externalSymbols[name] {
      state.kind = .absolute
      state.value = Int(bitPattern: UInt(address))
    }
    state.canonical = UInt32(index)
    state.isGlobal = true
    symbols[Int(global.symbol)] = state
  }

  /// The name of a global.
  func name(_ global: GlobalSymbol) -> String {
    let range = global.nameStart..<global.nameStart + min(global.nameCount, 4096)
    return unsafe String(decoding: objects[Int(global.object)].address(range), as: UTF8.self)
  }

  /// The object that a symbol belongs to, and its index in that object's table.
  func owner(ofSymbol number: Int) -> (object: ObjectFile, index: Int) {
    var low = 0
    var high = symbolBase.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if symbolBase[middle] <= number { low = middle } else { high = middle }
    }
    return (objects[low], number - symbolBase[low])
  }
}
