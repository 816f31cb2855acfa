// All code of a module that is no function of it: adapters, the stub for table elements, trampolines.
//
// There is one pair of trampolines for each different function type that functions have or indirect calls name; a type that
// only blocks use never meets the host. Which types indirect calls name is known when all functions are compiled, so this
// comes after them, on one thread.

import PrecastArtifact
import PrecastArtifactWriter
import PrecastMachineCode
import PrecastWasm

/// The code beside a module's functions, in the order of the text.
final class StubAssembly {
  /// A piece of code.
  struct Stub {
    var name: PieceName
    /// Number by which relocations refer to it.
    var symbol: UInt32
    var record: StubRecord
    /// Where its trap sites are in `traps`.
    var trapRun: Range<Int>
  }

  let code: CodeChunk
  let stubs: [Stub]
  /// Symbols that adapters call, ascending by the bytes of the names.
  let externals: [ExternalSymbol]
  private let traps: CodeBuffer
  private let representatives: [UInt32]

  init(environment: ModuleEnvironment, chunks: [CompiledChunk]) {
    let representatives = Self.representatives(environment.module, chunks)
    let bound = environment.boundImports
    // Numbers: functions, of which bound imports stand for their adapters; the stub; external symbols; trampolines.
    let externals = bound.symbols.enumerated().map {
      ExternalSymbol(name: $0.element, symbol: environment.resolveSymbol + 1 + UInt32($0.offset))
    }
    self.representatives = representatives
    self.externals = externals
    var traps = TrapTableEncoder(capacity: 64)
    switch environment.settings.architecture {
    case .x86_64:
      var assembler = X86_64StubAssembler(settings: environment.settings)
      stubs = Self.assemble(&assembler, &traps, environment, externals, representatives)
      code = assembler.takeChunk()
    case .aarch64:
      var assembler = AArch64StubAssembler(settings: environment.settings)
      stubs = Self.assemble(&assembler, &traps, environment, externals, representatives)
      code = assembler.takeChunk()
    }
    self.traps = traps.bytes.extract()
  }

  private static func assemble<Assembler: StubAssembler & ~Copyable>(
    _ assembler: inout Assembler, _ traps: inout TrapTableEncoder, _ environment: ModuleEnvironment,
    _ externals: [ExternalSymbol], _ representatives: [UInt32]
  ) -> [Stub] {
    let table = environment.signatures
    let bound = environment.boundImports
    var stubs: [Stub] = []
    func add(_ name: PieceName, _ symbol: UInt32, _ record: StubRecord, traps run: Range<Int> = 0..<0) {
      stubs.append(Stub(name: name, symbol: symbol, record: record, trapRun: run))
    }
    for function in bound.functions {
      let external = Int(bound.positions[function])
      let first = traps.bytes.count
      traps.begin()
      let record = assembler.adapter(
        table.signatures[Int(environment.functionTypes[function])], table, symbol: externals[external].symbol,
        traps: &traps)
      _ = traps.finish()
      add(
        .adapter(importedFunction: function, external: external), UInt32(function), record,
        traps: first..<traps.bytes.count)
    }
    add(.stub("resolve_element"), environment.resolveSymbol, assembler.resolveElement())
    var symbol = environment.resolveSymbol + 1 + UInt32(externals.count)
    for type in representatives.indices where representatives[type] == UInt32(type) {
      let signature = table.signatures[type]
      add(.entryTrampoline(type: type), symbol, assembler.entry(signature, table))
      add(.exitTrampoline(type: type), symbol + 1, assembler.exit(signature, table))
      symbol += 2
    }
    return stubs
  }

  /// One more than the highest number of a symbol.
  var symbolCount: Int {
    Int(max(stubs.map(\.symbol).max() ?? 0, externals.map(\.symbol).max() ?? 0)) + 1
  }

  /// Fills in where the stubs are, given the place of each.
  func fill(_ input: inout ArtifactInput, places: [CodeRange]) {
    var trampolines = [TypeTrampolines](repeating: TypeTrampolines(), count: representatives.count)
    for (stub, place) in zip(stubs, places) {
      switch stub.name {
      case .adapter(let function, let external):
        input.adapters.append(
          ImportAdapter(importedFunction: function, code: place, symbol: externals[external].name))
      case .entryTrampoline(let type): trampolines[type].entry = place
      case .exitTrampoline(let type): trampolines[type].exit = place
      case .stub(let name): input.stubs.append(TextStub(name: name, code: place))
      case .function: break
      }
    }
    for type in representatives.indices where representatives[type] != .max {
      trampolines[type] = trampolines[Int(representatives[type])]
    }
    input.trampolines = trampolines
  }

  /// The trap sites of stubs, ascending. Valid as long as this object.
  func trapRuns(places: [CodeRange]) -> [CodeRun] {
    var runs: [CodeRun] = []
    for (stub, place) in zip(stubs, places) where !stub.trapRun.isEmpty {
      // In bounds: the buffer has not changed since the run was put there.
      unsafe runs.append(
        CodeRun(
          textOffset: place.textOffset, base: traps.startAddress + stub.trapRun.lowerBound, count: stub.trapRun.count))
    }
    return runs
  }

  /// For each type that functions have or indirect calls name, the first such type that is equal; else `UInt32.max`.
  private static func representatives(_ module: WasmModule, _ chunks: [CompiledChunk]) -> [UInt32] {
    var isUsed = [Bool](repeating: false, count: module.types.count)
    for type in module.functions { isUsed[Int(type)] = true }
    for chunk in chunks { for type in chunk.indirectTypes { isUsed[Int(type)] = true } }
    var result = [UInt32](repeating: .max, count: module.types.count)
    // By the first of all equal types, the first of those that are used.
    var representative = result
    let equal = module.types.firstEqual
    for type in isUsed.indices where isUsed[type] {
      let first = Int(equal[type])
      if representative[first] == .max { representative[first] = UInt32(type) }
      result[type] = representative[first]
    }
    return result
  }
}
