// The text: pieces of code, laid out and with their branches resolved by `TextSectionBuilder`.
//
// The builder writes into the code where it lies, and objects are read-only, so code is copied before: each piece to
// where it stands if no island comes between. Nearly always none does. The copy is then the text already, and what an
// object had between its functions comes along in the same stretch. Otherwise the pieces are copied once more.
//
// Only branches go through the builder. All other references (and branches to what is no code) are like those of data,
// and wait until everything has a place.

import Glibc
import PrecastArtifact
import PrecastMachineCode

/// Memory for code while it is laid out.
@safe
final class TextMemory: @unchecked Sendable {
  // Written by one thread while the text is made.
  private(set) var bytes: UnsafeMutableRawBufferPointer

  init(_ size: Int) throws(LinkError) {
    let length = max(size, 1)
    guard
      let base = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe base != MAP_FAILED
    else { throw LinkError(.cannotLayOut, "no memory for a text of \(size) bytes") }
    unsafe bytes = UnsafeMutableRawBufferPointer(start: base, count: length)
  }

  deinit { _ = unsafe munmap(bytes.baseAddress, bytes.count) }

  @unsafe
  func address(_ offset: Int) -> UnsafeMutableRawPointer {
    precondition(unsafe offset >= 0 && offset <= bytes.count)
    return unsafe bytes.baseAddress! + offset
  }

  func copy(_ source: UnsafeRawBufferPointer, to offset: Int) {
    precondition(
      unsafe offset >= 0 && source.count <= bytes.count && offset <= bytes.count - source.count)
    if let start = source.baseAddress { unsafe address(offset).copyMemory(from: start, byteCount: source.count) }
  }

  /// Fills a stretch with instructions that trap: `int3`, `brk #0`.
  func fill(from start: Int, to end: Int, _ architecture: Architecture) {
    guard start < end else { return }
    precondition(unsafe start >= 0 && end <= bytes.count)
    switch architecture {
    case .x86_64: unsafe memset(address(start), 0xCC, end - start)
    case .aarch64:
      var offset = aligned(start, 4)
      while offset + 4 <= end {
        unsafe address(offset).storeBytes(of: 0xD420_0000, as: UInt32.self)
        offset += 4
      }
    }
  }
}

/// The text of an image.
struct LinkedText {
  var memory: TextMemory?
  /// Without the padding at its end.
  var size = 0
  var islands: [Range<Int>] = []
  var holdsAbsoluteAddresses = false
}

extension LinkState {
  /// Copies all code, lays it out, resolves branches.
  func layOutText() throws(LinkError) {
    // Where pieces stand if nothing comes between.
    var cursor = 0
    for index in 0..<pieces.count {
      let piece = pieces[index]
      cursor = aligned(cursor, 1 << Int(piece.alignmentShift))
      pieces[index].textOffset = cursor
      cursor += piece.size
      try checkSize(cursor)
    }
    let memory = try copyCode(size: aligned(cursor, pageSize))

    var branches = FlatBuffer<Relocation>(capacity: textRelocationCount)
    // Number of the first branch of each piece.
    var firsts = FlatBuffer<Int>(capacity: pieces.count + 1)
    var externals: [UInt64] = []
    try scanCode(&branches, &firsts, &externals)
    try throwIfUndefined()

    var options = options.text
    options.alignment = 1
    options.baseAddress = self.options.baseAddress
    var builder = TextSectionBuilder(
      architecture: architecture, symbolCount: pieces.count + externals.count, options: options)
    for index in 0..<pieces.count {
      let piece = pieces[index]
      // Copied to there above; the branches are not added to any more. Both outlive the builder.
      unsafe builder.add(
        symbol: UInt32(index), code: memory.address(piece.textOffset), size: piece.size,
        relocations: UnsafeBufferPointer(
          rebasing: branches.unsafeElements[firsts[index]..<firsts[index + 1]]),
        alignment: 1 << Int(piece.alignmentShift), convention: piece.isWasm ? .wasm : .platform)
    }
    for (index, address) in externals.enumerated() {
      builder.define(symbol: UInt32(pieces.count + index), address: address)
    }
    do throws(TextSectionError) {
      try builder.finish(endAlignment: pageSize)
    } catch {
      throw describe(error)
    }
    if !externals.isEmpty || builder.holdsAbsoluteAddresses { text.holdsAbsoluteAddresses = true }
    try takeText(memory, builder, end: cursor)
    placeCode()
  }

