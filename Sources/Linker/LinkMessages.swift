// What is wrong with a reference, in words.
//
//     b.o: in .text+0x1c (function f): relocation R_X86_64_PC32 against symbol 'g' out of range: 0x… is not in …
//
// Object, section and offset find the place with any tool; the function's name finds it in the source.

import PrecastArtifact
import PrecastMachineCode

extension LinkState {
  /// `b.o: .text`.
  func name(of section: InputSection) -> String {
    let object = objects[Int(section.object)]
    return "\(object.name): \(object.sectionName(Int(section.index)))"
  }

  /// The name of a symbol.
  func name(ofSymbol number: Int) -> String {
    let (object, index) = owner(ofSymbol: number)
    return object.symbolName(index)
  }

  /// `b.o: .text+0x1c (f)`.
  func place(_ section: InputSection, _ offset: UInt64) -> String {
    let object = objects[Int(section.object)]
    let function = object.function(at: offset, inSection: Int(section.index)).map { " (\($0))" } ?? ""
    return "\(name(of: section))+\(hexadecimal(offset))\(function)"
  }

  // `b.o: in .text+0x1c (function f): relocation R_X86_64_PC32 against symbol 'g'`.
  private func reference(_ relocation: ElfRelocation, _ section: InputSection) -> String {
    let object = objects[Int(section.object)]
    let index = Int(section.index)
    let function = object.function(at: relocation.offset, inSection: index).map { " (function \($0))" } ?? ""
    return "\(object.name): in \(object.sectionName(index))+\(hexadecimal(relocation.offset))\(function): relocation "
      + "\(typeName(relocation.type)) against symbol '\(object.symbolName(Int(relocation.symbol)))'"
  }

  private func typeName(_ type: UInt32) -> String {
    switch architecture {
    case .x86_64: X86_64Relocations.name(type) ?? "of type \(type)"
    case .aarch64: AArch64Relocations.name(type) ?? "of type \(type)"
    }
  }

  /// A relocation that makes no sense, whatever it refers to.
  func damagedRelocation(_ section: InputSection, _ relocation: ElfRelocation) -> LinkError {
    let object = objects[Int(section.object)]
    let what =
      Int(relocation.symbol) >= object.symbols.count
      ? "refers to symbol \(relocation.symbol), of \(object.symbols.count)"
      : "does not lie in an instruction or field there"
    return LinkError(
      .damaged,
      "\(place(section, relocation.offset)): relocation \(typeName(relocation.type)) \(what)")
  }

  /// What came of a relocation, if it did not go well.
  func describe(_ outcome: RelocationOutcome, _ relocation: ElfRelocation, _ section: InputSection) -> LinkError {
    switch outcome {
    case .done: return LinkError(.damaged, "\(reference(relocation, section)): done")
    case .outOfRange(let value, let low, let high):
      var message =
        "\(reference(relocation, section)) out of range: \(hexadecimal(value)) is not in "
        + "[\(bound(low)), \(bound(high)))"
      let isShort = architecture == .x86_64 && X86_64Relocations.isShortAddress(relocation.type)
      if isShort { message += "; compile with -fPIC" }
      return LinkError(.outOfRange, message)
    case .misaligned(let value, let alignment):
      return LinkError(
        .outOfRange,
        "\(reference(relocation, section)) is misaligned: \(hexadecimal(value)) is not a multiple of \(alignment)")
    case .absolute:
      return LinkError(
        .absoluteAddress,
        "\(reference(relocation, section)) needs an absolute address, which a finished artifact cannot hold; "
          + "compile with -fPIC and hidden visibility, or load the object itself")
    case .absoluteSlot:
      return LinkError(
        .absoluteAddress,
        "\(reference(relocation, section)) needs the symbol's address in the global offset table, which a finished "
          + "artifact cannot hold; compile with -fPIC and hidden visibility, or load the object itself")
    case .outside: return damagedRelocation(section, relocation)
    case .addend:
      return LinkError(
        .unsupportedRelocation, "\(reference(relocation, section)): an addend of \(relocation.addend) is not supported")
    case .unsupported:
      let object = objects[Int(section.object)]
      let reason =
        (architecture == .x86_64
        ? X86_64Relocations.reason(relocation.type) : AArch64Relocations.reason(relocation.type))
        .map { ": \($0)" } ?? ""
      let known =
        typeName(relocation.type).hasPrefix("R_")
        ? "\(typeName(relocation.type)) (\(relocation.type))" : "\(relocation.type)"
      return LinkError(
        .unsupportedRelocation,
        "\(place(section, relocation.offset)): unsupported relocation type \(known) against symbol "
          + "'\(object.symbolName(Int(relocation.symbol)))'\(reason)")
    }
  }

  // `-2^31`, where it is a power of two.
  private func bound(_ value: Int) -> String {
    let magnitude = value.magnitude
    guard magnitude > 1 << 15, magnitude.nonzeroBitCount == 1 else { return String(value) }
    return (value < 0 ? "-" : "") + "2^\(magnitude.trailingZeroBitCount)"
  }

  /// A reference to what is not part of the image.
  func unreachable(_ state: SymbolState, _ relocation: ElfRelocation, _ section: InputSection) -> LinkError {
    let home = sections[Int(state.section)]
    let why =
      switch state.kind {
      case .discarded: "is defined in section \(name(of: home)), which is discarded: an earlier object has its group"
      case .module: "is in section \(name(of: home)), a table of the wasm module, to which nothing may refer"
      default: "is in section \(name(of: home)), which is not loaded"
      }
    return LinkError(.unsupported, "\(reference(relocation, section)): the symbol \(why)")
  }

  /// Whether a symbol can be what compiled wasm calls: code, what may be code because no object says what it is, or
  /// what is an error of its own.
  func isCallable(_ symbol: Int, _ state: SymbolState) -> Bool {
    switch state.kind {
    // A module's own functions are local symbols, and nearly all that it calls.
    case .text: return !state.isGlobal || definition(ofSymbol: symbol).type != ElfSymbol.typeObject
    case .readOnly, .writable, .offsetTable, .common: return false
    case .absolute: return definition(ofSymbol: symbol).section == 0
    case .section, .undefinedWeak, .undefined, .nowhere, .discarded, .module: return true
    }
  }

  /// The row of a symbol table that a symbol means.
  private func definition(ofSymbol symbol: Int) -> ElfSymbol {
    let (object, index) = owner(ofSymbol: Int(symbols[symbol].canonical))
    return object.symbols[index]
  }

  /// A call of something that is no function.
  func noFunction(
    _ symbol: Int, _ state: SymbolState, _ relocation: ElfRelocation, _ section: InputSection
  ) -> LinkError {
    let (definer, _) = owner(ofSymbol: Int(symbols[symbol].canonical))
    let what =
      switch state.kind {
      case .absolute: "a number"
      case .offsetTable: "the global offset table"
      default: "data"
      }
    return LinkError(
      .unsupported,
      "\(place(section, relocation.offset)): calls symbol '\(name(ofSymbol: symbol))', which is \(what) in \(definer.name); "
        + "bind the import to a function")
  }
}
