// Writing an image: the second step of a link.
//
// Sections are copied to their places and their relocations applied, one after the other, in order. All that a
// relocation needs of its symbol is in one array, found by number.

import PrecastArtifact
import PrecastMachineCode

/// Applies relocations.
struct ImageWriter {
  let state: LinkState
  let placement: LinkPlacement
  let memory: ImageMemory
  var context: RelocationContext

  init(_ state: LinkState, _ placement: LinkPlacement, _ memory: ImageMemory) {
    self.state = state
    self.placement = placement
    self.memory = memory
    context = RelocationContext(
      base: state.options.baseAddress.map { Int(bitPattern: UInt($0)) },
      offsetTable: placement.readOnly + state.offsetTable)
    context.holdsAbsoluteAddresses = state.text.holdsAbsoluteAddresses
  }

  /// Writes everything. Of a text with islands the bytes and their branches are there already.
  mutating func write() throws(LinkError) {
    if isDirect { unsafe state.copyCode(to: memory.text) }
    for number in 0..<state.sections.count {
      let section = state.sections[number]
      switch section.role {
      case .text: try relocateCode(section)
      case .readOnly: try unsafe copy(section, memory.readOnly, placement.readOnly)
      case .writable: try unsafe copy(section, memory.writable, placement.writable)
      default: break
      }
    }
    try writeOffsetTable()
    try writeUnwindTable()
  }

  // Whether branches are references like others.
  private var isDirect: Bool { state.text.memory == nil }

  // What a symbol is at its place.
  private func target(_ symbol: Int, _ relocation: ElfRelocation) -> RelocationTarget {
    let symbolState = state.symbols[symbol]
    var target = RelocationTarget(value: symbolState.value)
    switch symbolState.kind {
    case .text: break
    case .readOnly: target.value &+= placement.readOnly
    case .writable: target.value &+= placement.writable
    case .offsetTable: target.value = context.offsetTable
    case .section: target.value = splitSectionValue(symbolState, relocation)
    case .undefinedWeak:
      target.isAbsolute = true
      target.isUndefinedWeak = true
    case .absolute, .common, .undefined, .nowhere, .discarded, .module: target.isAbsolute = true
    }
    target.isNear = state.isNear(symbolState)
    let canonical = Int(symbolState.canonical)
    let slot = canonical == symbol ? symbolState.slot : state.symbols[canonical].slot
    if slot != 0 { target.slot = (Int(slot) - 1) * 8 }
    return target
  }

  // Where a section's start would be for a reference to something in it by an addend: its parts may have moved apart.
  private func splitSectionValue(_ symbolState: SymbolState, _ relocation: ElfRelocation) -> Int {
    let section = state.sections[Int(symbolState.section)]
    let isDisplacement = state.architecture == .x86_64 && X86_64Relocations.isDisplacement(relocation.type)
    let offset = symbolState.value &+ Int(relocation.addend) &+ (isDisplacement ? 4 : 0)
    let piece = state.pieces[state.piece(of: section, offset)]
    return symbolState.value &+ piece.textOffset &- piece.offset
  }

  private mutating func apply(
    _ relocation: ElfRelocation, _ symbol: Int, _ field: RelocationField, _ section: InputSection
  ) throws(LinkError) {
    var target = target(symbol, relocation)
    let outcome: RelocationOutcome
    switch state.architecture {
    case .x86_64:
      if X86_64Relocations.isSize(relocation.type) { target.size = size(ofSymbol: symbol) }
      outcome = X86_64Relocations.apply(relocation, target, field, &context)
    case .aarch64: outcome = AArch64Relocations.apply(relocation, target, field, &context)
    }
    if case .done = outcome { return }
    throw state.describe(outcome, relocation, section)
  }

  private func size(ofSymbol symbol: Int) -> Int {
    let (object, index) = state.owner(ofSymbol: Int(state.symbols[symbol].canonical))
    return Int(truncatingIfNeeded: object.symbols[index].size)
  }

  private func symbolBase(_ section: InputSection) -> Int { state.symbolBase[Int(section.object)] }

  // MARK: Parts

