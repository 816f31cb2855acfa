// Checking what is said about the text: places of sections, functions, trampolines, symbols.
//
// Three tables say where code stands: the functions and the trampolines of `.wasmtime.info`, which we
// go by, and the symbols, which everybody else's tools go by. No two pieces of code may share a byte,
// and both sides have to say the same.

extension Artifact {
  /// Checks that sections do not overlap, and that the first page holds what it must.
  func checkLayout() throws(ArtifactError) {
    let note = header.extent(of: .buildID)
    let engine = header.extent(of: .engine)
    guard note == SectionExtent(offset: UInt64(ArtifactHeader.noteOffset), size: UInt64(ArtifactHeader.noteSize)),
      engine.offset == UInt64(ArtifactHeader.engineOffset), engine.end <= UInt64(ArtifactHeader.size)
    else { throw .damaged(.engine, 0, "the first page's sections are elsewhere") }
    let kinds = SectionKind.allCases.filter { header.extent(of: $0).size > 0 }
      .sorted { header.extent(of: $0).offset < header.extent(of: $1).offset }
    for (kind, next) in zip(kinds, kinds.dropFirst()) where header.extent(of: kind).end > header.extent(of: next).offset
    {
      throw .damaged(.engine, 0, "\(kind.name) and \(next.name) overlap")
    }
    if let last = kinds.last(where: { !$0.isWritable }), header.extent(of: last).end > header.sectionHeadersOffset {
      throw .damaged(.engine, 0, "\(last.name) and the section headers overlap")
    }
  }

  private func checkInText(_ range: CodeRange, _ what: @autoclosure () -> String) throws(ArtifactError) {
    guard UInt64(range.textOffset) + UInt64(range.size) <= header.text.size else {
      throw .damaged(.info, 0, "\(what()) lies outside the text")
    }
  }

  /// Checks that functions and trampolines lie in the text and nowhere overlap.
  func checkCode(_ info: ModuleInfo) throws(ArtifactError) {
    var trampolines: [CodeRange] = []
    for index in 0..<info.typeCount {
      for range in [try info.entryTrampoline(type: index), try info.exitTrampoline(type: index)] {
        guard let range else { continue }
        try checkInText(range, "trampoline \(index)")
        trampolines.append(range)
      }
    }
    for index in 0..<info.importedFunctionCount {
      guard let adapter = try info.adapter(importedFunction: index) else { continue }
      try checkInText(adapter.code, "the adapter of imported function \(index)")
      trampolines.append(adapter.code)
    }
    // Equal types share theirs.
    trampolines.sort { ($0.textOffset, $0.size) < ($1.textOffset, $1.size) }
    func end(_ range: CodeRange) -> UInt64 { UInt64(range.textOffset) + UInt64(range.size) }
    for (range, next) in zip(trampolines, trampolines.dropFirst()) where range != next {
      guard end(range) <= UInt64(next.textOffset) else { throw .damaged(.info, 0, "trampolines overlap") }
    }
    // Functions ascend, so both lists are gone through once, side by side.
    var position = 0
    var functionEnd: UInt64 = 0
    for index in 0..<info.definedFunctionCount {
      let function = try info.definedFunction(index)
      let range = CodeRange(textOffset: function.textOffset, size: function.size)
      guard UInt64(range.textOffset) >= functionEnd else {
        throw .damaged(.info, 0, "function \(index) is out of order")
      }
      functionEnd = end(range)
      try checkInText(range, "function \(index)")
      while position < trampolines.count, end(trampolines[position]) <= UInt64(range.textOffset) { position += 1 }
      if position < trampolines.count, range.size > 0, UInt64(trampolines[position].textOffset) < functionEnd {
        throw .damaged(.info, 0, "function \(index) and a trampoline overlap")
      }
    }
  }

