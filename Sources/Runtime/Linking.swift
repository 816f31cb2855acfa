// Giving a module its imports.
//
// Every import is looked up and checked before anything is made, so that a module that does not link leaves no trace.
// Types are checked exactly, as the specification's matching says: functions by canonical number, globals by type and
// mutability, memories and tables by their current size against the limits asked for.

import PrecastArtifact
import PrecastWasm

/// The imports of a module, found and checked, each kind in index order.
@safe
struct Links {
  var functions: [Function] = []
  var tables: [TableEntity] = []
  var memories: [MemoryEntity] = []
  var globals: [Global] = []
}

extension Module {
  /// Finds and checks all imports.
  func link(store: Store, imports: Imports) throws(RuntimeError) -> Links {
    guard store.engine === engine else {
      throw RuntimeError(.foreignStore, "the module was loaded for another engine than the store's")
    }
    guard engine.signalHandlerStatus == 0 else {
      throw RuntimeError(.limit, "the signal handlers could not be installed (errno \(-engine.signalHandlerStatus))")
    }
    let info = try info()
    let signatures = try signatures()
    var links = Links()
    for index in 0..<info.importCount {
      let entry = try reading { () throws(ArtifactError) in try info.importEntry(index) }
      // Made only for a message.
      var name: String { "\(entry.module.printable).\(entry.name.printable)" }
      guard let value = imports.lookup(module: entry.module, name: entry.name) else {
        let type = try reading { () throws(ArtifactError) in try info.externalType(entry.descriptor) }
        throw RuntimeError(.unknownImport, "unknown import: \(name) (\(type)) is not defined")
      }
      guard value.store === store else {
        throw RuntimeError(.foreignStore, "the import \(name) belongs to another store")
      }
      let matches: Bool
      switch (entry.descriptor, value) {
      case (.function(let typeIndex), .function(let function)):
        guard Int(typeIndex) < signatures.count else {
          throw RuntimeError(.damagedArtifact, "type \(typeIndex) of an import is missing")
        }
        matches = unsafe function.reference.pointee.signature == signatures[Int(typeIndex)]
        links.functions.append(function)
      case (.table(let type), .table(let table)):
        matches = table.entity.type.element == type.element && Self.matches(table.type.limits, type.limits)
        links.tables.append(table.entity)
      case (.memory(let type), .memory(let memory)):
        let actual = memory.type
        matches =
          actual.isMemory64 == type.isMemory64 && actual.isShared == type.isShared
          && Self.matches(actual.limits, type.limits)
        if matches, memory.entity.guardSize < artifact.guardSize {
          throw RuntimeError(
            .incompatibleImport,
            "incompatible import type: \(name) is a memory with a guard of "
              + "\(memory.entity.guardSize) bytes, but the code was compiled for \(artifact.guardSize)")
        }
        links.memories.append(memory.entity)
      case (.global(let type), .global(let global)):
        matches = type == global.type
        links.globals.append(global)
      default: matches = false
      }
      if !matches {
        let expected = try reading { () throws(ArtifactError) in try info.externalType(entry.descriptor) }
        throw RuntimeError(
          .incompatibleImport,
          "incompatible import type: \(name) must be \(expected), but is \(value.type)")
      }
    }
    guard links.functions.count == info.importedFunctionCount, links.tables.count == info.importedTableCount,
      links.memories.count == info.importedMemoryCount, links.globals.count == info.importedGlobalCount
    else { throw RuntimeError(.damagedArtifact, "the counts of imports do not agree") }
    return links
  }

  /// Whether something of an actual size and maximum can stand in for what is asked for.
  ///
  /// Spec: Core 3.5.2, "Import Subtyping", limits.
  private static func matches(_ actual: Limits, _ expected: Limits) -> Bool {
    guard actual.minimum >= expected.minimum else { return false }
    guard let maximum = expected.maximum else { return true }
    return actual.maximum.map { $0 <= maximum } ?? false
  }
}