  private mutating func relocateCode(_ section: InputSection) throws(LinkError) {
    let isDirect = isDirect
    // Those that are not branches; usually none in compiled wasm.
    guard isDirect || section.remainingRelocations > 0 else { return }
    let list = try state.relocations(of: section)
    let object = state.objects[Int(section.object)]
    let base = symbolBase(section)
    let contents = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
    var current = Int(section.firstPiece)
    let end = current + Int(section.pieceCount)
    // By address, as in `scanCode`.
    let states = unsafe state.symbols.startAddress
    let pieces = unsafe state.pieces.startAddress
    let text = unsafe memory.text
    let call: UInt32? = isDirect && state.architecture == .x86_64 ? 4 : nil
    for index in 0..<list.count {
      let relocation = list[index]
      let offset = Int(relocation.offset)
      while current + 1 < end, unsafe pieces[current + 1].start <= offset { current += 1 }
      let piece = unsafe pieces[current]
      let before = offset - piece.offset
      guard before >= piece.lead && before <= piece.size else {
        if case .none = state.use(relocation.type, nil) { continue }
        throw state.damagedRelocation(section, relocation)
      }
      let place = piece.textOffset + before
      let symbol = base + Int(relocation.symbol)
      // Nearly all of compiled wasm's: R_X86_64_PLT32 between functions.
      if relocation.type == call, unsafe states[symbol].kind == .text, before <= piece.size - 4 {
        let distance = unsafe states[symbol].value &+ Int(relocation.addend) &- place
        if let field = Int32(exactly: distance) {
          unsafe text.storeBytes(of: field, toByteOffset: place, as: Int32.self)
          continue
        }
      }
      if !isDirect, case .branch = state.use(relocation.type, unsafe state.scanField(contents, offset)),
        state.isBuilt(symbol, relocation)
      {
        continue
      }
      try unsafe apply(
        relocation, symbol, field(text, place, before: before, after: piece.size - before, place), section)
    }
  }

  private mutating func copy(
    _ section: InputSection, _ part: UnsafeMutableRawBufferPointer, _ start: Int
  ) throws(LinkError) {
    guard section.size > 0 else { return }
    let source = unsafe state.objects[Int(section.object)].address(
      section.fileOffset..<section.fileOffset + section.size)
    unsafe UnsafeMutableRawBufferPointer(rebasing: part[section.offset..<section.offset + section.size])
      .copyMemory(from: source)
    guard section.relocationCount > 0 else { return }
    let list = try state.relocations(of: section)
    let base = symbolBase(section)
    for index in 0..<list.count {
      let relocation = list[index]
      let offset = Int(relocation.offset)
      try unsafe apply(
        relocation, base + Int(relocation.symbol),
        field(
          part, section.offset + offset, before: offset, after: section.size - offset, start + section.offset + offset),
        section)
    }
  }

  // A field at `offset` in a part.
  private func field(
    _ part: UnsafeMutableRawBufferPointer, _ offset: Int, before: Int, after: Int, _ place: Int
  ) -> RelocationField {
    precondition(before >= 0 && after >= 0 && offset >= before && offset + after <= part.count)
    guard let base = part.baseAddress else { preconditionFailure("an empty part has no fields") }
    return unsafe RelocationField(base + offset, before: before, after: after, place: place)
  }

  private mutating func writeOffsetTable() throws(LinkError) {
    for index in 0..<state.slots.count {
      let symbol = Int(state.slots[index])
      let target = target(symbol, ElfRelocation(offset: 0, type: 0, symbol: 0, addend: 0))
      guard let address = context.address(target) else {
        throw firstUse(ofSlot: index)
      }
      let start = state.offsetTable + index * 8
      unsafe field(memory.readOnly, start, before: 0, after: 8, placement.readOnly + start).store(address)
    }
  }

  // The reference that wants an entry which cannot be.
  private func firstUse(ofSlot index: Int) -> LinkError {
    let symbol = state.slots[index]
    for number in 0..<state.sections.count {
      let section = state.sections[number]
      guard section.role == .text || section.role == .readOnly || section.role == .writable,
        let list = try? state.relocations(of: section)
      else { continue }
      let base = symbolBase(section)
      let object = state.objects[Int(section.object)]
      let contents = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
      for index in 0..<list.count where state.symbols[base + Int(list[index].symbol)].canonical == symbol {
        switch state.use(list[index].type, unsafe state.scanField(contents, Int(list[index].offset))) {
        case .slot, .relaxableSlot: return state.describe(.absoluteSlot, list[index], section)
        default: break
        }
      }
    }
    return LinkError(.absoluteAddress, "symbol '\(state.name(ofSymbol: Int(symbol)))' needs an absolute address")
  }