  /// Checks that the symbols are those of the functions, then of the trampolines, of adapters, with their names,
  /// then of stubs, and of what comes of other objects.
  ///
  /// - Parameter info: the module; nil for linked objects without one.
  func checkSymbols(_ info: ModuleInfo?) throws(ArtifactError) {
    guard let symbols = try section(.symbols), let strings = try section(.strings), strings.count > 0,
      symbols.count % Int(ELF.symbolSize) == 0, symbols.count > 0
    else { throw .damaged(.symbols, 0, "no symbols") }
    guard try strings.u8(0) == 0, try strings.u8(strings.count - 1) == 0 else {
      throw strings.damaged(0, "names do not start and end with zero")
    }
    for at in stride(from: 0, to: Int(ELF.symbolSize), by: 8) where try symbols.u64(at) != 0 {
      throw symbols.damaged(at, "the null symbol is not null")
    }
    var at = Int(ELF.symbolSize)
    func check(_ range: CodeRange, _ name: String, continuedBy continuation: String? = nil) throws(ArtifactError) {
      guard at < symbols.count else { throw symbols.damaged(at, "no symbol for \(name)") }
      // `Elf64_Sym`: name, info, other, section, value, size.
      guard try symbols.u8(at + 4) == ELF.symbolLocalFunction, try symbols.u8(at + 5) == 0,
        try symbols.u16(at + 6) == Self.textHeaderIndex,
        try symbols.u64(at + 8) == header.text.offset + UInt64(range.textOffset),
        try symbols.u64(at + 16) == UInt64(range.size)
      else { throw symbols.damaged(at, "this is not the symbol of \(name)") }
      let place = Int(try symbols.u32(at))
      guard try strings.hasString(name, at: place, continuedBy: continuation) else {
        throw symbols.damaged(at, "the symbol of \(name) is named otherwise")
      }
      at += Int(ELF.symbolSize)
    }
    // Equal types share their trampolines. An artifact of the compiler's names them for each type; an object has one symbol for
    // a piece of code, and so has what is linked from it.
    var highest = -1
    func checkTrampoline(_ range: CodeRange, _ name: String) throws(ArtifactError) {
      if Int(range.textOffset) <= highest {
        guard at < symbols.count, try strings.hasString(name, at: Int(symbols.u32(at))) else { return }
      }
      highest = max(highest, Int(range.textOffset))
      try check(range, name)
    }
    for index in 0..<(info?.definedFunctionCount ?? 0) {
      guard let info else { break }
      let function = try info.definedFunction(index)
      try check(
        CodeRange(textOffset: function.textOffset, size: function.size),
        "wasm[0]::function[\(info.importedFunctionCount + index)]", continuedBy: "::")
    }
    for index in 0..<(info?.typeCount ?? 0) {
      guard let info else { break }
      if let range = try info.entryTrampoline(type: index) {
        try checkTrampoline(range, "wasm[0]::trampoline[\(index)]::enter")
      }
      if let range = try info.exitTrampoline(type: index) {
        try checkTrampoline(range, "wasm[0]::trampoline[\(index)]::exit")
      }
    }
    for index in 0..<(info?.importedFunctionCount ?? 0) {
      guard let adapter = try info?.adapter(importedFunction: index) else { continue }
      try check(adapter.code, "wasm[0]::adapter[\(index)]", continuedBy: "::")
    }
    // Stubs and veneers are known by their symbols only; and so is what other objects have, in an artifact that was
    // linked from several.
    while at < symbols.count, try strings.hasString(Self.stub, at: Int(symbols.u32(at)), continuedBy: "::") {
      let value = try symbols.u64(at + 8)
      let size = try symbols.u64(at + 16)
      guard value >= header.text.offset, value <= header.text.end, size <= header.text.end - value,
        let offset = UInt32(exactly: value - header.text.offset), let size = UInt32(exactly: size)
      else { throw symbols.damaged(at, "symbol outside the text") }
      try check(CodeRange(textOffset: offset, size: size), Self.stub, continuedBy: "::")
    }
    if at < symbols.count { try checkForeignSymbols(from: at, symbols, strings) }
  }

  private static let stub = "wasm[0]::stub"
  /// How all symbols of the wasm module's code begin.
  private static let modulePrefix = "wasm[0]::"

  // Checks symbols of other objects: functions, variables and labels, each in a section that is there, or absolute.
  private func checkForeignSymbols(
    from first: Int, _ symbols: ByteRegion, _ strings: ByteRegion
  ) throws(ArtifactError) {
    var sections: [(index: UInt16, kind: SectionKind)] = []
    for kind in [SectionKind.text, .readOnlyData, .data, .bss] {
      if let index = try headerIndex(of: kind).flatMap(UInt16.init(exactly:)) { sections.append((index, kind)) }
    }
    for at in stride(from: first, to: symbols.count, by: Int(ELF.symbolSize)) {
      let place = Int(try symbols.u32(at))
      guard place > 0, place < strings.count, try strings.u8(place) != 0 else {
        throw symbols.damaged(at, "a symbol without a name")
      }
      func damaged(_ why: String) throws(ArtifactError) -> ArtifactError {
        symbols.damaged(at, "symbol '\(try strings.string(place, strings.length(at: place, limit: 256)))' \(why)")
      }
      // Tools, and this check, go by such names.
      if try strings.hasString(Self.modulePrefix, at: place, continuedBy: "") {
        throw try damaged("is named like a function of the wasm module, and is none of its own")
      }
      // Local; without a type, a variable, or a function.
      guard try symbols.u8(at + 4) <= 2, try symbols.u8(at + 5) == 0 else {
        throw try damaged("is of a kind that does not occur")
      }
      let index = try symbols.u16(at + 6)
      if index == ELF.absoluteIndex { continue }
      let value = try symbols.u64(at + 8)
      let size = try symbols.u64(at + 16)
      guard let kind = sections.first(where: { $0.index == index })?.kind,
        value >= header.extent(of: kind).offset, value <= header.extent(of: kind).end,
        size <= header.extent(of: kind).end - value
      else { throw try damaged("lies in no section of code or data, or reaches out of it") }
    }
  }

  /// Number of a section's header; nil where the section is absent.
  private func headerIndex(of kind: SectionKind) throws(ArtifactError) -> Int? {
    guard header.extent(of: kind).size > 0 else { return nil }
    let count = header.sectionHeaderCount
    let table = try bytes(
      at: header.sectionHeadersOffset, count: UInt64(count) * ELF.sectionHeaderSize, for: .sectionNames)
    guard let names = try section(.sectionNames) else { return nil }
    for index in 1..<count
    where try names.hasString(kind.name, at: Int(table.u32(index * Int(ELF.sectionHeaderSize)))) {
      return index
    }
    return nil
  }

  /// Number of the text's section header: the third, behind the two sections of the first page.
  private static let textHeaderIndex: UInt16 = 3
}

extension ByteRegion {
  /// Whether the bytes at `offset` are `text` and a zero byte; or, with `continuation`, `text` and that.
  func hasString(_ text: String, at offset: Int, continuedBy continuation: String? = nil) throws(ArtifactError) -> Bool
  {
    var at = offset
    for byte in text.utf8 {
      guard at < count, try u8(at) == byte else { return false }
      at += 1
    }
    guard at < count else { return false }
    if try u8(at) == 0 { return true }
    guard let continuation else { return false }
    for byte in continuation.utf8 {
      guard at < count, try u8(at) == byte else { return false }
      at += 1
    }
    return true
  }
}
