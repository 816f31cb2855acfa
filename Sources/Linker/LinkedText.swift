// The text: pieces of code, one behind the other, and branches between them.
//
// Nearly always every branch reaches its target, as a look at all of them shows. Then places are all that is decided
// here, and branches are references like others: code is copied to where it is wanted once that is known, and each
// gets its distance there. What an object had between its functions comes along.
//
// Otherwise `TextSectionBuilder` plants islands of veneers. It writes into the code where it lies, and objects are
// read-only, so code is copied before, and once more to its place when islands have moved it. Only branches go through
// the builder; all other references (and branches to what is no code) wait until everything has a place.

import Glibc
import PrecastArtifact
import PrecastMachineCode

/// Memory for code while islands are planted in it.
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
}

/// The text of an image.
struct LinkedText {
  /// The code, where islands had to be planted; nil where all branches reach their targets.
  var memory: TextMemory?
  /// Without the padding at its end.
  var size = 0
  var islands: [Range<Int>] = []
  var holdsAbsoluteAddresses = false
}

extension LinkState {
  /// Decides where all code stands.
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
    let isDirect = try scanCode(size: cursor)
    try throwIfUndefined()
    if isDirect {
      text.size = cursor
      sizes.text = aligned(cursor, pageSize)
    } else {
      try plantIslands(end: cursor)
    }
    try checkSize(sizes.text)
    placeCode()
  }

  // Lays the text out with islands where branches do not reach, and resolves its branches.
  private func plantIslands(end: Int) throws(LinkError) {
    let memory = try TextMemory(aligned(end, pageSize))
    unsafe copyCode(to: memory.bytes)
    var branches = FlatBuffer<Relocation>(capacity: textRelocationCount)
    // Number of the first branch of each piece.
    var firsts = FlatBuffer<Int>(capacity: pieces.count + 1)
    var externals: [UInt64] = []
    try collectBranches(&branches, &firsts, &externals)

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
    try takeText(memory, builder, end: end)
  }

  private var textRelocationCount: Int {
    var count = 0
    for number in 0..<sections.count where sections[number].role == .text { count += sections[number].relocationCount }
    return count
  }

  /// Copies each piece to its place, neighbours that stay neighbours together, and fills what is between with
  /// instructions that trap.
  func copyCode(to memory: UnsafeMutableRawBufferPointer) {
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
      let start = section.fileOffset + first.start
      let count = last.offset + last.size - first.start
      let target = first.textOffset + first.lead
      unsafe fill(memory, from: end, to: target)
      unsafe UnsafeMutableRawBufferPointer(rebasing: memory[target..<target + count])
        .copyMemory(from: objects[Int(section.object)].address(start..<start + count))
      end = target + count
    }
    unsafe fill(memory, from: end, to: memory.count)
  }

  // Fills a stretch with instructions that trap: `int3`, `brk #0`.
  private func fill(_ memory: UnsafeMutableRawBufferPointer, from start: Int, to end: Int) {
    guard start < end else { return }
    let gap = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start..<end])
    switch architecture {
    case .x86_64: unsafe memset(gap.baseAddress!, 0xCC, gap.count)
    case .aarch64:
      var offset = aligned(start, 4) - start
      while offset + 4 <= gap.count {
        unsafe gap.storeBytes(of: 0xD420_0000, toByteOffset: offset, as: UInt32.self)
        offset += 4
      }
    }
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

  // Where a branch leads: `addend` bytes from the start of a piece, or from an address; or somewhere that branches do
  // not lead to by themselves.
  private enum BranchTarget {
    case piece(Int, addend: Int)
    case address(Int, addend: Int)
    case other
  }

  @inline(__always)
  private func branchTarget(_ relocation: ElfRelocation, _ state: SymbolState) -> BranchTarget {
    let addend = Int(relocation.addend)
    switch state.kind {
    case .text: return .piece(Int(state.section), addend: addend &+ state.value)
    case .section:
      // The addend of a branch of x86-64 counts from the end of the field.
      let bias = architecture == .x86_64 ? 4 : 0
      let target = piece(of: sections[Int(state.section)], state.value &+ addend &+ bias)
      return .piece(target, addend: addend &+ state.value &- pieces[target].offset)
    case .absolute where options.baseAddress != nil && relocation.symbol != 0,
      .undefinedWeak where options.baseAddress != nil && architecture == .x86_64:
      return .address(state.value, addend: addend)
    default: return .other
    }
  }

  // Whether there is code where a branch into a section of several pieces leads.
  private func isPlace(_ relocation: ElfRelocation, _ state: SymbolState) -> Bool {
    let home = sections[Int(state.section)]
    let offset = state.value &+ Int(relocation.addend) &+ (architecture == .x86_64 ? 4 : 0)
    return isInPiece(offset, piece(of: home, offset), home)
  }

  // Looks at all relocations of code. Returns whether every branch reaches its target from where pieces stand now.
  private func scanCode(size: Int) throws(LinkError) -> Bool {
    var isDirect =
      !options.text.testing.isActive && aligned(size, pageSize) <= min(options.text.maximumSize, Int(Int32.max))
    let base = Int(bitPattern: UInt(options.baseAddress ?? 0))
    let misalignment = architecture == .x86_64 ? 0 : 3
    for number in 0..<sections.count where sections[number].role == .text {
      let section = sections[number]
      let object = objects[Int(section.object)]
      let symbolBase = symbolBase[Int(section.object)]
      let list = try relocations(of: section)
      let contents = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
      var current = Int(section.firstPiece)
      let end = current + Int(section.pieceCount)
      var others = 0
      // Symbols and pieces are looked up for each relocation; by address, since a property of a class would be checked
      // for exclusive access each time. Nothing is appended to either here.
      let states = unsafe symbols.startAddress
      let pieces = unsafe pieces.startAddress
      for index in 0..<list.count {
        let relocation = list[index]
        while current + 1 < end, unsafe UInt64(pieces[current + 1].start) <= relocation.offset { current += 1 }
        guard relocation.offset < UInt64(section.size), Int(relocation.symbol) < object.symbols.count else {
          throw damagedRelocation(section, relocation)
        }
        let offset = Int(relocation.offset)
        let symbol = symbolBase + Int(relocation.symbol)
        let use = use(relocation.type, unsafe scanField(contents, offset))
        guard case .branch = use else {
          if case .none = use { continue }
          others += 1
          try scan(relocation, use, symbol, section, number)
          continue
        }
        let state = unsafe states[symbol]
        // The compiler calls functions and nothing else.
        if unsafe pieces[current].isWasm, !isCallable(symbol, state) {
          throw noFunction(symbol, state, relocation, section)
        }
        let target: Int
        let addend: Int
        switch branchTarget(relocation, state) {
        case .piece(let piece, let offset): (target, addend) = unsafe (pieces[piece].textOffset, offset)
        case .address(let address, let offset): (target, addend) = (address &- base, offset)
        case .other:
          others += 1
          try scan(relocation, .value, symbol, section, number)
          continue
        }
        if case .section = state.kind, !isPlace(relocation, state) { throw damagedRelocation(section, relocation) }
        let piece = unsafe pieces[current]
        guard offset >= piece.start, offset - piece.offset <= piece.size - 4, Int32(exactly: addend) != nil else {
          throw damagedRelocation(section, relocation)
        }
        let place = piece.textOffset + offset - piece.offset
        let distance = target &+ addend &- place
        let (low, high) = branchRange(relocation.type)
        if distance < low || distance >= high || (distance | place) & misalignment != 0 { isDirect = false }
      }
      sections[number].remainingRelocations = others
    }
    return isDirect
  }

  // Collects the branches of code, which has been looked at, for the builder.
  private func collectBranches(
    _ branches: inout FlatBuffer<Relocation>, _ firsts: inout FlatBuffer<Int>, _ externals: inout [UInt64]
  ) throws(LinkError) {
    for number in 0..<sections.count where sections[number].role == .text {
      let section = sections[number]
      let object = objects[Int(section.object)]
      let symbolBase = symbolBase[Int(section.object)]
      let list = try relocations(of: section)
      let contents = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
      var current = Int(section.firstPiece)
      let end = current + Int(section.pieceCount)
      firsts.append(branches.count)
      let states = unsafe symbols.startAddress
      for index in 0..<list.count {
        let relocation = list[index]
        while current + 1 < end, UInt64(pieces[current + 1].start) <= relocation.offset {
          current += 1
          firsts.append(branches.count)
        }
        let offset = Int(relocation.offset)
        guard case .branch(let kind) = use(relocation.type, unsafe scanField(contents, offset)) else { continue }
        let state = unsafe states[symbolBase + Int(relocation.symbol)]
        let target: Int
        let addend: Int
        switch branchTarget(relocation, state) {
        case .piece(let piece, let offset): (target, addend) = (piece, offset)
        case .address(let address, let offset):
          // The builder has numbers for those behind the pieces'.
          let canonical = Int(state.canonical)
          if unsafe states[canonical].section == 0 {
            externals.append(UInt64(bitPattern: Int64(address)))
            unsafe states[canonical].section = UInt32(externals.count)
          }
          (target, addend) = unsafe (pieces.count + Int(states[canonical].section) - 1, offset)
        case .other: continue
        }
        branches.append(
          Relocation(
            offset: UInt32(offset - pieces[current].offset), kind: kind, symbol: UInt32(target),
            addend: Int32(truncatingIfNeeded: addend)))
      }
      while current + 1 < end {
        current += 1
        firsts.append(branches.count)
      }
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
    case .textTooLarge(let maximum):
      return LinkError(.cannotLayOut, "the text would have more than \(maximum >> 30) GiB")
    case .functionTooLarge, .undefinedSymbol, .duplicateSymbol: break
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
