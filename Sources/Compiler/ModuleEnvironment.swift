// What compiler threads share about a module: read-only tables in fixed buffers, so that looking one
// up costs a load and no reference counting.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// A global as generated code reaches it.
struct GlobalPlace: BitwiseCopyable {
  var offset: Int32
  var isIndirect: Bool
  var type: ValueType
}

/// A memory or table as generated code reaches it.
struct EntityPlace: BitwiseCopyable {
  var offset: Int32
  var isIndirect: Bool
}

/// A module, prepared for compiling its functions.
struct ModuleEnvironment: Sendable {
  let module: WasmModule
  let binary: WasmBinary
  let settings: CompilerSettings
  let signatures: SignatureTable
  let layout: ContextLayout
  /// Type index of each function, imported ones first.
  let functionTypes: FixedBuffer<UInt32>
  let globals: FixedBuffer<GlobalPlace>
  let memories: FixedBuffer<EntityPlace>
  let tables: FixedBuffer<EntityPlace>
  /// Symbol of the stub that resolves table elements; symbols below are functions.
  let resolveSymbol: UInt32
  let hasMemory: Bool
  /// Imported functions that are bound to symbols. Calls to one carry its index, which the symbol of its adapter is.
  let boundImports: BoundImports
  /// For tests: how far branches reach.
  let testing: TextLayoutTesting

  init(
    module: WasmModule, binary: WasmBinary, settings: CompilerSettings, boundImports: BoundImports = BoundImports(),
    testing: TextLayoutTesting = TextLayoutTesting()
  ) {
    self.boundImports = boundImports
    self.testing = testing
    self.module = module
    self.binary = binary
    self.settings = settings
    signatures = SignatureTable(module.types, settings.architecture)
    let layout = ContextLayout(
      importedFunctions: module.importedFunctionCount, importedTables: module.importedTableCount,
      importedMemories: module.importedMemoryCount, importedGlobals: module.importedGlobalCount,
      definedTables: module.tables.count - module.importedTableCount,
      definedMemories: module.memories.count - module.importedMemoryCount,
      definedGlobals: module.globals.count - module.importedGlobalCount)
    self.layout = layout
    functionTypes = FixedBuffer(module.functions)
    globals = FixedBuffer(
      module.globals.enumerated().map { index, type in
        let place = layout.global(index)
        return GlobalPlace(offset: Int32(place.offset), isIndirect: place.isIndirect, type: type.value)
      })
    memories = FixedBuffer(
      module.memories.indices.map { index in
        let place = layout.memory(index)
        return EntityPlace(offset: Int32(place.offset), isIndirect: place.isIndirect)
      })
    tables = FixedBuffer(
      module.tables.indices.map { index in
        let place = layout.table(index)
        return EntityPlace(offset: Int32(place.offset), isIndirect: place.isIndirect)
      })
    resolveSymbol = UInt32(module.functions.count)
    hasMemory = !module.memories.isEmpty
  }
}