  private mutating func writeUnwindTable() throws(LinkError) {
    let part = unsafe memory.ehFrame
    var list: RelocationList?
    var current: UInt32?
    for index in 0..<state.unwind.records.count {
      let record = state.unwind.records[index]
      let section = state.sections[Int(record.section)]
      if current != record.section {
        list = try state.relocations(of: section)
        current = record.section
      }
      try unsafe write(record, isCIE: Int(record.cie) == index, part, section, list!)
    }
    guard !state.unwind.islands.isEmpty else { return }
    // The size of the part comes from theirs.
    unsafe UnsafeMutableRawBufferPointer(rebasing: part[state.unwind.size..<part.count])
      .copyBytes(from: state.unwind.islands)
  }

  private mutating func write(
    _ record: UnwindRecord, isCIE: Bool, _ part: UnsafeMutableRawBufferPointer, _ section: InputSection,
    _ list: RelocationList
  ) throws(LinkError) {
    let source = unsafe state.objects[Int(section.object)].address(
      section.fileOffset + record.offset..<section.fileOffset + record.offset + record.size)
    // Whether start and size take 16 bytes now instead of 8; what follows them moves.
    let growth = record.isWidened && !isCIE ? 8 : 0
    let size = aligned(record.size, 4) + growth
    guard growth == 0 || record.size >= 16 else {
      throw LinkError(.damaged, "\(state.name(of: section))+\(hexadecimal(record.offset)): a short unwind entry")
    }
    func put(_ range: Range<Int>, at offset: Int) {
      unsafe UnsafeMutableRawBufferPointer(rebasing: part[record.place + offset..<record.place + offset + range.count])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range]))
    }
    if growth == 0 {
      put(0..<record.size, at: 0)
    } else {
      put(0..<8, at: 0)
      unsafe part.storeBytes(
        of: Int64(source.loadUnaligned(fromByteOffset: 8, as: Int32.self)), toByteOffset: record.place + 8,
        as: Int64.self)
      unsafe part.storeBytes(
        of: UInt64(source.loadUnaligned(fromByteOffset: 12, as: UInt32.self)), toByteOffset: record.place + 16,
        as: UInt64.self)
      put(16..<record.size, at: 24)
    }
    unsafe part.storeBytes(of: UInt32(size - 4), toByteOffset: record.place, as: UInt32.self)
    if isCIE {
      if record.isWidened {
        unsafe part.storeBytes(of: 0x1C, toByteOffset: record.place + Int(record.encodingOffset), as: UInt8.self)
      }
    } else {
      let distance = record.place + 4 - state.unwind.records[Int(record.cie)].place
      unsafe part.storeBytes(of: UInt32(distance), toByteOffset: record.place + 4, as: UInt32.self)
    }
    let base = symbolBase(section)
    for index in record.firstRelocation..<record.firstRelocation + Int(record.relocationCount) {
      var relocation = list[index]
      var offset = Int(relocation.offset) - record.offset
      if growth > 0 {
        if offset == 8 { relocation.type = state.wide(relocation.type) } else if offset >= 16 { offset += growth }
      }
      let place = record.place + offset
      try unsafe apply(
        relocation, base + Int(relocation.symbol),
        field(part, place, before: offset, after: size - offset, state.sizes.text + place), section)
    }
  }
}

extension LinkState {
  /// The 64-bit sibling of a 32-bit distance.
  func wide(_ type: UInt32) -> UInt32 {
    switch (architecture, type) {
    case (.x86_64, 2): X86_64Relocations.distance64
    case (.aarch64, 261): AArch64Relocations.distance64
    default: type
    }
  }

  /// Whether the text section builder has resolved a branch.
  func isBuilt(_ symbol: Int, _ relocation: ElfRelocation) -> Bool {
    switch symbols[symbol].kind {
    case .text, .section: true
    case .absolute: options.baseAddress != nil && relocation.symbol != 0
    case .undefinedWeak: options.baseAddress != nil && architecture == .x86_64
    default: false
    }
  }
}
