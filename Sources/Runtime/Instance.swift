// Instances, as their users see them.

import PrecastArtifact
import PrecastWasm

/// An instance of a module. A handle; it keeps the store alive, which owns the instance.
///
/// Spec: Core 4.2.5, "Module Instances".
@safe
public struct Instance: Equatable {
  /// The store that the instance belongs to.
  public let store: Store
  let entity: InstanceEntity

  init(store: Store, entity: InstanceEntity) {
    self.store = store
    self.entity = entity
  }

  /// Whether both are the same instance.
  public static func == (left: Instance, right: Instance) -> Bool { left.entity === right.entity }

  /// The module that this is an instance of.
  public var module: Module { entity.module }

  /// The exports.
  public var exports: Exports { Exports(instance: self) }

  /// The export of a name, of whatever kind; nil when there is none, or when the artifact's file was changed while it
  /// was loaded.
  public func export(_ name: String) -> ExternalValue? {
    // Tables that were lost read as zeros.
    guard let found = try? entity.info.export(named: name), !module.artifact.isDamaged else { return nil }
    let index = Int(found.index)
    switch found.kind {
    case .function:
      guard let reference = unsafe entity.functionReference(index) else { return nil }
      return unsafe .function(Function(store: store, reference: reference))
    case .table:
      guard index < entity.tables.count else { return nil }
      return .table(Table(store: store, entity: entity.tables[index]))
    case .memory:
      guard index < entity.memories.count else { return nil }
      return .memory(Memory(store: store, entity: entity.memories[index]))
    case .global:
      guard let type = try? entity.info.global(index).type, let cell = unsafe entity.globalCell(index) else {
        return nil
      }
      return unsafe .global(Global(store: store, type: type, cell: cell))
    }
  }
}

/// The exports of an instance, by name; as a sequence, in the order in which the module declares them.
public struct Exports: Sequence {
  let instance: Instance

  /// The export of a name, of whatever kind.
  public subscript(_ name: String) -> ExternalValue? { instance.export(name) }
  /// The exported function of a name.
  public subscript(function name: String) -> Function? { instance.export(name)?.function }
  /// The exported table of a name.
  public subscript(table name: String) -> Table? { instance.export(name)?.table }
  /// The exported memory of a name.
  public subscript(memory name: String) -> Memory? { instance.export(name)?.memory }
  /// The exported global of a name.
  public subscript(global name: String) -> Global? { instance.export(name)?.global }

  /// Names and values, in the module's order.
  public func makeIterator() -> AnyIterator<(name: String, value: ExternalValue)> {
    var names = instance.module.exports.map(\.name).makeIterator()
    return AnyIterator {
      while let name = names.next() {
        if let value = instance.export(name) { return (name, value) }
      }
      return nil
    }
  }
}
