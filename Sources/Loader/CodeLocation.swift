// From addresses to the module's terms, and back.
//
// Everything here is a look-up in mapped tables; nothing is decoded ahead. A table that turns out to
// be damaged leaves its part of the answer out: these questions are asked when something has already
// gone wrong, and half an answer is better than another error. Addresses of code are given out only while the
// artifact is intact: zeros, which lost tables read as, are offsets too.

import CPrecastHost
import PrecastArtifact

/// A place in compiled code, in the terms of the wasm module.
public struct CodeLocation: Sendable, Equatable {
  /// Index of the function in the module's function index space; in an adapter that of the import which it stands
  /// for; nil inside a trampoline, a veneer or code of a C compiler.
  public var functionIndex: Int?
  /// Distance from the start of `.text`.
  public var textOffset: Int
  /// Distance from the start of the function's code; 0 outside functions.
  public var codeOffset: Int
  /// Distance from the start of the wasm binary; nil when the artifact has no address map.
  public var wasmOffset: Int?

  /// Makes a location.
  public init(functionIndex: Int?, textOffset: Int, codeOffset: Int, wasmOffset: Int?) {
    self.functionIndex = functionIndex
    self.textOffset = textOffset
    self.codeOffset = codeOffset
    self.wasmOffset = wasmOffset
  }
}

extension LoadedArtifact {
  /// Where in the module `pc` is; nil outside this artifact's text. For a return address, the call
  /// before it is meant.
  ///
  /// Where the artifact is damaged, this answers from what is left of it: backtraces of calls that ended for that reason are
  /// wanted most.
  public func location(of pc: UInt, isReturnAddress: Bool) -> CodeLocation? {
    let pc = isReturnAddress ? pc &- 1 : pc
    let textOffset = pc &- textBase
    guard textOffset < UInt(textSize) else { return nil }
    var location = CodeLocation(functionIndex: nil, textOffset: Int(textOffset), codeOffset: 0, wasmOffset: nil)
    // A page that was lost before fails its checksum; one that is lost meanwhile is counted.
    let lost = unsafe precast_checked_pages_forgotten(pages.pointer)
    guard let offset = UInt32(exactly: textOffset), let info = try? remainingInfo() else { return location }
    guard let defined = try? info.definedFunction(containing: offset),
      let function = try? info.definedFunction(defined),
      // Read a second time, from a file that may be changing.
      function.textOffset <= offset
    else {
      location.functionIndex = Self.boundImport(at: offset, info)
      return unsafe precast_checked_pages_forgotten(pages.pointer) == lost
        ? location : CodeLocation(functionIndex: nil, textOffset: Int(textOffset), codeOffset: 0, wasmOffset: nil)
    }
    let known = location
    location.functionIndex = info.importedFunctionCount + defined
    location.codeOffset = Int(offset - function.textOffset)
    if let map = try? artifact.addressMap() {
      location.wasmOffset =
        (try? map.wasmOffset(
          functionTextOffset: function.textOffset, codeOffset: offset - function.textOffset)).flatMap { $0 }.map(
          Int.init)
    }
    return unsafe precast_checked_pages_forgotten(pages.pointer) == lost ? location : known
  }

  /// The imported function whose adapter is at a place, as where the stack ends. Adapters are few, and seldom asked
  /// for: there is no index of them.
  private static func boundImport(at offset: UInt32, _ info: ModuleInfo) -> Int? {
    (0..<info.importedFunctionCount).first { index in
      guard let code = (try? info.adapter(importedFunction: index))??.code else { return false }
      return offset >= code.textOffset && offset - code.textOffset < code.size
    }
  }

  /// The trap code (`TrapCode`'s raw value) of the trap site at exactly `pc`, or 0; `damagedArtifact` when the
  /// table cannot be read.
  public func trapCode(at pc: UInt) -> UInt8 {
    let textOffset = pc &- textBase
    guard textOffset < UInt(textSize), let offset = UInt32(exactly: textOffset),
      let traps = try? artifact.section(.traps)
    else { return 0 }
    do throws(ArtifactError) {
      return try TrapTable(traps).code(textOffset: offset) ?? 0
    } catch {
      return TrapCode.damagedArtifact.rawValue
    }
  }

  /// Address of a defined function's code, by its index in the function index space (imported
  /// functions first); nil for an imported function, or when the table is damaged.
  public func functionAddress(_ functionIndex: Int) -> UInt? {
    guard let info = try? moduleInfo(), functionIndex >= info.importedFunctionCount,
      let function = try? info.definedFunction(functionIndex - info.importedFunctionCount)
    else { return nil }
    return address(CodeRange(textOffset: function.textOffset, size: function.size))
  }

  /// Address of the trampoline into wasm for a type of the module; nil when the artifact has none.
  public func entryTrampoline(typeIndex: Int) -> UInt? {
    guard let info = try? moduleInfo(), let range = try? info.entryTrampoline(type: typeIndex) else { return nil }
    return address(range)
  }

  /// Address of the trampoline out of wasm for a type of the module; nil when the artifact has none.
  public func exitTrampoline(typeIndex: Int) -> UInt? {
    guard let info = try? moduleInfo(), let range = try? info.exitTrampoline(type: typeIndex) else { return nil }
    return address(range)
  }

  /// Address of the adapter of an imported function that is bound to a symbol; nil for any other.
  public func adapterAddress(importedFunction index: Int) -> UInt? {
    guard let info = try? moduleInfo(), let adapter = try? info.adapter(importedFunction: index) else { return nil }
    return address(adapter.code)
  }

  /// An address is given out only for code that lies in the text, from tables that were not lost when they were read.
  private func address(_ range: CodeRange) -> UInt? {
    guard !isDamaged, range.size > 0, Int(range.textOffset) + Int(range.size) <= textSize else { return nil }
    return textBase + UInt(range.textOffset)
  }
}