  private var textRelocationCount: Int {
    var count = 0
    for number in 0..<sections.count where sections[number].role == .text { count += sections[number].relocationCount }
    return count
  }

  // Copies each piece to its place, neighbours that stay neighbours together.
  private func copyCode(size: Int) throws(LinkError) -> TextMemory {
    let memory = try TextMemory(size)
    var end = 0
    var index = 0
    while index < pieces.count {
      let first = pieces[index]
      var last = first
      index += 1
      while index < pieces.count, pieces[index].section == first.section,
        pieces[index].textOffset - first.textOffset == pieces[index].offset - first.offset
      {
        last = pieces[index]
        index += 1
      }
      let section = sections[Int(first.section)]
      let start = section.fileOffset + first.offset
      let count = last.offset + last.size - first.offset
      memory.fill(from: end, to: first.textOffset, architecture)
      unsafe memory.copy(objects[Int(section.object)].address(start..<start + count), to: first.textOffset)
      end = first.textOffset + count
    }
    memory.fill(from: end, to: size, architecture)
    return memory
  }

  // Decides where the text is, and where in it each piece.
  private func takeText(
    _ memory: TextMemory, _ builder: borrowing TextSectionBuilder, end: Int
  ) throws(LinkError) {
    var isInPlace = builder.islandCount == 0
    for index in 0..<pieces.count {
      let offset = builder.functionOffset(index)
      if offset != pieces[index].textOffset {
        isInPlace = false
        pieces[index].textOffset = offset
      }
    }
    for index in 0..<builder.islandCount {
      let island = builder.island(index)
      text.islands.append(island.textOffset..<island.textOffset + island.size)
    }
    try checkSize(builder.size)
    if isInPlace {
      text.size = end
      text.memory = memory
      sizes.text = aligned(end, pageSize)
      return
    }
    let copy = try TextMemory(builder.size)
    for index in 0..<builder.pieceCount {
      let piece = builder.piece(index)
      unsafe copy.copy(piece.bytes, to: piece.textOffset)
    }
    text.size = builder.size
    text.memory = copy
    sizes.text = builder.size
  }

  // Sorts out the relocations of code: branches for the builder, all others for later.
  private func scanCode(
    _ branches: inout FlatBuffer<Relocation>, _ firsts: inout FlatBuffer<Int>, _ externals: inout [UInt64]
  ) throws(LinkError) {
    for number in 0..<sections.count where sections[number].role == .text {
      let section = sections[number]
      let object = objects[Int(section.object)]
      let base = symbolBase[Int(section.object)]
      let list = try relocations(of: section)
      let contents = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
      var current = Int(section.firstPiece)
      let end = current + Int(section.pieceCount)
      firsts.append(branches.count)
      var others = 0
      // A symbol is looked up for each relocation; by its address, since a property of a class would be checked for
      // exclusive access each time. Nothing is appended to the array here.
      let states = unsafe symbols.startAddress
      for index in 0..<list.count {
        let relocation = list[index]
        while current + 1 < end, UInt64(pieces[current + 1].offset) <= relocation.offset {
          current += 1
          firsts.append(branches.count)
        }
        guard relocation.offset < UInt64(section.size), Int(relocation.symbol) < object.symbols.count else {
          throw damagedRelocation(section, relocation)
        }
        let offset = Int(relocation.offset)
        let place = unsafe scanField(contents, offset)
        let use = use(relocation.type, place)
        guard case .branch(let kind) = use else {
          if case .none = use { continue }
          others += 1
          try scan(relocation, use, base + Int(relocation.symbol), section, number)
          continue
        }
        let symbol = base + Int(relocation.symbol)
        let state = unsafe states[symbol]
        let target: Int
        var addend = Int(relocation.addend)
        switch state.kind {
        case .text:
          target = Int(state.section)
          addend = addend &+ state.value
        case .section:
          // The addend of a branch of x86-64 counts from the end of the field.
          let home = sections[Int(state.section)]
          let bias = architecture == .x86_64 ? 4 : 0
          target = piece(of: home, state.value &+ addend &+ bias)
          addend = addend &+ state.value &- pieces[target].offset
        case .absolute where options.baseAddress != nil && relocation.symbol != 0,
          .undefinedWeak where options.baseAddress != nil && architecture == .x86_64:
          // An address by itself; the builder has numbers for those behind the pieces'.
          let canonical = Int(state.canonical)
          if unsafe states[canonical].section == 0 {
            externals.append(UInt64(bitPattern: Int64(state.value)))
            unsafe states[canonical].section = UInt32(externals.count)
          }
          target = pieces.count + Int(unsafe states[canonical].section) - 1
        default:
          others += 1
          try scan(relocation, .value, symbol, section, number)
          continue
        }
        let piece = pieces[current]
        guard offset >= piece.offset, offset - piece.offset <= piece.size - 4, let addend = Int32(exactly: addend)
        else {
          throw damagedRelocation(section, relocation)
        }
        branches.append(
          Relocation(
            offset: UInt32(offset - piece.offset), kind: kind, symbol: UInt32(target), addend: addend))
      }
      while current + 1 < end {
        current += 1
        firsts.append(branches.count)
      }
      sections[number].remainingRelocations = others
    }
    firsts.append(branches.count)
  }

