// Looking at all references before anything has a place.
//
// What takes room has to be known first: entries of the global offset table. And what cannot be resolved at all is
// best said at once and together: all undefined symbols, not the first one.

import PrecastArtifact
import PrecastMachineCode

/// A reference to a symbol that nothing defines.
struct UndefinedReference: BitwiseCopyable {
  var symbol: UInt32
  var section: UInt32
  var offset: UInt64
}

extension LinkState {
  /// Looks at the references of everything but code.
  func scanData() throws(LinkError) {
    for number in 0..<sections.count {
      let section = sections[number]
      switch section.role {
      case .readOnly, .writable: break
      default: continue
      }
      let object = objects[Int(section.object)]
      let base = symbolBase[Int(section.object)]
      let list = try relocations(of: section)
      let contents = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
      for index in 0..<list.count {
        let relocation = list[index]
        guard relocation.offset < UInt64(section.size), Int(relocation.symbol) < object.symbols.count else {
          throw damagedRelocation(section, relocation)
        }
        let field = unsafe scanField(contents, Int(relocation.offset))
        var use = use(relocation.type, field)
        // In data it is a distance like another: there is nothing to lead elsewhere.
        if case .branch = use { use = .value }
        if case .none = use { continue }
        try scan(relocation, use, base + Int(relocation.symbol), section, number)
      }
      sections[number].remainingRelocations = list.count
    }
  }

  /// Notes what a reference asks for.
  func scan(
    _ relocation: ElfRelocation, _ use: RelocationUse, _ symbol: Int, _ section: InputSection, _ number: Int
  ) throws(LinkError) {
    let state = symbols[symbol]
    switch state.kind {
    case .undefined:
      // A handful is enough for a message; a symbol is named once, with its first references.
      if undefined.count < 1000 {
        undefined.append(
          UndefinedReference(symbol: state.canonical, section: UInt32(number), offset: relocation.offset))
      }
      return
    case .nowhere, .module, .discarded: throw unreachable(state, relocation, section)
    default: break
    }
    switch use {
    case .unsupported: throw describe(.unsupported, relocation, section)
    case .slot: addSlot(Int(state.canonical))
    case .relaxableSlot:
      if !isRelaxed(relocation, state) { addSlot(Int(state.canonical)) }
    case .offsetTable: usesOffsetTable = true
    case .value, .branch, .none: break
    }
    if state.kind == .offsetTable { usesOffsetTable = true }
  }

  /// Whether a reference by way of the global offset table will do without.
  func isRelaxed(_ relocation: ElfRelocation, _ state: SymbolState) -> Bool {
    isNear(state) && relocation.addend == (architecture == .x86_64 ? -4 : 0)
  }

  /// Whether a symbol is in reach of everything in the image, wherever in it both stand.
  @inline(__always)
  func isNear(_ state: SymbolState) -> Bool {
    // Half of what an instruction reaches: the other half is for what the loader puts between the parts.
    let reach = architecture == .x86_64 ? 1 << 30 : 1 << 31
    guard totalSize < reach else { return false }
    switch state.kind {
    case .text, .readOnly, .writable, .section: return true
    case .absolute:
      guard let base = options.baseAddress else { return false }
      let distance = state.value &- Int(bitPattern: UInt(base))
      return distance > -reach && distance < reach
    default: return false
    }
  }

  private func addSlot(_ canonical: Int) {
    if symbols[canonical].slot != 0 { return }
    slots.append(UInt32(canonical))
    symbols[canonical].slot = UInt32(slots.count)
  }

  /// The sum of all sections' sizes.
  func sumSizes() throws(LinkError) {
    var padding = 0
    for number in 0..<sections.count where sections[number].role.isLinked {
      totalSize += sections[number].size + sections[number].alignment
      padding += sections[number].alignment
      try checkSize(totalSize)
    }
    try checkPadding(padding)
  }

  /// Throws if there would be more padding than is reasonable for objects of this size: a section of one byte may ask for
  /// a page of 64 KiB, a thousand times what it takes in its file.
  func checkPadding(_ padding: Int) throws(LinkError) {
    if padding <= 1 << 28 { return }
    let files = objects.reduce(0) { $0 + $1.bytes.count }
    guard padding / 64 <= files else {
      throw LinkError(.cannotLayOut, "the sections' alignments ask for up to \(padding >> 20) MiB of padding")
    }
  }

  /// Throws an error that names all undefined symbols, if there are any.
  func throwIfUndefined() throws(LinkError) {
    guard undefined.count > 0 else { return }
    var names: [(symbol: UInt32, places: [String])] = []
    for index in 0..<undefined.count {
      let reference = undefined[index]
      let known = names.firstIndex { $0.symbol == reference.symbol }
      guard known.map({ names[$0].places.count < 3 }) ?? (names.count < 20) else { continue }
      // Searches a symbol table, so only for what is said.
      let place = place(sections[Int(reference.section)], reference.offset)
      if let known { names[known].places.append(place) } else { names.append((reference.symbol, [place])) }
    }
    var lines: [String] = []
    for (symbol, places) in names {
      lines.append("undefined symbol: \(name(ofSymbol: Int(symbol))); referenced by \(places.joined(separator: ", "))")
    }
    if options.baseAddress == nil {
      lines[lines.count - 1] += " (a finished artifact can refer to nothing outside of itself)"
    }
    throw LinkError(.undefinedSymbol, lines.joined(separator: "\n"))
  }
}