  /// What a relocation asks for; see `RelocationUse`.
  @inline(__always)
  func use(_ type: UInt32, _ field: RelocationField?) -> RelocationUse {
    switch architecture {
    case .x86_64: X86_64Relocations.use(type, field)
    case .aarch64: AArch64Relocations.use(type, field)
    }
  }

  // A field in an object, to look at.
  @unsafe
  func scanField(_ contents: UnsafeRawBufferPointer, _ offset: Int) -> RelocationField {
    unsafe RelocationField(
      UnsafeMutableRawPointer(mutating: contents.baseAddress! + offset), before: offset, after: contents.count - offset,
      place: 0)
  }

  // What is wrong with the text, in terms of the objects.
  private func describe(_ error: TextSectionError) -> LinkError {
    func place(_ place: TextPlace) -> (InputSection, ElfRelocation)? {
      guard place.function < pieces.count else { return nil }
      let piece = pieces[place.function]
      let section = sections[Int(piece.section)]
      guard let list = try? relocations(of: section) else { return nil }
      let offset = UInt64(piece.offset + place.offset)
      for index in 0..<list.count where list[index].offset == offset { return (section, list[index]) }
      return nil
    }
    switch error {
    case .outOfReach(_, let where_, let distance):
      if let (section, relocation) = place(where_) {
        let (low, high) = branchRange(relocation.type)
        return describe(.outOfRange(distance, low: low, high: high), relocation, section)
      }
    case .invalidRelocation(let where_):
      if let (section, relocation) = place(where_) { return damagedRelocation(section, relocation) }
    case .functionTooLarge(let symbol):
      if symbol < pieces.count {
        let section = sections[Int(pieces[Int(symbol)].section)]
        return LinkError(
          .cannotLayOut, "\(name(of: section)) has \(section.size) bytes of code, more than 2 GiB in one piece")
      }
    case .textTooLarge(let maximum):
      return LinkError(.cannotLayOut, "the text would have more than \(maximum >> 30) GiB")
    case .undefinedSymbol, .duplicateSymbol: break
    }
    return LinkError(.cannotLayOut, "the text cannot be laid out: \(error)")
  }

  private func branchRange(_ type: UInt32) -> (Int, Int) {
    switch (architecture, type) {
    case (.x86_64, _): (-1 << 31, 1 << 31)
    case (.aarch64, 279): (-1 << 15, 1 << 15)
    case (.aarch64, 280): (-1 << 20, 1 << 20)
    case (.aarch64, _): (-1 << 27, 1 << 27)
    }
  }
}
